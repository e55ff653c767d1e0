/*
 * Publishing, and the clockwork around groups.
 *
 * Order: `lock` covers the decision (duplicate? expected version?) and the submission to the log, so positions,
 * versions and the tables agree. The tables are changed at submission, before the batch is durable; when the log then
 * says that it was not stored, everything queued behind it was not stored either, and each is taken back. A duplicate
 * of something still on its way waits for it behind a barrier.
 */
#include "bus/broker.h"

#include "base/codec.h"
#include "base/status.h"
#include "bus/internal.h"

nexus__wal *nexus__broker_wal(nexus__broker *b)
{
    return b->wal;
}

/* --- events in memory ---- */

nexus__stored *nexus__stored_new(const nexus_alloc *alloc, nexus_slice meta, nexus_slice data, nexus_status *status)
{
    nexus__stored *s = nexus__malloc(alloc, sizeof *s + meta.n + data.n);
    if (!s) {
        *status = nexus__nomem();
        return NULL;
    }
    char *bytes = (char *)(s + 1);
    if (meta.n)
        memcpy(bytes, meta.p, meta.n);
    if (data.n)
        memcpy(bytes + meta.n, data.p, data.n);
    atomic_init(&s->refs, 1);
    s->pos = 0;
    s->meta = nexus__slice(bytes, meta.n);
    *status = nexus__event_decode(&s->view, s->meta, nexus__slice(bytes + meta.n, data.n));
    if (*status != NEXUS_OK) {
        nexus__free(alloc, s);
        return NULL;
    }
    return s;
}

nexus__stored *nexus__stored_ref(nexus__stored *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void nexus__stored_unref(const nexus_alloc *alloc, nexus__stored *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1)
        nexus__free(alloc, s);
}

/* --- the window of ids ---- */

/* The data comes first: its CRC goes into the record as well. */
static uint32_t content_crc(const nexus_event *e, uint32_t data_crc)
{
    uint32_t crc = nexus__crc32c(data_crc, e->type.p, e->type.n);
    crc = nexus__crc32c(crc, e->subject.p, e->subject.n);
    return crc ? crc : 1;
}

uint32_t nexus__broker_content_crc(const nexus_event *e)
{
    return content_crc(e, nexus__crc32c(0, e->data.p, e->data.n));
}

/* The oldest may bear a later second: one that a delayed publish brought at recovery, before events stored since. */
static bool oldest_is_over(const nexus__broker *b, uint32_t second)
{
    uint64_t n = nexus__window_count(&b->ids);
    if (!n || n >= b->dedupe_max)
        return n > 0;
    uint32_t oldest = nexus__window_at(&b->ids, b->ids.first)->second;
    return second > oldest && second - oldest > b->dedupe_s;
}

void nexus__broker_remember(nexus__broker *b, nexus__key128 key, uint64_t pos, uint32_t crc, uint32_t second)
{
    while (oldest_is_over(b, second))
        nexus__window_forget_oldest(&b->ids);
    /* out of memory: a shorter window, nothing worse */
    (void)nexus__window_put(&b->ids, &(nexus__seen){.key = key, .pos = pos, .second = second, .crc = crc});
}

/* --- publish ---- */

typedef struct pub_event {
    nexus__key128 id, stream;
    uint32_t crc, data_crc;
    bool dup, has_stream;
    uint64_t pos;
    int64_t version;
} pub_event;

typedef struct pub {
    nexus__broker *broker;
    nexus__publish_done_fn *done;
    void *user_data;
    nexus_publish_result result;
    size_t n, fresh;
    bool each; /* each event is a publish of its own */
    const nexus_event *given; /* until it is queued, as is terms */
    const nexus__publish_terms *terms;
    uint64_t looked, found; /* condition: up to where the log was read, and what was found */
    pub_event events[];
} pub;

static void take_back(nexus__broker *b, const pub *p)
{
    pthread_mutex_lock(&b->lock);
    b->taken_back++;
    for (size_t i = 0; i < p->n; i++) {
        const pub_event *e = &p->events[i];
        if (e->dup)
            continue;
        const nexus__seen *id = nexus__window_get(&b->ids, e->id);
        if (id && id->pos == e->pos)
            nexus__window_remove(&b->ids, e->id);
        nexus__table_entry *head = e->has_stream ? nexus__table_get(&b->heads, e->stream) : NULL;
        if (head && head->value > (uint64_t)e->version) {
            head->value = (uint64_t)e->version;
            head->extra = 0;
        }
    }
    b->assigned = nexus__wal_durable(b->wal);
    pthread_mutex_unlock(&b->lock);
}

