/*
 * Snapshots: DIR/snapshots/XX/HASH-REV, XX the first byte of the hash. A file is written beside its place and renamed
 * onto it; it is not synced, since its CRC tells a whole one from what a crash left, and the events are there anyway.
 * The stream's name stands in the file, so that two names of one hash do not meet.
 */
#include "bus/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "bus/handle.h"

#define WAITING_MAX 64
#define STATE_MAX (256u << 20)

typedef struct head {
    char magic[8];
    uint32_t crc, rev; /* crc: of what follows it */
    int64_t version;
    uint64_t pos, id_hash, state_bytes;
    uint32_t stream_bytes, reserved;
} head;

static const char snapshot_magic[8] = "NXSNAP1";

uint64_t nexus__snapshot_id_hash(const nexus_event *e)
{
    uint64_t source = nexus__siphash((nexus__hash_key){3, 4}, e->source.p, e->source.n);
    return nexus__siphash((nexus__hash_key){source, 5}, e->id.p, e->id.n);
}

static bool in_files(const nexus_bus *bus)
{
    return bus->dir && !bus->engine->open_log;
}

/* --- encoding ---- */

static void encode(nexus__buf *out, const char *stream, uint32_t rev, const nexus__snapshot_mark *mark,
                   nexus_slice state)
{
    head h = {.rev = rev,
              .version = mark->version,
              .pos = mark->pos,
              .id_hash = mark->id_hash,
              .state_bytes = state.n,
              .stream_bytes = (uint32_t)strlen(stream)};
    memcpy(h.magic, snapshot_magic, sizeof h.magic);
    nexus__buf_append(out, &h, sizeof h);
    nexus__buf_append(out, stream, h.stream_bytes);
    nexus__buf_slice_append(out, state);
    if (out->status != NEXUS_OK)
        return;
    h.crc = nexus__crc32c(0, out->p + offsetof(head, rev), out->len - offsetof(head, rev));
    memcpy(out->p + offsetof(head, crc), &h.crc, sizeof h.crc);
}

static nexus_status decode(nexus_snapshot **out, const nexus_alloc *alloc, nexus_slice bytes, const char *stream,
                           uint32_t rev)
{
    head h;
    nexus_slice name = nexus__slice_c(stream);
    if (bytes.n < sizeof h)
        return NEXUS_ECORRUPT;
    memcpy(&h, bytes.p, sizeof h);
    bool whole = memcmp(h.magic, snapshot_magic, sizeof h.magic) == 0 && h.state_bytes <= STATE_MAX &&
                 bytes.n == sizeof h + h.stream_bytes + h.state_bytes &&
                 h.crc == nexus__crc32c(0, bytes.p + offsetof(head, rev), bytes.n - offsetof(head, rev));
    if (!whole || h.rev != rev || !nexus__slice_eq(nexus__slice(bytes.p + sizeof h, h.stream_bytes), name))
        return NEXUS_ECORRUPT;
    nexus_snapshot *s = nexus__malloc(alloc, sizeof *s + h.state_bytes);
    if (!s)
        return nexus__nomem();
    s->alloc = alloc;
    s->mark = (nexus__snapshot_mark){h.version, h.pos, h.id_hash};
    s->n = h.state_bytes;
    memcpy(s->state, bytes.p + sizeof h + h.stream_bytes, s->n);
    *out = s;
    return NEXUS_OK;
}

/* --- files ---- */

enum { PATH_BYTES = 96 };

static uint64_t hash_of(const char *stream)
{
    return nexus__siphash((nexus__hash_key){6, 7}, stream, strlen(stream));
}

static void path_of(char out[static PATH_BYTES], const char *stream, uint32_t rev, const char *ending)
{
    uint64_t hash = hash_of(stream);
    snprintf(out, PATH_BYTES, "snapshots/%02x/%016llx-%u%s", (unsigned)(hash >> 56), (unsigned long long)hash, rev,
             ending);
}

static int dir_of(nexus_bus *bus)
{
    return open(bus->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t wrote = write(fd, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        p += wrote;
        n -= (size_t)wrote;
    }
    return true;
}

static int create(int dir, const char *stream, const char *path)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(dir, path, flags, 0600);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    char folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "snapshots/%02x", (unsigned)(hash_of(stream) >> 56));
    (void)!mkdirat(dir, "snapshots", 0700);
    (void)!mkdirat(dir, folder, 0700);
    return openat(dir, path, flags, 0600);
}

static nexus_status put_file(nexus_bus *bus, const char *stream, uint32_t rev, nexus_slice bytes)
{
    char path[PATH_BYTES], beside[PATH_BYTES], ending[24];
    snprintf(ending, sizeof ending, ".%08x.tmp", (unsigned)nexus__random_u64()); /* two writers do not share one */
    path_of(path, stream, rev, "");
    path_of(beside, stream, rev, ending);
    int dir = dir_of(bus);
    int fd = dir < 0 ? -1 : create(dir, stream, beside);
    bool wrote = fd >= 0 && write_all(fd, bytes.p, bytes.n);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (wrote && renameat(dir, beside, dir, path) != 0) {
        wrote = false;
        error = errno;
    }
    if (!wrote && fd >= 0)
        unlinkat(dir, beside, 0);
    if (dir >= 0)
        close(dir);
    return wrote ? NEXUS_OK : nexus__fail_errno(error, "write the snapshot of %s in %s", stream, bus->dir);
}

