/*
 * A delayed publish is an internal record (KIND_DELAYED) with everything that is to be stored. Its ids are known from the
 * beginning, at position 0, so that it cannot be sent twice. When its time has come by the clock of the day, its events
 * and a record that says so (KIND_FIRED) are one commit: a crash finds it either waiting or stored.
 */
#include "bus/delayed.h"

#include "base/id.h"
#include "base/status.h"
#include "bus/internal.h"
#include "bus/state.h"
#include "bus/wire.h"

enum { EVENTS_MAX = 1000000, BYTES_MAX = 256 << 20, LOOK_S = 1 };

typedef struct delay_head {
    uint64_t id;
    int64_t due_ns; /* real */
    uint32_t count, reserved;
} delay_head; /* then the text of the stream, and {text meta, text data} each */

struct nexus__delay {
    nexus__broker *broker;
    nexus__publish_done_fn *done; /* until it is durable */
    void *user_data;
    nexus_publish_result result;
    delay_head head;
    size_t heap_at; /* index + 1; 0 = being fired, or not durable yet */
    size_t bytes;
    char record[];
};

/* --- the heap ----------------------------------------------------------------------------------------------------- */

static void put(nexus__delays *d, size_t at, nexus__delay *x)
{
    d->heap[at] = x;
    x->heap_at = at + 1;
}

static void up(nexus__delays *d, size_t at)
{
    nexus__delay *x = d->heap[at];
    for (; at && d->heap[(at - 1) / 2]->head.due_ns > x->head.due_ns; at = (at - 1) / 2)
        put(d, at, d->heap[(at - 1) / 2]);
    put(d, at, x);
}

static void down(nexus__delays *d, size_t at)
{
    nexus__delay *x = d->heap[at];
    for (size_t child; (child = at * 2 + 1) < d->count; at = child) {
        if (child + 1 < d->count && d->heap[child + 1]->head.due_ns < d->heap[child]->head.due_ns)
            child++;
        if (d->heap[child]->head.due_ns >= x->head.due_ns)
            break;
        put(d, at, d->heap[child]);
    }
    put(d, at, x);
}

static void leave_heap(nexus__delays *d, nexus__delay *x)
{
    if (!x->heap_at)
        return;
    size_t at = x->heap_at - 1;
    x->heap_at = 0;
    nexus__delay *last = d->heap[--d->count];
    if (last == x)
        return;
    put(d, at, last);
    up(d, at);
    down(d, last->heap_at - 1);
}

/* Room in the heap is made when it is kept, so that coming back to it cannot fail. */
static void enter_heap(nexus__delays *d, nexus__delay *x)
{
    d->heap[d->count++] = x;
    up(d, d->count - 1);
}

/* --- keeping ------------------------------------------------------------------------------------------------------ */

static nexus_slice id_key(const nexus__delay *x)
{
    return nexus__slice(&x->head.id, sizeof x->head.id);
}

static nexus_status keep(nexus__delays *d, const nexus_alloc *alloc, nexus__delay *x)
{
    if (d->by_id.count >= d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 64;
        nexus__delay **grown = nexus__realloc(alloc, d->heap, cap * sizeof *grown);
        if (!grown)
            return nexus__nomem();
        d->heap = grown;
        d->cap = cap;
    }
    nexus_status status = nexus__map_put(&d->by_id, id_key(x), x, NULL);
    if (status == NEXUS_OK) {
        d->events += x->head.count;
        d->bytes += x->bytes;
    }
    return status;
}

static void drop(nexus__delays *d, const nexus_alloc *alloc, nexus__delay *x)
{
    leave_heap(d, x);
    nexus__map_remove(&d->by_id, id_key(x));
    d->events -= x->head.count;
    d->bytes -= x->bytes;
    nexus__free(alloc, x);
}

void nexus__delays_init(nexus__broker *b)
{
    pthread_mutex_init(&b->delays.lock, NULL);
    nexus__map_init(&b->delays.by_id, b->alloc);
}

