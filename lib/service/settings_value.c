/* One value against its row. */
#include "service/settings.h"

#include <stdio.h>

#include "base/status.h"
#include "crypto/wipe.h"

static bool is_word_of(const char *words, nexus_slice word)
{
    nexus_slice rest = nexus__slice_c(words);
    while (rest.n > 0)
        if (nexus__slice_eq(nexus__slice_cut(&rest, ','), word))
            return true;
    return false;
}

static nexus_status put_int(nexus__setting_value *v, nexus_slice text, const char *where)
{
    const nexus_setting *r = v->row;
    int64_t i;
    if (!nexus__parse_i64(text, &i))
        return nexus__fail(NEXUS_EINVAL, "%s: \"%.*s\" is no whole number", where, (int)text.n, text.p);
    if ((r->min != 0 || r->max != 0) && (i < r->min || i > r->max))
        return nexus__fail(NEXUS_EINVAL, "%s: %lld is not between %lld and %lld", where, (long long)i,
                           (long long)r->min, (long long)r->max);
    v->i = i;
    return NEXUS_OK;
}

static nexus_status put_bool(nexus__setting_value *v, nexus_slice text, const char *where)
{
    bool yes = is_word_of("true,1,on,yes", text);
    if (!yes && !is_word_of("false,0,off,no", text))
        return nexus__fail(NEXUS_EINVAL, "%s: \"%.*s\" is neither true nor false", where, (int)text.n, text.p);
    v->i = yes;
    return NEXUS_OK;
}

static nexus_status put_url(nexus__setting_value *v, nexus_slice text, const char *where)
{
    size_t colon = nexus__slice_find(text, ':');
    nexus_slice scheme = nexus__slice(text.p, colon);
    if (colon == 0 || colon == text.n)
        return nexus__fail(NEXUS_EINVAL, "%s: not a URL; it begins with a scheme such as %s:", where,
                           v->row->choices ? v->row->choices : "https");
    if (v->row->choices && !is_word_of(v->row->choices, scheme))
        return nexus__fail(NEXUS_EINVAL, "%s: scheme \"%.*s\" is not one of %s", where, (int)scheme.n, scheme.p,
                           v->row->choices);
    return NEXUS_OK;
}

static nexus_status check(nexus__setting_value *v, nexus_slice text, const char *where)
{
    switch (v->row->type) {
    case NEXUS_SETTING_INT:
        return put_int(v, text, where);
    case NEXUS_SETTING_BOOL:
        return put_bool(v, text, where);
    case NEXUS_SETTING_URL:
        return put_url(v, text, where);
    case NEXUS_SETTING_CHOICE:
        if (!is_word_of(v->row->choices, text))
            return nexus__fail(NEXUS_EINVAL, "%s: \"%.*s\" is not one of %s", where, (int)text.n, text.p,
                               v->row->choices);
        return NEXUS_OK;
    case NEXUS_SETTING_DOUBLE:
        if (!nexus__parse_double(text, &v->d))
            return nexus__fail(NEXUS_EINVAL, "%s: \"%.*s\" is no number", where, (int)text.n, text.p);
        return NEXUS_OK;
    default:
        if (memchr(text.p ? text.p : "", '\0', text.n))
            return nexus__fail(NEXUS_EINVAL, "%s: holds a NUL byte", where);
        return NEXUS_OK;
    }
}

/* --- putting it in --------------------------------------------------------------------------------------------------- */

static void unset(nexus_settings *s, nexus__setting_value *v)
{
    nexus__free(s->alloc, v->text);
    nexus_secret_free(v->secret);
    v->text = NULL;
    v->secret = NULL;
    v->i = 0;
    v->d = 0;
}

static nexus_status put_text(nexus_settings *s, nexus__setting_value *v, nexus_slice text)
{
    char *copy = NULL;
    nexus_secret *secret = NULL;
    if (v->row->type == NEXUS_SETTING_SECRET) {
        nexus_status status = nexus_secret_new(&secret, text);
        if (status != NEXUS_OK)
            return status;
    } else if (!(copy = nexus__strndup(s->alloc, text))) {
        return nexus__nomem();
    }
    int64_t i = v->i; /* which check() has found */
    double d = v->d;
    unset(s, v);
    v->text = copy;
    v->secret = secret;
    v->i = i;
    v->d = d;
    return NEXUS_OK;
}

static nexus_status put_literal(nexus_settings *s, nexus__setting_value *v, nexus_slice text, const char *where)
{
    if (text.n == 0 && v->row->type != NEXUS_SETTING_BOOL) { /* NAME= unsets, also what a lower source gave */
        unset(s, v);
        return v->row->initial ? put_literal(s, v, nexus__slice_c(v->row->initial), where) : NEXUS_OK;
    }
    nexus_status status = check(v, text, where);
    return status == NEXUS_OK ? put_text(s, v, text) : status;
}

static void forget_source(nexus_settings *s, nexus__setting_value *v)
{
    nexus__source_free(v->source);
    nexus__free(s->alloc, v->written);
    v->source = NULL;
    v->written = NULL;
}

/* What a source says may be a secret: a refusal names the setting and not the value. */
static nexus_status put_source(nexus_settings *s, nexus__setting_value *v, nexus__source *source, const char *where)
{
    nexus__buf whole;
    nexus__buf_init(&whole, s->alloc, 0);
    nexus_status status = nexus__source_read(source, &whole);
    if (status != NEXUS_OK) {
        char why[256];
        snprintf(why, sizeof why, "%s", nexus_error_message());
        status = nexus__fail(status, "%s: \"%s\" refers to a file: %s", where, v->row->name, why);
    } else if ((status = put_literal(s, v, nexus__buf_slice(&whole), where)) == NEXUS_EINVAL) {
        status = nexus__fail(NEXUS_EINVAL, "%s: what the reference in \"%s\" stands for is no value of this setting (--help "
                             "tells which are)", where, v->row->name);
    }
    if (whole.p)
        nexus__wipe(whole.p, whole.cap);
    nexus__buf_free(&whole);
    bool kept = status == NEXUS_OK && v->secret && nexus__source_has_file(source);
    if (kept)
        v->source = source;
    else
        nexus__source_free(source);
    return status;
}

nexus_status nexus__setting_put(nexus_settings *s, nexus__setting_value *v, nexus_slice text, const char *where)
{
    nexus__source *source;
    forget_source(s, v);
    if (!nexus__setting_refers(text))
        return put_literal(s, v, text, where);
    nexus_status status = nexus__source_open(&source, s, v->row->name, text, where);
    if (status == NEXUS_OK && !(v->written = nexus__strndup(s->alloc, text))) {
        nexus__source_free(source);
        status = nexus__nomem();
    }
    return status == NEXUS_OK ? put_source(s, v, source, where) : status;
}

nexus_status nexus__setting_put_file(nexus_settings *s, nexus__setting_value *v, const char *path, const char *where)
{
    size_t n;
    nexus__buf written;
    nexus__source *source;
    forget_source(s, v);
    nexus__buf_init(&written, s->alloc, 0);
    nexus__buf_printf(&written, "${file:%s}", path);
    v->written = nexus__buf_take(&written, &n);
    nexus_status status = v->written ? nexus__source_open_file(&source, s, path) : nexus__nomem();
    return status == NEXUS_OK ? put_source(s, v, source, where) : status;
}

void nexus__setting_free(nexus_settings *s, nexus__setting_value *v)
{
    forget_source(s, v);
    unset(s, v);
}
