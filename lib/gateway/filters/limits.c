/* The filter of limits: which plan a request falls under, what its policies say of it, and what the client is told. */
#include <nexus/log.h>
#include <stdio.h>

#include "base/status.h"
#include "gateway/auth/authenticator.h"
#include "gateway/config/rows.h"
#include "gateway/filters/limit_lease.h"
#include "gateway/problem.h"
#include "limit/limiter.h"

/* A route's sets: the first for who has no plan, then one for each plan, when the route has them. */
typedef struct sets {
    uint32_t count;
    nexus__limit_set items[];
} sets;

/* --- opening ------------------------------------------------------------------------------------------------------- */

static void find_metrics(nexus__limit_set *set, nexus_gateway *g, nexus_slice route)
{
    static const nexus_slice verdicts[NEXUS__LIMIT_VERDICTS] = {
        {"allowed", 7}, {"denied", 6}, {"would_deny", 10}, {"store_error", 11}};
    for (uint32_t i = 0; i < set->count && g->decisions; i++)
        for (int v = 0; v < NEXUS__LIMIT_VERDICTS; v++)
            set->items[i].counts[v] =
                nexus_metric_series(g->decisions, (nexus_slice[]){route, set->items[i].conf->name, verdicts[v]}, 3);
}

static void close_sets(void *state, const nexus_alloc *alloc)
{
    sets *s = state;
    for (uint32_t i = 0; i < s->count; i++)
        nexus__limit_set_close(&s->items[i], alloc);
    nexus__free(alloc, s);
}

/* What its policies are counted by, beyond this process. */
static nexus_status open_counters(nexus_gateway *g, const nexus__limit_set *set, const nexus__gw_route_conf *route)
{
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < set->count && !status; i++) {
        if (set->items[i].conf->kind == NEXUS__LIMIT_CALENDAR) {
            if (!g->opts.db)
                return nexus__fail(
                    NEXUS_ENOTSUP,
                    "route %s has a quota by the calendar, but this gateway was opened without a database", route->id.p);
            status = nexus__ledger_open(g);
        }
        if (!set->items[i].conf->cluster)
            continue;
        if (!g->opts.limit_store)
            return nexus__fail(
                NEXUS_ENOTSUP,
                "route %s has a limit of scope cluster, but this gateway was opened without a limit store", route->id.p);
        status = nexus__limit_store_open(g);
    }
    return status;
}

static nexus_status open_sets(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__gw_limits_conf *c = conf;
    uint32_t n = 1 + (c->plan.chosen ? c->config->plans.count : 0);
    sets *s = nexus__calloc(g->alloc, 1, sizeof *s + n * sizeof *s->items);
    nexus_status status = NEXUS_OK;
    if (!s)
        return nexus__nomem();
    *state = s;
    for (uint32_t i = 0; i < n && !status; i++) {
        const nexus__limit_policies *plan = i ? &c->config->plans.items[i - 1].policies : NULL;
        s->count++;
        status = nexus__limit_set_open(&s->items[i], &c->policies, plan, route->id, c->cost,
                                       g->opts.limit_nodes ? g->opts.limit_nodes : 1, nexus__limiter_secret(g->limits),
                                       g->alloc);
        if (!status)
            status = open_counters(g, &s->items[i], route);
        if (!status)
            find_metrics(&s->items[i], g, route->id);
    }
    return status;
}

/* --- who asks ------------------------------------------------------------------------------------------------------ */

static bool claim_of(const nexus__call *call, nexus_slice name, nexus_slice *out)
{
    const nexus_claims *claims = call->principal ? nexus_principal_claims(call->principal) : NULL;
    return claims && nexus_claims_text(claims, name.p, out);
}

static bool field_of(const void *source, const nexus__limit_part *part, nexus_slice *out)
{
    const nexus__call *call = source;
    if (part->kind == NEXUS__PART_CLAIM)
        return claim_of(call, part->name, out);
    if (part->kind == NEXUS__PART_API_KEY)
        return claim_of(call, NEXUS_S("key_id"), out);
    return nexus_request_header(call->request, part->name.p, out);
}

static nexus__limit_subject subject_of(nexus__call *call)
{
    nexus__limit_subject s = {.field = field_of, .source = call};
    nexus_request_remote_ip(call->request, &s.ip);
    if (nexus__gw_auth_known(call))
        nexus_principal_subject(call->principal, &s.consumer);
    return s;
}

/* --- its plan ------------------------------------------------------------------------------------------------------ */

