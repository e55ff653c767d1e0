/*
 * The filters `roles` and `require`: what the caller that `auth` found may do here.
 *
 * A permission is held when the caller's roles grant it by the policy of the routes file (a deny beats every allow) and,
 * if the token carries scopes that name permissions, one of them covers it too: a token may carry less than its owner
 * has. A token without any role that the policy knows stands on its scopes alone.
 */
#include "gateway/auth/access.h"
#include "auth/rbac.h"
#include "gateway/auth/authenticator.h"
#include "gateway/config/rows.h"
#include "gateway/resource.h"

static nexus__gw_verdict refuse(nexus__call *call, const char *challenge, const char *code, const char *detail)
{
    if (!nexus__gw_auth_known(call)) {
        nexus__call_challenge(call, NEXUS_S("Bearer"));
        nexus__call_problem(call, 401, "unauthorized", "This needs credentials; see WWW-Authenticate.");
        return NEXUS__GW_ANSWERED;
    }
    nexus__call_challenge(call, nexus__slice_c(challenge));
    nexus__call_problem(call, 403, code, detail);
    return NEXUS__GW_ANSWERED;
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__gw_auth_conf *auth = nexus__gw_filter_conf(route, &nexus__gw_filter_auth);
    (void)conf;
    for (uint8_t i = 0; auth && i < auth->expression.term_count; i++)
        if (auth->terms[i]->identifies)
            return NEXUS_OK;
    return nexus__loader_fail(l, value, "\"roles\" and \"require\" need \"auth\" on the same route that tells who asks");
}

static void put_list(nexus__json_writer *w, const char *name, const nexus__text_list *list)
{
    if (list->count == 0)
        return;
    nexus__json_key(w, name);
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < list->count; i++)
        nexus__json_text_value(w, list->items[i]);
    nexus__json_close(w, ']');
}

/* --- roles: any of these --------------------------------------------------------------------------------------------- */

static nexus_status load_roles(nexus__loader *l, uint32_t value, void *out)
{
    nexus__text_list *roles = out;
    nexus_status status = nexus__loader_texts(l, value, roles);
    if (!status && roles->count == 0)
        return nexus__loader_fail(l, value, "needs at least one role");
    return status;
}

static nexus__gw_verdict pass_roles(nexus__call *call, const void *conf, void *state)
{
    const nexus__text_list *roles = conf;
    (void)state;
    for (uint32_t i = 0; i < roles->count && call->principal; i++)
        if (nexus_principal_has_role(call->principal, roles->items[i].p))
            return NEXUS__GW_NEXT;
    return refuse(call, "Bearer error=\"insufficient_scope\"", "forbidden", "Your roles do not allow this.");
}

static void explain_roles(const void *conf, const void *state, nexus__json_writer *w)
{
    (void)state;
    put_list(w, "any", conf);
}

const nexus__gw_filter nexus__gw_filter_roles = {
    .key = "roles",
    .conf_bytes = sizeof(nexus__text_list),
    .load = load_roles,
    .check = check,
    .request = pass_roles,
    .explain = explain_roles,
};

/* --- require: permissions --------------------------------------------------------------------------------------------- */

static nexus_status load_permissions(nexus__loader *l, uint32_t value, void *out)
{
    nexus__text_list *list = out;
    nexus_status status = nexus__loader_texts(l, value, list);
    for (uint32_t i = 0; i < list->count && !status; i++)
        if (!nexus__permission_valid(list->items[i]))
            return nexus__loader_fail(l, value,
                                      "\"%s\" is no permission such as orders:read: 2 to 6 segments of [a-z0-9_.-], no "
                                      "wildcards",
                                      list->items[i].p);
    return status;
}

