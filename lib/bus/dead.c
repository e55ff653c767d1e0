/*
 * Dead letters: copies of what never worked, to be looked at, handed out again, or removed.
 *
 * A letter that is handed out again is kept, marked `back`, until it is settled: a crash in between finds it in the log
 * and hands it out once more. When it fails again, it is a dead letter again, under the same position.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "bus/internal.h"
#include "json/write.h"

/* --- keeping ------------------------------------------------------------------------------------------------------ */

static void free_letter(nexus__bgroup *g, dead *d)
{
    nexus__list_remove(&d->node);
    nexus__bgroup_unpark(g, d);
    nexus__stored_unref(g->broker->alloc, d->stored);
    nexus__free(g->broker->alloc, d->reason);
    nexus__free(g->broker->alloc, d);
}

void nexus__bgroup_drop_dead(nexus__bgroup *g, uint64_t pos)
{
    dead *d = nexus__map_remove(&g->dead_by_pos, nexus__pos_key(&pos));
    if (!d)
        return;
    g->dead_count -= !d->back;
    if (g->dead_count < g->config.dead_max / 10 * 9)
        g->told_full = false;
    free_letter(g, d);
}

/* The oldest that is not being tried again. */
static dead *oldest(nexus__bgroup *g)
{
    for (nexus__list *n = g->dead.next; n != &g->dead; n = n->next)
        if (!NEXUS__CONTAINER(n, dead, node)->back)
            return NEXUS__CONTAINER(n, dead, node);
    return NULL;
}

static void remove_for_good(nexus__bgroup *g, const dead *d)
{
    uint64_t pos = d->pos;
    nexus__buf_append(&g->gone, &pos, sizeof pos);
    nexus__bgroup_drop_dead(g, pos);
}

nexus_status nexus__bgroup_dead_room(nexus__bgroup *g, uint64_t pos)
{
    if (g->dead_count < g->config.dead_max)
        return NEXUS_OK;
    bool drops = g->config.dead_overflow == NEXUS_DEAD_DROP_OLDEST;
    if (!g->told_full)
        nexus__broker_alert(g->broker, "critical", "bus group %s has %u dead letters, as many as it keeps: %s", g->name,
                            g->config.dead_max, drops ? "the oldest are dropped" : "what fails now waits");
    g->told_full = true;
    while (drops && g->dead_count >= g->config.dead_max)
        remove_for_good(g, oldest(g));
    return drops ? NEXUS_OK
                 : nexus__fail(NEXUS_ELIMIT, "group %s has %u dead letters, no room for %llu; redrive or purge them",
                               g->name, g->config.dead_max, (unsigned long long)pos);
}

int64_t nexus__bgroup_expire_dead(nexus__bgroup *g, int64_t now_ns)
{
    int64_t keep_ns = g->config.dead_expire_s * NEXUS__NS_PER_S;
    if (!keep_ns)
        return INT64_MAX;
    for (dead *d; (d = oldest(g)) != NULL; remove_for_good(g, d)) {
        int64_t left = d->dead_at_ns + keep_ns - nexus__real_ns();
        if (left > 0) /* by the clock of the day: look again in a minute at most */
            return now_ns + (left < 60 * NEXUS__NS_PER_S ? left : 60 * NEXUS__NS_PER_S);
    }
    return INT64_MAX;
}

void nexus__bgroup_free_dead(nexus__bgroup *g)
{
    while (!nexus__list_empty(&g->dead))
        free_letter(g, NEXUS__CONTAINER(g->dead.next, dead, node));
    nexus__map_free(&g->dead_by_pos);
}

