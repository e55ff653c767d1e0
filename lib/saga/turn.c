/*
 * One item of a lane: what it means for its instance, the transition that comes of it, and, when that has been stored, what
 * becomes of the event. A transition is made from a copy of the instance and stored without waiting; many instances'
 * transitions ride in one write of the log. Should another process have been faster, the transition's id is a conflict: the
 * instance is read again, and the item looked at once more.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/backoff.h"
#include "base/status.h"
#include "saga/running.h"

enum { RERUNS_MAX = 20, RETRY_MS = 500, EARLY_CAP_MS = 60000 };

/* What happens to an event once it has been dealt with. */
typedef enum verdict { ACK, DEAD, RETRY, LATER, ONCE_MORE } verdict;

struct nexus__saga_turn {
    nexus__saga_tether *tether;
    nexus__saga_lane *lane;
    nexus__saga_instance *next;
    verdict verdict;
    bool unstuck; /* it was stuck and is not any more: its dead letter is of the past */
    nexus_status status;
    char message[256];
};

/* A turn as it is decided. */
typedef struct decision {
    nexus_saga_ctx ctx;
    nexus__saga_instance *next;
    nexus__saga_moved moved;
    verdict verdict;
    char reason[256];
    uint32_t delay_ms; /* LATER */
    char *why;         /* of what is done by hand */
} decision;

/* --- what becomes of the item ---------------------------------------------------------------------------------- */

static void settle_event(nexus_saga *s, nexus__saga_item *item, verdict v, const char *reason, uint32_t delay_ms)
{
    nexus_status status;
    nexus__saga_item_settle(s, item);
    if (v == ACK)
        status = nexus_delivery_ack(item->delivery);
    else if (v == DEAD)
        status = nexus_delivery_term(item->delivery, reason);
    else
        status = nexus_delivery_nak(item->delivery, v == LATER ? delay_ms : UINT32_MAX, reason);
    (void)status; /* stale, or the owner is away: it comes again, and has been seen */
}

/* status: why it was not stored, or NEXUS_OK. True: the item is over. */
static bool settle(nexus_saga *s, const nexus__saga_lane *lane, nexus__saga_item *item, verdict v, nexus_status status,
                   const char *reason, uint32_t delay_ms)
{
    if (item->kind == NEXUS__SAGA_EVENT) {
        settle_event(s, item, status == NEXUS_OK ? v : RETRY, reason, delay_ms);
    } else if (item->kind == NEXUS__SAGA_START) {
        item->status = status;
        snprintf(item->message, sizeof item->message, "%s", reason);
    } else if (status != NEXUS_OK) {
        nexus__saga_replan(s, nexus__slice(lane->id, lane->id_bytes), nexus__real_ns() + RETRY_MS * NEXUS__NS_PER_MS);
    }
    return true;
}

/* --- deciding -------------------------------------------------------------------------------------------------- */

static const nexus_event *event_of(const nexus__saga_item *item)
{
    return item->kind == NEXUS__SAGA_EVENT ? nexus_delivery_event(item->delivery) : NULL;
}

/* The lane's instance as it is stored now; NULL when there is none. */
static nexus_status refresh(nexus_saga *s, nexus__saga_lane *lane)
{
    char stream[NEXUS__SAGA_STREAM_MAX];
    nexus_slice id = nexus__slice(lane->id, lane->id_bytes);
    int64_t version;
    nexus_status status = NEXUS_OK;
    if (lane->instance) { /* another process may have moved it */
        nexus__saga_stream(stream, s->type.name, id);
        status = nexus_stream_version(s->bus, stream, &version);
        if (status != NEXUS_OK || (uint64_t)version + 1 == lane->instance->seq)
            return status;
        nexus__saga_instance_free(lane->instance);
        lane->instance = NULL;
    }
    status = nexus__saga_load(&lane->instance, s->bus, s->type.alloc, s->type.name, id);
    nexus__saga_lane_count(s, lane);
    return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
}

