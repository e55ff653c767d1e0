/* Lanes and the threads that work them. An instance that nobody is at stays in memory, up to cache_bytes of them. */
#include "base/status.h"
#include "saga/running.h"

void nexus__saga_item_free(nexus_saga *s, nexus__saga_item *item)
{
    if (item->kind == NEXUS__SAGA_START) {
        nexus__gate_open(&item->gate);
        return;
    }
    nexus_delivery_free(item->delivery);
    nexus__free(s->type.alloc, item);
}

static void lane_free(nexus_saga *s, nexus__saga_lane *lane)
{
    nexus__list_remove(&lane->node);
    (void)!nexus__map_remove(&s->lanes, nexus__slice(lane->id, lane->id_bytes));
    s->cached -= lane->bytes;
    nexus__saga_instance_free(lane->instance);
    nexus__free(s->type.alloc, lane);
}

static nexus_status lane_new(nexus_saga *s, nexus_slice id, nexus__saga_lane **out)
{
    nexus__saga_lane *lane = nexus__calloc(s->type.alloc, 1, sizeof *lane + id.n + 1);
    if (!lane)
        return nexus__nomem();
    nexus__list_init(&lane->node);
    nexus__list_init(&lane->items);
    lane->id_bytes = (uint32_t)id.n;
    memcpy(lane->id, id.p, id.n);
    nexus_status status = nexus__map_put(&s->lanes, nexus__slice(lane->id, id.n), lane, NULL);
    if (status != NEXUS_OK)
        nexus__free(s->type.alloc, lane);
    else
        *out = lane;
    return status;
}

static void make_ready(nexus_saga *s, nexus__saga_lane *lane)
{
    nexus__list_remove(&lane->node);
    nexus__list_push(&s->ready, &lane->node);
    pthread_cond_signal(&s->work);
}

nexus_status nexus__saga_push(nexus_saga *s, nexus_slice id, nexus__saga_item *item)
{
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&s->lock);
    nexus__saga_lane *lane = nexus__map_get(&s->lanes, id);
    if (!lane)
        status = lane_new(s, id, &lane);
    if (status == NEXUS_OK) {
        nexus__list_push(&lane->items, &item->in_lane);
        nexus__list_init(&item->held);
        if (item->kind == NEXUS__SAGA_EVENT)
            nexus__list_push(&s->held, &item->held);
        s->items++;
        if (!lane->busy) {
            lane->busy = true;
            s->busy++;
            make_ready(s, lane);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

bool nexus__saga_has_room(nexus_saga *s, int64_t until_ns)
{
    pthread_mutex_lock(&s->lock);
    while (!s->closing && s->items >= s->item_max && nexus__cond_wait_until(&s->room, &s->lock, until_ns))
        ;
    bool room = !s->closing && s->items < s->item_max;
    pthread_mutex_unlock(&s->lock);
    return room;
}

void nexus__saga_lane_wake(nexus_saga *s, nexus__saga_lane *lane)
{
    pthread_mutex_lock(&s->lock);
    make_ready(s, lane);
    pthread_mutex_unlock(&s->lock);
}

void nexus__saga_lane_count(nexus_saga *s, nexus__saga_lane *lane)
{
    size_t bytes = lane->instance ? nexus__saga_instance_bytes(lane->instance) + sizeof *lane + 96 : 0;
    pthread_mutex_lock(&s->lock);
    s->cached = s->cached - lane->bytes + bytes;
    lane->bytes = bytes;
    pthread_mutex_unlock(&s->lock);
}

/* Locked. Nobody is at the lane any more. */
static void rest(nexus_saga *s, nexus__saga_lane *lane)
{
    lane->busy = false;
    s->busy--;
    if (!lane->instance || nexus__saga_over(lane->instance->status))
        lane_free(s, lane);
    else
        nexus__list_push(&s->idle, &lane->node);
    while (s->cached > s->cache_max && !nexus__list_empty(&s->idle))
        lane_free(s, NEXUS__CONTAINER(s->idle.next, nexus__saga_lane, node));
    if (s->closing)
        pthread_cond_broadcast(&s->room);
}

/* Locked. */
static void renew_no_more(nexus_saga *s, nexus__saga_item *item)
{
    while (item->renewing)
        pthread_cond_wait(&s->renewed, &s->lock);
    nexus__list_remove(&item->held);
}

void nexus__saga_item_settle(nexus_saga *s, nexus__saga_item *item)
{
    pthread_mutex_lock(&s->lock);
    renew_no_more(s, item);
    pthread_mutex_unlock(&s->lock);
}

/* Locked. Takes an item out that is over. */
static void take_out(nexus_saga *s, nexus__saga_item *item)
{
    renew_no_more(s, item);
    nexus__list_remove(&item->in_lane);
    s->items--;
    pthread_cond_signal(&s->room);
}

/* Locked; let go of on the way. */
static void work_on(nexus_saga *s, nexus__saga_lane *lane)
{
    nexus__saga_item *item = NEXUS__CONTAINER(lane->items.next, nexus__saga_item, in_lane);
    bool given_up = s->stopping && !lane->turn;
    pthread_mutex_unlock(&s->lock);
    if (given_up)
        item->status = NEXUS_ECLOSED;
    bool over = given_up || (lane->turn ? nexus__saga_turn_end(s, lane, item) : nexus__saga_turn_begin(s, lane, item));
    pthread_mutex_lock(&s->lock);
    if (!over)
        return; /* whoever stores it wakes the lane; it may have done so already */
    take_out(s, item);
    pthread_mutex_unlock(&s->lock);
    nexus__saga_item_free(s, item);
    pthread_mutex_lock(&s->lock);
    if (nexus__list_empty(&lane->items))
        rest(s, lane);
    else
        make_ready(s, lane);
}

void *nexus__saga_work(void *arg)
{
    nexus_saga *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        if (!nexus__list_empty(&s->ready)) {
            nexus__saga_lane *lane = NEXUS__CONTAINER(s->ready.next, nexus__saga_lane, node);
            nexus__list_remove(&lane->node);
            work_on(s, lane);
        } else if (s->stopping) {
            break;
        } else {
            pthread_cond_wait(&s->work, &s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
