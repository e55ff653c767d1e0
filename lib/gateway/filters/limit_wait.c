/*
 * Requests whose policies others count. First those that are counted here are looked at: what they refuse asks nobody.
 * Then tokens of calendar quotas are taken out of leases, then the store decides and consumes for the shared rates at
 * once, and when all allow, those here are taken from. Who is refused on the way gives his tokens back. A place here that
 * was lost meanwhile leaves the store's cost consumed: fewer pass then, never more.
 */
#include "base/status.h"
#include "gateway/filters/limit_lease.h"
#include "gateway/gateway.h"

/* Of a request that waits; in its own memory. */
typedef struct waiting {
    nexus__lease_waiter waiter;
    nexus__call *call;
    const nexus__gw_limits_conf *conf;
    const nexus__limit_set *set;
    nexus__limit_subject subject;
    nexus__limit_given given[NEXUS__LIMIT_POLICIES_MAX];
    nexus__lease *leases[NEXUS__LIMIT_POLICIES_MAX]; /* pinned */
    int64_t since[NEXUS__LIMIT_POLICIES_MAX];        /* of their windows, when they were taken from */
    uint32_t taken;                                  /* bits of those with tokens of ours */
} waiting;

static nexus__gw_loop *home_of(const waiting *w)
{
    return w->call->view->home;
}

static int64_t now_of(const waiting *w)
{
    return nexus_loop_now_ns(home_of(w)->loop);
}

/* Lets go of the leases; the tokens go back unless they were used. */
static void let_go(waiting *w, bool used)
{
    for (uint32_t i = 0; i < w->set->count; i++) {
        if (w->taken >> i & 1 && !used && w->leases[i]->since == w->since[i]) /* not into a window that began meanwhile */
            nexus__lease_give(w->leases[i], w->conf->cost);
        if (w->leases[i])
            nexus__lease_release(w->leases[i]);
        w->leases[i] = NULL;
    }
    w->taken = 0;
}

static nexus__gw_verdict decide(waiting *w)
{
    nexus__limit_outcome outcome;
    int64_t now = now_of(w);
    nexus__limits_take(home_of(w)->gateway->limits, w->set, &w->subject, w->conf->cost, now, w->given, &outcome);
    let_go(w, !outcome.denied);
    return nexus__limits_finish(w->call, w->conf, w->set, &outcome, now);
}

/* Back on the loop; false: there is no call any more. */
static bool is_back(waiting *w)
{
    if (w->call->gone)
        let_go(w, false);
    return nexus__call_woken(w->call);
}

/* --- without who counts -------------------------------------------------------------------------------------------- */

static nexus__gw_verdict unavailable(waiting *w)
{
    let_go(w, false);
    (void)nexus_request_set_header(w->call->request, "Retry-After", NEXUS_S("1"));
    nexus__call_problem(w->call, 503, "limits-unavailable", "What this counts against cannot be counted now.");
    return NEXUS__GW_ANSWERED;
}

static bool must_refuse(const nexus__limit_use *use)
{
    nexus_metric_add(use->counts[NEXUS__LIMIT_STORE_ERROR], 1);
    return use->conf->without == NEXUS__WITHOUT_CLOSED && use->conf->enforce;
}

/* What each policy says of a store that is away: its share here, nothing, or no. */
static nexus__gw_verdict without_store(waiting *w)
{
    for (uint32_t i = 0; i < w->set->count; i++) {
        const nexus__limit_use *use = &w->set->items[i];
        if (!use->conf->cluster)
            continue;
        if (must_refuse(use))
            return unavailable(w);
        w->given[i] = (nexus__limit_given){.how = NEXUS__LIMIT_SHARE};
        if (use->conf->without == NEXUS__WITHOUT_OPEN)
            w->given[i] = (nexus__limit_given){NEXUS__LIMIT_GIVEN, {.allowed = true, .remaining = use->rate.burst}};
    }
    return decide(w);
}

/* The same of the database; false: it must be refused. What is admitted is owed. */
static bool without_ledger(waiting *w, uint32_t i, bool *allowed)
{
    const nexus__limit_use *use = &w->set->items[i];
    uint32_t nodes = home_of(w)->gateway->opts.limit_nodes;
    if (must_refuse(use))
        return false;
    *allowed = nexus__lease_share(w->leases[i], w->conf->cost, nodes ? nodes : 1);
    if (!*allowed && use->conf->without == NEXUS__WITHOUT_OPEN) {
        w->leases[i]->owed += w->conf->cost;
        *allowed = true;
    }
    return true;
}

