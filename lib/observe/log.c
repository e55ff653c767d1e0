/*
 * The log handle. A core holds sinks, levels and the ring; handles are a service name over a core and count
 * references to it. With a ring, writers format on their own stack, push the line and wake the writer thread only
 * when it sleeps; without one they write under the sink lock.
 */
#include <nexus/log.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "base/thread.h"
#include "base/time.h"
#include "observe/access.h"
#include "observe/log_level.h"
#include "observe/log_line.h"
#include "observe/log_ring.h"

enum {
    LINE_STACK = 2048,
    LINE_MAX_BYTES = 256 * 1024,
    BATCH_BYTES = 64 * 1024,
    PIPE_BATCH = 4096,
    DRAIN_MAX = 1024,
    GATHER_MS = 5
};

typedef struct sink {
    int fd; /* -1: none */
    bool logfmt;
    size_t batch; /* bytes of whole lines that one write may carry without tearing them */
} sink;

typedef struct core {
    const nexus_alloc *alloc;
    nexus__log_levels levels;
    sink sinks[2]; /* fd, path */
    bool logfmt;
    bool show_secrets;
    nexus_log_line_fn *line_fn;
    void *line_user_data;
    nexus__log_ring ring;
    bool threaded;
    int wake;
    pthread_t thread;
    _Atomic int sleeping, ending;
    _Atomic uint64_t dropped, pushed;
    _Atomic uint32_t refs;
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t moved;
        uint64_t written; /* lines that left the ring */
    } locked;
    char batch[BATCH_BYTES]; /* the writer thread's */
    char line[BATCH_BYTES];  /* the same */
} core;

struct nexus_log {
    core *core;
    char service[]; /* "" when there is none */
};

void nexus_log_opts_init(nexus_log_opts *opts)
{
    *opts = (nexus_log_opts)NEXUS_LOG_OPTS_INIT;
}

/* --- sinks -------------------------------------------------------------------------------------------------------- */

static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return; /* a log that cannot be written has nowhere to complain */
        p += k;
        n -= (size_t)k;
    }
}

static void fds_write(core *c, nexus_slice lines)
{
    for (size_t i = 0; i < 2; i++)
        if (c->sinks[i].fd >= 0)
            write_all(c->sinks[i].fd, lines.p, lines.n);
}

static size_t batch_limit(const core *c)
{
    size_t limit = BATCH_BYTES;
    for (size_t i = 0; i < 2; i++)
        if (c->sinks[i].fd >= 0 && c->sinks[i].batch < limit)
            limit = c->sinks[i].batch;
    return limit;
}

static void sink_init(sink *s, int fd)
{
    struct stat st;
    s->fd = fd;
    s->batch = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? BATCH_BYTES : PIPE_BATCH;
}

/* --- the writer thread -------------------------------------------------------------------------------------------- */

static void note_dropped(core *c, uint64_t *known)
{
    uint64_t now = atomic_load_explicit(&c->dropped, memory_order_relaxed);
    if (now == *known)
        return;
    const nexus_log_field field = NEXUS_LOG_I("dropped", now - *known);
    const nexus_log_record record = {.size = sizeof record,
                                     .level = NEXUS_LOG_WARN,
                                     .module = "log",
                                     .message = NEXUS_S("log records dropped: the ring was full"),
                                     .fields = &field,
                                     .field_count = 1};
    char memory[512];
    nexus__buf line = {.p = memory, .cap = sizeof memory, .max = sizeof memory};
    nexus__log_line(&line, &(nexus__log_style){.logfmt = c->logfmt}, &record, nexus__real_ns());
    fds_write(c, nexus__buf_slice(&line));
    if (c->line_fn)
        c->line_fn(record.level, nexus__buf_slice(&line), c->line_user_data);
    *known = now;
}

/* The line of a slot. What cannot be made into one is left out. */
static nexus_slice line_of(core *c, const nexus__log_slot *slot, nexus_slice text)
{
    nexus__access a;
    nexus__buf line = {.p = c->line, .cap = sizeof c->line, .max = sizeof c->line};
    if (slot->kind == NEXUS__LOG_LINE)
        return text;
    if (!nexus__access_unpack(&a, text))
        return (nexus_slice){0};
    nexus__access_line(&line, &(nexus__log_style){.logfmt = c->logfmt, .show_secrets = c->show_secrets}, &a);
    return line.status == NEXUS_OK ? nexus__buf_slice(&line) : (nexus_slice){0};
}

