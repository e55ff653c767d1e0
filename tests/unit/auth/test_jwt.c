/* auth/: tokens that must be refused (attack rows 44-47 and 49-55), and those that must not. */
#include <criterion/criterion.h>
#include <nexus/jwt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/codec.h"
#include "crypto/pkey.h"

#define NOW 1800000000
#define ISS "https://id.example"
#define GOOD "\"iss\":\"" ISS "\",\"aud\":\"nexus\",\"sub\":\"u1\",\"iat\":1800000000,\"exp\":1800000600"

static nexus_keyset *set_of(nexus_key *key)
{
    nexus_keyset_opts opts = NEXUS_KEYSET_OPTS_INIT;
    opts.allow_hmac = true;
    nexus_keyset *set;
    cr_assert_eq(nexus_keyset_new(&set, &opts), NEXUS_OK);
    cr_assert_eq(nexus_keyset_add(set, key), NEXUS_OK, "%s", nexus_error_message());
    return set;
}

static nexus_key *fresh(const char *alg)
{
    nexus_key *key;
    cr_assert_eq(nexus_key_generate(&key, alg, "k1"), NEXUS_OK);
    return key;
}

static nexus_status check(const nexus_keyset *set, const char *token, size_t n)
{
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = ISS;
    rules.audience = "nexus";
    rules.now_s = NOW;
    nexus_claims *claims = NULL;
    nexus_status status = nexus_jwt_verify(set, token, n, &rules, &claims);
    nexus_claims_free(claims);
    return status;
}

/* Signs exactly this header and payload with the key: what a correct issuer would never send. */
static char *forge(nexus__pkey *key, const char *header, const char *payload)
{
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    nexus__base64url_append(&b, header, strlen(header));
    nexus__buf_char(&b, '.');
    nexus__base64url_append(&b, payload, strlen(payload));
    uint8_t sig[NEXUS__SIGNATURE_MAX];
    size_t n;
    cr_assert_eq(nexus__pkey_sign(key, nexus__buf_slice(&b), sig, &n), NEXUS_OK);
    nexus__buf_char(&b, '.');
    nexus__base64url_append(&b, sig, n);
    return nexus__buf_take(&b, &n);
}

/* A key pair known to both sides of a forgery. */
typedef struct pair {
    nexus__pkey *pkey;
    nexus_keyset *set;
} pair;

static pair pair_new(const char *alg)
{
    pair p;
    char *pem, *jwk;
    size_t n;
    nexus_key *key = fresh(alg);
    if (nexus_key_print_pem(key, true, &pem, &n) == NEXUS_OK) {
        cr_assert_eq(nexus__pkey_from_pem(&p.pkey, nexus__sigalg_find(nexus__slice_c(alg)), nexus__slice(pem, n)),
                     NEXUS_OK);
        nexus_free(pem);
    }
    cr_assert_eq(nexus_key_print_jwk(key, false, &jwk, &n), NEXUS_OK);
    nexus_key *public;
    cr_assert_eq(nexus_key_parse_jwk(&public, jwk, n, NULL), NEXUS_OK, "%s", nexus_error_message());
    nexus_free(jwk);
    p.set = set_of(public);
    nexus_key_free(key);
    return p;
}

static void pair_free(pair *p)
{
    nexus__pkey_free(p->pkey);
    nexus_keyset_free(p->set);
}

static void assert_forged(pair *p, const char *header, const char *payload, bool accepted)
{
    char *token = forge(p->pkey, header, payload);
    nexus_status status = check(p->set, token, strlen(token));
    cr_expect_eq(status == NEXUS_OK, accepted, "%s %s: %s", header, payload, nexus_error_message());
    cr_expect(accepted || status == NEXUS_EAUTH || status == NEXUS_ENOTFOUND, "%s", nexus_status_name(status));
    nexus_free(token);
}

#define HEADER "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}"

Test(jwt, what_is_signed_verifies)
{
    const char *const algs[] = {"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS512", "HS256"};
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++) {
        nexus_key *key = fresh(algs[i]);
        char *token;
        size_t n;
        cr_assert_eq(nexus_jwt_sign(&token, &n, key, NULL, "{" GOOD "}", strlen("{" GOOD "}")), NEXUS_OK);
        nexus_keyset *set = set_of(key);
        cr_expect_eq(check(set, token, n), NEXUS_OK, "%s: %s", algs[i], nexus_error_message());
        nexus_free(token);
        nexus_keyset_free(set);
    }
}

