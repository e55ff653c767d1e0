/* A token from a stranger against a set with one key: it never verifies, and nothing is read out of bounds. */
#include <nexus/jwt.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char jwks[] =
    "{\"keys\":[{\"alg\":\"ES256\",\"use\":\"sig\",\"x\":\"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY\","
    "\"y\":\"UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw\",\"crv\":\"P-256\",\"kid\":\"k\",\"kty\":\"EC\"}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_keyset *set;
    nexus_claims *claims;
    char *payload;
    size_t n;
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = "i", rules.audience = "a", rules.now_s = 1;
    if (nexus_keyset_parse(&set, jwks, sizeof jwks - 1, NULL) != NEXUS_OK)
        abort();
    if (nexus_jwt_verify(set, (const char *)data, size, &rules, &claims) == NEXUS_OK)
        abort();
    if (nexus_jws_verify(set, (const char *)data, size, &payload, &n) == NEXUS_OK)
        abort();
    nexus_keyset_free(set);
    return 0;
}