/* A fresh instance that takes subject, trace and conversation from what starts it. */
static nexus_status make(nexus_saga *s, nexus__saga_lane *lane, nexus_slice state, const nexus_event *event, decision *d)
{
    nexus_status status = nexus__saga_instance_new(&d->next, s->type.alloc, nexus__slice(lane->id, lane->id_bytes));
    if (status != NEXUS_OK)
        return status;
    nexus__saga_instance *i = d->next;
    i->version = s->type.tables[0].version;
    if (event) {
        const struct {
            char **slot;
            nexus_slice text;
        } rows[] = {{&i->subject, event->subject},
                    {&i->traceparent, event->traceparent},
                    {&i->tracestate, event->tracestate},
                    {&i->correlation, event->correlationid.n ? event->correlationid : event->id}};
        for (size_t k = 0; status == NEXUS_OK && k < sizeof rows / sizeof rows[0]; k++)
            status = nexus__saga_set(i->alloc, rows[k].slot, rows[k].text);
    }
    nexus__saga_ctx_open(&d->ctx, &s->type, &s->type.tables[0], i, event);
    if (status == NEXUS_OK && state.n)
        status = nexus_saga_set_state(&d->ctx, state);
    return status;
}

static nexus_status begin(nexus_saga *s, nexus__saga_lane *lane, nexus_slice state, const nexus_event *event, bool seen,
                          decision *d)
{
    nexus_status status = make(s, lane, state, event, d);
    if (status == NEXUS_OK)
        status = nexus__saga_begin(&d->ctx, nexus__real_ns(), &d->moved);
    return status == NEXUS_OK && seen ? nexus__saga_see(d->next, event->id) : status;
}

/* Nothing waits for the event yet: no instance, or one at an earlier step. */
static nexus_status early(nexus_saga *s, nexus__saga_lane *lane, const nexus__saga_item *item, decision *d)
{
    const nexus_event *event = event_of(item);
    uint32_t policy = nexus__saga_early(&s->type, event->type), attempt = nexus_delivery_attempt(item->delivery);
    d->moved = NEXUS__SAGA_STAYS;
    snprintf(d->reason, sizeof d->reason, "saga %s: %s %.120s", s->type.name,
             lane->instance ? "this comes before its step has begun in" : "there is no instance", lane->id);
    if (policy == NEXUS_SAGA_EARLY_START && !lane->instance) {
        d->verdict = ONCE_MORE; /* then it is an event of an instance */
        return begin(s, lane, event->data, event, false, d);
    }
    if (policy == NEXUS_SAGA_EARLY_DISCARD)
        return NEXUS_OK;
    nexus__backoff b = {.base_ms = s->type.early_backoff_ms, .cap_ms = EARLY_CAP_MS, .exact = true};
    d->verdict = policy == NEXUS_SAGA_EARLY_DEAD || attempt >= s->type.early_attempts ? DEAD : LATER;
    d->delay_ms = nexus__backoff_ms(&b, attempt, 0);
    return NEXUS_OK;
}

/* A copy of the instance to move, with its own version's table. False: there is none, and the item says what then. */
static nexus_status copy(nexus_saga *s, nexus__saga_lane *lane, const nexus__saga_item *item, decision *d, bool *there)
{
    const nexus__saga_table *table = lane->instance ? nexus__saga_type_table(&s->type, lane->instance->version) : NULL;
    *there = table != NULL;
    if (lane->instance && !table && !nexus__saga_over(lane->instance->status))
        return nexus__fail(NEXUS_EREV, "saga %s: %s is of version %" PRIu32 ", which is not among the tables here",
                           s->type.name, lane->id, lane->instance->version);
    if (!table)
        return NEXUS_OK;
    nexus_status status = nexus__saga_instance_copy(&d->next, lane->instance);
    if (status == NEXUS_OK)
        nexus__saga_ctx_open(&d->ctx, &s->type, table, d->next, event_of(item));
    return status;
}

