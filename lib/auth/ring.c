/*
 * Sealed values. A ring follows its file: another ring over the same file, of this process or another, may have changed it.
 * So each seal looks whether it is still the file that was read, and a value of an unknown key has it read again.
 * nx1.<kid>.<nonce>.<ciphertext+tag>; kid is 16 hex digits of the key's SHA-256. Associated data is the value's place and, with
 * a data key, "/<kid>".
 */
#include "auth/ring.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"

enum { KID_LEN = NEXUS__KID_TEXT - 1, TRIES = 100 };
#define OPERATIONS_MAX (UINT64_C(1) << 30) /* of random nonces under one key, well below what NIST SP 800-38D allows */

void nexus_secrets_opts_init(nexus_secrets_opts *opts)
{
    *opts = (nexus_secrets_opts)NEXUS_SECRETS_OPTS_INIT;
}

/* --- keys -------------------------------------------------------------------------------------------------------- */

nexus_status nexus__ring_key_set(nexus__ring_key *key, const uint8_t bytes[static NEXUS__AEAD_KEY])
{
    bool same = true;
    for (size_t i = 1; i < NEXUS__AEAD_KEY; i++)
        same = same && bytes[i] == bytes[0];
    if (same)
        return nexus__fail(NEXUS_EINVAL, "a key of repeated bytes is no secret");
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_status status = nexus__hash(NEXUS__SHA256, nexus__slice(bytes, NEXUS__AEAD_KEY), digest);
    nexus__hex_write(key->kid, digest, KID_LEN / 2);
    key->kid[KID_LEN] = 0;
    memcpy(key->bytes, bytes, NEXUS__AEAD_KEY);
    return status == NEXUS_OK ? nexus__aead_new(&key->aead, bytes) : status;
}

nexus_status nexus__ring_key_random(nexus__ring_key *key)
{
    uint8_t bytes[NEXUS__AEAD_KEY];
    nexus__random(bytes, sizeof bytes);
    nexus_status status = nexus__ring_key_set(key, bytes);
    nexus__wipe(bytes, sizeof bytes);
    return status;
}

/* Pages of their own that stay in memory, as far as the limits of the process let them, and out of core dumps. */
static nexus_status grow(nexus_secrets *s)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), mapped = s->mapped ? s->mapped * 2 : page;
    nexus__ring_key *keys = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (keys == MAP_FAILED)
        return nexus__nomem();
    (void)mlock(keys, mapped);
    (void)madvise(keys, mapped, MADV_DONTDUMP);
    if (s->keys) {
        memcpy(keys, s->keys, s->count * sizeof *keys);
        nexus__wipe(s->keys, s->mapped);
        munmap(s->keys, s->mapped);
    }
    s->keys = keys;
    s->mapped = mapped;
    return NEXUS_OK;
}

nexus_status nexus__ring_insert(nexus_secrets *s, size_t i, nexus__ring_key **out)
{
    if (s->count == NEXUS__RING_KEYS_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "%s: more than %d keys; retire some", s->path, NEXUS__RING_KEYS_MAX);
    if ((s->count + 1) * sizeof *s->keys > s->mapped) {
        nexus_status status = grow(s);
        if (status != NEXUS_OK)
            return status;
    }
    memmove(&s->keys[i + 1], &s->keys[i], (s->count - i) * sizeof *s->keys);
    memset(&s->keys[i], 0, sizeof *s->keys);
    s->count++;
    *out = &s->keys[i];
    return NEXUS_OK;
}

void nexus__ring_remove(nexus_secrets *s, size_t i)
{
    nexus__aead_free(s->keys[i].aead);
    nexus__free(s->alloc, s->keys[i].wrapped);
    memmove(&s->keys[i], &s->keys[i + 1], (--s->count - i) * sizeof *s->keys);
    nexus__wipe(&s->keys[s->count], sizeof *s->keys);
}

static void forget_keys(nexus_secrets *s)
{
    for (size_t i = 0; i < s->count; i++) {
        nexus__aead_free(s->keys[i].aead);
        nexus__free(s->alloc, s->keys[i].wrapped);
    }
    if (s->keys) {
        nexus__wipe(s->keys, s->mapped);
        munmap(s->keys, s->mapped);
    }
    s->keys = NULL;
    s->count = s->mapped = 0;
}

nexus__ring_key *nexus__ring_find(const nexus_secrets *s, nexus_slice kid)
{
    for (size_t i = 0; i < s->count; i++)
        if (nexus__slice_eq_c(kid, s->keys[i].kid))
            return &s->keys[i];
    return NULL;
}

