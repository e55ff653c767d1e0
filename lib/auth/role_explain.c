/* Why a check comes out as it does, and how it would with other roles. */
#include "auth/roles_private.h"

enum { CHECKS_MAX = 200, CHANGES_MAX = 50 };

/* --- questions ------------------------------------------------------------------------------------------------------ */

typedef struct question {
    nexus_slice permission, tenant, owner, user_id;
    nexus_slice carried[NEXUS__USER_ROLES]; /* as a token would carry them */
    size_t count;
    nexus_user *user; /* whose they are; NULL: they were named */
} question;

static nexus_status read_roles(question *q, nexus__json *doc, uint32_t list, const char *prefix)
{
    if (!nexus__json_is(doc, list, NEXUS__JSON_ARRAY) || nexus__json_count(doc, list) > NEXUS__USER_ROLES)
        return nexus__fail(NEXUS_EINVAL, "%sroles: must be a list of at most %d texts", prefix, NEXUS__USER_ROLES);
    for (nexus__json_iter it = nexus__json_each(doc, list); nexus__json_step(doc, &it);)
        if (!nexus__json_text(doc, it.value, &q->carried[q->count++]))
            return nexus__fail(NEXUS_EINVAL, "%sroles/%u: must be a text", prefix, it.index);
    return NEXUS_OK;
}

static nexus_status take_user(question *q, nexus_auth *a, const char *prefix)
{
    nexus_status status = nexus_auth_user(a, q->user_id, &q->user);
    if (status == NEXUS_ENOTFOUND)
        return nexus__fail(NEXUS_EINVAL, "%suser_id: there is no such user", prefix);
    for (; status == NEXUS_OK && q->count < q->user->role_count; q->count++)
        q->carried[q->count] = nexus__slice_c(q->user->roles[q->count]);
    return status;
}

/* A wildcard asks for more than one thing, and "may he all of it?" is not what it would be answered. */
static nexus_status judge_permission(nexus_slice permission, const char *prefix)
{
    bool own;
    (void)nexus__role_pattern(permission, &own);
    return !own && nexus__permission_valid(permission)
               ? NEXUS_OK
               : nexus__fail(NEXUS_EINVAL,
                             "%spermission: must be one permission such as orders:read, 2 to 6 segments of "
                             "[a-z0-9_.-], no wildcard and no :own",
                             prefix);
}

/* Free q->user. */
static nexus_status read_question(question *q, nexus_auth *a, nexus__json *doc, uint32_t object, nexus_slice tenant,
                                  const char *prefix)
{
    uint32_t roles = nexus__json_get(doc, object, "roles");
    *q = (question){.tenant = tenant, .permission = NEXUS_S(""), .owner = NEXUS_S(""), .user_id = NEXUS_S("")};
    (void)nexus__json_get_text(doc, object, "permission", &q->permission);
    (void)nexus__json_get_text(doc, object, "owner", &q->owner);
    (void)nexus__json_get_text(doc, object, "user_id", &q->user_id);
    nexus_status status = judge_permission(q->permission, prefix);
    if (status == NEXUS_OK && (roles != NEXUS__JSON_NONE) == (q->user_id.n > 0))
        status = nexus__fail(NEXUS_EINVAL, "%suser_id: name a user or roles, one of them", prefix);
    if (status == NEXUS_OK)
        status = q->user_id.n ? take_user(q, a, prefix) : read_roles(q, doc, roles, prefix);
    return status;
}

/* --- answers -------------------------------------------------------------------------------------------------------- */

static bool ask(const question *q, const nexus_rbac *policy, nexus__rbac_trace *trace)
{
    nexus_slice roles[NEXUS__USER_ROLES];
    nexus_rbac_query query = NEXUS_RBAC_QUERY_INIT;
    query.roles = roles;
    query.role_count = nexus_rbac_roles_in(policy, q->carried, q->count, q->tenant, roles);
    query.permission = q->permission;
    query.subject = q->user_id.n ? q->user_id : NEXUS_S("self");
    query.owner = nexus__slice_eq_c(q->owner, "self") ? query.subject : q->owner;
    query.tenant = query.subject_tenant = q->tenant;
    return nexus__rbac_explain(policy, &query, trace);
}

