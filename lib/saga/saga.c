/*
 * A running saga type. Vocabulary: an instance is one process, told by its id; a transition is one stored event
 * "saga.transition" in the stream "saga-NAME-ID", which holds the whole instance, so that the last one is all that has to be
 * read. A transition and the events it publishes are one append: after a crash either all of it is there or nothing, and
 * then the event or time that led to it comes again.
 *
 *   intake.c   fetches events and finds each one's instance          one thread
 *   timers.c   follows the transitions and wakes what waits          one thread
 *   lanes.c    what is to be done, one lane an instance              opts.threads threads
 *   turn.c     one item of a lane: decide, store, settle
 *   step.c     the decisions, pure                                   context.c: what callbacks may call
 *
 * Should two processes run the same saga, the transitions' ids (NAME/ID/number) make the second one a conflict: it reads the
 * instance again. Memory: an index entry for each instance that has not ended, and whole instances up to cache_bytes.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/status.h"
#include "saga/running.h"

void nexus_saga_step_init(nexus_saga_step *step)
{
    *step = (nexus_saga_step)NEXUS_SAGA_STEP_INIT;
}

void nexus_saga_table_init(nexus_saga_table *table)
{
    *table = (nexus_saga_table)NEXUS_SAGA_TABLE_INIT;
}

void nexus_saga_opts_init(nexus_saga_opts *opts)
{
    *opts = (nexus_saga_opts)NEXUS_SAGA_OPTS_INIT;
}

/* --- opening --------------------------------------------------------------------------------------------------- */

static nexus_status check_versions(const nexus_saga *s)
{
    char list[300] = "";
    size_t at = 0, cursor = 0, wrong = 0;
    for (nexus__map_entry *m; (m = nexus__map_next(&s->index.entries, &cursor));) {
        const nexus__saga_entry *e = m->value;
        if (nexus__saga_type_table(&s->type, e->version))
            continue;
        if (wrong++ < 5 && at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, " %.40s (version %" PRIu32 ")", e->id, e->version);
    }
    return wrong ? nexus__fail(NEXUS_EREV, "saga %s: %zu instances of versions without a table here are running:%s",
                               s->type.name, wrong, list)
                 : NEXUS_OK;
}

static nexus_status load_index(nexus_saga *s)
{
    nexus_status status = nexus__saga_index_load(&s->index, s->bus, s->type.name);
    s->stored_pos = s->index.pos;
    if (status == NEXUS_OK)
        status = nexus__saga_index_follow(&s->index, &s->follower, s->bus, s->type.name);
    return status == NEXUS_OK ? nexus__saga_index_catch_up(&s->index, s->follower) : status;
}

static nexus_status open_group(nexus_saga *s)
{
    char name[64];
    nexus__buf types;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    nexus__buf_init(&types, s->type.alloc, 0);
    nexus__saga_type_patterns(&s->type, &types);
    opts.types = types.p;
    opts.update = true; /* a new table may listen to other types */
    opts.order = NEXUS_ORDER_NONE;
    opts.ack_wait_ms = NEXUS__SAGA_ACK_WAIT_MS; /* time-outs of steps run on: a crash must not cost more */
    opts.max_inflight = 4096;
    opts.max_deliver = s->type.early_attempts + 8;
    opts.redeliver_percent = 100; /* what comes too early comes again: that is no storm */
    opts.redeliver_per_s = 1000;
    snprintf(name, sizeof name, "saga-%s", s->type.name);
    nexus_status status =
        types.status == NEXUS_OK ? nexus_group_open(&s->group, s->bus, name, &opts) : nexus__nomem();
    nexus__buf_free(&types);
    return status;
}

static nexus_status start_threads(nexus_saga *s)
{
    nexus_status status = NEXUS_OK;
    for (; status == NEXUS_OK && s->worker_count < s->threads; s->worker_count += status == NEXUS_OK)
        status = nexus__thread_start(&s->workers[s->worker_count], "nexus-saga", nexus__saga_work, s);
    if (status == NEXUS_OK)
        status = nexus__thread_start(&s->index_thread, "nexus-saga-time", nexus__saga_keep_time, s);
    s->index_started = status == NEXUS_OK;
    if (status == NEXUS_OK)
        status = nexus__thread_start(&s->in_thread, "nexus-saga-in", nexus__saga_take_in, s);
    s->in_started = status == NEXUS_OK;
    return status;
}

static void init(nexus_saga *s, nexus_bus *bus, const nexus_saga_opts *o)
{
    s->bus = bus;
    s->cache_max = o->cache_bytes ? o->cache_bytes : 128u << 20;
    s->threads = o->threads ? o->threads : 1;
    s->item_max = NEXUS__SAGA_ITEMS;
    nexus__map_init(&s->lanes, o->alloc);
    nexus__list_init(&s->ready);
    nexus__list_init(&s->idle);
    nexus__list_init(&s->held);
    nexus__saga_index_init(&s->index, o->alloc);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->index_lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->renewed, NULL);
    nexus__cond_init(&s->room);
}

