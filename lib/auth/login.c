/* Login, and what wrong passwords cost. */
#include "auth/auth_private.h"
#include "json/write.h"

#define FREE_FAILURES 5
#define BLOCK_MAX_S 900

/* --- backoff: by address, whether or not it is somebody's -------------------------------------------------------------- */

static int64_t blocked_until(nexus_auth *a, const char *key)
{
    nexus_rows *rows;
    int64_t until = 0;
    if (nexus_db_query_one(&rows, a->db, "SELECT blocked_until FROM auth_attempts WHERE email_hash = $1",
                           (nexus_value[]){NEXUS_TEXT_C(key)}, 1) != NEXUS_OK)
        return 0;
    until = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return until;
}

static uint32_t wait_s(nexus_auth *a, const char *key)
{
    int64_t left = blocked_until(a, key) - nexus__auth_now_ns(a);
    return left > 0 ? (uint32_t)((left + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S) : 0;
}

static nexus_status attempt_key(nexus_slice email, char out[static NEXUS__HASH_TEXT])
{
    char key[256];
    nexus__email_key(email, key);
    return nexus__token_hash(nexus__slice_c(key), out);
}

uint32_t nexus_auth_retry_after(nexus_auth *a, nexus_slice email)
{
    char key[NEXUS__HASH_TEXT];
    return attempt_key(email, key) == NEXUS_OK ? wait_s(a, key) : 0;
}

nexus_status nexus__attempt_allowed(nexus_auth *a, const char *key)
{
    uint32_t seconds = wait_s(a, key);
    return seconds ? nexus__fail(NEXUS_ELIMIT, "too many wrong passwords; try again in %u s", seconds) : NEXUS_OK;
}

/* 1, 2, 4 … seconds after the fifth, at most 15 minutes; forgotten after a day. Rows of addresses that nobody tried for
 * a day are dropped here and there, so that made-up addresses cannot fill the table. */
nexus_status nexus__attempt_failed(nexus_auth *a, const char *key)
{
    int64_t now = nexus__auth_now_ns(a), day = 86400 * NEXUS__NS_PER_S;
    nexus_rows *rows;
    nexus_status status = NEXUS_OK;
    if (nexus__random_u64() % 64 == 0)
        status = nexus_db_exec(a->db, "DELETE FROM auth_attempts WHERE last_at < $1",
                               (nexus_value[]){NEXUS_INT(now - day)}, 1, NULL);
    if (status == NEXUS_OK)
        status = nexus_db_query_one(
            &rows, a->db,
            "INSERT INTO auth_attempts (email_hash, failures, blocked_until, last_at) VALUES ($1, 1, 0, $2)"
            " ON CONFLICT (email_hash) DO UPDATE SET last_at = $2,"
            " failures = CASE WHEN auth_attempts.last_at < $3 THEN 1 ELSE auth_attempts.failures + 1 END"
            " RETURNING failures",
            (nexus_value[]){NEXUS_TEXT_C(key), NEXUS_INT(now), NEXUS_INT(now - day)}, 3);
    if (status != NEXUS_OK)
        return status;
    int64_t over = nexus_rows_int(rows, 0) - FREE_FAILURES;
    nexus_rows_free(rows);
    if (over < 0)
        return NEXUS_OK;
    int64_t seconds = over > 9 ? BLOCK_MAX_S : (int64_t)1 << over;
    return nexus_db_exec(a->db, "UPDATE auth_attempts SET blocked_until = $2 WHERE email_hash = $1",
                         (nexus_value[]){NEXUS_TEXT_C(key), NEXUS_INT(now + seconds * NEXUS__NS_PER_S)}, 2, NULL);
}

/* --- login ---------------------------------------------------------------------------------------------------------------- */

static nexus_status wrong(void)
{
    return nexus__fail(NEXUS_EAUTH, "address or password is wrong");
}

/* One hash for everybody: of the user, or of nobody. */
static nexus_status check_password(nexus_auth *a, const nexus_user *user, nexus_slice password, char *rehash)
{
    nexus_status status = nexus__hash_gate_enter(a->gate);
    if (status != NEXUS_OK)
        return status;
    status = nexus__password_verify(user ? user->password : a->dummy, password);
    if (status == NEXUS_OK && user && nexus__password_is_stale(user->password, &a->cost))
        status = nexus__password_hash(&a->cost, password, rehash);
    nexus__hash_gate_leave(a->gate);
    return status == NEXUS_OK && !user ? wrong() : status;
}

static nexus_status tell_login(nexus_auth *a, nexus_db *tx, const nexus_user *user)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "user_id", user->id);
    nexus__json_put_text_c(&w, "method", "password");
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, "user.login", user->id, &data);
    nexus__buf_free(&data);
    return status;
}

static nexus_status admit(nexus_auth *a, const nexus_user *user, const char *key, const char *rehash, nexus_grant **out)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus_db_exec(tx, "DELETE FROM auth_attempts WHERE email_hash = $1", (nexus_value[]){NEXUS_TEXT_C(key)}, 1,
                           NULL);
    if (status == NEXUS_OK && *rehash)
        status = nexus_db_exec(
            tx, "UPDATE auth_users SET password = $2 WHERE id = $1 AND password = $3",
            (nexus_value[]){NEXUS_TEXT_C(user->id), NEXUS_TEXT_C(rehash), NEXUS_TEXT_C(user->password)}, 3, NULL);
    nexus_grant *grant = NULL;
    if (status == NEXUS_OK)
        status = nexus__grant_begin(&grant, a, tx, user);
    if (status == NEXUS_OK)
        status = tell_login(a, tx, user);
    status = nexus__finish(tx, status);
    if (status == NEXUS_OK)
        status = nexus__grant_sign(grant, a, user);
    if (status == NEXUS_OK)
        *out = grant;
    else
        nexus_grant_free(grant);
    return status;
}

/* The query that a known address has cost more than an unknown one. */
static nexus_status read_nobodys_roles(nexus_auth *a)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query(&rows, a->db, "SELECT role FROM auth_roles WHERE user_id = $1 ORDER BY role",
                                         (nexus_value[]){NEXUS_TEXT_C("nobody")}, 1);
    if (status == NEXUS_OK)
        nexus_rows_free(rows);
    return status;
}

nexus_status nexus_auth_login(nexus_auth *a, nexus_slice email, nexus_slice password, nexus_grant **out)
{
    char key[NEXUS__HASH_TEXT], rehash[NEXUS__PASSWORD_HASH_MAX] = "";
    if (password.n > 1024 || email.n > 254)
        return nexus__fail(NEXUS_EINVAL, "%s",
                           password.n > 1024 ? "password: at most 1024 bytes" : "email: at most 254 bytes");
    nexus_status status = attempt_key(email, key);
    if (status == NEXUS_OK)
        status = nexus__attempt_allowed(a, key);
    if (status != NEXUS_OK)
        return status;
    nexus_user *user = NULL;
    status = nexus_auth_user_by_email(a, email, &user);
    if (status == NEXUS_ENOTFOUND)
        status = read_nobodys_roles(a);
    if (status != NEXUS_OK)
        return status;
    status = check_password(a, user, password, rehash);
    if (status == NEXUS_EAUTH && (status = nexus__attempt_failed(a, key)) == NEXUS_OK)
        status = wrong();
    else if (status == NEXUS_OK && nexus__subject_gate(user) != NEXUS_OK)
        status = wrong();
    else if (status == NEXUS_OK)
        status = admit(a, user, key, rehash, out);
    nexus_user_free(user);
    return status;
}
