/*
 * A projection. The live thread takes batches of the live generation, begins and ends rebuilds; the threads of a rebuild
 * (projection_rebuild.c) do the same with their shares of a shadow generation. All that lasts is in the database, so a
 * thread that fails reads its place again and goes on.
 */
#include <stdio.h>

#include "base/status.h"
#include "bus/cause.h"
#include "bus/handle.h"
#include "bus/projection.h"

#define LOOK_MS 100 /* how late a close, a rebuild or another process's swap is noticed while nothing comes */

void nexus_projection_opts_init(nexus_projection_opts *opts)
{
    *opts = (nexus_projection_opts)NEXUS_PROJECTION_OPTS_INIT;
}

/* --- one batch ---- */

static nexus_status open_reader(nexus__projector *w)
{
    const nexus_projection_opts *o = &w->projection->opts;
    nexus_reader_opts r = NEXUS_READER_OPTS_INIT;
    r.types = o->types;
    r.category = o->category;
    r.subject_prefix = o->subject_prefix;
    r.source = o->source;
    r.tags = o->tags;
    r.start = NEXUS_START_POS;
    r.start_pos = atomic_load(&w->pos) + 1;
    r.to_pos = w->to;
    return nexus_reader_open(&w->reader, w->projection->bus, &r);
}

static bool in_share(const nexus__projector *w, const nexus_event *e)
{
    nexus_slice key = e->partitionkey.n ? e->partitionkey : e->subject;
    return w->parts == 1 || nexus__siphash((nexus__hash_key){8, 9}, key.p, key.n) % w->parts == w->part;
}

/* NEXUS_EAGAIN: the handler wants the batch again. */
static nexus_status give(nexus__projector *w, nexus_projection_tx *tx, const nexus_event *e, uint64_t *rejected)
{
    const nexus_projection *p = w->projection;
    nexus_db *event_tx;
    nexus_status status = nexus_db_begin(&event_tx, tx->db); /* a savepoint, so that a reject leaves nothing */
    if (status != NEXUS_OK)
        return status;
    nexus_projection_tx inner = {tx->projection, event_tx, tx->generation, tx->rebuild, NULL};
    const nexus_event *before = nexus__cause_set(e);
    int32_t verdict = p->opts.handler(&inner, e, p->opts.user_data);
    (void)nexus__cause_set(before);
    nexus_rows_free(inner.rows);
    if (verdict == NEXUS_ACK)
        return nexus_db_commit(event_tx);
    nexus_db_rollback(event_tx);
    if (verdict != NEXUS_REJECT)
        return nexus__fail(NEXUS_EAGAIN, "projection %s: its handler wants event %llu again", p->name,
                           (unsigned long long)e->pos);
    ++*rejected;
    return NEXUS_OK;
}

typedef struct batch {
    uint64_t events, rejected, to;
} batch;

