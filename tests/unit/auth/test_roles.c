/* Roles of one's own on both databases: what they may be, who may give them, and what would be if. */
#include <nexus/roles.h>

#include "auth/rbac.h"
#include "world.h"

static nexus_roles *roles;

static void open_world(void)
{
    set_up();
    cr_assert_eq(nexus_roles_open(&roles, auth), NEXUS_OK, "%s", nexus_error_message());
}

static void close_world(void)
{
    nexus_roles_close(roles);
    tear_down();
}

TestSuite(roles, .init = open_world, .fini = close_world);

#define S(text) nexus__slice_c(text)

static nexus_roles_actor actor_of(const nexus_slice *names, size_t count)
{
    nexus_roles_actor actor = NEXUS_ROLES_ACTOR_INIT;
    actor.roles = names;
    actor.role_count = count;
    return actor;
}

static nexus_status put_as(const char *carried, const char *tenant, const char *name, const char *definition)
{
    nexus_slice names[] = {S(carried)};
    nexus_roles_actor actor = actor_of(names, 1);
    return nexus_roles_put(roles, carried ? &actor : NULL, S(tenant), S(name), S(definition), NULL);
}

static nexus_status put(const char *name, const char *definition)
{
    return put_as(NULL, "", name, definition);
}

static void must(nexus_status status)
{
    cr_assert_eq(status, NEXUS_OK, "%s", nexus_error_message());
}

static void refused(nexus_status status, nexus_status expected, const char *says)
{
    cr_expect_eq(status, expected, "%s: %s", nexus_status_name(status), nexus_error_message());
    cr_expect(strstr(nexus_error_message(), says), "\"%s\" should say \"%s\"", nexus_error_message(), says);
}

static bool may(const char *carried, const char *tenant, const char *permission)
{
    nexus_rbac *policy;
    nexus_slice names[] = {S(carried)}, in[1];
    nexus_rbac_query q = NEXUS_RBAC_QUERY_INIT;
    nexus_roles_policy(roles, &policy);
    q.roles = in;
    q.role_count = nexus_rbac_roles_in(policy, names, 1, S(tenant), in);
    q.permission = S(permission);
    q.subject = q.owner = S("");
    q.tenant = q.subject_tenant = S(tenant);
    bool yes = nexus_rbac_check(policy, &q);
    nexus_rbac_free(policy);
    return yes;
}

static nexus_user *ann(void)
{
    nexus_user *user;
    cr_assert_eq(nexus_auth_user_by_email(auth, MAIL, &user), NEXUS_OK);
    return user;
}

/* Gives the text back, and checks that it has a piece. */
static void has(char *json, const char *piece)
{
    cr_expect(strstr(json, piece), "%s should have %s", json, piece);
    nexus_free(json);
}

Test(roles, the_built_in_ones_are_there_and_stay)
{
    char *json;
    size_t n;
    must(nexus_roles_show(roles, S(""), S("operator"), &json, &n));
    cr_expect(strstr(json, "\"built_in\":true") && strstr(json, "\"inherits\":[\"customer\"]"), "%s", json);
    has(json, "\"analytics:*\"");
    for (size_t i = 0; i < NEXUS__RBAC_BUILTIN_ROLES; i++) {
        refused(put(nexus__rbac_builtin_roles[i], "{}"), NEXUS_ECONFLICT, "built in");
        refused(nexus_roles_delete(roles, NULL, S(""), S(nexus__rbac_builtin_roles[i])), NEXUS_ECONFLICT, "built in");
    }
    cr_expect(may("admin", "", "anything:at:all") && may("operator", "", "orders:create") &&
              !may("operator", "", "roles:write"));
}