/* --- shared rates -------------------------------------------------------------------------------------------------- */

static void answered(nexus_status status, nexus_slice value, int64_t number, void *user_data)
{
    waiting *w = user_data;
    (void)number;
    bool good = status == NEXUS_OK && nexus__limit_store_read(w->set, value, w->given);
    nexus__limit_store_report(&home_of(w)->limits, good, now_of(w));
    if (is_back(w))
        nexus__call_go_on(w->call, good ? decide(w) : without_store(w));
}

static nexus__gw_verdict ask_store(waiting *w)
{
    nexus__gw_loop *home = home_of(w);
    if (!nexus__limit_store_usable(&home->limits, now_of(w)))
        return without_store(w);
    nexus__call_wait(w->call);
    if (nexus__limit_store_ask(home->gateway, &home->limits, w->set, &w->subject, w->conf->cost, answered, w) == NEXUS_OK)
        return NEXUS__GW_LATER;
    return is_back(w) ? without_store(w) : NEXUS__GW_ANSWERED;
}

static nexus__gw_verdict ask_others(waiting *w)
{
    bool shared = false;
    for (uint32_t i = 0; i < w->set->count; i++) {
        const nexus__limit_conf *conf = w->set->items[i].conf;
        shared |= conf->cluster;
        if (conf->enforce && w->given[i].how == NEXUS__LIMIT_GIVEN && !w->given[i].result.allowed)
            return decide(w); /* it is refused already */
    }
    return shared ? ask_store(w) : decide(w);
}

/* --- quotas of calendar windows ------------------------------------------------------------------------------------ */

static nexus__gw_verdict take_leases(waiting *w);

static void tokens_came(nexus__lease_waiter *waiter)
{
    waiting *w = NEXUS__CONTAINER(waiter, waiting, waiter);
    if (is_back(w))
        nexus__call_go_on(w->call, take_leases(w));
}

/* NEXT: it is given. */
static nexus__gw_verdict take_lease(waiting *w, uint32_t i)
{
    nexus__gw_loop *home = home_of(w);
    int64_t real = nexus__real_ns();
    bool allowed = true;
    if (!w->leases[i])
        w->leases[i] = nexus__lease_find(home, &w->set->items[i], &w->subject, real / NEXUS__NS_PER_S);
    if (!w->leases[i])
        return unavailable(w);
    switch (nexus__lease_take(home, w->leases[i], w->conf->cost, now_of(w))) {
    case NEXUS__LEASE_TAKEN:
        w->taken |= 1u << i;
        w->since[i] = w->leases[i]->since;
        break;
    case NEXUS__LEASE_DENIED:
        allowed = false;
        break;
    case NEXUS__LEASE_DOWN:
        if (!without_ledger(w, i, &allowed))
            return unavailable(w);
        break;
    case NEXUS__LEASE_LATER:
        w->waiter.fn = tokens_came;
        nexus__call_wait(w->call);
        nexus__lease_wait(w->leases[i], &w->waiter, w->conf->cost);
        return NEXUS__GW_LATER;
    }
    w->given[i].how = NEXUS__LIMIT_GIVEN;
    nexus__lease_describe(w->leases[i], allowed, real, &w->given[i].result);
    return NEXUS__GW_NEXT;
}

static nexus__gw_verdict take_leases(waiting *w)
{
    for (uint32_t i = 0; i < w->set->count; i++) {
        if (w->set->items[i].conf->kind != NEXUS__LIMIT_CALENDAR || w->given[i].how == NEXUS__LIMIT_GIVEN)
            continue;
        nexus__gw_verdict verdict = take_lease(w, i);
        if (verdict != NEXUS__GW_NEXT)
            return verdict;
    }
    return ask_others(w);
}

nexus__gw_verdict nexus__limits_wait(nexus__call *call, const nexus__gw_limits_conf *conf, const nexus__limit_set *set,
                                     const nexus__limit_subject *subject)
{
    nexus__limit_outcome outcome;
    waiting *w = nexus_request_alloc(call->request, sizeof *w);
    if (!w) {
        nexus__call_problem(call, 503, "out-of-memory", "Try again later.");
        return NEXUS__GW_ANSWERED;
    }
    *w = (waiting){.call = call, .conf = conf, .set = set, .subject = *subject};
    int64_t now = now_of(w);
    if (!nexus__limits_look(home_of(w)->gateway->limits, set, &w->subject, conf->cost, now, &outcome))
        return nexus__limits_finish(call, conf, set, &outcome, now);
    return take_leases(w);
}