/* The place of the plan's set; 0 = no such plan. */
static uint32_t plan_named(const nexus__gw_limits_conf *c, nexus_slice name)
{
    for (uint32_t i = 0; i < c->config->plans.count; i++)
        if (nexus__slice_eq(c->config->plans.items[i].name, name))
            return i + 1;
    return 0;
}

static uint32_t plan_of_consumer(const nexus__gw_limits_conf *c, nexus_slice consumer)
{
    for (uint32_t i = 0; i < c->plan.consumers.count && consumer.n; i++)
        if (nexus__slice_eq(c->plan.consumers.items[i].name, consumer))
            return plan_named(c, c->plan.consumers.items[i].value);
    return 0;
}

/* By API key, consumer, claim, header of a trusted peer, default: the first that names a plan there is. */
static uint32_t choose_plan(const nexus__call *call, const nexus__gw_limits_conf *c, const nexus__limit_subject *s)
{
    nexus_slice name;
    uint32_t found = claim_of(call, NEXUS_S("key_id"), &name) && claim_of(call, NEXUS_S("plan"), &name)
                         ? plan_named(c, name)
                         : 0;
    if (!found)
        found = plan_of_consumer(c, s->consumer);
    if (!found && c->plan.claim.n && claim_of(call, c->plan.claim, &name))
        found = plan_named(c, name);
    if (!found && c->plan.header.n && nexus__exchange_trusted(call->request) &&
        nexus_request_header(call->request, c->plan.header.p, &name))
        found = plan_named(c, name);
    return found ? found : plan_named(c, c->plan.otherwise);
}

/* --- what was decided ---------------------------------------------------------------------------------------------- */

/* One line a second for each policy: a flood that would be refused must not become a flood of lines. */
static void log_would_deny(nexus__call *call, nexus__limit_use *use, int64_t now)
{
    int64_t last = atomic_load_explicit(&use->logged_at, memory_order_relaxed);
    if (now - last < NEXUS__NS_PER_S || !atomic_compare_exchange_strong_explicit(
                                            &use->logged_at, &last, now, memory_order_relaxed, memory_order_relaxed))
        return;
    nexus_log_printf(call->view->home->gateway->opts.log, NEXUS_LOG_WARN, "gateway", NULL,
                     "limit %s of route %s would deny (would_deny); it is not enforced", use->conf->name.p,
                     call->route->conf->id.p);
}

static void count(nexus__call *call, const nexus__limit_set *set, const nexus__limit_outcome *o, int64_t now)
{
    for (uint32_t i = 0; i < set->count; i++) {
        int verdict = o->denied >> i & 1       ? NEXUS__LIMIT_DENIED
                      : o->would_deny >> i & 1 ? NEXUS__LIMIT_WOULD_DENY
                      : o->denied              ? -1
                                               : NEXUS__LIMIT_ALLOWED;
        if (verdict >= 0)
            nexus_metric_add(set->items[i].counts[verdict], 1);
        if (verdict == NEXUS__LIMIT_WOULD_DENY)
            log_would_deny(call, &set->items[i], now);
    }
}

/* Counted where it shows rather than where it happens: the table knows no metrics. */
static void count_evictions(nexus_gateway *g)
{
    uint64_t now = nexus_limiter_evictions(g->limits),
             told = atomic_load_explicit(&g->evictions_told, memory_order_relaxed);
    while (now > told)
        if (atomic_compare_exchange_weak(&g->evictions_told, &told, now)) {
            nexus_metric_add(g->evictions, (double)(now - told));
            return;
        }
}

static void set_fields(nexus__call *call, const nexus__gw_limits_conf *c, const nexus__limit_outcome *o)
{
    char space[NEXUS__LIMIT_LINES_MAX];
    nexus__buf legacy = {.p = space, .cap = sizeof space, .max = sizeof space};
    if (c->silent || !o->strictest)
        return;
    nexus__exchange_add_lines(call->request, nexus__limit_lines(o, space));
    if (!c->legacy)
        return;
    nexus__limit_legacy_lines(o, &legacy);
    nexus__exchange_add_lines(call->request, nexus__buf_slice(&legacy));
}

