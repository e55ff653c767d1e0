#include "ingest/ingest.h"

#include <dirent.h>
#include <stdatomic.h>

#include "base/status.h"
#include "base/time.h"
#include "ingest/inflate.h"
#include "json/write.h"

#define EVENT_MAX_BYTES 65536u
#define EVENT_HARD_MAX_BYTES 1048576u
#define BATCH_MAX_EVENTS 10000u
#define MIB (1024ull * 1024)
#define DEDUPE_WINDOW_S 86400u
#define DEDUPE_MAX 10000000u
#define REJECTED_MAX 100000u
/* Placeholders that broken senders write where an identity belongs (after the list that PostHog publishes). */
#define ILLEGAL                                                                                                        \
    "null,undefined,none,nil,nan,anonymous,anon,guest,0,-1,true,false,unknown,unidentified,not_"                       \
    "authenticated,"                                                                                                   \
    "[object object],distinct_id,distinctid,user_id,userid,id,email"

void nexus_ingest_opts_init(nexus_ingest_opts *opts)
{
    *opts = (nexus_ingest_opts)NEXUS_INGEST_OPTS_INIT;
}

static void set_defaults(nexus_ingest_opts *o)
{
    o->identity_illegal = o->identity_illegal ? o->identity_illegal : ILLEGAL;
    o->event_max_bytes = o->event_max_bytes ? o->event_max_bytes : EVENT_MAX_BYTES;
    o->batch_max_events = o->batch_max_events ? o->batch_max_events : BATCH_MAX_EVENTS;
    o->batch_max_bytes = o->batch_max_bytes ? o->batch_max_bytes : 20 * MIB;
    o->dedupe_window_s = o->dedupe_window_s ? o->dedupe_window_s : DEDUPE_WINDOW_S;
    o->dedupe_max = o->dedupe_max ? o->dedupe_max : DEDUPE_MAX;
    o->rejected_max = o->rejected_max ? o->rejected_max : REJECTED_MAX;
    o->rejected_max_bytes = o->rejected_max_bytes ? o->rejected_max_bytes : 64 * MIB;
    o->queue_max_bytes = o->queue_max_bytes ? o->queue_max_bytes : 64 * MIB;
}

static nexus_status check_opts(const nexus_ingest_opts *o)
{
    if (!o->dir || !*o->dir)
        return nexus__fail(NEXUS_EINVAL, "an ingestion log needs a directory");
    if (o->event_max_bytes > EVENT_HARD_MAX_BYTES)
        return nexus__fail(NEXUS_EINVAL, "event_max_bytes is at most %u", EVENT_HARD_MAX_BYTES);
    if (o->durability != NEXUS_INGEST_FSYNC)
        return nexus__fail(NEXUS_ENOTSUP, "durability: only NEXUS_INGEST_FSYNC is built");
    if (o->retention_s > INT64_MAX / 1000)
        return nexus__fail(NEXUS_EINVAL, "retention_s is out of range");
    return NEXUS_OK;
}

static nexus_status open_log(nexus_ingest *g)
{
    nexus__wal_opts opts = {.alloc = g->alloc, .queue_max_bytes = g->queue_max_bytes * 2, .name = "ingest"};
    nexus_status st = nexus__wal_open(&g->wal, g->dir, &opts, NULL);
    return st == NEXUS_OK ? nexus__ingest_replay(g) : st;
}

nexus_status nexus_ingest_open(nexus_ingest **out, const nexus_ingest_opts *given)
{
    nexus_ingest_opts o = NEXUS_INGEST_OPTS_INIT;
    if (given)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    set_defaults(&o);
    nexus_status st = check_opts(&o);
    if (st != NEXUS_OK)
        return st;
    nexus_ingest *g = nexus__calloc(o.alloc, 1, sizeof *g);
    if (!g)
        return nexus__nomem();
    g->alloc = o.alloc;
    g->analytics = o.analytics;
    g->batch_max_events = o.batch_max_events;
    g->batch_max_bytes = o.batch_max_bytes;
    g->queue_max_bytes = o.queue_max_bytes;
    g->opened_ns = nexus__mono_ns();
    pthread_mutex_init(&g->locked.mutex, NULL);
    nexus__dedupe_init(&g->locked.dedupe, o.alloc, (int64_t)o.dedupe_window_s * 1000, o.dedupe_max);
    nexus__rejected_init(&g->locked.rejected, o.alloc, o.rejected_max, o.rejected_max_bytes);
    g->dir = nexus__strndup(o.alloc, nexus__slice_c(o.dir));
    g->illegal = nexus__strndup(o.alloc, nexus__slice_c(o.identity_illegal));
    g->rules = (nexus__event_rules){.illegal_identities = nexus__slice_c(g->illegal),
                                    .identity_reject = o.identity_action == NEXUS_IDENTITY_REJECT,
                                    .max_bytes = o.event_max_bytes,
                                    .retention_ms = (int64_t)o.retention_s * 1000};
    st = g->dir && g->illegal ? open_log(g) : nexus__nomem();
    if (st != NEXUS_OK) {
        nexus_ingest_close(g);
        return st;
    }
    *out = g;
    return NEXUS_OK;
}

