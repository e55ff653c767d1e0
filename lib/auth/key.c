/* Keys: made, read from and written as JWK (RFC 7517, 7518, 8037) and PEM. */
#include "auth/jose.h"
#include "base/codec.h"
#include "base/status.h"
#include "crypto/wipe.h"
#include "json/write.h"

/* --- JWK text ------------------------------------------------------------------------------------------------- */

typedef struct member {
    const char *name;
    size_t offset; /* in nexus__key_parts */
} member;

#define PART(field)                                                                                                    \
    {                                                                                                                  \
#field, offsetof(nexus__key_parts, field)                                                                      \
    }
static const member rsa_public[] = {PART(n), PART(e)};
static const member rsa_private[] = {PART(d), PART(p), PART(q), PART(dp), PART(dq), PART(qi)};
static const member ec_public[] = {PART(x), PART(y)};
static const member okp_public[] = {PART(x)};
static const member d_only[] = {PART(d)};
static const member oct_secret[] = {PART(k)};

/* What a JWK of each kind is made of. */
typedef struct kind {
    const char *kty;
    const member *open, *closed; /* public and private members */
    size_t open_n, closed_n;
} kind;

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
static const kind kinds[] = {
    [NEXUS__KEY_EC] = {"EC", ec_public, d_only, COUNT(ec_public), COUNT(d_only)},
    [NEXUS__KEY_RSA] = {"RSA", rsa_public, rsa_private, COUNT(rsa_public), COUNT(rsa_private)},
    [NEXUS__KEY_PSS] = {"RSA", rsa_public, rsa_private, COUNT(rsa_public), COUNT(rsa_private)},
    [NEXUS__KEY_ED25519] = {"OKP", okp_public, d_only, COUNT(okp_public), COUNT(d_only)},
    [NEXUS__KEY_HMAC] = {"oct", NULL, oct_secret, 0, COUNT(oct_secret)},
};

static nexus_slice *part_of(nexus__key_parts *parts, const member *m)
{
    return (nexus_slice *)(void *)((char *)parts + m->offset);
}

static void put_part(nexus__json_writer *w, const member *m, nexus__key_parts *parts)
{
    nexus_slice value = *part_of(parts, m);
    if (value.n == 0)
        return;
    nexus__json_key(w, m->name);
    nexus__buf_char(w->out, '"');
    nexus__base64url_append(w->out, value.p, value.n);
    nexus__buf_char(w->out, '"');
    w->comma = true;
}

/* --- making a key object --------------------------------------------------------------------------------------- */

/* RFC 7638: the required members in lexicographic order, hashed. */
static nexus_status thumbprint(const nexus__pkey *pkey, nexus__buf *out)
{
    static const char *const order[] = {"crv", "e", "k", "kty", "n", "x", "y"};
    const nexus__sigalg *alg = nexus__pkey_alg(pkey);
    nexus__key_parts parts;
    uint8_t *block, digest[NEXUS__DIGEST_MAX];
    size_t block_n;
    nexus_status status = nexus__pkey_parts(pkey, false, &parts, &block, &block_n);
    if (status != NEXUS_OK)
        return status;
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    for (size_t i = 0; i < COUNT(order); i++) {
        const kind *k = &kinds[alg->type];
        if (strcmp(order[i], "kty") == 0)
            nexus__json_put_text_c(&w, "kty", k->kty);
        else if (strcmp(order[i], "crv") == 0 && alg->crv)
            nexus__json_put_text_c(&w, "crv", alg->crv);
        const member *members = k->open_n ? k->open : k->closed;
        for (size_t j = 0; j < (k->open_n ? k->open_n : k->closed_n); j++)
            if (strcmp(order[i], members[j].name) == 0)
                put_part(&w, &members[j], &parts);
    }
    nexus__json_close(&w, '}');
    status = text.status != NEXUS_OK ? nexus__nomem() : nexus__hash(NEXUS__SHA256, nexus__buf_slice(&text), digest);
    if (status == NEXUS_OK)
        nexus__base64url_append(out, digest, 32);
    nexus__wipe(text.p, text.cap);
    nexus__buf_free(&text);
    nexus__wipe(block, block_n);
    nexus__free(NULL, block);
    return status;
}

