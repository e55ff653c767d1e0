/*
 * The thread that follows the transitions of a saga, those of other processes included, and brings an instance up when its
 * time has come. Two processes that run one saga both do; the second transition then loses the race and changes nothing.
 */
#include "base/status.h"
#include "saga/running.h"

enum { WAIT_MS = 100, STORE_MIN = 20000, STORE_POSITIONS = 1000000 };

void nexus__saga_replan(nexus_saga *s, nexus_slice id, int64_t due_ns)
{
    pthread_mutex_lock(&s->index_lock);
    nexus__saga_entry *e = nexus__map_get(&s->index.entries, id);
    if (e && !e->look_at)
        (void)!nexus__saga_index_plan(&s->index, e, due_ns);
    pthread_mutex_unlock(&s->index_lock);
}

/* The id of the first one that is due, taken out of the plan; then *next_ns = when to look again. */
static bool take_due(nexus_saga *s, int64_t now_ns, nexus__buf *id, int64_t *next_ns)
{
    pthread_mutex_lock(&s->index_lock);
    nexus__saga_entry *e = nexus__saga_index_first(&s->index);
    bool due = e && e->look_ns <= now_ns;
    *next_ns = e ? e->look_ns : INT64_MAX;
    if (due) {
        nexus__buf_clear(id);
        nexus__buf_append(id, e->id, e->id_bytes);
        (void)!nexus__saga_index_plan(&s->index, e, 0);
    }
    pthread_mutex_unlock(&s->index_lock);
    return due && id->status == NEXUS_OK;
}

/* Brings up what is due as far as there is room; returns for how long nothing more is, in ms. */
static uint32_t fire(nexus_saga *s, nexus__buf *id)
{
    int64_t now = nexus__real_ns(), next = INT64_MAX;
    while (nexus__saga_has_room(s, 0)) {
        if (!take_due(s, now, id, &next)) {
            int64_t ms = next == INT64_MAX ? WAIT_MS : (next - now) / NEXUS__NS_PER_MS + 1;
            return ms < 1 ? 1 : ms > WAIT_MS ? WAIT_MS : (uint32_t)ms; /* stored times are of the real clock: look often */
        }
        nexus__saga_item *item = nexus__calloc(s->type.alloc, 1, sizeof *item);
        if (item)
            item->kind = NEXUS__SAGA_TIME;
        if (!item || nexus__saga_push(s, nexus__buf_slice(id), item) != NEXUS_OK) {
            nexus__free(s->type.alloc, item);
            nexus__saga_replan(s, nexus__buf_slice(id), now + WAIT_MS * NEXUS__NS_PER_MS);
            break;
        }
    }
    return 5;
}

/* Every so many transitions, and when the log has grown much without any, so that the next start has little to read. Only
 * this thread changes entries, and the time at which one is looked at is not stored: no lock. */
static void store_index(nexus_saga *s, uint64_t pos, bool closing)
{
    uint64_t least = s->index.entries.count * 2 > STORE_MIN ? s->index.entries.count * 2 : STORE_MIN;
    s->index.pos = pos > s->index.pos ? pos : s->index.pos;
    if (s->index.since < (closing ? STORE_MIN / 20 : least) && s->index.pos < s->stored_pos + STORE_POSITIONS)
        return;
    if (nexus__saga_index_store(&s->index, s->bus, s->type.name) == NEXUS_OK)
        s->stored_pos = s->index.pos;
    s->index.since = 0; /* if it failed: with the next so many */
}

static void pause_a_while(nexus_saga *s)
{
    int64_t until = nexus__mono_ns() + WAIT_MS * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&s->lock);
    while (!s->closing && nexus__cond_wait_until(&s->room, &s->lock, until))
        ;
    pthread_mutex_unlock(&s->lock);
}

static bool closing(nexus_saga *s)
{
    pthread_mutex_lock(&s->lock);
    bool is = s->closing;
    pthread_mutex_unlock(&s->lock);
    return is;
}

void *nexus__saga_keep_time(void *arg)
{
    nexus_saga *s = arg;
    nexus__buf id;
    nexus__buf_init(&id, s->type.alloc, 0);
    int64_t looked_ns = nexus__mono_ns();
    while (!closing(s)) {
        const nexus_event *event;
        uint64_t head = 0;
        uint32_t wait_ms = fire(s, &id);
        bool look = nexus__mono_ns() > looked_ns + NEXUS__NS_PER_S;
        if (look && nexus_bus_head(s->bus, &head) != NEXUS_OK)
            head = 0;
        nexus_status status = nexus_reader_next(s->follower, &event, wait_ms);
        if (status == NEXUS_OK) {
            pthread_mutex_lock(&s->index_lock);
            (void)!nexus__saga_index_apply(&s->index, event);
            pthread_mutex_unlock(&s->index_lock);
        } else if (status != NEXUS_EDONE && status != NEXUS_ECORRUPT) {
            pause_a_while(s);
        }
        if (!look)
            continue;
        store_index(s, status == NEXUS_EDONE ? head : 0, false); /* at the end: there is none up to the head of before */
        looked_ns = nexus__mono_ns();
    }
    store_index(s, 0, true);
    nexus__buf_free(&id);
    return NULL;
}