/* Events until there is none at once, or the batch is full; e is the first. */
static nexus_status give_all(nexus__projector *w, nexus_projection_tx *tx, const nexus_event *e, batch *b)
{
    nexus_status status = NEXUS_OK;
    while (status == NEXUS_OK) {
        if (in_share(w, e)) {
            status = give(w, tx, e, &b->rejected);
            if (status != NEXUS_OK)
                return status;
            b->events++;
        }
        b->to = nexus_reader_position(w->reader);
        if (b->events >= w->projection->opts.batch && !nexus__reader_pending(w->reader))
            return NEXUS_OK;
        status = nexus_reader_next(w->reader, &e, 0);
        while (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING) /* cannot be projected; readers report it */
            status = nexus_reader_next(w->reader, &e, 0);
    }
    if (status == NEXUS_EDONE && nexus_reader_position(w->reader) > b->to)
        b->to = nexus_reader_position(w->reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

static nexus_status commit(nexus__projector *w, const nexus_event *e, batch *b)
{
    nexus_projection *p = w->projection;
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, p->db);
    if (status != NEXUS_OK)
        return status;
    nexus_projection_tx given = {p, tx, w->generation, w->rebuild, NULL};
    if (e)
        status = give_all(w, &given, e, b);
    if (status == NEXUS_OK)
        status = nexus__projection_move(p, tx, w, b->to);
    if (status == NEXUS_OK)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return status;
}

/* After a failure: what is committed is in the database, and nowhere else. */
static void look_up_place(nexus__projector *w)
{
    uint64_t pos;
    nexus_reader_close(w->reader);
    w->reader = NULL;
    if (nexus__projection_read_pos(w->projection, w, &pos) == NEXUS_OK)
        atomic_store(&w->pos, pos);
}

static void note(nexus_projection *p, nexus_status status)
{
    pthread_mutex_lock(&p->lock);
    p->error = status == NEXUS_EDONE ? NEXUS_OK : status;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

nexus_status nexus__projector_batch(nexus__projector *w, uint32_t wait_ms)
{
    nexus_projection *p = w->projection;
    const nexus_event *e = NULL;
    batch b = {.to = atomic_load(&w->pos)};
    nexus_status status = w->reader ? NEXUS_OK : open_reader(w);
    if (status != NEXUS_OK)
        return status;
    status = nexus_reader_next(w->reader, &e, wait_ms);
    if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
        return NEXUS_OK;
    bool ended = status == NEXUS_EDONE;
    if (ended) {
        e = NULL;
        b.to = nexus_reader_position(w->reader);
        if (b.to <= atomic_load(&w->pos))
            return NEXUS_EDONE;
        status = NEXUS_OK;
    }
    if (status == NEXUS_OK)
        status = commit(w, e, &b);
    if (status == NEXUS_OK) {
        atomic_store(&w->pos, b.to);
        atomic_fetch_add(&p->events, b.events);
        atomic_fetch_add(&p->rejected, b.rejected);
    } else {
        look_up_place(w);
    }
    note(p, status);
    return status == NEXUS_OK && ended ? NEXUS_EDONE : status;
}

void nexus__projector_rest(nexus__projector *w, uint32_t ms)
{
    nexus_projection *p = w->projection;
    int64_t until = nexus__mono_ns() + ms * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&p->lock);
    while (!atomic_load(&p->closing) && !(w->rebuild && atomic_load(&p->stop_parts)) &&
           nexus__cond_wait_until(&p->changed, &p->lock, until))
        ;
    pthread_mutex_unlock(&p->lock);
}

/* --- the live thread ---- */

/* The place is another process's doing; somebody may be waiting for it. */
static void show_place(nexus_projection *p, uint64_t pos)
{
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->live.pos, pos);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* Which generation is live, and whether it is of this version: then *runs. */
static nexus_status look_at_live(nexus_projection *p, bool *runs)
{
    uint32_t generation, version;
    uint64_t pos;
    nexus_status status = nexus__projection_read_live(p, p->db, &generation, &version, &pos);
    if (status == NEXUS_OK && !generation) {
        status = nexus__projection_make_live(p);
        if (status == NEXUS_OK)
            status = nexus__projection_read_live(p, p->db, &generation, &version, &pos);
    }
    if (status != NEXUS_OK)
        return status;
    if (generation != p->live.generation) {
        nexus_reader_close(p->live.reader);
        p->live.reader = NULL;
        p->live.generation = generation;
        show_place(p, pos);
    }
    *runs = version == p->opts.version;
    if (!*runs) {
        if (pos > atomic_load(&p->live.pos)) /* another process runs it */
            show_place(p, pos);
        pthread_mutex_lock(&p->lock);
        p->wants_rebuild =
            p->wants_rebuild || version < p->opts.version; /* an older one never takes a newer one's place */
        pthread_mutex_unlock(&p->lock);
    }
    return NEXUS_OK;
}

static nexus_status begin_if_wanted(nexus_projection *p)
{
    pthread_mutex_lock(&p->lock);
    bool wanted = p->wants_rebuild && !p->rebuilding;
    if (wanted) {
        p->rebuilding = true;
        p->wants_rebuild = false;
    }
    pthread_mutex_unlock(&p->lock);
    if (!wanted)
        return NEXUS_OK;
    nexus_status status = nexus__projection_begin_rebuild(p);
    if (status != NEXUS_OK) {
        pthread_mutex_lock(&p->lock);
        p->rebuilding = false;
        p->wants_rebuild = true;
        pthread_mutex_unlock(&p->lock);
    }
    return status;
}

static void *run(void *arg)
{
    nexus_projection *p = arg;
    int64_t look_ns = 0;
    bool runs = false;
    while (!atomic_load(&p->closing)) {
        nexus_status status = NEXUS_OK;
        if (nexus__mono_ns() >= look_ns) {
            status = look_at_live(p, &runs);
            if (status == NEXUS_OK)
                status = begin_if_wanted(p);
            if (status == NEXUS_OK)
                nexus__projection_look_at_rebuild(p);
            look_ns = nexus__mono_ns() + LOOK_MS * NEXUS__NS_PER_MS;
        }
        if (status == NEXUS_OK && runs)
            status = nexus__projector_batch(&p->live, LOOK_MS);
        else if (status == NEXUS_OK)
            nexus__projector_rest(&p->live, LOOK_MS);
        if (status == NEXUS_ESTALE) /* moved on, or swapped, by another process */
            look_ns = 0;
        else if (status != NEXUS_OK && status != NEXUS_EDONE) {
            note(p, status);
            nexus__projector_rest(&p->live, p->opts.retry_ms);
        }
    }
    return NULL;
}

/* --- open and close ---- */

static nexus_status keep_texts(nexus_projection *p)
{
    const char **const texts[] = {&p->opts.types, &p->opts.category, &p->opts.subject_prefix, &p->opts.source,
                                  &p->opts.tags};
    size_t at[5];
    for (size_t i = 0; i < 5; i++) {
        at[i] = p->texts.len;
        nexus__buf_text(&p->texts, *texts[i] ? *texts[i] : "");
        nexus__buf_char(&p->texts, '\0');
    }
    if (p->texts.status != NEXUS_OK)
        return nexus__nomem();
    for (size_t i = 0; i < 5; i++)
        if (*texts[i])
            *texts[i] = p->texts.p + at[i];
    return nexus__types_check(nexus__slice_c(p->opts.types));
}

static nexus_status open_db(nexus_projection *p)
{
    char url[4200] = "sqlite::memory:";
    if (p->opts.db) {
        p->db = p->opts.db;
        return NEXUS_OK;
    }
    bool files = p->bus->dir && !p->bus->engine->open_log;
    if (!files && (nexus_bus_caps(p->bus) & NEXUS_CAP_DURABLE))
        return nexus__fail(NEXUS_ENOTSUP, "projection %s: this engine has no place of its own for it, give opts.db",
                           p->name);
    if (files)
        snprintf(url, sizeof url, "sqlite:%s/projections.db", p->bus->dir);
    nexus_status status = nexus_db_open(&p->own_db, url, NULL);
    p->db = p->own_db;
    return status;
}

static bool good_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    for (size_t i = 0; i < n; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", name[i]))
            return false;
    return n >= 1 && n <= 128;
}

static nexus_status start(nexus_projection *p, const char *name)
{
    p->name = nexus__strndup(NULL, nexus__slice_c(name));
    nexus_status status = p->name ? keep_texts(p) : nexus__nomem();
    if (status == NEXUS_OK)
        status = open_db(p);
    if (status == NEXUS_OK)
        status = nexus__projection_prepare(p->db);
    if (status != NEXUS_OK)
        return status;
    p->live = (nexus__projector){.projection = p, .parts = 1};
    nexus_rows *rows;
    const nexus_value args[] = {NEXUS_TEXT_C(p->name), NEXUS_INT(p->opts.version)};
    status = nexus_db_query_one(
        &rows, p->db, "SELECT 1 FROM nexus_projection WHERE name = $1 AND version = $2 AND role = 'shadow' LIMIT 1",
        args, 2);
    if (status == NEXUS_OK)
        nexus_rows_free(rows);
    p->wants_rebuild = status == NEXUS_OK; /* one was interrupted */
    if (status != NEXUS_OK && status != NEXUS_ENOTFOUND)
        return status;
    status = nexus__thread_start(&p->live.thread, "nexus-project", run, p);
    p->live.started = status == NEXUS_OK;
    return status;
}

nexus_status nexus_projection_open(nexus_projection **out, nexus_bus *bus, const char *name,
                                   const nexus_projection_opts *opts)
{
    if (!opts || opts->size == 0 || !opts->handler || !good_name(name) || opts->parallel > 64)
        return nexus__fail(NEXUS_EINVAL, "projection: a name of 1 to 128 of A-Z a-z 0-9 . _ -, options begun with "
                                         "NEXUS_PROJECTION_OPTS_INIT, a handler, and at most 64 threads");
    nexus_projection *p = nexus__calloc(NULL, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    p->bus = bus;
    memcpy(&p->opts, opts, opts->size < sizeof p->opts ? opts->size : sizeof p->opts);
    p->opts.version = p->opts.version ? p->opts.version : 1;
    p->opts.batch = p->opts.batch ? p->opts.batch : 256;
    p->opts.parallel = p->opts.parallel ? p->opts.parallel : 1;
    p->opts.swap_lag = p->opts.swap_lag ? p->opts.swap_lag : 1000;
    p->opts.retry_ms = p->opts.retry_ms ? p->opts.retry_ms : 200;
    pthread_mutex_init(&p->lock, NULL);
    nexus__cond_init(&p->changed);
    nexus__buf_init(&p->texts, NULL, 0);
    nexus_status status = start(p, name);
    if (status != NEXUS_OK) {
        nexus_projection_close(p);
        return status;
    }
    *out = p;
    return NEXUS_OK;
}

void nexus_projection_close(nexus_projection *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->closing, true);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->live.started)
        pthread_join(p->live.thread, NULL);
    nexus__projection_end_parts(p);
    nexus_reader_close(p->live.reader);
    nexus_db_close(p->own_db);
    nexus__buf_free(&p->texts);
    nexus__free(NULL, p->name);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    nexus__free(NULL, p);
}

