/*
 * The filter `identity`: tells upstream who asks in a token that it can verify (X-Nexus-Identity), for services that
 * trust neither the network nor plain fields. The token lives 30 s. Signing costs tens of microseconds, so each loop
 * keeps what it signed for a principal and says the same again for 5 s.
 */
#include <nexus/jwt.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/time.h"
#include "gateway/auth/authenticator.h"
#include "gateway/config/rows.h"

enum { LIFETIME_S = 30, SLOTS = 256 };
#define REUSE_NS (5 * NEXUS__NS_PER_S)

typedef struct identity_conf {
    bool on;
    nexus_slice audience;
} identity_conf;

typedef struct signed_token {
    uint64_t key[2];
    int64_t until; /* of the loop's clock: when another is signed */
    char *text;
    size_t n;
} signed_token;

typedef struct identity_state {
    nexus__hash_key keys[2];
    uint32_t count;        /* of slots, over all loops */
    signed_token tokens[]; /* SLOTS for each loop */
} identity_state;

/* --- the routes file ----------------------------------------------------------------------------------------------- */

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {ROW("audience", TEXT, identity_conf, audience, 0, 0)};
    identity_conf *c = out;
    if (nexus__json_bool(l->doc, value, &c->on))
        return NEXUS_OK;
    c->on = true;
    return nexus__loader_object(l, value, rows, COUNT(rows), c);
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    (void)conf;
    if (nexus__gw_filter_conf(route, &nexus__gw_filter_auth))
        return NEXUS_OK;
    return nexus__loader_fail(l, value, "\"identity\" needs \"auth\" on the same route");
}

static nexus_status open_tokens(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    (void)conf;
    if (!g->opts.identity_key)
        return nexus__fail(NEXUS_ENOTSUP, "route %s wants signed identities, but this gateway was opened without a key",
                           route->id.p);
    identity_state *s = nexus__calloc(g->alloc, 1, sizeof *s + (size_t)g->loop_count * SLOTS * sizeof *s->tokens);
    if (!s)
        return nexus__nomem();
    s->keys[0] = nexus__hash_key_random();
    s->keys[1] = nexus__hash_key_random();
    s->count = g->loop_count * SLOTS;
    *state = s;
    return NEXUS_OK;
}

static void close_tokens(void *state, const nexus_alloc *alloc)
{
    identity_state *s = state;
    for (uint32_t i = 0; i < s->count; i++)
        nexus_free(s->tokens[i].text);
    nexus__free(alloc, s);
}

/* --- a token ---------------------------------------------------------------------------------------------------------- */

static nexus_status sign(signed_token *t, const nexus_gateway *g, const nexus__gw_route_conf *route,
                         const identity_conf *c, const nexus_principal *principal)
{
    nexus__buf claims;
    nexus_slice subject, tenant;
    size_t count;
    const nexus_slice *roles = nexus_principal_roles(principal, &count);
    int64_t now_s = nexus__real_ns() / NEXUS__NS_PER_S;
    nexus_principal_subject(principal, &subject);
    nexus_principal_tenant(principal, &tenant);
    nexus__buf_init(&claims, g->alloc, 65536);
    nexus__json_writer w = nexus__json_writer_on(&claims);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "iss", g->opts.identity_issuer ? g->opts.identity_issuer : "nexus-gateway");
    nexus__json_put_text(&w, "aud", c->audience.n ? c->audience : route->upstream);
    nexus__json_put_text(&w, "sub", subject);
    nexus__json_put_i64(&w, "iat", now_s);
    nexus__json_put_i64(&w, "exp", now_s + LIFETIME_S);
    if (tenant.n > 0)
        nexus__json_put_text(&w, "tenant", tenant);
    nexus__json_key(&w, "roles");
    nexus__json_open(&w, '[');
    for (size_t i = 0; i < count; i++)
        nexus__json_text_value(&w, roles[i]);
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
    nexus_free(t->text);
    t->text = NULL;
    nexus_status status = claims.status ? claims.status
                                        : nexus_jwt_sign(&t->text, &t->n, g->opts.identity_key, "nexus-identity+jwt",
                                                         claims.p, claims.len);
    nexus__buf_free(&claims);
    return status;
}

static void key_of(const identity_state *s, const nexus_principal *principal, uint64_t out[static 2])
{
    nexus_slice parts[2];
    size_t count;
    const nexus_slice *roles = nexus_principal_roles(principal, &count);
    nexus_principal_subject(principal, &parts[0]);
    nexus_principal_tenant(principal, &parts[1]);
    out[0] = out[1] = count;
    for (size_t i = 0; i < count + 2; i++) {
        nexus_slice part = i < 2 ? parts[i] : roles[i - 2];
        for (int k = 0; k < 2; k++) {
            uint64_t words[2] = {out[k], nexus__siphash(s->keys[k], part.p, part.n)};
            out[k] = nexus__siphash(s->keys[k], words, sizeof words);
        }
    }
}

/* The loop's token for the principal, signed anew when it is not fresh; NULL: it could not be. */
static const signed_token *token_for(nexus__call *call, const identity_conf *c, identity_state *s)
{
    const nexus__gw_loop *home = call->view->home;
    uint64_t key[2];
    int64_t now = nexus_loop_now_ns(home->loop);
    key_of(s, call->principal, key);
    signed_token *t = &s->tokens[(size_t)(home - home->gateway->loops) * SLOTS + key[0] % SLOTS];
    if (t->text && t->key[0] == key[0] && t->key[1] == key[1] && now < t->until)
        return t;
    if (sign(t, home->gateway, call->route->conf, c, call->principal))
        return NULL;
    memcpy(t->key, key, sizeof key);
    t->until = now + REUSE_NS;
    return t;
}

static nexus__gw_verdict request(nexus__call *call, const void *conf, void *state)
{
    const identity_conf *c = conf;
    if (!c->on || !call->principal)
        return NEXUS__GW_NEXT;
    const signed_token *t = token_for(call, c, state);
    if (t && nexus__call_add_field(call, NEXUS_S("X-Nexus-Identity"), nexus__slice(t->text, t->n)))
        return NEXUS__GW_NEXT;
    nexus__call_problem(call, 500, "identity", "Who asks could not be told upstream.");
    return NEXUS__GW_ANSWERED;
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const identity_conf *c = conf;
    (void)state;
    nexus__json_put_bool(w, "on", c->on);
    if (c->audience.n > 0)
        nexus__json_put_text(w, "audience", c->audience);
}

const nexus__gw_filter nexus__gw_filter_identity = {
    .key = "identity",
    .conf_bytes = sizeof(identity_conf),
    .load = load,
    .check = check,
    .open = open_tokens,
    .close = close_tokens,
    .request = request,
    .explain = explain,
};