nexus__ring_key *nexus__ring_sealing(const nexus_secrets *s, nexus_slice tenant)
{
    for (size_t i = 0; i < s->count; i++)
        if (!s->keys[i].wraps && nexus__slice_eq_c(tenant, s->keys[i].tenant))
            return &s->keys[i];
    return NULL;
}

nexus__ring_key *nexus__ring_wrapping(const nexus_secrets *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->keys[i].wraps)
            return &s->keys[i];
    return NULL;
}

bool nexus__is_tenant(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] > '~')
            return false;
    return text.n <= NEXUS__TENANT_MAX;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static nexus_secrets *ring_new(const nexus_alloc *alloc, const char *path, const char *kek_id)
{
    nexus_secrets *s = nexus__calloc(alloc, 1, sizeof *s);
    if (!s)
        return NULL;
    s->alloc = alloc;
    s->self = s;
    pthread_rwlock_init(&s->lock, NULL);
    s->path = nexus__strndup(alloc, nexus__slice_c(path));
    s->kek_id = kek_id ? nexus__strndup(alloc, nexus__slice_c(kek_id)) : NULL;
    if (s->path && (!kek_id || s->kek_id))
        return s;
    nexus_secrets_close(s);
    return NULL;
}

static nexus_status read_kek(nexus_slice plain, void *user_data)
{
    return plain.n ? nexus__kek_read(user_data, plain) : NEXUS_OK;
}

static nexus_status check(const nexus_secrets_opts *o)
{
    if (!o || o->size != sizeof *o || !o->path || !*o->path || strlen(o->path) > 4000)
        return nexus__fail(NEXUS_EINVAL, "nexus_secrets_opts: size and path are required");
    if (!!o->wrap != !!o->unwrap || !!o->wrap != !!o->kek_id)
        return nexus__fail(NEXUS_EINVAL, "nexus_secrets_opts: wrap, unwrap and kek_id go together");
    return NEXUS_OK;
}

nexus_status nexus_secrets_open_with(nexus_secrets **out, const nexus_secrets_opts *o)
{
    nexus_status status = check(o);
    if (status != NEXUS_OK)
        return status;
    nexus_secrets *s = ring_new(o->alloc, o->path, o->kek_id);
    if (!s)
        return nexus__nomem();
    s->wrap = o->wrap;
    s->unwrap = o->unwrap;
    s->now_fn = o->now_fn;
    s->user_data = o->user_data;
    s->operations_max = o->operations_max && o->operations_max < OPERATIONS_MAX ? o->operations_max : OPERATIONS_MAX;
    status = nexus_secret_use(o->kek, read_kek, s);
    if (status == NEXUS_OK)
        status = nexus__ring_prepare(s);
    if (status == NEXUS_OK)
        *out = s;
    else
        nexus_secrets_close(s);
    return status;
}

nexus_status nexus_secrets_open(nexus_secrets **out, const char *path, const nexus_alloc *alloc)
{
    nexus_secrets_opts opts = NEXUS_SECRETS_OPTS_INIT;
    opts.path = path;
    opts.alloc = alloc;
    return nexus_secrets_open_with(out, &opts);
}

static nexus_status copy_given(nexus_secrets *to, const nexus_secrets *s)
{
    nexus_status status = NEXUS_OK;
    nexus__ring_key *key;
    pthread_rwlock_rdlock(&s->self->lock);
    for (size_t i = 0; i < s->count && status == NEXUS_OK; i++) {
        if (!s->keys[i].wraps || s->keys[i].in_file)
            continue;
        status = nexus__ring_insert(to, to->count, &key);
        if (status == NEXUS_OK) {
            key->wraps = true;
            status = nexus__ring_key_set(key, s->keys[i].bytes);
        }
    }
    pthread_rwlock_unlock(&s->self->lock);
    return status;
}

nexus_status nexus__ring_twin(nexus_secrets **out, const nexus_secrets *s)
{
    nexus_secrets *twin = ring_new(s->alloc, s->path, s->kek_id);
    if (!twin)
        return nexus__nomem();
    twin->wrap = s->wrap;
    twin->unwrap = s->unwrap;
    twin->now_fn = s->now_fn;
    twin->user_data = s->user_data;
    twin->operations_max = s->operations_max;
    nexus_status status = copy_given(twin, s);
    if (status == NEXUS_OK)
        *out = twin;
    else
        nexus_secrets_close(twin);
    return status;
}

void nexus_secrets_close(nexus_secrets *s)
{
    if (!s)
        return;
    forget_keys(s);
    pthread_rwlock_destroy(&s->lock);
    nexus__free(s->alloc, s->path);
    nexus__free(s->alloc, s->kek_id);
    nexus__free(s->alloc, s);
}