/* --- from outside ---- */

nexus_status nexus_projection_rebuild(nexus_projection *p)
{
    pthread_mutex_lock(&p->lock);
    bool busy = p->rebuilding || p->wants_rebuild;
    p->wants_rebuild = true;
    pthread_mutex_unlock(&p->lock);
    return busy ? nexus__fail(NEXUS_ECONFLICT, "projection %s is being rebuilt", p->name) : NEXUS_OK;
}

nexus_status nexus_projection_wait(nexus_projection *p, uint64_t pos, uint32_t wait_ms)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->live.pos) < pos && nexus__cond_wait_until(&p->changed, &p->lock, until))
        ;
    pthread_mutex_unlock(&p->lock);
    return atomic_load(&p->live.pos) >= pos ? NEXUS_OK
                                            : nexus__fail(NEXUS_ETIMEDOUT, "projection %s is at position %llu", p->name,
                                                          (unsigned long long)atomic_load(&p->live.pos));
}

void nexus_projection_read_stats(nexus_projection *p, nexus_projection_stats *out)
{
    nexus_projection_stats s = {.size = sizeof s};
    size_t size = out->size && out->size < sizeof s ? out->size : sizeof s;
    (void)!nexus_bus_head(p->bus, &s.head);
    pthread_mutex_lock(&p->lock);
    s.shadow_generation = p->shadow;
    s.error = p->error;
    s.shadow_position = p->part_count ? UINT64_MAX : 0;
    for (uint32_t i = 0; i < p->part_count; i++) {
        uint64_t pos = atomic_load(&p->parts[i].pos);
        s.shadow_position = pos < s.shadow_position ? pos : s.shadow_position;
    }
    pthread_mutex_unlock(&p->lock);
    s.generation = p->live.generation;
    s.position = atomic_load(&p->live.pos);
    s.events = atomic_load(&p->events);
    s.rejected = atomic_load(&p->rejected);
    memcpy(out, &s, size);
    out->size = size;
}
