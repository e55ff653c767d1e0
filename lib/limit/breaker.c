/*
 * Circuit breaker: closed -> open when enough calls of a window fail; open -> half open after a pause that doubles;
 * half open admits a few probes: as many successes close it, one failure opens it again.
 *
 * Everything is in two words, changed by compare-and-swap:
 *
 *   state    kind | probes under way | probes passed | times opened in a row | until (ms): when the pause ends or ended
 *   window   start (2^20 ns) | calls | failures
 *
 * A window begins with a failure. While none is in it, a success leaves the word alone: a healthy target costs two loads.
 * "Half open" is not stored before the first probe asks: an open state whose time has come is half open.
 */
#include "limit/breaker.h"

#include "base/alloc.h"
#include "base/status.h"
#include "base/time.h"

/* --- the words ---------------------------------------------------------------------------------------------------- */

enum { COUNT_BITS = 18, COUNT_MAX = (1 << COUNT_BITS) - 1, START_BITS = 28, START_SHIFT = 20, FIELD_MAX = 255 };
#define UNTIL_MASK ((uint64_t)0xffffffffff)
#define START_MASK ((uint64_t)(1 << START_BITS) - 1)

typedef struct state {
    uint32_t kind, probing, passed, opened;
    uint64_t until_ms;
} state;

static state unpack(uint64_t word)
{
    return (state){.kind = word & 3,
                   .probing = word >> 2 & FIELD_MAX,
                   .passed = word >> 10 & FIELD_MAX,
                   .opened = word >> 18 & 63,
                   .until_ms = word >> 24};
}

static uint64_t pack(state s)
{
    return s.kind | (uint64_t)s.probing << 2 | (uint64_t)s.passed << 10 | (uint64_t)s.opened << 18 | s.until_ms << 24;
}

/* Probes of one half-open time have a pass in common, which is that of no other. */
static uint32_t probe_pass(state s)
{
    return (uint32_t)s.until_ms | 0x80000000u;
}

static state due(state s, int64_t now)
{
    if (s.kind == NEXUS_BREAKER_OPEN && (uint64_t)(now / NEXUS__NS_PER_MS) >= s.until_ms)
        s.kind = NEXUS_BREAKER_HALF_OPEN;
    return s;
}

