/*
 * Active checks: GET of the health path of every target, on the outbound client, started from loop 0's timer. A result
 * counts only after `fails` or `passes` in a row, so that one lost packet turns nothing.
 */
#include <nexus/client.h>
#include <stdio.h>

#include "base/id.h"
#include "gateway/gateway.h"

typedef struct check {
    nexus__upstream *upstream; /* a reference while it runs */
    nexus__target *target;
    int64_t due; /* loop 0 only */
    atomic_bool running;
    uint32_t fails, passes; /* of the client's thread while running */
} check;

typedef struct nexus__health {
    check checks[1]; /* one for each target */
} nexus__health;

void nexus__health_free(nexus__upstream *u)
{
    nexus__free(u->alloc, u->health);
}

static void turn(check *c, bool down, const char *reason)
{
    nexus__upstream *u = c->upstream;
    if (atomic_exchange(&c->target->shared.down, down) == down)
        return;
    if (!down) {
        atomic_store(&c->target->shared.ejected_until, 0);
        atomic_store(&c->target->shared.failures, 0);
    }
    if (u->gateway->opts.on_health)
        u->gateway->opts.on_health(u->conf->name.p, c->target->conf->url.p, !down, reason, u->gateway->opts.user_data);
}

static void on_reply(nexus_status status, nexus_reply *reply, void *user_data)
{
    check *c = user_data;
    nexus__upstream *u = c->upstream;
    char reason[200];
    uint16_t code = reply ? nexus_reply_status(reply) : 0;
    bool good = code >= 200 && code <= 299;
    if (code)
        snprintf(reason, sizeof reason, "answered %u", code);
    else
        snprintf(reason, sizeof reason, "%.180s", nexus_error_message());
    nexus_reply_free(reply);
    if (status != NEXUS_ECANCELED) {
        c->fails = good ? 0 : c->fails + 1;
        c->passes = good ? c->passes + 1 : 0;
        if (c->fails >= u->conf->health.fails)
            turn(c, true, reason);
        else if (c->passes >= u->conf->health.passes)
            turn(c, false, reason);
    }
    atomic_store(&c->running, false);
    nexus__upstream_unref(u);
}

static void start_check(nexus_gateway *g, check *c)
{
    char url[600];
    nexus__upstream *u = c->upstream;
    int n = snprintf(url, sizeof url, "%.*s%s", (int)c->target->conf->url.n, c->target->conf->url.p,
                     u->conf->health.path.p);
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    fetch.url = nexus__slice(url, (size_t)n < sizeof url ? (size_t)n : sizeof url - 1);
    fetch.timeout_ms = fetch.connect_timeout_ms = u->conf->health.timeout_ms;
    fetch.reply_max_bytes = 64 * 1024;
    atomic_store(&c->running, true);
    nexus__upstream_ref(u);
    if (nexus_client_fetch_async(g->client, &fetch, on_reply, c)) {
        atomic_store(&c->running, false); /* a checker that cannot check says nothing about the target */
        nexus__upstream_unref(u);
    }
}

static bool prepare(nexus__upstream *u)
{
    if (u->health)
        return true;
    u->health = nexus__calloc(u->alloc, 1, sizeof *u->health + u->count * sizeof u->health->checks[0]);
    for (uint32_t i = 0; u->health && i < u->count; i++) {
        u->health->checks[i].upstream = u;
        u->health->checks[i].target = &u->targets[i];
    }
    return u->health;
}

uint32_t nexus__health_tick(nexus_gateway *g, nexus__snapshot *s, int64_t now)
{
    int64_t next = now + 1000 * NEXUS__NS_PER_MS;
    for (uint32_t i = 0; s && i < s->config->upstreams.count; i++) {
        nexus__upstream *u = s->upstreams[i];
        if (u->conf->health.path.n == 0 || !prepare(u))
            continue;
        for (uint32_t k = 0; k < u->count; k++) {
            check *c = &u->health->checks[k];
            if (c->due <= now && !atomic_load(&c->running)) {
                bool down = atomic_load(&c->target->shared.down);
                int64_t ms = down ? u->conf->health.down_interval_ms : u->conf->health.interval_ms;
                int64_t jitter = ms / 5 > 0 ? (int64_t)(nexus__random_u64() % (uint64_t)(ms / 5)) - ms / 10 : 0;
                c->due = now + (ms + jitter) * NEXUS__NS_PER_MS;
                start_check(g, c);
            }
            next = c->due < next ? c->due : next;
        }
    }
    int64_t ms = (next - now) / NEXUS__NS_PER_MS;
    return ms < 10 ? 10 : (uint32_t)ms;
}
