/*
 * Devices that an account has logged in from: a token the device keeps, stored as its hash. It opens nothing; it parts
 * the owner's own mistakes from everybody else's.
 */
#include "auth/auth_private.h"

#define DEVICES_MAX 20 /* of a user; the one unused for longest goes */

nexus_status nexus__device_is_known(nexus_auth *a, nexus_slice token, const char *email_key, bool *known)
{
    char hash[NEXUS__HASH_TEXT];
    nexus_rows *rows;
    *known = false;
    if (token.n != NEXUS__TOKEN_TEXT - 1)
        return NEXUS_OK;
    nexus_status status = nexus__token_hash(token, hash);
    if (status == NEXUS_OK)
        status = nexus_db_query_one(
            &rows, a->db,
            "SELECT 1 FROM auth_devices d JOIN auth_users u ON u.id = d.user_id WHERE d.hash = $1 AND u.email_key = $2",
            (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_TEXT_C(email_key)}, 2);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
    nexus_rows_free(rows);
    *known = true;
    return NEXUS_OK;
}

nexus_status nexus__device_add(nexus_auth *a, nexus_db *tx, const char *user_id, char token[static NEXUS__TOKEN_TEXT])
{
    char hash[NEXUS__HASH_TEXT];
    int64_t now = nexus__auth_now_ns(a);
    nexus__token_make(token);
    nexus_status status = nexus__token_hash(nexus__slice_c(token), hash);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "INSERT INTO auth_devices (hash, user_id, created_at, seen_at) VALUES ($1, $2, $3, $3)",
                               (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_TEXT_C(user_id), NEXUS_INT(now)}, 3, NULL);
    return status == NEXUS_OK
               ? nexus_db_exec(tx,
                               "DELETE FROM auth_devices WHERE user_id = $1 AND hash NOT IN (SELECT hash FROM"
                               " auth_devices WHERE user_id = $1 ORDER BY seen_at DESC, hash LIMIT $2)",
                               (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_INT(DEVICES_MAX)}, 2, NULL)
               : status;
}