/* Takes pkey, even on failure. */
static nexus_status make_key(nexus_key **out, nexus__pkey *pkey, const char *kid)
{
    nexus_key *key = nexus__calloc(NULL, 1, sizeof *key);
    nexus__buf id;
    nexus__buf_init(&id, NULL, 1024);
    nexus_status status = key ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK && kid)
        nexus__buf_text(&id, kid);
    else if (status == NEXUS_OK)
        status = thumbprint(pkey, &id);
    if (status == NEXUS_OK && id.status != NEXUS_OK)
        status = nexus__fail(NEXUS_EINVAL, "kid: at most 1024 bytes");
    if (status != NEXUS_OK) {
        nexus__buf_free(&id);
        nexus__pkey_free(pkey);
        nexus__free(NULL, key);
        return status;
    }
    key->kid.p = nexus__buf_take(&id, &key->kid.n);
    key->pkey = pkey;
    atomic_init(&key->refs, 1);
    if (!key->kid.p) {
        nexus_key_free(key);
        return nexus__nomem();
    }
    *out = key;
    return NEXUS_OK;
}

static nexus_status find_alg(const nexus__sigalg **out, const char *alg)
{
    *out = alg ? nexus__sigalg_find(nexus__slice_c(alg)) : NULL;
    if (*out)
        return NEXUS_OK;
    return nexus__fail(NEXUS_EINVAL, "alg: \"%s\" is not supported; ES256, EdDSA, RS256 or PS256 are usual",
                       alg ? alg : "");
}

nexus_status nexus_key_generate(nexus_key **out, const char *alg, const char *kid)
{
    const nexus__sigalg *found = NULL;
    nexus__pkey *pkey;
    nexus_status status = find_alg(&found, alg);
    if (status == NEXUS_OK)
        status = nexus__pkey_generate(&pkey, found);
    return status == NEXUS_OK ? make_key(out, pkey, kid) : status;
}

nexus_status nexus_key_from_secret(nexus_key **out, const void *secret, size_t n, const char *alg, const char *kid)
{
    const nexus__sigalg *found = NULL;
    nexus__pkey *pkey;
    nexus_status status = find_alg(&found, alg);
    if (status == NEXUS_OK && found->type != NEXUS__KEY_HMAC)
        status = nexus__fail(NEXUS_EINVAL, "alg: %s does not use a secret", alg);
    nexus__key_parts parts = {.k = nexus__slice(secret, n)};
    if (status == NEXUS_OK)
        status = nexus__pkey_from_parts(&pkey, found, &parts);
    return status == NEXUS_OK ? make_key(out, pkey, kid) : status;
}

nexus_status nexus_key_parse_pem(nexus_key **out, const char *pem, size_t n, const char *alg, const char *kid)
{
    const nexus__sigalg *found = NULL;
    nexus__pkey *pkey;
    nexus_status status = alg ? find_alg(&found, alg) : NEXUS_OK;
    if (status == NEXUS_OK)
        status = nexus__pkey_from_pem(&pkey, found, nexus__slice(pem, n));
    return status == NEXUS_OK ? make_key(out, pkey, kid) : status;
}

/* --- reading a JWK --------------------------------------------------------------------------------------------- */

static bool lists_signing(nexus__json *doc, uint32_t ops)
{
    for (nexus__json_iter it = nexus__json_each(doc, ops); nexus__json_step(doc, &it);)
        if (nexus__json_text_is(doc, it.value, NEXUS_S("verify")) || nexus__json_text_is(doc, it.value, NEXUS_S("sign")))
            return true;
    return false;
}

static nexus_status check_purpose(nexus__json *doc, uint32_t v)
{
    uint32_t use = nexus__json_get(doc, v, "use"), ops = nexus__json_get(doc, v, "key_ops");
    if (use != NEXUS__JSON_NONE && !nexus__json_text_is(doc, use, NEXUS_S("sig")))
        return nexus__fail(NEXUS_ENOTSUP, "use: the key is not for signatures");
    if (ops != NEXUS__JSON_NONE && !lists_signing(doc, ops))
        return nexus__fail(NEXUS_ENOTSUP, "key_ops: the key is not for signatures");
    return NEXUS_OK;
}