Test(jwt, claims_are_read_decoded)
{
    nexus_key *key = fresh("ES256");
    const char *text =
        "{" GOOD ",\"name\":\"J\\u00fcrgen \\\"J\\\"\",\"roles\":[\"a\",\"b\"],\"n\":9007199254740993,\"f\":1.5}";
    char *token;
    size_t n;
    cr_assert_eq(nexus_jwt_sign(&token, &n, key, NULL, text, strlen(text)), NEXUS_OK);
    nexus_keyset *set = set_of(key);
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = ISS, rules.audience = "nexus", rules.now_s = NOW;
    nexus_claims *c;
    cr_assert_eq(nexus_jwt_verify(set, token, n, &rules, &c), NEXUS_OK);
    nexus_slice s;
    int64_t i;
    cr_assert(nexus_claims_text(c, "name", &s) && strcmp(s.p, "Jürgen \"J\"") == 0);
    cr_assert(nexus_claims_item(c, "roles", 1, &s) && strcmp(s.p, "b") == 0);
    cr_assert_not(nexus_claims_item(c, "roles", 2, &s));
    cr_assert_not(nexus_claims_text(c, "roles", &s));
    cr_assert(nexus_claims_item(c, "aud", 0, &s) && strcmp(s.p, "nexus") == 0);
    cr_assert(nexus_claims_int(c, "exp", &i) && i == NOW + 600);
    cr_assert_not(nexus_claims_int(c, "f", &i));
    nexus_claims_json(c, &s);
    cr_assert_eq(s.n, strlen(text));
    nexus_claims_free(c);
    nexus_free(token);
    nexus_keyset_free(set);
}

Test(jwt, row_44_alg_none_in_any_form)
{
    pair p = pair_new("ES256");
    const char *const algs[] = {"\"none\"", "\"None\"", "\"nOnE\"", "[\"ES256\"]", "null", "\"\"", "\"es256\"", "256"};
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++) {
        char header[128];
        snprintf(header, sizeof header, "{\"alg\":%s,\"typ\":\"at+jwt\",\"kid\":\"k1\"}", algs[i]);
        assert_forged(&p, header, "{" GOOD "}", false);
    }
    assert_forged(&p, "{\"typ\":\"at+jwt\",\"kid\":\"k1\"}", "{" GOOD "}", false);
    assert_forged(&p, HEADER, "{" GOOD "}", true);
    pair_free(&p);
}

Test(jwt, row_45_a_public_key_is_no_secret)
{
    nexus_key *rsa = fresh("RS256");
    char *pem, *jwk;
    size_t pem_n, jwk_n;
    cr_assert_eq(nexus_key_print_pem(rsa, false, &pem, &pem_n), NEXUS_OK);
    cr_assert_eq(nexus_key_print_jwk(rsa, false, &jwk, &jwk_n), NEXUS_OK);
    nexus_keyset *set = set_of(rsa);
    const nexus_slice secrets[] = {{pem, pem_n}, {jwk, jwk_n}};
    for (size_t i = 0; i < 2; i++) {
        nexus_key *hmac;
        char *token;
        size_t n;
        cr_assert_eq(nexus_key_from_secret(&hmac, secrets[i].p, secrets[i].n, "HS256", "k1"), NEXUS_OK);
        cr_assert_eq(nexus_jwt_sign(&token, &n, hmac, NULL, "{" GOOD "}", strlen("{" GOOD "}")), NEXUS_OK);
        cr_expect_eq(check(set, token, n), NEXUS_EAUTH);
        nexus_free(token);
        nexus_key_free(hmac);
    }
    nexus_free(pem);
    nexus_free(jwk);
    nexus_keyset_free(set);
    pair p = pair_new("RS256");
    assert_forged(&p, "{\"alg\":\"RS512\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", "{" GOOD "}", false);
    assert_forged(&p, "{\"alg\":\"PS256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", "{" GOOD "}", false);
    pair_free(&p);
}