void nexus_ingest_close(nexus_ingest *g)
{
    if (!g)
        return;
    if (g->wal)
        nexus__wal_close(g->wal);
    nexus__dedupe_free(&g->locked.dedupe);
    nexus__rejected_free(&g->locked.rejected);
    pthread_mutex_destroy(&g->locked.mutex);
    nexus__free(g->alloc, g->dir);
    nexus__free(g->alloc, g->illegal);
    nexus__free(g->alloc, g);
}

/* --- taking ---------------------------------------------------------------------------------- */

typedef nexus_status read_fn(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc, nexus_slice body,
                             int64_t received_ms, nexus_ingest_result **out);

static nexus__event_rules rules_of(const nexus_ingest *g, uint32_t flags)
{
    nexus__event_rules rules = g->rules;
    rules.strict_time = (flags & NEXUS_INGEST_STRICT_TIME) != 0;
    rules.fix_skew = (flags & NEXUS_INGEST_FIX_SKEW) != 0;
    rules.identity_needed = (flags & NEXUS_INGEST_NEED_IDENTITY) != 0;
    return rules;
}

static bool any_rejected(const nexus_ingest_result *r)
{
    for (uint32_t i = 0; i < r->entry_count; i++)
        if (r->entries[i].state == NEXUS__ENTRY_REJECTED)
            return true;
    return false;
}

static nexus_status judge_and_store(nexus_ingest *g, nexus_slice body, const nexus_ingest_call *call, read_fn *read,
                                    nexus_ingest_result **out)
{
    nexus__json doc;
    nexus_ingest_result *result = NULL;
    nexus__event_rules rules = rules_of(g, call->flags);
    nexus__json_init(&doc, g->alloc);
    int64_t now_ms = call->received_at_ms ? call->received_at_ms : nexus__real_ns() / NEXUS__NS_PER_MS;
    nexus_status st = read(g, &rules, &doc, body, now_ms, &result);
    if (st == NEXUS_OK && !((call->flags & NEXUS_INGEST_ATOMIC) && any_rejected(result)))
        st = nexus__ingest_commit(g, result);
    if (st == NEXUS_OK)
        st = nexus__result_finish(result, read != nexus__ingest_read_event, call->flags & NEXUS_INGEST_ALL_RESULTS);
    nexus__json_free(&doc);
    if (st == NEXUS_OK)
        *out = result;
    else
        nexus_ingest_result_free(result);
    return st;
}

static nexus_status take(nexus_ingest *g, nexus_slice body, const nexus_ingest_call *given, size_t max, read_fn *read,
                         nexus_ingest_result **out)
{
    nexus_ingest_call call = NEXUS_INGEST_CALL_INIT;
    nexus__buf plain;
    nexus_status st = NEXUS_OK;
    if (given)
        memcpy(&call, given, given->size < sizeof call ? given->size : sizeof call);
    nexus__buf_init(&plain, g->alloc, max);
    if (body.n <= max && (call.flags & (NEXUS_INGEST_GZIP | NEXUS_INGEST_DEFLATE))) {
        st = nexus__inflate(&plain, body, call.flags & NEXUS_INGEST_GZIP);
        body = nexus__buf_slice(&plain);
    }
    if (st == NEXUS_OK && body.n > max)
        st = nexus__fail(NEXUS_ETOOBIG, "the body has %zu bytes; at most %zu are allowed", body.n, max);
    if (st == NEXUS_OK)
        st = judge_and_store(g, body, &call, read, out);
    nexus__buf_free(&plain);
    return st;
}

nexus_status nexus_ingest_event(nexus_ingest *g, nexus_slice body, const nexus_ingest_call *call,
                                nexus_ingest_result **out)
{
    /* white space and a refusal in good form need some room above the event's own limit */
    return take(g, body, call, (size_t)g->rules.max_bytes * 4, nexus__ingest_read_event, out);
}

