/*
 * What wrong guesses cost. By account: after five, 1, 2, 4 … seconds up to 15 minutes, in the database, so that all
 * processes count together and a restart forgets nothing; the same for addresses that nobody has. By client address, and
 * by /64: a rate of failures in the limiter, which the gateway of the same process shares. A device that the account
 * knows has a record of its own and meets neither of the two.
 */
#include "auth/auth_private.h"

#define FREE_FAILURES 5
#define BLOCK_MAX_S 900
#define ADDRESS_PERIOD_NS (600 * NEXUS__NS_PER_S)
#define NET_FACTOR 4 /* a /64 may fail as often as so many addresses */
#define MAILS 3      /* at once, then one each MAIL_PERIOD_NS / MAILS */
#define MAIL_PERIOD_NS (900 * NEXUS__NS_PER_S)

nexus_status nexus__throttle_open(nexus_auth *a)
{
    a->limiter = a->opts.limiter;
    if (a->limiter)
        return NEXUS_OK;
    nexus_status status = nexus_limiter_new(&a->own_limiter, 65536, a->alloc);
    a->limiter = a->own_limiter;
    return status;
}

void nexus__throttle_close(nexus_auth *a)
{
    nexus_limiter_free(a->own_limiter);
}

uint32_t nexus__backoff_s(int64_t failures)
{
    int64_t over = failures - FREE_FAILURES;
    return over < 0 ? 0 : over > 9 ? BLOCK_MAX_S : (uint32_t)1 << over;
}

/* --- by client address --------------------------------------------------------------------------------------------- */

typedef struct limit {
    const char *name;
    uint32_t count;
    int64_t period_ns;
} limit;