void nexus__delays_clear(nexus__broker *b)
{
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&b->delays.by_id, &cursor));)
        nexus__free(b->alloc, e->value);
    nexus__map_free(&b->delays.by_id);
    nexus__map_init(&b->delays.by_id, b->alloc);
    b->delays.count = 0;
    b->delays.events = b->delays.bytes = 0;
}

void nexus__delays_free(nexus__broker *b)
{
    nexus__delays_clear(b);
    nexus__map_free(&b->delays.by_id);
    nexus__free(b->alloc, b->delays.heap);
    pthread_mutex_destroy(&b->delays.lock);
}

static nexus__delay *delay_new(nexus__broker *b, nexus_slice record)
{
    nexus__delay *x = nexus__malloc(b->alloc, sizeof *x + record.n);
    if (!x)
        return NULL;
    *x = (nexus__delay){.broker = b, .bytes = record.n};
    memcpy(&x->head, record.p, sizeof x->head);
    memcpy(x->record, record.p, record.n);
    return x;
}

/* --- asking for it ------------------------------------------------------------------------------------------------ */

static nexus_status encode(nexus__broker *b, nexus__buf *out, const nexus_event *events, size_t n,
                           const nexus__publish_terms *terms)
{
    delay_head head = {.id = nexus__random_u64(), .due_ns = terms->not_before_ns, .count = (uint32_t)n};
    nexus__buf_append(out, &head, sizeof head);
    nexus__wire_text(out, terms->stream);
    for (size_t i = 0; i < n; i++) {
        const nexus_event *e = nexus__event_at(events, i);
        size_t at = out->len;
        nexus__wire_u32(out, 0);
        nexus__event_encode(out, e, NEXUS_S(""));
        uint32_t meta = (uint32_t)(out->len - at - sizeof meta);
        if (out->status != NEXUS_OK || meta + e->data.n > b->event_max)
            return nexus__fail(NEXUS_ETOOBIG, "event %zu has %zu bytes; at most %llu fit", i, meta + e->data.n,
                               (unsigned long long)b->event_max);
        memcpy(out->p + at, &meta, sizeof meta);
        nexus__wire_text(out, e->data);
    }
    return out->status;
}

static void stored(nexus_status status, uint64_t first_pos, void *user_data)
{
    nexus__delay *x = user_data;
    nexus__broker *b = x->broker;
    nexus__publish_done_fn *done = x->done;
    void *ud = x->user_data;
    nexus_publish_result result = x->result;
    (void)first_pos;
    pthread_mutex_lock(&b->delays.lock);
    if (status == NEXUS_OK)
        enter_heap(&b->delays, x);
    else
        drop(&b->delays, b->alloc, x);
    pthread_mutex_unlock(&b->delays.lock);
    done(status, &result, ud);
    nexus__broker_tick(b, false, nexus__mono_ns());
}

/* Ids: none is known yet, or all are (then it is a repetition, answered behind a barrier). */
static nexus_status check_ids(nexus__broker *b, const nexus_event *events, size_t n, size_t *seen)
{
    *seen = 0;
    for (size_t i = 0; i < n; i++) {
        const nexus_event *e = nexus__event_at(events, i);
        const nexus__seen *id = nexus__window_get(&b->ids, nexus__window_key(&b->ids, e->source, e->id));
        if (id && nexus__seen_differs(id, nexus__broker_content_crc(e)))
            return nexus__fail(NEXUS_ECONFLICT, "event id \"%.*s\" of source \"%.*s\" is known with other content",
                               (int)e->id.n, e->id.p, (int)e->source.n, e->source.p);
        *seen += id != NULL;
    }
    if (*seen && *seen < n)
        return nexus__fail(NEXUS_ECONFLICT, "%zu of %zu events are stored or delayed already: publish the others alone",
                           *seen, n);
    return NEXUS_OK;
}

