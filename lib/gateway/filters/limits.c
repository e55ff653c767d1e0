/* The filter of rate limits: what the routes file says, the decision, and the fields of RateLimit. */
#include <stdio.h>

#include "gateway/config/rows.h"
#include "gateway/filters/limit.h"
#include "gateway/gateway.h"

/* --- what the routes file says ----------------------------------------------------------------------------------- */

static nexus_status load_key(nexus__loader *l, uint32_t value, void *out)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } keys[] = {{"ip", NEXUS__KEY_IP}, {"principal", NEXUS__KEY_PRINCIPAL}, {"route", NEXUS__KEY_ROUTE}};
    nexus__text_list list;
    nexus_status status = nexus__loader_texts(l, value, &list);
    *(uint32_t *)out = 0;
    for (uint32_t i = 0; i < list.count && !status; i++) {
        size_t k = 0;
        while (k < COUNT(keys) && !nexus__slice_eq_c(list.items[i], keys[k].name))
            k++;
        if (k == COUNT(keys))
            return nexus__loader_fail(l, value, "\"%s\" is no key; known are ip, principal, route", list.items[i].p);
        *(uint32_t *)out |= keys[k].bit;
    }
    return status;
}

static nexus_status load_limit(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("name", TEXT, nexus__gw_limit_conf, name, 0, 0),
        {"rate", NEXUS__LOADER_U32, offsetof(nexus__gw_limit_conf, rate), 1, 1000000000, NULL, true},
        ROW("period_s", U32, nexus__gw_limit_conf, period_s, 1, 2678400),
        ROW("burst", U32, nexus__gw_limit_conf, burst, 1, 1000000000),
        CALL("key", load_key, nexus__gw_limit_conf, key),
        ROW("shadow", BOOL, nexus__gw_limit_conf, shadow, 0, 0),
    };
    nexus__gw_limit_conf *limit = out;
    *limit = (nexus__gw_limit_conf){.name = NEXUS_S("default"), .period_s = 1, .key = NEXUS__KEY_IP};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), limit);
    if (!status && !nexus__gw_is_token(limit->name))
        return nexus__loader_fail(l, value, "a limit's name must be a token");
    if (!limit->burst)
        limit->burst = limit->rate;
    return status;
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_limits_conf *c = out;
    nexus_status status = nexus__gw_load_array(l, value, sizeof *c->items, load_limit, (void **)&c->items, &c->count);
    if (!status && c->count > 8)
        return nexus__loader_fail(l, value, "at most 8 limits a route");
    return status;
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__gw_limits_conf *c = conf;
    for (uint32_t i = 0; i < c->count; i++)
        if (c->items[i].key & NEXUS__KEY_PRINCIPAL && !nexus__gw_filter_conf(route, &nexus__gw_filter_auth))
            return nexus__loader_fail(l, value, "a limit by principal needs \"auth\" on the same route");
    return NEXUS_OK;
}

/* One nexus_rate for each limit. */
static nexus_status open_rates(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__gw_limits_conf *c = conf;
    nexus_rate *rates = nexus__calloc(g->alloc, c->count + 1, sizeof *rates);
    nexus_status status = NEXUS_OK;
    (void)route;
    if (!rates)
        return nexus__nomem();
    *state = rates;
    for (uint32_t i = 0; i < c->count && !status; i++) {
        const nexus__gw_limit_conf *limit = &c->items[i];
        status = nexus_rate_init(&rates[i], limit->rate, limit->period_s * NEXUS__NS_PER_S, limit->burst);
    }
    return status;
}

static void close_rates(void *state, const nexus_alloc *alloc)
{
    nexus__free(alloc, state);
}

/* --- a request --------------------------------------------------------------------------------------------------- */

static void refuse_limit(nexus__call *call, const nexus__limit_outcome *o)
{
    nexus_request *request = call->request;
    char retry[16], body[512];
    nexus_slice id;
    nexus_request_id(request, &id);
    int n = snprintf(retry, sizeof retry, "%u", nexus__limits_retry_after_s(o));
    (void)nexus_request_set_header(request, "Retry-After", nexus__slice(retry, (size_t)n));
    n = snprintf(body, sizeof body,
                 "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\"title\":\"Too Many "
                 "Requests\",\"status\":429,\"detail\":\"Try again in %s s.\",\"instance\":\"urn:uuid:%.*s\","
                 "\"code\":\"rate-limited\",\"violated-policies\":[\"%.*s\"]}",
                 retry, id.n > 64 ? 64 : (int)id.n, id.p, o->strictest->name.n > 64 ? 64 : (int)o->strictest->name.n,
                 o->strictest->name.p);
    nexus__call_count(call, 429);
    nexus__call_release(call, false);
    nexus_request_reply(request, 429, "application/problem+json",
                        nexus__slice(body, (size_t)n < sizeof body ? (size_t)n : sizeof body - 1));
}

static void set_fields(nexus__call *call, const nexus__gw_limits_conf *c, const nexus__limit_outcome *outcome)
{
    char space[1024];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus__limits_policy_text(c->items, c->count, &text);
    (void)nexus_request_set_header(call->request, "RateLimit-Policy", nexus__buf_slice(&text));
    nexus__buf_clear(&text);
    nexus__limits_state_text(outcome, &text);
    (void)nexus_request_set_header(call->request, "RateLimit", nexus__buf_slice(&text));
}

static nexus__gw_verdict pass(nexus__call *call, const void *conf, void *state)
{
    const nexus__gw_limits_conf *c = conf;
    nexus__gw_loop *home = call->view->home;
    nexus__limit_subject subject = {.route = call->route->conf->id};
    nexus__limit_outcome outcome;
    nexus_request_remote_ip(call->request, &subject.ip);
    if (call->principal)
        nexus_principal_subject(call->principal, &subject.principal);
    nexus__limits_take(home->gateway->limits, c->items, state, c->count, &subject, nexus_loop_now_ns(home->loop),
                       &outcome);
    if (outcome.strictest)
        set_fields(call, c, &outcome);
    if (outcome.allowed)
        return NEXUS__GW_NEXT;
    refuse_limit(call, &outcome);
    return NEXUS__GW_ANSWERED;
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } keys[] = {{NEXUS__KEY_IP, "ip"}, {NEXUS__KEY_PRINCIPAL, "principal"}, {NEXUS__KEY_ROUTE, "route"}};
    const nexus__gw_limits_conf *c = conf;
    (void)state;
    nexus__json_key(w, "policies");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < c->count; i++) {
        const nexus__gw_limit_conf *l = &c->items[i];
        nexus__json_open(w, '{');
        nexus__json_put_text(w, "name", l->name);
        nexus__json_put_u64(w, "rate", l->rate);
        nexus__json_put_u64(w, "period_s", l->period_s);
        nexus__json_put_u64(w, "burst", l->burst);
        nexus__json_put_bool(w, "shadow", l->shadow);
        nexus__json_key(w, "key");
        nexus__json_open(w, '[');
        for (size_t k = 0; k < COUNT(keys); k++)
            if (l->key & keys[k].bit)
                nexus__json_text_c_value(w, keys[k].name);
        nexus__json_close(w, ']');
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

const nexus__gw_filter nexus__gw_filter_limits = {
    .key = "limits",
    .conf_bytes = sizeof(nexus__gw_limits_conf),
    .load = load,
    .check = check,
    .open = open_rates,
    .close = close_rates,
    .request = pass,
    .explain = explain,
};
