#include "auth/oauth/form.h"

#include "base/codec.h"
#include "base/status.h"
#include "base/utf8.h"
#include "crypto/wipe.h"

/* --- forms ----------------------------------------------------------------------------------------------------------- */

static bool is_text(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return false;
    return nexus__utf8_valid(text);
}

/* Decodes into *at, which moves on behind the NUL. */
static bool take(nexus_slice encoded, char **at, nexus_slice *out)
{
    size_t n;
    if (!nexus__percent_decode(encoded, true, *at, &n) || !is_text(nexus__slice(*at, n)))
        return false;
    *out = nexus__slice(*at, n);
    (*at)[n] = 0;
    *at += n + 1;
    return true;
}

static const char *add_field(nexus__oauth_form *f, nexus_slice pair, char **at)
{
    nexus_slice name = nexus__slice_cut(&pair, '=');
    if (f->count == NEXUS__OAUTH_FIELDS_MAX)
        return "more than 32 parameters";
    if (!take(name, at, &f->names[f->count]) || !take(pair, at, &f->values[f->count]))
        return "a parameter is not well-formed text";
    for (size_t i = 0; i < f->count; i++)
        if (nexus__slice_eq(f->names[i], f->names[f->count]))
            return "a parameter comes twice";
    f->count++;
    return NULL;
}

nexus_status nexus__oauth_form_parse(nexus__oauth_form *out, nexus_slice text, const char **why)
{
    *out = (nexus__oauth_form){0};
    *why = text.n > NEXUS__OAUTH_FORM_MAX ? "over 16 KiB" : NULL;
    if (!*why && !(out->memory = nexus__malloc(NULL, text.n + 2 * NEXUS__OAUTH_FIELDS_MAX + 2)))
        return nexus__nomem();
    char *at = out->memory;
    while (text.n && !*why) {
        nexus_slice pair = nexus__slice_cut(&text, '&');
        if (pair.n)
            *why = add_field(out, pair, &at);
    }
    if (!*why)
        return NEXUS_OK;
    nexus__oauth_form_end(out);
    return NEXUS_EINVAL;
}

nexus_slice nexus__oauth_form_get(const nexus__oauth_form *form, const char *name)
{
    for (size_t i = 0; i < form->count; i++)
        if (nexus__slice_eq_c(form->names[i], name))
            return form->values[i];
    return (nexus_slice){"", 0};
}

void nexus__oauth_form_end(nexus__oauth_form *form)
{
    if (form->memory && form->count) {
        nexus_slice last = form->values[form->count - 1];
        nexus__wipe(form->memory, (size_t)(last.p + last.n - form->memory));
    }
    nexus__free(NULL, form->memory);
    *form = (nexus__oauth_form){0};
}

/* --- Basic ----------------------------------------------------------------------------------------------------------- */

bool nexus__oauth_basic(nexus_slice value, char *out, nexus_slice *id, nexus_slice *secret)
{
    nexus_slice scheme = NEXUS_S("Basic ");
    size_t n, id_n, secret_n;
    if (value.n <= scheme.n || value.n > 4096 || !nexus__slice_ieq(nexus__slice(value.p, scheme.n), scheme))
        return false;
    if (!nexus__base64_decode(nexus__slice_trim(nexus__slice_from(value, scheme.n)), out, &n))
        return false;
    char *colon = memchr(out, ':', n);
    if (!colon || !nexus__percent_decode(nexus__slice(out, (size_t)(colon - out)), true, out, &id_n) ||
        !nexus__percent_decode(nexus__slice(colon + 1, n - (size_t)(colon - out) - 1), true, colon + 1, &secret_n))
        return false;
    *id = nexus__slice(out, id_n);
    *secret = nexus__slice(colon + 1, secret_n);
    return id->n > 0 && is_text(*id) && is_text(*secret);
}

/* --- lists and scopes ------------------------------------------------------------------------------------------------ */

bool nexus__oauth_has(nexus_slice list, char sep, nexus_slice word)
{
    while (list.n)
        if (nexus__slice_eq(nexus__slice_cut(&list, sep), word))
            return word.n > 0;
    return false;
}

bool nexus__oauth_scope_valid(nexus_slice scope)
{
    if (scope.n == 0 || scope.n > 1024 || scope.p[scope.n - 1] == ' ')
        return false;
    for (size_t i = 0; i < scope.n; i++) {
        unsigned char c = (unsigned char)scope.p[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            return false;
    }
    while (scope.n) {
        nexus_slice word = nexus__slice_cut(&scope, ' ');
        if (word.n == 0 || nexus__oauth_has(scope, ' ', word))
            return false;
    }
    return true;
}

bool nexus__oauth_scope_within(nexus_slice scope, nexus_slice list)
{
    while (scope.n)
        if (!nexus__oauth_has(list, ' ', nexus__slice_cut(&scope, ' ')))
            return false;
    return true;
}

bool nexus__oauth_pkce_valid(nexus_slice text)
{
    if (text.n < 43 || text.n > 128)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
              c == '_' || c == '~'))
            return false;
    }
    return true;
}
