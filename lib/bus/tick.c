/* The broker's life: opening, the thread that ends leases and writes acks, waking those who wait, closing. */
#include "base/status.h"
#include "base/thread.h"
#include "bus/compact.h"
#include "bus/internal.h"
#include "bus/state.h"

#define ATTEMPTS_NS (1 * NEXUS__NS_PER_MS) /* between two writes of attempts */
#define RIDE_NS (ATTEMPTS_NS / 2)         /* so old they go with the next publish instead */
#define RETRY_NS (250 * NEXUS__NS_PER_MS) /* and those that were refused are offered again */

/* --- who waits for new events ---- */

static void grew(void *user_data)
{
    nexus__broker *b = user_data;
    nexus__keeper_grew(b);
    pthread_mutex_lock(&b->wait_lock);
    pthread_cond_broadcast(&b->grown);
    for (nexus__list *n = b->watchers.next; n != &b->watchers; n = n->next) {
        nexus__watch_group *w = NEXUS__CONTAINER(n, nexus__watch_group, node);
        w->fn(w->user_data);
    }
    pthread_mutex_unlock(&b->wait_lock);
    pthread_mutex_lock(&b->groups_lock);
    for (size_t i = 0; i < b->group_count; i++)
        nexus__bgroup_wake(b->group_list[i]);
    pthread_mutex_unlock(&b->groups_lock);
}

void nexus__broker_wait(nexus__broker *b, uint64_t pos, uint32_t wait_ms)
{
    int64_t until = nexus__mono_ns() + wait_ms * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&b->wait_lock);
    while (nexus__wal_durable(b->wal) <= pos && nexus__cond_wait_until(&b->grown, &b->wait_lock, until))
        ;
    pthread_mutex_unlock(&b->wait_lock);
}

void nexus__broker_watch(nexus__broker *b, nexus__watch_group *w)
{
    pthread_mutex_lock(&b->wait_lock);
    nexus__list_push(&b->watchers, &w->node);
    pthread_mutex_unlock(&b->wait_lock);
}

void nexus__broker_unwatch(nexus__broker *b, nexus__watch_group *w)
{
    pthread_mutex_lock(&b->wait_lock);
    nexus__list_remove(&w->node);
    pthread_mutex_unlock(&b->wait_lock);
}

/* --- the tick thread ---- */

void nexus__broker_tick(nexus__broker *b, bool now, int64_t due_ns)
{
    pthread_mutex_lock(&b->tick_lock);
    bool sooner = due_ns < b->tick_due_ns;
    if (sooner)
        b->tick_due_ns = due_ns;
    if (now)
        b->tick_now = true;
    if (sooner || now)
        pthread_cond_signal(&b->tick);
    pthread_mutex_unlock(&b->tick_lock);
}

void nexus__broker_owes(nexus__broker *b, bool attempts, int64_t now_ns, int64_t due_ns)
{
    int64_t none = 0, again = atomic_load_explicit(&b->paid_ns, memory_order_relaxed) + ATTEMPTS_NS;
    if (!atomic_load_explicit(&b->owed_ns, memory_order_relaxed))
        atomic_compare_exchange_strong(&b->owed_ns, &none, now_ns);
    if (attempts && again < due_ns)
        due_ns = again;
    nexus__broker_tick(b, false, due_ns);
}

typedef struct states {
    nexus__broker *broker;
    nexus__drained *list;
} states;

static bool begin_writing(nexus__broker *b)
{
    pthread_mutex_lock(&b->tick_lock);
    bool begun = !b->writing;
    b->writing = true;
    pthread_mutex_unlock(&b->tick_lock);
    return begun;
}

static void end_writing(nexus__broker *b)
{
    pthread_mutex_lock(&b->tick_lock);
    b->writing = false;
    if (b->tick_now)
        pthread_cond_broadcast(&b->tick);
    pthread_mutex_unlock(&b->tick_lock);
}

