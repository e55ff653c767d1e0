/*
 * The second factor of an account: a TOTP seed, sealed; the last step that passed; ten recovery codes, hashed. Wrong codes
 * have a count of their own, since who gets this far knows the password: back-off as for passwords, and at 100 no code of
 * six digits is looked at any more. A recovery code cannot be guessed, so it is always looked at, and clears the count.
 */
#include "auth/auth_private.h"
#include "auth/totp.h"
#include "base/codec.h"
#include "crypto/wipe.h"
#include "json/write.h"

#define FAILURES_MAX 100
#define RECOVERY_CODES 10
#define RECOVERY_LEN 20 /* base32 characters: 100 bits */

static nexus_slice seal_context(const char *user_id, char out[static 96])
{
    return (nexus_slice){out, (size_t)snprintf(out, 96, "auth_totp/%s/seed", user_id)};
}

/* RFC 4648 base32 without padding: what authenticators take, and nobody mistakes a digit in. */
static void base32(const uint8_t *data, size_t n, char *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | data[i];
        for (held += 8; held >= 5; held -= 5)
            *out++ = alphabet[bits >> (held - 5) & 31];
    }
    if (held)
        *out++ = alphabet[bits << (5 - held) & 31];
    *out = 0;
}

/* --- the row --------------------------------------------------------------------------------------------------------- */

typedef struct factor {
    uint8_t seed[NEXUS__TOTP_SEED];
    bool confirmed;
    int64_t last_step, failures, blocked_until;
} factor;

static nexus_status open_seed(factor *f, nexus_auth *a, const char *user_id, nexus_slice sealed)
{
    char context[96], *plain;
    size_t n;
    nexus_status status = nexus_secrets_unseal(a->secrets, seal_context(user_id, context), sealed, &plain, &n);
    if (status != NEXUS_OK)
        return status;
    if (n == sizeof f->seed)
        memcpy(f->seed, plain, n);
    else
        status = nexus__fail(NEXUS_ECORRUPT, "the seed of %s has %zu bytes", user_id, n);
    nexus_free_wiped(plain, n);
    nexus__auth_seal_at_use(a->db, a->secrets, NEXUS__SEALED_SEED, nexus__slice_c(user_id), sealed);
    return status;
}

static nexus_status load(factor *f, nexus_auth *a, const char *user_id)
{
    nexus_rows *rows;
    nexus_slice sealed;
    nexus_status status =
        nexus_db_query_one(&rows, a->db,
                           "SELECT sealed, confirmed, last_step, failures, blocked_until FROM auth_totp WHERE user_id = $1",
                           (nexus_value[]){NEXUS_TEXT_C(user_id)}, 1);
    if (status != NEXUS_OK)
        return status == NEXUS_ENOTFOUND ? nexus__fail(status, "there is no second factor") : status;
    nexus_rows_text(rows, 0, &sealed);
    f->confirmed = nexus_rows_int(rows, 1) != 0;
    f->last_step = nexus_rows_int(rows, 2);
    f->failures = nexus_rows_int(rows, 3);
    f->blocked_until = nexus_rows_int(rows, 4);
    status = open_seed(f, a, user_id, sealed);
    nexus_rows_free(rows);
    return status;
}

nexus_status nexus__second_factor_due(nexus_auth *a, const nexus_user *user, bool *due)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(&rows, a->db, "SELECT confirmed FROM auth_totp WHERE user_id = $1",
                                             (nexus_value[]){NEXUS_TEXT_C(user->id)}, 1);
    *due = status == NEXUS_OK && nexus_rows_int(rows, 0) != 0;
    if (status == NEXUS_OK)
        nexus_rows_free(rows);
    return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
}

/* --- judging a code --------------------------------------------------------------------------------------------------- */

static nexus_status wrong(void)
{
    return nexus__fail(NEXUS_EAUTH, "code: is wrong, or was used before");
}

static nexus_status recovery_hash(nexus_slice code, char out[static NEXUS__HASH_TEXT])
{
    char plain[RECOVERY_LEN + 1]; /* one more, so that a longer text is another one */
    size_t n = 0;
    for (size_t i = 0; i < code.n && n < sizeof plain; i++)
        if (code.p[i] != '-' && code.p[i] != ' ')
            plain[n++] = nexus__ascii_lower(code.p[i]);
    nexus_status status = nexus__token_hash(nexus__slice(plain, n), out);
    nexus__wipe(plain, sizeof plain);
    return status;
}