/* Writes what the ring holds (so much at a time, that flush hears of it), several lines to a write where that cannot tear them; returns how many there were. */
static uint64_t drain(core *c)
{
    uint64_t lines = 0;
    size_t len = 0, limit = batch_limit(c);
    nexus_slice text;
    for (nexus__log_slot *slot; lines < DRAIN_MAX && (slot = nexus__log_ring_peek(&c->ring, &text)); lines++) {
        text = line_of(c, slot, text);
        if (c->line_fn && text.n > 0)
            c->line_fn(slot->level, text, c->line_user_data);
        if (len + text.n > limit) {
            fds_write(c, nexus__slice(c->batch, len));
            len = 0;
        }
        if (text.n > limit) {
            fds_write(c, text);
        } else if (text.n > 0) {
            memcpy(c->batch + len, text.p, text.n);
            len += text.n;
        }
        nexus__log_ring_pop(&c->ring);
    }
    if (len > 0)
        fds_write(c, nexus__slice(c->batch, len));
    return lines;
}

static void sleep_until_woken(core *c)
{
    atomic_store(&c->sleeping, 1);
    atomic_thread_fence(memory_order_seq_cst);
    nexus_slice text;
    if (!nexus__log_ring_peek(&c->ring, &text) && !atomic_load(&c->ending)) {
        uint64_t count;
        while (read(c->wake, &count, sizeof count) < 0 && errno == EINTR)
            ;
    }
    atomic_store(&c->sleeping, 0);
}

/* Under traffic lines are gathered for a moment: one wake-up and one write for many, and none asked for by writers. */
static void gather(core *c)
{
    struct pollfd wake = {.fd = c->wake, .events = POLLIN};
    uint64_t count;
    if (poll(&wake, 1, GATHER_MS) == 1 && read(c->wake, &count, sizeof count) < 0)
        return;
}

static void *writer_main(void *arg)
{
    core *c = arg;
    uint64_t known_dropped = 0;
    for (;;) {
        bool ending = atomic_load(&c->ending); /* read before draining: what was pushed before close is written */
        uint64_t lines = drain(c);
        note_dropped(c, &known_dropped);
        if (lines > 0) {
            pthread_mutex_lock(&c->locked.mutex);
            c->locked.written += lines;
            pthread_cond_broadcast(&c->locked.moved);
            pthread_mutex_unlock(&c->locked.mutex);
            if (lines < DRAIN_MAX && !ending)
                gather(c);
        } else if (ending) {
            return NULL;
        } else {
            sleep_until_woken(c);
        }
    }
}

/* Even out of its gathering. */
static void force_writer(core *c)
{
    uint64_t one = 1;
    if (write(c->wake, &one, sizeof one) < 0)
        return; /* the counter is full: it is awake */
}

static void wake_writer(core *c)
{
    atomic_thread_fence(memory_order_seq_cst); /* the line first, then the look: the writer does it the other way */
    if (!atomic_load_explicit(&c->sleeping, memory_order_relaxed))
        return;
    if (atomic_exchange(&c->sleeping, 0))
        force_writer(c);
}

static nexus_status start_writer(core *c, uint32_t records)
{
    nexus_status status = nexus__log_ring_open(&c->ring, c->alloc, records);
    if (status != NEXUS_OK)
        return nexus__nomem();
    c->wake = eventfd(0, EFD_CLOEXEC);
    if (c->wake < 0)
        return nexus__fail_errno(errno, "log: eventfd");
    status = nexus__thread_start(&c->thread, "nexus-log", writer_main, c);
    if (status != NEXUS_OK)
        return status;
    c->threaded = true;
    return NEXUS_OK;
}

/* --- open and close ----------------------------------------------------------------------------------------------- */

