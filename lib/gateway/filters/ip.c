/* The filter `ip`, and the authenticator of the same name: which addresses may ask. Deny beats allow; with an allow list
 * everybody else is refused. */
#include "base/ip_set.h"
#include "gateway/auth/authenticator.h"
#include "gateway/config/rows.h"

typedef struct ip_conf {
    nexus__text_list allow_texts, deny_texts;
    nexus__ip_set allow, deny;
} ip_conf;

static nexus_status build(nexus__loader *l, uint32_t value, const nexus__text_list *texts, nexus__ip_set *out)
{
    nexus__ip_node *room = nexus__arena_get(l->arena, (NEXUS__IP_SET_NODES(texts->count) + 1) * sizeof *room);
    if (!room)
        return nexus__nomem();
    *out = nexus__ip_set_in(room);
    for (uint32_t i = 0; i < texts->count; i++) {
        nexus__ip_block block;
        if (!nexus__ip_block_parse(texts->items[i], &block))
            return nexus__loader_fail(l, value, "\"%s\" is no address or block such as 10.0.0.0/8", texts->items[i].p);
        nexus__ip_set_add(out, &block);
    }
    return NEXUS_OK;
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("allow", nexus__loader_texts, ip_conf, allow_texts),
        CALL("deny", nexus__loader_texts, ip_conf, deny_texts),
    };
    ip_conf *c = out;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (!status && c->allow_texts.count + c->deny_texts.count == 0)
        return nexus__loader_fail(l, value, "needs \"allow\" or \"deny\" with at least one block");
    if (!status)
        status = build(l, value, &c->allow_texts, &c->allow);
    return status ? status : build(l, value, &c->deny_texts, &c->deny);
}

static bool may_ask(nexus__call *call, const ip_conf *c)
{
    nexus__ip ip;
    nexus_slice text;
    nexus_request_remote_ip(call->request, &text);
    return nexus__ip_parse(text, &ip) && !nexus__ip_set_has(&c->deny, &ip) &&
           (c->allow.count == 0 || nexus__ip_set_has(&c->allow, &ip));
}

static nexus__gw_verdict request(nexus__call *call, const void *conf, void *state)
{
    (void)state;
    if (may_ask(call, conf) || nexus__gw_auth_names(call->route->conf, &nexus__gw_auth_ip))
        return NEXUS__GW_NEXT;
    nexus__call_problem(call, 403, "address-refused", "This is not for your address.");
    return NEXUS__GW_ANSWERED;
}

static void put_list(nexus__json_writer *w, const char *name, const nexus__text_list *list)
{
    nexus__json_key(w, name);
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < list->count; i++)
        nexus__json_text_value(w, list->items[i]);
    nexus__json_close(w, ']');
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const ip_conf *c = conf;
    (void)state;
    put_list(w, "allow", &c->allow_texts);
    put_list(w, "deny", &c->deny_texts);
}

const nexus__gw_filter nexus__gw_filter_ip = {
    .key = "ip",
    .conf_bytes = sizeof(ip_conf),
    .load = load,
    .request = request,
    .explain = explain,
};

/* --- in an expression ------------------------------------------------------------------------------------------------ */

static nexus_status needs_conf(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route)
{
    if (nexus__gw_filter_conf(route, &nexus__gw_filter_ip))
        return NEXUS_OK;
    return nexus__loader_fail(l, value, "names ip, which needs \"ip\" on the same route");
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    static const nexus__gw_refusal other = {403, "address-refused", "This is not for your address.", NULL};
    (void)principal;
    if (may_ask(call, nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_ip)))
        return NEXUS__AUTH_YES;
    *refusal = &other;
    return NEXUS__AUTH_DENIED;
}

const nexus__gw_authenticator nexus__gw_auth_ip = {
    .name = "ip",
    .check = needs_conf,
    .ask = ask,
};
