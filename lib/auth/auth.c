/*
 * People and tokens. A login begins a family of refresh tokens; each refresh spends one token and makes its
 * successor; a spent token that comes again after the grace is proof of a copy, and ends the family. Every way to a
 * token passes nexus__subject_gate at the moment of redemption.
 */
#include <unistd.h>

#include "auth/auth_private.h"
#include "base/codec.h"
#include "crypto/wipe.h"
#include "json/write.h"

void nexus_auth_opts_init(nexus_auth_opts *opts)
{
    *opts = (nexus_auth_opts)NEXUS_AUTH_OPTS_INIT;
}

int64_t nexus__auth_now_ns(const nexus_auth *auth)
{
    return auth->opts.now_fn ? auth->opts.now_fn(auth->opts.user_data) : nexus__real_ns();
}

static uint32_t or_default(uint32_t value, uint32_t initial)
{
    return value ? value : initial;
}

static nexus_status take_options(nexus_auth *a, const nexus_auth_opts *o)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    a->opts = *o;
    a->opts.access_ttl_s = or_default(o->access_ttl_s, 600);
    a->opts.refresh_idle_s = or_default(o->refresh_idle_s, 14 * 86400);
    a->opts.refresh_absolute_s = or_default(o->refresh_absolute_s, 90 * 86400);
    a->opts.refresh_grace_s = or_default(o->refresh_grace_s, 10);
    a->opts.reset_ttl_s = or_default(o->reset_ttl_s, 900);
    a->opts.bootstrap_ttl_s = or_default(o->bootstrap_ttl_s, 900);
    a->opts.session_idle_s = or_default(o->session_idle_s, 1800);
    a->opts.session_absolute_s = or_default(o->session_absolute_s, 12 * 3600);
    a->opts.address_failures = or_default(o->address_failures, 50);
    a->opts.hash_parallel = or_default(o->hash_parallel, cores > 0 ? (uint32_t)cores : 1);
    a->opts.hash_queue = or_default(o->hash_queue, 64);
    a->cost = (nexus__argon2){or_default(o->hash_memory_kib, 19456), 2, 1};
    uint32_t fit = o->hash_budget_kib / a->cost.memory_kib;
    if (o->hash_budget_kib && a->opts.hash_parallel > fit)
        a->opts.hash_parallel = fit ? fit : 1;
    a->opts.issuer = nexus__strndup(o->alloc, nexus__slice_c(o->issuer));
    a->opts.audience = nexus__strndup(o->alloc, nexus__slice_c(o->audience ? o->audience : "nexus"));
    a->opts.key_dir = NULL;
    return a->opts.issuer && a->opts.audience ? NEXUS_OK : nexus__nomem();
}

static nexus_status take_pepper(nexus_slice pepper, void *user_data)
{
    nexus_auth *a = user_data;
    if (pepper.n == 0)
        return NEXUS_OK;
    if (pepper.n < 16)
        return nexus__fail(NEXUS_EINVAL, "pepper: must have at least 16 bytes");
    return nexus__hmac_new(&a->pepper, NEXUS__SHA256, pepper.p, pepper.n);
}

static nexus_status open_parts(nexus_auth *a, const char *key_dir)
{
    char path[4096], unknown[NEXUS__TOKEN_TEXT];
    nexus_status status = NEXUS_OK;
    a->secrets = a->opts.secrets;
    if (!a->secrets) {
        snprintf(path, sizeof path, "%s/secrets.key", key_dir);
        status = nexus_secrets_open(&a->own_secrets, path, a->alloc);
        a->secrets = a->own_secrets;
    }
    if (status == NEXUS_OK)
        status = nexus__hash_gate_new(&a->gate, a->alloc, a->opts.hash_parallel, a->opts.hash_queue);
    nexus__token_make(unknown);
    if (status == NEXUS_OK)
        status = nexus_secret_use(a->opts.pepper, take_pepper, a);
    a->opts.pepper = NULL;
    if (status == NEXUS_OK)
        status = nexus__hash_password(a, nexus__slice_c(unknown), a->dummy);
    if (status == NEXUS_OK && a->opts.breach_file)
        status = nexus__breach_file_open(&a->breach, a->alloc, a->opts.breach_file);
    a->opts.breach_file = NULL;
    if (status == NEXUS_OK)
        status = nexus__throttle_open(a);
    if (status == NEXUS_OK)
        status = nexus_db_migrate(a->db, "auth", nexus__auth_migrations, nexus__auth_migration_count);
    if (status == NEXUS_OK)
        status = nexus_db_migrate(a->db, "roles", nexus__role_migrations, nexus__role_migration_count);
    if (status == NEXUS_OK)
        status = nexus_db_migrate(a->db, "oauth", nexus__oauth_migrations, nexus__oauth_migration_count);
    if (status == NEXUS_OK)
        status = nexus_db_migrate(a->db, "apikeys", nexus__apikey_migrations, nexus__apikey_migration_count);
    return status == NEXUS_OK ? nexus__signing_keys_open(a) : status;
}