static nexus_status clear(nexus_db *db, const char *user_id)
{
    return nexus_db_exec(db, "UPDATE auth_totp SET failures = 0, blocked_until = 0 WHERE user_id = $1",
                         (nexus_value[]){NEXUS_TEXT_C(user_id)}, 1, NULL);
}

static nexus_status spend_recovery(nexus_auth *a, const char *user_id, nexus_slice code)
{
    char hash[NEXUS__HASH_TEXT];
    int64_t changes = 0;
    nexus_status status = recovery_hash(code, hash);
    if (status == NEXUS_OK)
        status = nexus_db_exec(a->db, "DELETE FROM auth_recovery WHERE user_id = $1 AND hash = $2",
                               (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_TEXT_C(hash)}, 2, &changes);
    if (status != NEXUS_OK)
        return status;
    return changes ? clear(a->db, user_id) : wrong();
}

/* The step is taken by who moves it on first: two at once with one code do not both pass. */
static nexus_status take_step(nexus_auth *a, const char *user_id, int64_t step)
{
    int64_t changes = 0;
    nexus_status status =
        nexus_db_exec(a->db,
                      "UPDATE auth_totp SET last_step = $2, failures = 0, blocked_until = 0"
                      " WHERE user_id = $1 AND last_step < $2",
                      (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_INT(step)}, 2, &changes);
    return status == NEXUS_OK && changes == 0 ? wrong() : status;
}

static nexus_status count_failure(nexus_auth *a, const char *user_id)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(
        &rows, a->db, "UPDATE auth_totp SET failures = failures + 1 WHERE user_id = $1 RETURNING failures",
        (nexus_value[]){NEXUS_TEXT_C(user_id)}, 1);
    if (status != NEXUS_OK)
        return status;
    int64_t until = nexus__auth_now_ns(a) + nexus__backoff_s(nexus_rows_int(rows, 0)) * NEXUS__NS_PER_S;
    nexus_rows_free(rows);
    return nexus_db_exec(a->db, "UPDATE auth_totp SET blocked_until = $2 WHERE user_id = $1",
                         (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_INT(until)}, 2, NULL);
}

static nexus_status is_open(const factor *f, int64_t now, uint32_t *wait_s)
{
    if (f->failures >= FAILURES_MAX) {
        *wait_s = 86400; /* nobody waits that out: it says "not by waiting" to programs */
        return nexus__fail(NEXUS_ELIMIT, "too many wrong codes: use a recovery code, or ask an administrator to unlock");
    }
    if (f->blocked_until <= now)
        return NEXUS_OK;
    *wait_s = (uint32_t)((f->blocked_until - now + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S);
    return nexus__fail(NEXUS_ELIMIT, "too many wrong codes; try again in %u s", *wait_s);
}

static nexus_status check_totp(const factor *f, nexus_auth *a, const char *user_id, nexus_slice code, uint32_t *wait_s)
{
    int64_t step, now = nexus__auth_now_ns(a);
    nexus_status status = is_open(f, now, wait_s);
    if (status == NEXUS_OK)
        status = nexus__totp_check(nexus__slice(f->seed, sizeof f->seed), code, now / NEXUS__NS_PER_S, f->last_step, &step);
    if (status == NEXUS_OK)
        status = take_step(a, user_id, step);
    if (status == NEXUS_EAUTH && (status = count_failure(a, user_id)) == NEXUS_OK)
        status = wrong();
    return status;
}

nexus_status nexus__second_factor_check(nexus_auth *a, const nexus_user *user, nexus_slice code, uint32_t *wait_s)
{
    factor f;
    nexus_status status = load(&f, a, user->id);
    if (status == NEXUS_OK && !f.confirmed)
        status = nexus__fail(NEXUS_ENOTFOUND, "there is no second factor");
    if (status == NEXUS_OK)
        status = code.n == NEXUS__TOTP_DIGITS ? check_totp(&f, a, user->id, code, wait_s)
                                              : spend_recovery(a, user->id, code);
    nexus__wipe(&f, sizeof f);
    return status;
}

/* --- enrolling --------------------------------------------------------------------------------------------------------- */

static nexus_status insert_seed(nexus_auth *a, nexus_db *tx, const char *user_id,
                                const uint8_t seed[static NEXUS__TOTP_SEED])
{
    char context[96], *sealed;
    size_t n;
    int64_t changes = 0;
    nexus_status status = nexus__sealed_enter(tx);
    if (status != NEXUS_OK)
        return status;
    status = nexus_secrets_seal(a->secrets, seal_context(user_id, context),
                                             nexus__slice(seed, NEXUS__TOTP_SEED), &sealed, &n);
    if (status != NEXUS_OK)
        return status;
    status = nexus_db_exec(tx,
                           "INSERT INTO auth_totp (user_id, sealed, confirmed, last_step, failures, blocked_until,"
                           " created_at) VALUES ($1, $2, 0, 0, 0, 0, $3) ON CONFLICT (user_id) DO UPDATE SET sealed = $2,"
                           " last_step = 0, created_at = $3 WHERE auth_totp.confirmed = 0",
                           (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_TEXT(nexus__slice(sealed, n)),
                                           NEXUS_INT(nexus__auth_now_ns(a))},
                           3, &changes);
    nexus_free(sealed);
    return status == NEXUS_OK && changes == 0 ? nexus__fail(NEXUS_ECONFLICT, "there is a second factor already") : status;
}

static nexus_status store_seed(nexus_auth *a, const char *user_id, const uint8_t seed[static NEXUS__TOTP_SEED])
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, a->db);
    return status == NEXUS_OK ? nexus__finish(tx, insert_seed(a, tx, user_id, seed)) : status;
}

