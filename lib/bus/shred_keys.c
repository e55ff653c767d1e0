/*
 * The key files: DIR/shred/XX.keys, XX the first byte of the subject's hash; subjects stand in it as hashes. A file is written
 * beside its place, synced and renamed onto it, and the bytes of the one before are overwritten, so that a deleted key is gone
 * from the disk as far as the file system tells the truth. DIR/shred/lock orders writers of all processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "bus/shred.h"
#include "bus/shred_keys.h"
#include "crypto/hash.h"
#include "crypto/wipe.h"

enum { PATH_BYTES = 4200, TRIES = 8 };

typedef struct file_head {
    char magic[8];
    uint32_t count, crc; /* of the keys */
} file_head;

static const char keys_magic[8] = "NXSHRED";

void nexus__shred_forget(nexus__shred *s, unsigned shard)
{
    nexus__shred_shard *x = &s->shards[shard];
    if (x->keys)
        nexus__wipe(x->keys, x->count * sizeof *x->keys);
    nexus__free(s->alloc, x->keys);
    *x = (nexus__shred_shard){0};
}

static void path_of(const nexus__shred *s, unsigned shard, const char *ending, char out[static PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/shred/%02x.%s", s->dir, shard, ending);
}

static bool read_all(int fd, void *out, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = pread(fd, (char *)out + have, n - have, (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

/* The keys of a file; NEXUS_ECORRUPT also when a writer has just overwritten it: then another one has its name. */
static nexus_status read_file(nexus__shred *s, int fd, const struct stat *st, nexus__shred_shard *x)
{
    file_head head;
    char *bytes = nexus__malloc(s->alloc, (size_t)st->st_size + 1);
    if (!bytes)
        return nexus__nomem();
    size_t n = (size_t)st->st_size;
    bool whole = n >= sizeof head && read_all(fd, bytes, n);
    if (whole)
        memcpy(&head, bytes, sizeof head);
    whole = whole && memcmp(head.magic, keys_magic, sizeof head.magic) == 0 &&
            n == sizeof head + head.count * sizeof *x->keys && head.crc == nexus__crc32c(0, bytes + sizeof head, n - sizeof head);
    nexus__shred_key *keys = whole ? nexus__malloc(s->alloc, head.count * sizeof *keys + 1) : NULL;
    if (keys) {
        memcpy(keys, bytes + sizeof head, head.count * sizeof *keys);
        *x = (nexus__shred_shard){keys, head.count, st->st_ino, n,
                                  st->st_mtim.tv_sec * NEXUS__NS_PER_S + st->st_mtim.tv_nsec};
    }
    nexus__wipe(bytes, n);
    nexus__free(s->alloc, bytes);
    return keys    ? NEXUS_OK
           : whole ? nexus__nomem()
                   : nexus__fail(NEXUS_ECORRUPT, "a key file in %s/shred fails its check", s->dir);
}

static bool is_same(const nexus__shred_shard *x, const struct stat *st)
{
    return x->keys && x->inode == st->st_ino && x->bytes == (uint64_t)st->st_size &&
           x->changed_ns == st->st_mtim.tv_sec * NEXUS__NS_PER_S + st->st_mtim.tv_nsec;
}

static nexus_status load_once(nexus__shred *s, unsigned shard, const char *path)
{
    struct stat st;
    nexus__shred_shard *x = &s->shards[shard];
    if (stat(path, &st) != 0) {
        nexus__shred_forget(s, shard);
        return errno == ENOENT ? NEXUS_OK : nexus__fail_errno(errno, "look for %s", path);
    }
    if (is_same(x, &st))
        return NEXUS_OK;
    nexus__shred_forget(s, shard);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        nexus_status status = nexus__fail_errno(errno, "open %s", path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    nexus_status status = read_file(s, fd, &st, x);
    close(fd);
    return status;
}

nexus_status nexus__shred_load(nexus__shred *s, unsigned shard)
{
    char path[PATH_BYTES];
    path_of(s, shard, "keys", path);
    nexus_status status = NEXUS_OK;
    for (int i = 0; i < TRIES; i++)
        if ((status = load_once(s, shard, path)) != NEXUS_ECORRUPT && status != NEXUS_ENOTFOUND)
            break;
    return status;
}

/* --- writing ---- */

static nexus_status write_file(const char *path, const nexus__buf *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return nexus__fail_errno(errno, "write %s", path);
    size_t done = 0;
    while (done < bytes->len) {
        ssize_t n = write(fd, bytes->p + done, bytes->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    bool good = done == bytes->len && fdatasync(fd) == 0;
    nexus_status status = good ? NEXUS_OK : nexus__fail_errno(errno, "write %s", path);
    close(fd);
    return status;
}

static void overwrite(int fd)
{
    static const char zeros[4096];
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return;
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof zeros)
        if (pwrite(fd, zeros, (size_t)(st.st_size - at < (off_t)sizeof zeros ? st.st_size - at : (off_t)sizeof zeros), at) < 0)
            break;
    (void)!fdatasync(fd);
}

static nexus_status sync_dir(const nexus__shred *s)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/shred", s->dir);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    nexus_status status = good ? NEXUS_OK : nexus__fail_errno(errno, "sync %s", path);
    if (fd >= 0)
        close(fd);
    return status;
}

/* The keys of the shard as they are in memory become the file. */
static nexus_status store(nexus__shred *s, unsigned shard)
{
    const nexus__shred_shard *x = &s->shards[shard];
    char path[PATH_BYTES], beside[PATH_BYTES];
    file_head head = {.count = (uint32_t)x->count, .crc = nexus__crc32c(0, x->keys, x->count * sizeof *x->keys)};
    memcpy(head.magic, keys_magic, sizeof head.magic);
    nexus__buf bytes;
    nexus__buf_init(&bytes, s->alloc, 0);
    nexus__buf_append(&bytes, &head, sizeof head);
    nexus__buf_append(&bytes, x->keys, x->count * sizeof *x->keys);
    path_of(s, shard, "keys", path);
    path_of(s, shard, "tmp", beside);
    nexus_status status = bytes.status == NEXUS_OK ? write_file(beside, &bytes) : nexus__nomem();
    if (bytes.p)
        nexus__wipe(bytes.p, bytes.len);
    nexus__buf_free(&bytes);
    int before = open(path, O_WRONLY | O_CLOEXEC);
    if (status == NEXUS_OK && rename(beside, path) != 0)
        status = nexus__fail_errno(errno, "rename %s", path);
    if (status == NEXUS_OK)
        status = sync_dir(s);
    if (status == NEXUS_OK)
        overwrite(before);
    if (before >= 0)
        close(before);
    return status;
}

static nexus_status lock_files(const nexus__shred *s, int *fd)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/shred", s->dir);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return nexus__fail_errno(errno, "make %s", path);
    snprintf(path, sizeof path, "%s/shred/lock", s->dir);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        return nexus__fail_errno(errno, "open %s", path);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    while (fcntl(*fd, F_OFD_SETLKW, &whole) != 0)
        if (errno != EINTR) {
            nexus_status status = nexus__fail_errno(errno, "lock %s", path);
            close(*fd);
            return status;
        }
    return NEXUS_OK;
}

/* --- keys ---- */

const nexus__shred_key *nexus__shred_by_id(const nexus__shred *s, const uint8_t id[static SHRED_ID])
{
    const nexus__shred_shard *x = &s->shards[id[0]];
    for (size_t i = 0; i < x->count; i++)
        if (memcmp(x->keys[i].id, id, SHRED_ID) == 0)
            return &x->keys[i];
    return NULL;
}

static nexus__shred_key *by_subject(nexus__shred_shard *x, const uint8_t subject[static SHRED_HASH])
{
    for (size_t i = 0; i < x->count; i++)
        if (memcmp(x->keys[i].subject, subject, SHRED_HASH) == 0)
            return &x->keys[i];
    return NULL;
}

static nexus_status add_key(nexus__shred *s, const uint8_t hash[static SHRED_HASH])
{
    nexus__shred_shard *x = &s->shards[hash[0]];
    nexus__shred_key *grown = nexus__malloc(s->alloc, (x->count + 1) * sizeof *grown);
    if (!grown)
        return nexus__nomem();
    if (x->count)
        memcpy(grown, x->keys, x->count * sizeof *grown);
    nexus__shred_key *made = &grown[x->count];
    nexus__random(made, sizeof *made);
    made->id[0] = hash[0];
    memcpy(made->subject, hash, SHRED_HASH);
    size_t count = x->count + 1;
    nexus__shred_forget(s, hash[0]);
    x->keys = grown;
    x->count = count;
    return store(s, hash[0]);
}

nexus_status nexus__shred_key_of(nexus__shred *s, nexus_slice subject, const nexus__shred_key **out)
{
    uint8_t hash[SHRED_HASH];
    nexus_status status = nexus__hash(NEXUS__SHA256, subject, hash);
    if (status == NEXUS_OK)
        status = nexus__shred_load(s, hash[0]);
    if (status != NEXUS_OK || (*out = by_subject(&s->shards[hash[0]], hash)))
        return status;
    int fd;
    status = lock_files(s, &fd);
    if (status != NEXUS_OK)
        return status;
    status = nexus__shred_load(s, hash[0]); /* another process may have made it */
    if (status == NEXUS_OK && !by_subject(&s->shards[hash[0]], hash))
        status = add_key(s, hash);
    if (status == NEXUS_OK)
        *out = by_subject(&s->shards[hash[0]], hash);
    else
        nexus__shred_forget(s, hash[0]); /* what is not on the disk must seal nothing */
    close(fd);
    return status;
}

nexus_status nexus__shred_delete(nexus__shred *s, nexus_slice subject)
{
    uint8_t hash[SHRED_HASH];
    int fd;
    nexus_status status = nexus__hash(NEXUS__SHA256, subject, hash);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&s->lock); /* before that of the files, as in sealing */
    status = lock_files(s, &fd);
    if (status != NEXUS_OK) {
        pthread_mutex_unlock(&s->lock);
        return status;
    }
    status = nexus__shred_load(s, hash[0]);
    nexus__shred_shard *x = &s->shards[hash[0]];
    nexus__shred_key *k = status == NEXUS_OK ? by_subject(x, hash) : NULL;
    if (k) {
        *k = x->keys[x->count - 1];
        nexus__wipe(&x->keys[--x->count], sizeof *k);
        status = store(s, hash[0]);
    } else if (status == NEXUS_OK) {
        status = nexus__fail(NEXUS_ENOTFOUND, "there is no key of the subject \"%.*s\"",
                             (int)(subject.n < 100 ? subject.n : 100), subject.p);
    }
    nexus__shred_forget(s, hash[0]); /* read anew: the file has changed */
    close(fd);
    pthread_mutex_unlock(&s->lock);
    return status;
}
