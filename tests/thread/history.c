#include "history.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COMPLAINTS = 20, STEPS = 1 << 16, COMPLAINT_BYTES = 4096 };

typedef struct fact {
    bool tried, told, refused, stored, acking, acked, ack_sync, given_back;
    uint32_t deliveries;
    uint64_t batch, pos;
    history_call fetch, ack; /* of the last delivery; of the last ack that was told to be done */
} fact;

/* What was told last, for the trail of an event that is complained of. */
typedef struct step {
    const char *what;
    uint32_t key, n, attempt;
    uint64_t lease;
    history_call call;
} step;

/* Of the owner that was there after so many crashes. */
typedef struct owner {
    int64_t synced_ns, ended_ns; /* when its last synchronous ack that was told began; when it was known to be gone */
} owner;

struct history {
    uint32_t keys, per_key;
    int64_t lease_ns;
    atomic_uint crashes;
    fact *facts;
    uint64_t last_pos;
    history_figures figures;
    int64_t *versions;     /* of a key, as read back: the next one */
    int64_t *first_seen;   /* of a key: the youngest event that was delivered */
    int64_t *acking_upto;  /* of a key: the youngest event whose ack was asked for */
    owner *owners;         /* by count of crashes */
    uint32_t owner_count;
    step *steps; /* a ring */
    uint64_t step_count;
    char (*complaints)[COMPLAINT_BYTES]; /* found on the way */
    uint32_t count;
};

static void complain(history *h, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (h->count < COMPLAINTS)
        vsnprintf(h->complaints[h->count], sizeof h->complaints[0], format, args);
    va_end(args);
    h->count++;
}

static void *zeroed(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        abort();
    return p;
}

history *history_new(uint32_t keys, uint32_t per_key, uint32_t lease_ms)
{
    history *h = zeroed(1, sizeof *h);
    h->keys = keys;
    h->per_key = per_key;
    h->lease_ns = lease_ms * INT64_C(1000000);
    h->facts = zeroed((size_t)keys * per_key, sizeof *h->facts);
    h->versions = zeroed(keys, sizeof *h->versions);
    h->first_seen = zeroed(keys, sizeof *h->first_seen);
    h->acking_upto = zeroed(keys, sizeof *h->acking_upto);
    h->steps = zeroed(STEPS, sizeof *h->steps);
    h->complaints = zeroed(COMPLAINTS, sizeof *h->complaints);
    for (uint32_t k = 0; k < keys; k++)
        h->first_seen[k] = h->acking_upto[k] = -1;
    return h;
}

void history_free(history *h)
{
    free(h->facts);
    free(h->versions);
    free(h->first_seen);
    free(h->acking_upto);
    free(h->owners);
    free(h->steps);
    free(h->complaints);
    free(h);
}

/* --- calls ---- */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void history_begin(const history *h, history_call *call)
{
    *call = (history_call){.from = atomic_load(&h->crashes), .begun_ns = now_ns()};
}

void history_end(const history *h, history_call *call)
{
    call->over_ns = now_ns();
    call->to = atomic_load(&h->crashes);
}

static bool same_owner(const history_call *a, const history_call *b)
{
    return a->from == a->to && b->from == b->to && a->to == b->to;
}

/* --- the trail ---- */

static void note(history *h, const char *what, uint32_t key, uint32_t n, uint32_t attempt, uint64_t lease,
                 const history_call *call)
{
    h->steps[h->step_count++ % STEPS] = (step){what, key, n, attempt, lease, call ? *call : (history_call){0}};
}

/* To the last complaint: what is still known of the event. */
static void tell_trail(history *h, uint32_t key, uint32_t n)
{
    if (!h->count || h->count > COMPLAINTS)
        return;
    char *text = h->complaints[h->count - 1];
    size_t at = strlen(text);
    for (uint64_t i = h->step_count > STEPS ? h->step_count - STEPS : 0; i < h->step_count; i++) {
        const step *s = &h->steps[i % STEPS];
        if (s->key == key && s->n == n && at < COMPLAINT_BYTES)
            at += (size_t)snprintf(text + at, COMPLAINT_BYTES - at, "\n    %-12s attempt %u lease %llx owner %u-%u %.3f-%.3f s",
                                   s->what, s->attempt, (unsigned long long)s->lease, s->call.from, s->call.to,
                                   (double)s->call.begun_ns / 1e9, (double)s->call.over_ns / 1e9);
    }
}

/* --- what happened ---- */

static fact *fact_of(history *h, uint32_t key, uint32_t n, const char *what)
{
    if (key < h->keys && n < h->per_key)
        return &h->facts[(size_t)key * h->per_key + n];
    complain(h, "phantom: %s of %u of key %u, which cannot be", what, n, key);
    return NULL;
}

void history_publish(history *h, uint32_t key, uint32_t n, uint64_t batch)
{
    fact *f = fact_of(h, key, n, "a publish");
    if (!f)
        return;
    f->tried = true;
    f->batch = batch;
}

