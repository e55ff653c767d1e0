/* JSON Web Signature, compact serialization (RFC 7515), with the rules of RFC 8725. */
#include "auth/jose.h"
#include "base/codec.h"
#include "base/status.h"
#include "json/write.h"

#define TOKEN_MAX ((size_t)1024 * 1024)

/* --- signing --------------------------------------------------------------------------------------------------- */

static void append_header(nexus__buf *out, const nexus_key *key, const char *typ)
{
    nexus__buf header;
    nexus__buf_init(&header, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&header);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "alg", nexus_key_alg(key));
    if (typ)
        nexus__json_put_text_c(&w, "typ", typ);
    nexus__json_put_text(&w, "kid", key->kid);
    nexus__json_close(&w, '}');
    if (header.status != NEXUS_OK)
        out->status = header.status;
    nexus__base64url_append(out, header.p, header.len);
    nexus__buf_free(&header);
}

nexus_status nexus_jws_sign(char **out, size_t *out_n, const nexus_key *key, const char *typ, const void *payload,
                            size_t n)
{
    uint8_t signature[NEXUS__SIGNATURE_MAX];
    size_t signature_n;
    nexus__buf token;
    nexus__buf_init(&token, NULL, TOKEN_MAX);
    append_header(&token, key, typ);
    nexus__buf_char(&token, '.');
    nexus__base64url_append(&token, payload, n);
    nexus_status status = token.status == NEXUS_ETOOBIG ? nexus__fail(NEXUS_ETOOBIG, "a JWS has at most 1 MiB")
                          : token.status != NEXUS_OK
                              ? nexus__nomem()
                              : nexus__pkey_sign(key->pkey, nexus__buf_slice(&token), signature, &signature_n);
    if (status == NEXUS_OK) {
        nexus__buf_char(&token, '.');
        nexus__base64url_append(&token, signature, signature_n);
        if ((*out = nexus__buf_take(&token, out_n)))
            return NEXUS_OK;
        status = nexus__nomem();
    }
    nexus__buf_free(&token);
    return status;
}

/* --- verifying -------------------------------------------------------------------------------------------------- */

bool nexus__typ_is(nexus_slice typ, const char *expected)
{
    nexus_slice prefix = NEXUS_S("application/");
    if (typ.n > prefix.n && nexus__slice_ieq(nexus__slice(typ.p, prefix.n), prefix))
        typ = nexus__slice_from(typ, prefix.n);
    return nexus__slice_ieq(typ, nexus__slice_c(expected));
}

static nexus_status refuse(const char *why)
{
    return nexus__fail(NEXUS_EAUTH, "token refused: %s", why);
}

/* The key the header means: by kid, or the only one. alg must then be the key's own, byte for byte. */
static nexus_status choose_key(const nexus_key **out, const nexus_keyset *set, nexus__json *doc)
{
    nexus_slice kid, alg;
    uint32_t kid_node = nexus__json_get(doc, 0, "kid");
    if (!nexus__json_get_text(doc, 0, "alg", &alg))
        return refuse("alg is missing or no string");
    const nexus_key *key = NULL;
    if (kid_node == NEXUS__JSON_NONE)
        key = set->keys.count == 1 ? set->first : NULL;
    else if (!nexus__json_text(doc, kid_node, &kid))
        return refuse("kid is no string");
    else if (!(key = nexus_keyset_find(set, kid)))
        return nexus__fail(NEXUS_ENOTFOUND, "token refused: its kid is not in the key set");
    if (!key)
        return refuse("it names no key and the set has not exactly one");
    const char *own = nexus_key_alg(key);
    bool same =
        nexus__slice_eq_c(alg, own) || (strcmp(own, "EdDSA") == 0 && nexus__slice_eq_c(alg, "Ed25519")); /* RFC 9864 */
    *out = key;
    return same ? NEXUS_OK : refuse("alg is not the key's");
}

static nexus_status read_header(nexus__jws *out, const nexus_keyset *set, nexus_slice text, const char *typ)
{
    static const char *const refused[] = {"crit", "b64", "zip", "enc"}; /* extensions and JWE: none is known here */
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus__json_limits limits = {.max_depth = 16};
    nexus_status status = nexus__json_scan(&doc, text, &limits);
    if (status != NEXUS_OK || !nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT))
        status = status == NEXUS_ENOMEM ? status : refuse("its header is no JSON object");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] && status == NEXUS_OK; i++)
        if (nexus__json_get(&doc, 0, refused[i]) != NEXUS__JSON_NONE)
            status = refuse("its header has an extension");
    nexus_slice own = {0};
    uint32_t typ_node = nexus__json_get(&doc, 0, "typ");
    if (status == NEXUS_OK && typ_node != NEXUS__JSON_NONE && !nexus__json_text(&doc, typ_node, &own))
        status = refuse("typ is no string");
    if (status == NEXUS_OK && typ && !nexus__typ_is(own, typ))
        status = refuse("typ is another");
    if (status == NEXUS_OK)
        status = choose_key(&out->key, set, &doc);
    nexus__json_free(&doc);
    return status;
}

/* Three parts, two dots, nothing else; base64url decides about the characters. */
static bool split(nexus_slice token, nexus_slice parts[static 3])
{
    size_t dots = 0;
    for (size_t i = 0; i < token.n; i++)
        dots += token.p[i] == '.';
    if (dots != 2)
        return false;
    for (size_t i = 0; i < 3; i++)
        parts[i] = nexus__slice_cut(&token, '.');
    return parts[0].n && parts[2].n;
}

nexus_status nexus__jws_open(nexus__jws *out, const nexus_keyset *set, nexus_slice token, const char *typ)
{
    nexus_slice parts[3];
    if (token.n > TOKEN_MAX || !split(token, parts))
        return refuse("not three parts of bearable length");
    char *memory = nexus__malloc(NULL, token.n + 16);
    if (!memory)
        return nexus__nomem();
    size_t n[3];
    char *at[3] = {memory, memory + NEXUS__BASE64_DECODED_MAX(parts[0].n), NULL};
    at[2] = at[1] + NEXUS__BASE64_DECODED_MAX(parts[1].n);
    nexus_status status = NEXUS_OK;
    *out = (nexus__jws){.memory = memory};
    for (size_t i = 0; i < 3 && status == NEXUS_OK; i++)
        if (!nexus__base64url_decode(parts[i], at[i], &n[i]))
            status = refuse("a part is not base64url");
    if (status == NEXUS_OK)
        status = read_header(out, set, nexus__slice(at[0], n[0]), typ);
    nexus_slice signed_text = {token.p, parts[0].n + 1 + parts[1].n};
    if (status == NEXUS_OK && !nexus__pkey_verify(out->key->pkey, signed_text, nexus__slice(at[2], n[2])))
        status = refuse("the signature is wrong");
    out->payload = status == NEXUS_OK ? nexus__slice(at[1], n[1]) : (nexus_slice){0};
    if (status != NEXUS_OK)
        nexus__free(NULL, memory);
    return status;
}

nexus_status nexus_jws_verify(const nexus_keyset *set, const char *token, size_t n, char **payload, size_t *payload_n)
{
    nexus__jws jws;
    nexus_status status = nexus__jws_open(&jws, set, nexus__slice(token, n), NULL);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? NEXUS_EAUTH : status;
    *payload = nexus__strndup(NULL, jws.payload);
    *payload_n = jws.payload.n;
    nexus__free(NULL, jws.memory);
    return *payload ? NEXUS_OK : nexus__nomem();
}