static void know_ids(nexus__broker *b, const nexus_event *events, size_t n)
{
    uint32_t second = (uint32_t)(nexus__real_ns() / NEXUS__NS_PER_S);
    for (size_t i = 0; i < n; i++) {
        const nexus_event *e = nexus__event_at(events, i);
        nexus__key128 key = nexus__window_key(&b->ids, e->source, e->id);
        if (!nexus__window_get(&b->ids, key)) /* in recovery: it may be stored by now */
            nexus__broker_remember(b, key, 0, nexus__broker_content_crc(e), second);
    }
}

typedef struct repetition {
    nexus__broker *broker;
    nexus__publish_done_fn *done;
    void *user_data;
    nexus_publish_result result;
} repetition;

static void repeated(nexus_status status, uint64_t first_pos, void *user_data)
{
    repetition *r = user_data;
    (void)first_pos;
    r->done(status, &r->result, r->user_data);
    nexus__free(r->broker->alloc, r);
}

static nexus_status answer_repetition(nexus__broker *b, nexus__publish_done_fn *done, void *user_data,
                                      const nexus_publish_result *result)
{
    repetition *r = nexus__malloc(b->alloc, sizeof *r);
    if (!r)
        return nexus__nomem();
    *r = (repetition){b, done, user_data, *result};
    r->result.dup = true;
    nexus_status status = nexus__wal_append_async(b->wal, NULL, 0, repeated, r);
    if (status != NEXUS_OK)
        nexus__free(b->alloc, r);
    return status;
}

static nexus_status submit(nexus__broker *b, nexus__delay *x)
{
    nexus__wal_record r = {
        .kind = KIND_DELAYED, .flags = NEXUS__WAL_INTERNAL, .payload = nexus__slice(x->record, x->bytes)};
    nexus__delays *d = &b->delays;
    pthread_mutex_lock(&d->lock);
    nexus_status status = NEXUS_OK;
    if (d->events + x->head.count > EVENTS_MAX || d->bytes + x->bytes > BYTES_MAX)
        status = nexus__fail(NEXUS_ELIMIT, "%llu delayed events of %llu bytes wait; no more are kept",
                             (unsigned long long)d->events, (unsigned long long)d->bytes);
    if (status == NEXUS_OK)
        status = keep(d, b->alloc, x);
    pthread_mutex_unlock(&d->lock);
    if (status != NEXUS_OK) {
        nexus__free(b->alloc, x);
        return status;
    }
    status = nexus__wal_append_async(b->wal, &r, 1, stored, x);
    if (status != NEXUS_OK) {
        pthread_mutex_lock(&d->lock);
        drop(d, b->alloc, x);
        pthread_mutex_unlock(&d->lock);
    }
    return status;
}

nexus_status nexus__broker_delay(nexus__broker *b, const nexus_event *events, size_t n,
                                 const nexus__publish_terms *terms, nexus__publish_done_fn *done, void *user_data,
                                 nexus_publish_result *result)
{
    if (terms->expect != NEXUS_EXPECT_ANY || terms->fail_types.n || terms->fail_tags.n)
        return nexus__fail(NEXUS_EINVAL, "not_before_ns: what holds now says nothing of then; without expect and fail_…");
    nexus__buf record;
    size_t seen;
    nexus__buf_init(&record, b->alloc, 0);
    nexus__broker_promise(b, result);
    nexus_status status = encode(b, &record, events, n, terms);
    nexus__delay *x = status == NEXUS_OK ? delay_new(b, nexus__buf_slice(&record)) : NULL;
    if (status == NEXUS_OK && !x)
        status = nexus__nomem();
    nexus__buf_free(&record);
    if (status != NEXUS_OK)
        return status;
    x->done = done;
    x->user_data = user_data;
    x->result = *result;
    pthread_mutex_lock(&b->lock);
    status = check_ids(b, events, n, &seen);
    if (status != NEXUS_OK || seen) {
        nexus__free(b->alloc, x);
        if (status == NEXUS_OK)
            status = answer_repetition(b, done, user_data, result);
    } else {
        status = submit(b, x);
        if (status == NEXUS_OK)
            know_ids(b, events, n);
    }
    pthread_mutex_unlock(&b->lock);
    return status;
}