void history_published(history *h, uint32_t key, uint32_t n)
{
    fact *f = fact_of(h, key, n, "an answer");
    if (f)
        f->told = true;
}

void history_refused(history *h, uint32_t key, uint32_t n)
{
    fact *f = fact_of(h, key, n, "a refusal");
    if (f)
        f->refused = true;
}

/* Whether the owner that took the event's ack told of a synchronous one afterwards: that one wrote both. */
static bool written(const history *h, const fact *f)
{
    if (f->ack_sync)
        return true;
    uint32_t i = f->ack.to;
    return f->ack.from == i && i < h->owner_count && h->owners[i].synced_ns >= f->ack.over_ns;
}

/* Whether a lease given in one call can have ended before the other one. */
static bool lease_between(const history *h, const history_call *a, const history_call *b)
{
    return b->over_ns >= a->begun_ns + h->lease_ns || a->over_ns >= b->begun_ns + h->lease_ns;
}

static void count_undone(history *h, const fact *f)
{
    h->figures.undone++;
    double ms = f->ack.to < h->owner_count ? (double)(h->owners[f->ack.to].ended_ns - f->ack.over_ns) / 1e6 : 0;
    if (ms > h->figures.undone_ms)
        h->figures.undone_ms = ms;
}

static void judge_again(history *h, const fact *f, uint32_t key, uint32_t n, const history_call *fetch)
{
    bool after_ack = f->acked && fetch->begun_ns >= f->ack.over_ns;
    uint32_t before = h->count;
    h->figures.again++;
    if (after_ack)
        count_undone(h, f);
    if (after_ack && same_owner(&f->ack, fetch))
        complain(h, "duplicate: %u of key %u was delivered after its ack, without a crash", n, key);
    else if (after_ack && written(h, f))
        complain(h, "duplicate: %u of key %u was delivered after its ack, which was written", n, key);
    else if (same_owner(&f->fetch, fetch) && !f->given_back && !lease_between(h, &f->fetch, fetch))
        complain(h, "duplicate: %u of key %u was delivered again, without a failure or a crash", n, key);
    if (h->count > before)
        tell_trail(h, key, n);
}

static void judge_order(history *h, uint32_t key, uint32_t n)
{
    uint32_t before = h->count;
    if ((int64_t)n > h->first_seen[key] + 1)
        complain(h, "order: %u of key %u was delivered while %lld was the last", n, key, (long long)h->first_seen[key]);
    else if ((int64_t)n > h->acking_upto[key] + 1)
        complain(h, "order: %u of key %u was delivered before %lld was acknowledged", n, key,
                 (long long)h->acking_upto[key] + 1);
    if (h->count > before)
        tell_trail(h, key, n);
}

void history_delivered(history *h, uint32_t key, uint32_t n, uint32_t attempt, uint64_t lease, const history_call *fetch)
{
    fact *f = fact_of(h, key, n, "a delivery");
    if (!f)
        return;
    note(h, "delivered", key, n, attempt, lease, fetch);
    if (!f->tried)
        complain(h, "phantom: %u of key %u was delivered and never published", n, key);
    if (attempt == 0)
        complain(h, "attempt 0 of %u of key %u", n, key);
    judge_order(h, key, n);
    if (f->deliveries)
        judge_again(h, f, key, n, fetch);
    if (!f->deliveries || fetch->over_ns > f->fetch.over_ns) { /* else it is told late */
        f->fetch = *fetch;
        f->given_back = f->acked = f->ack_sync = false;
    }
    f->deliveries++;
    if ((int64_t)n > h->first_seen[key])
        h->first_seen[key] = n;
}

void history_acking(history *h, uint32_t key, uint32_t n)
{
    fact *f = fact_of(h, key, n, "an ack");
    if (!f)
        return;
    if (!f->deliveries)
        complain(h, "phantom: %u of key %u is acknowledged and was never delivered", n, key);
    f->acking = true;
    if ((int64_t)n > h->acking_upto[key])
        h->acking_upto[key] = n;
}

static owner *owner_at(history *h, uint32_t i)
{
    if (i >= h->owner_count) {
        uint32_t count = i * 2 + 16;
        h->owners = realloc(h->owners, count * sizeof *h->owners);
        if (!h->owners)
            abort();
        memset(h->owners + h->owner_count, 0, (count - h->owner_count) * sizeof *h->owners);
        h->owner_count = count;
    }
    return &h->owners[i];
}

static void keep_sync(history *h, const history_call *ack)
{
    owner *o = owner_at(h, ack->to);
    if (ack->from == ack->to && ack->begun_ns > o->synced_ns)
        o->synced_ns = ack->begun_ns;
}

/* Under the lease of one delivery, while a later one stands. */
static bool is_foreign(const fact *f, const history_call *fetch, const history_call *ack)
{
    return f->fetch.begun_ns > fetch->over_ns && f->fetch.over_ns < ack->begun_ns && same_owner(&f->fetch, ack);
}

