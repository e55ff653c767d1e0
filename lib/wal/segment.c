/* Files of the log: made ahead, filled with zeros, used, recycled. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "wal/internal.h"

#define FIRST_SEGMENT_MAX (4u << 20)
#define PREPARED_NAME "next.tmp"
#define AHEAD_NAME "ahead.tmp"

segment *nexus__wal_segment_ref(segment *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void nexus__wal_segment_unref(segment *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    close(s->fd);
    nexus__wal_index_unref(s->index);
    nexus__free(s->alloc, s->marks);
    nexus__free(s->alloc, s);
}

segment *nexus__wal_segment_after(const nexus__wal *wal, const segment *s)
{
    segment *next = wal->first;
    while (next && next->generation <= s->generation)
        next = next->next;
    return next;
}

nexus_status nexus__wal_segment_new(nexus__wal *wal, int fd, const nexus__wal_segment_head *head, uint64_t size,
                                    const char *name, segment **out)
{
    segment *s = nexus__calloc(wal->alloc, 1, sizeof *s);
    if (!s) {
        close(fd);
        return nexus__nomem();
    }
    s->alloc = wal->alloc;
    atomic_init(&s->refs, 1);
    s->fd = fd;
    s->generation = head->generation;
    s->first_seq = head->first_seq;
    s->first_pos = head->first_pos;
    s->created_ns = head->created_ns;
    s->size = size;
    snprintf(s->name, sizeof s->name, "%s", name);
    *out = s;
    return NEXUS_OK;
}

nexus_status nexus__wal_segment_open(nexus__wal *wal, const char *name, segment **out)
{
    int fd = nexus__wal_io_open(wal, name, nexus__wal_write_flags(wal));
    if (fd < 0 && (errno == EROFS || errno == EACCES))
        fd = nexus__wal_io_open(wal, name, O_RDONLY);
    if (fd < 0)
        return nexus__fail_errno(errno, "open %s/%s", wal->dir, name);
    struct stat st;
    nexus__wal_segment_head head;
    if (fstat(fd, &st) != 0 || pread(fd, &head, sizeof head, 0) != sizeof head || !nexus__wal_segment_ok(&head)) {
        close(fd);
        return nexus__fail(NEXUS_ECORRUPT, "%s/%s has no valid header", wal->dir, name);
    }
    if (head.version != NEXUS__WAL_VERSION) {
        close(fd);
        return nexus__fail(NEXUS_EREV, "%s/%s has format %u, this build knows %u", wal->dir, name, head.version,
                           NEXUS__WAL_VERSION);
    }
    memcpy(wal->uuid, head.uuid, sizeof wal->uuid);
    return nexus__wal_segment_new(wal, fd, &head, (uint64_t)st.st_size, name, out);
}

void nexus__wal_mark(segment *s, uint64_t pos, uint64_t at)
{
    if (s->mark_count && at - s->marks[s->mark_count - 1].at < 65536)
        return;
    if (s->mark_count == s->mark_cap) {
        size_t cap = s->mark_cap ? s->mark_cap * 2 : 16;
        segment_mark *grown = nexus__realloc(s->alloc, s->marks, cap * sizeof *grown);
        if (!grown)
            return; /* readers start earlier, no more */
        s->marks = grown;
        s->mark_cap = cap;
    }
    s->marks[s->mark_count++] = (segment_mark){pos, at};
}

/* --- making files ---- */

enum { FILL_BYTES = 512 << 10 }; /* of zeros at a time that a write of the log may have to wait for */

static nexus_status fill_zeros(nexus__wal *wal, int fd, uint64_t size)
{
    static const char zeros[1 << 16];
    struct stat st;
    if (!wal->dir)
        return ftruncate(fd, (off_t)size) == 0 ? NEXUS_OK : nexus__fail_errno(errno, "grow the log in memory");
    if (fstat(fd, &st) != 0)
        return nexus__fail_errno(errno, "stat a file of the log");
    for (uint64_t at = (uint64_t)st.st_size & ~(uint64_t)(sizeof zeros - 1); at < size; at += sizeof zeros) {
        nexus_status status = nexus__wal_io_write(wal, fd, zeros, sizeof zeros, at);
        if (status != NEXUS_OK)
            return status;
        uint64_t end = at + sizeof zeros;
        if (end % FILL_BYTES == 0)
            nexus__wal_io_drain(wal, fd, end - FILL_BYTES, FILL_BYTES);
    }
    return nexus__wal_io_sync(wal, fd);
}