Test(roles, a_role_is_made_changed_listed_and_deleted)
{
    char *json;
    size_t n;
    bool made = false;
    must(nexus_roles_put(
        roles, NULL, S(""), S("support"),
        S("{\"description\":\"First line.\",\"inherits\":[\"customer\"],\"allow\":[\"users:list\",\"tickets:**\"],"
          "\"deny\":[\"tickets:delete\"]}"),
        &made));
    cr_expect(made && may("support", "", "users:list") && may("support", "", "tickets:close:late"));
    cr_expect_not(may("support", "", "tickets:delete"), "a deny beats an allow");
    must(nexus_roles_put(roles, NULL, S(""), S("support"), S("{\"allow\":[\"users:list\"]}"), &made));
    cr_expect(!made && !may("support", "", "tickets:close"));
    must(put("auditor", "{\"allow\":[\"audit:read\"]}"));
    must(put_as(NULL, "acme", "editor", "{\"allow\":[\"pages:*\"]}"));

    nexus_role_filter filter = NEXUS_ROLE_FILTER_INIT;
    filter.any_tenant = true;
    filter.limit = 2;
    must(nexus_roles_list(roles, &filter, &json, &n));
    cr_expect(strstr(json, "\"admin\"") && strstr(json, "\"auditor\"") && !strstr(json, "\"support\""), "%s", json);
    has(json, "\"next_cursor\":\"auditor\"");
    filter.limit = 200;
    filter.cursor = S("operator");
    must(nexus_roles_list(roles, &filter, &json, &n));
    cr_expect(!strstr(json, "\"operator\"") && strstr(json, "\"support\"") && strstr(json, "\"editor\""), "%s", json);
    has(json, "\"next_cursor\":null");
    filter = (nexus_role_filter)NEXUS_ROLE_FILTER_INIT;
    filter.tenant = S("acme");
    must(nexus_roles_list(roles, &filter, &json, &n));
    cr_expect_not(strstr(json, "\"support\""), "%s", json);
    has(json, "\"editor\"");

    must(nexus_roles_delete(roles, NULL, S(""), S("support")));
    refused(nexus_roles_show(roles, S(""), S("support"), &json, &n), NEXUS_ENOTFOUND, "no such role");
    refused(nexus_roles_show(roles, S("other"), S("editor"), &json, &n), NEXUS_ENOTFOUND, "no such role");
    cr_expect_not(may("support", "", "users:list"));
    cr_expect_eq(count_events("role.changed"), 5);
}

Test(roles, row_69_no_cycle_and_no_ninth_level)
{
    char name[8], definition[40];
    must(put("a", "{}"));
    must(put("b", "{\"inherits\":[\"a\"]}"));
    refused(put("a", "{\"inherits\":[\"b\"]}"), NEXUS_ECONFLICT, "inherit from itself");
    refused(put("c", "{\"inherits\":[\"c\"]}"), NEXUS_ECONFLICT, "inherit from itself");
    for (int i = 2; i <= 9; i++) {
        snprintf(name, sizeof name, "l%d", i);
        snprintf(definition, sizeof definition, "{\"inherits\":[\"%s%.0d\"]}", i == 2 ? "a" : "l", i == 2 ? 0 : i - 1);
        if (i < 9)
            must(put(name, definition));
        else
            refused(put(name, definition), NEXUS_ECONFLICT, "8 levels");
    }
    refused(put("a", "{\"inherits\":[\"customer\"]}"), NEXUS_ECONFLICT, "8 levels"); /* below them all */
}

Test(roles, what_is_wrong_is_named)
{
    refused(put("Support", "{}"), NEXUS_EINVAL, "name: ");
    refused(put("a/b", "{}"), NEXUS_EINVAL, "name: ");
    refused(put("", "{}"), NEXUS_EINVAL, "name: ");
    refused(put_as(NULL, "a/b", "c", "{}"), NEXUS_EINVAL, "tenant: ");
    refused(put("a", "{\"inherits\":[\"customer\",\"nobody\"]}"), NEXUS_EINVAL, "inherits/1: ");
    refused(put("a", "{\"allow\":[\"orders\"]}"), NEXUS_EINVAL, "allow/0: ");
    refused(put("a", "{\"allow\":[\"**:x\"]}"), NEXUS_EINVAL, "allow/0: ");
    refused(put("a", "{\"allow\":[7]}"), NEXUS_EINVAL, "allow/0: ");
    refused(put("a", "{\"deny\":[\"orders:read:own\"]}"), NEXUS_EINVAL, "deny/0: ");
    refused(put("a", "{\"deny\":\"orders:read\"}"), NEXUS_EINVAL, "deny: ");
    refused(put("a", "{\"admin\":true}"), NEXUS_EINVAL, "admin: ");
    refused(put("a", "[]"), NEXUS_EINVAL, "role: ");
    cr_expect_eq(count_events("role.changed"), 0);
}

