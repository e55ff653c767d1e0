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

/* A policy is its name and its numbers: a reload that changes them begins anew, any other one goes on. Of the calendar's
 * it is the name and the window alone, because the month's use outlives a change of the quota or the plan. */
static uint64_t seed_of(const nexus__limit_conf *c, nexus__hash_key secret)
{
    uint64_t parts[] = {nexus__siphash(secret, c->name.p, c->name.n), c->kind,    c->rate, c->period_s, c->burst,
                        c->calendar ? c->calendar : c->quota,         c->window_s};
    return nexus__siphash(secret, parts, sizeof parts);
}

/* Somebody else counts it. */
static bool is_remote(const nexus__limit_conf *conf)
{
    return conf->cluster || conf->kind == NEXUS__LIMIT_CALENDAR;
}

static nexus_status open_use(nexus__limit_use *use, const nexus__limit_conf *conf, nexus_slice route, uint32_t nodes,
                             nexus__hash_key secret)
{
    use->conf = conf;
    use->seed = seed_of(conf, secret);
    use->route_id = route;
    use->route = nexus__siphash(secret, route.p, route.n) | 1;
    use->fallback = counts_route(conf) ? use->route : 0;
    use->window_ns = conf->window_s * NEXUS__NS_PER_S;
    if (conf->kind != NEXUS__LIMIT_RATE)
        return NEXUS_OK;
    nexus_status status = nexus_rate_init(&use->rate, conf->rate, conf->period_s * NEXUS__NS_PER_S, conf->burst);
    if (status || !conf->cluster)
        return status;
    uint32_t burst = conf->burst / nodes;
    return nexus_rate_init(&use->share, conf->rate, conf->period_s * NEXUS__NS_PER_S * nodes, burst ? burst : 1);
}

nexus_status nexus__limit_set_open(nexus__limit_set *set, const nexus__limit_policies *first,
                                   const nexus__limit_policies *second, nexus_slice route, uint32_t cost,
                                   uint32_t nodes, nexus__hash_key secret, const nexus_alloc *alloc)
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
        nexus_status status = open_use(&set->items[i], conf, route, nodes, secret);
        set->waits |= is_remote(conf);
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

/* The rate by which it is counted here: its own, or this gateway's share of it. */
static const nexus_rate *rate_of(const nexus__limit_use *use)
{
    return use->conf->cluster ? &use->share : &use->rate;
}

static bool look(const nexus__limit_use *use, state at, uint32_t cost, int64_t now, nexus_limit_result *r)
{
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        return nexus_rate_look(rate_of(use), at.rate, cost, now, r);
    return nexus_quota_look(at.quota, use->conf->quota, use->window_ns, cost, now, r);
}

static bool fits(const nexus__limit_use *use, state at, uint32_t cost, int64_t now)
{
    uint64_t next;
    nexus_limit_result r;
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        return nexus__rate_fits(rate_of(use), __atomic_load_n(&at.rate->word, __ATOMIC_RELAXED), cost, (uint64_t)now,
                                &next);
    return nexus_quota_look(at.quota, use->conf->quota, use->window_ns, cost, now, &r);
}

static bool take(const nexus__limit_use *use, state at, uint32_t cost, int64_t now, nexus_limit_result *r)
{
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        return nexus_rate_take(rate_of(use), at.rate, cost, now, r);
    return nexus_quota_take(at.quota, use->conf->quota, use->window_ns, cost, now, r);
}

static void give(const nexus__limit_use *use, state at, uint32_t cost, int64_t now, const nexus_limit_result *r)
{
    if (use->conf->kind == NEXUS__LIMIT_RATE)
        (void)nexus_rate_give(rate_of(use), at.rate, cost, r, now);
    else
        nexus_quota_give(at.quota, use->window_ns, cost, now);
}

/* --- all of them --------------------------------------------------------------------------------------------------- */

typedef struct asking {
    const nexus__limit_set *set;
    const nexus__limit_given *given; /* NULL = all are counted here */
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

static bool is_given(const asking *a, uint32_t i)
{
    return a->given && a->given[i].how == NEXUS__LIMIT_GIVEN;
}

/* Gives back what those before `end` took. */
static void give_all(asking *a, uint32_t end)
{
    for (uint32_t i = 0; i < end; i++)
        if (a->results[i].allowed && !is_given(a, i))
            give(&a->set->items[i], a->states[i], a->cost, a->now, &a->results[i]);
}

/* Takes from each; a policy that lost its last place since it was looked at ends it. */
static void take_all(asking *a, nexus__limit_outcome *out)
{
    *out = (nexus__limit_outcome){0};
    for (uint32_t i = 0; i < a->set->count; i++) {
        if (is_given(a, i))
            a->results[i] = a->given[i].result;
        else
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
        bool allowed = is_given(a, i) ? a->given[i].result.allowed : fits(use, a->states[i], a->cost, a->now);
        free &= allowed | !use->conf->enforce;
    }
    return free;
}

static void tell_all(asking *a, nexus__limit_outcome *out)
{
    for (uint32_t i = 0; i < a->set->count; i++) {
        if (is_given(a, i))
            a->results[i] = a->given[i].result;
        else
            (void)look(&a->set->items[i], a->states[i], a->cost, a->now, &a->results[i]);
        note(a, i, out);
    }
}

static void begin(asking *a, nexus_limiter *limiter, nexus__limit_subject *subject)
{
    nexus__hash_key secret = nexus__limiter_secret(limiter);
    for (uint32_t i = 0; i < a->set->count; i++) {
        a->keys[i] = nexus__limit_key(&a->set->items[i], subject, secret);
        if (!is_given(a, i))
            a->states[i] = find(limiter, &a->set->items[i], a->keys[i], a->now);
    }
}

static void name_strictest(const asking *a, nexus__limit_outcome *out)
{
    if (!out->strictest)
        return;
    out->key = a->keys[out->strictest - a->set->items];
    out->result = a->results[out->strictest - a->set->items];
}

void nexus__limits_take(nexus_limiter *limiter, const nexus__limit_set *set, nexus__limit_subject *subject,
                        uint32_t cost, int64_t now, const nexus__limit_given *given, nexus__limit_outcome *out)
{
    asking a;
    a.set = set;
    a.given = given;
    a.cost = cost;
    a.now = now;
    *out = (nexus__limit_outcome){0};
    begin(&a, limiter, subject);
    if (set->count == 1 || look_at_all(&a)) /* one is decided by one compare-and-swap */
        take_all(&a, out);
    else
        tell_all(&a, out);
    name_strictest(&a, out);
}

bool nexus__limits_look(nexus_limiter *limiter, const nexus__limit_set *set, nexus__limit_subject *subject,
                        uint32_t cost, int64_t now, nexus__limit_outcome *out)
{
    static const nexus_limit_result free = {.allowed = true, .remaining = UINT32_MAX};
    nexus__limit_given given[NEXUS__LIMIT_POLICIES_MAX];
    asking a;
    for (uint32_t i = 0; i < set->count; i++)
        given[i] =
            is_remote(set->items[i].conf) ? (nexus__limit_given){NEXUS__LIMIT_GIVEN, free} : (nexus__limit_given){0};
    a.set = set;
    a.given = given;
    a.cost = cost;
    a.now = now;
    *out = (nexus__limit_outcome){0};
    begin(&a, limiter, subject);
    if (look_at_all(&a))
        return true;
    tell_all(&a, out);
    name_strictest(&a, out);
    return false;
}
