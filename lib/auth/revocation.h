/* What was taken back before it expired: single tokens by id, all tokens of a session or a client, all tokens of a subject
 * by time of issue. */
#ifndef NEXUS_AUTH_REVOCATION_H
#define NEXUS_AUTH_REVOCATION_H

#include <pthread.h>
#include <stdatomic.h>

#include "auth/principal.h"
#include "base/map.h"

/* What a token is known by. */
typedef enum nexus__revoked_kind {
    NEXUS__REVOKED_TOKEN, /* jti */
    NEXUS__REVOKED_SUBJECT,
    NEXUS__REVOKED_SESSION, /* sid */
    NEXUS__REVOKED_CLIENT,  /* client_id */
    NEXUS__REVOKED_KINDS
} nexus__revoked_kind;

typedef struct nexus__revocations {
    const nexus_alloc *alloc;
    atomic_size_t count; /* 0 spares every check the lock */
    pthread_mutex_t lock;
    nexus__map maps[NEXUS__REVOKED_KINDS]; /* under lock */
} nexus__revocations;

void nexus__revocations_init(nexus__revocations *r, const nexus_alloc *alloc);
void nexus__revocations_free(nexus__revocations *r);
/* until_s: when the entry may be forgotten; before_s: tokens issued earlier are meant, INT64_MAX = all. */
nexus_status nexus__revocations_add(nexus__revocations *r, nexus__revoked_kind kind, nexus_slice name, int64_t until_s,
                                    int64_t before_s, int64_t now_s);
bool nexus__revocations_match(nexus__revocations *r, const nexus_principal *p);

#endif
