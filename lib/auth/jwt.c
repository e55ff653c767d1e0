/* JSON Web Tokens (RFC 7519): what must be true of the claims, and reading them. */
#include "auth/jose.h"
#include "base/status.h"
#include "base/time.h"

#define TOKEN_MAX ((size_t)8 * 1024)
#define NUMBER_MAX 9007199254740992.0 /* 2^53: beyond it a double is no exact integer */

typedef struct claim {
    nexus_slice name;
    nexus_slice *items; /* a string, or the strings of an array */
    size_t count;
    bool is_text, is_number;
    double number;
    nexus_slice raw; /* as it stands in the claims' json */
} claim;

/* Everything is decoded when the token is verified, so that many threads may read. */
struct nexus_claims {
    nexus__arena arena;
    nexus_slice json;
    claim *claims;
    size_t count;
};

void nexus_jwt_rules_init(nexus_jwt_rules *rules)
{
    *rules = (nexus_jwt_rules)NEXUS_JWT_RULES_INIT;
}

/* --- decoding ------------------------------------------------------------------------------------------------- */

static bool decode_items(nexus_claims *c, nexus__json *doc, uint32_t v, claim *into)
{
    bool array = nexus__json_is(doc, v, NEXUS__JSON_ARRAY);
    uint32_t count = array ? nexus__json_count(doc, v) : 1;
    into->items = nexus__arena_get(&c->arena, (count ? count : 1) * sizeof *into->items);
    if (!into->items)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        nexus_slice text;
        if (!nexus__json_text(doc, array ? nexus__json_element(doc, v, i) : v, &text))
            continue;
        text = nexus__arena_copy(&c->arena, text);
        if (!text.p)
            return false;
        into->items[into->count++] = text;
    }
    into->is_text = !array;
    return true;
}

static nexus_status decode(nexus_claims *c, nexus__json *doc)
{
    c->claims = nexus__arena_get(&c->arena, (nexus__json_count(doc, 0) + 1) * sizeof *c->claims);
    c->json = nexus__arena_copy(&c->arena, doc->text);
    if (!c->claims || !c->json.p)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(doc, 0); nexus__json_step(doc, &it);) {
        claim *now = &c->claims[c->count++];
        *now = (claim){0};
        nexus_slice name;
        if (!nexus__json_text(doc, it.key, &name) || !(now->name = nexus__arena_copy(&c->arena, name)).p)
            return nexus__nomem();
        now->is_number = nexus__json_double(doc, it.value, &now->number);
        nexus__json_type type = nexus__json_type_of(doc, it.value);
        if ((type == NEXUS__JSON_STRING || type == NEXUS__JSON_ARRAY) && !decode_items(c, doc, it.value, now))
            return nexus__nomem();
        nexus_slice raw = nexus__json_raw(doc, it.value);
        now->raw = nexus__slice(c->json.p + (raw.p - doc->text.p), raw.n);
    }
    return NEXUS_OK;
}

nexus_status nexus__claims_parse(nexus_claims **out, nexus_slice json)
{
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus__json_limits limits = {.max_depth = 16, .max_members = 256};
    nexus_status status = nexus__json_scan(&doc, json, &limits);
    if (status == NEXUS_OK && !nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT))
        status = nexus__fail(NEXUS_EINVAL, "claims are a JSON object");
    nexus_claims *c = status == NEXUS_OK ? nexus__calloc(NULL, 1, sizeof *c) : NULL;
    if (c) {
        nexus__arena_init(&c->arena, NULL, 2048);
        status = decode(c, &doc);
    } else if (status == NEXUS_OK) {
        status = nexus__nomem();
    }
    nexus__json_free(&doc);
    if (status == NEXUS_OK)
        *out = c;
    else
        nexus_claims_free(c);
    return status;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static const claim *find(const nexus_claims *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (nexus__slice_eq_c(c->claims[i].name, name))
            return &c->claims[i];
    return NULL;
}

bool nexus_claims_text(const nexus_claims *claims, const char *name, nexus_slice *out)
{
    const claim *c = find(claims, name);
    if (!c || !c->is_text || !c->count)
        return false;
    *out = c->items[0];
    return true;
}

bool nexus_claims_int(const nexus_claims *claims, const char *name, int64_t *out)
{
    const claim *c = find(claims, name);
    if (!c || !c->is_number || c->number > NUMBER_MAX || c->number < -NUMBER_MAX ||
        c->number != (double)(int64_t)c->number)
        return false;
    *out = (int64_t)c->number;
    return true;
}

bool nexus_claims_item(const nexus_claims *claims, const char *name, size_t index, nexus_slice *out)
{
    const claim *c = find(claims, name);
    if (!c || index >= c->count)
        return false;
    *out = c->items[index];
    return true;
}