Test(roles, own_objects_only)
{
    char *json;
    size_t n;
    must(put("writer", "{\"allow\":[\"pages:edit:own\"]}"));
    must(nexus_roles_explain(
        roles, S(""), S("{\"roles\":[\"writer\"],\"permission\":\"pages:edit\",\"owner\":\"self\"}"), &json, &n));
    has(json, "{\"allowed\":true,\"reason\":\"allow, own "
              "object\",\"rule\":\"pages:edit\",\"effect\":\"allow-own\",\"path\":[\"writer\"]}");
    must(nexus_roles_explain(roles, S(""), S("{\"roles\":[\"writer\"],\"permission\":\"pages:edit\",\"owner\":\"u2\"}"),
                             &json, &n));
    has(json, "\"allowed\":false,\"reason\":\"deny, another's object\"");
    /* who may with his own only does not pass on more */
    must(put("boss", "{\"inherits\":[\"writer\"],\"allow\":[\"roles:write\"]}"));
    must(put_as("boss", "", "helper", "{\"allow\":[\"pages:edit:own\"]}"));
    refused(put_as("boss", "", "helper", "{\"allow\":[\"pages:edit\"]}"), NEXUS_EPERM, "pages:edit");
}

Test(roles, row_69_nobody_gives_what_he_does_not_hold)
{
    nexus_user *user;
    register_ann();
    user = ann();
    must(put("lead", "{\"allow\":[\"tickets:*\",\"roles:*\"],\"deny\":[\"tickets:delete\"]}"));
    must(put_as("lead", "", "agent", "{\"allow\":[\"tickets:read\"]}"));
    refused(put_as("lead", "", "agent", "{\"allow\":[\"orders:read\"]}"), NEXUS_EPERM, "orders:read");
    refused(put_as("lead", "", "agent", "{\"allow\":[\"tickets:*\"]}"), NEXUS_EPERM, "tickets:*");
    refused(put_as("lead", "", "agent", "{\"allow\":[\"**:**\"]}"), NEXUS_EINVAL, "**");
    refused(put_as("lead", "", "agent", "{\"allow\":[\"*:**\"]}"), NEXUS_EPERM, "*:**");
    refused(put_as("lead", "", "agent", "{\"inherits\":[\"operator\"]}"), NEXUS_EPERM, "");
    refused(put_as("nobody", "", "agent", "{\"allow\":[\"tickets:read\"]}"), NEXUS_EPERM, "tickets:read");

    nexus_slice carried[] = {S("lead")};
    nexus_roles_actor actor = actor_of(carried, 1);
    must(nexus_roles_grant(roles, &actor, S(user->id), S("agent"), S(""), true));
    refused(nexus_roles_grant(roles, &actor, S(user->id), S("admin"), S(""), true), NEXUS_EPERM, "admin");
    refused(nexus_roles_grant(roles, &actor, S(user->id), S("admin"), S("acme"), true), NEXUS_EPERM, "admin");
    refused(nexus_roles_grant(roles, &actor, S(user->id), S("customer"), S(""), false), NEXUS_EPERM, "customer");
    nexus_slice held[] = {S("admin")}, fine[] = {S("agent"), S("nobody")};
    cr_expect(nexus_roles_holds(roles, &actor, fine, 2) && !nexus_roles_holds(roles, &actor, held, 1));
    cr_expect(nexus_roles_covers(roles, &actor, S(""), S("tickets:read")));
    cr_expect_not(nexus_roles_covers(roles, &actor, S(""), S("tickets:*")));
    nexus_user_free(user);
}

Test(roles, nobody_lifts_a_deny_that_is_not_his_to_lift)
{
    nexus_user *user;
    register_ann();
    user = ann();
    must(put("bound", "{\"deny\":[\"orders:refund\"]}"));
    must(put("clerk", "{\"inherits\":[\"bound\"],\"allow\":[\"orders:*\",\"roles:*\"]}"));
    refused(put_as("clerk", "", "bound", "{}"), NEXUS_EPERM, "orders:refund");
    refused(put_as("clerk", "", "bound", "{\"deny\":[\"orders:read\"]}"), NEXUS_EPERM, "orders:refund");
    must(put("freed", "{\"inherits\":[\"bound\"]}"));
    refused(put_as("clerk", "", "freed", "{}"), NEXUS_EPERM, "orders:refund");
    must(put_as("clerk", "", "bound", "{\"deny\":[\"orders:refund\",\"orders:delete\"]}"));
    nexus_slice carried[] = {S("clerk")};
    nexus_roles_actor actor = actor_of(carried, 1);
    must(nexus_roles_grant(roles, &actor, S(user->id), S("bound"), S(""), true));
    refused(nexus_roles_grant(roles, &actor, S(user->id), S("bound"), S(""), false), NEXUS_EPERM, "bound");
    must(put_as("admin", "", "bound", "{}"));
    nexus_user_free(user);
}

