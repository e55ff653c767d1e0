#include "gateway/canary.h"

#include <stdio.h>

#include "base/status.h"
#include "gateway/gateway.h"

/* --- decisions ---------------------------------------------------------------------------------------------------- */

bool nexus__canary_must_abort(nexus__canary_outcome arm, nexus__canary_outcome control, uint32_t points_bp,
                              uint32_t requests)
{
    uint64_t n = arm.requests, m = control.requests ? control.requests : 1;
    if (arm.requests < requests || arm.requests == 0)
        return false;
    /* errors / n > control.errors / m + points / 10,000, without dividing */
    return (uint64_t)arm.errors * m * NEXUS__CANARY_SHARES >
           ((uint64_t)control.errors * NEXUS__CANARY_SHARES + points_bp * m) * n;
}

static uint32_t share(const nexus__canary_conf *conf, uint32_t aborted, uint32_t arm)
{
    uint32_t own = conf->arms.items[arm].weight_bp;
    if (arm != conf->control)
        return aborted >> arm & 1 ? 0 : own;
    for (uint32_t i = 0; i < conf->arms.count; i++)
        if (i != arm && aborted >> i & 1)
            own += conf->arms.items[i].weight_bp;
    return own;
}

uint32_t nexus__canary_turn(const nexus__canary_conf *conf, uint32_t aborted, int32_t turns[NEXUS__CANARY_ARMS_MAX])
{
    uint32_t best = conf->control;
    int32_t most = INT32_MIN;
    for (uint32_t i = 0; i < conf->arms.count; i++) {
        uint32_t own = share(conf, aborted, i);
        if (own == 0) {
            turns[i] = 0;
            continue;
        }
        turns[i] += (int32_t)own;
        if (turns[i] > most) {
            most = turns[i];
            best = i;
        }
    }
    turns[best] -= NEXUS__CANARY_SHARES;
    return best;
}

uint32_t nexus__canary_of_key(const nexus__canary_conf *conf, uint32_t aborted, nexus_slice route, nexus_slice key)
{
    static const nexus__hash_key fixed = {0x6e657875732d6361u, 0x6e6172792d61726du}; /* the same for every node */
    uint64_t hash = nexus__siphash(fixed, key.p, key.n) ^ nexus__mix64(nexus__siphash(fixed, route.p, route.n));
    uint32_t at = (uint32_t)(hash % NEXUS__CANARY_SHARES), arm = 0;
    for (; arm + 1 < conf->arms.count && at >= conf->arms.items[arm].weight_bp; arm++)
        at -= conf->arms.items[arm].weight_bp;
    return aborted >> arm & 1 ? conf->control : arm;
}

/* --- shared state ------------------------------------------------------------------------------------------------- */

typedef struct loop_turns {
    _Alignas(64) int32_t turns[NEXUS__CANARY_ARMS_MAX]; /* touched by its loop alone */
} loop_turns;

struct nexus__canary {
    nexus_gateway *gateway;
    nexus_slice route, text; /* which one it is */
    uint32_t refs;           /* under the gateway's mutex */
    nexus__canary *next;
    atomic_uint aborted;
    atomic_ullong outcomes[NEXUS__CANARY_ARMS_MAX]; /* requests << 32 | errors */
    nexus_metric *answers[NEXUS__CANARY_ARMS_MAX][2], *aborts[NEXUS__CANARY_ARMS_MAX];
    loop_turns *loops;
    void *memory; /* of loops, before alignment */
};

static nexus__canary_outcome outcome(const nexus__canary *c, uint32_t arm)
{
    unsigned long long word = atomic_load_explicit(&c->outcomes[arm], memory_order_relaxed);
    return (nexus__canary_outcome){(uint32_t)(word >> 32), (uint32_t)word};
}

nexus_status nexus__canary_families_open(nexus_gateway *g)
{
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "nexus_gateway_canary_requests_total";
    desc.help = "Answers of a canary's arms; error: 5xx, or one that broke off.";
    desc.type = NEXUS_METRIC_COUNTER;
    desc.labels = "route,arm,outcome";
    nexus_status status = nexus_metrics_family(&g->canary_answers, g->opts.metrics, &desc);
    desc.name = "nexus_gateway_canary_aborts_total";
    desc.help = "Arms that were taken out because they did worse than the control.";
    desc.labels = "route,arm";
    return status ? status : nexus_metrics_family(&g->canary_aborts, g->opts.metrics, &desc);
}

static void find_metrics(nexus__canary *c, const nexus__canary_conf *conf)
{
    nexus_gateway *g = c->gateway;
    for (uint32_t i = 0; i < conf->arms.count && g->canary_answers; i++) {
        nexus_slice arm = conf->arms.items[i].name;
        c->answers[i][0] = nexus_metric_series(g->canary_answers, (nexus_slice[]){c->route, arm, NEXUS_S("ok")}, 3);
        c->answers[i][1] = nexus_metric_series(g->canary_answers, (nexus_slice[]){c->route, arm, NEXUS_S("error")}, 3);
        c->aborts[i] = nexus_metric_series(g->canary_aborts, (nexus_slice[]){c->route, arm}, 2);
    }
}

static void canary_free(nexus__canary *c)
{
    const nexus_alloc *alloc = c->gateway->alloc;
    nexus__free(alloc, (char *)(uintptr_t)c->route.p);
    nexus__free(alloc, (char *)(uintptr_t)c->text.p);
    nexus__free(alloc, c->memory);
    nexus__free(alloc, c);
}