static nexus_status jwk_alg(const nexus__sigalg **out, nexus__json *doc, uint32_t v, const char *wanted)
{
    nexus_slice name, crv = {0}, kty = {0};
    const nexus__sigalg *alg = NULL;
    bool named = nexus__json_get(doc, v, "alg") != NEXUS__JSON_NONE;
    bool has_crv = nexus__json_get_text(doc, v, "crv", &crv);
    if (named && (!nexus__json_get_text(doc, v, "alg", &name) || !(alg = nexus__sigalg_find(name))))
        return nexus__fail(NEXUS_ENOTSUP, "alg: not a supported signature algorithm");
    if (wanted) {
        const nexus__sigalg *asked = nexus__sigalg_find(nexus__slice_c(wanted));
        if (!asked || (alg && asked != alg))
            return nexus__fail(NEXUS_EINVAL, "alg: the key is not for %s", wanted);
        alg = asked;
    }
    if (!alg && has_crv)
        alg = nexus__sigalg_of_curve(crv);
    if (!alg)
        return nexus__fail(NEXUS_ENOTSUP, "alg: the key does not say which algorithm it is for");
    if (!nexus__json_get_text(doc, v, "kty", &kty) || !nexus__slice_eq_c(kty, kinds[alg->type].kty))
        return nexus__fail(NEXUS_EINVAL, "kty: does not fit %s", alg->name);
    if (alg->crv && !nexus__slice_eq_c(crv, alg->crv))
        return nexus__fail(NEXUS_EINVAL, "crv: %s needs %s", alg->name, alg->crv);
    *out = alg;
    return NEXUS_OK;
}

/* Decodes the members present into block. A private part is complete or absent. */
static nexus_status read_parts(nexus__key_parts *parts, uint8_t *block, nexus__json *doc, uint32_t v,
                               const member *members, size_t count, bool required)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t node = nexus__json_get(doc, v, members[i].name);
        if (node == NEXUS__JSON_NONE && !required)
            continue;
        nexus_slice text;
        size_t n;
        uint8_t *at = block + (size_t)i * 1600;
        if (!nexus__json_text(doc, node, &text) || text.n == 0 || text.n > 2000 ||
            !nexus__base64url_decode(text, at, &n))
            return nexus__fail(NEXUS_EINVAL, "%s: must be base64url", members[i].name);
        *part_of(parts, &members[i]) = nexus__slice(at, n);
    }
    return NEXUS_OK;
}

static nexus_status read_pkey(nexus__pkey **out, const nexus__sigalg *alg, nexus__json *doc, uint32_t v)
{
    const kind *k = &kinds[alg->type];
    size_t size = 8 * 1600;
    uint8_t *block = nexus__malloc(NULL, size);
    if (!block)
        return nexus__nomem();
    nexus__key_parts parts = {0};
    nexus_status status = read_parts(&parts, block, doc, v, k->open, k->open_n, true);
    if (status == NEXUS_OK)
        status = read_parts(&parts, block + 2 * 1600, doc, v, k->closed, k->closed_n, alg->type == NEXUS__KEY_HMAC);
    if (status == NEXUS_OK && nexus__json_get(doc, v, "oth") != NEXUS__JSON_NONE)
        status = nexus__fail(NEXUS_EINVAL, "oth: RSA keys of more than two primes are refused");
    if (status == NEXUS_OK)
        status = nexus__pkey_from_parts(out, alg, &parts);
    nexus__wipe(block, size);
    nexus__free(NULL, block);
    return status;
}