/* otpauth://totp/ISSUER:ACCOUNT?secret=…&issuer=…; the issuer is the host of the token issuer's URL. */
static nexus_status format_uri(const nexus_auth *a, const nexus_user *user, const char *secret, char **out)
{
    nexus_slice issuer = nexus__slice_c(a->opts.issuer);
    size_t scheme = nexus__slice_search(issuer, NEXUS_S("://"));
    if (scheme < issuer.n)
        issuer = nexus__slice_from(issuer, scheme + 3);
    issuer = nexus__slice_cut(&issuer, '/');
    nexus__buf b;
    size_t n;
    nexus__buf_init(&b, NULL, 0);
    nexus__buf_text(&b, "otpauth://totp/");
    nexus__percent_append(&b, issuer);
    nexus__buf_char(&b, ':');
    nexus__percent_append(&b, nexus__slice_c(user->email));
    nexus__buf_printf(&b, "?secret=%s&issuer=", secret);
    nexus__percent_append(&b, issuer);
    nexus__buf_text(&b, "&algorithm=SHA1&digits=6&period=30");
    return nexus__hand_over(&b, NEXUS_OK, out, &n);
}

nexus_status nexus_auth_totp_begin(nexus_auth *a, nexus_slice user_id, char **secret, char **uri)
{
    uint8_t seed[NEXUS__TOTP_SEED];
    char text[NEXUS__TOTP_SEED * 8 / 5 + 1], *copy = NULL;
    nexus_user *user;
    nexus_status status = nexus_auth_user(a, user_id, &user);
    if (status != NEXUS_OK)
        return status;
    nexus__random(seed, sizeof seed);
    base32(seed, sizeof seed, text);
    status = nexus__subject_gate(user);
    if (status == NEXUS_OK)
        status = store_seed(a, user->id, seed);
    if (status == NEXUS_OK && !(copy = nexus__strndup(NULL, nexus__slice_c(text))))
        status = nexus__nomem();
    if (status == NEXUS_OK)
        status = format_uri(a, user, text, uri);
    if (status == NEXUS_OK)
        *secret = copy;
    else
        nexus_free(copy);
    nexus__wipe(seed, sizeof seed);
    nexus__wipe(text, sizeof text);
    nexus_user_free(user);
    return status;
}

static nexus_status make_recovery(nexus_db *tx, const char *user_id, nexus__json_writer *w)
{
    uint8_t bytes[RECOVERY_LEN * 5 / 8 + 1];
    char code[RECOVERY_LEN + 8], shown[RECOVERY_LEN + 4], hash[NEXUS__HASH_TEXT];
    nexus__random(bytes, sizeof bytes);
    base32(bytes, sizeof bytes, code);
    for (size_t i = 0; i < RECOVERY_LEN; i++)
        code[i] = nexus__ascii_lower(code[i]);
    snprintf(shown, sizeof shown, "%.5s-%.5s-%.5s-%.5s", code, code + 5, code + 10, code + 15);
    nexus__json_text_c_value(w, shown);
    nexus_status status = recovery_hash(nexus__slice_c(shown), hash);
    nexus__wipe(code, sizeof code);
    return status == NEXUS_OK ? nexus_db_exec(tx, "INSERT INTO auth_recovery (user_id, hash) VALUES ($1, $2)",
                                              (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_TEXT_C(hash)}, 2, NULL)
                              : status;
}