/* --- following the file ----------------------------------------------------------------------------------------------- */

bool nexus__ring_is_as_read(const nexus_secrets *s)
{
    struct stat st;
    return stat(s->path, &st) != 0 || (st.st_ino == s->read.st_ino && st.st_size == s->read.st_size &&
                                       st.st_mtim.tv_sec == s->read.st_mtim.tv_sec &&
                                       st.st_mtim.tv_nsec == s->read.st_mtim.tv_nsec);
}

void nexus__ring_take(nexus_secrets *s, nexus_secrets *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const nexus__ring_key *old = nexus__ring_find(s, nexus__slice_c(from->keys[i].kid));
        if (old && atomic_load(&old->left) > 0)
            atomic_fetch_add(&from->keys[i].left, atomic_load(&old->left));
    }
    forget_keys(s);
    s->keys = from->keys;
    s->count = from->count;
    s->mapped = from->mapped;
    s->read = from->read;
    from->keys = NULL;
    from->count = from->mapped = 0;
}

/* Reads it without a lock, for unwrapping may ask a service. A file that cannot be read leaves the ring as it is. */
nexus_status nexus__ring_follow(const nexus_secrets *given)
{
    nexus_secrets *s = given->self, *fresh;
    pthread_rwlock_rdlock(&s->lock);
    bool same = nexus__ring_is_as_read(s);
    pthread_rwlock_unlock(&s->lock);
    if (same)
        return NEXUS_OK;
    nexus_status status = nexus__ring_twin(&fresh, s);
    if (status != NEXUS_OK)
        return status;
    status = nexus__ring_load(fresh, s);
    if (status == NEXUS_OK) {
        pthread_rwlock_wrlock(&s->lock);
        nexus__ring_take(s, fresh);
        pthread_rwlock_unlock(&s->lock);
    }
    nexus_secrets_close(fresh);
    return status;
}

/* --- sealing ------------------------------------------------------------------------------------------------------ */

nexus_status nexus__ring_seal_with(const nexus__ring_key *key, nexus_slice associated, nexus_slice plain, nexus__buf *out)
{
    uint8_t nonce[NEXUS__AEAD_NONCE];
    nexus__random(nonce, sizeof nonce);
    uint8_t *sealed = nexus__malloc(NULL, plain.n + NEXUS__AEAD_TAG);
    if (!sealed)
        return nexus__nomem();
    nexus_status status = nexus__aead_seal(key->aead, nonce, associated, plain, sealed);
    if (status == NEXUS_OK) {
        nexus__buf_printf(out, "nx1.%s.", key->kid);
        nexus__base64url_append(out, nonce, sizeof nonce);
        nexus__buf_char(out, '.');
        nexus__base64url_append(out, sealed, plain.n + NEXUS__AEAD_TAG);
        status = out->status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
    }
    nexus__free(NULL, sealed);
    return status;
}

/* The place of a value and, with a data key, the key's id. */
static void put_associated(nexus__buf *out, const nexus__ring_key *key, nexus_slice context)
{
    nexus__buf_slice_append(out, context);
    if (!key->wraps)
        nexus__buf_printf(out, "/%s", key->kid);
}

/* *sealed false: nothing is set aside for it. */
static nexus_status try_to_seal(const nexus_secrets *s, nexus_slice tenant, nexus_slice context, nexus_slice plain,
                                nexus__buf *out, bool *sealed)
{
    nexus_status status = NEXUS_OK;
    nexus__buf associated;
    nexus__buf_init(&associated, NULL, 0);
    pthread_rwlock_rdlock(&s->self->lock);
    nexus__ring_key *key = nexus__ring_sealing(s, tenant);
    *sealed = key && atomic_fetch_sub(&key->left, 1) > 0;
    if (*sealed) {
        put_associated(&associated, key, context);
        status = associated.status == NEXUS_OK
                     ? nexus__ring_seal_with(key, nexus__buf_slice(&associated), plain, out)
                     : nexus__nomem();
    }
    pthread_rwlock_unlock(&s->self->lock);
    nexus__buf_free(&associated);
    return status;
}

