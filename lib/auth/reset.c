/* New passwords, by mail or by who knows the old one; the first administrator. */
#include "auth/auth_private.h"

/* --- password reset ------------------------------------------------------------------------------------------------------ */

static const char type[] = "user.password_reset", purpose[] = "reset";

static nexus_status store_reset(nexus_auth *a, nexus_db *tx, const nexus_user *user, const char *token)
{
    nexus_status status = nexus__mail_token_store(a, tx, user, purpose, token);
    return status == NEXUS_OK ? nexus__mail_event(a, tx, type, user, "requested", token) : status;
}

nexus_status nexus_auth_reset_begin(nexus_auth *a, nexus_slice email, char **token, nexus_user **out)
{
    char text[NEXUS__TOKEN_TEXT];
    nexus_user *user;
    nexus_db *tx;
    nexus_status status = nexus_auth_user_by_email(a, email, &user);
    if (status != NEXUS_OK)
        return status;
    if (nexus__reset_gate(user) != NEXUS_OK || !nexus__mail_allowed(a, email)) {
        nexus_user_free(user);
        return nexus__fail(NEXUS_ENOTFOUND, "no such user, or too many mails");
    }
    nexus__token_make(text);
    char *copy = nexus__strndup(NULL, nexus__slice_c(text));
    status = copy ? nexus_db_begin(&tx, a->db) : nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus__finish(tx, store_reset(a, tx, user, text));
    if (status == NEXUS_OK) {
        *token = copy;
        *out = user;
        return NEXUS_OK;
    }
    nexus__free(NULL, copy);
    nexus_user_free(user);
    return status;
}

static nexus_status set_password(nexus_auth *a, nexus_db *tx, const nexus_user *user, const char *hash)
{
    nexus_status status = nexus_db_exec(
        tx, "UPDATE auth_users SET password = $2, password_at = $3, must_reset = 0 WHERE id = $1",
        (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_TEXT_C(hash), NEXUS_INT(nexus__auth_now_ns(a))}, 3, NULL);
    return status == NEXUS_OK ? nexus__subject_revoke(a, tx, user, "password") : status;
}

