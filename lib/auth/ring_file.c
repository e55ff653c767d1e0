/*
 * The key file: a line for each key. "<kid> <key>" is a wrapping key, "data <kid> <tenant> <operations> <made> <wrapped>" a
 * data key; key and tenant in base64url, "-" for no tenant. Who changes it takes the lock of its directory, so that of two
 * that change it at once none loses a key.
 */
#include "auth/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "crypto/wipe.h"

enum { FILE_MAX = NEXUS__RING_KEYS_MAX * (NEXUS__WRAPPED_MAX + 256) };

/* --- reading --------------------------------------------------------------------------------------------------------- */

static nexus_status parse_wrapping(nexus_secrets *s, nexus_slice kid, nexus_slice text)
{
    uint8_t bytes[NEXUS__BASE64_DECODED_MAX(64)];
    size_t n = 0;
    nexus__ring_key *key;
    if (text.n != 43 || !nexus__base64url_decode(text, bytes, &n) || n != NEXUS__AEAD_KEY)
        return nexus__fail(NEXUS_EINVAL, "%s: a line is \"<kid> <43 characters of base64url>\", or begins with \"data\"",
                           s->path);
    nexus_status status = nexus__ring_insert(s, s->count, &key);
    if (status == NEXUS_OK) {
        key->wraps = key->in_file = true;
        status = nexus__ring_key_set(key, bytes);
    }
    nexus__wipe(bytes, sizeof bytes);
    if (status == NEXUS_OK && !nexus__slice_eq_c(kid, key->kid))
        return nexus__fail(NEXUS_EINVAL, "%s: the kid does not belong to its key", s->path);
    return status;
}

static bool parse_tenant(nexus_slice text, char out[static NEXUS__TENANT_MAX + 1])
{
    uint8_t bytes[NEXUS__BASE64_DECODED_MAX(96)];
    size_t n = 0;
    out[0] = 0;
    if (nexus__slice_eq_c(text, "-"))
        return true;
    if (text.n > 96 || !nexus__base64url_decode(text, bytes, &n) || n == 0 || !nexus__is_tenant(nexus__slice(bytes, n)))
        return false;
    memcpy(out, bytes, n);
    out[n] = 0;
    return true;
}

/* The bytes that another ring has got out of the same wrapping. */
static bool is_known(const nexus_secrets *known, const nexus__ring_key *key, nexus_slice wrapped,
                     uint8_t bytes[static NEXUS__AEAD_KEY])
{
    if (!known)
        return false;
    pthread_rwlock_rdlock(&known->self->lock);
    const nexus__ring_key *same = nexus__ring_find(known, nexus__slice_c(key->kid));
    bool found = same && !same->wraps && nexus__slice_eq_c(wrapped, same->wrapped);
    if (found)
        memcpy(bytes, same->bytes, NEXUS__AEAD_KEY);
    pthread_rwlock_unlock(&known->self->lock);
    return found;
}

static nexus_status unwrap(nexus_secrets *s, nexus__ring_key *key, nexus_slice wrapped, const nexus_secrets *known)
{
    uint8_t bytes[NEXUS__AEAD_KEY];
    char kid[NEXUS__KID_TEXT];
    memcpy(kid, key->kid, sizeof kid);
    key->wrapped = nexus__strndup(s->alloc, wrapped);
    if (!key->wrapped)
        return nexus__nomem();
    nexus_status status = is_known(known, key, wrapped, bytes) ? NEXUS_OK : nexus__kek_unwrap(s, key, wrapped, bytes);
    if (status == NEXUS_OK)
        status = nexus__ring_key_set(key, bytes);
    nexus__wipe(bytes, sizeof bytes);
    if (status == NEXUS_OK && strcmp(kid, key->kid) != 0)
        return nexus__fail(NEXUS_EINVAL, "%s: the kid does not belong to its key", s->path);
    return status;
}

static nexus_status parse_data(nexus_secrets *s, nexus_slice rest)
{
    nexus__ring_key *key;
    nexus_slice kid = nexus__slice_cut(&rest, ' '), tenant = nexus__slice_cut(&rest, ' ');
    nexus_slice operations = nexus__slice_cut(&rest, ' '), made = nexus__slice_cut(&rest, ' ');
    nexus_status status = nexus__ring_insert(s, s->count, &key);
    if (status != NEXUS_OK)
        return status;
    if (kid.n != NEXUS__KID_TEXT - 1 || !parse_tenant(tenant, key->tenant) ||
        !nexus__parse_u64(operations, &key->operations) || !nexus__parse_i64(made, &key->made_s) || rest.n == 0 ||
        rest.n > NEXUS__WRAPPED_MAX)
        return nexus__fail(NEXUS_EINVAL, "%s: a line of a data key is \"data <kid> <tenant> <operations> <made> <wrapped>\"",
                           s->path);
    memcpy(key->kid, kid.p, kid.n);
    key->kid[kid.n] = 0;
    key->wrapped = nexus__strndup(s->alloc, rest);
    return key->wrapped ? NEXUS_OK : nexus__nomem();
}

