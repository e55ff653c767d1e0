/* crypto/: published answers, and refusal of what must not be used. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/codec.h"
#include "crypto/aead.h"
#include "crypto/hmac.h"
#include "crypto/password.h"
#include "crypto/pkey.h"
#include "crypto/wipe.h"

static void assert_hex(const void *data, size_t n, const char *expected)
{
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    nexus__hex_append(&b, data, n);
    cr_assert(nexus__slice_eq_c(nexus__buf_slice(&b), expected), "%.*s", (int)b.len, b.p);
    nexus__buf_free(&b);
}

Test(hash, answers_of_fips_180)
{
    uint8_t out[NEXUS__DIGEST_MAX];
    cr_assert_eq(nexus__hash(NEXUS__SHA256, NEXUS_S("abc"), out), NEXUS_OK);
    assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cr_assert_eq(nexus__hash(NEXUS__SHA1, NEXUS_S(""), out), NEXUS_OK);
    assert_hex(out, 20, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    nexus__hasher *h;
    cr_assert_eq(nexus__hasher_new(&h, NEXUS__SHA256), NEXUS_OK);
    for (int round = 0; round < 2; round++) {
        nexus__hasher_update(h, "a", 1);
        nexus__hasher_update(h, "bc", 2);
        cr_assert_eq(nexus__hasher_final(h, out), NEXUS_OK);
        assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
    nexus__hasher_free(h);
}

Test(hmac, answers_of_rfc_4231)
{
    uint8_t key[20], out[NEXUS__DIGEST_MAX];
    memset(key, 0x0b, sizeof key);
    nexus__hmac *h;
    cr_assert_eq(nexus__hmac_new(&h, NEXUS__SHA256, key, sizeof key), NEXUS_OK);
    const nexus_slice pieces[] = {NEXUS_S("Hi "), NEXUS_S(""), NEXUS_S("There")};
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(nexus__hmac_compute(h, pieces, 3, out), NEXUS_OK);
        assert_hex(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
    nexus__hmac_free(h);
}

Test(aead, opens_only_what_it_sealed)
{
    uint8_t key[32] = {1}, nonce[12] = {2}, sealed[5 + 16], plain[5];
    nexus__aead *a;
    cr_assert_eq(nexus__aead_new(&a, key), NEXUS_OK);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(nexus__aead_seal(a, nonce, NEXUS_S("row 1"), NEXUS_S("hello"), sealed), NEXUS_OK);
        cr_assert_eq(nexus__aead_open(a, nonce, NEXUS_S("row 1"), nexus__slice(sealed, sizeof sealed), plain), NEXUS_OK);
        cr_assert_eq(memcmp(plain, "hello", 5), 0);
        cr_assert_eq(nexus__aead_open(a, nonce, NEXUS_S("row 2"), nexus__slice(sealed, sizeof sealed), plain),
                     NEXUS_ECORRUPT);
    }
    for (size_t i = 0; i < sizeof sealed; i++) {
        sealed[i] ^= 1;
        cr_assert_eq(nexus__aead_open(a, nonce, NEXUS_S("row 1"), nexus__slice(sealed, sizeof sealed), plain),
                     NEXUS_ECORRUPT);
        sealed[i] ^= 1;
    }
    cr_assert_eq(nexus__aead_open(a, nonce, NEXUS_S("row 1"), nexus__slice(sealed, 15), plain), NEXUS_ECORRUPT);
    nexus__aead_free(a);
}

Test(password, phc_string_of_the_agreed_cost)
{
    const nexus__argon2 cost = {19456, 2, 1}, other = {64, 1, 1};
    char hash[NEXUS__PASSWORD_HASH_MAX];
    cr_assert_eq(nexus__password_hash(&cost, NEXUS_S("correct horse"), hash), NEXUS_OK);
    cr_assert(nexus__slice_starts(nexus__slice_c(hash), NEXUS_S("$argon2id$v=19$m=19456,t=2,p=1$")), "%s", hash);
    cr_assert_eq(nexus__password_verify(hash, NEXUS_S("correct horse")), NEXUS_OK);
    cr_assert_eq(nexus__password_verify(hash, NEXUS_S("correct hors")), NEXUS_EAUTH);
    cr_assert_not(nexus__password_is_stale(hash, &cost));
    cr_assert(nexus__password_is_stale(hash, &other));
}

Test(password, a_stored_cost_cannot_exhaust_memory)
{
    cr_assert_eq(nexus__password_verify("$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$aGFzaA", NEXUS_S("x")),
                 NEXUS_ECORRUPT);
    cr_assert_eq(nexus__password_verify("$argon2i$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$aGFzaA", NEXUS_S("x")), NEXUS_ECORRUPT);
    cr_assert_eq(nexus__password_verify("", NEXUS_S("x")), NEXUS_ECORRUPT);
}

Test(pkey, every_algorithm_signs_and_verifies)
{
    const char *const names[] = {"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256", "HS256", "HS512"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        nexus__pkey *key;
        uint8_t sig[NEXUS__SIGNATURE_MAX];
        size_t n;
        cr_assert_eq(nexus__pkey_generate(&key, nexus__sigalg_find(nexus__slice_c(names[i]))), NEXUS_OK);
        for (int round = 0; round < 3; round++) {
            cr_assert_eq(nexus__pkey_sign(key, NEXUS_S("message"), sig, &n), NEXUS_OK, "%s", names[i]);
            cr_assert(nexus__pkey_verify(key, NEXUS_S("message"), nexus__slice(sig, n)), "%s", names[i]);
            cr_assert_not(nexus__pkey_verify(key, NEXUS_S("massage"), nexus__slice(sig, n)), "%s", names[i]);
            cr_assert_not(nexus__pkey_verify(key, NEXUS_S("message"), nexus__slice(sig, n - 1)), "%s", names[i]);
            sig[n / 2] ^= 4;
            cr_assert_not(nexus__pkey_verify(key, NEXUS_S("message"), nexus__slice(sig, n)), "%s", names[i]);
        }
        nexus__pkey_free(key);
    }
}

Test(pkey, algorithm_names_are_case_sensitive)
{
    cr_assert_null(nexus__sigalg_find(NEXUS_S("es256")));
    cr_assert_null(nexus__sigalg_find(NEXUS_S("none")));
    cr_assert_null(nexus__sigalg_find(NEXUS_S("RSA1_5")));
    cr_assert_not_null(nexus__sigalg_find(NEXUS_S("Ed25519")));
}