static void tell_each(const pub *p, nexus_status status)
{
    nexus_publish_result r = p->result;
    for (size_t i = 0; i < p->n; i++) {
        r.first = r.last = p->events[i].pos;
        r.version = r.actual_version = p->events[i].version;
        p->done(status, &r, p->user_data);
    }
}

static void published(nexus_status status, uint64_t first_pos, void *user_data)
{
    pub *p = user_data;
    (void)first_pos;
    if (status != NEXUS_OK && p->fresh)
        take_back(p->broker, p);
    if (p->each)
        tell_each(p, status);
    else
        p->done(status, &p->result, p->user_data);
    nexus__free(p->broker->alloc, p);
}

static nexus_slice stream_of(const nexus_event *e, nexus_slice stream)
{
    return stream.n ? stream : e->subject;
}

/* What the event is known by. */
static void identify(const nexus__broker *b, const nexus_event *e, nexus_slice name, pub_event *out)
{
    out->id = nexus__window_key(&b->ids, e->source, e->id);
    out->data_crc = nexus__crc32c(0, e->data.p, e->data.n);
    out->crc = content_crc(e, out->data_crc);
    out->version = -1;
    out->has_stream = name.n > 0;
    if (name.n)
        out->stream = nexus__table_key(&b->heads, name, NEXUS_S(""));
}

/* All events the first time, and each is identified while it is at hand; those that are no duplicates when encoded again. */
static nexus_status encode_batch(nexus__broker *b, const nexus_event *events, pub *p, bool again, nexus__wal_batch **out)
{
    const nexus__publish_terms *terms = p->terms;
    nexus__buf meta;
    nexus__buf_init(&meta, b->alloc, 0);
    size_t hint = 64;
    for (size_t i = 0; i < p->n; i++)
        hint += nexus__event_at(events, i)->data.n + 320;
    nexus__wal_batch *batch;
    nexus_status status = nexus__wal_batch_new(&batch, b->wal, hint);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i < p->n && status == NEXUS_OK; i++) {
        const nexus_event *e = nexus__event_at(events, i);
        if (p->events[i].dup)
            continue;
        nexus_slice name = stream_of(e, terms->stream);
        if (!again)
            identify(b, e, name, &p->events[i]);
        nexus__buf_clear(&meta);
        nexus__event_encode(&meta, e, name);
        if (meta.status != NEXUS_OK || meta.len + e->data.n > b->event_max) {
            status = nexus__fail(NEXUS_ETOOBIG, "event %zu has %zu bytes; at most %llu fit", i, meta.len + e->data.n,
                                 (unsigned long long)b->event_max);
            break;
        }
        nexus__wal_record r = {.kind = KIND_EVENT,
                               .version = -1,
                               .stream = name.n ? nexus__stream_hash(name) : 0,
                               .meta = nexus__buf_slice(&meta),
                               .payload = e->data,
                               .payload_crc = &p->events[i].data_crc};
        status = nexus__wal_batch_add(batch, &r);
    }
    for (size_t i = 0; i < terms->with_count && status == NEXUS_OK; i++)
        status = nexus__wal_batch_add(batch, &terms->with[i]);
    nexus__buf_free(&meta);
    if (status != NEXUS_OK)
        nexus__wal_batch_free(batch);
    else
        *out = batch;
    return status;
}

enum { AHEAD = 8 }; /* events, from asking for a place in memory to looking there */

/* Marks what is stored already, in the window or earlier in this very batch. */
static nexus_status find_dups(nexus__broker *b, const nexus_event *events, pub *p)
{
    p->fresh = 0;
    for (size_t i = 0; i < p->n; i++) {
        pub_event *e = &p->events[i];
        if (i + AHEAD < p->n) { /* the tables are larger than any cache */
            nexus__window_prefetch(&b->ids, p->events[i + AHEAD].id);
            nexus__table_prefetch(&b->heads, p->events[i + AHEAD].stream);
        }
        const nexus_event *given = nexus__event_at(events, i);
        const nexus__seen *id = nexus__window_get(&b->ids, e->id);
        if (id && nexus__seen_differs(id, e->crc))
            return nexus__fail(
                NEXUS_ECONFLICT, "event id \"%.*s\" of source \"%.*s\" is stored at %llu with other content",
                (int)given->id.n, given->id.p, (int)given->source.n, given->source.p, (unsigned long long)id->pos);
        e->dup = id != NULL && !(p->terms->due && id->pos == 0);
        e->pos = id ? id->pos : 0;
        p->fresh += !e->dup;
    }
    return NEXUS_OK;
}

