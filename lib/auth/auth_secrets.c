/* What the ring $STATE/secrets.key seals in the database, and what administrators do with it. */
#include "auth/auth_private.h"

const nexus__sealed_column nexus__auth_sealed_columns[] = {
    [NEXUS__SEALED_SIGNING_KEY] = {"auth_keys", "kid", "sealed", "auth_keys/", "/private"},
    [NEXUS__SEALED_SEED] = {"auth_totp", "user_id", "sealed", "auth_totp/", "/seed"},
    [NEXUS__SEALED_SUCCESSOR] = {"auth_refresh", "hash", "successor", "auth_refresh/", "/successor"},
    [NEXUS__SEALED_PEPPER] = {"auth_apikey_pepper", "CAST(id AS TEXT)", "sealed", "auth_apikey_pepper/", "/sealed"},
};

nexus__sealed nexus__auth_sealed(nexus_db *db, nexus_secrets *secrets)
{
    return (nexus__sealed){db, secrets, nexus__auth_sealed_columns, NEXUS__SEALED_COLUMNS};
}

void nexus__auth_seal_at_use(nexus_db *db, nexus_secrets *secrets, uint32_t column, nexus_slice key, nexus_slice sealed)
{
    nexus__sealed set = nexus__auth_sealed(db, secrets);
    nexus__sealed_at_use(&set, &nexus__auth_sealed_columns[column], key, sealed);
}

nexus_status nexus_auth_secrets(nexus_auth *a, char **json, size_t *n)
{
    nexus__sealed set = nexus__auth_sealed(a->db, a->secrets);
    return nexus__sealed_list(&set, json, n);
}

nexus_status nexus_auth_secrets_rotate(nexus_auth *a)
{
    return nexus_secrets_rotate(a->secrets);
}

nexus_status nexus_auth_reseal(nexus_auth *a, uint32_t batch, uint32_t *resealed)
{
    nexus__sealed set = nexus__auth_sealed(a->db, a->secrets);
    return nexus__sealed_again(&set, batch, resealed);
}

nexus_status nexus_auth_secrets_retire(nexus_auth *a, const char *kid)
{
    nexus__sealed set = nexus__auth_sealed(a->db, a->secrets);
    return nexus__sealed_retire(&set, kid);
}
