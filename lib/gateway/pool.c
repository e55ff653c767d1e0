/* Where connections to an upstream rest. One loop owns it; nothing here is shared but the set of targets it follows. */
#include "base/status.h"
#include "gateway/gateway.h"
#include "gateway/lane.h"

/* --- the targets of a pool ---------------------------------------------------------------------------------------- */

static nexus__pool_target *at_new(const nexus_alloc *alloc, nexus__target *t)
{
    nexus__pool_target *at = nexus__calloc(alloc, 1, sizeof *at);
    if (!at)
        return NULL;
    *at =
        (nexus__pool_target){.alloc = alloc, .target = nexus__target_ref(t), .refs = 1};
    nexus__list_init(&at->idle);
    nexus__list_init(&at->carriers);
    return at;
}

void nexus__pool_target_unref(nexus__pool_target *at)
{
    if (!at || --at->refs > 0)
        return;
    nexus__target_unref(at->target);
    nexus__tls_session_free(at->session);
    nexus__free(at->alloc, at);
}

/* Connections that rest are closed, those in use end with what they carry. */
static void retire(nexus__pool_target *at)
{
    at->retired = true;
    while (!nexus__list_empty(&at->idle))
        nexus__uplink_close(NEXUS__CONTAINER(at->idle.prev, nexus__uplink, node));
    nexus__carriers_retire(at);
    nexus__pool_target_unref(at);
}

static void drop_targets(const nexus_alloc *alloc, nexus__pool_target **list, uint32_t n)
{
    for (uint32_t i = 0; list && i < n; i++)
        if (list[i])
            retire(list[i]);
    nexus__free(alloc, list);
}

/* Moves what the pool has for the target out of it, or makes it anew. */
static nexus__pool_target *take_over(nexus__pool *p, nexus__target *t)
{
    for (uint32_t i = 0; p->set && i < p->set->count; i++)
        if (p->targets[i] && p->targets[i]->target == t) {
            nexus__pool_target *at = p->targets[i];
            p->targets[i] = NULL;
            return at;
        }
    return at_new(p->upstream->alloc, t);
}

static void give_back(nexus__pool *p, nexus__pool_target *at)
{
    for (uint32_t i = 0; p->set && i < p->set->count; i++)
        if (!p->targets[i] && p->set->targets[i] == at->target) {
            p->targets[i] = at;
            return;
        }
    retire(at);
}

static nexus_status follow(nexus__pool *p, nexus__target_set *set)
{
    const nexus_alloc *alloc = p->upstream->alloc;
    nexus__pool_target **list = nexus__calloc(alloc, set->count + 1, sizeof *list);
    int64_t *turns = nexus__calloc(alloc, set->count + 1, sizeof *turns);
    uint32_t n = 0;
    while (list && turns && n < set->count && (list[n] = take_over(p, set->targets[n])))
        n++;
    if (!list || !turns || n < set->count) {
        while (n > 0)
            give_back(p, list[--n]);
        nexus__free(alloc, list);
        nexus__free(alloc, turns);
        return nexus__nomem();
    }
    drop_targets(alloc, p->targets, p->set ? p->set->count : 0);
    nexus__target_set_unref(p->set);
    nexus__free(alloc, p->turns);
    p->turns = turns;
    p->targets = list;
    for (uint32_t i = 0; i < set->count; i++)
        list[i]->bit = (uint64_t)1 << (i & 63);
    p->set = nexus__target_set_ref(set);
    return NEXUS_OK;
}

void nexus__pool_follow(nexus__pool *p)
{
    nexus__target_set *set = nexus__upstream_set(p->upstream);
    (void)follow(p, set);
    nexus__target_set_unref(set);
}

/* --- pools -------------------------------------------------------------------------------------------------------- */

nexus_status nexus__pool_new(nexus__pool **out, nexus__gw_loop *home, nexus__upstream *u)
{
    nexus__pool *p = nexus__calloc(u->alloc, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    *p = (nexus__pool){.refs = 1, .home = home, .upstream = nexus__upstream_ref(u)};
    p->shared = &u->loops[home - home->gateway->loops];
    p->shared->pool = p;
    nexus__list_init(&p->queue);
    nexus__timeout_init(&p->queue_timer, nexus__waiting_tick);
    nexus__pool_follow(p);
    if (!p->set) {
        nexus__pool_unref(p);
        return nexus__nomem();
    }
    *out = p;
    return NEXUS_OK;
}

void nexus__pool_unref(nexus__pool *p)
{
    if (!p || --p->refs > 0)
        return;
    nexus__upstream *u = p->upstream;
    drop_targets(u->alloc, p->targets, p->set ? p->set->count : 0);
    nexus__target_set_unref(p->set);
    nexus__timeout_remove(&p->queue_timer, p->home->loop);
    if (p->shared->pool == p)
        p->shared->pool = NULL;
    nexus__free(u->alloc, p->turns);
    nexus__free(u->alloc, p);
    nexus__upstream_unref(u);
}

/* --- connections that rest ---------------------------------------------------------------------------------------- */

/* Single writer: a load and a store are enough. */
static void count_idle(nexus__pool *pool, int by)
{
    uint32_t idle = atomic_load_explicit(&pool->shared->shared.idle, memory_order_relaxed);
    atomic_store_explicit(&pool->shared->shared.idle, idle + (uint32_t)by, memory_order_relaxed);
}

void nexus__uplink_leave(nexus__uplink *c)
{
    nexus__list_remove(&c->node);
    c->at->idle_count--;
    count_idle(c->pool, -1);
}

nexus__uplink *nexus__uplink_take(nexus__pool *pool, nexus__pool_target *at, bool upgrade)
{
    if (!nexus__list_empty(&at->carriers) && !upgrade)
        return nexus__lane_take(pool, at);
    if (nexus__list_empty(&at->idle))
        return NULL;
    nexus__uplink *c = NEXUS__CONTAINER(at->idle.prev, nexus__uplink, node); /* the warmest */
    nexus__uplink_leave(c);
    pool->refs++;
    c->state = NEXUS__UPLINK_BUSY;
    return c;
}

static bool too_old(const nexus__uplink *c)
{
    int64_t age = nexus_loop_now_ns(c->pool->home->loop) - c->born;
    return age > c->pool->upstream->conf->pool_max_age_ms * NEXUS__NS_PER_MS;
}

static bool may_rest(const nexus__uplink *c)
{
    const nexus__pool *pool = c->pool;
    return !c->carrier && pool->refs > 1 && /* 1: no view wants it any more */
           !c->at->retired && c->at->idle_count < pool->upstream->conf->pool_idle_max && !too_old(c) && !nexus__waiting_elsewhere(c);
}

void nexus__uplink_release(nexus__uplink *c)
{
    nexus__pool *pool = c->pool;
    c->call = NULL;
    c->used = true;
    if (!may_rest(c)) {
        nexus__uplink_close(c);
        return;
    }
    c->state = NEXUS__UPLINK_IDLE;
    nexus__list_push(&c->at->idle, &c->node);
    c->at->idle_count++;
    count_idle(pool, 1);
    nexus__timeout_set(&c->timeout, pool->home->loop, pool->upstream->conf->pool_idle_ms);
    nexus__waiting_freed(pool);
    pool->refs--;
}