/* A file of the pool when there is one (its old bytes carry an old generation), else a new one. */
static int take_pooled(nexus__wal *wal)
{
    char name[SEGMENT_NAME_MAX] = "";
    pthread_mutex_lock(&wal->lock);
    if (wal->pool_count)
        memcpy(name, wal->pool[--wal->pool_count], sizeof name);
    pthread_mutex_unlock(&wal->lock);
    if (name[0])
        renameat(wal->dir_fd, name, wal->dir_fd, PREPARED_NAME);
    return nexus__wal_io_open(wal, PREPARED_NAME, O_RDWR | O_CREAT);
}

static nexus_status make_file(nexus__wal *wal, uint64_t size, int *out)
{
    int fd = take_pooled(wal);
    if (fd < 0)
        return nexus__fail_errno(errno, "make a file of the log in %s", wal->dir ? wal->dir : "memory");
    nexus_status status = fill_zeros(wal, fd, size);
    if (status == NEXUS_OK) {
        *out = fd;
        return NEXUS_OK;
    }
    close(fd);
    if (wal->dir)
        unlinkat(wal->dir_fd, PREPARED_NAME, 0);
    return status;
}

/* One more file of zeros for the pool. */
static void make_pooled(nexus__wal *wal)
{
    char name[SEGMENT_NAME_MAX], (*grown)[SEGMENT_NAME_MAX] = NULL;
    uint64_t unique; /* dropped files have their generation there */
    nexus__random(&unique, sizeof unique);
    snprintf(name, sizeof name, "free-%016llx.log", (unsigned long long)unique);
    int fd = nexus__wal_io_open(wal, AHEAD_NAME, O_RDWR | O_CREAT);
    bool made = fd >= 0 && fill_zeros(wal, fd, wal->segment_bytes) == NEXUS_OK;
    if (fd >= 0)
        close(fd);
    made = made && renameat(wal->dir_fd, AHEAD_NAME, wal->dir_fd, name) == 0;
    pthread_mutex_lock(&wal->lock);
    if (made)
        grown = nexus__realloc(wal->alloc, wal->pool, (wal->pool_count + 1) * sizeof *grown);
    if (grown) {
        wal->pool = grown;
        memcpy(wal->pool[wal->pool_count++], name, sizeof name);
    } else {
        wal->ahead = 0; /* no room on the disk, say: the next file is made when it is needed, and says so */
    }
    pthread_mutex_unlock(&wal->lock);
}

/* Waits for a tenth of a second; whether nothing was written in it. Filling files beside a burst would slow both. */
static bool is_quiet(nexus__wal *wal)
{
    uint64_t before = atomic_load(&wal->durable);
    nexus__cond_wait_until(&wal->prepare, &wal->lock, nexus__mono_ns() + NEXUS__NS_PER_S / 10);
    return !wal->closing && !wal->prepared.wanted && !wal->head && atomic_load(&wal->durable) == before;
}

/* The next file is made while the present one fills, so that no publish waits for 64 MiB of zeros. */
void *nexus__wal_prepare_main(void *arg)
{
    nexus__wal *wal = arg;
    pthread_mutex_lock(&wal->lock);
    for (;;) {
        while (!wal->prepared.wanted && wal->pool_count >= wal->ahead && !wal->closing)
            pthread_cond_wait(&wal->prepare, &wal->lock);
        if (wal->closing)
            break;
        if (!wal->prepared.wanted) {
            if (!is_quiet(wal))
                continue;
            pthread_mutex_unlock(&wal->lock);
            make_pooled(wal);
            pthread_mutex_lock(&wal->lock);
            continue;
        }
        wal->prepared.busy = true;
        pthread_mutex_unlock(&wal->lock);
        int fd = -1;
        nexus_status status = make_file(wal, wal->segment_bytes, &fd);
        pthread_mutex_lock(&wal->lock);
        wal->prepared.busy = wal->prepared.wanted = false;
        if (status == NEXUS_OK) {
            wal->prepared.fd = fd;
            wal->prepared.size = wal->segment_bytes;
        }
        pthread_cond_broadcast(&wal->prepare);
    }
    pthread_mutex_unlock(&wal->lock);
    return NULL;
}