/* --- its time has come -------------------------------------------------------------------------------------------- */

static void try_later(nexus__delays *d, nexus__delay *x)
{
    x->head.due_ns = nexus__real_ns() + LOOK_S * NEXUS__NS_PER_S;
    enter_heap(d, x);
}

static void fired(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    nexus__delay *x = user_data;
    nexus__broker *b = x->broker;
    (void)result;
    pthread_mutex_lock(&b->delays.lock);
    if (status == NEXUS_OK)
        drop(&b->delays, b->alloc, x);
    else
        try_later(&b->delays, x);
    pthread_mutex_unlock(&b->delays.lock);
}

static nexus_status read_events(const nexus__delay *x, nexus__event_view *views, nexus_event *events,
                                nexus_slice *stream)
{
    nexus__wire_in in = {.rest = nexus__slice_from(nexus__slice(x->record, x->bytes), sizeof(delay_head))};
    *stream = nexus__wire_take_text(&in);
    for (uint32_t i = 0; i < x->head.count; i++) {
        nexus_slice meta = nexus__wire_take_text(&in), data = nexus__wire_take_text(&in);
        if (in.bad || nexus__event_decode(&views[i], meta, data) != NEXUS_OK)
            return nexus__fail(NEXUS_ECORRUPT, "a delayed publish cannot be read");
        events[i] = views[i].event;
    }
    return NEXUS_OK;
}

static nexus_status publish(nexus__broker *b, nexus__delay *x)
{
    nexus__wal_record gone = {.kind = KIND_FIRED, .flags = NEXUS__WAL_INTERNAL, .payload = id_key(x)};
    nexus__publish_terms terms = NEXUS__PUBLISH_TERMS;
    nexus_publish_result result;
    size_t n = x->head.count;
    nexus__event_view *views = nexus__malloc(b->alloc, n * sizeof *views);
    nexus_event *events = nexus__malloc(b->alloc, n * sizeof *events);
    terms.with = &gone;
    terms.with_count = 1;
    terms.due = true;
    nexus_status status = views && events ? read_events(x, views, events, &terms.stream) : nexus__nomem();
    if (status == NEXUS_OK)
        status = nexus__broker_publish(b, events, n, &terms, fired, x, &result);
    nexus__free(b->alloc, views);
    nexus__free(b->alloc, events);
    return status;
}

/* What can never be stored: an id was used for something else meanwhile. */
static void give_up(nexus__broker *b, nexus__delay *x)
{
    nexus__wal_record gone = {.kind = KIND_FIRED, .flags = NEXUS__WAL_INTERNAL, .payload = id_key(x)};
    nexus__broker_alert(b, "warning", "a delayed publish of %u events is dropped: %s", x->head.count,
                        nexus_error_message());
    bool written = nexus__wal_append_async(b->wal, &gone, 1, NULL, NULL) == NEXUS_OK;
    pthread_mutex_lock(&b->delays.lock);
    if (written)
        drop(&b->delays, b->alloc, x);
    else
        try_later(&b->delays, x);
    pthread_mutex_unlock(&b->delays.lock);
}

static nexus__delay *next_due(nexus__delays *d, int64_t real_ns)
{
    pthread_mutex_lock(&d->lock);
    nexus__delay *x = d->count && d->heap[0]->head.due_ns <= real_ns ? d->heap[0] : NULL;
    if (x)
        leave_heap(d, x);
    pthread_mutex_unlock(&d->lock);
    return x;
}

