/* What strangers send to the OAuth endpoints: forms, Basic credentials, redirect URIs. The first byte chooses. */
#include <stdlib.h>

#include "auth/oauth/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_form(nexus_slice text)
{
    nexus__oauth_form form;
    const char *why;
    if (nexus__oauth_form_parse(&form, text, &why) != NEXUS_OK) {
        if (!why)
            abort();
        return;
    }
    for (size_t i = 0; i < form.count; i++) {
        nexus_slice value = nexus__oauth_form_get(&form, form.names[i].p);
        if (!nexus__slice_eq(value, form.values[i]) || value.p[value.n] != 0)
            abort();
        if (nexus__oauth_scope_valid(value) && !nexus__oauth_scope_within(value, value))
            abort();
        (void)nexus__oauth_pkce_valid(value);
    }
    nexus__oauth_form_end(&form);
}

static void fuzz_basic(nexus_slice text)
{
    nexus_slice id, secret;
    char *out = malloc(text.n + 1);
    if (out && nexus__oauth_basic(text, out, &id, &secret) && (id.n == 0 || id.n + secret.n > text.n))
        abort();
    free(out);
}

/* Two URIs parted by a newline. Whatever is the same as something registrable begins with the same scheme and host. */
static void fuzz_redirect(nexus_slice text)
{
    nexus_slice registered = nexus__slice_cut(&text, '\n');
    const char *why;
    if (!nexus__oauth_redirect_valid(registered, &why))
        return;
    if (!nexus__oauth_redirect_is(registered, registered))
        abort();
    if (nexus__oauth_redirect_is(registered, text) && !nexus__slice_eq(registered, text) &&
        !nexus__slice_starts(text, NEXUS_S("http://127.0.0.1")) && !nexus__slice_starts(text, NEXUS_S("http://[::1]")))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    nexus_slice text = nexus__slice(data + 1, size - 1);
    if (data[0] == 'f')
        fuzz_form(text);
    else if (data[0] == 'b')
        fuzz_basic(text);
    else
        fuzz_redirect(text);
    return 0;
}
