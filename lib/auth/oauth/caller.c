/*
 * Who calls an endpoint (RFC 6749, 2.3; RFC 7523; RFC 8705). A client uses the one method it was registered with. Secrets are 256
 * random bits, so a right one is never held up by the guesses of others: wrong ones are counted for each pair of client
 * and address, and answered 429 while it waits.
 */
#include "auth/oauth/certificate.h"
#include "base/codec.h"
#include "crypto/wipe.h"
#include "json/read.h"

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define ASSERTION_S 3600

/* --- wrong ones ----------------------------------------------------------------------------------------------------- */

static nexus_status slow_down(uint32_t wait_s, nexus_oauth_answer **refusal)
{
    nexus_status status = nexus__oauth_refuse(refusal, "slow_down", "Too many wrong credentials; wait.");
    if (status == NEXUS_OK)
        (*refusal)->retry_after = wait_s ? wait_s : 1;
    return status;
}

/* Counts a wrong one and answers it. */
static nexus_status wrong(nexus_oauth *o, const nexus_oauth_call *call, nexus_slice id, nexus_oauth_answer **refusal)
{
    nexus__attempt attempt;
    uint32_t wait_s = 0;
    char name[160];
    int n = snprintf(name, sizeof name, "client %.*s %.*s", (int)(id.n < 64 ? id.n : 64), id.p,
                     (int)(call->address.n < 64 ? call->address.n : 64), call->address.p ? call->address.p : "");
    nexus_status status = nexus__attempt_begin(&attempt, o->auth, nexus__slice(name, (size_t)n), NULL, &wait_s);
    if (status == NEXUS_ELIMIT)
        return slow_down(wait_s, refusal);
    if (status == NEXUS_OK)
        status = nexus__attempt_failed(&attempt, o->auth);
    return status == NEXUS_OK
               ? nexus__oauth_refuse(refusal, "invalid_client", "The client is not known, or not who it says.")
               : status;
}

/* --- methods --------------------------------------------------------------------------------------------------------- */

static bool secret_is(const nexus_oauth *o, const nexus__oauth_client *c, nexus_slice secret)
{
    char hash[NEXUS__HASH_TEXT];
    if (nexus__token_hash(secret, hash) != NEXUS_OK)
        return false;
    bool now = nexus__slice_eq_ct(nexus__slice_c(hash), c->secret);
    bool before =
        nexus__slice_eq_ct(nexus__slice_c(hash), c->previous) && nexus__auth_now_ns(o->auth) < c->previous_until;
    return now || before;
}

/* A one-time id is spent by writing it down: of two at once one succeeds. */
static nexus_status spend_id(nexus_oauth *o, const nexus__oauth_client *c, const nexus_claims *claims)
{
    char text[384], hash[NEXUS__HASH_TEXT];
    int64_t exp = 0, changes = 0;
    nexus_slice jti;
    if (!nexus_claims_text(claims, "jti", &jti) || jti.n == 0 || jti.n > 256)
        return nexus__fail(NEXUS_EAUTH, "the assertion has no jti");
    nexus_claims_int(claims, "exp", &exp);
    int n = snprintf(text, sizeof text, "%.*s %.*s", (int)c->id.n, c->id.p, (int)jti.n, jti.p);
    nexus_status status = nexus__token_hash(nexus__slice(text, (size_t)n), hash);
    if (status == NEXUS_OK)
        status =
            nexus_db_exec(o->auth->db,
                          "INSERT INTO oauth_assertions (hash, expires_at) VALUES ($1, $2)"
                          " ON CONFLICT (hash) DO NOTHING",
                          (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_INT((exp + 120) * NEXUS__NS_PER_S)}, 2, &changes);
    return status == NEXUS_OK && !changes ? nexus__fail(NEXUS_EAUTH, "the assertion was used before") : status;
}

/* NEXUS_EAUTH: it is not from the client. */
static nexus_status check_assertion(nexus_oauth *o, const nexus__oauth_client *c, nexus_slice assertion)
{
    nexus_keyset *keys;
    nexus_claims *claims;
    nexus_slice sub;
    nexus_status status = nexus_keyset_parse(&keys, c->jwks.p, c->jwks.n, NULL);
    if (status != NEXUS_OK)
        return status;
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = c->id.p;
    rules.audience = o->auth->opts.issuer;
    rules.typ = "";
    rules.now_s = nexus__oauth_now_s(o);
    rules.max_lifetime_s = ASSERTION_S;
    status = nexus_jwt_verify(keys, assertion.p, assertion.n, &rules, &claims);
    nexus_keyset_free(keys);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? NEXUS_EAUTH : status;
    if (!nexus_claims_text(claims, "sub", &sub) || !nexus__slice_eq(sub, c->id))
        status = nexus__fail(NEXUS_EAUTH, "the assertion's sub is another");
    if (status == NEXUS_OK)
        status = spend_id(o, c, claims);
    nexus_claims_free(claims);
    return status;
}

