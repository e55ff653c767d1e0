/*
 * The thread that fetches events and puts each into the lane of its instance. The group itself keeps no order: an event
 * that comes too early waits for its time without holding up the one it waits for. Leases of what stands in lanes are
 * renewed here, so that a slow log or a slow callback does not look like a crash.
 */
#include "base/status.h"
#include "saga/running.h"

enum { FETCH_MAX = 64, FETCH_WAIT_MS = 100, RENEW_MAX_S = 60 };

/* --- which instance -------------------------------------------------------------------------------------------- */

/* The instance's id by one place of `key`; appended to out. */
static bool key_at(nexus_slice place, const nexus_event *event, nexus__json *data, nexus__buf *out)
{
    nexus_slice prefix = NEXUS_S("data."), text = {NULL, 0};
    if (nexus__slice_starts(place, prefix))
        (void)!nexus__json_text(data, nexus__json_member(data, 0, nexus__slice_from(place, prefix.n)), &text);
    else if (nexus__slice_eq_c(place, "subject"))
        text = event->subject;
    else if (nexus__slice_eq_c(place, "correlationid"))
        text = event->correlationid;
    nexus__buf_slice_append(out, text);
    return text.n > 0;
}

static bool find_key(const nexus_saga *s, const nexus_event *event, nexus__json *data, nexus__buf *out)
{
    nexus_slice rest = nexus__slice_c(s->type.key ? s->type.key : "subject");
    bool own = nexus__slice_eq_c(event->type, s->type.control_type) || nexus__slice_eq_c(event->type, s->type.stuck_type);
    bool found = false;
    if (own)
        rest = NEXUS_S("data.saga_id");
    nexus__buf_clear(out);
    (void)!nexus__json_scan(data, event->data, NULL);
    while (!found && rest.n)
        found = key_at(nexus__slice_trim(nexus__slice_cut(&rest, ',')), event, data, out);
    return found && out->status == NEXUS_OK && out->len <= NEXUS__SAGA_ID_MAX;
}

static void take(nexus_saga *s, nexus_delivery *d, nexus__json *data, nexus__buf *id)
{
    if (!find_key(s, nexus_delivery_event(d), data, id)) {
        (void)!nexus_delivery_term(d, "the event has no text of 1 to 255 bytes where the saga's key says");
        nexus_delivery_free(d);
        return;
    }
    nexus__saga_item *item = nexus__calloc(s->type.alloc, 1, sizeof *item);
    if (item) {
        item->kind = NEXUS__SAGA_EVENT;
        item->delivery = d;
        item->taken_ns = item->renewed_ns = nexus__mono_ns();
    }
    if (!item || nexus__saga_push(s, nexus__buf_slice(id), item) != NEXUS_OK) {
        nexus__free(s->type.alloc, item); /* out of memory: the lease runs out, and it comes again */
        nexus_delivery_free(d);
    }
}

/* --- leases ---------------------------------------------------------------------------------------------------- */

static void renew(nexus_saga *s)
{
    int64_t now = nexus__mono_ns(), third = NEXUS__SAGA_ACK_WAIT_MS * NEXUS__NS_PER_MS / 3;
    pthread_mutex_lock(&s->lock);
    while (!nexus__list_empty(&s->held)) {
        nexus__saga_item *item = NEXUS__CONTAINER(s->held.next, nexus__saga_item, held);
        if (item->renewed_ns + third > now)
            break;
        nexus__list_remove(&item->held);
        if (item->taken_ns + RENEW_MAX_S * NEXUS__NS_PER_S < now)
            continue; /* somebody is stuck with it: another process may try */
        item->renewed_ns = now;
        item->renewing = true;
        pthread_mutex_unlock(&s->lock);
        (void)!nexus_delivery_extend(item->delivery, 0);
        pthread_mutex_lock(&s->lock);
        item->renewing = false;
        nexus__list_push(&s->held, &item->held);
        pthread_cond_broadcast(&s->renewed);
    }
    pthread_mutex_unlock(&s->lock);
}

static bool closing(nexus_saga *s)
{
    pthread_mutex_lock(&s->lock);
    bool is = s->closing;
    pthread_mutex_unlock(&s->lock);
    return is;
}

void *nexus__saga_take_in(void *arg)
{
    nexus_saga *s = arg;
    nexus_delivery *batch[FETCH_MAX];
    nexus__json data;
    nexus__buf id;
    nexus__json_init(&data, s->type.alloc);
    nexus__buf_init(&id, s->type.alloc, 0);
    while (!closing(s)) {
        size_t got = 0;
        renew(s);
        int64_t until = nexus__mono_ns() + FETCH_WAIT_MS * NEXUS__NS_PER_MS;
        if (!nexus__saga_has_room(s, until))
            continue;
        if (nexus_group_fetch(s->group, batch, FETCH_MAX, FETCH_WAIT_MS, &got) != NEXUS_OK) {
            pthread_mutex_lock(&s->lock); /* no owner, or no memory: a pause instead of a spin */
            while (!s->closing && nexus__cond_wait_until(&s->room, &s->lock, until))
                ;
            pthread_mutex_unlock(&s->lock);
        }
        for (size_t k = 0; k < got; k++)
            take(s, batch[k], &data, &id);
    }
    nexus__buf_free(&id);
    nexus__json_free(&data);
    return NULL;
}
