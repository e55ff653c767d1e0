/*
 * The filter `canary`: which arm a request goes to, once it is known who asks.
 *
 *     "canary": {"arms": [{"name": "stable", "upstream": "shop", "weight_bp": 9500},
 *                         {"name": "next", "upstream": "shop-2", "weight_bp": 500}],
 *                "control": "stable", "sticky": {"cookie": "uid"}, "abort": {"points": 2, "requests": 200}}
 */
#include "gateway/canary.h"

#include "gateway/config/rows.h"
#include "gateway/gateway.h"
#include "gateway/match.h"

/* --- the routes file ---------------------------------------------------------------------------------------------- */

static nexus_status load_arm(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"name", NEXUS__LOADER_TEXT, offsetof(nexus__canary_arm, name), 0, 0, NULL, true},
        {"upstream", NEXUS__LOADER_TEXT, offsetof(nexus__canary_arm, upstream), 0, 0, NULL, true},
        {"weight_bp", NEXUS__LOADER_U32, offsetof(nexus__canary_arm, weight_bp), 0, NEXUS__CANARY_SHARES, NULL, true},
    };
    return nexus__loader_object(l, value, rows, COUNT(rows), out);
}

static nexus_status load_arms(nexus__loader *l, uint32_t value, void *out)
{
    nexus__canary_conf *c = NEXUS__CONTAINER(out, nexus__canary_conf, arms);
    nexus_status status =
        nexus__gw_load_array(l, value, sizeof *c->arms.items, load_arm, (void **)&c->arms.items, &c->arms.count);
    uint32_t sum = 0;
    if (status)
        return status;
    if (c->arms.count < 2 || c->arms.count > NEXUS__CANARY_ARMS_MAX)
        return nexus__loader_fail(l, value, "must be 2 to %d arms", NEXUS__CANARY_ARMS_MAX);
    for (uint32_t i = 0; i < c->arms.count; i++) {
        sum += c->arms.items[i].weight_bp;
        for (uint32_t k = 0; k < i; k++)
            if (nexus__slice_eq(c->arms.items[k].name, c->arms.items[i].name))
                return nexus__loader_fail(l, value, "two arms are called \"%s\"", c->arms.items[i].name.p);
    }
    if (sum != NEXUS__CANARY_SHARES)
        return nexus__loader_fail(l, value, "shares (weight_bp) make %u basis points; they must make %d", sum,
                                  NEXUS__CANARY_SHARES);
    return NEXUS_OK;
}

static nexus_status load_sticky(nexus__loader *l, uint32_t value, void *out)
{
    nexus__canary_conf *c = NEXUS__CONTAINER(out, nexus__canary_conf, sticky);
    if (nexus__json_text_is(l->doc, value, NEXUS_S("consumer"))) {
        c->sticky = NEXUS__STICKY_CONSUMER;
        return NEXUS_OK;
    }
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        bool cookie = nexus__json_text_is(l->doc, it.key, NEXUS_S("cookie"));
        if (nexus__json_count(l->doc, value) != 1 ||
            (!cookie && !nexus__json_text_is(l->doc, it.key, NEXUS_S("header"))))
            break;
        c->sticky = cookie ? NEXUS__STICKY_COOKIE : NEXUS__STICKY_HEADER;
        nexus_status status = nexus__loader_text(l, it.value, &c->sticky_name);
        if (!status && !nexus__gw_is_token(c->sticky_name))
            return nexus__loader_fail(l, it.value, "\"%s\" can be no name of that kind", c->sticky_name.p);
        return status;
    }
    return nexus__loader_fail(l, value, "must be \"consumer\", {\"cookie\": NAME} or {\"header\": NAME}");
}

static nexus_status load_points(nexus__loader *l, uint32_t value, void *out)
{
    double points;
    if (!nexus__json_double(l->doc, value, &points) || !(points >= 0) || points > 100)
        return nexus__loader_fail(l, value, "must be a number of percentage points from 0 to 100");
    *(uint32_t *)out = (uint32_t)(points * 100 + 0.5);
    return NEXUS_OK;
}

static nexus_status load_abort(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("points", load_points, nexus__canary_conf, points_bp),
        ROW("requests", U32, nexus__canary_conf, requests, 1, NEXUS__CANARY_FADE / 2),
    };
    nexus__canary_conf *c = NEXUS__CONTAINER(out, nexus__canary_conf, guarded);
    bool on;
    if (nexus__json_bool(l->doc, value, &on)) {
        c->guarded = on;
        return NEXUS_OK;
    }
    return nexus__loader_object(l, value, rows, COUNT(rows), c);
}

