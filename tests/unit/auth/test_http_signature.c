/* HTTP Message Signatures against the vectors of RFC 9421, appendix B.2, and what must not pass. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "auth/http_signature.h"
#include "base/codec.h"
#include "gateway/auth/nonces.h"

typedef struct fields {
    nexus_pair items[8];
} fields;

static bool field_at(const void *user_data, nexus_slice name, uint32_t i, nexus_slice *value)
{
    const fields *f = user_data;
    for (size_t k = 0; k < 8 && f->items[k].name.p; k++)
        if (nexus__slice_eq(f->items[k].name, name) && i-- == 0) {
            *value = f->items[k].value;
            return true;
        }
    return false;
}

static const fields published = {{
    {{"date", sizeof("date") - 1}, {"Tue, 20 Apr 2021 02:07:55 GMT", sizeof("Tue, 20 Apr 2021 02:07:55 GMT") - 1}},
    {{"content-type", sizeof("content-type") - 1}, {"application/json", sizeof("application/json") - 1}},
    {{"content-length", sizeof("content-length") - 1}, {"18", sizeof("18") - 1}},
}};

static nexus__signed_request published_request(void)
{
    return (nexus__signed_request){.method = NEXUS_S("POST"), .scheme = NEXUS_S("https"), .authority = NEXUS_S("example.com"),
                                   .path = NEXUS_S("/foo"), .target = NEXUS_S("/foo?param=Value&Pet=dog"),
                                   .query = NEXUS_S("?param=Value&Pet=dog"), .field = field_at, .user_data = &published};
}

static nexus__pkey *key_of(const char *alg, const char *text)
{
    uint8_t bytes[256];
    size_t n;
    nexus__pkey *key = NULL;
    cr_assert(nexus__base64_decode(nexus__slice_c(text), bytes, &n));
    const nexus__sigalg *a = nexus__sigalg_find(nexus__slice_c(alg));
    nexus__key_parts parts = {0};
    *(a->type == NEXUS__KEY_HMAC ? &parts.k : &parts.x) = nexus__slice(bytes, n);
    cr_assert_eq(nexus__pkey_from_parts(&key, a, &parts), NEXUS_OK);
    return key;
}

static nexus_status verify(const char *input, const char *signature, const nexus__signed_request *r, const nexus__pkey *key)
{
    nexus__http_signature s;
    nexus__buf base;
    nexus__buf_init(&base, NULL, 0);
    nexus_status status = nexus__http_signature_parse(&s, nexus__slice_c(input), nexus__slice_c(signature));
    if (!status)
        status = nexus__http_signature_base(&s, r, &base);
    if (!status)
        status = nexus__http_signature_verify(&s, key, nexus__buf_slice(&base));
    nexus__buf_free(&base);
    return status;
}

static const char secret[] = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
static const char hmac_input[] =
    "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
static const char hmac_signature[] = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";

Test(http_signature, the_published_vectors)
{
    nexus__signed_request r = published_request();
    nexus__pkey *hmac = key_of("HS256", secret), *ed = key_of("EdDSA", "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=");
    cr_expect_eq(verify(hmac_input, hmac_signature, &r, hmac), NEXUS_OK);
    cr_expect_eq(verify("sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")"
                        ";created=1618884473;keyid=\"test-key-ed25519\"",
                        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
                        &r, ed),
                 NEXUS_OK);
    r.authority = NEXUS_S("example.org");
    cr_expect_eq(verify(hmac_input, hmac_signature, &r, hmac), NEXUS_EAUTH);
    nexus__pkey_free(hmac);
    nexus__pkey_free(ed);
}

/* Signs by each algorithm, and lets no other one pass for it. */
Test(http_signature, every_algorithm_and_no_other)
{
    static const char *const rows[][3] = {{"HS256", "hmac-sha256", "ed25519"},
                                          {"ES256", "ecdsa-p256-sha256", "hmac-sha256"},
                                          {"EdDSA", "ed25519", "hmac-sha256"},
                                          {"PS512", "rsa-pss-sha512", "rsa-v1_5-sha256"}};
    nexus__signed_request r = published_request();
    for (size_t i = 0; i < 4; i++) {
        nexus__pkey *key = NULL;
        cr_assert_eq(nexus__pkey_generate(&key, nexus__sigalg_find(nexus__slice_c(rows[i][0]))), NEXUS_OK);
        for (int wrong = 0; wrong < 2; wrong++) {
            char input[256], params[200];
            uint8_t bytes[NEXUS__SIGNATURE_MAX];
            size_t n;
            nexus__buf base, signature;
            nexus__buf_init(&base, NULL, 0);
            nexus__buf_init(&signature, NULL, 0);
            snprintf(params, sizeof params, "(\"@method\" \"@target-uri\");created=1;keyid=\"k\";alg=\"%s\"", rows[i][1 + wrong]);
            snprintf(input, sizeof input, "s=%s", params);
            nexus__buf_printf(&base,
                              "\"@method\": POST\n\"@target-uri\": https://example.com/foo?param=Value&Pet=dog\n"
                              "\"@signature-params\": %s",
                              params);
            cr_assert_eq(nexus__pkey_sign(key, nexus__buf_slice(&base), bytes, &n), NEXUS_OK);
            nexus__buf_text(&signature, "s=:");
            nexus__base64_append(&signature, bytes, n);
            nexus__buf_append(&signature, ":", 2);
            cr_expect_eq(verify(input, signature.p, &r, key), wrong ? NEXUS_EAUTH : NEXUS_OK, "%s", input);
            nexus__buf_free(&base);
            nexus__buf_free(&signature);
        }
        nexus__pkey_free(key);
    }
}

