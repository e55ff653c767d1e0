#include "crypto/password.h"

#include <argon2.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"

nexus_status nexus__password_hash(const nexus__argon2 *cost, nexus_slice password,
                                  char out[static NEXUS__PASSWORD_HASH_MAX])
{
    uint8_t salt[16];
    nexus__random(salt, sizeof salt);
    int error = argon2id_hash_encoded(cost->passes, cost->memory_kib, cost->lanes, password.p, password.n, salt,
                                      sizeof salt, 32, out, NEXUS__PASSWORD_HASH_MAX);
    if (error == ARGON2_OK)
        return NEXUS_OK;
    return nexus__fail(error == ARGON2_MEMORY_ALLOCATION_ERROR ? NEXUS_ENOMEM : NEXUS_EINVAL, "argon2id: %s",
                       argon2_error_message(error));
}

static bool read_cost(const char *hash, nexus__argon2 *cost)
{
    unsigned m, t, p;
    int end = 0;
    if (sscanf(hash, "$argon2id$v=19$m=%9u,t=%3u,p=%3u$%n", &m, &t, &p, &end) != 3 || end == 0)
        return false;
    *cost = (nexus__argon2){m, t, p};
    return true;
}

nexus_status nexus__password_verify(const char *hash, nexus_slice password)
{
    /* A cost read from storage is bounded before memory is taken for it. */
    nexus__argon2 cost;
    if (!read_cost(hash, &cost) || cost.memory_kib > 1024 * 1024 || cost.passes > 16 || cost.lanes > 16)
        return nexus__fail(NEXUS_ECORRUPT, "a stored password hash is not an argon2id string");
    switch (argon2id_verify(hash, password.p, password.n)) {
    case ARGON2_OK:
        return NEXUS_OK;
    case ARGON2_VERIFY_MISMATCH:
        return nexus__fail(NEXUS_EAUTH, "wrong password");
    case ARGON2_MEMORY_ALLOCATION_ERROR:
        return nexus__nomem();
    default:
        return nexus__fail(NEXUS_ECORRUPT, "a stored password hash is broken");
    }
}

bool nexus__password_is_stale(const char *hash, const nexus__argon2 *cost)
{
    nexus__argon2 had;
    return !read_cost(hash, &had) || had.memory_kib != cost->memory_kib || had.passes != cost->passes ||
           had.lanes != cost->lanes;
}
