#include "gateway/waiting.h"

enum {
    TICK_MS = 50, /* the queue is looked at anyway: time-outs, and turns that were missed */
    OLDER_NS = 10 * 1000000
};

static nexus_loop *loop_of(const nexus__call *call)
{
    return call->pool->home->loop;
}

static int64_t now_of(const nexus__pool *pool)
{
    return nexus_loop_now_ns(pool->home->loop);
}

/* --- turns -------------------------------------------------------------------------------------------------------- */

static void post_turn(nexus__upstream *u, uint32_t i)
{
    if (atomic_exchange(&u->loops[i].shared.turn_posted, true))
        return;
    nexus__upstream_ref(u);
    nexus__loop_post_task(u->gateway->loops[i].loop, &u->loops[i].turn);
}

static bool anybody_waits(nexus__upstream *u)
{
    return __atomic_load_n(&u->pending.held, __ATOMIC_SEQ_CST) > 0;
}

/* The loop whose first call waits longest. */
static uint32_t longest(const nexus__pool *pool)
{
    nexus__upstream *u = pool->upstream;
    uint32_t own = (uint32_t)(pool->shared - u->loops), best = own;
    int64_t since = atomic_load(&pool->shared->shared.oldest), least = since ? since - OLDER_NS : INT64_MAX;
    for (uint32_t i = 0; i < u->gateway->loop_count; i++) {
        int64_t oldest = i == own ? 0 : atomic_load(&u->loops[i].shared.oldest);
        if (oldest && oldest < least) {
            least = oldest;
            best = i;
        }
    }
    return best;
}

void nexus__waiting_freed(nexus__pool *pool)
{
    if (anybody_waits(pool->upstream))
        post_turn(pool->upstream, longest(pool));
}

static bool is_full(const nexus__pool *pool, const nexus__pool_target *at)
{
    return atomic_load(&at->target->shared.connections) >= pool->upstream->conf->max_connections;
}

bool nexus__waiting_elsewhere(const nexus__uplink *conn)
{
    const nexus__pool *pool = conn->pool;
    return anybody_waits(pool->upstream) && is_full(pool, conn->at) &&
           longest(pool) != (uint32_t)(pool->shared - pool->upstream->loops);
}

/* Asks for a turn here, and of loops that have connections at rest. */
static void ask_for_turns(nexus__pool *pool)
{
    nexus__upstream *u = pool->upstream;
    for (uint32_t i = 0; i < u->gateway->loop_count; i++)
        if (&u->loops[i] == pool->shared || atomic_load(&u->loops[i].shared.idle) > 0)
            post_turn(u, i);
}

static void serve(nexus__pool *pool)
{
    while (!nexus__list_empty(&pool->queue)) {
        nexus__list *first = pool->queue.next;
        nexus__call_try(NEXUS__CONTAINER(first, nexus__wait, node)->call);
        if (pool->queue.next == first)
            return; /* nothing is free */
    }
}

/* Closes connections at rest that keep other loops from opening theirs. */
static void make_room(nexus__pool *pool)
{
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < pool->upstream->gateway->loop_count; i++)
        wanted += atomic_load(&pool->upstream->loops[i].shared.waiting);
    for (uint32_t i = 0; i < pool->set->count && wanted > 0; i++) {
        nexus__pool_target *at = pool->targets[i];
        for (; wanted > 0 && !nexus__list_empty(&at->idle) && is_full(pool, at); wanted--)
            nexus__uplink_close(NEXUS__CONTAINER(at->idle.next, nexus__uplink, node));
    }
}

void nexus__waiting_turn(nexus__task *task)
{
    nexus__upstream_loop *state = NEXUS__CONTAINER(task, nexus__upstream_loop, turn);
    nexus__upstream *u = state->upstream;
    nexus__pool *pool = state->pool;
    atomic_store(&state->shared.turn_posted, false);
    if (pool) {
        pool->refs++;
        serve(pool);
        if (nexus__list_empty(&pool->queue))
            make_room(pool);
        nexus__pool_unref(pool);
    }
    nexus__upstream_unref(u);
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

static void publish(nexus__pool *pool, int by)
{
    int64_t oldest = 0;
    if (!nexus__list_empty(&pool->queue))
        oldest = NEXUS__CONTAINER(pool->queue.next, nexus__wait, node)->since;
    atomic_fetch_add(&pool->shared->shared.waiting, (unsigned)by);
    atomic_store(&pool->shared->shared.oldest, oldest);
    nexus_metric_add(pool->upstream->metrics.waiting, by);
}

static void on_timer(nexus__timeout *timer)
{
    nexus__call_try(NEXUS__CONTAINER(timer, nexus__wait, timer)->call);
}

static nexus__wait *wait_of(nexus__call *call)
{
    if (call->wait)
        return call->wait;
    nexus__wait *wait = nexus_request_alloc(call->request, sizeof *wait);
    if (!wait) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return NULL;
    }
    *wait = (nexus__wait){.call = call};
    nexus__list_init(&wait->node);
    nexus__timeout_init(&wait->timer, on_timer);
    return call->wait = wait;
}

void nexus__call_busy(nexus__call *call, const char *detail)
{
    nexus_metric_add(call->pool->upstream->metrics.busy, 1);
    (void)nexus_request_set_header(call->request, "Retry-After", NEXUS_S("1"));
    nexus__call_problem(call, 503, "upstream-busy", detail);
}

void nexus__call_queue(nexus__call *call)
{
    nexus__pool *pool = call->pool;
    if (call->wait && call->wait->queued)
        return;
    if (!nexus_semaphore_take(&pool->upstream->pending)) {
        nexus__call_busy(call, "As many requests wait for this upstream as may.");
        return;
    }
    nexus__wait *wait = wait_of(call);
    if (!wait) {
        nexus_semaphore_put(&pool->upstream->pending);
        return;
    }
    wait->since = now_of(pool);
    wait->queued = true;
    if (nexus__list_empty(&pool->queue))
        nexus__timeout_set(&pool->queue_timer, loop_of(call), TICK_MS);
    nexus__list_push(&pool->queue, &wait->node);
    publish(pool, 1);
    ask_for_turns(pool);
}

void nexus__call_sleep(nexus__call *call, uint32_t ms)
{
    nexus__wait *wait = ms > 0 ? wait_of(call) : NULL;
    if (ms == 0)
        nexus__call_try(call);
    else if (wait)
        nexus__timeout_set(&wait->timer, loop_of(call), ms);
}

void nexus__call_unwait(nexus__call *call)
{
    nexus__wait *wait = call->wait;
    if (!wait)
        return;
    nexus__timeout_remove(&wait->timer, loop_of(call));
    if (!wait->queued)
        return;
    wait->queued = false;
    nexus__list_remove(&wait->node);
    publish(call->pool, -1);
    nexus_semaphore_put(&call->pool->upstream->pending);
}

void nexus__waiting_tick(nexus__timeout *timeout)
{
    nexus__pool *pool = NEXUS__CONTAINER(timeout, nexus__pool, queue_timer);
    int64_t now = now_of(pool);
    pool->refs++;
    for (nexus__list *at = pool->queue.next, *next; at != &pool->queue; at = next) {
        nexus__call *call = NEXUS__CONTAINER(at, nexus__wait, node)->call;
        next = at->next;
        if (now >= call->deadline)
            nexus__call_busy(call, "No connection to the upstream came free in time.");
    }
    if (!nexus__list_empty(&pool->queue)) {
        nexus__timeout_set(&pool->queue_timer, pool->home->loop, TICK_MS);
        ask_for_turns(pool);
    }
    nexus__pool_unref(pool);
}