/* From here on every other login needs the code, so those that are open have to show it, too: new ids for sessions. */
static nexus_status confirm_in(nexus_db *tx, const char *user_id, int64_t step, nexus__json_writer *w)
{
    int64_t changes = 0;
    nexus_status status = nexus_db_exec(
        tx, "UPDATE auth_totp SET confirmed = 1, last_step = $2, failures = 0 WHERE user_id = $1 AND confirmed = 0",
        (nexus_value[]){NEXUS_TEXT_C(user_id), NEXUS_INT(step)}, 2, &changes);
    if (status == NEXUS_OK && changes == 0)
        status = nexus__fail(NEXUS_ECONFLICT, "there is a second factor already");
    if (status == NEXUS_OK)
        status = nexus_db_exec(tx, "DELETE FROM auth_recovery WHERE user_id = $1", (nexus_value[]){NEXUS_TEXT_C(user_id)},
                               1, NULL);
    nexus__json_open(w, '[');
    for (int i = 0; i < RECOVERY_CODES && status == NEXUS_OK; i++)
        status = make_recovery(tx, user_id, w);
    nexus__json_close(w, ']');
    return status == NEXUS_OK ? nexus_db_exec(tx, "UPDATE auth_sessions SET rotation_due = 1 WHERE user_id = $1",
                                              (nexus_value[]){NEXUS_TEXT_C(user_id)}, 1, NULL)
                              : status;
}

static nexus_status confirm(nexus_auth *a, const char *user_id, int64_t step, char **codes)
{
    nexus_db *tx;
    nexus__buf text;
    size_t n;
    nexus_status status = nexus_db_begin(&tx, a->db);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    status = nexus__finish(tx, confirm_in(tx, user_id, step, &w));
    return nexus__hand_over(&text, status, codes, &n);
}

nexus_status nexus_auth_totp_confirm(nexus_auth *a, nexus_slice user_id, nexus_slice code, char **codes)
{
    factor f;
    int64_t step, now_s = nexus__auth_now_ns(a) / NEXUS__NS_PER_S;
    nexus_user *user;
    nexus_status status = nexus_auth_user(a, user_id, &user);
    if (status != NEXUS_OK)
        return status;
    status = load(&f, a, user->id);
    if (status == NEXUS_OK && f.confirmed)
        status = nexus__fail(NEXUS_ECONFLICT, "there is a second factor already");
    if (status == NEXUS_OK)
        status = nexus__totp_check(nexus__slice(f.seed, sizeof f.seed), code, now_s, f.last_step, &step);
    if (status == NEXUS_OK)
        status = confirm(a, user->id, step, codes);
    nexus__wipe(&f, sizeof f);
    nexus_user_free(user);
    return status;
}

/* --- ending ------------------------------------------------------------------------------------------------------------ */

static nexus_status drop(nexus_db *tx, const char *user_id)
{
    static const char *const steps[] = {"DELETE FROM auth_totp WHERE user_id = $1",
                                        "DELETE FROM auth_recovery WHERE user_id = $1",
                                        "UPDATE auth_sessions SET rotation_due = 1 WHERE user_id = $1"};
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && status == NEXUS_OK; i++)
        status = nexus_db_exec(tx, steps[i], (nexus_value[]){NEXUS_TEXT_C(user_id)}, 1, NULL);
    return status;
}

nexus_status nexus_auth_totp_end(nexus_auth *a, nexus_slice user_id, nexus_slice code, uint32_t *retry_after_s)
{
    nexus_user *user;
    nexus_db *tx;
    uint32_t wait = 0;
    nexus_status status = nexus_auth_user(a, user_id, &user);
    if (status != NEXUS_OK)
        return status;
    status = nexus__second_factor_check(a, user, code, &wait);
    if (status == NEXUS_OK)
        status = nexus_db_begin(&tx, a->db);
    if (status == NEXUS_OK)
        status = nexus__finish(tx, drop(tx, user->id));
    if (retry_after_s)
        *retry_after_s = wait;
    nexus_user_free(user);
    return status;
}

nexus_status nexus_auth_totp_state(nexus_auth *a, nexus_slice user_id, bool *in_use, uint32_t *recovery_codes)
{
    nexus_rows *rows;
    nexus_status status = nexus_db_query_one(
        &rows, a->db,
        "SELECT (SELECT count(*) FROM auth_totp WHERE user_id = $1 AND confirmed = 1),"
        " (SELECT count(*) FROM auth_recovery WHERE user_id = $1)",
        (nexus_value[]){NEXUS_TEXT(user_id)}, 1);
    if (status != NEXUS_OK)
        return status;
    if (in_use)
        *in_use = nexus_rows_int(rows, 0) > 0;
    if (recovery_codes)
        *recovery_codes = (uint32_t)nexus_rows_int(rows, 1);
    nexus_rows_free(rows);
    return NEXUS_OK;
}