Test(roles, tenants_are_kept_apart)
{
    nexus_user *user;
    char *json;
    size_t n;
    register_ann();
    must(put_as(NULL, "acme", "editor", "{\"allow\":[\"pages:*\",\"roles:*\"]}"));
    must(put_as(NULL, "other", "editor", "{\"allow\":[\"pages:read\"]}"));
    refused(put_as(NULL, "", "editor", "{}"), NEXUS_ECONFLICT, "a role of a tenant");
    refused(put_as(NULL, "acme", "operator", "{}"), NEXUS_ECONFLICT, "a role of all tenants");
    refused(put_as(NULL, "other", "chief", "{\"inherits\":[\"chief2\"]}"), NEXUS_EINVAL, "inherits/0: ");

    user = ann();
    must(nexus_roles_grant(roles, NULL, S(user->id), S("editor"), S("acme"), true));
    must(nexus_roles_grant(roles, NULL, S(user->id), S("operator"), S("acme"), true));
    refused(nexus_roles_grant(roles, NULL, S(user->id), S("editor"), S(""), true), NEXUS_EINVAL, "role: ");
    refused(nexus_roles_grant(roles, NULL, S(user->id), S("editor"), S("third"), true), NEXUS_EINVAL, "role: ");
    nexus_user_free(user);
    user = ann();
    cr_assert_eq(user->role_count, 3);
    cr_expect_str_eq(user->roles[0], "customer");
    cr_expect_str_eq(user->roles[1], "acme/editor");
    cr_expect_str_eq(user->roles[2], "acme/operator");

    cr_expect(may("acme/editor", "acme", "pages:edit") && may("acme/operator", "acme", "audit:read"));
    cr_expect_not(may("acme/editor", "", "pages:edit"));
    cr_expect_not(may("acme/editor", "other", "pages:read"));
    cr_expect_not(may("acme/operator", "", "audit:read"), "an operator of a tenant is none of all");
    cr_expect(may("operator", "acme", "audit:read"), "a role of all tenants counts in each");

    /* row 69: what he may in acme he may not do elsewhere */
    must(put_as("acme/editor", "acme", "reader", "{\"allow\":[\"pages:read\"]}"));
    refused(put_as("acme/editor", "other", "reader", "{\"allow\":[\"pages:read\"]}"), NEXUS_EPERM, "pages:read");
    refused(put_as("acme/editor", "", "reader2", "{\"allow\":[\"pages:read\"]}"), NEXUS_EPERM, "pages:read");
    nexus_grant_filter filter = NEXUS_GRANT_FILTER_INIT;
    filter.tenant = S("acme");
    must(nexus_roles_grants(roles, &filter, &json, &n));
    cr_expect(strstr(json, "\"role\":\"editor\"") && strstr(json, "\"role\":\"operator\"") && !strstr(json, "customer"),
              "%s", json);
    nexus_free(json);
    filter = (nexus_grant_filter)NEXUS_GRANT_FILTER_INIT;
    filter.any_tenant = true;
    filter.limit = 2;
    must(nexus_roles_grants(roles, &filter, &json, &n));
    cr_expect(strstr(json, "\"next_cursor\":\"") && strstr(json, user->id), "%s", json);
    nexus_free(json);
    nexus_user_free(user);
}