Test(jwt, row_46_keys_inside_the_token_are_ignored)
{
    pair ours = pair_new("ES256"), theirs = pair_new("ES256");
    nexus_key *attacker = NULL;
    char *jwk, *token, header[1024];
    size_t n;
    attacker = fresh("ES256");
    cr_assert_eq(nexus_key_print_jwk(attacker, false, &jwk, &n), NEXUS_OK);
    snprintf(header, sizeof header,
             "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"jwk\":%s,\"jku\":\"https://evil.example/k\","
             "\"x5u\":\"https://evil.example/x\",\"x5c\":[\"MIIB\"]}",
             jwk);
    token = forge(theirs.pkey, header, "{" GOOD "}");
    cr_expect_eq(check(ours.set, token, strlen(token)), NEXUS_EAUTH);
    nexus_free(token);
    assert_forged(&ours, header, "{" GOOD "}", true); /* they are ignored, not believed */
    nexus_free(jwk);
    nexus_key_free(attacker);
    pair_free(&ours);
    pair_free(&theirs);
}

Test(jwt, row_47_kid_is_only_a_map_key)
{
    pair p = pair_new("ES256");
    const char *const kids[] = {"\"../../dev/null\"", "\"' OR 1=1--\"", "\"k1\\u0000\"", "7", "[\"k1\"]", "\"\""};
    for (size_t i = 0; i < sizeof kids / sizeof kids[0]; i++) {
        char header[128];
        snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":%s}", kids[i]);
        assert_forged(&p, header, "{" GOOD "}", false);
    }
    char *huge = malloc(1 << 20);
    memset(huge, 'a', 1 << 20);
    memcpy(huge, "{\"alg\":\"ES256\",\"kid\":\"", 22);
    memcpy(huge + (1 << 20) - 3, "\"}", 3);
    assert_forged(&p, huge, "{" GOOD "}", false);
    free(huge);
    pair_free(&p);
}

Test(jwt, row_49_form)
{
    nexus_key *key = fresh("ES256");
    char *good;
    size_t n;
    cr_assert_eq(nexus_jwt_sign(&good, &n, key, NULL, "{" GOOD "}", strlen("{" GOOD "}")), NEXUS_OK);
    nexus_keyset *set = set_of(key);
    char text[2048];
    cr_assert_eq(check(set, good, n), NEXUS_OK);
    for (size_t cut = 0; cut < n; cut++)
        cr_expect_eq(check(set, good, cut), NEXUS_EAUTH, "cut at %zu", cut);
    snprintf(text, sizeof text, "%s.", good);
    cr_expect_eq(check(set, text, n + 1), NEXUS_EAUTH);
    snprintf(text, sizeof text, "%s=", good);
    cr_expect_eq(check(set, text, n + 1), NEXUS_EAUTH);
    snprintf(text, sizeof text, " %s", good);
    cr_expect_eq(check(set, text, n + 1), NEXUS_EAUTH);
    snprintf(text, sizeof text, "%s", good);
    text[n - 5] = '+';
    cr_expect_eq(check(set, text, n), NEXUS_EAUTH);
    /* The last character of 64 bytes carries four unused bits: they must be zero. */
    snprintf(text, sizeof text, "%s", good);
    text[n - 1] = (char)(text[n - 1] + 1);
    cr_expect_eq(check(set, text, n), NEXUS_EAUTH);
    char *dot = strrchr(text, '.');
    dot[1] = 0;
    cr_expect_eq(check(set, text, strlen(text)), NEXUS_EAUTH);
    nexus_free(good);
    nexus_keyset_free(set);
}

Test(jwt, row_50_weak_keys_are_a_configuration_error)
{
    nexus_key *key;
    cr_expect_eq(nexus_key_from_secret(&key, "short", 5, "HS256", NULL), NEXUS_EINVAL);
    static const char small[] =
        "{\"kty\":\"RSA\",\"alg\":\"RS256\",\"e\":\"AQAB\",\"n\":\"rJBIp6T1YK-RtPyvYqFFlcucqewSAA_"
        "IReSFchE8qyiQrbARqRlXWkB2DR8j_pJQnIpYELbQWZC5Cd0PTGAU8rMbar2AW6zpmBbi7aQf17lUBdt8XI9M9"
        "rq7FPVQ1dDdUXm1SVH_9qqWhvMPR422SbfHBEzCAtzK0ANDRo6qz78\"}";
    cr_expect_eq(nexus_key_parse_jwk(&key, small, sizeof small - 1, NULL), NEXUS_EINVAL);
    cr_expect(strstr(nexus_error_message(), "2048"), "%s", nexus_error_message());
}