static nexus__canary *canary_new(nexus_gateway *g, nexus_slice route, const nexus__canary_conf *conf)
{
    nexus__canary *c = nexus__calloc(g->alloc, 1, sizeof *c);
    if (!c)
        return NULL;
    c->gateway = g;
    c->refs = 1;
    c->route = nexus__slice(nexus__strndup(g->alloc, route), route.n);
    c->text = nexus__slice(nexus__strndup(g->alloc, conf->text), conf->text.n);
    c->memory = nexus__calloc(g->alloc, g->loop_count + 1, sizeof *c->loops);
    if (!c->route.p || !c->text.p || !c->memory) {
        canary_free(c);
        return NULL;
    }
    c->loops = (loop_turns *)(((uintptr_t)c->memory + 63) & ~(uintptr_t)63);
    find_metrics(c, conf);
    return c;
}

nexus_status nexus__canary_get(nexus__canary **out, nexus_gateway *g, nexus_slice route, const nexus__canary_conf *conf)
{
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&g->locked.mutex);
    nexus__canary *c = g->locked.canaries;
    while (c && !(nexus__slice_eq(c->route, route) && nexus__slice_eq(c->text, conf->text)))
        c = c->next;
    if (c) {
        c->refs++;
    } else if ((c = canary_new(g, route, conf))) {
        c->next = g->locked.canaries;
        g->locked.canaries = c;
    } else {
        status = nexus__nomem();
    }
    pthread_mutex_unlock(&g->locked.mutex);
    if (!status)
        *out = c;
    return status;
}

void nexus__canary_unref(nexus__canary *c)
{
    nexus_gateway *g = c->gateway;
    pthread_mutex_lock(&g->locked.mutex);
    bool last = --c->refs == 0;
    for (nexus__canary **at = &g->locked.canaries; last && *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    pthread_mutex_unlock(&g->locked.mutex);
    if (last)
        canary_free(c);
}

uint32_t nexus__canary_aborted(const nexus__canary *c)
{
    return atomic_load_explicit(&c->aborted, memory_order_relaxed);
}

int32_t *nexus__canary_turns(nexus__canary *c, uint32_t loop)
{
    return c->loops[loop].turns;
}

/* --- outcomes ----------------------------------------------------------------------------------------------------- */

static void tell(nexus__canary *c, const nexus__canary_conf *conf, uint32_t arm)
{
    nexus__canary_outcome own = outcome(c, arm), control = outcome(c, conf->control);
    nexus_gateway *g = c->gateway;
    char text[300];
    snprintf(
        text, sizeof text,
        "canary aborted: route %.*s, arm %.*s had %u errors in %u requests, %.*s %u in %u; its traffic goes to %.*s",
        (int)c->route.n, c->route.p, (int)conf->arms.items[arm].name.n, conf->arms.items[arm].name.p, own.errors,
        own.requests, (int)conf->control_name.n, conf->control_name.p, control.errors, control.requests,
        (int)conf->control_name.n, conf->control_name.p);
    if (c->aborts[arm])
        nexus_metric_add(c->aborts[arm], 1);
    if (g->opts.on_warning)
        g->opts.on_warning(text, g->opts.user_data);
}

/* Old outcomes count half, then a quarter, … */
static void fade(nexus__canary *c, uint32_t arm)
{
    unsigned long long word = atomic_load_explicit(&c->outcomes[arm], memory_order_relaxed);
    while (word >> 32 >= NEXUS__CANARY_FADE) {
        unsigned long long half = (word >> 33) << 32 | (uint32_t)word >> 1;
        if (atomic_compare_exchange_weak(&c->outcomes[arm], &word, half))
            break;
    }
}

void nexus__canary_report(nexus__canary *c, const nexus__canary_conf *conf, uint32_t arm, bool error)
{
    atomic_fetch_add_explicit(&c->outcomes[arm], 1ULL << 32 | error, memory_order_relaxed);
    if (c->answers[arm][error])
        nexus_metric_add(c->answers[arm][error], 1);
    fade(c, arm);
    uint32_t bit = 1U << arm;
    if (!error || !conf->guarded || arm == conf->control || nexus__canary_aborted(c) & bit ||
        !nexus__canary_must_abort(outcome(c, arm), outcome(c, conf->control), conf->points_bp, conf->requests))
        return;
    if (!(atomic_fetch_or(&c->aborted, bit) & bit))
        tell(c, conf, arm);
}

void nexus__canary_put_arms(const nexus__canary *c, const nexus__canary_conf *conf, nexus__json_writer *w)
{
    nexus__json_key(w, "arms");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; i < conf->arms.count; i++) {
        nexus__canary_outcome o = outcome(c, i);
        nexus__json_open(w, '{');
        nexus__json_put_text(w, "name", conf->arms.items[i].name);
        nexus__json_put_text(w, "upstream", conf->arms.items[i].upstream);
        nexus__json_put_u64(w, "weight_bp", conf->arms.items[i].weight_bp);
        nexus__json_put_u64(w, "requests", o.requests);
        nexus__json_put_u64(w, "errors", o.errors);
        nexus__json_put_text_c(w, "state",
                               i == conf->control                  ? "control"
                               : nexus__canary_aborted(c) >> i & 1 ? "aborted"
                                                                   : "running");
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}