static nexus_status keep(nexus__bgroup *g, const dead_record *d, nexus_slice reason, nexus__stored *stored)
{
    nexus__bgroup_drop_dead(g, d->pos); /* it was handed out again, and failed again */
    dead *x = nexus__calloc(g->broker->alloc, 1, sizeof *x);
    char *text = nexus__strndup(g->broker->alloc, reason);
    if (!x || !text) {
        nexus__free(g->broker->alloc, x);
        nexus__free(g->broker->alloc, text);
        return nexus__nomem();
    }
    *x = (dead){.pos = d->pos,
                .stored = stored,
                .first_at_ns = d->first_at_ns,
                .dead_at_ns = d->dead_at_ns,
                .attempts = d->attempts & ~DEAD_PARKED,
                .reason = text};
    nexus__list_init(&x->in_parked);
    nexus_status status = nexus__map_put(&g->dead_by_pos, nexus__pos_key(&x->pos), x, NULL);
    if (status != NEXUS_OK) {
        nexus__free(g->broker->alloc, text);
        nexus__free(g->broker->alloc, x);
        return status;
    }
    nexus__list_push(&g->dead, &x->node);
    g->dead_count++;
    return d->attempts & DEAD_PARKED ? nexus__bgroup_park(g, x) : NEXUS_OK;
}

nexus_status nexus__bgroup_add_dead(nexus__bgroup *g, const dead_record *d, nexus_slice reason, nexus__stored *stored)
{
    nexus_status status = keep(g, d, reason, stored);
    if (status != NEXUS_OK && !nexus__map_get(&g->dead_by_pos, nexus__pos_key(&d->pos)))
        nexus__stored_unref(g->broker->alloc, stored);
    return status;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static nexus_slice key_of(const nexus_event *e)
{
    return e->partitionkey.n ? e->partitionkey : e->subject;
}

static bool matches(const nexus__dead_query *q, const dead *d)
{
    const nexus_event *e = &d->stored->view.event;
    nexus_slice reason = nexus__slice_c(d->reason);
    return !d->back && d->pos > q->after && (!q->pos || d->pos == q->pos) &&
           (!q->before_ns || d->dead_at_ns <= q->before_ns) && (!q->types.n || nexus__types_match(q->types, e->type)) &&
           (!q->key.n || nexus__slice_eq(q->key, key_of(e))) &&
           (!q->reason.n || nexus__slice_search(reason, q->reason) < reason.n);
}

static int by_pos(const void *a, const void *b)
{
    uint64_t x = (*(dead *const *)a)->pos, y = (*(dead *const *)b)->pos;
    return (x > y) - (x < y);
}

/* The lowest positions of many: a heap with the highest of them on top. */
typedef struct lowest {
    dead **at;
    size_t n, max;
} lowest;

static void sink(lowest *l, dead *d)
{
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < l->n; at = child) {
        child += child + 1 < l->n && l->at[child + 1]->pos > l->at[child]->pos;
        if (l->at[child]->pos <= d->pos)
            break;
        l->at[at] = l->at[child];
    }
    l->at[at] = d;
}

static void rise(lowest *l, dead *d)
{
    size_t at = l->n++;
    for (; at && l->at[(at - 1) / 2]->pos < d->pos; at = (at - 1) / 2)
        l->at[at] = l->at[(at - 1) / 2];
    l->at[at] = d;
}

static void offer(lowest *l, dead *d)
{
    if (l->n < l->max)
        rise(l, d);
    else if (d->pos < l->at[0]->pos)
        sink(l, d);
}

/* The letters that match, by position, at most the limit; *all counts those beyond it too. Free *out. */
static nexus_status find(nexus__bgroup *g, const nexus__dead_query *q, dead ***out, size_t *n, uint64_t *all)
{
    lowest l = {.max = q->limit && q->limit < g->dead_count ? q->limit : g->dead_count};
    l.at = nexus__malloc(g->broker->alloc, (l.max + 1) * sizeof *l.at);
    *all = 0;
    if (!l.at)
        return nexus__nomem();
    for (nexus__list *node = g->dead.next; node != &g->dead; node = node->next) {
        dead *d = NEXUS__CONTAINER(node, dead, node);
        if (!matches(q, d))
            continue;
        ++*all;
        offer(&l, d);
    }
    qsort(l.at, l.n, sizeof *l.at, by_pos);
    *out = l.at;
    *n = l.n;
    return NEXUS_OK;
}

static void write_letter(nexus__json_writer *w, const dead *d)
{
    char text[32];
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "pos", d->pos);
    nexus__json_put_u64(w, "attempts", d->attempts);
    nexus__json_put_text_c(w, "reason", d->reason);
    nexus__json_put_bool(w, "parked", d->parked != NULL);
    nexus__json_put_text(w, "first_at", nexus__slice(text, nexus__format_rfc3339(d->first_at_ns, text)));
    nexus__json_put_text(w, "dead_at", nexus__slice(text, nexus__format_rfc3339(d->dead_at_ns, text)));
    nexus__json_put_raw(w, "event", NEXUS_S(""));
    nexus__event_write_json(w->out, &d->stored->view.event);
    nexus__json_close(w, '}');
}