static state opened(state s, const nexus_breaker_rule *rule, int64_t now)
{
    uint64_t pause = rule->open_ms;
    for (uint32_t i = 0; i < s.opened && pause < rule->open_max_ms; i++)
        pause *= 2;
    if (pause > rule->open_max_ms)
        pause = rule->open_max_ms;
    return (state){.kind = NEXUS_BREAKER_OPEN,
                   .opened = s.opened < 63 ? s.opened + 1 : 63,
                   .until_ms = ((uint64_t)(now / NEXUS__NS_PER_MS) + pause) & UNTIL_MASK};
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static bool has_room(state s, const nexus_breaker_rule *rule)
{
    return s.kind == NEXUS_BREAKER_CLOSED || (s.kind == NEXUS_BREAKER_HALF_OPEN && s.probing < rule->probes);
}

static int64_t retry_after(state s, int64_t now)
{
    return s.kind == NEXUS_BREAKER_OPEN ? (int64_t)s.until_ms * NEXUS__NS_PER_MS - now : NEXUS__NS_PER_S;
}

uint32_t nexus__breaker_enter(nexus__breaker *b, const nexus_breaker_rule *rule, int64_t now, int64_t *retry_after_ns)
{
    unsigned long long word = atomic_load_explicit(&b->state, memory_order_relaxed);
    for (;;) {
        state s = due(unpack(word), now);
        if (s.kind == NEXUS_BREAKER_CLOSED)
            return NEXUS__BREAKER_PASS;
        if (!has_room(s, rule)) {
            *retry_after_ns = retry_after(s, now);
            return NEXUS__BREAKER_REFUSED;
        }
        s.probing++;
        if (atomic_compare_exchange_weak(&b->state, &word, pack(s)))
            return probe_pass(s);
    }
}

bool nexus__breaker_admits(const nexus__breaker *b, const nexus_breaker_rule *rule, int64_t now)
{
    uint64_t word = atomic_load_explicit(&b->state, memory_order_relaxed);
    return (word & 3) == NEXUS_BREAKER_CLOSED || has_room(due(unpack(word), now), rule);
}

int64_t nexus__breaker_retry_after_ns(const nexus__breaker *b, int64_t now)
{
    return retry_after(due(unpack(atomic_load_explicit(&b->state, memory_order_relaxed)), now), now);
}

int32_t nexus__breaker_state(const nexus__breaker *b, int64_t now)
{
    return (int32_t)due(unpack(atomic_load_explicit(&b->state, memory_order_relaxed)), now).kind;
}

/* --- learning ----------------------------------------------------------------------------------------------------- */

/* Adds a call to the window, or begins one with a failure. True: that is enough to open. */
static bool count(nexus__breaker *b, const nexus_breaker_rule *rule, bool failed, int64_t now)
{
    uint64_t at = ((uint64_t)now >> START_SHIFT) & START_MASK;
    uint64_t span = (uint64_t)rule->window_ms * NEXUS__NS_PER_MS >> START_SHIFT;
    unsigned long long word = atomic_load_explicit(&b->window, memory_order_relaxed), next;
    uint32_t calls, failures;
    do {
        uint64_t start = word >> (2 * COUNT_BITS);
        bool over = ((at - start) & START_MASK) >= span;
        calls = over ? 0 : word >> COUNT_BITS & COUNT_MAX;
        failures = over ? 0 : word & COUNT_MAX;
        if (calls == 0 && !failed && word == 0)
            return false;
        if (calls == COUNT_MAX) { /* as many again may come: the share stays */
            calls /= 2;
            failures /= 2;
        }
        if (calls == 0)
            start = at;
        calls += calls > 0 || failed;
        failures += failed;
        next = calls ? start << (2 * COUNT_BITS) | (uint64_t)calls << COUNT_BITS | failures : 0;
    } while (!atomic_compare_exchange_weak(&b->window, &word, next));
    return failed && calls >= rule->samples_min && (uint64_t)failures * 100 >= (uint64_t)calls * rule->failures_percent;
}

static int32_t done_closed(nexus__breaker *b, const nexus_breaker_rule *rule, int32_t outcome, int64_t now)
{
    bool failed = outcome == NEXUS_BREAKER_FAILED;
    if (outcome == NEXUS_BREAKER_IGNORED || (!failed && !atomic_load_explicit(&b->window, memory_order_relaxed)))
        return -1;
    if (!count(b, rule, failed, now))
        return -1;
    unsigned long long word = atomic_load(&b->state);
    state s = unpack(word);
    if (s.kind != NEXUS_BREAKER_CLOSED || !atomic_compare_exchange_strong(&b->state, &word, pack(opened(s, rule, now))))
        return -1; /* another did it */
    atomic_store(&b->window, 0);
    return NEXUS_BREAKER_OPEN;
}

static int32_t done_probe(nexus__breaker *b, const nexus_breaker_rule *rule, uint32_t pass, int32_t outcome, int64_t now)
{
    unsigned long long word = atomic_load(&b->state);
    for (;;) {
        state s = unpack(word);
        int32_t became = -1;
        s = due(s, now);
        if (s.kind != NEXUS_BREAKER_HALF_OPEN || probe_pass(s) != pass)
            return -1; /* the time it probed for is over */
        if (s.probing > 0)
            s.probing--;
        if (outcome == NEXUS_BREAKER_FAILED) {
            s = opened(s, rule, now);
            became = NEXUS_BREAKER_OPEN;
        } else if (outcome == NEXUS_BREAKER_OK && ++s.passed >= rule->probes) {
            s = (state){.kind = NEXUS_BREAKER_CLOSED};
            became = NEXUS_BREAKER_CLOSED;
        }
        if (atomic_compare_exchange_weak(&b->state, &word, pack(s)))
            return became;
    }
}

int32_t nexus__breaker_done(nexus__breaker *b, const nexus_breaker_rule *rule, uint32_t pass, int32_t outcome,
                            int64_t now)
{
    return pass == NEXUS__BREAKER_PASS ? done_closed(b, rule, outcome, now) : done_probe(b, rule, pass, outcome, now);
}

/* --- the public form: a breaker of its own, which tells probes by its state alone ---------------------------------- */

struct nexus_breaker {
    nexus_breaker_rule rule;
    nexus__breaker breaker;
};

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

nexus_breaker_rule nexus__breaker_rule(const nexus_breaker_rule *rule)
{
    nexus_breaker_rule r = NEXUS_BREAKER_RULE_INIT;
    if (rule)
        __builtin_memcpy(&r, rule, rule->size < sizeof r ? rule->size : sizeof r);
    r.failures_percent = or_default(r.failures_percent, 50);
    r.samples_min = or_default(r.samples_min, 20);
    r.window_ms = or_default(r.window_ms, 10000);
    r.open_ms = or_default(r.open_ms, 5000);
    r.open_max_ms = or_default(r.open_max_ms, 60000);
    r.probes = or_default(r.probes, 3);
    r.probes = r.probes > FIELD_MAX ? FIELD_MAX : r.probes;
    return r;
}

nexus_status nexus_breaker_new(nexus_breaker **out, const nexus_breaker_rule *rule)
{
    nexus_breaker *b = nexus__calloc(NULL, 1, sizeof *b);
    if (!b)
        return nexus__nomem();
    b->rule = nexus__breaker_rule(rule);
    *out = b;
    return NEXUS_OK;
}

void nexus_breaker_free(nexus_breaker *b)
{
    nexus__free(NULL, b);
}

bool nexus_breaker_enter(nexus_breaker *b, int64_t now, int64_t *retry_after_ns)
{
    int64_t wait = 0;
    bool may = nexus__breaker_enter(&b->breaker, &b->rule, now, &wait) != NEXUS__BREAKER_REFUSED;
    if (retry_after_ns)
        *retry_after_ns = wait;
    return may;
}

void nexus_breaker_done(nexus_breaker *b, int32_t outcome, int64_t now)
{
    state s = due(unpack(atomic_load(&b->breaker.state)), now);
    bool probe = s.kind == NEXUS_BREAKER_HALF_OPEN && s.probing > 0;
    if (probe || s.kind == NEXUS_BREAKER_CLOSED)
        (void)nexus__breaker_done(&b->breaker, &b->rule, probe ? probe_pass(s) : NEXUS__BREAKER_PASS, outcome, now);
}

int32_t nexus_breaker_state(nexus_breaker *b, int64_t now)
{
    return nexus__breaker_state(&b->breaker, now);
}