static void written(nexus_status status, uint64_t first_pos, void *user_data)
{
    (void)first_pos; /* the log itself says why it takes no more */
    states *s = user_data;
    nexus__broker *b = s->broker;
    nexus__drained_end(s->list, status == NEXUS_OK);
    nexus__free(b->alloc, s);
    if (status != NEXUS_OK)
        nexus__broker_tick(b, false, nexus__mono_ns() + RETRY_NS);
    end_writing(b);
}

/* One batch for what all groups have to tell. At most one is on its way, so that acks ride in groups: the caller has begun
 * writing. Under drain_lock. */
static void write_states(nexus__broker *b, nexus__bgroup **groups, size_t n, bool wait)
{
    nexus__wal_batch *batch;
    states *s = nexus__malloc(b->alloc, sizeof *s);
    if (!s || nexus__wal_batch_new(&batch, b->wal, 4096) != NEXUS_OK) {
        nexus__free(b->alloc, s);
        end_writing(b);
        return;
    }
    *s = (states){b, NULL};
    int64_t since = atomic_exchange(&b->owed_ns, 0);
    bool all = true;
    for (size_t i = 0; i < n; i++)
        all &= nexus__bgroup_drain(groups[i], batch, &s->list, wait);
    if (!all)
        atomic_store(&b->owed_ns, since);
    if (s->list) {
        atomic_store(&b->paid_ns, nexus__mono_ns());
        if (nexus__wal_submit(b->wal, batch, written, s, NULL, NULL) != NEXUS_OK)
            written(NEXUS_EIO, 0, s);
    } else {
        nexus__free(b->alloc, s);
        nexus__wal_batch_free(batch);
        end_writing(b);
    }
}

static nexus__bgroup **list_groups(nexus__broker *b, size_t *n)
{
    pthread_mutex_lock(&b->groups_lock);
    *n = b->group_count;
    nexus__bgroup **copy = nexus__malloc(b->alloc, (*n + 1) * sizeof *copy);
    if (copy && *n)
        memcpy(copy, b->group_list, *n * sizeof *copy);
    pthread_mutex_unlock(&b->groups_lock);
    if (!copy)
        *n = 0;
    return copy;
}

/* On the flush thread, when something is to be written anyway: a publish then finds the disk free more often than not.
 * Groups that are busy are left for the next time. */
static void ride(void *user_data)
{
    nexus__broker *b = user_data;
    int64_t since = atomic_load(&b->owed_ns);
    size_t n;
    if (!since || nexus__mono_ns() - since < RIDE_NS || pthread_mutex_trylock(&b->drain_lock) != 0)
        return;
    if (begin_writing(b)) {
        nexus__bgroup **groups = list_groups(b, &n);
        write_states(b, groups, n, false);
        nexus__free(b->alloc, groups);
    }
    pthread_mutex_unlock(&b->drain_lock);
}

static int64_t round_of(nexus__broker *b, bool write)
{
    size_t n;
    nexus__bgroup **groups = list_groups(b, &n);
    int64_t due = INT64_MAX, now = nexus__mono_ns();
    for (size_t i = 0; i < n; i++) {
        int64_t next = nexus__bgroup_expire(groups[i], now);
        due = next < due ? next : due;
    }
    if (write) {
        pthread_mutex_lock(&b->drain_lock);
        write_states(b, groups, n, true);
        pthread_mutex_unlock(&b->drain_lock);
    }
    nexus__free(b->alloc, groups);
    nexus__broker_publish_alerts(b);
    int64_t next = nexus__broker_fire(b, now);
    return next < due ? next : due;
}

