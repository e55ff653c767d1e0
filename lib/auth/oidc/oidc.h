/* Shared by the files that implement nexus/oidc.h. */
#ifndef NEXUS_AUTH_OIDC_OIDC_H
#define NEXUS_AUTH_OIDC_OIDC_H

#include <nexus/client.h>
#include <nexus/oidc.h>
#include <nexus/secret.h>
#include <pthread.h>

#include "auth/jwks.h"
#include "auth/revocation.h"
#include "base/buf.h"
#include "base/status.h"

/* What is used of the provider's metadata. */
typedef struct nexus__oidc_provider {
    char authorization[1024], token[1024], jwks[1024];
    bool names_issuer; /* its responses carry iss: one without was tampered with */
} nexus__oidc_provider;

struct nexus_oidc {
    const nexus_alloc *alloc;
    nexus_client *client;
    const nexus_secret *client_secret; /* NULL: a public client */
    char *issuer, *client_id, *redirect_uri, *scope, *roles_claim;
    uint32_t session_s;
    int64_t (*now_fn)(void *user_data);
    void *user_data;
    const nexus_secrets *secrets;
    nexus_secrets *own_secrets; /* NULL when they were given */
    nexus__revocations ended;  /* sessions and subjects the provider logged out */
    nexus__revocations states; /* used ones */
    pthread_mutex_t lock;
    struct {
        nexus__oidc_provider provider;
        int64_t provider_due_ns; /* 0: never fetched */
        nexus__jwks *keys;       /* opened once */
        int64_t keys_again_ns;   /* no fetch for an unknown key before */
    } locked;
};

static inline int64_t nexus__oidc_now_s(const nexus_oidc *o)
{
    return (o->now_fn ? o->now_fn(o->user_data) : nexus__real_ns()) / NEXUS__NS_PER_S;
}

/* provider.c: the metadata, fetched when there is none or it is old; blocks. */
nexus_status nexus__oidc_provider_get(nexus_oidc *o, nexus__oidc_provider *out);
/* Verifies a token of the provider for us; typ as in nexus_jwt_rules. Blocks when its keys must be fetched. */
nexus_status nexus__oidc_verify(nexus_oidc *o, nexus_slice token, const char *typ, nexus_claims **claims);

#endif