nexus_status nexus_ingest_batch(nexus_ingest *g, nexus_slice body, const nexus_ingest_call *call,
                                nexus_ingest_result **out)
{
    bool lines = call && call->size >= offsetof(nexus_ingest_call, flags) + sizeof call->flags &&
                 (call->flags & NEXUS_INGEST_NDJSON);
    return take(g, body, call, g->batch_max_bytes, lines ? nexus__ingest_read_lines : nexus__ingest_read_batch, out);
}

/* --- looking --------------------------------------------------------------------------------- */

static nexus_status hand_over(nexus__buf *text, char **out, size_t *len)
{
    *out = nexus__buf_take(text, len);
    nexus__buf_free(text);
    return *out ? NEXUS_OK : nexus__nomem();
}

static void write_rejected(nexus__json_writer *w, const nexus__meter *m)
{
    nexus__json_key(w, "rejected");
    nexus__json_open(w, '{');
    for (int i = 1; i < NEXUS__EVENT_CODES; i++)
        if (m->rejected[i] != 0)
            nexus__json_put_u64(w, nexus__event_code_name((nexus__event_code)i), m->rejected[i]);
    nexus__json_close(w, '}');
}

static void write_queue(nexus__json_writer *w, const nexus_ingest *g)
{
    int64_t waiting = g->locked.queued ? (nexus__mono_ns() - g->locked.oldest_ns) / NEXUS__NS_PER_MS : 0;
    nexus__json_key(w, "queue");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "depth", g->locked.queued_bytes);
    nexus__json_put_u64(w, "capacity", g->queue_max_bytes);
    nexus__json_put_i64(w, "oldest_ms", waiting);
    nexus__json_close(w, '}');
}

/* Files of the log that hold records; those kept for reuse do not count. */
static uint64_t count_segments(const char *path)
{
    uint64_t n = 0;
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));)
        n += strncmp(e->d_name, "seg-", 4) == 0;
    if (dir)
        closedir(dir);
    return n;
}

static void write_wal(nexus__json_writer *w, nexus_ingest *g, uint64_t segments)
{
    double last, p99;
    uint64_t bytes = nexus__wal_bytes(g->wal);
    nexus__meter_times(&g->locked.meter, &last, &p99);
    nexus__json_key(w, "wal");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "bytes", bytes);
    nexus__json_put_u64(w, "segments", segments);
    nexus__json_put_double(w, "last_fsync_ms", last);
    nexus__json_put_double(w, "p99_fsync_ms", p99);
    nexus__json_close(w, '}');
}

static void write_stats(nexus__json_writer *w, nexus_ingest *g, uint64_t segments)
{
    const nexus__meter *m = &g->locked.meter;
    int64_t now_ms = nexus__real_ns() / NEXUS__NS_PER_MS;
    nexus__json_put_u64(w, "received", m->received);
    nexus__json_put_u64(w, "accepted", m->accepted);
    nexus__json_put_u64(w, "duplicate", m->duplicate);
    write_rejected(w, m);
    nexus__json_put_u64(w, "late", m->late);
    nexus__json_put_u64(w, "rate_1s", nexus__meter_rate_1s(m, now_ms));
    nexus__json_put_double(w, "rate_1m", nexus__meter_rate_1m(m, now_ms));
    write_queue(w, g);
    write_wal(w, g, segments);
    nexus__json_key(w, "dedupe");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "entries", nexus__dedupe_count(&g->locked.dedupe));
    nexus__json_put_i64(w, "window_s", g->locked.dedupe.window_ms / 1000);
    nexus__json_close(w, '}');
    nexus__json_put_i64(w, "lag_ms", g->analytics ? atomic_load(&g->analytics->lag_ms) : 0);
    nexus__json_put_i64(w, "uptime_s", (nexus__mono_ns() - g->opened_ns) / NEXUS__NS_PER_S);
    nexus__json_put_u64(w, "replayed", g->replayed);
}

nexus_status nexus_ingest_stats(nexus_ingest *g, char **out, size_t *len)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    uint64_t segments = count_segments(g->dir);
    nexus__json_open(&w, '{');
    pthread_mutex_lock(&g->locked.mutex);
    write_stats(&w, g, segments);
    pthread_mutex_unlock(&g->locked.mutex);
    nexus__json_close(&w, '}');
    return hand_over(&text, out, len);
}

nexus_status nexus_ingest_rejected(nexus_ingest *g, nexus_slice code, uint64_t after, uint32_t limit, char **out,
                                   size_t *len)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    pthread_mutex_lock(&g->locked.mutex);
    nexus__rejected_write(&g->locked.rejected, &text, code, after, limit);
    pthread_mutex_unlock(&g->locked.mutex);
    return hand_over(&text, out, len);
}