/* Wrapping keys may stand behind what they wrap: data keys are unwrapped when all lines are read. */
static nexus_status unwrap_all(nexus_secrets *s, const nexus_secrets *known)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < s->count && status == NEXUS_OK; i++) {
        char *wrapped = s->keys[i].wrapped;
        if (s->keys[i].wraps)
            continue;
        s->keys[i].wrapped = NULL;
        status = unwrap(s, &s->keys[i], nexus__slice_c(wrapped), known);
        nexus__free(s->alloc, wrapped);
    }
    return status;
}

static nexus_status parse(nexus_secrets *s, nexus_slice rest, const nexus_secrets *known)
{
    nexus_status status = NEXUS_OK;
    while (rest.n && status == NEXUS_OK) {
        nexus_slice line = nexus__slice_trim(nexus__slice_cut(&rest, '\n'));
        if (line.n == 0)
            continue;
        nexus_slice first = nexus__slice_cut(&line, ' ');
        status = nexus__slice_eq_c(first, "data") ? parse_data(s, line) : parse_wrapping(s, first, line);
    }
    if (status == NEXUS_OK && s->count == 0)
        return nexus__fail(NEXUS_EINVAL, "%s holds no key", s->path);
    return status == NEXUS_OK ? unwrap_all(s, known) : status;
}

static nexus_status read_all(int fd, nexus__buf *out)
{
    for (;;) {
        char *space = nexus__buf_reserve(out, 4096);
        ssize_t n = space ? read(fd, space, 4096) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return nexus__fail_errno(errno, "the key file cannot be read");
        if (n == 0)
            return out->status;
        out->len += (size_t)n;
    }
}

nexus_status nexus__ring_load(nexus_secrets *s, const nexus_secrets *known)
{
    nexus__buf text;
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return nexus__fail_errno(errno, "%s", s->path);
    nexus__buf_init(&text, NULL, FILE_MAX);
    nexus_status status = fstat(fd, &s->read) == 0 ? NEXUS_OK : nexus__fail_errno(errno, "%s", s->path);
    if (status == NEXUS_OK && (s->read.st_mode & 077))
        status = nexus__fail(NEXUS_EPERM, "%s can be read by others: chmod 600 it", s->path);
    if (status == NEXUS_OK)
        status = read_all(fd, &text);
    close(fd);
    if (status == NEXUS_OK)
        status = parse(s, nexus__buf_slice(&text), known);
    if (text.p)
        nexus__wipe(text.p, text.cap);
    nexus__buf_free(&text);
    return status;
}

/* --- writing --------------------------------------------------------------------------------------------------------- */

static void put_key(nexus__buf *out, const nexus__ring_key *key)
{
    if (key->wraps) {
        nexus__buf_printf(out, "%s ", key->kid);
        nexus__base64url_append(out, key->bytes, NEXUS__AEAD_KEY);
    } else {
        nexus__buf_printf(out, "data %s ", key->kid);
        if (*key->tenant)
            nexus__base64url_append(out, key->tenant, strlen(key->tenant));
        else
            nexus__buf_char(out, '-');
        nexus__buf_printf(out, " %llu %lld %s", (unsigned long long)key->operations, (long long)key->made_s, key->wrapped);
    }
    nexus__buf_char(out, '\n');
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

nexus_status nexus__ring_file_lock(const char *path, int *out)
{
    int fd = open_directory(path);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        nexus_status failed = nexus__fail_errno(errno, "the directory of %s", path);
        if (fd >= 0)
            close(fd);
        return failed;
    }
    *out = fd;
    return NEXUS_OK;
}

static nexus_status sync_directory(const char *path)
{
    int fd = open_directory(path);
    bool fine = fd >= 0 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return fine ? NEXUS_OK : nexus__fail_errno(error, "the directory of %s", path);
}

/* Beside the file first; rename() replaces it whole. */
static nexus_status replace(nexus_secrets *s, nexus_slice text)
{
    char temporary[4096 + 32];
    snprintf(temporary, sizeof temporary, "%s.%016llx", s->path, (unsigned long long)nexus__random_u64());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    nexus_status status = fd >= 0 ? write_all(fd, text) : nexus__fail_errno(errno, "%s", temporary);
    if (fd >= 0 && close(fd) != 0 && status == NEXUS_OK)
        status = nexus__fail_errno(errno, "%s", temporary);
    if (status == NEXUS_OK && rename(temporary, s->path) != 0)
        status = nexus__fail_errno(errno, "%s", s->path);
    if (status != NEXUS_OK && fd >= 0)
        unlink(temporary);
    if (status == NEXUS_OK)
        status = sync_directory(s->path);
    return status == NEXUS_OK && stat(s->path, &s->read) != 0 ? nexus__fail_errno(errno, "%s", s->path) : status;
}

nexus_status nexus__ring_store(nexus_secrets *s)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    for (size_t i = 0; i < s->count; i++)
        if (!s->keys[i].wraps || s->keys[i].in_file)
            put_key(&text, &s->keys[i]);
    nexus_status status = text.status == NEXUS_OK ? replace(s, nexus__buf_slice(&text)) : nexus__nomem();
    if (text.p)
        nexus__wipe(text.p, text.cap);
    nexus__buf_free(&text);
    return status;
}