static nexus_status make_tether(nexus_saga *s, const nexus_alloc *alloc)
{
    s->tether = nexus__calloc(alloc, 1, sizeof *s->tether);
    if (!s->tether)
        return nexus__nomem();
    *s->tether = (nexus__saga_tether){.alloc = alloc, .saga = s, .refs = 1};
    pthread_mutex_init(&s->tether->lock, NULL);
    return NEXUS_OK;
}

nexus_status nexus_saga_open(nexus_saga **out, nexus_bus *bus, const char *name, const nexus_saga_step *steps,
                             size_t step_count, const nexus_saga_opts *opts)
{
    nexus_saga_opts o = NEXUS_SAGA_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    if (o.threads > NEXUS__SAGA_THREADS_MAX)
        return nexus__fail(NEXUS_EINVAL, "saga %s: %u threads; at most %d", name, o.threads, NEXUS__SAGA_THREADS_MAX);
    nexus_saga *s = nexus__calloc(o.alloc, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    init(s, bus, &o);
    nexus_status status = nexus__saga_type_init(&s->type, name, steps, step_count, &o);
    if (status == NEXUS_OK)
        status = make_tether(s, o.alloc);
    if (status == NEXUS_OK)
        status = load_index(s);
    if (status == NEXUS_OK)
        status = check_versions(s);
    if (status == NEXUS_OK)
        status = open_group(s);
    if (status == NEXUS_OK)
        status = start_threads(s);
    if (status != NEXUS_OK) {
        nexus_saga_close(s);
        return status;
    }
    *out = s;
    return NEXUS_OK;
}

/* --- closing --------------------------------------------------------------------------------------------------- */

/* What is in the lanes is finished, as long as the bus answers. */
static void drain(nexus_saga *s)
{
    int64_t until = nexus__mono_ns() + 10 * NEXUS__NS_PER_S;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_broadcast(&s->room);
    pthread_mutex_unlock(&s->lock);
    if (s->in_started)
        pthread_join(s->in_thread, NULL);
    if (s->index_started)
        pthread_join(s->index_thread, NULL);
    pthread_mutex_lock(&s->lock);
    while (s->busy && nexus__cond_wait_until(&s->room, &s->lock, until))
        ;
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t k = 0; k < s->worker_count; k++)
        pthread_join(s->workers[k], NULL);
}

static void free_lanes(nexus_saga *s)
{
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&s->lanes, &cursor));) {
        nexus__saga_lane *lane = e->value;
        while (!nexus__list_empty(&lane->items)) {
            nexus__saga_item *item = NEXUS__CONTAINER(lane->items.next, nexus__saga_item, in_lane);
            nexus__list_remove(&item->in_lane);
            nexus__list_remove(&item->held);
            item->status = NEXUS_ECLOSED;
            nexus__saga_item_free(s, item);
        }
        nexus__saga_instance_free(lane->instance);
        nexus__free(s->type.alloc, lane);
    }
    nexus__map_free(&s->lanes);
}

void nexus_saga_close(nexus_saga *s)
{
    if (!s)
        return;
    drain(s);
    if (s->tether) { /* from here on a publish that is still under way finds nobody */
        pthread_mutex_lock(&s->tether->lock);
        s->tether->saga = NULL;
        pthread_mutex_unlock(&s->tether->lock);
        nexus__saga_tether_unref(s->tether);
    }
    free_lanes(s);
    nexus_group_close(s->group);
    nexus_reader_close(s->follower);
    nexus__saga_index_free(&s->index);
    nexus__saga_type_free(&s->type);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->room);
    pthread_cond_destroy(&s->renewed);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->index_lock);
    nexus__free(s->type.alloc, s);
}

/* --- by hand --------------------------------------------------------------------------------------------------- */

nexus_status nexus_saga_start(nexus_saga *s, nexus_slice id, nexus_slice state)
{
    if (id.n == 0 || id.n > NEXUS__SAGA_ID_MAX)
        return nexus__fail(NEXUS_EINVAL, "the id of a saga instance has 1 to %d bytes, not %zu", NEXUS__SAGA_ID_MAX, id.n);
    nexus__saga_item *item = nexus__calloc(s->type.alloc, 1, sizeof *item);
    if (!item)
        return nexus__nomem();
    item->kind = NEXUS__SAGA_START;
    item->state = state;
    nexus_status status = nexus__saga_push(s, id, item);
    if (status == NEXUS_OK) {
        (void)!nexus__gate_wait(&item->gate, INT64_MAX);
        status = item->status;
        if (status != NEXUS_OK)
            (void)nexus__fail(status, "%s", item->message[0] ? item->message : "the saga was closed");
    }
    nexus__free(s->type.alloc, item);
    return status;
}