nexus_status nexus__key_from_json(nexus_key **out, nexus__json *doc, uint32_t v, const char *alg)
{
    const nexus__sigalg *found = NULL;
    nexus__pkey *pkey;
    nexus_slice kid;
    if (!nexus__json_is(doc, v, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "a JWK is a JSON object");
    uint32_t kid_node = nexus__json_get(doc, v, "kid");
    if (kid_node != NEXUS__JSON_NONE && (!nexus__json_text(doc, kid_node, &kid) || kid.n > 1024))
        return nexus__fail(NEXUS_EINVAL, "kid: must be a string of at most 1024 bytes");
    nexus_status status = check_purpose(doc, v);
    if (status == NEXUS_OK)
        status = jwk_alg(&found, doc, v, alg);
    if (status == NEXUS_OK)
        status = read_pkey(&pkey, found, doc, v);
    if (status != NEXUS_OK)
        return status;
    if (kid_node == NEXUS__JSON_NONE)
        return make_key(out, pkey, NULL);
    char *text = nexus__strndup(NULL, kid); /* strict JSON has no NUL inside */
    if (!text) {
        nexus__pkey_free(pkey);
        return nexus__nomem();
    }
    status = make_key(out, pkey, text);
    nexus__free(NULL, text);
    return status;
}

nexus_status nexus_key_parse_jwk(nexus_key **out, const char *json, size_t n, const char *alg)
{
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus__json_limits limits = {.max_depth = 16, .max_bytes = 64 * 1024};
    nexus_status status = nexus__json_scan(&doc, nexus__slice(json, n), &limits);
    if (status == NEXUS_OK)
        status = nexus__key_from_json(out, &doc, 0, alg);
    nexus__json_free(&doc);
    return status == NEXUS_ENOTSUP || status == NEXUS_ETOOBIG ? NEXUS_EINVAL : status;
}

/* --- what a key tells ------------------------------------------------------------------------------------------ */

const char *nexus_key_id(const nexus_key *key)
{
    return key->kid.p;
}

const char *nexus_key_alg(const nexus_key *key)
{
    return nexus__pkey_alg(key->pkey)->name;
}

bool nexus_key_is_private(const nexus_key *key)
{
    return nexus__pkey_is_private(key->pkey);
}

void nexus__key_write_jwk(nexus__buf *out, const nexus_key *key, bool with_private, nexus_status *status)
{
    const nexus__sigalg *alg = nexus__pkey_alg(key->pkey);
    const kind *k = &kinds[alg->type];
    nexus__key_parts parts;
    uint8_t *block;
    size_t block_n;
    *status = nexus__pkey_parts(key->pkey, with_private, &parts, &block, &block_n);
    if (*status != NEXUS_OK)
        return;
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "kty", k->kty);
    if (alg->crv)
        nexus__json_put_text_c(&w, "crv", alg->crv);
    for (size_t i = 0; i < k->open_n; i++)
        put_part(&w, &k->open[i], &parts);
    for (size_t i = 0; i < k->closed_n && with_private; i++)
        put_part(&w, &k->closed[i], &parts);
    nexus__json_put_text_c(&w, "use", "sig");
    nexus__json_put_text_c(&w, "alg", alg->name);
    nexus__json_put_text(&w, "kid", key->kid);
    nexus__json_close(&w, '}');
    nexus__wipe(block, block_n);
    nexus__free(NULL, block);
    if (out->status != NEXUS_OK)
        *status = nexus__nomem();
}

nexus_status nexus_key_print_jwk(const nexus_key *key, bool with_private, char **out, size_t *n)
{
    if (!with_private && nexus__pkey_alg(key->pkey)->type == NEXUS__KEY_HMAC)
        return nexus__fail(NEXUS_EINVAL, "an HMAC key has no public form");
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__buf_reserve(&text, 8192); /* no regrowth, which would leave copies of a private key behind */
    nexus_status status;
    nexus__key_write_jwk(&text, key, with_private, &status);
    if (status == NEXUS_OK && (*out = nexus__buf_take(&text, n)))
        return NEXUS_OK;
    nexus__wipe(text.p, text.cap);
    nexus__buf_free(&text);
    return status != NEXUS_OK ? status : nexus__nomem();
}

nexus_status nexus_key_print_pem(const nexus_key *key, bool with_private, char **out, size_t *n)
{
    return nexus__pkey_print_pem(key->pkey, with_private, out, n);
}

nexus_key *nexus__key_ref(const nexus_key *key)
{
    nexus_key *same = (nexus_key *)(uintptr_t)key;
    atomic_fetch_add_explicit(&same->refs, 1, memory_order_relaxed);
    return same;
}

void nexus_key_free(nexus_key *key)
{
    if (!key || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) != 1)
        return;
    nexus__pkey_free(key->pkey);
    nexus__free(NULL, (char *)(uintptr_t)key->kid.p);
    nexus__free(NULL, key);
}
