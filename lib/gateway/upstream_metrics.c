/* What is counted of upstreams. Series live as long as the registry; a family holds at most its registry's limit. */
#include "gateway/gateway.h"

typedef struct row {
    size_t offset; /* in nexus__upstream_families */
    uint32_t type;
    const char *name, *labels, *help;
} row;

#define ROW(field, type, name, labels, help)                                                                           \
    {                                                                                                                  \
        offsetof(nexus__upstream_families, field), NEXUS_METRIC_##type, "nexus_gateway_" name, labels, help            \
    }

static const row rows[] = {
    ROW(retries, COUNTER, "retries_total", "upstream", "Tries after the first."),
    ROW(retries_refused, COUNTER, "retries_refused_total", "upstream", "Retries that the budget did not allow."),
    ROW(waiting, GAUGE, "waiting_requests", "upstream", "Requests that wait for a connection."),
    ROW(busy, COUNTER, "busy_total", "upstream", "Requests refused because the upstream had as many as it may."),
    ROW(ejections, COUNTER, "ejections_total", "upstream,target", "Times a target was taken out for failing."),
    ROW(breaker, GAUGE, "breaker_state", "upstream,target", "0 closed, 1 open or half open."),
    ROW(breaker_opened, COUNTER, "breaker_opened_total", "upstream,target", "Times a circuit opened."),
};

static nexus_metric_family **field(nexus__upstream_families *f, const row *r)
{
    return (nexus_metric_family **)(void *)((char *)f + r->offset);
}

nexus_status nexus__upstream_families_open(nexus__upstream_families *f, nexus_metrics *metrics)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; metrics && i < sizeof rows / sizeof *rows && !status; i++) {
        nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
        desc.name = rows[i].name;
        desc.help = rows[i].help;
        desc.type = rows[i].type;
        desc.labels = rows[i].labels;
        status = nexus_metrics_family(field(f, &rows[i]), metrics, &desc);
    }
    return status;
}

static nexus_metric *series(nexus_metric_family *family, nexus_slice upstream, nexus_slice target)
{
    return family ? nexus_metric_series(family, (nexus_slice[]){upstream, target}, target.p ? 2 : 1) : NULL;
}

void nexus__upstream_metrics(nexus__upstream *u)
{
    const nexus__upstream_families *f = &u->gateway->families;
    nexus_slice none = {0}, name = u->conf->name;
    u->metrics.retries = series(f->retries, name, none);
    u->metrics.retries_refused = series(f->retries_refused, name, none);
    u->metrics.waiting = series(f->waiting, name, none);
    u->metrics.busy = series(f->busy, name, none);
}

void nexus__target_metrics(nexus__target *t)
{
    const nexus__upstream_families *f = &t->upstream->gateway->families;
    nexus_slice name = t->upstream->conf->name;
    t->metrics.ejections = series(f->ejections, name, t->url);
    t->metrics.breaker = series(f->breaker, name, t->url);
    t->metrics.breaker_opened = series(f->breaker_opened, name, t->url);
}
