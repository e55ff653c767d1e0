/*
 * Tokens that go out by mail: 256 bits, stored as a hash, good once, for a while, and for the password that was there when
 * they were made. The event that asks for the mail is kept in a log; so the token stands in it sealed, for whoever sends
 * mail and has the same ring.
 */
#include "auth/auth_private.h"
#include "json/write.h"

static nexus_status put_sealed(nexus_auth *a, nexus__json_writer *w, const char *user_id, const char *token)
{
    char context[64], *sealed;
    size_t n;
    if (!a->opts.event_secrets) {
        nexus__json_put_text_c(w, "token", token);
        return NEXUS_OK;
    }
    snprintf(context, sizeof context, "mail/%s", user_id);
    nexus_status status = nexus_secrets_seal(a->opts.event_secrets, nexus__slice_c(context), nexus__slice_c(token),
                                             &sealed, &n);
    if (status != NEXUS_OK)
        return status;
    nexus__json_put_text(w, "sealed_token", nexus__slice(sealed, n));
    nexus_free(sealed);
    return NEXUS_OK;
}

nexus_status nexus__mail_event(nexus_auth *a, nexus_db *tx, const char *type, const nexus_user *user, const char *stage,
                               const char *token)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "user_id", user->id);
    nexus__json_put_text_c(&w, "email", user->email);
    nexus__json_put_text_c(&w, "name", user->name);
    nexus__json_put_text_c(&w, "stage", stage);
    nexus_status status = token ? put_sealed(a, &w, user->id, token) : NEXUS_OK;
    nexus__json_close(&w, '}');
    if (status == NEXUS_OK)
        status = nexus__auth_event(a, tx, type, user->id, &data);
    nexus__buf_free(&data);
    return status;
}

nexus_status nexus__mail_token_store(nexus_auth *a, nexus_db *tx, const nexus_user *user, const char *purpose,
                                     const char *token)
{
    char hash[NEXUS__HASH_TEXT];
    int64_t now = nexus__auth_now_ns(a);
    nexus_status status = nexus__token_hash(nexus__slice_c(token), hash);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "DELETE FROM auth_resets WHERE (user_id = $1 AND purpose = $3) OR expires_at < $2",
                               (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_INT(now), NEXUS_TEXT_C(purpose)}, 3, NULL);
    return status == NEXUS_OK
               ? nexus_db_exec(tx,
                               "INSERT INTO auth_resets (hash, user_id, expires_at, password_at, purpose)"
                               " VALUES ($1, $2, $3, $4, $5)",
                               (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_TEXT_C(user->id),
                                               NEXUS_INT(now + a->opts.reset_ttl_s * NEXUS__NS_PER_S),
                                               NEXUS_INT(user->password_at_ns), NEXUS_TEXT_C(purpose)},
                               5, NULL)
               : status;
}

nexus_status nexus__mail_token_dead(void)
{
    return nexus__fail(NEXUS_EAUTH, "token: is not valid any more; ask for another");
}

nexus_status nexus__mail_token_look(nexus_auth *a, const char *hash, const char *purpose)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(
        &rows, a->db, "SELECT 1 FROM auth_resets WHERE hash = $1 AND expires_at > $2 AND purpose = $3",
        (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_INT(nexus__auth_now_ns(a)), NEXUS_TEXT_C(purpose)}, 3);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__mail_token_dead() : status;
    nexus_rows_free(rows);
    return NEXUS_OK;
}

nexus_status nexus__mail_token_redeem(nexus_auth *a, nexus_db *tx, const char *hash, const char *purpose,
                                      nexus_status (*gate)(const nexus_user *user), nexus_user **out)
{
    nexus_rows *rows;
    nexus_slice id;
    nexus_user *user = NULL;
    nexus_status status = nexus_db_query_one(
        &rows, tx, "DELETE FROM auth_resets WHERE hash = $1 AND purpose = $2 RETURNING user_id, expires_at, password_at",
        (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_TEXT_C(purpose)}, 2);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__mail_token_dead() : status;
    nexus_rows_text(rows, 0, &id);
    status = nexus__user_load(&user, tx, "id", id);
    if (status == NEXUS_OK && (nexus_rows_int(rows, 1) <= nexus__auth_now_ns(a) ||
                               nexus_rows_int(rows, 2) != user->password_at_ns || gate(user) != NEXUS_OK))
        status = nexus__mail_token_dead();
    nexus_rows_free(rows);
    if (status == NEXUS_OK)
        *out = user;
    else
        nexus_user_free(user);
    return status;
}