Test(roles, a_role_in_use_stays)
{
    nexus_user *user;
    register_ann();
    user = ann();
    must(put("base", "{\"allow\":[\"a:b\"]}"));
    must(put("top", "{\"inherits\":[\"base\"]}"));
    refused(nexus_roles_delete(roles, NULL, S(""), S("base")), NEXUS_ECONFLICT, "\"top\" inherits");
    must(nexus_roles_grant(roles, NULL, S(user->id), S("top"), S("acme"), true));
    refused(nexus_roles_delete(roles, NULL, S(""), S("top")), NEXUS_ECONFLICT, "1 users");
    must(nexus_roles_grant(roles, NULL, S(user->id), S("top"), S("acme"), false));
    must(nexus_roles_delete(roles, NULL, S(""), S("top")));
    must(nexus_roles_delete(roles, NULL, S(""), S("base")));
    nexus_user_free(user);
}

Test(roles, a_token_carries_what_was_given_and_a_role_that_is_taken_voids_it)
{
    nexus_user *user;
    register_ann();
    user = ann();
    must(put("support", "{\"allow\":[\"users:list\"]}"));
    must(nexus_auth_set_role(auth, S(user->id), "support", true));
    refused(nexus_auth_set_role(auth, S(user->id), "nobody", true), NEXUS_EINVAL, "role: ");
    cr_expect(strstr(events.p, "\"role_given\":\"support\""), "%s", events.p);
    int before = count_events("auth.revoked");
    must(nexus_auth_set_role(auth, S(user->id), "support", false));
    cr_expect_eq(count_events("auth.revoked"), before + 1);
    char name[8];
    for (int i = 0; i < 32; i++) { /* customer is there */
        snprintf(name, sizeof name, "r%d", i);
        must(put(name, "{}"));
        nexus_status status = nexus_auth_set_role(auth, S(user->id), name, true);
        cr_expect_eq(status, i < 31 ? NEXUS_OK : NEXUS_EINVAL, "%d: %s", i, nexus_error_message());
    }
    nexus_user_free(user);
}

Test(roles, what_cannot_be_told_is_not_done)
{
    char *json;
    size_t n;
    nexus_user *user;
    register_ann();
    must(put("kept", "{\"allow\":[\"a:b\"]}"));
    refuse_events = true;
    user = ann();
    cr_expect_eq(put("lost", "{}"), NEXUS_EIO);
    cr_expect_eq(put("kept", "{}"), NEXUS_EIO);
    cr_expect_eq(nexus_roles_delete(roles, NULL, S(""), S("kept")), NEXUS_EIO);
    cr_expect_eq(nexus_roles_grant(roles, NULL, S(user->id), S("kept"), S(""), true), NEXUS_EIO);
    refuse_events = false;
    nexus_user_free(user);
    must(nexus_roles_refresh(roles, NULL));
    cr_expect_eq(nexus_roles_show(roles, S(""), S("lost"), &json, &n), NEXUS_ENOTFOUND);
    cr_expect(may("kept", "", "a:b"));
    user = ann();
    cr_expect_eq(user->role_count, 1);
    nexus_user_free(user);
}

Test(roles, another_process_takes_a_change_over)
{
    nexus_roles *other;
    nexus_rbac *old;
    bool changed = false;
    char *json;
    size_t n;
    must(nexus_roles_open(&other, auth));
    nexus_roles_policy(roles, &old);
    must(nexus_roles_put(other, NULL, S(""), S("late"), S("{\"allow\":[\"a:b\"]}"), NULL));
    cr_expect_not(may("late", "", "a:b"));
    must(nexus_roles_refresh(roles, &changed));
    cr_expect(changed && may("late", "", "a:b"));
    must(nexus_roles_refresh(roles, &changed));
    cr_expect_not(changed);
    cr_expect_not(nexus_rbac_has_role(old, "late"), "a policy in use stays what it is");
    nexus_rbac_free(old);
    nexus_roles_close(other);

    /* one without a database reads the document */
    nexus_rbac *far;
    must(nexus_roles_document(roles, &json, &n));
    must(nexus_roles_compile(&far, nexus__slice(json, n)));
    cr_expect(nexus_rbac_has_role(far, "late") && nexus_rbac_has_role(far, "admin"));
    nexus_rbac_free(far);
    nexus_free(json);
    cr_expect_eq(nexus_roles_compile(&far, S("{\"roles\":[{\"name\":\"x\",\"allow\":[\"*\"]}]}")), NEXUS_EINVAL);
    cr_expect_eq(nexus_roles_compile(&far, S("{\"roles\":7}")), NEXUS_EINVAL);
    cr_expect_eq(nexus_roles_compile(&far, S("{")), NEXUS_EINVAL);
}