/* The same id twice in one call is a mistake, and atomic batches leave no room to guess which one was meant. */
static nexus_status find_twins(const nexus_event *events, const pub *p)
{
    size_t cap = 4;
    while (cap < p->n * 2)
        cap *= 2;
    uint32_t *seen = nexus__calloc(p->broker->alloc, cap, sizeof *seen);
    if (!seen)
        return nexus__nomem();
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < p->n && status == NEXUS_OK; i++) {
        const nexus__key128 *key = &p->events[i].id;
        size_t at = key->a & (cap - 1);
        for (; seen[at]; at = (at + 1) & (cap - 1)) {
            const nexus__key128 *other = &p->events[seen[at] - 1].id;
            if (other->a == key->a && other->b == key->b) {
                nexus_slice id = nexus__event_at(events, i)->id;
                status = nexus__fail(NEXUS_EINVAL, "attribute \"id\": events %u and %zu have the same one, \"%.*s\"",
                                     seen[at] - 1, i, (int)id.n, id.p);
                break;
            }
        }
        seen[at] = (uint32_t)i + 1;
    }
    nexus__free(p->broker->alloc, seen);
    return status;
}

bool nexus__broker_has_all(nexus__broker *b, const nexus_event *events, size_t n)
{
    bool all = n > 0;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < n && all; i++) {
        const nexus_event *e = nexus__event_at(events, i);
        const nexus__seen *id = nexus__window_get(&b->ids, nexus__window_key(&b->ids, e->source, e->id));
        all = id && !nexus__seen_differs(id, nexus__broker_content_crc(e));
    }
    pthread_mutex_unlock(&b->lock);
    return all;
}

static int64_t head_version(nexus__broker *b, nexus__key128 stream)
{
    nexus__table_entry *head = nexus__table_get(&b->heads, stream);
    return head ? (int64_t)head->value - 1 : -1;
}

static nexus_status check_expect(nexus__broker *b, const pub *p, int64_t expect, nexus_publish_result *result)
{
    if (expect == NEXUS_EXPECT_ANY)
        return NEXUS_OK;
    for (size_t i = 0; i < p->n; i++)
        if (!p->events[i].has_stream || p->events[i].stream.a != p->events[0].stream.a ||
            p->events[i].stream.b != p->events[0].stream.b)
            return nexus__fail(NEXUS_EINVAL, "an expected version needs all events in one stream");
    int64_t actual = head_version(b, p->events[0].stream);
    result->actual_version = actual;
    if (expect == NEXUS_EXPECT_NO_STREAM ? actual == -1
        : expect == NEXUS_EXPECT_EXISTS  ? actual >= 0
                                         : actual == expect)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ECONFLICT, "the stream is at version %lld, not %s", (long long)actual,
                       expect == NEXUS_EXPECT_NO_STREAM ? "absent"
                       : expect == NEXUS_EXPECT_EXISTS  ? "present"
                                                        : "at the expected one");
}

/* Versions are given before the batch is sealed; a second event of the same stream counts on from the first. */
static nexus_status number(nexus__broker *b, pub *p, nexus__wal_batch *batch)
{
    size_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        pub_event *e = &p->events[i];
        if (e->dup)
            continue;
        if (e->has_stream) {
            nexus__table_entry *head = nexus__table_put(&b->heads, e->stream);
            if (!head)
                return nexus__nomem();
            e->version = (int64_t)head->value++;
            nexus__wal_batch_set_version(batch, at, e->version);
        }
        at++;
    }
    return NEXUS_OK;
}

static void unnumber(nexus__broker *b, const pub *p)
{
    for (size_t i = p->n; i-- > 0;) {
        const pub_event *e = &p->events[i];
        nexus__table_entry *head = e->has_stream && !e->dup ? nexus__table_get(&b->heads, e->stream) : NULL;
        if (head && e->version >= 0 && head->value > (uint64_t)e->version)
            head->value = (uint64_t)e->version;
    }
}

void nexus__broker_promise(const nexus__broker *b, nexus_publish_result *r)
{
    r->durability = b->durability;
    r->durable = b->durability == NEXUS_DURABILITY_ALWAYS;
}

