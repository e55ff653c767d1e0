/* auth/: the published vectors of ../shared/data/jose at the JWS call, HMAC enabled. */
#include <criterion/criterion.h>
#include <nexus/jwt.h>
#include <stdio.h>
#include <stdlib.h>

#include "deviations.h"
#include "json/read.h"

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    cr_assert_eq(fread(text, 1, *n, f), *n);
    fclose(f);
    return text;
}

static bool deviates(int64_t id)
{
    for (size_t i = 0; i < sizeof jws_deviations / sizeof jws_deviations[0]; i++)
        if (jws_deviations[i].id == id)
            return true;
    return false;
}

/* A single JWK or a JWK Set; NULL when the key itself is refused. */
static nexus_keyset *keys_of(nexus__json *doc, uint32_t group)
{
    uint32_t node = nexus__json_get(doc, group, "public");
    if (node == NEXUS__JSON_NONE)
        node = nexus__json_get(doc, group, "private");
    nexus_slice raw = nexus__json_raw(doc, node);
    nexus_keyset_opts opts = NEXUS_KEYSET_OPTS_INIT;
    opts.allow_hmac = true;
    nexus_keyset *set;
    if (nexus__json_get(doc, node, "keys") != NEXUS__JSON_NONE)
        return nexus_keyset_parse(&set, raw.p, raw.n, &opts) == NEXUS_OK ? set : NULL;
    nexus_key *key;
    if (nexus_key_parse_jwk(&key, raw.p, raw.n, NULL) != NEXUS_OK)
        return NULL;
    cr_assert_eq(nexus_keyset_new(&set, &opts), NEXUS_OK);
    cr_assert_eq(nexus_keyset_add(set, key), NEXUS_OK);
    return set;
}

static void run_group(nexus__json *doc, uint32_t group, bool signatures, size_t *count)
{
    nexus_keyset *set = keys_of(doc, group);
    uint32_t tests = nexus__json_get(doc, group, "tests");
    for (nexus__json_iter it = nexus__json_each(doc, tests); nexus__json_step(doc, &it);) {
        int64_t id;
        nexus_slice token;
        cr_assert(nexus__json_get_i64(doc, it.value, "tcId", &id));
        uint32_t jws = nexus__json_get(doc, it.value, "jws");
        if (!nexus__json_text(doc, jws, &token))
            token = nexus__json_raw(doc, jws); /* a JSON serialization */
        bool expected = nexus__json_text_is(doc, nexus__json_get(doc, it.value, "result"), NEXUS_S("valid"));
        if (signatures && deviates(id))
            expected = !expected;
        char *payload = NULL;
        size_t n;
        nexus_status status = set ? nexus_jws_verify(set, token.p, token.n, &payload, &n) : NEXUS_EAUTH;
        cr_expect_eq(status == NEXUS_OK, expected, "tcId %ld: %s %s", (long)id, nexus_status_name(status),
                     nexus_error_message());
        nexus_free(payload);
        ++*count;
    }
    nexus_keyset_free(set);
}

static void run_file(const char *name, bool signatures)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/jose/%s", NEXUS_TEST_DATA, name);
    size_t n, count = 0;
    char *text = read_file(path, &n);
    if (!text)
        cr_skip_test("%s is not there", path);
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__slice(text, n), &(nexus__json_limits){.lenient = true}), NEXUS_OK);
    uint32_t groups = nexus__json_get(&doc, 0, "testGroups");
    for (nexus__json_iter it = nexus__json_each(&doc, groups); nexus__json_step(&doc, &it);)
        run_group(&doc, it.value, signatures, &count);
    int64_t all;
    cr_assert(nexus__json_get_i64(&doc, 0, "numberOfTests", &all));
    cr_expect_eq((int64_t)count, all);
    nexus__json_free(&doc);
    free(text);
}

Test(vectors, json_web_signature)
{
    run_file("json_web_signature_test.json", true);
}

Test(vectors, json_web_key)
{
    run_file("json_web_key_test.json", false);
}

/* RFC 7520, 4: reproducible signatures come out byte for byte, the others verify. */
static void run_cookbook(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/jose/rfc7520/%s", NEXUS_TEST_DATA, name);
    size_t n;
    char *text = read_file(path, &n);
    if (!text)
        cr_skip_test("%s is not there", path);
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__slice(text, n), NULL), NEXUS_OK);
    nexus_slice compact, alg, payload;
    cr_assert(nexus__json_text(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/output/compact")), &compact));
    cr_assert(nexus__json_text(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/input/alg")), &alg));
    cr_assert(nexus__json_text(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/input/payload")), &payload));
    nexus_slice raw = nexus__json_raw(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/input/key")));
    char alg_c[16];
    snprintf(alg_c, sizeof alg_c, "%.*s", (int)alg.n, alg.p);
    nexus_key *key;
    cr_assert_eq(nexus_key_parse_jwk(&key, raw.p, raw.n, alg_c), NEXUS_OK, "%s: %s", name, nexus_error_message());
    nexus_keyset_opts opts = NEXUS_KEYSET_OPTS_INIT;
    opts.allow_hmac = true;
    nexus_keyset *set;
    cr_assert_eq(nexus_keyset_new(&set, &opts), NEXUS_OK);
    cr_assert_eq(nexus_keyset_add(set, key), NEXUS_OK);
    char *got;
    cr_assert_eq(nexus_jws_verify(set, compact.p, compact.n, &got, &n), NEXUS_OK, "%s: %s", name, nexus_error_message());
    cr_assert(nexus__slice_eq(nexus__slice(got, n), payload));
    nexus_free(got);
    nexus_keyset_free(set);
    nexus__json_free(&doc);
    free(text);
}

Test(vectors, rfc7520)
{
    run_cookbook("4_1.rsa_v15_signature.json");
    run_cookbook("4_2.rsa-pss_signature.json");
    run_cookbook("4_3.ecdsa_signature.json");
    run_cookbook("4_4.hmac-sha2_integrity_protection.json");
    run_cookbook("jws.json");
}
