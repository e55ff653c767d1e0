/* Signature fields and digests from a stranger: refused, or pieces of what came. The first line is Signature-Input, the
 * second Signature, the third Content-Digest. */
#include <stdlib.h>

#include "auth/http_signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool no_field(const void *user_data, nexus_slice name, uint32_t i, nexus_slice *value)
{
    *value = *(const nexus_slice *)user_data;
    return name.n > 0 && i < 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_slice rest = nexus__slice(data, size), input = nexus__slice_cut(&rest, '\n'),
                signature = nexus__slice_cut(&rest, '\n'), text = NEXUS_S("v");
    nexus__signed_request r = {.method = text, .target = text, .query = text, .field = no_field, .user_data = &text};
    nexus__http_signature s;
    nexus__buf base;
    (void)nexus__content_digest_is(rest, input);
    if (nexus__http_signature_parse(&s, input, signature) != NEXUS_OK)
        return 0;
    if (s.component_count > NEXUS__SIGNED_COMPONENTS_MAX || s.params.n >= input.n)
        abort();
    (void)!nexus__http_signature_covers(&s, &r, 1618884473);
    nexus__buf_init(&base, NULL, NEXUS__SIGNED_BASE_MAX);
    if (nexus__http_signature_base(&s, &r, &base) == NEXUS_OK) {
        uint32_t lines = 0;
        for (size_t i = 0; i < base.len; i++)
            lines += base.p[i] == '\n';
        if (lines != s.component_count)
            abort();
    }
    nexus__buf_free(&base);
    return 0;
}
