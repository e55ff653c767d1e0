/* What a caller may do: permissions by role and by the scopes of the token. */
#ifndef NEXUS_GATEWAY_AUTH_ACCESS_H
#define NEXUS_GATEWAY_AUTH_ACCESS_H

#include <nexus/rbac.h>
#include <nexus/verifier.h>

#include "gateway/loader.h"

typedef struct nexus__gw_require_conf {
    nexus__text_list all, any;
    const char *challenge; /* of the 403 */
} nexus__gw_require_conf;

/* Whether the principal holds the permission under the policy. Pure. */
bool nexus__gw_holds(const nexus_rbac *policy, const nexus_principal *principal, nexus_slice permission);

#endif
