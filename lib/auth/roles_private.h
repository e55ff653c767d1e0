/* Shared by the files that implement nexus/roles.h. */
#ifndef NEXUS_AUTH_ROLES_PRIVATE_H
#define NEXUS_AUTH_ROLES_PRIVATE_H

#include <nexus/roles.h>

#include "auth/auth_private.h"
#include "auth/rbac.h"
#include "auth/role_set.h"

struct nexus_roles {
    nexus_auth *auth;
    pthread_mutex_t lock;
    struct {
        nexus__role_set *set;
        nexus_rbac *policy; /* of the set */
    } locked;
};

/* What holds now; end with nexus__role_view_end. */
typedef struct nexus__role_view {
    nexus__role_set *set;
    nexus_rbac *policy;
} nexus__role_view;

void nexus__role_view_begin(nexus__role_view *view, nexus_roles *roles);
void nexus__role_view_end(nexus__role_view *view);

/* role_rows.c: all roles as one statement sees them, sorted and compiled. db may be a transaction. */
nexus_status nexus__role_rows_load(nexus__role_view *out, nexus_auth *auth, nexus_db *db);
nexus_status nexus__role_rows_version(nexus_db *db, int64_t *version);
/* Until the transaction ends nobody else changes roles or gives them. changes: the version moves on, too. */
nexus_status nexus__role_rows_lock(nexus_db *tx, bool changes);
nexus_status nexus__role_rows_write(nexus_auth *auth, nexus_db *tx, const nexus__role *role);
nexus_status nexus__role_rows_delete(nexus_db *tx, const nexus__role *role);
/* NEXUS_EINVAL: no such role, by its name or, of one held in a tenant, as TENANT/NAME. */
nexus_status nexus__role_rows_check(nexus_db *db, nexus_slice carried);
/* How many users and clients have it. */
nexus_status nexus__role_rows_holders(nexus_db *tx, const nexus__role *role, int64_t *out);

nexus_status nexus__grant_role(nexus_auth *auth, const nexus_roles_actor *actor, nexus_slice user_id, nexus_slice role,
                               nexus_slice tenant, bool held);

/* The actor's roles in a tenant. */
typedef struct nexus__role_giver {
    const nexus_rbac *policy;
    bool everything; /* no actor: whoever runs the machine */
    nexus_slice roles[NEXUS__USER_ROLES];
    size_t count;
} nexus__role_giver;
nexus_status nexus__role_giver_init(nexus__role_giver *out, const nexus_rbac *policy, const nexus_roles_actor *actor,
                                    nexus_slice tenant);

#endif
