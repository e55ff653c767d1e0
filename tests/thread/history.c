#include "history.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { COMPLAINTS = 20 };

typedef struct fact {
    bool tried, told, refused, stored, acked, maybe_acked;
    uint64_t batch, pos;
    uint32_t deliveries, failures, crashes_seen, last_attempt;
} fact;

struct history {
    uint32_t keys, per_key, crashes;
    fact *facts;
    uint64_t last_pos;
    int64_t *versions;     /* of a key, as read back: the next one */
    int64_t *first_seen;   /* of a key: the youngest event that was delivered */
    int64_t *acked_upto;   /* of a key: the youngest event that was acked */
    char (*complaints)[200]; /* found on the way */
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

history *history_new(uint32_t keys, uint32_t per_key)
{
    history *h = zeroed(1, sizeof *h);
    h->keys = keys;
    h->per_key = per_key;
    h->facts = zeroed((size_t)keys * per_key, sizeof *h->facts);
    h->versions = zeroed(keys, sizeof *h->versions);
    h->first_seen = zeroed(keys, sizeof *h->first_seen);
    h->acked_upto = zeroed(keys, sizeof *h->acked_upto);
    h->complaints = zeroed(COMPLAINTS, sizeof *h->complaints);
    for (uint32_t k = 0; k < keys; k++)
        h->first_seen[k] = h->acked_upto[k] = -1;
    return h;
}

void history_free(history *h)
{
    free(h->facts);
    free(h->versions);
    free(h->first_seen);
    free(h->acked_upto);
    free(h->complaints);
    free(h);
}

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

void history_delivered(history *h, uint32_t key, uint32_t n, uint32_t attempt)
{
    fact *f = fact_of(h, key, n, "a delivery");
    if (!f)
        return;
    if (!f->tried)
        complain(h, "phantom: %u of key %u was delivered and never published", n, key);
    if (f->acked && f->crashes_seen == h->crashes)
        complain(h, "duplicate: %u of key %u was delivered after its ack, without a crash", n, key);
    if (f->deliveries && f->crashes_seen == h->crashes && f->failures == 0)
        complain(h, "duplicate: %u of key %u was delivered again, without a failure or a crash", n, key);
    if ((int64_t)n > h->first_seen[key] + 1)
        complain(h, "order: %u of key %u was delivered while %lld was the last", n, key, (long long)h->first_seen[key]);
    if ((int64_t)n > h->acked_upto[key] + 1)
        complain(h, "order: %u of key %u was delivered before %lld was acknowledged", n, key,
                 (long long)h->acked_upto[key] + 1);
    if (attempt == 0)
        complain(h, "attempt 0 of %u of key %u", n, key);
    if (f->failures)
        f->failures--;
    f->crashes_seen = h->crashes;
    f->deliveries++;
    f->last_attempt = attempt;
    if ((int64_t)n > h->first_seen[key])
        h->first_seen[key] = n;
}

void history_acked(history *h, uint32_t key, uint32_t n)
{
    fact *f = fact_of(h, key, n, "an ack");
    if (!f)
        return;
    if (!f->deliveries)
        complain(h, "phantom: %u of key %u was acknowledged and never delivered", n, key);
    f->acked = true;
    if ((int64_t)n > h->acked_upto[key])
        h->acked_upto[key] = n;
}

void history_ack_unknown(history *h, uint32_t key, uint32_t n)
{
    fact *f = fact_of(h, key, n, "an ack");
    if (!f)
        return;
    f->maybe_acked = true;
    f->failures++;
    if ((int64_t)n > h->acked_upto[key])
        h->acked_upto[key] = n;
}

void history_failed(history *h, uint32_t key, uint32_t n)
{
    fact *f = fact_of(h, key, n, "a failure");
    if (f)
        f->failures++;
}

void history_crashed(history *h)
{
    h->crashes++;
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
            if (drained && f->stored && !f->acked && !f->maybe_acked)
                complain(h, "liveness: %u of key %u is stored, was delivered %u times and never settled", n, key,
                         f->deliveries);
        }
}

bool history_judge(const history *given, bool drained, FILE *out)
{
    history h = *given; /* what is found at the end is not kept */
    judge_batches(&h);
    judge_each(&h, drained);
    for (uint32_t i = 0; i < h.count && i < COMPLAINTS; i++)
        fprintf(out, "history: %s\n", h.complaints[i]);
    if (h.count > COMPLAINTS)
        fprintf(out, "history: and %u more\n", h.count - COMPLAINTS);
    return h.count == 0;
}