Test(roles, explained)
{
    char *json;
    size_t n;
    nexus_user *user;
    char question[160];
    register_ann();
    user = ann();
    must(put("base", "{\"allow\":[\"tickets:**\"]}"));
    must(put("top", "{\"inherits\":[\"base\"],\"deny\":[\"tickets:delete\"]}"));
    must(nexus_roles_grant(roles, NULL, S(user->id), S("top"), S("acme"), true));
    snprintf(question, sizeof question, "{\"user_id\":\"%s\",\"permission\":\"tickets:close\"}", user->id);
    must(nexus_roles_explain(roles, S("acme"), S(question), &json, &n));
    has(json, "{\"allowed\":true,\"reason\":\"allow\",\"rule\":\"tickets:**\",\"effect\":\"allow\",\"path\":[\"top\","
              "\"base\"]}");
    snprintf(question, sizeof question, "{\"user_id\":\"%s\",\"permission\":\"tickets:close\"}", user->id);
    must(nexus_roles_explain(roles, S(""), S(question), &json, &n));
    has(json, "{\"allowed\":false,\"reason\":\"deny: no rule allows it\",\"rule\":null,\"effect\":null,\"path\":[]}");
    must(nexus_roles_explain(roles, S(""), S("{\"roles\":[\"base\",\"top\"],\"permission\":\"tickets:delete\"}"), &json,
                             &n));
    has(json,
        "{\"allowed\":false,\"reason\":\"deny\",\"rule\":\"tickets:delete\",\"effect\":\"deny\",\"path\":[\"top\"]}");

    refused(nexus_roles_explain(roles, S(""), S("{\"roles\":[\"top\"],\"permission\":\"tickets:*\"}"), &json, &n),
            NEXUS_EINVAL, "permission: ");
    refused(nexus_roles_explain(roles, S(""), S("{\"roles\":[\"top\"],\"permission\":\"tickets:read:own\"}"), &json, &n),
            NEXUS_EINVAL, "permission: ");
    refused(nexus_roles_explain(roles, S(""), S("{\"permission\":\"tickets:read\"}"), &json, &n), NEXUS_EINVAL,
            "user_id: ");
    refused(nexus_roles_explain(roles, S(""), S("{\"user_id\":\"x\",\"permission\":\"tickets:read\"}"), &json, &n),
            NEXUS_EINVAL, "user_id: ");
    nexus_user_free(user);
}

Test(roles, simulated_and_not_made)
{
    char *json, body[900];
    size_t n;
    nexus_user *user;
    register_ann();
    user = ann();
    must(put("top", "{\"allow\":[\"tickets:read\"]}"));
    must(nexus_auth_set_role(auth, S(user->id), "top", true));
    snprintf(body, sizeof body,
             "{\"checks\":[{\"roles\":[\"top\"],\"permission\":\"tickets:close\"},{\"user_id\":\"%s\",\"permission\":"
             "\"tickets:read\"},"
             "{\"user_id\":\"%s\",\"permission\":\"audit:read\"}],"
             "\"change\":{\"roles\":[{\"name\":\"top\",\"inherits\":[\"new\"]},{\"name\":\"new\",\"allow\":[\"tickets:"
             "close\"]}],"
             "\"grants\":[{\"user_id\":\"%s\",\"role\":\"operator\"},{\"user_id\":\"%s\",\"role\":\"top\",\"held\":"
             "false}]}}",
             user->id, user->id, user->id, user->id);
    must(nexus_roles_simulate(roles, S(""), S(body), &json, &n));
    const char *first = strstr(json, "\"allowed\":true,\"reason\":\"allow\",\"rule\":\"tickets:close\",\"effect\":"
                                     "\"allow\",\"path\":[\"top\",\"new\"],\"now\":{\"allowed\":false");
    cr_expect(first, "%s", json);
    cr_expect(strstr(json, "{\"allowed\":false,\"reason\":\"deny: no rule allows "
                           "it\",\"rule\":null,\"effect\":null,\"path\":[],\"now\":{\"allowed\":true,"),
              "%s", json);
    has(json, "\"path\":[\"operator\"],\"now\":{\"allowed\":false");
    cr_expect(!may("top", "", "tickets:close") && may("top", "", "tickets:read"), "nothing was saved");

    refused(nexus_roles_simulate(
                roles, S(""),
                S("{\"checks\":[{\"roles\":[],\"permission\":\"a:b\"},{\"roles\":[],\"permission\":\"a:*\"}]}"), &json,
                &n),
            NEXUS_EINVAL, "checks/1/permission: ");
    refused(nexus_roles_simulate(roles, S(""),
                                 S("{\"checks\":[],\"change\":{\"roles\":[{\"name\":\"x\",\"inherits\":[\"y\"]},{"
                                   "\"name\":\"y\",\"inherits\":[\"x\"]}]}}"),
                                 &json, &n),
            NEXUS_ECONFLICT, "inherit from itself");
    refused(nexus_roles_simulate(roles, S(""),
                                 S("{\"checks\":[],\"change\":{\"roles\":[{\"name\":\"x\",\"allow\":[\"y\"]}]}}"),
                                 &json, &n),
            NEXUS_EINVAL, "change/roles/0/allow/0: ");
    refused(nexus_roles_simulate(roles, S(""), S("{\"checks\":[],\"change\":{\"delete\":[\"admin\"]}}"), &json, &n),
            NEXUS_ECONFLICT, "built in");
    refused(nexus_roles_simulate(roles, S(""), S("{\"checks\":[],\"change\":{\"delete\":[\"x\"]}}"), &json, &n),
            NEXUS_EINVAL, "change/delete/0: ");
    nexus_user_free(user);
}

