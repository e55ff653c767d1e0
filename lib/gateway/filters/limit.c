/* Sets: policies opened for one route, and what they decide together. */
#include "gateway/filters/limit.h"

#include "base/status.h"
#include "base/time.h"
#include "limit/limiter.h"
#include "limit/rate.h"

/* --- opening ------------------------------------------------------------------------------------------------------- */

static bool counts_route(const nexus__limit_conf *conf)
{
    for (uint32_t i = 0; i < conf->rules.count; i++)
        for (uint32_t k = 0; k < conf->rules.items[i].count; k++)
            if (conf->rules.items[i].items[k].kind == NEXUS__PART_ROUTE)
                return true;
    return false;
}

/* A policy is its name and its numbers: a reload that changes them begins anew, any other one goes on. */
static uint64_t seed_of(const nexus__limit_conf *c, nexus__hash_key secret)
{
    uint64_t parts[] = {
        nexus__siphash(secret, c->name.p, c->name.n), c->kind, c->rate, c->period_s, c->burst, c->quota, c->window_s};
    return nexus__siphash(secret, parts, sizeof parts);
}

static nexus_status open_use(nexus__limit_use *use, const nexus__limit_conf *conf, nexus_slice route,
                             nexus__hash_key secret)
{
    use->conf = conf;
    use->seed = seed_of(conf, secret);
    use->route = nexus__siphash(secret, route.p, route.n) | 1;
    use->fallback = counts_route(conf) ? use->route : 0;
    use->window_ns = conf->window_s * NEXUS__NS_PER_S;
    if (conf->kind != NEXUS__LIMIT_RATE)
        return NEXUS_OK;
    return nexus_rate_init(&use->rate, conf->rate, conf->period_s * NEXUS__NS_PER_S, conf->burst);
}

nexus_status nexus__limit_set_open(nexus__limit_set *set, const nexus__limit_policies *first,
                                   const nexus__limit_policies *second, nexus_slice route, uint32_t cost,
                                   nexus__hash_key secret, const nexus_alloc *alloc)
{
    uint32_t n = first->count + (second ? second->count : 0);
    if (n > NEXUS__LIMIT_POLICIES_MAX)
        return nexus__fail(NEXUS_EINVAL, "route %s: its own policies and those of a plan are more than %d", route.p,
                           NEXUS__LIMIT_POLICIES_MAX);
    *set = (nexus__limit_set){.items = nexus__calloc(alloc, n + 1, sizeof *set->items)};
    if (!set->items)
        return nexus__nomem();
    for (uint32_t i = 0; i < n; i++) {
        const nexus__limit_conf *conf = i < first->count ? &first->items[i] : &second->items[i - first->count];
        nexus_status status = open_use(&set->items[i], conf, route, secret);
        if (!status && cost > (conf->kind == NEXUS__LIMIT_RATE ? conf->burst : conf->quota))
            status = nexus__fail(NEXUS_EINVAL, "route %s: a request costs %u, more than \"%s\" allows at once", route.p,
                                 cost, conf->name.p);
        if (status)
            return status;
        set->count++;
    }
    return nexus__limit_lines_open(set, alloc);
}

void nexus__limit_set_close(nexus__limit_set *set, const nexus_alloc *alloc)
{
    for (uint32_t i = 0; set->items && i < set->count; i++)
        nexus__free(alloc, set->items[i].lines);
    nexus__free(alloc, set->items);
}

/* --- one policy ---------------------------------------------------------------------------------------------------- */

typedef union state {
    nexus_rate_state *rate;
    nexus_quota_state *quota;
} state;

static state find(nexus_limiter *limiter, const nexus__limit_use *use, uint64_t key, int64_t now)
{
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        return (state){.rate = nexus__limiter_rate(limiter, key, now)};
    return (state){.quota = nexus__limiter_quota(limiter, key, (now / use->window_ns + 2) * use->window_ns, now)};
}

static bool look(const nexus__limit_use *use, state at, uint32_t cost, int64_t now, nexus_limit_result *r)
{
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        return nexus_rate_look(&use->rate, at.rate, cost, now, r);
    return nexus_quota_look(at.quota, use->conf->quota, use->window_ns, cost, now, r);
}

static bool fits(const nexus__limit_use *use, state at, uint32_t cost, int64_t now)
{
    uint64_t next;
    nexus_limit_result r;
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        return nexus__rate_fits(&use->rate, __atomic_load_n(&at.rate->word, __ATOMIC_RELAXED), cost, (uint64_t)now,
                                &next);
    return nexus_quota_look(at.quota, use->conf->quota, use->window_ns, cost, now, &r);
}