nexus_status nexus__bgroup_dead(nexus__bgroup *g, const nexus__dead_query *q, nexus__buf *json)
{
    nexus__json_writer w = nexus__json_writer_on(json);
    dead **found;
    size_t n;
    uint64_t all;
    pthread_mutex_lock(&g->lock);
    nexus_status status = find(g, q, &found, &n, &all);
    if (status == NEXUS_OK) {
        nexus__json_open(&w, '[');
        for (size_t i = 0; i < n; i++)
            write_letter(&w, found[i]);
        nexus__json_close(&w, ']');
        nexus__free(g->broker->alloc, found);
        status = json->status;
    }
    pthread_mutex_unlock(&g->lock);
    return status;
}

/* --- handing out again -------------------------------------------------------------------------------------------- */

nexus_status nexus__bgroup_mark_back(nexus__bgroup *g, uint64_t pos, nexus_slice data)
{
    dead *d = nexus__map_get(&g->dead_by_pos, nexus__pos_key(&pos));
    nexus_status status = NEXUS_OK;
    if (!d || d->back)
        return nexus__fail(NEXUS_ENOTFOUND, "group %s has no dead letter %llu", g->name, (unsigned long long)pos);
    if (data.n) {
        nexus__stored *edited = nexus__stored_new(g->broker->alloc, d->stored->meta, data, &status);
        if (!edited)
            return status;
        edited->pos = edited->view.event.pos = pos;
        edited->view.event.version = d->stored->view.event.version;
        edited->view.event.recv_ns = d->stored->view.event.recv_ns;
        nexus__stored_unref(g->broker->alloc, d->stored);
        d->stored = edited;
    }
    nexus__bgroup_unpark(g, d);
    d->back = true;
    d->attempts = 0;
    g->dead_count--;
    return NEXUS_OK;
}

nexus_status nexus__bgroup_hand_back(nexus__bgroup *g)
{
    nexus_status status = NEXUS_OK;
    for (nexus__list *n = g->dead.next; n != &g->dead && status == NEXUS_OK; n = n->next) {
        const dead *d = NEXUS__CONTAINER(n, dead, node);
        if (!d->back)
            continue;
        status = nexus__bgroup_readmit(g, nexus__stored_ref(d->stored), d->attempts);
        if (status != NEXUS_OK)
            nexus__stored_unref(g->broker->alloc, d->stored);
    }
    return status;
}

static nexus_status log_back(nexus__bgroup *g, const dead *d, nexus_slice data)
{
    nexus__buf body;
    nexus__buf_init(&body, g->broker->alloc, 0);
    nexus__buf_append(&body, &d->pos, sizeof d->pos);
    nexus__buf_slice_append(&body, data);
    nexus__wal_record r = {.kind = KIND_BACK,
                           .flags = NEXUS__WAL_INTERNAL,
                           .meta = nexus__slice_c(g->name),
                           .payload = nexus__buf_slice(&body)};
    nexus_status status = body.status;
    if (status == NEXUS_OK && data.n)
        status = nexus__bgroup_tell_edit(g, d, &r);
    else if (status == NEXUS_OK)
        status = nexus__wal_append_async(g->broker->wal, &r, 1, NULL, NULL);
    nexus__buf_free(&body);
    return status;
}

/* A parked lane comes back from its beginning: nobody may overtake his elders. */
static nexus_status check_turn(const dead *d)
{
    const dead *first = d->parked ? NEXUS__CONTAINER(d->parked->letters.next, dead, in_parked) : d;
    if (first == d)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ECONFLICT, "dead letter %llu is parked behind %llu of its key: redrive the key",
                       (unsigned long long)d->pos, (unsigned long long)first->pos);
}