/* Runs inside submit, so before the batch can be written. */
static void queued(uint64_t first_pos, int64_t recv_ns, void *user_data)
{
    pub *p = user_data;
    nexus__broker *b = p->broker;
    nexus_publish_result *r = &p->result;
    uint64_t pos = first_pos;
    *r = (nexus_publish_result){.size = sizeof *r, .version = -1, .dup = p->n && p->fresh == 0};
    nexus__broker_promise(b, r);
    for (size_t i = 0; i < p->n; i++) {
        pub_event *e = &p->events[i];
        if (!e->dup) {
            e->pos = pos++;
            nexus__broker_remember(b, e->id, e->pos, e->crc, (uint32_t)(recv_ns / NEXUS__NS_PER_S));
            nexus__table_entry *head = e->has_stream ? nexus__table_get(&b->heads, e->stream) : NULL;
            if (head)
                head->extra = e->pos;
            const nexus_event *given = nexus__event_at(p->given, i);
            nexus__categories_add(&b->categories, stream_of(given, p->terms->stream), given->data.n);
            b->assigned = e->pos;
        }
        r->first = i == 0 || e->pos < r->first ? e->pos : r->first;
        r->last = e->pos > r->last ? e->pos : r->last;
        if (e->version >= 0)
            r->version = e->version;
        else if (e->dup && e->has_stream)
            r->version = head_version(b, e->stream);
    }
    r->actual_version = r->version;
}

/* Nothing that matches was stored, or is on its way. NEXUS_EAGAIN: something was published since the log was read. */
static nexus_status check_condition(nexus__broker *b, const pub *p, nexus_publish_result *result)
{
    if (p->found) {
        result->first = p->found;
        return nexus__fail(NEXUS_ECONFLICT, "event %llu was stored after %llu and matches the condition",
                           (unsigned long long)p->found, (unsigned long long)p->terms->fail_after);
    }
    return b->assigned > p->looked ? NEXUS_EAGAIN : NEXUS_OK;
}

static bool has_condition(const nexus__publish_terms *terms)
{
    return terms->fail_types.n || terms->fail_tags.n;
}

/* The batch is taken in any case but NEXUS_EAGAIN of a condition. */
static nexus_status locked_publish(nexus__broker *b, const nexus_event *events, pub *p, nexus__wal_batch *batch,
                                   nexus_publish_result *result)
{
    const nexus__publish_terms *terms = p->terms;
    nexus_status status = find_dups(b, events, p);
    if (status == NEXUS_OK && p->fresh && atomic_load_explicit(&b->disk_low, memory_order_relaxed))
        status = nexus__fail(NEXUS_ENOSPC, "the disk of the bus is nearly full: nothing is published until there is room; "
                                           "groups and readers go on");
    if (status == NEXUS_OK && p->fresh)
        status = check_expect(b, p, terms->expect, result);
    if (status == NEXUS_OK && p->fresh && has_condition(terms)) {
        status = check_condition(b, p, result);
        if (status == NEXUS_EAGAIN)
            return status;
    }
    if (status == NEXUS_OK && p->fresh < p->n && p->each)
        status = nexus__fail(NEXUS_ECONFLICT, "one of the events is stored already");
    if (status == NEXUS_OK && p->fresh < p->n) { /* rare: encode again without the duplicates; empty = barrier */
        nexus__wal_batch_free(batch);
        batch = NULL;
        status = encode_batch(b, events, p, true, &batch);
    }
    if (status == NEXUS_OK)
        status = number(b, p, batch);
    if (status == NEXUS_OK) {
        nexus__wal_batch_on_queued(batch, queued);
        if (terms->waits)
            nexus__wal_batch_will_lead(batch);
        status = nexus__wal_submit(b->wal, batch, published, p, NULL, NULL);
    } else {
        nexus__wal_batch_free(batch);
    }
    if (status != NEXUS_OK)
        unnumber(b, p);
    return status;
}

static pub *pub_new(nexus__broker *b, const nexus_event *events, size_t n, const nexus__publish_terms *terms,
                    nexus__publish_done_fn *done, void *user_data)
{
    pub *p = nexus__calloc(b->alloc, 1, sizeof *p + n * sizeof p->events[0]);
    if (!p)
        return NULL;
    p->broker = b;
    p->n = n;
    p->given = events;
    p->terms = terms;
    p->done = done;
    p->user_data = user_data;
    return p;
}

