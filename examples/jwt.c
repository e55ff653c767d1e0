/* Verifies a token in five lines: ./jwt JWKS_FILE TOKEN ISSUER AUDIENCE. Without arguments it makes its own first. */
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int verify(const char *jwks, size_t n, const char *token, const char *issuer, const char *audience)
{
    nexus_keyset *keys = NULL;
    nexus_claims *claims = NULL;
    nexus_slice subject = {"", 0};
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = issuer, rules.audience = audience;
    nexus_status status = nexus_keyset_parse(&keys, jwks, n, NULL);
    if (status == NEXUS_OK)
        status = nexus_jwt_verify(keys, token, strlen(token), &rules, &claims);
    if (status == NEXUS_OK && nexus_claims_text(claims, "sub", &subject))
        printf("hello, %.*s\n", (int)subject.n, subject.p);
    else
        fprintf(stderr, "refused: %s\n", nexus_error_message());
    nexus_claims_free(claims);
    nexus_keyset_free(keys);
    return status == NEXUS_OK ? 0 : 1;
}

static int demonstrate(void)
{
    nexus_key *key = NULL;
    char *jwk = NULL, *token = NULL, claims[256], set[1024];
    size_t n;
    long now = (long)time(NULL);
    int length = snprintf(claims, sizeof claims,
                          "{\"iss\":\"https://id.example\",\"aud\":\"shop\",\"sub\":\"ada\",\"iat\":%ld,\"exp\":%ld}",
                          now, now + 600);
    if (nexus_key_generate(&key, "ES256", NULL) != NEXUS_OK || nexus_key_print_jwk(key, false, &jwk, &n) != NEXUS_OK ||
        nexus_jwt_sign(&token, &n, key, NULL, claims, (size_t)length) != NEXUS_OK) {
        fprintf(stderr, "%s\n", nexus_error_message());
        return 1;
    }
    length = snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk);
    int code = verify(set, (size_t)length, token, "https://id.example", "shop");
    nexus_free(jwk);
    nexus_free(token);
    nexus_key_free(key);
    return code;
}

int main(int argc, char **argv)
{
    static char jwks[65536];
    if (argc == 1)
        return demonstrate();
    if (argc != 5) {
        fprintf(stderr, "usage: %s JWKS_FILE TOKEN ISSUER AUDIENCE\n", argv[0]);
        return 2;
    }
    FILE *f = fopen(argv[1], "rb");
    if (!f) {
        perror(argv[1]);
        return 1;
    }
    size_t n = fread(jwks, 1, sizeof jwks, f);
    fclose(f);
    return verify(jwks, n, argv[2], argv[3], argv[4]);
}
