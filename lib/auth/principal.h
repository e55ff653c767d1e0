/* A verified caller, inside. */
#ifndef NEXUS_AUTH_PRINCIPAL_H
#define NEXUS_AUTH_PRINCIPAL_H

#include <nexus/verifier.h>
#include <stdatomic.h>

#include "auth/confirmation.h"

#define NEXUS__PRINCIPAL_ROLES 32

struct nexus_principal {
    atomic_uint refs;
    const nexus_alloc *alloc;
    nexus_claims *claims;
    nexus_slice subject, tenant, jti, session, client;
    nexus_slice roles[NEXUS__PRINCIPAL_ROLES];
    size_t role_count;
    nexus__confirmation confirmation; /* who may use the token */
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
/* The same with roles, at most NEXUS__PRINCIPAL_ROLES of them, which are copied. */
nexus_status nexus__principal_with_roles(nexus_principal **out, const nexus_alloc *alloc, nexus_slice subject,
                                         const nexus_slice *roles, size_t count) NEXUS_MUST_CHECK;

#endif
