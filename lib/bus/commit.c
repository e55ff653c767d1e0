/*
 * Consume and publish in one commit. While it is on its way to the log its deliveries are neither leased nor settled
 * (ENTRY_COMMITTING): nobody else gets them, and no time runs out. Then they are settled, or as they were.
 *
 * The acks stand in the batch of the events, with a floor of 0: a group that was moved meanwhile keeps its place.
 */
#include "base/status.h"
#include "bus/internal.h"

typedef struct commit {
    nexus__broker *broker;
    nexus__publish_done_fn *done;
    void *user_data;
    size_t n;
    nexus__commit_ack acks[];
} commit;

static entry *committing(const nexus__commit_ack *a)
{
    entry *e = nexus__map_get(&a->group->by_pos, nexus__pos_key(&a->pos));
    return e && e->state == ENTRY_COMMITTING && e->token == a->token ? e : NULL;
}

/* Each is settled, or leased again until its time. */
static void end_each(const commit *c, size_t n, bool settled)
{
    for (size_t i = 0; i < n; i++) {
        nexus__bgroup *g = c->acks[i].group;
        pthread_mutex_lock(&g->lock);
        entry *e = committing(&c->acks[i]); /* NULL: the group was moved */
        if (e && settled) {
            nexus__bgroup_done(g, e);
        } else if (e) {
            e->state = ENTRY_LEASED;
            nexus__bgroup_timer_start(g, e, e->due_ns);
        }
        pthread_mutex_unlock(&g->lock);
        if (e && settled)
            nexus__bgroup_wake(g);
    }
    nexus__broker_tick(c->broker, false, nexus__mono_ns());
}

static void written(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    commit *c = user_data;
    if (status != NEXUS_OK) { /* a checkpoint that took it for settled is no good */
        pthread_mutex_lock(&c->broker->lock);
        c->broker->taken_back++;
        pthread_mutex_unlock(&c->broker->lock);
    }
    end_each(c, c->n, status == NEXUS_OK);
    c->done(status, result, c->user_data);
    nexus__free(c->broker->alloc, c);
}

/* Marks the deliveries; all or none. */
static nexus_status begin(commit *c)
{
    for (size_t i = 0; i < c->n; i++) {
        nexus__bgroup *g = c->acks[i].group;
        pthread_mutex_lock(&g->lock);
        entry *e = nexus__bgroup_leased(g, c->acks[i].pos, c->acks[i].token);
        if (e) {
            nexus__bgroup_timer_stop(g, e);
            e->state = ENTRY_COMMITTING;
        }
        pthread_mutex_unlock(&g->lock);
        if (!e) {
            end_each(c, i, false);
            return nexus__fail(NEXUS_ESTALE, "the lease on event %llu of group %s is over: nothing was committed",
                               (unsigned long long)c->acks[i].pos, g->name);
        }
    }
    return NEXUS_OK;
}

/* What the log is to know of an ack: of a letter that was handed out again, that it is gone. */
static nexus__wal_record record_of(const commit *c, size_t i, uint64_t body[2])
{
    nexus__bgroup *g = c->acks[i].group;
    pthread_mutex_lock(&g->lock);
    const entry *e = committing(&c->acks[i]);
    bool back = e && e->back;
    pthread_mutex_unlock(&g->lock);
    body[0] = back ? c->acks[i].pos : 0;
    body[1] = c->acks[i].pos;
    return (nexus__wal_record){.kind = back ? KIND_GONE : KIND_ACK,
                               .flags = NEXUS__WAL_INTERNAL,
                               .meta = nexus__slice_c(g->name),
                               .payload = nexus__slice(body, back ? sizeof body[0] : 2 * sizeof body[0])};
}

static nexus_status publish(commit *c, const nexus_event *events, size_t n, const nexus__publish_terms *terms,
                            nexus_publish_result *result)
{
    const nexus_alloc *alloc = c->broker->alloc;
    nexus__publish_terms with = *terms;
    nexus__wal_record *records = nexus__malloc(alloc, (c->n + 1) * sizeof *records);
    uint64_t(*bodies)[2] = nexus__malloc(alloc, (c->n + 1) * sizeof *bodies);
    nexus_status status = records && bodies ? NEXUS_OK : nexus__nomem();
    for (size_t i = 0; i < c->n && status == NEXUS_OK; i++)
        records[i] = record_of(c, i, bodies[i]);
    with.with = records;
    with.with_count = c->n;
    if (status == NEXUS_OK)
        status = nexus__broker_publish(c->broker, events, n, &with, written, c, result);
    nexus__free(alloc, records);
    nexus__free(alloc, bodies);
    return status;
}

nexus_status nexus__broker_commit(nexus__broker *b, const nexus__commit_ack *acks, size_t n_acks,
                                  const nexus_event *events, size_t n, const nexus__publish_terms *terms,
                                  nexus__publish_done_fn *done, void *user_data, nexus_publish_result *result)
{
    *result = (nexus_publish_result){.size = sizeof *result, .version = -1, .actual_version = -1};
    if (terms->not_before_ns)
        return nexus__fail(NEXUS_EINVAL, "a commit stores its events now: without not_before_ns");
    commit *c = nexus__calloc(b->alloc, 1, sizeof *c + n_acks * sizeof c->acks[0]);
    if (!c)
        return nexus__nomem();
    *c = (commit){.broker = b, .done = done, .user_data = user_data, .n = n_acks};
    memcpy(c->acks, acks, n_acks * sizeof acks[0]);
    nexus_status status = begin(c);
    bool stale = status != NEXUS_OK;
    if (stale && n && nexus__broker_has_all(b, events, n)) { /* it was done before, and its answer was lost */
        status = nexus__broker_publish(b, events, n, terms, done, user_data, result);
    } else if (!stale) {
        status = publish(c, events, n, terms, result);
        if (status == NEXUS_OK)
            return NEXUS_OK;
        end_each(c, c->n, false);
    }
    nexus__free(b->alloc, c);
    return status;
}
