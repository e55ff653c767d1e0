/*
 * The writer's side. Callers encode batches by themselves (batch.c), then queue them under the lock, which gives them their
 * positions; one thread at a time takes what has queued up, writes it with one durable call (flush.c), and wakes each
 * waiter on a word of its own.
 */
#include "wal/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "wal/internal.h"

#define SEGMENT_MIN (64u << 10)

/* --- the queue ---- */

static nexus_status refuse(nexus__wal *wal, size_t bytes)
{
    if (wal->poison != NEXUS_OK)
        return nexus__fail(wal->poison, "%s", wal->poison_text);
    if (wal->closing)
        return nexus__fail(NEXUS_ECLOSED, "the log is closing");
    if (wal->refusing)
        return nexus__fail(NEXUS_EAGAIN, "the log is reporting failed writes");
    if (wal->queue_bytes && wal->queue_bytes + bytes > wal->queue_max)
        return nexus__fail(NEXUS_EAGAIN, "%llu bytes wait to be written to the log",
                           (unsigned long long)wal->queue_bytes);
    return NEXUS_OK;
}

static void enqueue(nexus__wal *wal, nexus__wal_batch *b)
{
    int64_t now = nexus__clock_real(wal->clock);
    if (now < wal->last_recv_ns)
        now = wal->last_recv_ns;
    wal->last_recv_ns = now;
    b->recv_ns = now;
    b->first_pos = wal->next_pos;
    wal->next_pos += b->data_count;
    wal->queue_bytes += b->bytes.len;
    wal->submitted++;
    if (b->queued)
        b->queued(b->first_pos, b->recv_ns, b->user_data);
    b->next = NULL;
    *wal->tail = b;
    wal->tail = &b->next;
    bool leads = b->leads && !wal->engine;
    if (!wal->led && !leads)
        pthread_cond_signal(&wal->work);
}

nexus_status nexus__wal_submit(nexus__wal *wal, nexus__wal_batch *b, nexus__wal_done_fn *done, void *user_data,
                               uint64_t *first_pos, int64_t *recv_ns)
{
    static const char trailer[BATCH_TRAILER_BYTES];
    if (b->count)
        nexus__buf_append(&b->bytes, trailer, sizeof trailer);
    b->done = done;
    b->user_data = user_data;
    nexus_status status = b->bytes.status;
    pthread_mutex_lock(&wal->lock);
    if (status == NEXUS_OK)
        status = refuse(wal, b->bytes.len);
    if (status == NEXUS_OK) {
        enqueue(wal, b);
        if (first_pos)
            *first_pos = b->first_pos;
        if (recv_ns)
            *recv_ns = b->recv_ns;
    }
    pthread_mutex_unlock(&wal->lock);
    if (status != NEXUS_OK)
        nexus__wal_batch_free(b);
    return status;
}

static nexus_status build(nexus__wal *wal, const nexus__wal_record *records, size_t n, nexus__wal_batch **out)
{
    size_t hint = 0;
    for (size_t i = 0; i < n; i++)
        hint += RECORD_HEAD_BYTES + records[i].meta.n + records[i].payload.n + 16;
    nexus__wal_batch *b;
    nexus_status status = nexus__wal_batch_new(&b, wal, hint);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < n && status == NEXUS_OK; i++)
        status = nexus__wal_batch_add(b, &records[i]);
    if (status != NEXUS_OK) {
        nexus__wal_batch_free(b);
        return status;
    }
    *out = b;
    return NEXUS_OK;
}

nexus_status nexus__wal_append_async(nexus__wal *wal, const nexus__wal_record *records, size_t n,
                                     nexus__wal_done_fn *done, void *user_data)
{
    nexus__wal_batch *b;
    nexus_status status = build(wal, records, n, &b);
    return status == NEXUS_OK ? nexus__wal_submit(wal, b, done, user_data, NULL, NULL) : status;
}

/* --- waiting ---- */

typedef struct waiter {
    _Atomic uint32_t word;
    nexus_status status;
    uint64_t first_pos;
    char message[256];
} waiter;

