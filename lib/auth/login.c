/* Login: a password, a second factor where there is one, and then tokens or a session. */
#include "auth/auth_private.h"
#include "crypto/wipe.h"
#include "json/write.h"

#define SECOND_STEP_NS (300 * NEXUS__NS_PER_S)

const nexus_grant *nexus_login_grant(const nexus_login *l)
{
    return l->grant;
}

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

const char *nexus_login_second_step(const nexus_login *l)
{
    return or_null(l->second_step);
}

const char *nexus_login_session(const nexus_login *l)
{
    return or_null(l->session);
}

const char *nexus_login_device(const nexus_login *l)
{
    return or_null(l->device);
}

void nexus_login_free(nexus_login *l)
{
    if (!l)
        return;
    nexus_grant_free(l->grant);
    nexus__wipe(l, sizeof *l);
    nexus__free(NULL, l);
}

/* --- what stands at the end ---------------------------------------------------------------------------------------------- */

/* Who logs in, from where and how. */
typedef struct entry {
    nexus_auth *a;
    const nexus_user *user;
    const nexus_auth_client *client;
    const nexus__attempt *attempt;
    const char *method;
} entry;

static nexus_status tell_login(const entry *e, nexus_db *tx)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "user_id", e->user->id);
    nexus__json_put_text_c(&w, "method", e->method);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(e->a, tx, "user.login", e->user->id, &data);
    nexus__buf_free(&data);
    return status;
}

static nexus_status begin(const entry *e, nexus_db *tx, nexus_login *l)
{
    char id[NEXUS__UUID_LEN + 1];
    nexus_status status;
    if (e->client && e->client->session) {
        status = nexus__session_begin(e->a, tx, e->user, e->client, id, l->session);
        return status == NEXUS_OK ? nexus__grant_for_session(&l->grant, id) : status;
    }
    status = nexus__grant_begin(&l->grant, e->a, tx, e->user);
    return status == NEXUS_OK ? nexus__grant_note(tx, l->grant, e->client) : status;
}

static nexus_status admit_in(const entry *e, nexus_db *tx, nexus_login *l)
{
    nexus_status status = begin(e, tx, l);
    if (status == NEXUS_OK && e->client && !e->attempt->known_device)
        status = nexus__device_add(e->a, tx, e->user->id, l->device);
    if (status == NEXUS_OK)
        status = tell_login(e, tx);
    return status == NEXUS_OK ? nexus__tell_token(e->a, tx, e->user->id, NEXUS_S(""), e->method) : status;
}

/* --- the first step -------------------------------------------------------------------------------------------------------- */

static nexus_status wrong(void)
{
    return nexus__fail(NEXUS_EAUTH, "address or password is wrong");
}

static nexus_status ask_second(const entry *e, nexus_db *tx, nexus_login *l)
{
    char hash[NEXUS__HASH_TEXT];
    int64_t now = nexus__auth_now_ns(e->a);
    nexus__token_make(l->second_step);
    nexus_status status = nexus__token_hash(nexus__slice_c(l->second_step), hash);
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "DELETE FROM auth_second_steps WHERE expires_at <= $1", (nexus_value[]){NEXUS_INT(now)},
                               1, NULL);
    return status == NEXUS_OK
               ? nexus_db_exec(
                     tx, "INSERT INTO auth_second_steps (hash, user_id, expires_at, password_at) VALUES ($1, $2, $3, $4)",
                     (nexus_value[]){NEXUS_TEXT_C(hash), NEXUS_TEXT_C(e->user->id), NEXUS_INT(now + SECOND_STEP_NS),
                                     NEXUS_INT(e->user->password_at_ns)},
                     4, NULL)
               : status;
}