/* Done by hand, if the instance is still where the person saw it. */
static nexus_status control(nexus_saga *s, decision *d)
{
    nexus__json doc;
    nexus_slice op, why = NEXUS_S("");
    uint64_t seq = 0;
    nexus__json_init(&doc, s->type.alloc);
    nexus_status status = nexus__json_scan(&doc, d->ctx.event->data, NULL);
    if (status == NEXUS_OK && nexus__json_get_text(&doc, 0, "op", &op) && nexus__saga_op_of(op) &&
        nexus__json_u64(&doc, nexus__json_get(&doc, 0, "seq"), &seq) && seq == d->next->seq) {
        (void)nexus__json_get_text(&doc, 0, "why", &why);
        status = nexus__saga_set(s->type.alloc, &d->why, why);
        if (status == NEXUS_OK)
            status = nexus__saga_on_control(&d->ctx, nexus__real_ns(), nexus__saga_op_of(op), nexus__slice_c(d->why),
                                            &d->moved);
    }
    nexus__json_free(&doc);
    return status;
}

/*
 * The event that says "stuck" is the instance's dead letter: the first delivery is marked and refused. Handed out again (a
 * first attempt, and marked already), it asks for another try.
 */
static nexus_status stuck(const nexus__saga_item *item, decision *d)
{
    nexus__json doc;
    nexus_slice message = NEXUS_S("stuck");
    uint64_t seq = 0;
    nexus__json_init(&doc, d->next->alloc);
    nexus_status status = nexus__json_scan(&doc, d->ctx.event->data, NULL);
    if (status == NEXUS_OK) {
        (void)nexus__json_get_text(&doc, 0, "message", &message);
        (void)nexus__json_u64(&doc, nexus__json_get(&doc, 0, "seq"), &seq);
        snprintf(d->reason, sizeof d->reason, "%.*s", (int)(message.n < 255 ? message.n : 255), message.p);
    }
    nexus__json_free(&doc);
    const nexus__saga_instance *i = d->next;
    if (status != NEXUS_OK || i->status != NEXUS__SAGA_STUCK || i->stuck_seq != seq)
        return status;
    if (i->reported && nexus_delivery_attempt(item->delivery) == 1)
        return nexus__saga_on_control(&d->ctx, nexus__real_ns(), NEXUS_SAGA_OP_RETRY,
                                      NEXUS_S("its dead letter was handed out again"), &d->moved);
    d->verdict = DEAD;
    return nexus__saga_on_reported(&d->ctx, nexus__real_ns(), &d->moved);
}

static nexus_status on_event(nexus_saga *s, nexus__saga_lane *lane, const nexus__saga_item *item, decision *d)
{
    const nexus_event *event = event_of(item);
    bool own = nexus__slice_eq_c(event->type, s->type.control_type) || nexus__slice_eq_c(event->type, s->type.stuck_type);
    bool there;
    if (!lane->instance && s->type.start_types && nexus__saga_listed(s->type.start_types, event->type))
        return begin(s, lane, event->data, event, true, d);
    nexus_status status = copy(s, lane, item, d, &there);
    if (status != NEXUS_OK || !there)
        return status != NEXUS_OK || own || lane->instance ? status : early(s, lane, item, d);
    if (nexus__slice_eq_c(event->type, s->type.control_type))
        return control(s, d);
    if (nexus__slice_eq_c(event->type, s->type.stuck_type))
        return stuck(item, d);
    status = nexus__saga_on_event(&d->ctx, nexus__real_ns(), &d->moved);
    return status == NEXUS_OK && d->moved == NEXUS__SAGA_EARLY ? early(s, lane, item, d) : status;
}

static nexus_status on_time(nexus_saga *s, nexus__saga_lane *lane, const nexus__saga_item *item, decision *d)
{
    bool there;
    nexus_status status = copy(s, lane, item, d, &there);
    if (status != NEXUS_OK || !there)
        return status;
    status = nexus__saga_on_time(&d->ctx, nexus__real_ns(), &d->moved);
    if (status == NEXUS_OK && d->moved == NEXUS__SAGA_STAYS && nexus__saga_next_ns(d->next))
        nexus__saga_replan(s, nexus__slice(lane->id, lane->id_bytes), nexus__saga_next_ns(d->next));
    return status;
}

