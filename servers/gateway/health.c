/* system.health_check on the bus, once for every change of state. Told on a thread that must not block: the changes queue up
 * and one worker at a time publishes them, so that a bus without an owner holds up one worker and no more. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAITING_MAX = 256 };

struct gateway_change {
    gateway_change *next;
    char name[64], target[256], reason[200];
    bool up;
};

static void escape(char *out, size_t cap, const char *text)
{
    size_t n = 0;
    for (; *text && n + 2 < cap; text++)
        out[n++] = (unsigned char)*text < ' ' || *text == '"' || *text == '\\' ? ' ' : *text;
    out[n] = 0;
}

static void publish(gateway *g, const gateway_change *c)
{
    char data[700];
    nexus_log_printf(nexus_service_log(g->service), c->up ? NEXUS_LOG_INFO : NEXUS_LOG_WARN, "gateway", NULL,
                     "%s (%s) is %s: %s", c->name, c->target, c->up ? "up" : "down", c->reason);
    nexus_bus *bus = nexus_service_bus(g->service);
    int n = snprintf(data, sizeof data, "{\"service\":\"%s\",\"target\":\"%s\",\"status\":\"%s\",\"reason\":\"%s\"}",
                     c->name, c->target, c->up ? "up" : "down", c->reason);
    nexus_event event = NEXUS_EVENT_INIT;
    event.type = NEXUS_S("system.health_check");
    event.source = NEXUS_S("/gateway");
    event.subject = (nexus_slice){c->name, strlen(c->name)};
    event.data = (nexus_slice){data, (size_t)n < sizeof data ? (size_t)n : sizeof data - 1};
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    opts.timeout_ms = 2000; /* without a bus nobody hears it anyway, and a stop must not wait for it */
    if (!bus || nexus_bus_publish(bus, &event, 1, &opts, NULL))
        nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_WARN, "gateway", NULL,
                         "system.health_check not published: %s", nexus_error_message());
}

/* The oldest change, or NULL when there is none or nobody should publish any more. */
static gateway_change *take(gateway *g)
{
    pthread_mutex_lock(&g->lock);
    gateway_change *c = g->closing ? NULL : g->changes;
    if (c)
        g->changes = c->next;
    else
        g->telling = false;
    pthread_cond_signal(&g->told);
    pthread_mutex_unlock(&g->lock);
    return c;
}

static void publish_all(void *user_data)
{
    gateway *g = user_data;
    for (gateway_change *c; (c = take(g)); free(c))
        publish(g, c);
}

void gateway_health_end(gateway *g)
{
    pthread_mutex_lock(&g->lock);
    g->closing = true;
    while (g->telling)
        pthread_cond_wait(&g->told, &g->lock);
    while (g->changes) {
        gateway_change *c = g->changes;
        g->changes = c->next;
        free(c);
    }
    pthread_mutex_unlock(&g->lock);
}

void gateway_on_health(const char *upstream, const char *target, bool up, const char *reason, void *user_data)
{
    gateway *g = user_data;
    gateway_change *c = calloc(1, sizeof *c), **end = &g->changes;
    if (!c)
        return;
    c->up = up;
    escape(c->name, sizeof c->name, upstream);
    escape(c->target, sizeof c->target, target);
    escape(c->reason, sizeof c->reason, reason);
    pthread_mutex_lock(&g->lock);
    size_t waiting = 0;
    for (; *end; end = &(*end)->next)
        waiting++;
    if (waiting < WAITING_MAX)
        *end = c;
    else
        free(c); /* what flaps this much without a bus to hear it is told by the next change */
    if (!g->telling && !g->closing)
        g->telling = nexus_runtime_submit(nexus_service_runtime(g->service), publish_all, g) == NEXUS_OK;
    pthread_mutex_unlock(&g->lock);
}