/* One attempt. NEXUS_EAGAIN with *settled false: something came in between, and the condition must be looked at again. */
static nexus_status attempt(nexus__broker *b, const nexus_event *events, pub *p, nexus__wal_batch *batch, bool floor,
                            nexus_publish_result *result, bool *settled)
{
    pthread_mutex_lock(&b->lock);
    while (b->quiet && !floor && !p->terms->hasty)
        pthread_cond_wait(&b->quiet_over, &b->lock);
    uint64_t looked = p->looked;
    nexus_status status = locked_publish(b, events, p, batch, result);
    *settled = !(status == NEXUS_EAGAIN && has_condition(p->terms) && b->assigned > looked && !p->found);
    pthread_mutex_unlock(&b->lock);
    return status;
}

static void take_floor(nexus__broker *b, bool take)
{
    pthread_mutex_lock(&b->lock);
    while (take && b->quiet)
        pthread_cond_wait(&b->quiet_over, &b->lock);
    b->quiet = take;
    if (!take)
        pthread_cond_broadcast(&b->quiet_over);
    pthread_mutex_unlock(&b->lock);
}

/* The log is read outside the lock; if others publish all the time, they are asked to wait for one flush. */
static nexus_status publish_if(nexus__broker *b, const nexus_event *events, pub *p, nexus__wal_batch *batch,
                               nexus_publish_result *result)
{
    enum { POLITE = 3 };
    nexus_status status = NEXUS_EAGAIN;
    bool settled = false, floor = false;
    for (int round = 0; !settled; round++) {
        if (round == POLITE) {
            take_floor(b, true);
            floor = true;
        }
        pthread_mutex_lock(&b->lock);
        uint64_t assigned = b->assigned;
        pthread_mutex_unlock(&b->lock);
        if (assigned > p->looked)
            nexus__broker_wait(b, assigned - 1, round == 0 ? 0 : 1000);
        status = nexus__broker_find(b, p->terms, &p->looked, &p->found);
        if (status != NEXUS_OK) {
            nexus__wal_batch_free(batch);
            break;
        }
        status = attempt(b, events, p, batch, floor, result, &settled);
    }
    if (floor)
        take_floor(b, false);
    return status;
}

/* The pub is taken. */
static nexus_status encode_and_attempt(nexus__broker *b, const nexus_event *events, pub *p, nexus_publish_result *result)
{
    nexus__wal_batch *batch;
    bool settled, waits = p->terms->waits;
    nexus_status status = encode_batch(b, events, p, false, &batch);
    if (status == NEXUS_OK && p->n > 1 && (status = find_twins(events, p)) != NEXUS_OK)
        nexus__wal_batch_free(batch);
    if (status == NEXUS_OK)
        status = has_condition(p->terms) ? publish_if(b, events, p, batch, result)
                                         : attempt(b, events, p, batch, false, result, &settled);
    if (status != NEXUS_OK)
        nexus__free(b->alloc, p);
    else if (waits)
        nexus__wal_lead(b->wal);
    return status;
}

nexus_status nexus__broker_publish(nexus__broker *b, const nexus_event *events, size_t n,
                                   const nexus__publish_terms *terms, nexus__publish_done_fn *done, void *user_data,
                                   nexus_publish_result *result)
{
    *result = (nexus_publish_result){.size = sizeof *result, .version = -1, .actual_version = -1};
    if (terms->not_before_ns && terms->not_before_ns > nexus__real_ns())
        return nexus__broker_delay(b, events, n, terms, done, user_data, result);
    pub *p = pub_new(b, events, n, terms, done, user_data);
    if (!p)
        return nexus__nomem();
    p->looked = terms->fail_after;
    return encode_and_attempt(b, events, p, result);
}

nexus_status nexus__broker_publish_each(nexus__broker *b, const nexus_event *events, size_t n, nexus__publish_done_fn *done,
                                        void *user_data)
{
    static const nexus__publish_terms none = NEXUS__PUBLISH_TERMS;
    nexus_publish_result unused;
    pub *p = pub_new(b, events, n, &none, done, user_data);
    if (!p)
        return nexus__nomem();
    p->each = true;
    return encode_and_attempt(b, events, p, &unused);
}

int64_t nexus__broker_stream_head(nexus__broker *b, nexus_slice stream, uint64_t *last)
{
    pthread_mutex_lock(&b->lock);
    nexus__table_entry *head = nexus__table_get(&b->heads, nexus__table_key(&b->heads, stream, NEXUS_S("")));
    int64_t version = head ? (int64_t)head->value - 1 : -1;
    *last = head ? head->extra : 0;
    pthread_mutex_unlock(&b->lock);
    return version;
}

int64_t nexus__broker_stream_version(nexus__broker *b, nexus_slice stream)
{
    uint64_t last;
    return nexus__broker_stream_head(b, stream, &last);
}