static nexus_status decide(nexus_saga *s, nexus__saga_lane *lane, const nexus__saga_item *item, decision *d)
{
    nexus_status status = refresh(s, lane);
    if (status != NEXUS_OK)
        return status;
    if (item->kind == NEXUS__SAGA_TIME)
        return on_time(s, lane, item, d);
    if (item->kind == NEXUS__SAGA_EVENT)
        return on_event(s, lane, item, d);
    return lane->instance ? NEXUS_OK : begin(s, lane, item->state, NULL, false, d);
}

/* --- storing --------------------------------------------------------------------------------------------------- */

void nexus__saga_tether_unref(nexus__saga_tether *t)
{
    pthread_mutex_lock(&t->lock);
    bool last = --t->refs == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&t->lock);
    nexus__free(t->alloc, t);
}

static void turn_free(nexus__saga_turn *turn)
{
    nexus__saga_instance_free(turn->next);
    nexus__free(turn->tether->alloc, turn);
}

static void stored(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    nexus__saga_turn *turn = user_data;
    nexus__saga_tether *tether = turn->tether;
    (void)result;
    turn->status = status;
    if (status != NEXUS_OK) /* else it says why the event is refused */
        snprintf(turn->message, sizeof turn->message, "%s", nexus_error_message());
    pthread_mutex_lock(&tether->lock);
    if (tether->saga) {
        turn->lane->turn = turn;
        nexus__saga_lane_wake(tether->saga, turn->lane);
    } else {
        turn_free(turn);
    }
    pthread_mutex_unlock(&tether->lock);
    nexus__saga_tether_unref(tether);
}

/* The transition, then what it publishes. */
static void fill(const decision *d, nexus_event *events, nexus_slice id, nexus_slice stream, nexus_slice data)
{
    const nexus__saga_instance *i = d->next;
    events[0] = (nexus_event)NEXUS_EVENT_INIT;
    events[0].id = id;
    events[0].source = NEXUS_S("/saga");
    events[0].type = NEXUS_S(NEXUS__SAGA_TRANSITION);
    events[0].subject = stream;
    events[0].traceparent = nexus__slice_c(i->traceparent);
    events[0].tracestate = nexus__slice_c(i->tracestate);
    events[0].correlationid = nexus__slice_c(i->correlation);
    if (d->ctx.event)
        events[0].causationid = d->ctx.event->id;
    events[0].data = data;
    size_t k = 1;
    for (nexus__list *l = d->ctx.out.next; l != &d->ctx.out; l = l->next) {
        nexus__saga_out *out = NEXUS__CONTAINER(l, nexus__saga_out, node);
        events[k++] = out->event;
    }
}

static void write_data(const nexus_saga *s, const decision *d, nexus__buf *out)
{
    const nexus_event *event = d->ctx.event;
    nexus__saga_note note = {.step = nexus__saga_step_name(d->ctx.table, d->next),
                             .op = nexus__saga_op_name(d->ctx.op),
                             .why = d->ctx.why};
    if (event) { /* what came from another trace is linked: an instance has one trace of its own */
        note.cause = event->id;
        if (!nexus__slice_eq_c(event->traceparent, d->next->traceparent ? d->next->traceparent : ""))
            note.link = event->traceparent;
    }
    nexus__saga_instance_write(out, d->next, s->type.name, &note);
}

static nexus_status send(nexus_saga *s, const decision *d, nexus__saga_turn *turn)
{
    char id[NEXUS__SAGA_STREAM_MAX + 24], stream[NEXUS__SAGA_STREAM_MAX];
    size_t n = 1;
    for (nexus__list *l = d->ctx.out.next; l != &d->ctx.out; l = l->next)
        n++;
    nexus_event *events = nexus__calloc(s->type.alloc, n, sizeof *events);
    nexus__buf data;
    nexus__buf_init(&data, s->type.alloc, 0);
    write_data(s, d, &data);
    nexus_status status = events && data.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK) {
        snprintf(id, sizeof id, "%s/%s/%" PRIu64, s->type.name, d->next->id, d->next->seq);
        nexus__saga_stream(stream, s->type.name, nexus__slice_c(d->next->id));
        fill(d, events, nexus__slice_c(id), nexus__slice_c(stream), nexus__buf_slice(&data));
        status = nexus_bus_publish_async(s->bus, events, n, NULL, stored, turn);
    }
    nexus__buf_free(&data);
    nexus__free(s->type.alloc, events);
    return status;
}