/* Takes one, or looks whether there would be one. Refused: *wait_s (may be NULL) says for how long. */
static bool pass(nexus_auth *a, const limit *l, nexus_slice key, bool look, uint32_t *wait_s)
{
    nexus_rate rate;
    nexus_limit_result r;
    if (nexus_rate_init(&rate, l->count, l->period_ns, 0) != NEXUS_OK)
        return true;
    bool fits = nexus_limiter_take(a->limiter, l->name, &rate, key, look ? 0 : 1, nexus__auth_now_ns(a), &r);
    if (fits && (!look || r.remaining > 0))
        return true;
    int64_t wait_ns = r.reset_ns + (int64_t)rate.emission_ns - (int64_t)rate.tolerance_ns;
    if (wait_s)
        *wait_s = wait_ns > 0 ? (uint32_t)((wait_ns + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S) : 1;
    return false;
}

static bool pass_names(nexus_auth *a, nexus_slice client, bool look, uint32_t *wait_s)
{
    nexus__client_name names[2];
    size_t n = a->opts.address_failures == NEXUS_AUTH_UNLIMITED ? 0 : nexus__client_names(client, names);
    bool fits = true;
    for (size_t i = 0; i < n && (fits || !look); i++) {
        const limit l = {i ? "auth.failures.net" : "auth.failures",
                         a->opts.address_failures * (i ? NET_FACTOR : 1), ADDRESS_PERIOD_NS};
        fits = pass(a, &l, nexus__slice(names[i].bytes, names[i].n), look, wait_s) && fits;
    }
    return fits;
}

nexus_status nexus__address_allowed(nexus_auth *a, nexus_slice client, uint32_t *wait_s)
{
    return pass_names(a, client, true, wait_s) ? NEXUS_OK
                                               : nexus__fail(NEXUS_ELIMIT, "too many wrong guesses from this address");
}

void nexus__address_failed(nexus_auth *a, nexus_slice client)
{
    (void)pass_names(a, client, false, NULL);
}

nexus_status nexus_auth_guess_check(nexus_auth *a, const nexus_auth_client *client, uint32_t *retry_after_s)
{
    uint32_t wait = 0;
    nexus_status status = nexus__address_allowed(a, nexus__client_address(client), &wait);
    if (retry_after_s)
        *retry_after_s = wait;
    return status;
}

void nexus_auth_guess_count(nexus_auth *a, const nexus_auth_client *client)
{
    nexus__address_failed(a, nexus__client_address(client));
}

bool nexus__mail_allowed(nexus_auth *a, nexus_slice email)
{
    static const limit mails = {"auth.mails", MAILS, MAIL_PERIOD_NS};
    char key[256];
    nexus__email_key(email, key);
    return pass(a, &mails, nexus__slice_c(key), false, NULL);
}

/* --- by account ----------------------------------------------------------------------------------------------------- */

static uint32_t left_s(nexus_auth *a, const char *key)
{
    nexus_rows *rows;
    if (nexus_db_query_one(&rows, a->db, "SELECT blocked_until FROM auth_attempts WHERE email_hash = $1",
                           (nexus_value[]){NEXUS_TEXT_C(key)}, 1) != NEXUS_OK)
        return 0;
    int64_t left = nexus_rows_int(rows, 0) - nexus__auth_now_ns(a);
    nexus_rows_free(rows);
    return left > 0 ? (uint32_t)((left + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S) : 0;
}

uint32_t nexus_auth_retry_after(nexus_auth *a, nexus_slice email)
{
    char key[256], hash[NEXUS__HASH_TEXT];
    nexus__email_key(email, key);
    return nexus__token_hash(nexus__slice_c(key), hash) == NEXUS_OK ? left_s(a, hash) : 0;
}

nexus_status nexus__attempt_begin(nexus__attempt *t, nexus_auth *a, nexus_slice email, const nexus_auth_client *client,
                                  uint32_t *wait_s)
{
    char key[256];
    nexus_slice device = client ? client->device : NEXUS_S("");
    *t = (nexus__attempt){.client = nexus__client_address(client)};
    nexus__email_key(email, key);
    nexus_status status = nexus__device_is_known(a, device, key, &t->known_device);
    if (status == NEXUS_OK)
        status = nexus__token_hash(t->known_device ? device : nexus__slice_c(key), t->key);
    if (status != NEXUS_OK)
        return status;
    *wait_s = left_s(a, t->key);
    if (*wait_s)
        return nexus__fail(NEXUS_ELIMIT, "too many wrong passwords; try again in %u s", *wait_s);
    return t->known_device ? NEXUS_OK : nexus__address_allowed(a, t->client, wait_s);
}

/* Forgotten after a day. Rows of addresses that nobody tried for a day are dropped here and there, so that made-up
 * addresses cannot fill the table. */
nexus_status nexus__attempt_failed(const nexus__attempt *t, nexus_auth *a)
{
    int64_t now = nexus__auth_now_ns(a), day = 86400 * NEXUS__NS_PER_S;
    nexus_rows *rows;
    nexus_status status = NEXUS_OK;
    nexus__address_failed(a, t->client);
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
            (nexus_value[]){NEXUS_TEXT_C(t->key), NEXUS_INT(now), NEXUS_INT(now - day)}, 3);
    if (status != NEXUS_OK)
        return status;
    uint32_t seconds = nexus__backoff_s(nexus_rows_int(rows, 0));
    nexus_rows_free(rows);
    if (seconds == 0)
        return NEXUS_OK;
    return nexus_db_exec(a->db, "UPDATE auth_attempts SET blocked_until = $2 WHERE email_hash = $1",
                         (nexus_value[]){NEXUS_TEXT_C(t->key), NEXUS_INT(now + seconds * NEXUS__NS_PER_S)}, 2, NULL);
}

nexus_status nexus__attempt_cleared(const nexus__attempt *t, nexus_db *tx)
{
    return nexus_db_exec(tx, "DELETE FROM auth_attempts WHERE email_hash = $1", (nexus_value[]){NEXUS_TEXT_C(t->key)}, 1,
                         NULL);
}