/* Each puts the one above the other; the second must see the first. */
static void *put_above(void *arg)
{
    const char *const *names = arg;
    char definition[40];
    snprintf(definition, sizeof definition, "{\"inherits\":[\"%s\"]}", names[1]);
    return (void *)(intptr_t)put(names[0], definition);
}

Test(roles, two_writers_at_once_make_no_cycle)
{
    static const char *const ab[] = {"a", "b"}, *const ba[] = {"b", "a"};
    must(put("a", "{}"));
    must(put("b", "{}"));
    for (int i = 0; i < 10; i++) {
        pthread_t other;
        void *theirs;
        cr_assert_eq(pthread_create(&other, NULL, put_above, (void *)(uintptr_t)ab), 0);
        nexus_status mine = (nexus_status)(intptr_t)put_above((void *)(uintptr_t)ba);
        pthread_join(other, &theirs);
        nexus_status worse = mine < (nexus_status)(intptr_t)theirs ? mine : (nexus_status)(intptr_t)theirs;
        cr_assert_eq((mine == NEXUS_OK) + ((nexus_status)(intptr_t)theirs == NEXUS_OK), 1);
        cr_assert_eq(worse, NEXUS_ECONFLICT);
        must(put("a", "{}"));
        must(put("b", "{}"));
    }
}

Test(roles_before, grants_of_an_older_schema_are_taken_over, .init = set_up, .fini = tear_down)
{
    nexus_user *user;
    nexus_db *old;
    char url[96], schema[64];
    const char *postgres = getenv("NEXUS_TEST_POSTGRES_URL");
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    snprintf(url, sizeof url, "sqlite:%s/old.db", dir);
    snprintf(schema, sizeof schema, "t%llx", (unsigned long long)nexus__random_u64());
    opts.schema = schema;
    must(nexus_db_open(&old, postgres ? postgres : url, &opts));
    must(nexus_db_migrate(old, "auth", nexus__auth_migrations, nexus__auth_migration_count));
    must(
        nexus_db_exec(old,
                      "INSERT INTO auth_users (id, email, email_key, name, password, disabled, created_at, password_at)"
                      " VALUES ('u1', 'a@b.c', 'a@b.c', 'A', '', 0, 1, 1)",
                      NULL, 0, NULL));
    must(nexus_db_exec(old, "INSERT INTO auth_roles (user_id, role, granted_at) VALUES ('u1', 'admin', 5)", NULL, 0,
                       NULL));
    nexus_auth_close(auth);
    nexus_db_close(db);
    db = old;
    open_auth();
    must(nexus_auth_user(auth, S("u1"), &user));
    cr_assert_eq(user->role_count, 1);
    cr_expect_str_eq(user->roles[0], "admin");
    nexus_user_free(user);
}
