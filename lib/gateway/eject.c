/*
 * Passive health: what the answers of a target teach. A target that fails several times in a row, or clearly more often
 * than the others of its upstream, is ejected for a while that grows with each time; never more than a share of all. It
 * comes back when the time is up, or when it proves itself before: with nobody healthy left everybody is tried.
 */
#include <math.h>
#include <stdlib.h>

#include "base/id.h"
#include "gateway/gateway.h"

/* --- decisions ---------------------------------------------------------------------------------------------------- */

bool nexus__eject_may(const nexus__gw_ejection *rule, uint32_t ejected, uint32_t count)
{
    return ejected == 0 || (uint64_t)(ejected + 1) * 100 <= (uint64_t)count * rule->max_percent;
}

/* Up to a tenth is added, so that targets that went together do not come back together. */
int64_t nexus__eject_pause_ns(const nexus__gw_ejection *rule, uint32_t times, uint64_t random)
{
    uint64_t ms = (uint64_t)rule->base_ms * (times ? times : 1);
    if (ms > rule->max_ms)
        ms = rule->max_ms;
    return (int64_t)(ms + random % (ms / 10 + 1)) * NEXUS__NS_PER_MS;
}

double nexus__eject_threshold(const nexus__gw_ejection *rule, const double *rates, uint32_t n)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += rates[i];
    double mean = n ? sum / n : 0;
    for (uint32_t i = 0; i < n; i++)
        squares += (rates[i] - mean) * (rates[i] - mean);
    return mean - rule->deviations_percent / 100.0 * sqrt(n ? squares / n : 0);
}

/* --- turning a target --------------------------------------------------------------------------------------------- */

static void tell(nexus__target *t, bool up, const char *reason)
{
    nexus__upstream *u = t->upstream;
    if (u->gateway->opts.on_health)
        u->gateway->opts.on_health(u->conf->name.p, t->url.p, up, reason, u->gateway->opts.user_data);
}

static uint32_t count_ejected(const nexus__target_set *set, int64_t now)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->count; i++)
        n += atomic_load(&set->targets[i]->load.ejected_until) > now;
    return n;
}

/* One thread at a time: otherwise two could take the last place. */
static bool take_out(nexus__target *t, int64_t now)
{
    nexus__upstream *u = t->upstream;
    const nexus__gw_ejection *rule = &u->conf->ejection;
    pthread_mutex_lock(&u->locked.mutex);
    bool may = atomic_load(&t->load.ejected_until) <= now &&
               nexus__eject_may(rule, count_ejected(u->locked.set, now), u->locked.set->count);
    if (may) {
        uint32_t times = atomic_fetch_add(&t->shared.ejections, 1) + 1;
        int64_t until = now + nexus__eject_pause_ns(rule, times, nexus__random_u64());
        atomic_store(&t->shared.failures, 0);
        atomic_store(&t->shared.ejected_at, now);
        atomic_store(&t->load.back_since, until);
        atomic_store(&t->load.ejected_until, until);
    }
    pthread_mutex_unlock(&u->locked.mutex);
    return may;
}

static void eject(nexus__target *t, const char *reason, int64_t now)
{
    if (!take_out(t, now))
        return;
    nexus_metric_add(t->metrics.ejections, 1);
    tell(t, false, reason);
}

static void come_back(nexus__target *t, const char *reason, int64_t now)
{
    if (!atomic_exchange(&t->load.ejected_until, 0))
        return;
    if (atomic_load(&t->load.back_since) > now)
        atomic_store(&t->load.back_since, now);
    tell(t, true, reason);
}

void nexus__target_turn(nexus__target *t, bool down, const char *reason, int64_t now)
{
    if (atomic_exchange(&t->load.down, down) == down)
        return;
    if (!down) {
        atomic_store(&t->load.ejected_until, 0);
        atomic_store(&t->load.back_since, now);
        atomic_store(&t->shared.failures, 0);
    }
    tell(t, !down, reason);
}

/* --- what an answer teaches --------------------------------------------------------------------------------------- */