Test(http_signature, another_form_is_refused)
{
    static const char *const inputs[] = {
        "", "s", "s=", "s=(", "s=(\"a\"", "s=(\"a\"\"b\")", "s=(\"a\"  \"b\")", "s=(\"a\" )", "s=(\"a\" \"a\")", "s=(\"A\")",
        "s=(\"\")", "s=(\"a\";sf)", "s=();created", "s=();created=x", "s=();created=-1", "s=();created=1;created=2",
        "s=();created=9999999999999999", "s=();keyid=\"a", "s=();keyid=\"a\";keyid=\"b\"", "s=();keyid=\"a\\\"b\"",
        "s=();unknown=1", "s=(), t=()", "s=() ;created=1", "S=()", "s=();keyid=k",
    };
    nexus__http_signature s;
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        cr_expect_eq(nexus__http_signature_parse(&s, nexus__slice_c(inputs[i]), NEXUS_S("s=:AA==:")), NEXUS_EINVAL, "%s",
                     inputs[i]);
    static const char *const signatures[] = {"", "s", "s=", "s=:", "s=:AA==", "s=:AA==:, t=:AA==:", "t=:AA==:", "s=\"AA==\""};
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++)
        cr_expect_eq(nexus__http_signature_parse(&s, NEXUS_S("s=(\"a\")"), nexus__slice_c(signatures[i])), NEXUS_EINVAL, "%s",
                     signatures[i]);
}

static nexus_status covers(const char *input, bool has_body, int64_t now_s)
{
    nexus__http_signature s;
    nexus__signed_request r = {.has_body = has_body};
    cr_assert_eq(nexus__http_signature_parse(&s, nexus__slice_c(input), NEXUS_S("s=:AA==:")), NEXUS_OK, "%s", input);
    return nexus__http_signature_covers(&s, &r, now_s);
}