bool nexus__claims_raw(const nexus_claims *claims, const char *name, nexus_slice *out)
{
    const claim *c = find(claims, name);
    if (c)
        *out = c->raw;
    return c != NULL;
}

void nexus_claims_json(const nexus_claims *claims, nexus_slice *out)
{
    *out = claims->json;
}

void nexus_claims_free(nexus_claims *claims)
{
    if (!claims)
        return;
    nexus__arena_free(&claims->arena);
    nexus__free(NULL, claims);
}

/* --- rules ----------------------------------------------------------------------------------------------------- */

static nexus_status refuse(const char *why)
{
    return nexus__fail(NEXUS_EAUTH, "token refused: %s", why);
}

/* NumericDate (RFC 7519, 2), seconds; fractions are allowed. */
static bool date_of(const nexus_claims *c, const char *name, double *out)
{
    const claim *found = find(c, name);
    if (!found || !found->is_number || !(found->number > 0 && found->number < NUMBER_MAX))
        return false;
    *out = found->number;
    return true;
}

static nexus_status check_times(const nexus_claims *c, const nexus_jwt_rules *rules)
{
    double now = (double)(rules->now_s ? rules->now_s : nexus__real_ns() / NEXUS__NS_PER_S);
    double skew = rules->skew_s == NEXUS_JWT_NO_SKEW ? 0 : rules->skew_s ? rules->skew_s : 30;
    double lifetime = rules->max_lifetime_s ? rules->max_lifetime_s : 24 * 3600;
    double exp, iat, nbf;
    if (!date_of(c, "exp", &exp) || !date_of(c, "iat", &iat))
        return refuse("exp and iat are required numbers");
    if (now >= exp + skew)
        return refuse("it has expired");
    if (iat > now + skew)
        return refuse("it was issued in the future");
    if (exp <= iat || exp - iat > lifetime)
        return refuse("it lives too long");
    if (find(c, "nbf") && (!date_of(c, "nbf", &nbf) || nbf > now + skew))
        return refuse("it is not valid yet");
    return NEXUS_OK;
}

static nexus_status check_parties(const nexus_claims *c, const nexus_jwt_rules *rules)
{
    nexus_slice iss, aud, sub;
    if (!nexus_claims_text(c, "iss", &iss) || !nexus__slice_eq_c(iss, rules->issuer))
        return refuse("iss is another");
    if (find(c, "sub") && !nexus_claims_text(c, "sub", &sub))
        return refuse("sub is no string");
    for (size_t i = 0; nexus_claims_item(c, "aud", i, &aud); i++)
        if (nexus__slice_eq_c(aud, rules->audience))
            return NEXUS_OK;
    return refuse("it is for another audience");
}

nexus_status nexus_jwt_sign(char **out, size_t *out_n, const nexus_key *key, const char *typ, const char *claims,
                            size_t claims_n)
{
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, nexus__slice(claims, claims_n), NULL);
    if (status == NEXUS_OK && !nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT))
        status = nexus__fail(NEXUS_EINVAL, "claims are a JSON object");
    nexus__json_free(&doc);
    return status == NEXUS_OK ? nexus_jws_sign(out, out_n, key, typ ? typ : "at+jwt", claims, claims_n) : status;
}

nexus_status nexus_jwt_verify(const nexus_keyset *set, const char *token, size_t n, const nexus_jwt_rules *rules,
                              nexus_claims **out)
{
    if (!rules || rules->size != sizeof *rules || !rules->issuer || !rules->audience || !*rules->issuer)
        return nexus__fail(NEXUS_EINVAL, "rules need size, issuer and audience");
    if (rules->skew_s > 120 && rules->skew_s != NEXUS_JWT_NO_SKEW)
        return nexus__fail(NEXUS_EINVAL, "rules.skew_s is at most 120");
    if (n > TOKEN_MAX)
        return refuse("over 8 KiB");
    nexus__jws jws;
    nexus_claims *claims = NULL;
    const char *typ = !rules->typ ? "at+jwt" : *rules->typ ? rules->typ : NULL;
    nexus_status status = nexus__jws_open(&jws, set, nexus__slice(token, n), typ);
    if (status != NEXUS_OK)
        return status;
    if (!typ && jws.typ.n && !nexus__typ_is(jws.typ, "JWT")) {
        nexus__free(NULL, jws.memory);
        return refuse("its typ is another");
    }
    status = nexus__claims_parse(&claims, jws.payload);
    nexus__free(NULL, jws.memory);
    if (status == NEXUS_EINVAL || status == NEXUS_ETOOBIG)
        status = refuse("its claims are no strict JSON object");
    if (status == NEXUS_OK)
        status = check_times(claims, rules);
    if (status == NEXUS_OK)
        status = check_parties(claims, rules);
    if (status == NEXUS_OK)
        *out = claims;
    else
        nexus_claims_free(claims);
    return status;
}