/* Made once, so that refusing costs no more than passing. */
static nexus_status write_challenge(nexus__loader *l, nexus__gw_require_conf *c)
{
    char space[1024];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus__buf_text(&text, "Bearer error=\"insufficient_scope\", scope=\"");
    for (uint32_t i = 0; i < c->all.count + c->any.count; i++) {
        nexus__buf_text(&text, i ? " " : "");
        nexus__buf_slice_append(&text, i < c->all.count ? c->all.items[i] : c->any.items[i - c->all.count]);
    }
    nexus__buf_char(&text, '"');
    nexus_slice whole = text.status ? NEXUS_S("Bearer error=\"insufficient_scope\"") : nexus__buf_slice(&text);
    nexus_slice copy = nexus__arena_copy(l->arena, whole);
    c->challenge = copy.p;
    return copy.p ? NEXUS_OK : nexus__nomem();
}

static nexus_status load_require(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("all", load_permissions, nexus__gw_require_conf, all),
        CALL("any", load_permissions, nexus__gw_require_conf, any),
    };
    nexus__gw_require_conf *c = out;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (!status && c->all.count + c->any.count == 0)
        return nexus__loader_fail(l, value, "needs \"all\" or \"any\" with at least one permission");
    return status ? status : write_challenge(l, c);
}

/* Calls each on the token's scopes that name permissions: "scope" is one text of words (RFC 8693, 4.2), "scp" a list.
 * Stops at the first that covers the permission; *named is whether there was any. */
static bool scope_covers(const nexus_claims *claims, nexus_slice permission, bool *named)
{
    nexus_slice item;
    for (int k = 0; claims && k < 2; k++)
        for (size_t i = 0; nexus_claims_item(claims, k ? "scp" : "scope", i, &item); i++)
            while (item.n > 0) {
                nexus_slice word = nexus__slice_cut(&item, ' ');
                if (nexus__slice_find(word, ':') == word.n || nexus__permission_pattern_error(word))
                    continue; /* openid, email: says nothing about permissions */
                *named = true;
                if (nexus__permission_matches(word, permission))
                    return true;
            }
    return false;
}

bool nexus__gw_holds(const nexus_rbac *policy, const nexus_principal *principal, nexus_slice permission)
{
    nexus_rbac_query query = NEXUS_RBAC_QUERY_INIT;
    bool scoped = false, in_scope = scope_covers(nexus_principal_claims(principal), permission, &scoped), known = false;
    query.roles = nexus_principal_roles(principal, &query.role_count);
    query.permission = permission;
    nexus_principal_subject(principal, &query.subject);
    query.owner = query.subject; /* rules for one's own objects: whose it is, only the service behind knows */
    for (size_t i = 0; i < query.role_count && !known; i++)
        known = nexus_rbac_has_role(policy, query.roles[i].p);
    if (!known)
        return in_scope;
    return (in_scope || !scoped) && nexus_rbac_check(policy, &query);
}

static nexus__gw_verdict pass_require(nexus__call *call, const void *conf, void *state)
{
    const nexus__gw_require_conf *c = conf;
    const nexus_rbac *policy = call->view->snapshot->config->policy;
    bool good = call->principal != NULL, one = c->any.count == 0;
    (void)state;
    for (uint32_t i = 0; good && i < c->all.count; i++)
        good = nexus__gw_holds(policy, call->principal, c->all.items[i]);
    for (uint32_t i = 0; good && !one && i < c->any.count; i++)
        one = nexus__gw_holds(policy, call->principal, c->any.items[i]);
    return good && one ? NEXUS__GW_NEXT
                       : refuse(call, c->challenge, "insufficient-scope", "You lack a permission for this.");
}

static void explain_require(const void *conf, const void *state, nexus__json_writer *w)
{
    const nexus__gw_require_conf *c = conf;
    (void)state;
    put_list(w, "all", &c->all);
    put_list(w, "any", &c->any);
}

const nexus__gw_filter nexus__gw_filter_require = {
    .key = "require",
    .conf_bytes = sizeof(nexus__gw_require_conf),
    .load = load_require,
    .check = check,
    .request = pass_require,
    .explain = explain_require,
};