static bool take_prepared(nexus__wal *wal, uint64_t size, int *fd, uint64_t *got)
{
    pthread_mutex_lock(&wal->lock);
    while (wal->prepared.busy)
        pthread_cond_wait(&wal->prepare, &wal->lock);
    wal->prepared.wanted = false;
    pthread_cond_broadcast(&wal->prepare); /* whoever waits for it to be made waits no more */
    bool fits = wal->prepared.fd >= 0 && wal->prepared.size >= size;
    if (fits) {
        *fd = wal->prepared.fd;
        *got = wal->prepared.size;
    } else if (wal->prepared.fd >= 0) {
        close(wal->prepared.fd); /* make_file finds it by its name and grows it */
    }
    wal->prepared.fd = -1;
    pthread_mutex_unlock(&wal->lock);
    return fits;
}

static uint64_t wanted_size(const nexus__wal *wal, uint64_t need)
{
    uint64_t size = wal->segment_bytes;
    if (!wal->active && size > FIRST_SEGMENT_MAX)
        size = FIRST_SEGMENT_MAX;
    if (size < SEGMENT_HEAD_BYTES + need)
        size = (SEGMENT_HEAD_BYTES + need + 0xffff) & ~(uint64_t)0xffff;
    return size;
}

static nexus_status put_header(nexus__wal *wal, int fd, nexus__wal_segment_head *head, char *name)
{
    memcpy(head->uuid, wal->uuid, sizeof head->uuid);
    nexus__wal_segment_seal(head);
    char page[SEGMENT_HEAD_BYTES] = {0};
    memcpy(page, head, sizeof *head);
    nexus_status status = nexus__wal_io_write(wal, fd, page, sizeof page, 0);
    if (status == NEXUS_OK)
        status = nexus__wal_io_sync(wal, fd);
    if (status != NEXUS_OK || !wal->dir)
        return status;
    if (renameat(wal->dir_fd, PREPARED_NAME, wal->dir_fd, name) != 0)
        return nexus__fail_errno(errno, "rename a new file of the log to %s", name);
    return nexus__wal_io_sync_dir(wal);
}

/* The file becomes visible under its name only with a durable header; then it is opened for durable writes. */
static nexus_status adopt(nexus__wal *wal, int fd, uint64_t size, segment **out)
{
    pthread_mutex_lock(&wal->lock);
    uint64_t first_pos = atomic_load(&wal->durable) + 1;
    int64_t now = nexus__clock_real(wal->clock);
    now = now > wal->last_recv_ns ? now
                                  : wal->last_recv_ns; /* so that a restart does not go back behind what is stored */
    pthread_mutex_unlock(&wal->lock);
    nexus__wal_segment_head head = {
        .generation = wal->next_generation, .first_seq = wal->next_seq, .first_pos = first_pos, .created_ns = now};
    char name[SEGMENT_NAME_MAX];
    snprintf(name, sizeof name, "seg-%016llx-%08llx.log", (unsigned long long)head.first_pos,
             (unsigned long long)head.generation);
    nexus_status status = put_header(wal, fd, &head, name);
    if (status == NEXUS_OK && wal->dir) {
        int durable = nexus__wal_io_open(wal, name, nexus__wal_write_flags(wal));
        if (durable < 0) {
            status = nexus__fail_errno(errno, "open %s/%s", wal->dir, name);
        } else {
            close(fd);
            fd = durable;
        }
    }
    if (status != NEXUS_OK) {
        close(fd);
        return status;
    }
    return nexus__wal_segment_new(wal, fd, &head, size, name, out);
}

nexus_status nexus__wal_roll(nexus__wal *wal, uint64_t need)
{
    uint64_t size = wanted_size(wal, need), got = size;
    int fd = -1;
    nexus_status status = nexus__wal_sync(wal);
    if (status != NEXUS_OK) {
        nexus__wal_poison(wal, nexus_error_message());
        return nexus__fail(NEXUS_EROFS, "%s", nexus_error_message());
    }
    if (!take_prepared(wal, size, &fd, &got))
        status = make_file(wal, size, &fd);
    segment *s = NULL;
    if (status == NEXUS_OK)
        status = adopt(wal, fd, got, &s);
    if (status != NEXUS_OK)
        return status;
    atomic_store(&s->end, SEGMENT_HEAD_BYTES);
    pthread_mutex_lock(&wal->lock);
    if (wal->active) {
        atomic_store(&wal->active->sealed, true);
        atomic_fetch_add(&wal->finished, 1);
        wal->active->next = s;
    } else {
        wal->first = s;
    }
    wal->active = s;
    atomic_store(&wal->unsynced.from, SEGMENT_HEAD_BYTES);
    pthread_mutex_unlock(&wal->lock);
    wal->write_at = SEGMENT_HEAD_BYTES;
    wal->next_generation++;
    return NEXUS_OK;
}

/* --- dropping ---- */

