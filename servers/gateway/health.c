/* system.health_check on the bus, once for every change of state. Told on a thread that must not block, so a worker
 * publishes; unmounting waits for those that are on their way. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct change {
    gateway *g;
    char name[64], target[256], reason[200];
    bool up;
} change;

static void escape(char *out, size_t cap, const char *text)
{
    size_t n = 0;
    for (; *text && n + 2 < cap; text++)
        out[n++] = (unsigned char)*text < ' ' || *text == '"' || *text == '\\' ? ' ' : *text;
    out[n] = 0;
}

static void publish(void *user_data)
{
    change *c = user_data;
    char data[700];
    nexus_log_printf(nexus_service_log(c->g->service), c->up ? NEXUS_LOG_INFO : NEXUS_LOG_WARN, "gateway", NULL,
                     "%s (%s) is %s: %s", c->name, c->target, c->up ? "up" : "down", c->reason);
    nexus_bus *bus = nexus_service_bus(c->g->service);
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
        nexus_log_printf(nexus_service_log(c->g->service), NEXUS_LOG_WARN, "gateway", NULL,
                         "system.health_check not published: %s", nexus_error_message());
    pthread_mutex_lock(&c->g->lock);
    c->g->telling--;
    pthread_cond_signal(&c->g->told);
    pthread_mutex_unlock(&c->g->lock);
    free(c);
}

void gateway_health_wait(gateway *g)
{
    pthread_mutex_lock(&g->lock);
    while (g->telling)
        pthread_cond_wait(&g->told, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

void gateway_on_health(const char *upstream, const char *target, bool up, const char *reason, void *user_data)
{
    gateway *g = user_data;
    change *c = calloc(1, sizeof *c);
    if (!c)
        return;
    c->g = g;
    c->up = up;
    escape(c->name, sizeof c->name, upstream);
    escape(c->target, sizeof c->target, target);
    escape(c->reason, sizeof c->reason, reason);
    pthread_mutex_lock(&g->lock);
    bool taken = nexus_runtime_submit(nexus_service_runtime(g->service), publish, c) == NEXUS_OK;
    g->telling += taken;
    pthread_mutex_unlock(&g->lock);
    if (!taken)
        free(c);
}