static bool take(const nexus__limit_use *use, state at, uint32_t cost, int64_t now, nexus_limit_result *r)
{
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        return nexus_rate_take(&use->rate, at.rate, cost, now, r);
    return nexus_quota_take(at.quota, use->conf->quota, use->window_ns, cost, now, r);
}

static void give(const nexus__limit_use *use, state at, uint32_t cost, int64_t now, const nexus_limit_result *r)
{
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        (void)nexus_rate_give(&use->rate, at.rate, cost, r, now);
    else
        nexus_quota_give(at.quota, use->window_ns, cost, now);
}

/* --- all of them --------------------------------------------------------------------------------------------------- */

typedef struct asking {
    const nexus__limit_set *set;
    uint32_t cost;
    int64_t now;
    uint64_t keys[NEXUS__LIMIT_POLICIES_MAX];
    state states[NEXUS__LIMIT_POLICIES_MAX];
    nexus_limit_result results[NEXUS__LIMIT_POLICIES_MAX];
} asking;

/* Refused before allowed, then the least remaining; of refusals the longest, and never is longest. */
static bool stricter(const nexus_limit_result *a, const nexus_limit_result *b)
{
    if (a->allowed != b->allowed)
        return !a->allowed;
    if (a->allowed)
        return a->remaining < b->remaining;
    return (uint64_t)a->retry_after_ns > (uint64_t)b->retry_after_ns;
}

/* Of the enforced so far, this one or the strictest before it. */
static void note(const asking *a, uint32_t i, nexus__limit_outcome *out)
{
    const nexus__limit_use *use = &a->set->items[i];
    uint32_t refused = (uint32_t)!a->results[i].allowed << i;
    if (!use->conf->enforce) {
        out->would_deny |= refused;
        return;
    }
    out->denied |= refused;
    if (!out->strictest || stricter(&a->results[i], &a->results[out->strictest - a->set->items]))
        out->strictest = use;
}

/* Gives back what those before `end` took. */
static void give_all(asking *a, uint32_t end)
{
    for (uint32_t i = 0; i < end; i++)
        if (a->results[i].allowed)
            give(&a->set->items[i], a->states[i], a->cost, a->now, &a->results[i]);
}

/* Takes from each; a policy that lost its last place since it was looked at ends it. */
static void take_all(asking *a, nexus__limit_outcome *out)
{
    *out = (nexus__limit_outcome){0};
    for (uint32_t i = 0; i < a->set->count; i++) {
        (void)take(&a->set->items[i], a->states[i], a->cost, a->now, &a->results[i]);
        note(a, i, out);
        if (out->denied) {
            give_all(a, i);
            return;
        }
    }
}

/* Looks at each; what they say is only of interest when one refuses. */
static bool look_at_all(asking *a)
{
    bool free = true;
    for (uint32_t i = 0; i < a->set->count; i++) {
        const nexus__limit_use *use = &a->set->items[i];
        free &= fits(use, a->states[i], a->cost, a->now) | !use->conf->enforce;
    }
    return free;
}

static void tell_all(asking *a, nexus__limit_outcome *out)
{
    for (uint32_t i = 0; i < a->set->count; i++) {
        (void)look(&a->set->items[i], a->states[i], a->cost, a->now, &a->results[i]);
        note(a, i, out);
    }
}

void nexus__limits_take(nexus_limiter *limiter, const nexus__limit_set *set, nexus__limit_subject *subject,
                        uint32_t cost, int64_t now, nexus__limit_outcome *out)
{
    asking a;
    nexus__hash_key secret = nexus__limiter_secret(limiter);
    a.set = set;
    a.cost = cost;
    a.now = now;
    *out = (nexus__limit_outcome){0};
    for (uint32_t i = 0; i < set->count; i++) {
        a.keys[i] = nexus__limit_key(&set->items[i], subject, secret);
        a.states[i] = find(limiter, &set->items[i], a.keys[i], now);
    }
    if (set->count == 1 || look_at_all(&a)) /* one is decided by one compare-and-swap */
        take_all(&a, out);
    else
        tell_all(&a, out);
    if (out->strictest) {
        out->key = a.keys[out->strictest - set->items];
        out->result = a.results[out->strictest - set->items];
    }
}