static nexus_status after_password(const entry *e, const char *rehash, nexus_login *l)
{
    nexus_db *tx;
    bool second;
    nexus_status status = nexus__second_factor_due(e->a, e->user, &second);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, e->a->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__attempt_cleared(e->attempt, tx);
    if (status == NEXUS_OK && *rehash)
        status = nexus_db_exec(
            tx, "UPDATE auth_users SET password = $2 WHERE id = $1 AND password = $3",
            (nexus_value[]){NEXUS_TEXT_C(e->user->id), NEXUS_TEXT_C(rehash), NEXUS_TEXT_C(e->user->password)}, 3, NULL);
    if (status == NEXUS_OK)
        status = second ? ask_second(e, tx, l) : admit_in(e, tx, l);
    status = nexus__finish(tx, status);
    return status == NEXUS_OK && l->grant ? nexus__grant_sign(l->grant, e->a, e->user) : status;
}

/* The query that a known address has cost more than an unknown one. */
static nexus_status read_nobodys_roles(nexus_auth *a)
{
    nexus_rows *rows;
    nexus_status status = nexus__user_roles(&rows, a->db, "nobody");
    if (status == NEXUS_OK)
        nexus_rows_free(rows);
    return status;
}

static nexus_status judge(nexus_auth *a, nexus_slice email, nexus_slice password, const nexus_auth_client *client,
                          const nexus__attempt *attempt, nexus_login *l)
{
    char rehash[NEXUS__PASSWORD_HASH_MAX] = "";
    nexus_user *user = NULL;
    nexus_status status = nexus_auth_user_by_email(a, email, &user);
    if (status == NEXUS_ENOTFOUND)
        status = read_nobodys_roles(a);
    if (status == NEXUS_OK)
        status = nexus__check_user_password(a, user, password, rehash);
    if (status == NEXUS_OK)
        status = nexus__subject_gate(user); /* said no differently from a wrong password, and counted as one */
    if (status == NEXUS_EAUTH && (status = nexus__attempt_failed(attempt, a)) == NEXUS_OK)
        status = wrong();
    else if (status == NEXUS_OK)
        status = after_password(&(entry){a, user, client, attempt, "password"}, rehash, l);
    nexus_user_free(user);
    return status;
}

static nexus_status client_is_valid(const nexus_auth_client *client)
{
    return client && client->size != sizeof *client ? nexus__fail(NEXUS_EINVAL, "nexus_auth_client: size is required")
                                                    : NEXUS_OK;
}

nexus_status nexus_auth_login_from(nexus_auth *a, nexus_slice email, nexus_slice password,
                                   const nexus_auth_client *client, nexus_login **out, uint32_t *retry_after_s)
{
    nexus__attempt attempt;
    uint32_t wait = 0;
    nexus_status status = client_is_valid(client);
    if (status == NEXUS_OK && (password.n > 1024 || email.n > 254))
        status = nexus__fail(NEXUS_EINVAL, "%s",
                             password.n > 1024 ? "password: at most 1024 bytes" : "email: at most 254 bytes");
    nexus_login *l = status == NEXUS_OK ? nexus__calloc(NULL, 1, sizeof *l) : NULL;
    if (status == NEXUS_OK && !l)
        status = nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus__attempt_begin(&attempt, a, email, client, &wait);
    if (status == NEXUS_OK)
        status = judge(a, email, password, client, &attempt, l);
    if (retry_after_s)
        *retry_after_s = wait;
    if (status == NEXUS_OK)
        *out = l;
    else
        nexus_login_free(l);
    return status;
}

nexus_status nexus_auth_login(nexus_auth *a, nexus_slice email, nexus_slice password, nexus_grant **out)
{
    nexus_login *l;
    nexus_status status = nexus_auth_login_from(a, email, password, NULL, &l, NULL);
    if (status != NEXUS_OK)
        return status;
    if (l->grant) {
        *out = l->grant;
        l->grant = NULL;
    } else {
        status = nexus__fail(NEXUS_EPERM, "a second factor is due: use nexus_auth_login_from");
    }
    nexus_login_free(l);
    return status;
}