static void *tick_main(void *arg)
{
    nexus__broker *b = arg;
    pthread_mutex_lock(&b->tick_lock);
    for (;;) {
        while (!b->closing && nexus__mono_ns() < b->tick_due_ns && !(b->tick_now && !b->writing))
            if (!nexus__cond_wait_until(&b->tick, &b->tick_lock, b->tick_due_ns))
                break;
        if (b->closing)
            break;
        bool write = !b->writing, later = b->writing;
        b->writing = true;
        atomic_store(&b->paid_ns, nexus__mono_ns());
        b->tick_now = b->tick_now && later;
        b->tick_due_ns = INT64_MAX;
        pthread_mutex_unlock(&b->tick_lock);
        int64_t due = round_of(b, write);
        pthread_mutex_lock(&b->tick_lock);
        if (later) {
            int64_t retry = nexus__mono_ns() + ATTEMPTS_NS;
            due = retry < due ? retry : due;
        }
        if (due < b->tick_due_ns)
            b->tick_due_ns = due;
    }
    pthread_mutex_unlock(&b->tick_lock);
    return NULL;
}

/* --- open, close ---- */

static void init(nexus__broker *b, const nexus_bus_opts *o)
{
    b->alloc = o->alloc;
    b->dedupe_max = o->dedupe_max ? o->dedupe_max : 1u << 20;
    b->dedupe_s = o->dedupe_s ? o->dedupe_s : 86400;
    b->event_max = o->event_max_bytes ? o->event_max_bytes : 1u << 20;
    b->retention = (nexus__retention){
        .max_bytes = o->retention_bytes, .max_age_ns = o->retention_s * NEXUS__NS_PER_S, .hard = o->retention_hard};
    b->watermark = o->disk_watermark_bytes;
    b->checkpoint_bytes = o->checkpoint_bytes ? o->checkpoint_bytes : 64u << 20;
    b->tick_due_ns = 0; /* what fell due while nobody ran */
    b->categories.alloc = b->alloc;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->quiet_over, NULL);
    nexus__delays_init(b);
    pthread_mutex_init(&b->open_lock, NULL);
    pthread_mutex_init(&b->groups_lock, NULL);
    pthread_mutex_init(&b->drain_lock, NULL);
    pthread_mutex_init(&b->tick_lock, NULL);
    pthread_mutex_init(&b->wait_lock, NULL);
    pthread_mutex_init(&b->keep.lock, NULL);
    pthread_mutex_init(&b->keep.work, NULL);
    nexus__cond_init(&b->keep.wake);
    nexus__cond_init(&b->tick);
    nexus__cond_init(&b->grown);
    nexus__list_init(&b->watchers);
    nexus__window_init(&b->ids, b->alloc);
    nexus__table_init(&b->heads, b->alloc);
    nexus__map_init(&b->groups, b->alloc);
}

static bool wants_retention(const nexus_bus_opts *o)
{
    return o->retention_s || o->retention_bytes;
}

static nexus_status start(nexus__broker *b, const char *dir, nexus__wal_engine *engine, const nexus_bus_opts *o)
{
    bool compacts = o->compact_types && *o->compact_types;
    bool weaker = o->durability == NEXUS_DURABILITY_INTERVAL || o->durability == NEXUS_DURABILITY_OS;
    bool unbounded = engine && wants_retention(o) && !engine->ops->drops;
    if (engine && (unbounded || weaker || compacts)) {
        engine->ops->close(engine);
        return nexus__fail(NEXUS_ENOTSUP, weaker     ? "bus option durability: interval and os need a log of files (file:)"
                                          : compacts ? "bus option compact_types needs a log of files (file:, memory:)"
                                                     : "bus options retention_s and retention_bytes need file:, memory:, sqlite:, postgresql: or redis:");
    }
    nexus__wal_opts opts = {.alloc = o->alloc,
                            .segment_bytes = o->segment_bytes,
                            .ahead_bytes = o->ahead_bytes,
                            .batch_max_bytes = 64u << 20,
                            .name = "nexus-bus-w",
                            .engine = engine};
    nexus__wal_report report;
    nexus__durability_ask(o, &opts);
    nexus_status status = nexus__wal_open(&b->wal, dir, &opts, &report);
    if (status == NEXUS_OK)
        status = nexus__compaction_open(&b->compaction, o);
    if (status != NEXUS_OK)
        return status;
    b->read_only = report.read_only;
    b->durability = nexus__durability_of(b->wal).mode;
    status = nexus__broker_recover(b);
    b->assigned = nexus__wal_durable(b->wal);
    if (status == NEXUS_OK)
        status = nexus__thread_start(&b->tick_thread, "nexus-bus-tick", tick_main, b);
    b->tick_started = status == NEXUS_OK;
    if (status == NEXUS_OK)
        status = nexus__keeper_start(b);
    nexus__wal_on_durable(b->wal, grew, b);
    nexus__wal_on_take(b->wal, ride, b);
    if (status == NEXUS_OK && report.lost[0])
        nexus__broker_alert(b, "critical", "the server of the bus has lost %s", report.lost);
    return status;
}