static nexus_status load(nexus__loader *l, uint32_t value, void *conf)
{
    static const nexus__loader_row rows[] = {
        {"arms", NEXUS__LOADER_CALL, offsetof(nexus__canary_conf, arms), 0, 0, load_arms, true},
        ROW("control", TEXT, nexus__canary_conf, control_name, 0, 0),
        CALL("sticky", load_sticky, nexus__canary_conf, sticky),
        CALL("abort", load_abort, nexus__canary_conf, guarded),
    };
    nexus__canary_conf *c = conf;
    c->guarded = true;
    c->points_bp = 200;
    c->requests = 200;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (status)
        return status;
    while (c->control_name.n && c->control < c->arms.count &&
           !nexus__slice_eq(c->arms.items[c->control].name, c->control_name))
        c->control++;
    if (c->control == c->arms.count)
        return nexus__loader_fail(l, value, "\"control\" names no arm");
    c->control_name = c->arms.items[c->control].name;
    c->text = nexus__arena_copy(l->arena, nexus__json_raw(l->doc, value));
    return c->text.p ? NEXUS_OK : nexus__nomem();
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__canary_conf *c = conf;
    if (route->upstream.n)
        return nexus__loader_fail(l, value, "has \"upstream\" and \"canary\": the arms name the upstreams");
    for (uint32_t i = 0; route->versions && i < route->versions->supported.count; i++)
        if (route->versions->supported.items[i].upstream.n)
            return nexus__loader_fail(l, value,
                                      "versions with an upstream of their own and \"canary\" cannot both decide");
    if (c->sticky == NEXUS__STICKY_CONSUMER && !nexus__gw_filter_conf(route, &nexus__gw_filter_auth))
        return nexus__loader_fail(l, value, "sticky by consumer needs \"auth\" on the same route");
    return NEXUS_OK;
}

static nexus_status open_state(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    nexus__canary *canary = NULL;
    nexus_status status = nexus__canary_get(&canary, g, route->id, conf);
    *state = canary;
    return status;
}

static void close_state(void *state, const nexus_alloc *alloc)
{
    (void)alloc;
    nexus__canary_unref(state);
}

const nexus__canary *nexus__canary_of(const nexus__gw_route *route)
{
    for (uint32_t i = 0; i < route->conf->filters.count; i++)
        if (route->conf->filters.items[i].filter == &nexus__gw_filter_canary)
            return route->states[i];
    return NULL;
}

/* --- a request ---------------------------------------------------------------------------------------------------- */

/* What the request is to be known by; empty when it has none: then it is nobody's turn in particular. */
static nexus_slice key_of(nexus__call *call, const nexus__canary_conf *c)
{
    nexus__match_subject subject = {.request = call->request};
    nexus_slice key = {0};
    if (c->sticky == NEXUS__STICKY_CONSUMER && call->principal)
        nexus_principal_subject(call->principal, &key);
    else if (c->sticky == NEXUS__STICKY_COOKIE)
        nexus__match_value(&subject, NEXUS__MATCH_COOKIE, c->sticky_name, NULL, 0, &key);
    else if (c->sticky == NEXUS__STICKY_HEADER)
        nexus__match_value(&subject, NEXUS__MATCH_HEADER, c->sticky_name, NULL, 0, &key);
    return key;
}

static nexus__gw_verdict choose(nexus__call *call, const void *conf, void *state)
{
    const nexus__canary_conf *c = conf;
    nexus__gw_loop *home = call->view->home;
    uint32_t aborted = nexus__canary_aborted(state);
    nexus_slice key = key_of(call, c);
    uint32_t loop = (uint32_t)(home - home->gateway->loops);
    uint32_t arm = key.n ? nexus__canary_of_key(c, aborted, call->route->conf->id, key)
                         : nexus__canary_turn(c, aborted, nexus__canary_turns(state, loop));
    call->canary = state;
    call->canary_conf = c;
    call->arm = arm;
    call->pool = call->view->pools[c->arms.items[arm].upstream_index];
    nexus__call_note_param(call, call->captures, call->capture_count);
    return NEXUS__GW_NEXT;
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const nexus__canary_conf *c = conf;
    static const char *const kinds[] = {NULL, "cookie", "header", "consumer"};
    nexus__json_put_text_c(w, "sticky", kinds[c->sticky]);
    nexus__json_put_bool(w, "guarded", c->guarded);
    nexus__canary_put_arms(state, c, w);
}

const nexus__gw_filter nexus__gw_filter_canary = {
    .key = "canary",
    .conf_bytes = sizeof(nexus__canary_conf),
    .captures = true, /* an arm may balance by one */
    .load = load,
    .check = check,
    .open = open_state,
    .close = close_state,
    .request = choose,
    .explain = explain,
};