static void wake(nexus_status status, uint64_t first_pos, void *user_data)
{
    waiter *w = user_data;
    w->status = status;
    w->first_pos = first_pos;
    if (status != NEXUS_OK)
        snprintf(w->message, sizeof w->message, "%s", nexus_error_message());
    atomic_store_explicit(&w->word, 1, memory_order_release);
    syscall(SYS_futex, &w->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* A full queue is waited out: backpressure for callers that block anyway. */
static nexus_status submit_blocking(nexus__wal *wal, const nexus__wal_record *records, size_t n, waiter *w)
{
    for (;;) {
        nexus__wal_batch *b;
        nexus_status status = build(wal, records, n, &b);
        if (status == NEXUS_OK)
            status = nexus__wal_submit(wal, b, wake, w, NULL, NULL);
        if (status != NEXUS_EAGAIN)
            return status;
        pthread_mutex_lock(&wal->lock);
        while ((wal->refusing || wal->queue_bytes > wal->queue_max / 2) && !wal->closing)
            pthread_cond_wait(&wal->room, &wal->lock);
        pthread_mutex_unlock(&wal->lock);
    }
}

nexus_status nexus__wal_append(nexus__wal *wal, const nexus__wal_record *records, size_t n, uint64_t *first_pos)
{
    waiter w;
    atomic_init(&w.word, 0);
    nexus_status status = submit_blocking(wal, records, n, &w);
    if (status != NEXUS_OK)
        return status;
    while (!atomic_load_explicit(&w.word, memory_order_acquire))
        syscall(SYS_futex, &w.word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    if (w.status != NEXUS_OK)
        return nexus__fail(w.status, "%s", w.message);
    if (first_pos)
        *first_pos = w.first_pos;
    return NEXUS_OK;
}

/* --- open and close ---- */

nexus_status nexus__wal_thread(pthread_t *thread, void *(*main)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(thread, NULL, main, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? NEXUS_OK : nexus__fail_errno(rc, "start a thread");
}

static nexus_status make_dirs(const char *dir)
{
    char path[4096];
    size_t n = strlen(dir);
    if (n == 0 || n >= sizeof path)
        return nexus__fail(NEXUS_EINVAL, "the directory of a log needs a name of 1 to 4095 bytes");
    memcpy(path, dir, n + 1);
    for (char *p = path + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char was = *p;
        *p = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST && errno != EROFS)
            return nexus__fail_errno(errno, "make the directory %s", path);
        *p = was;
        if (!was)
            return NEXUS_OK;
    }
}

static nexus_status refuse_network(const nexus__wal *wal)
{
    static const long kinds[] = {0x6969 /* NFS */, (long)0xFF534D42 /* CIFS */, (long)0xFE534D42 /* SMB2 */,
                                 0x01021997 /* 9p */};
    struct statfs fs;
    if (fstatfs(wal->dir_fd, &fs) != 0)
        return NEXUS_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if ((long)fs.f_type == kinds[i])
            return nexus__fail(NEXUS_ENOTSUP, "%s is on a network file system: locks and syncs may mean nothing there",
                               wal->dir);
    return NEXUS_OK;
}

nexus_status nexus__wal_take_lock(nexus__wal *wal)
{
    wal->lock_fd = openat(wal->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (wal->lock_fd < 0)
        return nexus__fail_errno(errno, "open %s/lock", wal->dir);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(wal->lock_fd, F_OFD_SETLK, &whole) != 0)
        return errno == EAGAIN || errno == EACCES
                   ? nexus__fail(NEXUS_ECONFLICT, "%s is owned by another process", wal->dir)
                   : nexus__fail_errno(errno, "lock %s/lock", wal->dir);
    return NEXUS_OK;
}

static nexus_status lock_dir(nexus__wal *wal, bool force)
{
    nexus_status status = make_dirs(wal->dir);
    if (status != NEXUS_OK)
        return status;
    wal->dir_fd = open(wal->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (wal->dir_fd < 0)
        return nexus__fail_errno(errno, "open the directory %s", wal->dir);
    if (!force && (status = refuse_network(wal)) != NEXUS_OK)
        return status;
    return nexus__wal_take_lock(wal);
}

static void take_opts(nexus__wal *wal, const nexus__wal_opts *o)
{
    wal->alloc = o->alloc;
    wal->io = o->io;
    wal->clock = o->clock;
    wal->engine = o->engine;
    wal->segment_bytes = o->segment_bytes ? o->segment_bytes : 64u << 20;
    if (wal->segment_bytes < SEGMENT_MIN)
        wal->segment_bytes = SEGMENT_MIN;
    wal->segment_bytes &= ~0xffffu;
    wal->ahead = (uint32_t)((o->ahead_bytes + wal->segment_bytes - 1) / wal->segment_bytes);
    wal->queue_max = o->queue_max_bytes ? o->queue_max_bytes : 64u << 20;
    wal->batch_max = o->batch_max_bytes ? o->batch_max_bytes : 32u << 20;
    snprintf(wal->name, sizeof wal->name, "%s", o->name ? o->name : "wal");
    wal->dir_fd = wal->lock_fd = wal->prepared.fd = -1;
    wal->tail = &wal->head;
    wal->next_seq = wal->next_pos = wal->next_generation = 1;
    nexus__buf_init(&wal->gather, o->alloc, 0);
    pthread_mutex_init(&wal->lock, NULL);
    pthread_cond_init(&wal->work, NULL);
    pthread_cond_init(&wal->room, NULL);
    nexus__cond_init(&wal->prepare);
    pthread_mutex_init(&wal->recent_lock, NULL);
    nexus__wal_durability_init(wal, o);
}

static nexus_status start(nexus__wal *wal, const char *dir, bool force, nexus__wal_report *found)
{
    nexus__random(wal->uuid, sizeof wal->uuid);
    nexus_status status = NEXUS_OK;
    if (dir) {
        wal->dir = nexus__strndup(wal->alloc, nexus__slice_c(dir));
        status = wal->dir ? lock_dir(wal, force) : nexus__nomem();
        if (status == NEXUS_OK && !wal->engine)
            status = nexus__wal_recover(wal, found);
    }
    if (status == NEXUS_OK && wal->engine)
        status = nexus__wal_engine_start(wal, found);
    if (status != NEXUS_OK)
        return status;
    wal->seed = nexus__wal_seed(wal->uuid);
    atomic_store(&wal->durable, wal->next_pos - 1);
    wal->durable_seq = wal->next_seq;
    if (found->read_only) {
        wal->poison = NEXUS_ECORRUPT;
        snprintf(wal->poison_text, sizeof wal->poison_text, "the log is damaged and opened read-only: %s",
                 found->damage);
    } else if (!wal->active && !wal->engine) {
        status = nexus__wal_roll(wal, 0);
    }
    if (status == NEXUS_OK)
        status = nexus__wal_thread(&wal->flush_thread, nexus__wal_flush_main, wal);
    wal->flush_started = status == NEXUS_OK;
    if (status == NEXUS_OK && dir && !wal->engine)
        status = nexus__wal_thread(&wal->prepare_thread, nexus__wal_prepare_main, wal);
    wal->prepare_started = status == NEXUS_OK && dir && !wal->engine;
    bool syncs = status == NEXUS_OK && dir && !wal->engine && wal->durability == NEXUS__WAL_INTERVAL;
    if (syncs)
        status = nexus__wal_thread(&wal->sync_thread, nexus__wal_sync_main, wal);
    wal->sync_started = status == NEXUS_OK && syncs;
    return status;
}

nexus_status nexus__wal_open(nexus__wal **out, const char *dir, const nexus__wal_opts *opts, nexus__wal_report *found)
{
    static const nexus__wal_opts defaults;
    nexus__wal_report local;
    if (!opts)
        opts = &defaults;
    if (!found)
        found = &local;
    memset(found, 0, sizeof *found);
    nexus__wal *wal = nexus__calloc(opts->alloc, 1, sizeof *wal);
    if (!wal && opts->engine)
        opts->engine->ops->close(opts->engine);
    if (!wal)
        return nexus__nomem();
    take_opts(wal, opts);
    nexus_status status = start(wal, dir, opts->force, found);
    if (status != NEXUS_OK) {
        nexus__wal_close(wal);
        return status;
    }
    *out = wal;
    return NEXUS_OK;
}

nexus_status nexus__wal_view_open(nexus__wal **out, const char *dir, const nexus_alloc *alloc, uint64_t *end)
{
    nexus__wal *wal = nexus__calloc(alloc, 1, sizeof *wal);
    if (!wal)
        return nexus__nomem();
    take_opts(wal, &(nexus__wal_opts){.alloc = alloc});
    wal->poison = NEXUS_EROFS;
    snprintf(wal->poison_text, sizeof wal->poison_text, "the log is open for reading alone");
    wal->dir = nexus__strndup(alloc, nexus__slice_c(dir));
    wal->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    nexus_status status = !wal->dir          ? nexus__nomem()
                          : wal->dir_fd >= 0 ? nexus__wal_look(wal)
                                             : nexus__fail_errno(errno, "open the directory %s", dir);
    if (status != NEXUS_OK) {
        nexus__wal_close(wal);
        return status;
    }
    *end = wal->active ? wal->active->first_pos : 1;
    *out = wal;
    return NEXUS_OK;
}

void nexus__wal_stop(nexus__wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    wal->closing = true;
    pthread_cond_broadcast(&wal->work);
    pthread_cond_broadcast(&wal->prepare);
    pthread_cond_broadcast(&wal->room);
    pthread_cond_broadcast(&wal->unsynced.wake);
    pthread_mutex_unlock(&wal->lock);
    if (wal->flush_started)
        pthread_join(wal->flush_thread, NULL);
    if (wal->prepare_started)
        pthread_join(wal->prepare_thread, NULL);
    if (wal->sync_started)
        pthread_join(wal->sync_thread, NULL);
    wal->flush_started = wal->prepare_started = wal->sync_started = false;
    if (wal->poison == NEXUS_OK && nexus__wal_sync(wal) != NEXUS_OK)
        nexus__wal_poison(wal, nexus_error_message());
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void nexus__wal_close(nexus__wal *wal)
{
    if (!wal)
        return;
    nexus__wal_stop(wal);
    nexus__wal_recent_forget(wal);
    pthread_mutex_destroy(&wal->recent_lock);
    while (wal->first) {
        segment *s = wal->first;
        wal->first = s->next;
        nexus__wal_segment_unref(s);
    }
    if (wal->engine)
        wal->engine->ops->close(wal->engine);
    close_fd(wal->prepared.fd);
    close_fd(wal->dir_fd);
    close_fd(wal->lock_fd);
    nexus__buf_free(&wal->gather);
    nexus__free(wal->alloc, wal->engine_marks.at);
    nexus__free(wal->alloc, wal->pool);
    nexus__free(wal->alloc, wal->dir);
    pthread_mutex_destroy(&wal->lock);
    pthread_cond_destroy(&wal->work);
    pthread_cond_destroy(&wal->room);
    pthread_cond_destroy(&wal->prepare);
    nexus__wal_durability_end(wal);
    nexus__free(wal->alloc, wal);
}

uint64_t nexus__wal_durable(const nexus__wal *wal)
{
    return atomic_load(&wal->durable);
}

nexus_status nexus__wal_condition(nexus__wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    nexus_status status = wal->poison;
    pthread_mutex_unlock(&wal->lock);
    return status != NEXUS_OK ? status : atomic_load(&wal->condition);
}

uint64_t nexus__wal_written(const nexus__wal *wal)
{
    return atomic_load(&wal->written);
}

uint64_t nexus__wal_finished(const nexus__wal *wal)
{
    return atomic_load_explicit(&wal->finished, memory_order_relaxed);
}

void nexus__wal_cursor_now(nexus__wal *wal, nexus__wal_cursor *out)
{
    pthread_mutex_lock(&wal->lock);
    *out = (nexus__wal_cursor){.seq = wal->durable_seq, .pos = atomic_load(&wal->durable) + 1};
    if (wal->engine) {
        out->generation = ENGINE_GENERATION;
        out->at = atomic_load(&wal->engine_end);
    } else if (wal->active) {
        out->generation = wal->active->generation;
        out->at = atomic_load(&wal->active->end);
    }
    pthread_mutex_unlock(&wal->lock);
}

bool nexus__wal_is_durable(const nexus__wal *wal)
{
    return wal->engine ? wal->engine_durable : wal->dir != NULL;
}

bool nexus__wal_lasts(const nexus__wal *wal)
{
    return wal->engine || wal->dir;
}

uint64_t nexus__wal_first(nexus__wal *wal)
{
    if (wal->engine)
        return atomic_load(&wal->engine_first_pos);
    pthread_mutex_lock(&wal->lock);
    uint64_t first = wal->first ? wal->first->first_pos : atomic_load(&wal->durable) + 1;
    pthread_mutex_unlock(&wal->lock);
    return first;
}

void nexus__wal_on_take(nexus__wal *wal, void (*fn)(void *user_data), void *user_data)
{
    pthread_mutex_lock(&wal->lock);
    wal->on_take = fn;
    wal->on_take_data = user_data;
    pthread_mutex_unlock(&wal->lock);
}

void nexus__wal_on_durable(nexus__wal *wal, void (*fn)(void *user_data), void *user_data)
{
    wal->on_durable = fn;
    wal->on_durable_data = user_data;
}