static void refuse(nexus__call *call, const nexus__limit_set *set, const nexus__limit_outcome *o)
{
    nexus_request *request = call->request;
    char retry[16], space[1024];
    nexus__buf body = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus_slice id, accept;
    int n = snprintf(retry, sizeof retry, "%u", nexus__limit_retry_after_s(o));
    (void)nexus_request_set_header(request, "Retry-After", nexus__slice(retry, (size_t)n));
    if (nexus_request_header(request, "accept", &accept) && nexus__problem_wants_page(accept)) {
        nexus__call_problem(call, 429, "rate-limited", "Too many requests; try again a little later.");
        return;
    }
    nexus_request_id(request, &id);
    nexus__limit_problem(set, o, id, &body);
    nexus__call_count(call, 429);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    nexus__exchange_page(request, 429, "rate-limited", "application/problem+json", nexus__buf_slice(&body));
}

nexus__gw_verdict nexus__limits_finish(nexus__call *call, const nexus__gw_limits_conf *c, const nexus__limit_set *set,
                                       const nexus__limit_outcome *outcome, int64_t now)
{
    count(call, set, outcome, now);
    count_evictions(call->view->home->gateway);
    set_fields(call, c, outcome);
    if (!outcome->denied)
        return NEXUS__GW_NEXT;
    refuse(call, set, outcome);
    return NEXUS__GW_ANSWERED;
}

static nexus__gw_verdict pass(nexus__call *call, const void *conf, void *state)
{
    const nexus__gw_limits_conf *c = conf;
    const sets *s = state;
    nexus__gw_loop *home = call->view->home;
    nexus__limit_subject subject = subject_of(call);
    const nexus__limit_set *set = &s->items[c->plan.chosen ? choose_plan(call, c, &subject) : 0];
    nexus__limit_outcome outcome;
    int64_t now = nexus_loop_now_ns(home->loop);
    if (set->waits)
        return nexus__limits_wait(call, c, set, &subject);
    nexus__limits_take(home->gateway->limits, set, &subject, c->cost, now, NULL, &outcome);
    return nexus__limits_finish(call, c, set, &outcome, now);
}

/* --- explain ------------------------------------------------------------------------------------------------------- */

static void put_key(nexus__json_writer *w, const nexus__limit_conf *p)
{
    nexus__json_key(w, "key");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < p->rules.count; i++) {
        nexus__json_open(w, '[');
        for (uint32_t k = 0; k < p->rules.items[i].count; k++)
            nexus__json_text_value(w, p->rules.items[i].items[k].text);
        nexus__json_close(w, ']');
    }
    nexus__json_close(w, ']');
}

static void put_policies(nexus__json_writer *w, const nexus__limit_policies *policies)
{
    nexus__json_key(w, "policies");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < policies->count; i++) {
        const nexus__limit_conf *p = &policies->items[i];
        nexus__json_open(w, '{');
        nexus__json_put_text(w, "name", p->name);
        if (p->kind == NEXUS__LIMIT_RATE) {
            nexus__json_put_u64(w, "rate", p->rate);
            nexus__json_put_u64(w, "period_s", p->period_s);
            nexus__json_put_u64(w, "burst", p->burst);
        } else {
            nexus__json_put_u64(w, "quota", p->quota);
            if (p->kind == NEXUS__LIMIT_CALENDAR)
                nexus__json_put_text_c(w, "window", p->calendar == NEXUS__CALENDAR_DAY ? "day" : "month");
            else
                nexus__json_put_u64(w, "window_s", p->window_s);
        }
        put_key(w, p);
        nexus__json_put_bool(w, "enforce", p->enforce);
        if (p->cluster)
            nexus__json_put_text_c(w, "scope", "cluster");
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

static void put_plans(nexus__json_writer *w, const nexus__gw_limits_conf *c)
{
    nexus__json_put_text(w, "default_plan", c->plan.otherwise);
    nexus__json_key(w, "plans");
    nexus__json_open(w, '{');
    for (uint32_t i = 0; i < c->config->plans.count; i++) {
        nexus__json_key_slice(w, c->config->plans.items[i].name);
        nexus__json_open(w, '{');
        put_policies(w, &c->config->plans.items[i].policies);
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, '}');
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const nexus__gw_limits_conf *c = conf;
    (void)state;
    nexus__json_put_u64(w, "cost", c->cost);
    put_policies(w, &c->policies);
    if (c->plan.chosen)
        put_plans(w, c);
}

const nexus__gw_filter nexus__gw_filter_limits = {
    .key = "limits",
    .conf_bytes = sizeof(nexus__gw_limits_conf),
    .load = nexus__gw_load_limits,
    .check = nexus__gw_check_limits,
    .open = open_sets,
    .close = close_sets,
    .request = pass,
    .explain = explain,
};