void history_acked(history *h, uint32_t key, uint32_t n, bool sync, const history_call *fetch, const history_call *ack)
{
    fact *f = fact_of(h, key, n, "an ack");
    if (!f)
        return;
    note(h, sync ? "acked (sync)" : "acked", key, n, 0, 0, ack);
    if (is_foreign(f, fetch, ack)) {
        complain(h, "foreign: an ack of %u of key %u was taken under a lease that somebody else had by then", n, key);
        tell_trail(h, key, n);
    }
    f->acked = true;
    f->ack_sync |= sync;
    f->ack = *ack;
    if (sync)
        keep_sync(h, ack);
}

void history_ack_unknown(history *h, uint32_t key, uint32_t n, const history_call *ack)
{
    if (fact_of(h, key, n, "an ack"))
        note(h, "ack unknown", key, n, 0, 0, ack);
}

void history_failed(history *h, uint32_t key, uint32_t n)
{
    fact *f = fact_of(h, key, n, "a failure");
    if (!f)
        return;
    note(h, "given back", key, n, 0, 0, NULL);
    f->given_back = true;
}

void history_crashed(history *h)
{
    owner_at(h, atomic_load(&h->crashes))->ended_ns = now_ns();
    atomic_fetch_add(&h->crashes, 1);
}

void history_stored(history *h, uint64_t pos, uint32_t key, uint32_t n, int64_t version)
{
    fact *f = fact_of(h, key, n, "a stored event");
    if (pos != h->last_pos + 1)
        complain(h, "positions: %llu came after %llu", (unsigned long long)pos, (unsigned long long)h->last_pos);
    h->last_pos = pos;
    if (!f)
        return;
    if (!f->tried)
        complain(h, "phantom: %u of key %u is stored and was never published", n, key);
    if (f->refused && !f->told)
        complain(h, "phantom: %u of key %u is stored and was refused", n, key);
    if (f->stored)
        complain(h, "twice: %u of key %u is stored at %llu and at %llu", n, key, (unsigned long long)f->pos,
                 (unsigned long long)pos);
    if (version != h->versions[key] || version != (int64_t)n)
        complain(h, "versions: %u of key %u has version %lld, %lld was next", n, key, (long long)version,
                 (long long)h->versions[key]);
    h->versions[key] = version + 1;
    f->stored = true;
    f->pos = pos;
}

/* Of a batch all are stored, side by side, or none. */
typedef struct batch_fact {
    uint64_t batch, first, last;
    uint32_t stored, tried;
} batch_fact;

static int by_batch(const void *a, const void *b)
{
    const fact *x = *(const fact *const *)a, *y = *(const fact *const *)b;
    return (x->batch > y->batch) - (x->batch < y->batch);
}

static void judge_batch(history *h, const batch_fact *b)
{
    if (b->stored && (b->stored != b->tried || b->last - b->first + 1 != b->stored))
        complain(h, "batch %llu: %u of %u events are stored, from %llu to %llu", (unsigned long long)b->batch, b->stored,
                 b->tried, (unsigned long long)b->first, (unsigned long long)b->last);
}

static void judge_batches(history *h)
{
    size_t n = 0, all = (size_t)h->keys * h->per_key;
    fact **sorted = zeroed(all, sizeof *sorted);
    for (size_t i = 0; i < all; i++)
        if (h->facts[i].tried)
            sorted[n++] = &h->facts[i];
    qsort(sorted, n, sizeof *sorted, by_batch);
    batch_fact b = {0};
    for (size_t i = 0; i < n; i++) {
        const fact *f = sorted[i];
        if (i == 0 || f->batch != b.batch) {
            judge_batch(h, &b);
            b = (batch_fact){.batch = f->batch, .first = UINT64_MAX};
        }
        b.tried++;
        b.stored += f->stored;
        if (f->stored && f->pos < b.first)
            b.first = f->pos;
        if (f->stored && f->pos > b.last)
            b.last = f->pos;
    }
    judge_batch(h, &b);
    free(sorted);
}

static void judge_each(history *h, bool drained)
{
    for (uint32_t key = 0; key < h->keys; key++)
        for (uint32_t n = 0; n < h->per_key; n++) {
            const fact *f = fact_of(h, key, n, "");
            if (f->told && !f->stored)
                complain(h, "loss: %u of key %u was acknowledged and is not stored", n, key);
            if (f->deliveries && !f->stored)
                complain(h, "phantom: %u of key %u was delivered and is not stored", n, key);
            if (drained && f->stored && !f->acking)
                complain(h, "liveness: %u of key %u is stored, was delivered %u times and never settled", n, key,
                         f->deliveries);
        }
}

bool history_judge(history *h, bool drained, FILE *out)
{
    judge_batches(h);
    judge_each(h, drained);
    for (uint32_t i = 0; i < h->count && i < COMPLAINTS; i++)
        fprintf(out, "history: %s\n", h->complaints[i]);
    if (h->count > COMPLAINTS)
        fprintf(out, "history: and %u more\n", h->count - COMPLAINTS);
    return h->count == 0;
}

void history_count(const history *h, history_figures *out)
{
    *out = h->figures;
}