static void put_answer(nexus__json_writer *w, const question *q, const nexus_rbac *policy)
{
    static const char *const effects[] = {"allow", "deny", "allow-own"};
    nexus__rbac_trace t;
    nexus__json_put_bool(w, "allowed", ask(q, policy, &t));
    nexus__json_put_text_c(w, "reason", nexus__rbac_reason_text(t.reason));
    if (t.path_count) {
        nexus__json_put_text(w, "rule", t.pattern);
        nexus__json_put_text_c(w, "effect", effects[t.effect]);
    } else {
        nexus__json_put_null(w, "rule");
        nexus__json_put_null(w, "effect");
    }
    nexus__json_key(w, "path");
    nexus__json_open(w, '[');
    for (size_t i = 0; i < t.path_count; i++)
        nexus__json_text_value(w, t.path[i]);
    nexus__json_close(w, ']');
}

nexus_status nexus_roles_explain(nexus_roles *r, nexus_slice tenant, nexus_slice body, char **json, size_t *n)
{
    nexus__json doc;
    nexus__role_view view;
    nexus__buf text;
    question q = {0};
    nexus__json_init(&doc, NULL);
    nexus__buf_init(&text, NULL, 0);
    nexus_status status = nexus__json_scan(&doc, body, NULL);
    if (status == NEXUS_OK)
        status = read_question(&q, r->auth, &doc, 0, tenant, "");
    if (status == NEXUS_OK)
        status = nexus_roles_refresh(r, NULL);
    if (status == NEXUS_OK) {
        nexus__json_writer w = nexus__json_writer_on(&text);
        nexus__role_view_begin(&view, r);
        nexus__json_open(&w, '{');
        put_answer(&w, &q, view.policy);
        nexus__json_close(&w, '}');
        nexus__role_view_end(&view);
    }
    nexus_user_free(q.user);
    nexus__json_free(&doc);
    return nexus__hand_over(&text, status, json, n);
}

/* --- a change that is not made ---------------------------------------------------------------------------------------- */

typedef struct simulation {
    nexus_auth *auth;
    nexus__json doc;
    nexus__role_view now;
    nexus__role_set *set; /* as it would be */
    nexus_rbac *policy;
    nexus_slice tenant;
    uint32_t checks, grants; /* places in doc */
    bool changes;
} simulation;

/* A list that may be missing and has no more than so many elements. */
static nexus_status find_list(const simulation *s, uint32_t object, const char *name, uint32_t most, uint32_t *out)
{
    *out = nexus__json_get(&s->doc, object, name);
    if (*out == NEXUS__JSON_NONE ||
        (nexus__json_is(&s->doc, *out, NEXUS__JSON_ARRAY) && nexus__json_count(&s->doc, *out) <= most))
        return NEXUS_OK;
    return nexus__fail(NEXUS_EINVAL, "%s: must be a list of at most %u", name, most);
}

static nexus_status change_role(simulation *s, const nexus__json_iter *it, bool rules)
{
    static const char *const besides[] = {"name", NULL};
    char prefix[40];
    nexus_slice name = NEXUS_S("");
    nexus__role *role;
    snprintf(prefix, sizeof prefix, "change/roles/%u/", it->index);
    (void)nexus__json_get_text(&s->doc, it->value, "name", &name);
    nexus_status status = nexus__role_check_name("change/roles/name", name, false);
    if (status == NEXUS_OK)
        status = nexus__role_add(&role, s->set, s->tenant, name);
    if (status == NEXUS_OK && role->built_in)
        status = nexus__fail(NEXUS_ECONFLICT, "the role \"%s\" is built in and stays as it is", role->key.p);
    if (status != NEXUS_OK || !rules)
        return status;
    memset(role->lists, 0, sizeof role->lists);
    return nexus__role_read(s->set, role, &s->doc, it->value, prefix, besides);
}

static nexus_status delete_role(simulation *s, const nexus__json_iter *it)
{
    nexus_slice name = NEXUS_S("");
    (void)nexus__json_text(&s->doc, it->value, &name);
    const nexus__role *role = nexus__role_find(s->set, s->tenant, name);
    if (!role)
        return nexus__fail(NEXUS_EINVAL, "change/delete/%u: is no role there", it->index);
    if (role->built_in)
        return nexus__fail(NEXUS_ECONFLICT, "the role \"%s\" is built in and stays as it is", role->key.p);
    nexus__role_remove(s->set, role);
    return NEXUS_OK;
}

/* All names first: a role may inherit from one that stands below it. */
static nexus_status read_change(simulation *s)
{
    uint32_t change = nexus__json_get(&s->doc, 0, "change"), roles, deletes;
    s->changes = change != NEXUS__JSON_NONE;
    nexus_status status = find_list(s, change, "roles", CHANGES_MAX, &roles);
    if (status == NEXUS_OK)
        status = find_list(s, change, "delete", CHANGES_MAX, &deletes);
    if (status == NEXUS_OK)
        status = find_list(s, change, "grants", CHANGES_MAX, &s->grants);
    for (int rules = 0; rules < 2; rules++)
        for (nexus__json_iter it = nexus__json_each(&s->doc, roles);
             status == NEXUS_OK && nexus__json_step(&s->doc, &it);)
            status = change_role(s, &it, rules);
    for (nexus__json_iter it = nexus__json_each(&s->doc, deletes); status == NEXUS_OK && nexus__json_step(&s->doc, &it);)
        status = delete_role(s, &it);
    return status == NEXUS_OK ? nexus__role_set_compile(&s->policy, s->set) : status;
}