Test(http_signature, it_is_bound_to_the_request_and_the_time)
{
    static const char good[] = "s=(\"@method\" \"@target-uri\");created=1000;keyid=\"k\";nonce=\"n\"";
    cr_expect_eq(covers(good, false, 1300), NEXUS_OK);
    cr_expect_eq(covers(good, false, 700), NEXUS_OK);
    cr_expect_eq(covers(good, false, 1301), NEXUS_EAUTH);
    cr_expect_eq(covers(good, false, 699), NEXUS_EAUTH);
    cr_expect_eq(covers(good, true, 1000), NEXUS_EAUTH);
    static const char body[] = "s=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\")"
                               ";created=1000;expires=1010;nonce=\"n\";keyid=\"k\"";
    cr_expect_eq(covers(body, true, 1009), NEXUS_OK);
    cr_expect_eq(covers(body, true, 1010), NEXUS_EAUTH);
    static const char *const short_of[] = {
        "s=(\"@target-uri\");created=1000;keyid=\"k\";nonce=\"n\"",
        "s=(\"@method\" \"@authority\" \"@path\");created=1000;keyid=\"k\";nonce=\"n\"",
        "s=(\"@method\" \"@target-uri\");keyid=\"k\";nonce=\"n\"",
        "s=(\"@method\" \"@target-uri\");created=1000;nonce=\"n\"",
        "s=(\"@method\" \"@target-uri\");created=1000;keyid=\"k\"",
    };
    for (size_t i = 0; i < sizeof short_of / sizeof short_of[0]; i++)
        cr_expect_eq(covers(short_of[i], false, 1000), NEXUS_EAUTH, "%s", short_of[i]);
}

Test(http_signature, a_component_that_is_not_there_cannot_be_signed)
{
    nexus__signed_request r = published_request();
    nexus__pkey *key = key_of("HS256", secret);
    cr_expect_eq(verify("s=(\"x-none\")", "s=:AA==:", &r, key), NEXUS_EINVAL);
    cr_expect_eq(verify("s=(\"@status\")", "s=:AA==:", &r, key), NEXUS_EINVAL);
    cr_expect_eq(verify("s=(\"@method\")", "s=:!:", &r, key), NEXUS_EAUTH);
    nexus__pkey_free(key);
}

Test(http_signature, a_digest_of_another_body_is_refused)
{
    nexus_slice body = NEXUS_S("{\"hello\": \"world\"}");
    static const struct {
        const char *value;
        bool is;
    } rows[] = {
        {"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", true},
        {"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:", true},
        {"md5=:AA==:, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", true},
        {"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:, sha-512=:AA==:", false},
        {"sha-256=:Y48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", false},
        {"sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=", false},
        {"md5=:AA==:", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(nexus__content_digest_is(nexus__slice_c(rows[i].value), body), rows[i].is, "%s", rows[i].value);
}

Test(http_signature, a_nonce_passes_once_for_a_key_and_a_full_table_refuses)
{
    nexus__nonces *nonces = NULL;
    cr_assert_eq(nexus__nonces_new(&nonces, 16, NULL), NEXUS_OK);
    cr_expect_eq(nexus__nonces_use(nonces, NEXUS_S("a"), NEXUS_S("n"), 100, 0), NEXUS_OK);
    cr_expect_eq(nexus__nonces_use(nonces, NEXUS_S("a"), NEXUS_S("n"), 100, 100), NEXUS_ECONFLICT);
    cr_expect_eq(nexus__nonces_use(nonces, NEXUS_S("b"), NEXUS_S("n"), 100, 0), NEXUS_OK);
    for (char c = 'a'; c < 'a' + 14; c++)
        cr_expect_eq(nexus__nonces_use(nonces, NEXUS_S("c"), nexus__slice(&c, 1), 100, 0), NEXUS_OK);
    cr_expect_eq(nexus__nonces_use(nonces, NEXUS_S("c"), NEXUS_S("one more"), 200, 0), NEXUS_ENOSPC);
    cr_expect_eq(nexus__nonces_use(nonces, NEXUS_S("a"), NEXUS_S("n"), 100, 0), NEXUS_ECONFLICT);
    cr_expect_eq(nexus__nonces_use(nonces, NEXUS_S("c"), NEXUS_S("one more"), 200, 101), NEXUS_OK);
    nexus__nonces_free(nonces);
}