nexus_status nexus_auth_reset_confirm(nexus_auth *a, nexus_slice token, nexus_slice password)
{
    char key[NEXUS__HASH_TEXT], hash[NEXUS__PASSWORD_HASH_MAX];
    nexus_db *tx;
    nexus_user *user = NULL;
    nexus_status status = nexus__check_password(a, password);
    if (status == NEXUS_OK)
        status = nexus__token_hash(token, key);
    if (status == NEXUS_OK) /* looked at first: a made-up token costs no hash */
        status = nexus__mail_token_look(a, key, purpose);
    if (status == NEXUS_OK)
        status = nexus__hash_new_password(a, password, hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__mail_token_redeem(a, tx, key, purpose, nexus__reset_gate, &user);
    if (status == NEXUS_OK)
        status = set_password(a, tx, user, hash);
    if (status == NEXUS_OK)
        status = nexus__mail_event(a, tx, type, user, "confirmed", NULL);
    status = nexus__finish(tx, status);
    nexus_user_free(user);
    return status;
}

/* --- by who knows the old one ------------------------------------------------------------------------------------------------ */

/* The user, if he is who he says; wrong passwords count as they do at a login. */
static nexus_status prove(nexus_auth *a, nexus_slice user_id, nexus_slice password, const nexus_auth_client *client,
                          nexus__attempt *attempt, nexus_user **out, uint32_t *wait_s)
{
    char rehash[NEXUS__PASSWORD_HASH_MAX];
    nexus_user *user = NULL;
    nexus_status status = password.n > 1024 ? nexus__fail(NEXUS_EINVAL, "old_password: at most 1024 bytes") : NEXUS_OK;
    if (status == NEXUS_OK)
        status = nexus_auth_user(a, user_id, &user);
    if (status == NEXUS_OK)
        status = nexus__subject_gate(user);
    if (status == NEXUS_OK)
        status = nexus__attempt_begin(attempt, a, nexus__slice_c(user->email), client, wait_s);
    if (status == NEXUS_OK) {
        status = nexus__check_user_password(a, user, password, rehash);
        if (status == NEXUS_EAUTH && (status = nexus__attempt_failed(attempt, a)) == NEXUS_OK)
            status = nexus__fail(NEXUS_EAUTH, "old_password: is wrong");
    }
    if (status == NEXUS_OK)
        *out = user;
    else
        nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_check_password(nexus_auth *a, nexus_slice user_id, nexus_slice password,
                                       const nexus_auth_client *client, uint32_t *retry_after_s)
{
    nexus_user *user = NULL;
    nexus__attempt attempt;
    uint32_t wait = 0;
    nexus_status status = prove(a, user_id, password, client, &attempt, &user, &wait);
    if (status == NEXUS_OK)
        status = nexus__attempt_cleared(&attempt, a->db);
    if (retry_after_s)
        *retry_after_s = wait;
    nexus_user_free(user);
    return status;
}

static nexus_status replace(nexus_auth *a, const nexus_user *user, const nexus__attempt *attempt, nexus_slice password)
{
    char hash[NEXUS__PASSWORD_HASH_MAX];
    nexus_db *tx;
    nexus_status status = nexus__hash_new_password(a, password, hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__attempt_cleared(attempt, tx);
    if (status == NEXUS_OK)
        status = set_password(a, tx, user, hash);
    if (status == NEXUS_OK)
        status = nexus__mail_event(a, tx, type, user, "confirmed", NULL);
    return nexus__finish(tx, status);
}

nexus_status nexus_auth_change_password(nexus_auth *a, nexus_slice user_id, nexus_slice old_password,
                                        nexus_slice new_password, const nexus_auth_client *client,
                                        uint32_t *retry_after_s)
{
    nexus_user *user = NULL;
    nexus__attempt attempt;
    uint32_t wait = 0;
    nexus_status status = nexus__check_password(a, new_password);
    if (status == NEXUS_OK)
        status = prove(a, user_id, old_password, client, &attempt, &user, &wait);
    if (status == NEXUS_OK)
        status = replace(a, user, &attempt, new_password);
    if (retry_after_s)
        *retry_after_s = wait;
    nexus_user_free(user);
    return status;
}

/* --- the first administrator ---------------------------------------------------------------------------------------------- */

nexus_status nexus_auth_bootstrap_token(nexus_auth *a, char **token)
{
    char text[NEXUS__TOKEN_TEXT], hash[NEXUS__HASH_TEXT];
    nexus__token_make(text);
    nexus_status status = nexus__token_hash(nexus__slice_c(text), hash);
    int64_t until = nexus__auth_now_ns(a) + a->opts.bootstrap_ttl_s * NEXUS__NS_PER_S;
    if (status == NEXUS_OK)
        status = nexus_db_exec(a->db,
                               "INSERT INTO auth_bootstrap (id, hash, expires_at) VALUES (1, $1, $2)"
                               " ON CONFLICT (id) DO UPDATE SET hash = $1, expires_at = $2",
                               (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_INT(until)}, 2, NULL);
    if (status != NEXUS_OK)
        return status;
    char *copy = nexus__strndup(NULL, nexus__slice_c(text));
    if (!copy)
        return nexus__nomem();
    *token = copy;
    return NEXUS_OK;
}

static nexus_status spend_bootstrap(nexus_auth *a, nexus_db *tx, const char *hash)
{
    int64_t changes = 0;
    nexus_status status =
        nexus_db_exec(tx, "DELETE FROM auth_bootstrap WHERE hash = $1 AND expires_at > $2",
                      (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_INT(nexus__auth_now_ns(a))}, 2, &changes);
    return status == NEXUS_OK && changes == 0 ? nexus__mail_token_dead() : status;
}

static nexus_status bootstrap_is_live(nexus_auth *a, const char *hash)
{
    nexus_rows *rows;
    nexus_status status =
        nexus_db_query_one(&rows, a->db, "SELECT 1 FROM auth_bootstrap WHERE hash = $1 AND expires_at > $2",
                           (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_INT(nexus__auth_now_ns(a))}, 2);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__mail_token_dead() : status;
    nexus_rows_free(rows);
    return NEXUS_OK;
}

nexus_status nexus_auth_bootstrap(nexus_auth *a, nexus_slice token, nexus_slice email, nexus_slice password,
                                  nexus_slice name, nexus_user **out)
{
    char key[NEXUS__HASH_TEXT], hash[NEXUS__PASSWORD_HASH_MAX];
    nexus_db *tx;
    nexus_user *user = NULL;
    nexus_status status = nexus__token_hash(token, key);
    if (status == NEXUS_OK)
        status = bootstrap_is_live(a, key);
    if (status == NEXUS_OK)
        status = nexus__check_email(email);
    if (status == NEXUS_OK)
        status = nexus__check_password(a, password);
    if (status == NEXUS_OK)
        status = nexus__check_name(name);
    if (status == NEXUS_OK)
        status = nexus__hash_new_password(a, password, hash);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    status = spend_bootstrap(a, tx, key);
    if (status == NEXUS_OK)
        status = nexus__user_insert(&user, a, tx, email, name, hash, "admin");
    status = nexus__finish(tx, status);
    if (status == NEXUS_OK)
        *out = user;
    else
        nexus_user_free(user);
    return status;
}