Test(jwt, row_51_other_serializations)
{
    pair p = pair_new("ES256");
    const char *const texts[] = {"{\"payload\":\"e30\",\"protected\":\"e30\",\"signature\":\"AA\"}",
                                 "{\"payload\":\"e30\",\"signatures\":[]}", "a.b.c.d.e", "..", "...."};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cr_expect_eq(check(p.set, texts[i], strlen(texts[i])), NEXUS_EAUTH);
    pair_free(&p);
}

Test(jwt, row_52_times)
{
    pair p = pair_new("ES256");
#define CLAIMS(times) "{\"iss\":\"" ISS "\",\"aud\":\"nexus\"" times "}"
    static const struct {
        const char *payload;
        bool accepted;
    } rows[] = {
        {CLAIMS(",\"iat\":1800000000,\"exp\":1800000600"), true},
        {CLAIMS(",\"iat\":1800000000.25,\"exp\":1.8000006e9"), true},
        {CLAIMS(",\"iat\":1800000000"), false},
        {CLAIMS(",\"exp\":1800000600"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":\"1800000600\""), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":NaN"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":-1"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":0"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":9223372036854775808"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":1e999"), false},
        {CLAIMS(",\"iat\":1799999000,\"exp\":1799999971"), true}, /* within the 30 s of skew */
        {CLAIMS(",\"iat\":1799999000,\"exp\":1799999970"), false},
        {CLAIMS(",\"iat\":1800000030,\"exp\":1800000600"), true},
        {CLAIMS(",\"iat\":1800000031,\"exp\":1800000600"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":1800000600,\"nbf\":1800000031"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":1800000600,\"nbf\":1800000030"), true},
        {CLAIMS(",\"iat\":1800000000,\"exp\":1800000600,\"nbf\":\"x\""), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":1800086401"), false}, /* longer than a day */
        {CLAIMS(",\"iat\":1800000010,\"exp\":1800000005"), false},
        {CLAIMS(",\"iat\":1800000000,\"exp\":1800000600,\"exp\":1800000700"), false}, /* twice */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_forged(&p, HEADER, rows[i].payload, rows[i].accepted);
    pair_free(&p);
}

Test(jwt, row_53_parties_and_kind)
{
    pair p = pair_new("ES256");
#define TIMES ",\"iat\":1800000000,\"exp\":1800000600}"
    assert_forged(&p, HEADER, "{\"iss\":\"" ISS "/\",\"aud\":\"nexus\"" TIMES, false);
    assert_forged(&p, HEADER, "{\"aud\":\"nexus\"" TIMES, false);
    assert_forged(&p, HEADER, "{\"iss\":\"" ISS "\"" TIMES, false);
    assert_forged(&p, HEADER, "{\"iss\":\"" ISS "\",\"aud\":[\"other\"]" TIMES, false);
    assert_forged(&p, HEADER, "{\"iss\":\"" ISS "\",\"aud\":[]" TIMES, false);
    assert_forged(&p, HEADER, "{\"iss\":\"" ISS "\",\"aud\":{\"0\":\"nexus\"}" TIMES, false);
    assert_forged(&p, HEADER, "{\"iss\":\"" ISS "\",\"aud\":[\"other\",\"nexus\"]" TIMES, true);
    assert_forged(&p, HEADER, "{\"iss\":\"" ISS "\",\"aud\":\"nexus\",\"sub\":7" TIMES, false);
    const char *const types[] = {"\"JWT\"", "\"logout+jwt\"", "\"rt+jwt\"", "\"dpop+jwt\"", "7", "\"\""};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char header[128];
        snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"typ\":%s,\"kid\":\"k1\"}", types[i]);
        assert_forged(&p, header, "{" GOOD "}", false);
    }
    assert_forged(&p, "{\"alg\":\"ES256\",\"kid\":\"k1\"}", "{" GOOD "}", false);
    assert_forged(&p, "{\"alg\":\"ES256\",\"typ\":\"application/AT+JWT\",\"kid\":\"k1\"}", "{" GOOD "}", true);
    pair_free(&p);
}

