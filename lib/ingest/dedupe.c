#include "ingest/dedupe.h"

#include "base/status.h"

static bool same(nexus__print x, nexus__print y)
{
    return x.a == y.a && x.b == y.b;
}

static bool is_free(nexus__print p)
{
    return p.a == 0 && p.b == 0;
}

/* Where the print stands, or the free slot where it would. cap is not 0 and never full. */
static size_t slot_of(const nexus__prints *s, nexus__print p)
{
    size_t i = p.a & (s->cap - 1);
    while (!is_free(s->slots[i]) && !same(s->slots[i], p))
        i = (i + 1) & (s->cap - 1);
    return i;
}

static bool prints_have(const nexus__prints *s, nexus__print p)
{
    return s->cap != 0 && !is_free(s->slots[slot_of(s, p)]);
}

static nexus_status prints_grow(nexus__prints *s, const nexus_alloc *alloc)
{
    nexus__prints bigger = {.count = s->count, .cap = s->cap ? s->cap * 2 : 1024};
    bigger.slots = nexus__calloc(alloc, bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots)
        return nexus__nomem();
    for (size_t i = 0; i < s->cap; i++)
        if (!is_free(s->slots[i]))
            bigger.slots[slot_of(&bigger, s->slots[i])] = s->slots[i];
    nexus__free(alloc, s->slots);
    *s = bigger;
    return NEXUS_OK;
}

static nexus_status prints_add(nexus__prints *s, const nexus_alloc *alloc, nexus__print p)
{
    if (s->count * 4 >= s->cap * 3) {
        nexus_status st = prints_grow(s, alloc);
        if (st != NEXUS_OK)
            return st;
    }
    size_t i = slot_of(s, p);
    s->count += is_free(s->slots[i]);
    s->slots[i] = p;
    return NEXUS_OK;
}

/* Backward-shift deletion: later entries of the run move up, so that no tombstone is needed. */
static void prints_remove(nexus__prints *s, nexus__print p)
{
    if (!prints_have(s, p))
        return;
    size_t hole = slot_of(s, p), mask = s->cap - 1;
    for (size_t i = (hole + 1) & mask; !is_free(s->slots[i]); i = (i + 1) & mask) {
        size_t home = s->slots[i].a & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            s->slots[hole] = s->slots[i];
            hole = i;
        }
    }
    s->slots[hole] = (nexus__print){0, 0};
    s->count--;
}

void nexus__dedupe_init(nexus__dedupe *d, const nexus_alloc *alloc, int64_t window_ms, size_t max)
{
    *d = (nexus__dedupe){.window_ms = window_ms,
                         .half = max / 2 ? max / 2 : 1,
                         .since_ms = INT64_MIN,
                         .key_a = nexus__hash_key_random(),
                         .key_b = nexus__hash_key_random(),
                         .alloc = alloc};
}

void nexus__dedupe_free(nexus__dedupe *d)
{
    nexus__free(d->alloc, d->now.slots);
    nexus__free(d->alloc, d->before.slots);
    d->now = d->before = (nexus__prints){0};
}

nexus__print nexus__dedupe_print(const nexus__dedupe *d, nexus_slice id)
{
    nexus__print p = {nexus__siphash(d->key_a, id.p, id.n), nexus__siphash(d->key_b, id.p, id.n)};
    p.b |= is_free(p);
    return p;
}

bool nexus__dedupe_has(const nexus__dedupe *d, nexus__print print)
{
    return prints_have(&d->now, print) || prints_have(&d->before, print);
}

static void turn(nexus__dedupe *d, int64_t now_ms)
{
    nexus__free(d->alloc, d->before.slots);
    d->before = d->now;
    d->now = (nexus__prints){0};
    d->since_ms = now_ms;
}

nexus_status nexus__dedupe_add(nexus__dedupe *d, nexus__print print, int64_t now_ms)
{
    if (d->since_ms == INT64_MIN)
        d->since_ms = now_ms;
    if (d->now.count >= d->half || now_ms - d->since_ms > d->window_ms)
        turn(d, now_ms);
    return prints_add(&d->now, d->alloc, print);
}

void nexus__dedupe_remove(nexus__dedupe *d, nexus__print print)
{
    prints_remove(&d->now, print);
    prints_remove(&d->before, print);
}

size_t nexus__dedupe_count(const nexus__dedupe *d)
{
    return d->now.count + d->before.count;
}