static void learn_good(nexus__target *t, int64_t began, int64_t now)
{
    if (atomic_load_explicit(&t->shared.failures, memory_order_relaxed))
        atomic_store(&t->shared.failures, 0);
    if (atomic_load_explicit(&t->load.ejected_until, memory_order_relaxed) && began > atomic_load(&t->shared.ejected_at))
        come_back(t, "answers again", now);
}

static void learn_bad(nexus__target *t, int64_t now)
{
    const nexus__gw_ejection *rule = &t->upstream->conf->ejection;
    uint32_t failures = atomic_fetch_add(&t->shared.failures, 1) + 1;
    atomic_fetch_add_explicit(&t->shared.failed, 1, memory_order_relaxed);
    if (rule->failures && failures >= rule->failures)
        eject(t, "failed repeatedly", now);
}

void nexus__target_learn(nexus__target *t, bool failed, int64_t began, int64_t now)
{
    if (t->upstream->conf->balance.balancer->timed)
        nexus__balance_time(&t->load, now - began, failed, now);
    if (failed)
        learn_bad(t, now);
    else
        learn_good(t, began, now);
}

/* --- the sweep ---------------------------------------------------------------------------------------------------- */

typedef struct sample {
    nexus__target *target;
    double rate; /* of success since the last sweep */
} sample;

/* Returns how many targets had enough requests to be judged. */
static uint32_t take_samples(const nexus__gw_ejection *rule, nexus__target_set *set, sample *samples)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        nexus__target *t = set->targets[i];
        uint32_t ended = (uint32_t)(atomic_load(&t->load.work) >> 32), failed = atomic_load(&t->shared.failed);
        uint32_t requests = ended - t->sweep.ended, failures = failed - t->sweep.failed;
        t->sweep.ended = ended;
        t->sweep.failed = failed;
        if (requests >= rule->requests_min && requests > 0)
            samples[n++] = (sample){t, failures < requests ? 1 - (double)failures / requests : 0};
    }
    return n;
}

static void compare(nexus__upstream *u, nexus__target_set *set, int64_t now)
{
    const nexus__gw_ejection *rule = &u->conf->ejection;
    sample *samples = nexus__calloc(u->alloc, set->count + 1, sizeof *samples);
    double *rates = nexus__calloc(u->alloc, set->count + 1, sizeof *rates);
    uint32_t n = samples && rates ? take_samples(rule, set, samples) : 0;
    for (uint32_t i = 0; i < n; i++)
        rates[i] = samples[i].rate;
    double least = nexus__eject_threshold(rule, rates, n);
    for (uint32_t i = 0; n >= rule->hosts_min && i < n; i++)
        if (rates[i] < least)
            eject(samples[i].target, "fails more often than the others", now);
    nexus__free(u->alloc, samples);
    nexus__free(u->alloc, rates);
}

static void end_ejections(nexus__target_set *set, int64_t now)
{
    for (uint32_t i = 0; i < set->count; i++) {
        nexus__target *t = set->targets[i];
        int64_t until = atomic_load(&t->load.ejected_until);
        if (until > now)
            continue;
        if (until)
            come_back(t, "is tried again", now);
        else if (atomic_load(&t->shared.ejections)) /* a sweep without: the next pause is shorter again */
            atomic_fetch_sub(&t->shared.ejections, 1);
    }
}

int64_t nexus__upstream_sweep(nexus__upstream *u, int64_t now)
{
    const nexus__gw_ejection *rule = &u->conf->ejection;
    if (!rule->failures && !rule->deviations_percent)
        return INT64_MAX;
    if (now < u->next_sweep)
        return u->next_sweep;
    nexus__target_set *set = nexus__upstream_set(u);
    end_ejections(set, now);
    if (rule->deviations_percent && set->count >= rule->hosts_min)
        compare(u, set, now);
    nexus__target_set_unref(set);
    return u->next_sweep = now + rule->sweep_ms * NEXUS__NS_PER_MS;
}