Test(jwt, row_54_extensions)
{
    pair p = pair_new("ES256");
    const char *const more[] = {
        "\"crit\":[\"exp\"]", "\"crit\":[]",         "\"b64\":false",    "\"crit\":[\"b64\"],\"b64\":false",
        "\"zip\":\"DEF\"",    "\"enc\":\"A256GCM\"", "\"alg\":\"ES256\""};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        char header[128];
        snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\",%s}", more[i]);
        assert_forged(&p, header, "{" GOOD "}", false);
    }
    assert_forged(&p, "[]", "{" GOOD "}", false);
    assert_forged(&p, HEADER, "[]", false);
    assert_forged(&p, HEADER, "\xff", false);
    pair_free(&p);
}

Test(jwt, keys_travel_as_jwk_and_pem)
{
    const char *const algs[] = {"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS384"};
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++) {
        nexus_key *key = fresh(algs[i]), *jwk_key, *pem_key;
        char *jwk, *pem, *token;
        size_t n;
        cr_assert_eq(nexus_key_print_jwk(key, true, &jwk, &n), NEXUS_OK);
        cr_assert_eq(nexus_key_parse_jwk(&jwk_key, jwk, n, NULL), NEXUS_OK, "%s: %s", algs[i], nexus_error_message());
        cr_assert_eq(nexus_key_print_pem(jwk_key, true, &pem, &n), NEXUS_OK);
        cr_assert_eq(nexus_key_parse_pem(&pem_key, pem, n, algs[i], "k1"), NEXUS_OK, "%s", nexus_error_message());
        cr_assert_eq(nexus_jwt_sign(&token, &n, pem_key, NULL, "{" GOOD "}", strlen("{" GOOD "}")), NEXUS_OK);
        nexus_keyset *set = set_of(key);
        cr_expect_eq(check(set, token, n), NEXUS_OK, "%s", nexus_error_message());
        nexus_keyset_free(set);
        nexus_free(token);
        nexus_free(jwk);
        nexus_free(pem);
        nexus_key_free(jwk_key);
        nexus_key_free(pem_key);
    }
}

Test(jwt, kid_is_the_thumbprint_of_rfc_7638)
{
    static const char jwk[] =
        "{\"kty\":\"RSA\",\"n\":"
        "\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJEC"
        "PebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
        "FDW2QvzqY368QQMicAtaSqzs8KJZgn"
        "Yb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-cs"
        "FCur-kEgU8awapJzKnqDKgw\",\"e\":\"AQAB\",\"alg\":\"RS256\"}";
    nexus_key *key;
    cr_assert_eq(nexus_key_parse_jwk(&key, jwk, sizeof jwk - 1, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_str_eq(nexus_key_id(key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    nexus_key_free(key);
}

Test(jwt, sets_refuse_what_is_ambiguous)
{
    nexus_keyset *set = set_of(fresh("ES256"));
    nexus_key *same = fresh("ES384"), *hmac;
    cr_expect_eq(nexus_keyset_add(set, same), NEXUS_ECONFLICT);
    nexus_key_free(same);
    cr_assert_eq(nexus_key_generate(&hmac, "HS256", "h"), NEXUS_OK);
    cr_expect_eq(nexus_keyset_add(set, hmac), NEXUS_EINVAL);
    nexus_keyset *strict;
    cr_assert_eq(nexus_keyset_new(&strict, NULL), NEXUS_OK);
    cr_expect_eq(nexus_keyset_add(strict, hmac), NEXUS_EPERM);
    nexus_key_free(hmac);
    char *json;
    size_t n;
    cr_assert_eq(nexus_keyset_print(set, &json, &n), NEXUS_OK);
    cr_expect_null(strstr(json, "\"d\""));
    nexus_free(json);
    nexus_keyset_free(set);
    nexus_keyset_free(strict);
}

Test(jwt, private_parts_must_belong)
{
    nexus_key *a = fresh("ES256"), *b;
    char *jwk;
    size_t n;
    cr_assert_eq(nexus_key_print_jwk(a, true, &jwk, &n), NEXUS_OK);
    char *d = strstr(jwk, "\"d\":\"");
    d[6] = d[6] == 'A' ? 'B' : 'A';
    cr_expect_eq(nexus_key_parse_jwk(&b, jwk, n, NULL), NEXUS_EINVAL);
    nexus_free(jwk);
    nexus_key_free(a);
}
