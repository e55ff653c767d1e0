/*
 * What roles allow, as the database has it: compiled for this process, given out to the others, and asked by whoever hands
 * something on (a role, a key, a client) or touches somebody's account.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/private.h"

void roles_take(backend *b)
{
    nexus_rbac *policy;
    nexus_roles_policy(b->roles, &policy);
    nexus_service_set_policy(b->service, policy);
    if (b->keys)
        nexus_apikeys_set_policy(b->keys, policy);
    nexus_rbac_free(policy);
}

/* Another backend on the same database may have changed them. */
static void refresh(void *user_data)
{
    backend *b = user_data;
    bool changed = false;
    if (nexus_roles_refresh(b->roles, &changed) != NEXUS_OK)
        nexus_log_printf(nexus_service_log(b->service), NEXUS_LOG_WARN, "backend", NULL, "roles: %s",
                         nexus_error_message());
    else if (changed)
        roles_take(b);
}

nexus_status roles_open(backend *b)
{
    nexus_status status = nexus_roles_open(&b->roles, b->auth);
    if (status != NEXUS_OK)
        return status;
    roles_take(b);
    return nexus_service_every(b->service, "roles", 500, refresh, b);
}

void roles_close(backend *b)
{
    nexus_service_set_policy(b->service, NULL);
    nexus_roles_close(b->roles);
}

/* --- who hands what on ------------------------------------------------------------------------------------------------- */

void actor_of(const nexus_request *request, nexus_roles_actor *actor)
{
    nexus_roles_actor_init(actor);
    actor->roles = nexus_service_roles(request, &actor->role_count);
}

void refuse_not_held(backend *b, nexus_request *request, const char *action, nexus_slice object, const char *why)
{
    char text[300];
    snprintf(text, sizeof text, "%s", why);
    /* by somebody who has rights of the administration: each time */
    nexus_service_audit_undone(b->service, request, action, object, NEXUS_EPERM, text);
    nexus_request_problem_text(request, 403, "not-held", text);
}

bool holds_roles(backend *b, nexus_request *request, const char *action, nexus_slice object, const nexus_slice *names,
                 size_t count)
{
    nexus_roles_actor actor;
    actor_of(request, &actor);
    if (nexus_roles_holds(b->roles, &actor, names, count))
        return true;
    refuse_not_held(b, request, action, object, "There are roles in it that give more than you hold.");
    return false;
}

bool holds_scopes(backend *b, nexus_request *request, const char *action, nexus_slice object, nexus_slice tenant,
                  nexus_slice words)
{
    nexus_roles_actor actor;
    actor_of(request, &actor);
    while (words.n > 0) {
        const char *space = memchr(words.p, ' ', words.n);
        nexus_slice word = {words.p, space ? (size_t)(space - words.p) : words.n};
        words = (nexus_slice){words.p + word.n + (space ? 1 : 0), words.n - word.n - (space ? 1 : 0)};
        if (!memchr(word.p, ':', word.n) || nexus_roles_covers(b->roles, &actor, tenant, word))
            continue; /* openid, email: no permission */
        refuse_not_held(b, request, action, object, "There are scopes in it that you do not hold.");
        return false;
    }
    return true;
}

bool holds_all_of_user(backend *b, nexus_request *request, const char *action, nexus_slice user_id)
{
    nexus_user *user;
    nexus_slice names[32];
    size_t count = 0;
    if (nexus_auth_user(b->auth, user_id, &user) != NEXUS_OK)
        return true; /* what is asked for will say so */
    for (; count < nexus_user_role_count(user) && count < 32; count++)
        names[count] = (nexus_slice){nexus_user_role(user, count), strlen(nexus_user_role(user, count))};
    bool good = holds_roles(b, request, action, user_id, names, count);
    nexus_user_free(user);
    return good;
}