static void to_pool(nexus__wal *wal, segment *s)
{
    char name[SEGMENT_NAME_MAX];
    snprintf(name, sizeof name, "free-%08llx.log", (unsigned long long)s->generation);
    char(*grown)[SEGMENT_NAME_MAX] = NULL;
    /* A reader may still hold the file: then its bytes must stay, and only the name goes. */
    bool reusable = atomic_load(&s->refs) == 1 && wal->pool_count < (wal->ahead > 4 ? wal->ahead : 4) &&
                    s->size >= wal->segment_bytes;
    if (reusable)
        grown = nexus__realloc(wal->alloc, wal->pool, (wal->pool_count + 1) * sizeof *grown);
    if (grown)
        wal->pool = grown;
    if (grown && renameat(wal->dir_fd, s->name, wal->dir_fd, name) == 0)
        memcpy(wal->pool[wal->pool_count++], name, sizeof name);
    else
        unlinkat(wal->dir_fd, s->name, 0);
}

/* Under the lock. */
static void drop_first(nexus__wal *wal)
{
    segment *old = wal->first;
    wal->first = old->next;
    nexus__wal_index_forget(wal, old);
    if (wal->dir)
        to_pool(wal, old);
    nexus__wal_segment_unref(old);
}

nexus_status nexus__wal_drop_below(nexus__wal *wal, uint64_t pos)
{
    if (wal->engine)
        return nexus__wal_engine_drop_below(wal, pos);
    pthread_mutex_lock(&wal->lock);
    while (wal->first != wal->active && wal->first->next->first_pos <= pos)
        drop_first(wal);
    pthread_mutex_unlock(&wal->lock);
    return nexus__wal_io_sync_dir(wal);
}

nexus_status nexus__wal_drop_to(nexus__wal *wal, uint64_t generation)
{
    if (wal->engine)
        return nexus__wal_pieces_drop(wal, generation);
    pthread_mutex_lock(&wal->lock);
    while (wal->first && wal->first != wal->active && wal->first->generation <= generation)
        drop_first(wal);
    pthread_mutex_unlock(&wal->lock);
    return nexus__wal_io_sync_dir(wal);
}

static nexus__wal_file describe(const nexus__wal *wal, const segment *s)
{
    const segment *next = s->next;
    nexus__wal_file f = {.generation = s->generation,
                         .first_pos = s->first_pos,
                         .end_pos = next ? next->first_pos : atomic_load(&wal->durable) + 1,
                         .end_seq = next ? next->first_seq : wal->durable_seq,
                         .bytes = s->size,
                         .begun_ns = s->created_ns,
                         .ended_ns = next ? next->created_ns : 0};
    memcpy(f.name, s->name, sizeof f.name);
    return f;
}

nexus_status nexus__wal_files(nexus__wal *wal, nexus__wal_file **out, size_t *n)
{
    size_t count = 0;
    if (wal->engine)
        return nexus__wal_pieces(wal, out, n);
    pthread_mutex_lock(&wal->lock);
    for (const segment *s = wal->first; s; s = s->next)
        count++;
    nexus__wal_file *files = nexus__malloc(wal->alloc, (count + 1) * sizeof *files);
    *n = 0;
    for (const segment *s = files ? wal->first : NULL; s; s = s->next)
        files[(*n)++] = describe(wal, s);
    pthread_mutex_unlock(&wal->lock);
    *out = files;
    return files ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__wal_seal_active(nexus__wal *wal)
{
    if (wal->engine) {
        nexus__wal_piece_end(wal);
        return NEXUS_OK;
    }
    pthread_mutex_lock(&wal->lock);
    if (wal->dir && wal->prepare_started && wal->prepared.fd < 0) { /* made ahead, so that no publish waits for it */
        wal->prepared.wanted = true;
        pthread_cond_broadcast(&wal->prepare);
        while (wal->prepared.wanted && !wal->closing)
            pthread_cond_wait(&wal->prepare, &wal->lock);
    }
    pthread_mutex_unlock(&wal->lock);
    atomic_store(&wal->seal_wanted, true);
    return nexus__wal_append(wal, NULL, 0, NULL);
}

uint64_t nexus__wal_bytes(nexus__wal *wal)
{
    uint64_t bytes = 0;
    if (wal->engine)
        return atomic_load(&wal->engine_end) - atomic_load(&wal->engine_begin);
    pthread_mutex_lock(&wal->lock);
    for (segment *s = wal->first; s; s = s->next)
        bytes += s->size;
    pthread_mutex_unlock(&wal->lock);
    return bytes;
}