nexus_status nexus__broker_open(nexus__broker **out, const char *dir, nexus__wal_engine *engine,
                                const nexus_bus_opts *opts)
{
    nexus__broker *b = nexus__calloc(opts->alloc, 1, sizeof *b);
    if (!b && engine)
        engine->ops->close(engine);
    if (!b)
        return nexus__nomem();
    init(b, opts);
    nexus_status status = start(b, dir, engine, opts);
    if (status != NEXUS_OK) {
        nexus__broker_close(b);
        return status;
    }
    *out = b;
    return NEXUS_OK;
}

nexus_status nexus__broker_rescue(const char *dir)
{
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    nexus__broker *b = nexus__calloc(NULL, 1, sizeof *b);
    if (!b)
        return nexus__nomem();
    init(b, &opts);
    b->anyway = true;
    nexus_status status = start(b, dir, NULL, &opts);
    for (int i = 0; i < 2 && status == NEXUS_OK; i++) {
        pthread_mutex_lock(&b->keep.work);
        status = nexus__state_write(b);
        pthread_mutex_unlock(&b->keep.work);
    }
    nexus__broker_close(b);
    return status;
}

static void stop_ticking(nexus__broker *b)
{
    if (!b->tick_started)
        return;
    pthread_mutex_lock(&b->tick_lock);
    b->closing = true;
    pthread_cond_broadcast(&b->tick);
    pthread_mutex_unlock(&b->tick_lock);
    pthread_join(b->tick_thread, NULL);
    pthread_mutex_lock(&b->drain_lock);
    write_states(b, b->group_list, b->group_count, true);
    pthread_mutex_unlock(&b->drain_lock);
}

void nexus__broker_close(nexus__broker *b)
{
    if (!b)
        return;
    stop_ticking(b);
    nexus__keeper_stop(b);
    if (b->wal) /* groups hold readers of the log, and the log wakes groups: silence, then free, then close */
        nexus__wal_stop(b->wal);
    for (size_t i = 0; i < b->group_count; i++)
        nexus__bgroup_free(b->group_list[i]);
    nexus__wal_close(b->wal);
    nexus__broker_drop_alerts(b);
    nexus__free(b->alloc, b->group_list);
    nexus__map_free(&b->groups);
    nexus__window_free(&b->ids);
    nexus__table_free(&b->heads);
    nexus__categories_free(&b->categories);
    nexus__delays_free(b);
    nexus__compaction_close(b->compaction);
    pthread_cond_destroy(&b->quiet_over);
    pthread_mutex_destroy(&b->lock);
    pthread_mutex_destroy(&b->open_lock);
    pthread_mutex_destroy(&b->groups_lock);
    pthread_mutex_destroy(&b->drain_lock);
    pthread_mutex_destroy(&b->tick_lock);
    pthread_mutex_destroy(&b->wait_lock);
    pthread_mutex_destroy(&b->keep.lock);
    pthread_mutex_destroy(&b->keep.work);
    pthread_cond_destroy(&b->keep.wake);
    pthread_cond_destroy(&b->tick);
    pthread_cond_destroy(&b->grown);
    nexus__free(b->alloc, b);
}