/* Whom an assertion says it is from, before anything is verified: the sub of its payload. */
static bool assertion_subject(nexus_slice assertion, char *out, size_t cap)
{
    uint8_t *payload = NULL;
    size_t n;
    nexus__json doc;
    nexus_slice sub;
    bool fine = false;
    nexus__slice_cut(&assertion, '.');
    nexus_slice text = nexus__slice_cut(&assertion, '.');
    if (text.n == 0 || text.n > 8192 || !(payload = nexus__malloc(NULL, NEXUS__BASE64_DECODED_MAX(text.n))))
        return false;
    nexus__json_init(&doc, NULL);
    if (nexus__base64url_decode(text, payload, &n) &&
        nexus__json_scan(&doc, nexus__slice(payload, n), NULL) == NEXUS_OK &&
        nexus__json_get_text(&doc, 0, "sub", &sub) && sub.n > 0 && sub.n < cap) {
        memcpy(out, sub.p, sub.n);
        out[sub.n] = 0;
        fine = true;
    }
    nexus__json_free(&doc);
    nexus__free(NULL, payload);
    return fine;
}

/* --- one call ---------------------------------------------------------------------------------------------------------- */

/* What was sent, before it is believed. */
typedef struct sent {
    const char *method;
    nexus_slice id, secret, assertion;
    char basic[4096], subject[65];
} sent;

/* NULL, or why it cannot be read. */
static const char *read_sent(const nexus_oauth_call *call, const nexus__oauth_form *form, sent *s)
{
    nexus_slice id = nexus__oauth_form_get(form, "client_id"),
                type = nexus__oauth_form_get(form, "client_assertion_type");
    s->assertion = nexus__oauth_form_get(form, "client_assertion");
    if (nexus__oauth_form_get(form, "client_secret").n)
        return "Send the secret as Basic credentials, not in the body.";
    if (call->authorization.n && s->assertion.n)
        return "Send one kind of credentials.";
    if (call->authorization.n) {
        s->method = "client_secret_basic";
        if (!nexus__oauth_basic(call->authorization, s->basic, &s->id, &s->secret))
            return "The Basic credentials cannot be read.";
    } else if (s->assertion.n) {
        s->method = "private_key_jwt";
        if (!nexus__slice_eq_c(type, ASSERTION_TYPE) || !assertion_subject(s->assertion, s->subject, sizeof s->subject))
            return "The client assertion cannot be read.";
        s->id = nexus__slice_c(s->subject);
    } else {
        s->method = "none";
        s->id = id;
    }
    if (s->id.n == 0 || (id.n && !nexus__slice_eq(id, s->id)))
        return s->id.n ? "client_id is not whose the credentials are." : "The client says not who it is.";
    return NULL;
}

static nexus_status prove(nexus_oauth *o, const nexus__oauth_client *c, const sent *s, const nexus_oauth_call *call,
                          bool public_too)
{
    if (strcmp(s->method, "none") == 0 && nexus__oauth_is_tls_method(c->method))
        return nexus__oauth_check_certificate(o, c, call);
    if (!nexus__slice_eq_c(c->method, s->method))
        return NEXUS_EAUTH;
    if (s->assertion.n)
        return check_assertion(o, c, s->assertion);
    if (s->secret.n)
        return secret_is(o, c, s->secret) ? NEXUS_OK : NEXUS_EAUTH;
    return public_too && nexus__slice_eq_c(c->method, "none") ? NEXUS_OK : NEXUS_EAUTH;
}

nexus_status nexus__oauth_caller(nexus_oauth *o, const nexus_oauth_call *call, const nexus__oauth_form *form,
                                 bool public_too, nexus__oauth_client *client, nexus_oauth_answer **refusal)
{
    sent s = {0};
    *refusal = NULL;
    *client = (nexus__oauth_client){0};
    const char *why = read_sent(call, form, &s);
    if (why)
        return nexus__oauth_refuse(refusal, "invalid_client", why);
    nexus_status status = nexus__oauth_client_load(client, o->auth->db, s.id);
    if (status == NEXUS_OK)
        status = prove(o, client, &s, call, public_too);
    if (status == NEXUS_EAUTH || status == NEXUS_ENOTFOUND)
        status = wrong(o, call, s.id, refusal);
    if (status != NEXUS_OK || *refusal)
        nexus__oauth_client_end(client);
    nexus__wipe(s.basic, sizeof s.basic);
    return status;
}
