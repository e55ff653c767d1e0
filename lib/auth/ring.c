/*
 * Sealed values. A ring follows its file: another ring over the same file, of this process or another, may have changed it.
 * So each seal looks whether it is still the file that was read, and a value of an unknown key has it read again. Changes
 * take the lock of the directory, so that of two rings that change it at once none loses a key. The key file is the one secret of a state directory: whoever has it and the database reads both.
 * nx1.<kid>.<nonce>.<ciphertext+tag>; kid is 16 hex digits of the key's SHA-256, so a file edited by hand cannot pair
 * a name with another key.
 */
#include <nexus/secret.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/ring.h"
#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"

#define KEYS_MAX 32
#define KID_LEN (NEXUS__KID_TEXT - 1)

typedef struct ring_key {
    char kid[NEXUS__KID_TEXT];
    uint8_t bytes[NEXUS__AEAD_KEY];
    nexus__aead *aead;
} ring_key;

struct nexus_secrets {
    const nexus_alloc *alloc;
    char *path;
    nexus_secrets *self;     /* what a const ring may change: its lock, and what it knows of the file */
    pthread_rwlock_t lock;   /* of all below */
    ring_key keys[KEYS_MAX]; /* newest first */
    size_t count;
    struct stat read; /* the file as it was read */
};

/* --- the ring ---------------------------------------------------------------------------------------------------- */

static nexus_status set_key(ring_key *key, const uint8_t bytes[static NEXUS__AEAD_KEY])
{
    bool same = true;
    for (size_t i = 1; i < NEXUS__AEAD_KEY; i++)
        same = same && bytes[i] == bytes[0];
    if (same)
        return nexus__fail(NEXUS_EINVAL, "a key of repeated bytes is no secret");
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_status status = nexus__hash(NEXUS__SHA256, nexus__slice(bytes, NEXUS__AEAD_KEY), digest);
    for (size_t i = 0; i < KID_LEN / 2; i++)
        snprintf(key->kid + 2 * i, 3, "%02x", digest[i]);
    memcpy(key->bytes, bytes, NEXUS__AEAD_KEY);
    return status == NEXUS_OK ? nexus__aead_new(&key->aead, bytes) : status;
}

static nexus_status parse_line(nexus_secrets *s, nexus_slice line)
{
    nexus_slice kid = nexus__slice_cut(&line, ' ');
    uint8_t bytes[NEXUS__BASE64_DECODED_MAX(64)];
    size_t n = 0;
    if (line.n != 43 || !nexus__base64url_decode(line, bytes, &n) || n != NEXUS__AEAD_KEY)
        return nexus__fail(NEXUS_EINVAL, "%s: a line is \"<kid> <43 characters of base64url>\"", s->path);
    if (s->count == KEYS_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "%s: more than %d keys", s->path, KEYS_MAX);
    ring_key *key = &s->keys[s->count++];
    nexus_status status = set_key(key, bytes);
    nexus__wipe(bytes, sizeof bytes);
    if (status == NEXUS_OK && !nexus__slice_eq_c(kid, key->kid))
        return nexus__fail(NEXUS_EINVAL, "%s: the kid does not belong to its key", s->path);
    return status;
}

static nexus_status read_ring(nexus_secrets *s, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return nexus__fail_errno(errno, "%s", s->path);
    if (st.st_mode & 077)
        return nexus__fail(NEXUS_EPERM, "%s can be read by others: chmod 600 it", s->path);
    s->read = st;
    char text[KEYS_MAX * 64];
    ssize_t n = read(fd, text, sizeof text);
    if (n < 0)
        return nexus__fail_errno(errno, "%s", s->path);
    nexus_slice rest = nexus__slice(text, (size_t)n);
    nexus_status status = NEXUS_OK;
    while (rest.n && status == NEXUS_OK) {
        nexus_slice line = nexus__slice_trim(nexus__slice_cut(&rest, '\n'));
        if (line.n)
            status = parse_line(s, line);
    }
    nexus__wipe(text, sizeof text);
    if (status == NEXUS_OK && s->count == 0)
        return nexus__fail(NEXUS_EINVAL, "%s holds no key", s->path);
    return status;
}

