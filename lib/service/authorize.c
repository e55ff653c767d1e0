/*
 * What a caller may do. The token says which roles he has; what they allow is looked up in the policy of this process, which
 * the backend keeps and everybody else fetches (policy.c). All decisions about permissions are made here.
 */
#include <stdio.h>

#include "auth/principal.h"
#include "base/status.h"
#include "service/service.h"

static nexus_rbac *policy_of(nexus__host *h, bool *whole)
{
    pthread_mutex_lock(&h->lock);
    nexus_rbac *policy = nexus_rbac_ref(h->policy);
    *whole = h->policy_whole;
    pthread_mutex_unlock(&h->lock);
    return policy;
}

/* A role that is not known may deny what another one allows: until all are known it must not be left out. */
static bool knows_all(const nexus_rbac *policy, const nexus_slice *roles, size_t count)
{
    char name[256];
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%.*s", (int)roles[i].n, roles[i].p);
        if (!nexus_rbac_has_role(policy, name))
            return false;
    }
    return true;
}

nexus_status nexus__authorize(nexus__host *h, const nexus_principal *principal, nexus_slice permission,
                              nexus_slice tenant, nexus_slice owner)
{
    nexus_slice roles[NEXUS__PRINCIPAL_ROLES];
    nexus_rbac_query q = NEXUS_RBAC_QUERY_INIT;
    bool whole;
    size_t count;
    nexus_rbac *policy = policy_of(h, &whole);
    const nexus_slice *carried = nexus_principal_roles(principal, &count);
    q.roles = roles;
    q.role_count = nexus_rbac_roles_in(policy, carried, count, tenant, roles);
    q.permission = permission;
    q.owner = owner;
    q.tenant = tenant;
    nexus_principal_subject(principal, &q.subject);
    nexus_principal_tenant(principal, &q.subject_tenant);
    if (q.subject_tenant.n == 0) /* a token for all: which of its roles count where, they say themselves */
        q.subject_tenant = tenant;
    nexus_status status = !whole && !knows_all(policy, roles, q.role_count) ? NEXUS_EAGAIN
                          : nexus_rbac_check(policy, &q)                    ? NEXUS_OK
                                                                            : NEXUS_EPERM;
    nexus_rbac_free(policy);
    return status;
}

/* A token that a client was given carries scopes: without "api" it is not for our own interface, whoever it speaks for. */
bool nexus__lacks_scope(const nexus_principal *principal)
{
    const nexus_claims *claims = nexus_principal_claims(principal);
    nexus_slice scope;
    if (!claims || !nexus_claims_text(claims, "scope", &scope))
        return false;
    while (scope.n > 0)
        if (nexus__slice_eq_c(nexus__slice_cut(&scope, ' '), "api"))
            return false;
    return true;
}

/* --- for handlers ------------------------------------------------------------------------------------------------- */

nexus_status nexus_service_authorize(const nexus_request *request, const char *permission, nexus_slice tenant,
                                     nexus_slice owner)
{
    const nexus_principal *principal = nexus__request_principal(request);
    if (!principal)
        return nexus__fail(NEXUS_EAUTH, "nobody with a good token asks");
    if (nexus__lacks_scope(principal))
        return nexus__fail(NEXUS_EPERM, "the token was not granted the scope \"api\"");
    return nexus__authorize(nexus__request_service(request)->host, principal, nexus__slice_c(permission), tenant, owner);
}

bool nexus_service_may(const nexus_request *request, const char *permission)
{
    nexus_slice none = NEXUS_S("");
    return nexus_service_authorize(request, permission, none, none) == NEXUS_OK;
}