static nexus_status get_file(nexus_snapshot **out, nexus_bus *bus, const char *stream, uint32_t rev)
{
    char path[PATH_BYTES];
    struct stat st;
    path_of(path, stream, rev, "");
    int dir = dir_of(bus);
    int fd = dir < 0 ? -1 : openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (dir >= 0)
        close(dir);
    if (fd < 0)
        return NEXUS_ENOTFOUND;
    size_t n =
        fstat(fd, &st) == 0 && st.st_size > 0 && (uint64_t)st.st_size < STATE_MAX + 65536 ? (size_t)st.st_size : 0;
    char *bytes = nexus__malloc(bus->alloc, n + 1);
    size_t have = 0;
    while (bytes && have < n) {
        ssize_t got = read(fd, bytes + have, n - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    close(fd);
    nexus_status status = bytes ? decode(out, bus->alloc, nexus__slice(bytes, have), stream, rev) : nexus__nomem();
    nexus__free(bus->alloc, bytes);
    return status;
}

static nexus_status drop_files(nexus_bus *bus, const char *stream)
{
    char folder[PATH_BYTES], prefix[24];
    uint64_t hash = hash_of(stream);
    int n = snprintf(prefix, sizeof prefix, "%016llx-", (unsigned long long)hash);
    snprintf(folder, sizeof folder, "snapshots/%02x", (unsigned)(hash >> 56));
    int dir = dir_of(bus);
    int fd = dir < 0 ? -1 : openat(dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        close(dir);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list)
        return NEXUS_OK; /* there are none */
    nexus_status status = NEXUS_OK;
    for (struct dirent *e; (e = readdir(list));)
        if (strncmp(e->d_name, prefix, (size_t)n) == 0 && unlinkat(fd, e->d_name, 0) != 0 && errno != ENOENT)
            status = nexus__fail_errno(errno, "remove the snapshot %s of %s", e->d_name, stream);
    closedir(list);
    return status;
}

/* --- memory ---- */

typedef struct kept {
    nexus_slice key;
    size_t n;
    char bytes[]; /* the encoded snapshot, then the key */
} kept;

static size_t key_of(char *out, size_t cap, const char *stream, uint32_t rev)
{
    int n = snprintf(out, cap, "%.*s#%u", (int)(cap - 16), stream, rev);
    return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}

static nexus_status put_memory(nexus_bus *bus, const char *stream, uint32_t rev, nexus_slice bytes)
{
    char key[4096];
    size_t n = key_of(key, sizeof key, stream, rev);
    kept *k = nexus__malloc(bus->alloc, sizeof *k + bytes.n + n), *old = NULL;
    if (!k)
        return nexus__nomem();
    k->n = bytes.n;
    memcpy(k->bytes, bytes.p, bytes.n);
    memcpy(k->bytes + bytes.n, key, n);
    k->key = nexus__slice(k->bytes + bytes.n, n);
    pthread_mutex_lock(&bus->snapshots.lock);
    old = nexus__map_remove(&bus->snapshots.kept, k->key); /* its key is in the old bytes */
    nexus_status status = nexus__map_put(&bus->snapshots.kept, k->key, k, NULL);
    pthread_mutex_unlock(&bus->snapshots.lock);
    nexus__free(bus->alloc, status == NEXUS_OK ? NULL : k);
    nexus__free(bus->alloc, old);
    return status;
}

static nexus_status get_memory(nexus_snapshot **out, nexus_bus *bus, const char *stream, uint32_t rev)
{
    char key[4096];
    nexus_slice name = nexus__slice(key, key_of(key, sizeof key, stream, rev));
    pthread_mutex_lock(&bus->snapshots.lock);
    const kept *k = nexus__map_get(&bus->snapshots.kept, name);
    nexus_status status = k ? decode(out, bus->alloc, nexus__slice(k->bytes, k->n), stream, rev) : NEXUS_ENOTFOUND;
    pthread_mutex_unlock(&bus->snapshots.lock);
    return status;
}

static void drop_memory(nexus_bus *bus, const char *stream)
{
    nexus_slice name = nexus__slice_c(stream);
    pthread_mutex_lock(&bus->snapshots.lock);
    for (bool again = true; again;) {
        size_t cursor = 0;
        again = false;
        for (nexus__map_entry *e; !again && (e = nexus__map_next(&bus->snapshots.kept, &cursor));)
            if (e->key.n > name.n && e->key.p[name.n] == '#' && nexus__slice_starts(e->key, name)) {
                nexus__free(bus->alloc, nexus__map_remove(&bus->snapshots.kept, e->key));
                again = true; /* the map has changed */
            }
    }
    pthread_mutex_unlock(&bus->snapshots.lock);
}

/* --- writing ---- */

nexus_status nexus__snapshot_write(nexus_bus *bus, const char *stream, uint32_t rev, const nexus__snapshot_mark *mark,
                                   nexus_slice state)
{
    nexus__buf bytes;
    if (!stream || !*stream || strlen(stream) > 4000 || state.n > STATE_MAX || mark->version < 0)
        return nexus__fail(NEXUS_EINVAL, "snapshot: a stream of 1 to 4000 bytes, a version from 0, at most 256 MiB");
    nexus__buf_init(&bytes, bus->alloc, 0);
    encode(&bytes, stream, rev, mark, state);
    nexus_status status = bytes.status;
    if (status == NEXUS_OK)
        status = in_files(bus) ? put_file(bus, stream, rev, nexus__buf_slice(&bytes))
                               : put_memory(bus, stream, rev, nexus__buf_slice(&bytes));
    nexus__buf_free(&bytes);
    return status;
}

struct nexus__snapshot_job {
    nexus__snapshot_job *next;
    uint32_t rev;
    nexus__snapshot_mark mark;
    char *stream;
    size_t n;
    char state[];
};

static void *write_main(void *arg)
{
    nexus_bus *bus = arg;
    nexus__snapshots *s = &bus->snapshots;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first && !s->closing)
            pthread_cond_wait(&s->work, &s->lock);
        nexus__snapshot_job *job = s->first;
        if (!job)
            break;
        s->first = job->next;
        if (!s->first)
            s->last = &s->first;
        s->waiting--;
        pthread_mutex_unlock(&s->lock);
        (void)!nexus__snapshot_write(bus, job->stream, job->rev, &job->mark, nexus__slice(job->state, job->n));
        nexus__free(bus->alloc, job->stream);
        nexus__free(bus->alloc, job);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool enqueue(nexus_bus *bus, nexus__snapshot_job *job)
{
    nexus__snapshots *s = &bus->snapshots;
    pthread_mutex_lock(&s->lock);
    if (!s->started && !s->closing)
        s->started = nexus__thread_start(&s->thread, "nexus-snapshot", write_main, bus) == NEXUS_OK;
    bool taken = s->started && !s->closing && s->waiting < WAITING_MAX;
    if (taken) {
        *s->last = job;
        s->last = &job->next;
        s->waiting++;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

bool nexus__snapshot_write_later(nexus_bus *bus, const char *stream, uint32_t rev, const nexus__snapshot_mark *mark,
                                 nexus_slice state)
{
    nexus__snapshot_job *job = nexus__malloc(bus->alloc, sizeof *job + state.n);
    if (!job)
        return false;
    *job = (nexus__snapshot_job){.rev = rev, .mark = *mark, .n = state.n};
    job->stream = nexus__strndup(bus->alloc, nexus__slice_c(stream));
    if (state.n)
        memcpy(job->state, state.p, state.n);
    if (job->stream && enqueue(bus, job))
        return true;
    nexus__free(bus->alloc, job->stream);
    nexus__free(bus->alloc, job);
    return false;
}

void nexus__snapshots_init(nexus__snapshots *s, const nexus_alloc *alloc)
{
    pthread_mutex_init(&s->lock, NULL);
    nexus__cond_init(&s->work);
    nexus__map_init(&s->kept, alloc);
    s->last = &s->first;
}

void nexus__snapshots_end(nexus_bus *bus)
{
    nexus__snapshots *s = &bus->snapshots;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&s->kept, &cursor));)
        nexus__free(bus->alloc, e->value);
    nexus__map_free(&s->kept);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
}

/* --- the calls ---- */

nexus_status nexus_snapshot_put(nexus_bus *bus, const char *stream, int64_t version, uint32_t rev, nexus_slice state)
{
    return nexus__snapshot_write(bus, stream, rev, &(nexus__snapshot_mark){.version = version}, state);
}

nexus_status nexus_snapshot_get(nexus_snapshot **out, nexus_bus *bus, const char *stream, uint32_t rev)
{
    nexus_status status = in_files(bus) ? get_file(out, bus, stream, rev) : get_memory(out, bus, stream, rev);
    if (status == NEXUS_OK || status == NEXUS_ENOMEM)
        return status;
    return nexus__fail(NEXUS_ENOTFOUND, "there is no whole snapshot of %s, revision %u", stream, rev);
}

int64_t nexus_snapshot_version(const nexus_snapshot *s)
{
    return s->mark.version;
}

void nexus_snapshot_state(const nexus_snapshot *s, nexus_slice *out)
{
    *out = nexus__slice(s->state, s->n);
}

void nexus_snapshot_free(nexus_snapshot *s)
{
    if (s)
        nexus__free(s->alloc, s);
}

nexus_status nexus_snapshot_drop(nexus_bus *bus, const char *stream)
{
    if (in_files(bus))
        return drop_files(bus, stream);
    drop_memory(bus, stream);
    return NEXUS_OK;
}