static nexus_status write_all(int fd, nexus_slice text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return nexus__fail_errno(errno, "the key file cannot be written");
        if (n > 0)
            text = nexus__slice_from(text, (size_t)n);
    }
    return fsync(fd) == 0 ? NEXUS_OK : nexus__fail_errno(errno, "the key file cannot be written");
}

static int open_directory(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void sync_directory(const char *path)
{
    int fd = open_directory(path);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Writes the ring beside the file; link() makes it appear whole, or loses to whoever was first; rename() replaces. */
static nexus_status write_ring(const nexus_secrets *s, bool replace)
{
    char temporary[4096];
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    for (size_t i = 0; i < s->count; i++) {
        nexus__buf_printf(&text, "%s ", s->keys[i].kid);
        nexus__base64url_append(&text, s->keys[i].bytes, NEXUS__AEAD_KEY);
        nexus__buf_char(&text, '\n');
    }
    snprintf(temporary, sizeof temporary, "%s.%016llx", s->path, (unsigned long long)nexus__random_u64());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    nexus_status status = fd >= 0 ? write_all(fd, nexus__buf_slice(&text)) : nexus__fail_errno(errno, "%s", temporary);
    if (fd >= 0)
        close(fd);
    if (status == NEXUS_OK && (replace ? rename(temporary, s->path) : link(temporary, s->path)) != 0 &&
        (replace || errno != EEXIST))
        status = nexus__fail_errno(errno, "%s", s->path);
    unlink(temporary);
    sync_directory(s->path);
    nexus__wipe(text.p, text.cap);
    nexus__buf_free(&text);
    return status;
}

static void forget_keys(nexus_secrets *s)
{
    for (size_t i = 0; i < s->count; i++)
        nexus__aead_free(s->keys[i].aead);
    nexus__wipe(s->keys, sizeof s->keys);
    s->count = 0;
}

static nexus_status random_key(ring_key *key)
{
    uint8_t bytes[NEXUS__AEAD_KEY];
    nexus__random(bytes, sizeof bytes);
    nexus_status status = set_key(key, bytes);
    nexus__wipe(bytes, sizeof bytes);
    return status;
}

static nexus_status make_file(nexus_secrets *s)
{
    s->count = 1;
    nexus_status status = random_key(&s->keys[0]);
    if (status == NEXUS_OK)
        status = write_ring(s, false);
    forget_keys(s);
    return status;
}

static nexus_status load(nexus_secrets *s)
{
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        nexus_status status = make_file(s); /* of two processes that start at once, one makes it */
        if (status != NEXUS_OK)
            return status;
        fd = open(s->path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return nexus__fail_errno(errno, "%s", s->path);
    nexus_status status = read_ring(s, fd);
    close(fd);
    return status;
}

/* Pages of their own that stay in memory, as far as the limits of the process let them, and out of core dumps. */
static nexus_secrets *ring_new(void)
{
    nexus_secrets *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        return NULL;
    (void)mlock(s, sizeof *s);
    (void)madvise(s, sizeof *s, MADV_DONTDUMP);
    s->self = s;
    pthread_rwlock_init(&s->lock, NULL);
    return s;
}

nexus_status nexus_secrets_open(nexus_secrets **out, const char *path, const nexus_alloc *alloc)
{
    nexus_secrets *s = ring_new();
    if (!s)
        return nexus__nomem();
    s->alloc = alloc;
    s->path = nexus__strndup(alloc, nexus__slice_c(path));
    nexus_status status = s->path ? load(s) : nexus__nomem();
    if (status == NEXUS_OK)
        *out = s;
    else
        nexus_secrets_close(s);
    return status;
}

/* --- following and changing the file -------------------------------------------------------------------------------- */

static bool is_as_read(const nexus_secrets *s)
{
    struct stat st;
    return stat(s->path, &st) != 0 || (st.st_ino == s->read.st_ino && st.st_size == s->read.st_size &&
                                       st.st_mtim.tv_sec == s->read.st_mtim.tv_sec &&
                                       st.st_mtim.tv_nsec == s->read.st_mtim.tv_nsec);
}

/* Takes the keys of another ring, which is left with none. */
static void take_keys(nexus_secrets *s, nexus_secrets *from)
{
    forget_keys(s);
    memcpy(s->keys, from->keys, sizeof s->keys);
    s->count = from->count;
    s->read = from->read;
    nexus__wipe(from->keys, sizeof from->keys);
    from->count = 0;
}

/* Under the lock. A file that cannot be read leaves the ring as it is. */
static nexus_status read_again(nexus_secrets *s)
{
    nexus_secrets *fresh = NULL;
    nexus_status status = is_as_read(s) ? NEXUS_OK : nexus_secrets_open(&fresh, s->path, s->alloc);
    if (fresh)
        take_keys(s, fresh);
    nexus_secrets_close(fresh);
    return status;
}

static nexus_status follow(const nexus_secrets *given)
{
    nexus_secrets *s = given->self;
    pthread_rwlock_rdlock(&s->lock);
    bool same = is_as_read(s);
    pthread_rwlock_unlock(&s->lock);
    if (same)
        return NEXUS_OK;
    pthread_rwlock_wrlock(&s->lock);
    nexus_status status = read_again(s);
    pthread_rwlock_unlock(&s->lock);
    return status;
}

static nexus_status add_first(nexus_secrets *s, const char *kid)
{
    (void)kid;
    if (s->count == KEYS_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "%s: more than %d keys; retire some", s->path, KEYS_MAX);
    memmove(&s->keys[1], &s->keys[0], s->count * sizeof s->keys[0]);
    s->keys[0] = (ring_key){0};
    s->count++;
    return random_key(&s->keys[0]);
}

static nexus_status take_out(nexus_secrets *s, const char *kid)
{
    size_t i = 0;
    while (i < s->count && strcmp(s->keys[i].kid, kid) != 0)
        i++;
    if (i == s->count)
        return nexus__fail(NEXUS_ENOTFOUND, "%s: there is no key %s", s->path, kid);
    if (i == 0)
        return nexus__fail(NEXUS_ECONFLICT, "%s: %s is the key that seals; rotate first", s->path, kid);
    nexus__aead_free(s->keys[i].aead);
    memmove(&s->keys[i], &s->keys[i + 1], (--s->count - i) * sizeof s->keys[0]);
    nexus__wipe(&s->keys[s->count], sizeof s->keys[0]);
    return NEXUS_OK;
}

/* Changes a ring read anew and writes it; ours takes it over when that is done. */
static nexus_status change(nexus_secrets *s, nexus_status (*edit)(nexus_secrets *s, const char *kid), const char *kid)
{
    nexus_secrets *fresh = NULL;
    if (access(s->path, F_OK) != 0) /* opening would make one */
        return nexus__fail_errno(errno, "%s", s->path);
    int fd = open_directory(s->path);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        nexus_status failed = nexus__fail_errno(errno, "the directory of %s", s->path);
        if (fd >= 0)
            close(fd);
        return failed;
    }
    nexus_status status = nexus_secrets_open(&fresh, s->path, s->alloc);
    if (status == NEXUS_OK)
        status = edit(fresh, kid);
    if (status == NEXUS_OK)
        status = write_ring(fresh, true);
    if (status == NEXUS_OK && stat(s->path, &fresh->read) != 0)
        status = nexus__fail_errno(errno, "%s", s->path);
    close(fd);
    if (status == NEXUS_OK) {
        pthread_rwlock_wrlock(&s->lock);
        take_keys(s, fresh);
        pthread_rwlock_unlock(&s->lock);
    }
    nexus_secrets_close(fresh);
    return status;
}

nexus_status nexus_secrets_rotate(nexus_secrets *s)
{
    return change(s, add_first, NULL);
}

nexus_status nexus__secrets_retire(nexus_secrets *s, const char *kid)
{
    return change(s, take_out, kid);
}

bool nexus__secrets_kid(const nexus_secrets *s, size_t i, char out[static NEXUS__KID_TEXT])
{
    (void)follow(s);
    pthread_rwlock_rdlock(&s->self->lock);
    bool there = i < s->count;
    if (there)
        memcpy(out, s->keys[i].kid, NEXUS__KID_TEXT);
    pthread_rwlock_unlock(&s->self->lock);
    return there;
}

void nexus_secrets_close(nexus_secrets *s)
{
    if (!s)
        return;
    forget_keys(s);
    pthread_rwlock_destroy(&s->lock);
    nexus__free(s->alloc, s->path);
    munmap(s, sizeof *s);
}

/* --- sealing ------------------------------------------------------------------------------------------------------ */

nexus_status nexus_secrets_seal(const nexus_secrets *s, nexus_slice context, nexus_slice plain, char **out, size_t *n)
{
    uint8_t nonce[NEXUS__AEAD_NONCE];
    nexus__random(nonce, sizeof nonce);
    uint8_t *sealed = nexus__malloc(NULL, plain.n + NEXUS__AEAD_TAG);
    if (!sealed)
        return nexus__nomem();
    char kid[NEXUS__KID_TEXT];
    nexus_status status = follow(s);
    pthread_rwlock_rdlock(&s->self->lock);
    if (status == NEXUS_OK)
        status = nexus__aead_seal(s->keys[0].aead, nonce, context, plain, sealed);
    memcpy(kid, s->keys[0].kid, sizeof kid);
    pthread_rwlock_unlock(&s->self->lock);
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__buf_printf(&text, "nx1.%s.", kid);
    nexus__base64url_append(&text, nonce, sizeof nonce);
    nexus__buf_char(&text, '.');
    nexus__base64url_append(&text, sealed, plain.n + NEXUS__AEAD_TAG);
    nexus__free(NULL, sealed);
    if (status == NEXUS_OK && (*out = nexus__buf_take(&text, n)))
        return NEXUS_OK;
    nexus__buf_free(&text);
    return status != NEXUS_OK ? status : nexus__nomem();
}

static const ring_key *key_of(const nexus_secrets *s, nexus_slice kid)
{
    for (size_t i = 0; i < s->count; i++)
        if (nexus__slice_eq_c(kid, s->keys[i].kid))
            return &s->keys[i];
    return NULL;
}

static bool has_key(const nexus_secrets *s, nexus_slice kid)
{
    pthread_rwlock_rdlock(&s->self->lock);
    bool there = key_of(s, kid) != NULL;
    pthread_rwlock_unlock(&s->self->lock);
    return there;
}

static nexus_status open_with(const nexus_secrets *s, nexus_slice kid, const uint8_t *nonce, nexus_slice context,
                              nexus_slice sealed, uint8_t *out)
{
    pthread_rwlock_rdlock(&s->self->lock);
    const ring_key *key = key_of(s, kid);
    nexus_status status = key ? nexus__aead_open(key->aead, nonce, context, sealed, out)
                              : nexus__fail(NEXUS_EMISSING, "the key %.*s of a sealed value is not in %s",
                                            (int)(kid.n > 32 ? 32 : kid.n), kid.p, s->path);
    pthread_rwlock_unlock(&s->self->lock);
    return status;
}

nexus_status nexus_secrets_unseal(const nexus_secrets *s, nexus_slice context, nexus_slice sealed, char **out, size_t *n)
{
    nexus_slice rest = sealed;
    nexus_slice version = nexus__slice_cut(&rest, '.'), kid = nexus__slice_cut(&rest, '.');
    nexus_slice nonce_text = nexus__slice_cut(&rest, '.');
    uint8_t nonce[NEXUS__BASE64_DECODED_MAX(16)];
    size_t nonce_n, raw_n;
    if (!nexus__slice_eq_c(version, "nx1") || nonce_text.n != 16 ||
        !nexus__base64url_decode(nonce_text, nonce, &nonce_n) || nonce_n != NEXUS__AEAD_NONCE)
        return nexus__fail(NEXUS_EINVAL, "not a sealed value");
    if (!has_key(s, kid))
        (void)follow(s); /* another ring over the file may have made it */
    char *raw = nexus__malloc(NULL, NEXUS__BASE64_DECODED_MAX(rest.n) + 1);
    if (!raw)
        return nexus__nomem();
    nexus_status status = NEXUS_OK;
    if (!nexus__base64url_decode(rest, raw, &raw_n))
        status = nexus__fail(NEXUS_ECORRUPT, "a sealed value is not base64url");
    if (status == NEXUS_OK)
        status = open_with(s, kid, nonce, context, nexus__slice(raw, raw_n), (uint8_t *)raw);
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
    bool stale = !nexus__slice_eq_c(nexus__slice_cut(&rest, '.'), s->keys[0].kid);
    pthread_rwlock_unlock(&s->self->lock);
    return stale;
}
