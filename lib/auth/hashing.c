/* Password hashes behind the gate that bounds their memory. */
#include "auth/auth_private.h"

nexus_status nexus__hash_new_password(nexus_auth *a, nexus_slice password, char hash[static NEXUS__PASSWORD_HASH_MAX])
{
    nexus_status status = nexus__hash_gate_enter(a->gate);
    if (status != NEXUS_OK)
        return status;
    status = nexus__password_hash(&a->cost, password, hash);
    nexus__hash_gate_leave(a->gate);
    return status;
}

nexus_status nexus__check_user_password(nexus_auth *a, const nexus_user *user, nexus_slice password, char *rehash)
{
    nexus_status status = nexus__hash_gate_enter(a->gate);
    if (status != NEXUS_OK)
        return status;
    status = nexus__password_verify(user ? user->password : a->dummy, password);
    if (status == NEXUS_OK && user && nexus__password_is_stale(user->password, &a->cost))
        status = nexus__password_hash(&a->cost, password, rehash);
    nexus__hash_gate_leave(a->gate);
    return status == NEXUS_OK && !user ? nexus__fail(NEXUS_EAUTH, "there is no such user") : status;
}
