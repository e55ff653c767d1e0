/* How an upstream spreads requests: the balancer, what keyed balancing goes by, slow start. */
#include "gateway/config/rows.h"

static nexus_status find_balancer(nexus__loader *l, uint32_t value, const nexus__balancer **out)
{
    const char *names[8];
    nexus_slice name;
    size_t n = 0;
    if (!nexus__json_text(l->doc, value, &name))
        return nexus__loader_fail(l, value, "must be the name of a balancer");
    for (; nexus__balancers[n]; n++) {
        names[n] = nexus__balancers[n]->name;
        if (nexus__slice_eq_c(name, names[n])) {
            *out = nexus__balancers[n];
            return NEXUS_OK;
        }
    }
    return nexus__loader_fail(l, value, "no balancer \"%.*s\"; the nearest is \"%s\"", (int)name.n, name.p,
                              nexus__nearest(name, names, n));
}

static nexus_status load_type(nexus__loader *l, uint32_t value, void *out)
{
    return find_balancer(l, value, out);
}

/* {"header": "x-user"} and the like: one member. */
static nexus_status load_named_key(nexus__loader *l, uint32_t value, nexus__gw_hash_key *key)
{
    static const char *const sources[] = {"", "", "header", "cookie", "query", "param"};
    nexus__json_iter it = nexus__json_each(l->doc, value);
    nexus_slice source;
    if (nexus__json_count(l->doc, value) != 1 || !nexus__json_step(l->doc, &it) ||
        !nexus__json_text(l->doc, it.key, &source))
        return nexus__loader_fail(l, value, "must have one member: header, cookie, query or param");
    for (key->source = NEXUS__GW_HASH_PARAM; key->source >= NEXUS__GW_HASH_HEADER; key->source--)
        if (nexus__slice_eq_c(source, sources[key->source]))
            break;
    if (key->source < NEXUS__GW_HASH_HEADER)
        return nexus__loader_fail(l, it.key, "must be header, cookie, query or param");
    nexus_status status = nexus__loader_text(l, it.value, &key->name);
    if (!status && (key->source == NEXUS__GW_HASH_HEADER || key->source == NEXUS__GW_HASH_COOKIE) &&
        !nexus__gw_is_token(key->name))
        return nexus__loader_fail(l, it.value, "is no name of a %.*s", (int)source.n, source.p);
    return status;
}

static nexus_status load_key(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_hash_key *key = &((nexus__gw_upstream_conf *)out)->hash;
    if (nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return load_named_key(l, value, key);
    bool ip = nexus__json_text_is(l->doc, value, NEXUS_S("ip"));
    if (!ip && !nexus__json_text_is(l->doc, value, NEXUS_S("principal")))
        return nexus__loader_fail(l, value, "must be \"ip\", \"principal\" or an object like {\"header\": \"x-user\"}");
    key->source = ip ? NEXUS__GW_HASH_IP : NEXUS__GW_HASH_PRINCIPAL;
    return NEXUS_OK;
}

nexus_status nexus__gw_load_balance(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"type", NEXUS__LOADER_CALL, offsetof(nexus__gw_upstream_conf, balance.balancer), 0, 0, load_type, true},
        {"key", NEXUS__LOADER_CALL, 0, 0, 0, load_key, false},
        ROW("secret", TEXT, nexus__gw_upstream_conf, hash.secret, 0, 0),
        ROW("bound_percent", U32, nexus__gw_upstream_conf, balance.bound_percent, 0, 10000),
    };
    nexus__gw_upstream_conf *u = NEXUS__CONTAINER(out, nexus__gw_upstream_conf, balance);
    if (nexus__json_is(l->doc, value, NEXUS__JSON_STRING))
        return find_balancer(l, value, &u->balance.balancer);
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), u);
    if (!status && u->balance.bound_percent > 0 && u->balance.bound_percent <= 100)
        return nexus__loader_fail(l, value, "\"bound_percent\" must be over 100, or 0 for none");
    return status;
}

nexus_status nexus__gw_load_slow_start(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("window_ms", U32, nexus__balance_rule, slow_start.window_ms, 1, NEXUS__GW_MS_MAX),
        ROW("aggression_percent", U32, nexus__balance_rule, slow_start.aggression_percent, 1, 10000),
        ROW("min_percent", U32, nexus__balance_rule, slow_start.min_percent, 1, 100),
    };
    nexus__balance_rule *rule = out;
    bool on;
    rule->slow_start.window_ms = 30000;
    rule->slow_start.aggression_percent = 100;
    rule->slow_start.min_percent = 10;
    if (!nexus__json_bool(l->doc, value, &on))
        return nexus__loader_object(l, value, rows, COUNT(rows), rule);
    if (!on)
        rule->slow_start.window_ms = 0;
    return NEXUS_OK;
}
