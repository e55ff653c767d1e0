/* A key or a key set from a stranger: refused, or usable. */
#include <nexus/jwt.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_key *key;
    nexus_keyset *set;
    nexus_keyset_opts opts = NEXUS_KEYSET_OPTS_INIT;
    opts.allow_hmac = true;
    char *text;
    size_t n;
    if (nexus_key_parse_jwk(&key, (const char *)data, size, NULL) == NEXUS_OK) {
        if (nexus_key_print_jwk(key, nexus_key_is_private(key), &text, &n) == NEXUS_OK)
            nexus_free(text);
        nexus_key_free(key);
    }
    if (nexus_key_parse_pem(&key, (const char *)data, size, NULL, NULL) == NEXUS_OK)
        nexus_key_free(key);
    if (nexus_keyset_parse(&set, (const char *)data, size, &opts) != NEXUS_OK)
        return 0;
    if (nexus_keyset_print(set, &text, &n) != NEXUS_OK)
        abort();
    nexus_free(text);
    nexus_keyset_free(set);
    return 0;
}
