/*
 * What is ready, and whose turn it is.
 *
 * Priority: a class is passed over by higher ones at most PASSED_MAX times while it waits, so that of nine deliveries one
 * is of a lower class. Redeliveries stand in a queue of their own, in the order of time with the rest, and go only as
 * the guard admits them. With sticky_ms a key belongs to one of the members that ask (the one with the highest hash of key
 * and member, so that few keys move when members come and go); what its member leaves lying for so long is anybody's.
 */
#include "base/hash.h"
#include "base/status.h"
#include "bus/internal.h"

enum { PASSED_MAX = 8 };
#define PRESENT_NS (5 * NEXUS__NS_PER_S) /* a member that has not asked for so long has no claims */

void nexus__queue_init(queue *q)
{
    for (size_t i = 0; i < CLASSES; i++)
        nexus__list_init(&q->first[i]);
    nexus__list_init(&q->again);
    q->count = q->again_count = 0;
}

uint8_t nexus__bgroup_class(const nexus__bgroup *g, const nexus_event *e)
{
    if (g->config.high_types.n && nexus__types_match(g->config.high_types, e->type))
        return 0;
    return g->config.low_types.n && nexus__types_match(g->config.low_types, e->type) ? 2 : 1;
}

/* --- sticking ----------------------------------------------------------------------------------------------------- */

static queue *queue_of(nexus__bgroup *g, const entry *e)
{
    if (!g->config.sticky_ms || !e->lane)
        return &g->ready;
    const nexus__hash_key key = g->lanes.key;
    uint64_t hash = nexus__siphash(key, e->lane->key, e->lane->key_bytes), best = 0;
    nexus__member *chosen = NULL;
    for (nexus__list *n = g->members.next; n != &g->members; n = n->next) {
        nexus__member *m = NEXUS__CONTAINER(n, nexus__member, node);
        uint64_t both[2] = {hash, m->id}, weight;
        if (g->taken_ns - m->asked_ns > PRESENT_NS)
            continue;
        weight = nexus__siphash(key, both, sizeof both);
        if (!chosen || weight > best) {
            chosen = m;
            best = weight;
        }
    }
    return chosen ? &chosen->ready : &g->ready;
}

/* --- in and out --------------------------------------------------------------------------------------------------- */

void nexus__bgroup_ready(nexus__bgroup *g, entry *e)
{
    queue *q = queue_of(g, e);
    e->state = ENTRY_READY;
    e->seq = ++g->next_seq;
    e->from_ns = g->config.sticky_ms ? nexus__mono_ns() : 0;
    e->queue = q;
    q->count++;
    q->again_count += e->attempts > 0;
    nexus__list_push(e->attempts ? &q->again : &q->first[e->class], &e->in_ready);
}

void nexus__bgroup_unready(entry *e)
{
    if (!e->queue)
        return;
    e->queue->count--;
    e->queue->again_count -= e->attempts > 0;
    e->queue = NULL;
    nexus__list_remove(&e->in_ready);
}

size_t nexus__bgroup_ready_for(nexus__bgroup *g, const nexus__member *member)
{
    size_t all = g->ready.count, again = g->ready.again_count;
    if (member) {
        all += member->ready.count;
        again += member->ready.again_count;
    }
    if (!again)
        return all;
    nexus__guard_rule rule = nexus__bgroup_guard_rule(g);
    return nexus__guard_admits(&g->guard, &rule, nexus__mono_ns()) ? all : all - again;
}

bool nexus__bgroup_any_ready(const nexus__bgroup *g)
{
    if (g->ready.count)
        return true;
    if (g->config.sticky_ms)
        for (nexus__list *n = g->members.next; n != &g->members; n = n->next)
            if (NEXUS__CONTAINER(n, nexus__member, node)->ready.count)
                return true;
    return false;
}

/* --- choosing ----------------------------------------------------------------------------------------------------- */

static entry *head_of(nexus__list *list)
{
    return nexus__list_empty(list) ? NULL : NEXUS__CONTAINER(list->next, entry, in_ready);
}

/* The list of index i: a class, or CLASSES for second attempts. */
static nexus__list *list_at(queue *q, size_t i)
{
    return i < CLASSES ? &q->first[i] : &q->again;
}

static entry *older(entry *a, entry *b)
{
    return !a || (b && b->seq < a->seq) ? b : a;
}

/* The first of list i that member may have. */
static entry *candidate(nexus__bgroup *g, const nexus__member *member, size_t i, int64_t now_ns, int64_t *due_ns)
{
    entry *best = head_of(list_at(&g->ready, i));
    if (!g->config.sticky_ms)
        return best;
    for (nexus__list *n = g->members.next; n != &g->members; n = n->next) {
        nexus__member *m = NEXUS__CONTAINER(n, nexus__member, node);
        entry *e = head_of(list_at(&m->ready, i));
        int64_t free_ns = e ? e->from_ns + g->config.sticky_ms * NEXUS__NS_PER_MS : 0;
        if (!e)
            continue;
        if (m->asked_ns + PRESENT_NS < free_ns)
            free_ns = m->asked_ns + PRESENT_NS;
        if (m == member || free_ns <= now_ns)
            best = older(best, e);
        else
            *due_ns = free_ns < *due_ns ? free_ns : *due_ns;
    }
    return best;
}

/* Whose turn it is among the classes. */
static entry *by_class(nexus__bgroup *g, entry *const heads[CLASSES])
{
    size_t chosen = CLASSES;
    for (size_t i = 0; i < CLASSES; i++)
        if (heads[i] && (chosen == CLASSES || g->passed[i] >= PASSED_MAX))
            chosen = i;
    return chosen < CLASSES ? heads[chosen] : NULL;
}

static void count_passed(nexus__bgroup *g, entry *const heads[CLASSES], const entry *taken)
{
    for (size_t i = 0; i < CLASSES; i++)
        g->passed[i] = !heads[i] || heads[i] == taken || i <= taken->class ? 0 : g->passed[i] + 1;
}

entry *nexus__bgroup_pick(nexus__bgroup *g, const nexus__member *member, int64_t now_ns, int64_t *due_ns)
{
    entry *heads[CLASSES], *again = candidate(g, member, CLASSES, now_ns, due_ns);
    for (size_t i = 0; i < CLASSES; i++)
        heads[i] = candidate(g, member, i, now_ns, due_ns);
    entry *first = by_class(g, heads);
    if (again && (!first || again->seq < first->seq)) {
        nexus__guard_rule rule = nexus__bgroup_guard_rule(g);
        if (nexus__guard_admits(&g->guard, &rule, now_ns))
            return again;
        int64_t due = nexus__guard_due(&g->guard, &rule);
        *due_ns = due < *due_ns ? due : *due_ns;
    }
    if (first)
        count_passed(g, heads, first);
    return first;
}
