/* Shared by the files that keep API keys in a database. */
#ifndef NEXUS_AUTH_APIKEY_PRIVATE_H
#define NEXUS_AUTH_APIKEY_PRIVATE_H

#include "auth/apikey.h"
#include "auth/auth_private.h"
#include "base/map.h"
#include "crypto/hmac.h"

struct nexus_apikeys {
    const nexus_alloc *alloc;
    nexus_db *db;
    nexus_apikeys_opts opts;
    nexus_secrets *secrets, *own_secrets; /* own: NULL when it was given */
    nexus__hmac *pepper;
    nexus__apikey_cache *cache;
    pthread_mutex_t lock;
    struct {
        nexus__map used;    /* id to struct used; since it was written down last */
        nexus_rbac *policy; /* judges scopes */
    } locked;
};

/* Columns of a key, in this order. */
#define NEXUS__APIKEY_COLUMNS                                                                                          \
    "id, owner_id, name, scopes, cidrs, plan, tenant, hash, old_hash, old_until, created_at, expires_at, ttl_s,"       \
    " revoked_at, last_used_at"
enum {
    NEXUS__APIKEY_ID,
    NEXUS__APIKEY_OWNER,
    NEXUS__APIKEY_NAME,
    NEXUS__APIKEY_SCOPES,
    NEXUS__APIKEY_CIDRS,
    NEXUS__APIKEY_PLAN,
    NEXUS__APIKEY_TENANT,
    NEXUS__APIKEY_HASH,
    NEXUS__APIKEY_OLD_HASH,
    NEXUS__APIKEY_OLD_UNTIL,
    NEXUS__APIKEY_CREATED,
    NEXUS__APIKEY_EXPIRES,
    NEXUS__APIKEY_TTL,
    NEXUS__APIKEY_REVOKED,
    NEXUS__APIKEY_LAST_USED,
};

int64_t nexus__apikeys_now(const nexus_apikeys *keys);
/* What is stored of the secret of a whole text. */
nexus_status nexus__apikey_hash(nexus_apikeys *keys, const char *text, char out[static NEXUS__HASH_TEXT]);
/* "a b c" as a JSON array. */
void nexus__apikey_put_words(nexus__buf *out, nexus_slice words);
nexus_status nexus__apikey_event(nexus_apikeys *keys, nexus_db *tx, const char *type, nexus_slice id, nexus_slice owner,
                                 nexus_slice name, int64_t expires_ns);

#endif
