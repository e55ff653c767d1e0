/*
 * Circuit breaker: closed -> open when enough calls of a window fail; open -> half open after a pause that doubles;
 * half open admits a few probes: as many successes close it, one failure opens it again.
 */
#include <nexus/limit.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/status.h"
#include "base/time.h"

struct nexus_breaker {
    nexus_breaker_rule rule;
    pthread_mutex_t mutex;
    struct {
        int32_t state;
        int64_t window_start, open_until;
        uint32_t calls, failures;
        uint32_t opened; /* times in a row */
        uint32_t probing, passed;
    } locked;
};

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

nexus_status nexus_breaker_new(nexus_breaker **out, const nexus_breaker_rule *rule)
{
    nexus_breaker_rule r = NEXUS_BREAKER_RULE_INIT;
    if (rule)
        __builtin_memcpy(&r, rule, rule->size < sizeof r ? rule->size : sizeof r);
    nexus_breaker *b = nexus__calloc(NULL, 1, sizeof *b);
    if (!b)
        return nexus__nomem();
    b->rule = (nexus_breaker_rule){.failures_percent = or_default(r.failures_percent, 50),
                                   .samples_min = or_default(r.samples_min, 20),
                                   .window_ms = or_default(r.window_ms, 10000),
                                   .open_ms = or_default(r.open_ms, 5000),
                                   .open_max_ms = or_default(r.open_max_ms, 60000),
                                   .probes = or_default(r.probes, 3)};
    pthread_mutex_init(&b->mutex, NULL);
    *out = b;
    return NEXUS_OK;
}

void nexus_breaker_free(nexus_breaker *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->mutex);
    nexus__free(NULL, b);
}

static void advance(nexus_breaker *b, int64_t now)
{
    if (b->locked.state != NEXUS_BREAKER_OPEN || now < b->locked.open_until)
        return;
    b->locked.state = NEXUS_BREAKER_HALF_OPEN;
    b->locked.probing = b->locked.passed = 0;
}

static void open_circuit(nexus_breaker *b, int64_t now)
{
    uint64_t pause = b->rule.open_ms;
    for (uint32_t i = 0; i < b->locked.opened && pause < b->rule.open_max_ms; i++)
        pause *= 2;
    if (pause > b->rule.open_max_ms)
        pause = b->rule.open_max_ms;
    b->locked.state = NEXUS_BREAKER_OPEN;
    b->locked.opened++;
    b->locked.open_until = now + (int64_t)pause * NEXUS__NS_PER_MS;
}

bool nexus_breaker_enter(nexus_breaker *b, int64_t now, int64_t *retry_after_ns)
{
    pthread_mutex_lock(&b->mutex);
    advance(b, now);
    bool half = b->locked.state == NEXUS_BREAKER_HALF_OPEN;
    bool may = b->locked.state == NEXUS_BREAKER_CLOSED || (half && b->locked.probing < b->rule.probes);
    if (may && half)
        b->locked.probing++;
    if (retry_after_ns)
        *retry_after_ns = may ? 0 : half ? NEXUS__NS_PER_S : b->locked.open_until - now;
    pthread_mutex_unlock(&b->mutex);
    return may;
}

static void count_closed(nexus_breaker *b, bool failed, int64_t now)
{
    if (now - b->locked.window_start >= (int64_t)b->rule.window_ms * NEXUS__NS_PER_MS) {
        b->locked.window_start = now;
        b->locked.calls = b->locked.failures = 0;
    }
    b->locked.calls++;
    b->locked.failures += failed;
    if (b->locked.calls >= b->rule.samples_min &&
        (uint64_t)b->locked.failures * 100 >= (uint64_t)b->locked.calls * b->rule.failures_percent)
        open_circuit(b, now);
}

static void count_probe(nexus_breaker *b, int32_t outcome, int64_t now)
{
    if (b->locked.probing > 0)
        b->locked.probing--;
    if (outcome == NEXUS_BREAKER_FAILED)
        open_circuit(b, now);
    else if (outcome == NEXUS_BREAKER_OK && ++b->locked.passed >= b->rule.probes) {
        b->locked.state = NEXUS_BREAKER_CLOSED;
        b->locked.opened = b->locked.calls = b->locked.failures = 0;
        b->locked.window_start = now;
    }
}

void nexus_breaker_done(nexus_breaker *b, int32_t outcome, int64_t now)
{
    pthread_mutex_lock(&b->mutex);
    if (b->locked.state == NEXUS_BREAKER_HALF_OPEN)
        count_probe(b, outcome, now);
    else if (b->locked.state == NEXUS_BREAKER_CLOSED && outcome != NEXUS_BREAKER_IGNORED)
        count_closed(b, outcome == NEXUS_BREAKER_FAILED, now);
    pthread_mutex_unlock(&b->mutex);
}

int32_t nexus_breaker_state(nexus_breaker *b, int64_t now)
{
    pthread_mutex_lock(&b->mutex);
    advance(b, now);
    int32_t state = b->locked.state;
    pthread_mutex_unlock(&b->mutex);
    return state;
}