static void core_unref(core *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    if (c->threaded) {
        atomic_store(&c->ending, 1);
        force_writer(c);
        pthread_join(c->thread, NULL);
    }
    nexus__log_ring_close(&c->ring);
    if (c->wake >= 0)
        close(c->wake);
    if (c->sinks[1].fd >= 0)
        close(c->sinks[1].fd);
    pthread_cond_destroy(&c->locked.moved);
    pthread_mutex_destroy(&c->locked.mutex);
    nexus__log_levels_free(&c->levels);
    nexus__free(c->alloc, c);
}

static core *core_new(const nexus_log_opts *o)
{
    core *c = nexus__calloc(o->alloc, 1, sizeof *c);
    if (!c)
        return NULL;
    c->alloc = o->alloc;
    c->wake = -1;
    nexus__log_levels_init(&c->levels, o->level);
    sink_init(&c->sinks[0], o->fd);
    sink_init(&c->sinks[1], -1);
    c->logfmt =
        o->format == NEXUS_LOG_FORMAT_LOGFMT || (o->format == NEXUS_LOG_FORMAT_AUTO && o->fd >= 0 && isatty(o->fd));
    c->show_secrets = o->show_secrets;
    c->line_fn = o->line_fn;
    c->line_user_data = o->line_user_data;
    pthread_mutex_init(&c->locked.mutex, NULL);
    pthread_cond_init(&c->locked.moved, NULL);
    atomic_init(&c->refs, 1);
    return c;
}

static nexus_log *handle_new(core *c, const char *service)
{
    size_t n = service ? strlen(service) : 0;
    nexus_log *log = nexus__malloc(c->alloc, sizeof *log + n + 1);
    if (log) {
        log->core = c;
        memcpy(log->service, service ? service : "", n + 1);
    }
    return log;
}