nexus_status nexus_secrets_seal_for(const nexus_secrets *s, nexus_slice tenant, nexus_slice context, nexus_slice plain,
                                    char **out, size_t *n)
{
    bool sealed = false;
    nexus__buf text;
    if (!nexus__is_tenant(tenant))
        return nexus__fail(NEXUS_EINVAL, "tenant: at most %d visible ASCII characters", NEXUS__TENANT_MAX);
    nexus__buf_init(&text, NULL, 0);
    nexus_status status = nexus__ring_follow(s);
    for (int i = 0; i < TRIES && status == NEXUS_OK && !sealed; i++) {
        status = try_to_seal(s, tenant, context, plain, &text, &sealed);
        if (status == NEXUS_OK && !sealed)
            status = nexus__ring_set_aside(s->self, tenant);
    }
    if (status == NEXUS_OK && !sealed)
        status = nexus__fail(NEXUS_EAGAIN, "%s: others took all that was set aside for sealing", s->path);
    if (status == NEXUS_OK)
        return nexus__buf_hand_over(&text, out, n);
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus_secrets_seal(const nexus_secrets *s, nexus_slice context, nexus_slice plain, char **out, size_t *n)
{
    return nexus_secrets_seal_for(s, NEXUS_S(""), context, plain, out, n);
}

/* --- opening sealed values -------------------------------------------------------------------------------------------- */

bool nexus__sealed_text_read(nexus__sealed_text *out, nexus_slice text)
{
    uint8_t nonce[NEXUS__BASE64_DECODED_MAX(16)];
    size_t n;
    out->sealed = text;
    nexus_slice version = nexus__slice_cut(&out->sealed, '.');
    out->kid = nexus__slice_cut(&out->sealed, '.');
    nexus_slice nonce_text = nexus__slice_cut(&out->sealed, '.');
    if (!nexus__slice_eq_c(version, "nx1") || nonce_text.n != 16 || !nexus__base64url_decode(nonce_text, nonce, &n) ||
        n != sizeof out->nonce)
        return false;
    memcpy(out->nonce, nonce, sizeof out->nonce);
    return true;
}

static bool has_key(const nexus_secrets *s, nexus_slice kid)
{
    pthread_rwlock_rdlock(&s->self->lock);
    bool there = nexus__ring_find(s, kid) != NULL;
    pthread_rwlock_unlock(&s->self->lock);
    return there;
}

static nexus_status open_with(const nexus_secrets *s, const nexus__sealed_text *t, nexus_slice context, nexus_slice sealed,
                              uint8_t *out)
{
    nexus__buf associated;
    nexus__buf_init(&associated, NULL, 0);
    pthread_rwlock_rdlock(&s->self->lock);
    const nexus__ring_key *key = nexus__ring_find(s, t->kid);
    if (key)
        put_associated(&associated, key, context);
    nexus_status status =
        !key ? nexus__fail(NEXUS_EMISSING, "the key %.*s of a sealed value is not in %s",
                           (int)(t->kid.n > 32 ? 32 : t->kid.n), t->kid.p, s->path)
             : associated.status == NEXUS_OK
                   ? nexus__aead_open(key->aead, t->nonce, nexus__buf_slice(&associated), sealed, out)
                   : nexus__nomem();
    pthread_rwlock_unlock(&s->self->lock);
    nexus__buf_free(&associated);
    return status;
}

nexus_status nexus_secrets_unseal(const nexus_secrets *s, nexus_slice context, nexus_slice sealed, char **out, size_t *n)
{
    nexus__sealed_text t;
    size_t raw_n = 0;
    if (!nexus__sealed_text_read(&t, sealed))
        return nexus__fail(NEXUS_EINVAL, "not a sealed value");
    if (!has_key(s, t.kid))
        (void)!nexus__ring_follow(s); /* another ring over the file may have made it */
    char *raw = nexus__malloc(NULL, NEXUS__BASE64_DECODED_MAX(t.sealed.n) + 1);
    if (!raw)
        return nexus__nomem();
    nexus_status status = NEXUS_OK;
    if (!nexus__base64url_decode(t.sealed, raw, &raw_n))
        status = nexus__fail(NEXUS_ECORRUPT, "a sealed value is not base64url");
    if (status == NEXUS_OK)
        status = open_with(s, &t, context, nexus__slice(raw, raw_n), (uint8_t *)raw);
    if (status != NEXUS_OK) {
        nexus__free(NULL, raw);
        return status;
    }
    *n = raw_n - NEXUS__AEAD_TAG;
    raw[*n] = 0;
    *out = raw;
    return NEXUS_OK;
}

bool nexus_secrets_is_stale(const nexus_secrets *s, nexus_slice sealed)
{
    nexus_slice rest = sealed;
    nexus__slice_cut(&rest, '.');
    pthread_rwlock_rdlock(&s->self->lock);
    const nexus__ring_key *key = nexus__ring_find(s, nexus__slice_cut(&rest, '.'));
    bool stale = !key || key != nexus__ring_sealing(s, nexus__slice_c(key->tenant));
    pthread_rwlock_unlock(&s->self->lock);
    return stale;
}
