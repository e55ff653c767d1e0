/*
 * Active checks: GET of the health path of every target, on the outbound client, started from loop 0's timer. A result
 * counts only after `fails` or `passes` in a row, so that one lost packet turns nothing.
 */
#include <nexus/client.h>
#include <stdio.h>

#include "base/id.h"
#include "gateway/gateway.h"

/* Lets go of what a running check holds: its target and, for that, the upstream. */
static void end_check(nexus__target *t)
{
    nexus__upstream *u = t->upstream;
    atomic_store(&t->check.running, false);
    nexus__target_unref(t);
    nexus__upstream_unref(u);
}

static void on_reply(nexus_status status, nexus_reply *reply, void *user_data)
{
    nexus__target *t = user_data;
    const nexus__gw_health *rule = &t->upstream->conf->health;
    char reason[200];
    uint16_t code = reply ? nexus_reply_status(reply) : 0;
    bool good = code >= rule->status_min && code <= rule->status_max;
    if (code)
        snprintf(reason, sizeof reason, "answered %u", code);
    else
        snprintf(reason, sizeof reason, "%.180s", nexus_error_message());
    nexus_reply_free(reply);
    if (status != NEXUS_ECANCELED) {
        t->check.fails = good ? 0 : t->check.fails + 1;
        t->check.passes = good ? t->check.passes + 1 : 0;
        if (t->check.fails >= rule->fails)
            nexus__target_turn(t, true, reason, nexus__mono_ns());
        else if (t->check.passes >= rule->passes)
            nexus__target_turn(t, false, reason, nexus__mono_ns());
    }
    end_check(t);
}

static void start_check(nexus_gateway *g, nexus__target *t)
{
    char url[600];
    const nexus__gw_health *rule = &t->upstream->conf->health;
    int n = snprintf(url, sizeof url, "%s%s", t->url.p, rule->path.p);
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    fetch.url = nexus__slice(url, (size_t)n < sizeof url ? (size_t)n : sizeof url - 1);
    fetch.timeout_ms = fetch.connect_timeout_ms = rule->timeout_ms;
    fetch.reply_max_bytes = 64 * 1024;
    atomic_store(&t->check.running, true);
    nexus__upstream_ref(t->upstream);
    nexus__target_ref(t);
    if (nexus_client_fetch_async(g->client, &fetch, on_reply, t))
        end_check(t); /* a checker that cannot check says nothing about the target */
}

/* Returns when the target is due again. */
static int64_t look(nexus_gateway *g, nexus__target *t, int64_t now)
{
    const nexus__gw_health *rule = &t->upstream->conf->health;
    if (t->check.due <= now && !atomic_load(&t->check.running)) {
        int64_t ms = atomic_load(&t->load.down) ? rule->down_interval_ms : rule->interval_ms;
        int64_t jitter = ms / 5 > 0 ? (int64_t)(nexus__random_u64() % (uint64_t)(ms / 5)) - ms / 10 : 0;
        t->check.due = now + (ms + jitter) * NEXUS__NS_PER_MS;
        start_check(g, t);
    }
    return t->check.due;
}

uint32_t nexus__health_tick(nexus_gateway *g, nexus__snapshot *s, int64_t now)
{
    int64_t next = now + 1000 * NEXUS__NS_PER_MS;
    for (uint32_t i = 0; s && i < s->config->upstreams.count; i++) {
        nexus__upstream *u = s->upstreams[i];
        int64_t sweep = nexus__upstream_sweep(u, now);
        next = sweep < next ? sweep : next;
        if (u->conf->health.kind == NEXUS__GW_CHECK_NONE)
            continue;
        nexus__target_set *set = nexus__upstream_set(u);
        for (uint32_t k = 0; k < set->count; k++) {
            int64_t due = look(g, set->targets[k], now);
            next = due < next ? due : next;
        }
        nexus__target_set_unref(set);
    }
    int64_t ms = (next - now) / NEXUS__NS_PER_MS;
    return ms < 10 ? 10 : (uint32_t)ms;
}
