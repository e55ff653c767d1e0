/*
 * Requests whose policies others count. First those that are counted here are looked at: what they refuse asks nobody.
 * Then the store decides and consumes for the shared ones at once, and when it allows, those here are taken from. A place
 * here that was lost meanwhile leaves the store's cost consumed: fewer pass then, never more.
 */
#include "base/status.h"
#include "gateway/filters/limit.h"
#include "gateway/gateway.h"

/* Of a request that waits; in its own memory. */
typedef struct waiting {
    nexus__call *call;
    const nexus__gw_limits_conf *conf;
    const nexus__limit_set *set;
    nexus__limit_subject subject;
    nexus__limit_given given[NEXUS__LIMIT_POLICIES_MAX];
} waiting;

static nexus__gw_loop *home_of(const waiting *w)
{
    return w->call->view->home;
}

static int64_t now_of(const waiting *w)
{
    return nexus_loop_now_ns(home_of(w)->loop);
}

static nexus__gw_verdict decide(waiting *w)
{
    nexus__limit_outcome outcome;
    int64_t now = now_of(w);
    nexus__limits_take(home_of(w)->gateway->limits, w->set, &w->subject, w->conf->cost, now, w->given, &outcome);
    return nexus__limits_finish(w->call, w->conf, w->set, &outcome, now);
}

/* --- without the store --------------------------------------------------------------------------------------------- */

static nexus__gw_verdict unavailable(waiting *w)
{
    (void)nexus_request_set_header(w->call->request, "Retry-After", NEXUS_S("1"));
    nexus__call_problem(w->call, 503, "limits-unavailable", "What this counts against cannot be counted now.");
    return NEXUS__GW_ANSWERED;
}

/* What each policy says of a store that is away: its share here, nothing, or no. */
static nexus__gw_verdict do_without(waiting *w)
{
    for (uint32_t i = 0; i < w->set->count; i++) {
        const nexus__limit_use *use = &w->set->items[i];
        if (!use->conf->cluster)
            continue;
        nexus_metric_add(use->counts[NEXUS__LIMIT_STORE_ERROR], 1);
        if (use->conf->without == NEXUS__WITHOUT_CLOSED && use->conf->enforce)
            return unavailable(w);
        w->given[i] = (nexus__limit_given){.how = NEXUS__LIMIT_SHARE};
        if (use->conf->without == NEXUS__WITHOUT_OPEN)
            w->given[i] = (nexus__limit_given){NEXUS__LIMIT_GIVEN, {.allowed = true, .remaining = use->rate.burst}};
    }
    return decide(w);
}

/* --- the store ----------------------------------------------------------------------------------------------------- */

static void answered(nexus_status status, nexus_slice value, int64_t number, void *user_data)
{
    waiting *w = user_data;
    nexus__call *call = w->call;
    (void)number;
    bool good = status == NEXUS_OK && nexus__limit_store_read(w->set, value, w->given);
    nexus__limit_store_report(&home_of(w)->limits, good, now_of(w));
    if (nexus__call_woken(call))
        nexus__call_go_on(call, good ? decide(w) : do_without(w));
}

static nexus__gw_verdict ask_store(waiting *w)
{
    nexus__gw_loop *home = home_of(w);
    if (!nexus__limit_store_usable(&home->limits, now_of(w)))
        return do_without(w);
    nexus__call_wait(w->call);
    if (nexus__limit_store_ask(home->gateway, &home->limits, w->set, &w->subject, w->conf->cost, answered, w) == NEXUS_OK)
        return NEXUS__GW_LATER;
    return nexus__call_woken(w->call) ? do_without(w) : NEXUS__GW_ANSWERED;
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
    return ask_store(w);
}