/* Since a seek its event may be in the window again, and somebody may be at it. */
static nexus_status check_rest(const nexus__bgroup *g, uint64_t pos)
{
    const entry *e = nexus__map_get(&g->by_pos, nexus__pos_key(&pos));
    if (!e || (e->state != ENTRY_LEASED && e->state != ENTRY_COMMITTING))
        return NEXUS_OK;
    return nexus__fail(NEXUS_ECONFLICT, "event %llu of group %s is being tried since a seek: redrive its letter afterwards",
                       (unsigned long long)pos, g->name);
}

static nexus_status hand_out(nexus__bgroup *g, dead *d, nexus_slice data)
{
    uint64_t pos = d->pos;
    nexus_status status = check_turn(d);
    if (status == NEXUS_OK)
        status = check_rest(g, pos);
    if (status == NEXUS_OK)
        status = log_back(g, d, data);
    if (status == NEXUS_OK)
        status = nexus__bgroup_mark_back(g, pos, data);
    if (status != NEXUS_OK)
        return status;
    nexus__bgroup_supplant(g, pos);
    status = nexus__bgroup_readmit(g, nexus__stored_ref(d->stored), 0);
    if (status != NEXUS_OK)
        nexus__stored_unref(g->broker->alloc, d->stored); /* the log has it: the next start hands it out */
    return status;
}

static void note(nexus__bgroup *g, uint32_t what, const nexus__dead_report *report)
{
    char detail[48];
    int n = snprintf(detail, sizeof detail, "%llu letters", (unsigned long long)report->done);
    if (report->done)
        nexus__bgroup_note(g, what, report->last, nexus__slice(detail, (size_t)n));
}

/* What was appended before is durable when this returns NEXUS_OK: the note stands behind it. */
static nexus_status settle_log(nexus__bgroup *g, nexus_status status)
{
    nexus_status durable = nexus__bgroup_sync(g);
    return status != NEXUS_OK ? status : durable;
}

nexus_status nexus__bgroup_redrive(nexus__bgroup *g, const nexus__dead_query *q, nexus_slice data, bool dry,
                                   nexus__dead_report *report)
{
    dead **found;
    size_t n;
    *report = (nexus__dead_report){0};
    nexus_status status = nexus__bgroup_lock_log(g); /* a letter, and who held it, stand in the log before it is handed out */
    if (status != NEXUS_OK)
        return status;
    status = find(g, q, &found, &n, &report->matched);
    if (status != NEXUS_OK) {
        nexus__bgroup_unlock_log(g);
        return status;
    }
    if (data.n && report->matched != 1)
        status = nexus__fail(NEXUS_EINVAL, "new data is for one dead letter, %llu match",
                             (unsigned long long)report->matched);
    for (size_t i = 0; i < n && !dry && status == NEXUS_OK; i++) {
        report->last = found[i]->pos;
        status = hand_out(g, found[i], data);
        report->done += status == NEXUS_OK;
    }
    note(g, data.n ? AUDIT_EDIT : AUDIT_REDRIVE, report);
    nexus__free(g->broker->alloc, found);
    nexus__bgroup_unlock_log(g);
    if (!report->done)
        return status;
    nexus__bgroup_wake(g);
    return settle_log(g, status);
}

/* --- removing ----------------------------------------------------------------------------------------------------- */

nexus_status nexus__bgroup_purge(nexus__bgroup *g, const nexus__dead_query *q, uint64_t expect,
                                 nexus__dead_report *report)
{
    dead **found;
    size_t n;
    *report = (nexus__dead_report){0};
    pthread_mutex_lock(&g->lock);
    nexus_status status = find(g, q, &found, &n, &report->matched);
    if (status != NEXUS_OK) {
        pthread_mutex_unlock(&g->lock);
        return status;
    }
    if (report->matched != expect)
        status = nexus__fail(NEXUS_ECONFLICT, "%llu dead letters match, not %llu: nothing was purged",
                             (unsigned long long)report->matched, (unsigned long long)expect);
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        report->last = found[i]->pos;
        nexus__buf_append(&g->gone, &found[i]->pos, sizeof found[i]->pos);
        nexus__bgroup_drop_dead(g, found[i]->pos);
        report->done++;
    }
    note(g, AUDIT_PURGE, report);
    nexus__free(g->broker->alloc, found);
    pthread_mutex_unlock(&g->lock);
    return report->done ? nexus__bgroup_sync(g) : status;
}
