/*
 * A hashed wheel (Varghese and Lauck 1987) of 1024 slots, 16 ms each, turned by one libevent timer that is armed for the
 * next slot in use. A timeout that is pushed forward keeps standing in its old slot: when that slot comes, its deadline is
 * looked at and it moves on. So a connection that restarts its timeout with every request pays a store.
 */
#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/status.h"
#include "runtime/internal.h"

#define TICK_NS (NEXUS__TIMEOUT_TICK_MS * NEXUS__NS_PER_MS)

static struct event *event_of(nexus__wheel *wheel)
{
    return (struct event *)(void *)wheel->event;
}

static uint64_t tick_at(int64_t ns) /* the first tick that is not before ns */
{
    return (uint64_t)((ns + TICK_NS - 1) / TICK_NS);
}

static void arm(nexus_loop *loop, uint64_t tick)
{
    nexus__wheel *w = &loop->on_loop.wheel;
    if (w->armed && w->armed <= tick)
        return;
    w->armed = tick;
    int64_t wait_us = ((int64_t)tick * TICK_NS - nexus_loop_now_ns(loop)) / NEXUS__NS_PER_US;
    if (wait_us < 0)
        wait_us = 0;
    struct timeval tv = {.tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000 + 1};
    event_add(event_of(w), &tv);
}

static void place(nexus_loop *loop, nexus__timeout *t)
{
    nexus__wheel *w = &loop->on_loop.wheel;
    uint64_t now = (uint64_t)(nexus_loop_now_ns(loop) / TICK_NS);
    uint64_t tick = tick_at(t->deadline_ns);
    if (tick > now + NEXUS__WHEEL_SLOTS - 2)
        tick = now + NEXUS__WHEEL_SLOTS - 2; /* beyond the horizon: looked at again there */
    if (tick <= w->done)
        tick = w->done + 1;
    if (t->tick)
        nexus__list_remove(&t->node);
    t->tick = tick;
    uint64_t slot = tick % NEXUS__WHEEL_SLOTS;
    nexus__list_push(&w->slots[slot], &t->node);
    w->used[slot / 64] |= UINT64_C(1) << (slot % 64);
    arm(loop, tick);
}

void nexus__timeout_set(nexus__timeout *t, nexus_loop *loop, uint32_t ms)
{
    t->deadline_ns = nexus_loop_now_ns(loop) + (int64_t)ms * NEXUS__NS_PER_MS;
    if (!t->tick || tick_at(t->deadline_ns) < t->tick)
        place(loop, t);
}

void nexus__timeout_remove(nexus__timeout *t, nexus_loop *loop)
{
    (void)loop;
    if (t->tick)
        nexus__list_remove(&t->node);
    t->tick = 0;
}

static void fire_slot(nexus_loop *loop, uint64_t tick, int64_t now)
{
    nexus__wheel *w = &loop->on_loop.wheel;
    uint64_t slot = tick % NEXUS__WHEEL_SLOTS;
    nexus__list due;
    nexus__list_init(&due);
    w->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    while (!nexus__list_empty(&w->slots[slot])) {
        nexus__list *node = w->slots[slot].next;
        nexus__list_remove(node);
        nexus__list_push(&due, node);
    }
    while (!nexus__list_empty(&due)) {
        nexus__timeout *t = NEXUS__CONTAINER(due.next, nexus__timeout, node);
        nexus__list_remove(&t->node);
        t->tick = 0;
        if (t->deadline_ns == INT64_MAX)
            continue;
        if (t->deadline_ns > now) {
            place(loop, t);
        } else {
            t->deadline_ns = INT64_MAX;
            t->fn(t);
        }
    }
}

static uint64_t next_used(const nexus__wheel *w) /* the next tick whose slot is in use; 0 = none */
{
    for (uint64_t i = 1; i <= NEXUS__WHEEL_SLOTS;) {
        uint64_t slot = (w->done + i) % NEXUS__WHEEL_SLOTS;
        uint64_t word = w->used[slot / 64] >> (slot % 64);
        if (word)
            return w->done + i + (uint64_t)__builtin_ctzll(word);
        i += 64 - slot % 64;
    }
    return 0;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    nexus_loop *loop = arg;
    nexus__wheel *w = &loop->on_loop.wheel;
    int64_t now = nexus_loop_now_ns(loop);
    uint64_t until = (uint64_t)(now / TICK_NS);
    w->armed = 0;
    for (;;) {
        uint64_t tick = next_used(w);
        if (!tick || tick > until)
            break;
        w->done = tick;
        fire_slot(loop, tick, now);
    }
    if (w->done < until)
        w->done = until;
    uint64_t next = next_used(w);
    if (next) {
        w->armed = 0; /* what fired may have armed for another */
        arm(loop, next);
    }
}

nexus_status nexus__wheel_open(nexus_loop *loop)
{
    nexus__wheel *w = &loop->on_loop.wheel;
    for (size_t i = 0; i < NEXUS__WHEEL_SLOTS; i++)
        nexus__list_init(&w->slots[i]);
    w->done = (uint64_t)(nexus__mono_ns() / TICK_NS);
    if (evtimer_assign(event_of(w), loop->base, on_tick, loop) != 0)
        return nexus__fail(NEXUS_EIO, "the timer of loop %u cannot be made", loop->index);
    return NEXUS_OK;
}

void nexus__wheel_close(nexus_loop *loop)
{
    if (loop->base && loop->on_loop.wheel.done)
        event_del(event_of(&loop->on_loop.wheel));
}