nexus_status nexus_auth_open(nexus_auth **out, nexus_db *db, const nexus_auth_opts *opts)
{
    if (!db || !opts || opts->size != sizeof *opts || !opts->issuer || !*opts->issuer ||
        (!opts->key_dir && !opts->secrets))
        return nexus__fail(NEXUS_EINVAL, "nexus_auth_opts: size, issuer, and key_dir or secrets are required");
    nexus_auth *a = nexus__calloc(opts->alloc, 1, sizeof *a);
    if (!a)
        return nexus__nomem();
    a->alloc = opts->alloc;
    a->db = db;
    pthread_mutex_init(&a->lock, NULL);
    nexus_status status = take_options(a, opts);
    if (status == NEXUS_OK)
        status = open_parts(a, opts->key_dir);
    if (status == NEXUS_OK)
        *out = a;
    else
        nexus_auth_close(a);
    return status;
}

void nexus_auth_close(nexus_auth *a)
{
    if (!a)
        return;
    nexus_key_free(a->locked.active);
    nexus__throttle_close(a);
    nexus__breach_file_close(a->breach);
    nexus__hmac_free(a->pepper);
    nexus__hash_gate_free(a->gate);
    nexus_secrets_close(a->own_secrets);
    nexus__free(a->alloc, (char *)(uintptr_t)a->opts.issuer);
    nexus__free(a->alloc, (char *)(uintptr_t)a->opts.audience);
    pthread_mutex_destroy(&a->lock);
    nexus__free(a->alloc, a);
}

/* --- small things its files share ---------------------------------------------------------------------------------- */

static void base64url_text(const void *data, size_t n, char *out, size_t cap)
{
    nexus__buf b;
    nexus__buf_init(&b, NULL, 0);
    nexus__base64url_append(&b, data, n);
    snprintf(out, cap, "%.*s", (int)b.len, b.p ? b.p : "");
    nexus__wipe(b.p, b.cap);
    nexus__buf_free(&b);
}

void nexus__token_make(char token[static NEXUS__TOKEN_TEXT])
{
    uint8_t bytes[32];
    nexus__random(bytes, sizeof bytes);
    base64url_text(bytes, sizeof bytes, token, NEXUS__TOKEN_TEXT);
    nexus__wipe(bytes, sizeof bytes);
}

nexus_status nexus__token_hash(nexus_slice token, char out[static NEXUS__HASH_TEXT])
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_status status = nexus__hash(NEXUS__SHA256, token, digest);
    if (status == NEXUS_OK)
        base64url_text(digest, 32, out, NEXUS__HASH_TEXT);
    return status;
}

nexus_status nexus__auth_event(nexus_auth *a, nexus_db *tx, const char *type, const char *user_id, nexus__buf *data)
{
    if (data->status != NEXUS_OK)
        return nexus__nomem();
    if (!a->opts.event_fn)
        return NEXUS_OK;
    return a->opts.event_fn(tx, type, nexus__slice_c(user_id), nexus__buf_slice(data), a->opts.user_data);
}

nexus_status nexus__tell_token(nexus_auth *a, nexus_db *tx, const char *user_id, nexus_slice client_id, const char *grant)
{
    char client[NEXUS__UUID_LEN + 1];
    nexus__buf data;
    snprintf(client, sizeof client, "%.*s", (int)client_id.n, client_id.p);
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    if (*user_id)
        nexus__json_put_text_c(&w, "user_id", user_id);
    if (client_id.n)
        nexus__json_put_text(&w, "client_id", client_id);
    nexus__json_put_text_c(&w, "grant", grant);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, "token.issued", *user_id ? user_id : client, &data);
    nexus__buf_free(&data);
    return status;
}

nexus_status nexus__auth_revoke(nexus_auth *a, nexus_db *tx, const char *kind, const char *id, int64_t expires_s)
{
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "kind", kind);
    nexus__json_put_text_c(&w, "id", id);
    nexus__json_put_i64(&w, "issued_before", nexus__auth_now_ns(a) / NEXUS__NS_PER_S + 1);
    if (expires_s)
        nexus__json_put_i64(&w, "expires_at", expires_s);
    nexus__json_close(&w, '}');
    nexus_status status = nexus__auth_event(a, tx, "auth.revoked", id, &data);
    nexus__buf_free(&data);
    return status;
}

nexus_status nexus__hand_over(nexus__buf *text, nexus_status status, char **out, size_t *n)
{
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(text, out, n);
    nexus__buf_free(text);
    return status;
}

nexus_status nexus__finish(nexus_db *tx, nexus_status status)
{
    if (status == NEXUS_OK)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return status;
}