int64_t nexus__broker_fire(nexus__broker *b, int64_t now_ns)
{
    nexus__delays *d = &b->delays;
    int64_t real = nexus__real_ns();
    nexus_status status = NEXUS_OK;
    for (nexus__delay *x; status == NEXUS_OK && (x = next_due(d, real));) {
        status = publish(b, x);
        if (status == NEXUS_ECONFLICT || status == NEXUS_ECORRUPT) {
            give_up(b, x);
            status = NEXUS_OK;
        } else if (status != NEXUS_OK) {
            pthread_mutex_lock(&d->lock);
            try_later(d, x);
            pthread_mutex_unlock(&d->lock);
        }
    }
    pthread_mutex_lock(&d->lock);
    int64_t left = d->count ? d->heap[0]->head.due_ns - real : INT64_MAX;
    pthread_mutex_unlock(&d->lock);
    if (left == INT64_MAX)
        return INT64_MAX;
    if (left > LOOK_S * NEXUS__NS_PER_S) /* the clock of the day may be set */
        left = LOOK_S * NEXUS__NS_PER_S;
    return now_ns + (left > 0 ? left : 0);
}

/* --- recovery ----------------------------------------------------------------------------------------------------- */

nexus_status nexus__delays_recover(nexus__broker *b, nexus_slice record)
{
    if (record.n < sizeof(delay_head) || nexus__map_get(&b->delays.by_id, nexus__slice(record.p, sizeof(uint64_t))))
        return NEXUS_OK; /* the checkpoint had it */
    delay_head head;
    memcpy(&head, record.p, sizeof head);
    if (head.count == 0 || head.count > record.n / 8) /* each event has two lengths: nothing is allocated beyond the record */
        return NEXUS_OK;
    nexus__delay *x = delay_new(b, record);
    if (!x)
        return nexus__nomem();
    size_t n = head.count;
    nexus_slice stream;
    nexus__event_view *views = nexus__malloc(b->alloc, n * sizeof *views);
    nexus_event *events = nexus__malloc(b->alloc, n * sizeof *events);
    nexus_status status = views && events ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK)
        status = read_events(x, views, events, &stream);
    if (status == NEXUS_OK)
        status = keep(&b->delays, b->alloc, x);
    if (status == NEXUS_OK) {
        know_ids(b, events, n);
        enter_heap(&b->delays, x);
    } else {
        nexus__free(b->alloc, x);
    }
    nexus__free(b->alloc, views);
    nexus__free(b->alloc, events);
    return status == NEXUS_ECORRUPT ? NEXUS_OK : status;
}

void nexus__delays_forget(nexus__broker *b, nexus_slice record)
{
    nexus__delay *x = record.n == sizeof(uint64_t) ? nexus__map_get(&b->delays.by_id, record) : NULL;
    if (x)
        drop(&b->delays, b->alloc, x);
}

static nexus_status write_delays(nexus__broker *b, nexus__state_out *out)
{
    nexus_status status = NEXUS_OK;
    size_t cursor = 0;
    nexus__buf ids, frame;
    nexus__buf_init(&ids, b->alloc, 0);
    nexus__buf_init(&frame, b->alloc, 0);
    pthread_mutex_lock(&b->delays.lock); /* those of one moment; what comes later is behind the cursor */
    for (nexus__map_entry *e; (e = nexus__map_next(&b->delays.by_id, &cursor));)
        nexus__buf_slice_append(&ids, e->key);
    pthread_mutex_unlock(&b->delays.lock);
    status = ids.status;
    for (size_t at = 0; at < ids.len && status == NEXUS_OK; at += sizeof(uint64_t)) {
        nexus__buf_clear(&frame);
        pthread_mutex_lock(&b->delays.lock);
        const nexus__delay *x = nexus__map_get(&b->delays.by_id, nexus__slice(ids.p + at, sizeof(uint64_t)));
        if (x)
            nexus__buf_append(&frame, x->record, x->bytes);
        pthread_mutex_unlock(&b->delays.lock);
        status = frame.status;
        if (status == NEXUS_OK && frame.len)
            status = nexus__state_put(out, nexus__buf_slice(&frame));
    }
    nexus__buf_free(&ids);
    nexus__buf_free(&frame);
    return status;
}

const nexus__state_part nexus__state_delays = {"delays", write_delays, nexus__delays_recover, NULL};