/* --- the second step ------------------------------------------------------------------------------------------------------- */

static nexus_status step_over(void)
{
    return nexus__fail(NEXUS_EAUTH, "the login was begun too long ago, or is finished; begin again");
}

static nexus_status find_step(nexus_auth *a, const char *hash, nexus_user **out)
{
    nexus_rows *rows;
    nexus_slice id;
    nexus_user *user = NULL;
    nexus_status status =
        nexus_db_query_one(&rows, a->db, "SELECT user_id, expires_at, password_at FROM auth_second_steps WHERE hash = $1",
                           (nexus_value[]){NEXUS_TEXT_C(hash)}, 1);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? step_over() : status;
    nexus_rows_text(rows, 0, &id);
    status = nexus__user_load(&user, a->db, "id", id);
    if (status == NEXUS_OK && (nexus_rows_int(rows, 1) <= nexus__auth_now_ns(a) ||
                               nexus_rows_int(rows, 2) != user->password_at_ns || nexus__subject_gate(user) != NEXUS_OK))
        status = step_over();
    nexus_rows_free(rows);
    if (status == NEXUS_OK)
        *out = user;
    else
        nexus_user_free(user);
    return status;
}

/* The step is spent in the transaction that lets the user in: of two with the same token one finds it gone. */
static nexus_status finish_step(const entry *e, const char *hash, nexus_login *l)
{
    nexus_db *tx;
    int64_t changes = 0;
    nexus_status status = nexus_db_begin(&tx, e->a->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus_db_exec(tx, "DELETE FROM auth_second_steps WHERE hash = $1", (nexus_value[]){NEXUS_TEXT_C(hash)}, 1,
                           &changes);
    if (status == NEXUS_OK && changes == 0)
        status = step_over();
    if (status == NEXUS_OK)
        status = admit_in(e, tx, l);
    status = nexus__finish(tx, status);
    return status == NEXUS_OK ? nexus__grant_sign(l->grant, e->a, e->user) : status;
}

static nexus_status second_step(nexus_auth *a, const char *hash, nexus_slice code, const nexus_auth_client *client,
                                nexus_login *l, uint32_t *wait)
{
    nexus_user *user = NULL;
    nexus__attempt attempt = {.client = nexus__client_address(client)};
    nexus_status status = nexus__address_allowed(a, attempt.client, wait);
    if (status == NEXUS_OK)
        status = find_step(a, hash, &user);
    if (status == NEXUS_OK) {
        char key[256];
        nexus__email_key(nexus__slice_c(user->email), key);
        status = nexus__device_is_known(a, client ? client->device : NEXUS_S(""), key, &attempt.known_device);
    }
    if (status == NEXUS_OK)
        status = nexus__second_factor_check(a, user, code, wait);
    if (status == NEXUS_OK)
        status = finish_step(&(entry){a, user, client, &attempt, "password+otp"}, hash, l);
    else if (status == NEXUS_EAUTH)
        nexus__address_failed(a, attempt.client);
    nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_login_second(nexus_auth *a, nexus_slice step, nexus_slice code, const nexus_auth_client *client,
                                     nexus_login **out, uint32_t *retry_after_s)
{
    char hash[NEXUS__HASH_TEXT];
    uint32_t wait = 0;
    nexus_status status = client_is_valid(client);
    nexus_login *l = status == NEXUS_OK ? nexus__calloc(NULL, 1, sizeof *l) : NULL;
    if (status == NEXUS_OK)
        status = !l ? nexus__nomem() : step.n == NEXUS__TOKEN_TEXT - 1 ? nexus__token_hash(step, hash) : step_over();
    if (status == NEXUS_OK)
        status = second_step(a, hash, code, client, l, &wait);
    if (retry_after_s)
        *retry_after_s = wait;
    if (status == NEXUS_OK)
        *out = l;
    else
        nexus_login_free(l);
    return status;
}
