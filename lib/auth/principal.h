/* A verified caller, inside. */
#ifndef NEXUS_AUTH_PRINCIPAL_H
#define NEXUS_AUTH_PRINCIPAL_H

#include <nexus/verifier.h>
#include <stdatomic.h>

#include "base/str.h"

#define NEXUS__PRINCIPAL_ROLES 32

struct nexus_principal {
    atomic_uint refs;
    const nexus_alloc *alloc;
    nexus_claims *claims;
    nexus_slice subject, tenant, jti, session, client;
    nexus_slice roles[NEXUS__PRINCIPAL_ROLES];
    size_t role_count;
    int64_t issued_s, expires_s;
    uint64_t hash, generation; /* of the token in the cache; of the key set that verified it */
    size_t token_n;
    char token[];
};

/* Takes claims when it succeeds. NEXUS_EAUTH: no subject, or more roles than a token may carry. */
nexus_status nexus__principal_new(nexus_principal **out, const nexus_alloc *alloc, nexus_claims *claims,
                                  nexus_slice token);

/* One that stands for no token: a subject, no roles, no claims (nexus_principal_claims gives NULL). */
nexus_status nexus__principal_named(nexus_principal **out, const nexus_alloc *alloc,
                                    nexus_slice subject) NEXUS_MUST_CHECK;

#endif