/* The user's roles after the change; texts that are made up are kept by the set. */
static nexus_status change_grants(simulation *s, question *q)
{
    for (nexus__json_iter it = nexus__json_each(&s->doc, s->grants); q->user && nexus__json_step(&s->doc, &it);) {
        nexus_slice user = NEXUS_S(""), role = NEXUS_S("");
        char text[NEXUS__ROLE_KEY_MAX];
        bool held = true;
        size_t at = 0;
        (void)nexus__json_get_text(&s->doc, it.value, "user_id", &user);
        (void)nexus__json_get_text(&s->doc, it.value, "role", &role);
        (void)nexus__json_get_bool(&s->doc, it.value, "held", &held);
        if (!nexus__role_resolve(s->set, s->tenant, role))
            return nexus__fail(NEXUS_EINVAL, "change/grants/%u/role: is no role there", it.index);
        if (!nexus__slice_eq(user, q->user_id))
            continue;
        nexus_slice key = nexus__arena_copy(&s->set->arena, nexus__slice(text, nexus__role_key(text, s->tenant, role)));
        if (!key.p)
            return nexus__nomem();
        while (at < q->count && !nexus__slice_eq(q->carried[at], key))
            at++;
        if (held && at == q->count && q->count < NEXUS__USER_ROLES)
            q->carried[q->count++] = key;
        else if (!held && at < q->count)
            q->carried[at] = q->carried[--q->count];
    }
    return NEXUS_OK;
}

static nexus_status check_one(simulation *s, nexus__json_writer *w, const nexus__json_iter *it)
{
    question now, then;
    char prefix[40];
    snprintf(prefix, sizeof prefix, "checks/%u/", it->index);
    nexus_status status = read_question(&now, s->auth, &s->doc, it->value, s->tenant, prefix);
    if (status != NEXUS_OK)
        return status; /* nothing was taken: a user is the last thing that is */
    then = now;
    status = change_grants(s, &then);
    if (status == NEXUS_OK) {
        nexus__json_open(w, '{');
        put_answer(w, &then, s->policy);
        if (s->changes) {
            nexus__json_key(w, "now");
            nexus__json_open(w, '{');
            put_answer(w, &now, s->now.policy);
            nexus__json_close(w, '}');
        }
        nexus__json_close(w, '}');
    }
    nexus_user_free(now.user);
    return status;
}

static nexus_status run(simulation *s, nexus_slice body, nexus__json_writer *w)
{
    nexus_status status = nexus__json_scan(&s->doc, body, NULL);
    if (status != NEXUS_OK)
        return status;
    status = nexus__role_check_name("tenant", s->tenant, true);
    if (status == NEXUS_OK)
        status = find_list(s, 0, "checks", CHECKS_MAX, &s->checks);
    if (status == NEXUS_OK)
        status = nexus__role_set_copy(&s->set, s->now.set);
    if (status == NEXUS_OK)
        status = read_change(s);
    nexus__json_open(w, '{');
    nexus__json_key(w, "results");
    nexus__json_open(w, '[');
    for (nexus__json_iter it = nexus__json_each(&s->doc, s->checks);
         status == NEXUS_OK && nexus__json_step(&s->doc, &it);)
        status = check_one(s, w, &it);
    nexus__json_close(w, ']');
    nexus__json_close(w, '}');
    return status;
}

nexus_status nexus_roles_simulate(nexus_roles *r, nexus_slice tenant, nexus_slice body, char **json, size_t *n)
{
    simulation s = {.auth = r->auth, .tenant = tenant, .checks = NEXUS__JSON_NONE, .grants = NEXUS__JSON_NONE};
    nexus__buf text;
    nexus_status status = nexus_roles_refresh(r, NULL);
    if (status != NEXUS_OK)
        return status;
    nexus__json_init(&s.doc, NULL);
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__role_view_begin(&s.now, r);
    status = run(&s, body, &w);
    nexus__role_view_end(&s.now);
    nexus__role_set_free(s.set);
    nexus_rbac_free(s.policy);
    nexus__json_free(&s.doc);
    return nexus__hand_over(&text, status, json, n);
}