nexus_status nexus_log_open(nexus_log **out, const nexus_log_opts *opts)
{
    const nexus_log_opts defaults = NEXUS_LOG_OPTS_INIT;
    const nexus_log_opts *o = opts ? opts : &defaults;
    if (o->size != sizeof *o || o->level < NEXUS_LOG_TRACE || o->level > NEXUS_LOG_OFF)
        return nexus__fail(NEXUS_EINVAL, "log: options are not initialised; begin with NEXUS_LOG_OPTS_INIT");
    core *c = core_new(o);
    if (!c)
        return nexus__nomem();
    nexus_status status = NEXUS_OK;
    nexus_log *log = handle_new(c, o->service);
    if (!log)
        status = nexus__nomem();
    if (status == NEXUS_OK && o->path) {
        int fd = open(o->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
            status = nexus__fail_errno(errno, "log: cannot open %s", o->path);
        sink_init(&c->sinks[1], fd);
    }
    if (status == NEXUS_OK && o->ring_records > 0)
        status = start_writer(c, o->ring_records);
    if (status != NEXUS_OK) {
        nexus__free(o->alloc, log);
        core_unref(c);
        return status;
    }
    *out = log;
    return NEXUS_OK;
}

nexus_status nexus_log_child(nexus_log **out, nexus_log *parent, const char *service)
{
    nexus_log *log = handle_new(parent->core, service);
    if (!log)
        return nexus__nomem();
    atomic_fetch_add(&parent->core->refs, 1);
    *out = log;
    return NEXUS_OK;
}

void nexus_log_close(nexus_log *log)
{
    if (!log)
        return;
    core *c = log->core;
    nexus__free(c->alloc, log);
    core_unref(c);
}

void nexus_log_flush(nexus_log *log)
{
    if (!log || !log->core->threaded)
        return;
    core *c = log->core;
    uint64_t pushed = atomic_load(&c->pushed);
    force_writer(c);
    pthread_mutex_lock(&c->locked.mutex);
    while (c->locked.written < pushed)
        pthread_cond_wait(&c->locked.moved, &c->locked.mutex);
    pthread_mutex_unlock(&c->locked.mutex);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void push(core *c, int32_t level, uint16_t kind, nexus_slice text)
{
    if (nexus__log_ring_push(&c->ring, level, kind, text)) {
        atomic_fetch_add_explicit(&c->pushed, 1, memory_order_relaxed);
        wake_writer(c);
    } else {
        atomic_fetch_add_explicit(&c->dropped, 1, memory_order_relaxed);
    }
}

static void emit(core *c, int32_t level, nexus_slice line)
{
    if (c->threaded) {
        push(c, level, NEXUS__LOG_LINE, line);
        return;
    }
    pthread_mutex_lock(&c->locked.mutex);
    fds_write(c, line);
    if (c->line_fn)
        c->line_fn(level, line, c->line_user_data);
    pthread_mutex_unlock(&c->locked.mutex);
}

void nexus_log_write(nexus_log *log, const nexus_log_record *record)
{
    if (!log || !nexus_log_enabled(log, record->level, record->module))
        return;
    core *c = log->core;
    const nexus__log_style style = {
        .service = log->service[0] ? log->service : NULL, .logfmt = c->logfmt, .show_secrets = c->show_secrets};
    int64_t now = nexus__real_ns();
    char memory[LINE_STACK];
    nexus__buf line = {.p = memory, .cap = sizeof memory, .max = sizeof memory};
    nexus__log_line(&line, &style, record, now);
    if (line.status == NEXUS_OK) {
        emit(c, record->level, nexus__buf_slice(&line));
        return;
    }
    nexus__buf large;
    nexus__buf_init(&large, c->alloc, LINE_MAX_BYTES);
    nexus__log_line(&large, &style, record, now);
    if (large.status == NEXUS_OK)
        emit(c, record->level, nexus__buf_slice(&large));
    else
        atomic_fetch_add_explicit(&c->dropped, 1, memory_order_relaxed);
    nexus__buf_free(&large);
}

/* What a head of a request can bring fits; what is over all the same is dropped and counted. */
void nexus__log_access(nexus_log *log, const nexus__access *access)
{
    if (!log)
        return;
    core *c = log->core;
    nexus__access a = *access;
    char memory[LINE_MAX_BYTES / 8];
    nexus__buf out = {.p = memory, .cap = sizeof memory, .max = sizeof memory};
    a.text[NEXUS__ACCESS_SERVICE] = nexus__slice_c(log->service);
    if (c->threaded)
        nexus__access_pack(&out, &a);
    else
        nexus__access_line(&out, &(nexus__log_style){.logfmt = c->logfmt, .show_secrets = c->show_secrets}, &a);
    if (out.status != NEXUS_OK)
        atomic_fetch_add_explicit(&c->dropped, 1, memory_order_relaxed);
    else if (c->threaded)
        push(c, a.n.level, NEXUS__LOG_ACCESS, nexus__buf_slice(&out));
    else
        emit(c, a.n.level, nexus__buf_slice(&out));
}

void nexus_log_text(nexus_log *log, int32_t level, const char *module, const nexus_log_context *context,
                    nexus_slice message)
{
    const nexus_log_record record = {
        .size = sizeof record, .level = level, .module = module, .message = message, .context = context};
    nexus_log_write(log, &record);
}

void nexus_log_printf(nexus_log *log, int32_t level, const char *module, const nexus_log_context *context,
                      const char *format, ...)
{
    if (!nexus_log_enabled(log, level, module))
        return;
    char message[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof message ? (size_t)n : sizeof message - 1;
    nexus_log_text(log, level, module, context, nexus__slice(message, len));
}

bool nexus_log_enabled(const nexus_log *log, int32_t level, const char *module)
{
    return log && level >= nexus__log_levels_get(&log->core->levels, module) && level < NEXUS_LOG_OFF;
}

nexus_status nexus_log_set_level(nexus_log *log, const char *module, int32_t level, uint32_t ttl_ms)
{
    int64_t revert_at = ttl_ms ? nexus__mono_ns() + (int64_t)ttl_ms * NEXUS__NS_PER_MS : 0;
    return nexus__log_levels_set(&log->core->levels, module, level, revert_at);
}

int32_t nexus_log_level(const nexus_log *log, const char *module)
{
    return nexus__log_levels_get(&log->core->levels, module);
}

uint64_t nexus_log_dropped(const nexus_log *log)
{
    return atomic_load_explicit(&log->core->dropped, memory_order_relaxed);
}