static nexus_status store(nexus_saga *s, nexus__saga_lane *lane, decision *d)
{
    nexus__saga_turn *turn = nexus__calloc(s->type.alloc, 1, sizeof *turn);
    if (!turn)
        return nexus__nomem();
    turn->tether = s->tether;
    turn->lane = lane;
    turn->next = d->next;
    turn->verdict = d->verdict;
    turn->unstuck = lane->instance && lane->instance->status == NEXUS__SAGA_STUCK && d->next->status != NEXUS__SAGA_STUCK;
    snprintf(turn->message, sizeof turn->message, "%s", d->reason);
    pthread_mutex_lock(&s->tether->lock);
    s->tether->refs++;
    pthread_mutex_unlock(&s->tether->lock);
    nexus_status status = send(s, d, turn);
    if (status == NEXUS_OK) {
        d->next = NULL; /* the turn's, which may be over already */
        return NEXUS_OK;
    }
    nexus__saga_tether_unref(s->tether);
    nexus__free(s->type.alloc, turn);
    return status;
}

bool nexus__saga_turn_begin(nexus_saga *s, nexus__saga_lane *lane, nexus__saga_item *item)
{
    decision d = {.verdict = ACK};
    bool on_its_way = false;
    nexus_status status = decide(s, lane, item, &d);
    if (status == NEXUS_OK && d.moved == NEXUS__SAGA_MOVED) {
        status = store(s, lane, &d);
        on_its_way = status == NEXUS_OK;
    }
    if (status != NEXUS_OK)
        snprintf(d.reason, sizeof d.reason, "%s", nexus_error_message());
    if (d.ctx.type)
        nexus__saga_ctx_close(&d.ctx);
    nexus__saga_instance_free(d.next);
    nexus__free(s->type.alloc, d.why);
    return on_its_way ? false : settle(s, lane, item, status == NEXUS_OK ? d.verdict : RETRY, status, d.reason, d.delay_ms);
}

/* --- after it ---------------------------------------------------------------------------------------------------- */

/* What told of the stuck instance is not left behind among the dead letters. */
static void drop_letter(nexus_saga *s, const nexus__saga_instance *i)
{
    char key[NEXUS__SAGA_STREAM_MAX];
    nexus_dead_query query = NEXUS_DEAD_QUERY_INIT;
    snprintf(key, sizeof key, "%s-%s", s->type.name, i->id);
    query.types = s->type.stuck_type;
    query.key = key;
    (void)!nexus_group_purge(s->group, &query, 1); /* none, when it is the one that was handed out */
}

static void take_instance(nexus_saga *s, nexus__saga_lane *lane, nexus__saga_turn *turn)
{
    nexus__saga_instance_free(lane->instance);
    lane->instance = turn->next;
    lane->instance->seq++;
    turn->next = NULL;
    nexus__saga_lane_count(s, lane);
    if (turn->unstuck)
        drop_letter(s, lane->instance);
}

bool nexus__saga_turn_end(nexus_saga *s, nexus__saga_lane *lane, nexus__saga_item *item)
{
    nexus__saga_turn *turn = lane->turn;
    nexus_status status = turn->status;
    verdict v = turn->verdict;
    char reason[256];
    snprintf(reason, sizeof reason, "%s", turn->message);
    lane->turn = NULL;
    if (status == NEXUS_OK) {
        take_instance(s, lane, turn);
    } else if ((status == NEXUS_ECONFLICT || status == NEXUS_EUNKNOWN) && item->reruns++ < RERUNS_MAX) {
        nexus__saga_instance_free(lane->instance); /* what is stored is the truth */
        lane->instance = NULL;
        nexus__saga_lane_count(s, lane);
        v = ONCE_MORE;
    }
    turn_free(turn);
    return v == ONCE_MORE ? nexus__saga_turn_begin(s, lane, item) : settle(s, lane, item, v, status, reason, 0);
}
