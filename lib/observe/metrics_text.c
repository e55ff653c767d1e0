/* The registry as text: Prometheus text format 0.0.4 and OpenMetrics 1.0. */
#include "observe/metrics.h"

#include <math.h>

#include "base/status.h"
#include "base/time.h"

static const char *const type_names[] = {"counter", "gauge", "histogram"};

static void number_append(nexus__buf *out, double value)
{
    if (isnan(value))
        nexus__buf_text(out, "NaN");
    else if (isinf(value))
        nexus__buf_text(out, value > 0 ? "+Inf" : "-Inf");
    else
        nexus__buf_double(out, value);
}

/* Bounds always show that they are numbers of seconds: OpenMetrics wants "1.0". */
static void bound_append(nexus__buf *out, double bound, bool open)
{
    size_t start = out->len;
    number_append(out, bound);
    if (open && out->status == NEXUS_OK && !memchr(out->p + start, '.', out->len - start) &&
        !memchr(out->p + start, 'e', out->len - start))
        nexus__buf_text(out, ".0");
}

static void help_append(nexus__buf *out, const char *help, bool open)
{
    for (const char *p = help; *p; p++) {
        if (*p == '\n') {
            nexus__buf_text(out, "\\n");
            continue;
        }
        if (*p == '\\' || (open && *p == '"'))
            nexus__buf_char(out, '\\');
        nexus__buf_char(out, *p);
    }
}

typedef struct page {
    nexus__buf out;
    bool open; /* OpenMetrics */
} page;

/* The family's name on its HELP and TYPE lines: OpenMetrics leaves a counter's _total to the samples. */
static nexus_slice title(const page *p, const nexus_metric_family *f)
{
    nexus_slice name = nexus__slice_c(f->name);
    if (p->open && f->type == NEXUS_METRIC_COUNTER)
        name.n -= strlen("_total");
    return name;
}

static void head_append(page *p, const nexus_metric_family *f)
{
    nexus_slice name = title(p, f);
    nexus__buf *out = &p->out;
    nexus__buf_printf(out, "# HELP %.*s ", (int)name.n, name.p);
    help_append(out, f->help, p->open);
    nexus__buf_printf(out, "\n# TYPE %.*s %s\n", (int)name.n, name.p, type_names[f->type]);
    if (p->open && f->unit[0])
        nexus__buf_printf(out, "# UNIT %.*s %s\n", (int)name.n, name.p, f->unit);
}

/* name + suffix {labels, extra} and a space. */
static void sample_append(page *p, nexus_slice name, const char *suffix, nexus_slice labels)
{
    nexus__buf_slice_append(&p->out, name);
    nexus__buf_text(&p->out, suffix);
    if (labels.n > 0) {
        nexus__buf_char(&p->out, '{');
        nexus__buf_slice_append(&p->out, labels);
        nexus__buf_char(&p->out, '}');
    }
    nexus__buf_char(&p->out, ' ');
}

static void created_append(page *p, const nexus_metric *m)
{
    if (!p->open)
        return;
    sample_append(p, title(p, m->family), "_created", m->labels);
    nexus__buf_printf(&p->out, "%lld.%03d\n", (long long)(m->created_ns / NEXUS__NS_PER_S),
                      (int)(m->created_ns % NEXUS__NS_PER_S / NEXUS__NS_PER_MS));
}

static void bucket_append(page *p, const nexus_metric *m, double bound, uint64_t count)
{
    nexus__buf *out = &p->out;
    nexus__buf_printf(out, "%s_bucket{", m->family->name);
    nexus__buf_slice_append(out, m->labels);
    nexus__buf_text(out, m->labels.n > 0 ? ",le=\"" : "le=\"");
    bound_append(out, bound, p->open);
    nexus__buf_text(out, "\"} ");
    nexus__buf_u64(out, count);
    nexus__buf_char(out, '\n');
}

static void histogram_append(page *p, const nexus_metric *m)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= m->family->bound_count; i++) {
        count += nexus__metric_count(m, i);
        bucket_append(p, m, i < m->family->bound_count ? m->family->bounds[i] : INFINITY, count);
    }
    nexus_slice name = nexus__slice_c(m->family->name);
    sample_append(p, name, "_sum", m->labels);
    number_append(&p->out, nexus__metric_sum(m));
    nexus__buf_char(&p->out, '\n');
    sample_append(p, name, "_count", m->labels);
    nexus__buf_u64(&p->out, count);
    nexus__buf_char(&p->out, '\n');
}

static void series_append(page *p, const nexus_metric *m)
{
    if (m->family->type == NEXUS_METRIC_HISTOGRAM) {
        histogram_append(p, m);
    } else {
        sample_append(p, nexus__slice_c(m->family->name), "", m->labels);
        number_append(&p->out, nexus_metric_value(m));
        nexus__buf_char(&p->out, '\n');
    }
    if (m->family->type != NEXUS_METRIC_GAUGE)
        created_append(p, m);
}

static void family_append(page *p, nexus_metric_family *f)
{
    pthread_rwlock_rdlock(&f->lock);
    bool overflow = nexus_metric_value(f->overflow) > 0;
    if (f->series_count > 0 || overflow) {
        head_append(p, f);
        for (nexus__list *n = f->series.next; n != &f->series; n = n->next)
            series_append(p, NEXUS__CONTAINER(n, nexus_metric, node));
        if (overflow)
            series_append(p, f->overflow);
    }
    pthread_rwlock_unlock(&f->lock);
}

/* Collectors call the registry: they run outside its lock, over a copy of the list. */
static nexus_status collect(nexus_metrics *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->collector_count;
    nexus__metrics_collector *copy = nexus__malloc(r->alloc, (n + 1) * sizeof *copy);
    if (copy && n > 0)
        memcpy(copy, r->collectors, n * sizeof *copy);
    pthread_mutex_unlock(&r->lock);
    if (!copy)
        return nexus__nomem();
    for (size_t i = 0; i < n; i++)
        copy[i].fn(r, copy[i].user_data);
    nexus__free(r->alloc, copy);
    return NEXUS_OK;
}

nexus_status nexus_metrics_render(char **out, size_t *n, nexus_metrics *metrics, uint32_t format)
{
    nexus_status status = collect(metrics);
    if (status != NEXUS_OK)
        return status;
    page p = {.open = format == NEXUS_METRICS_OPENMETRICS};
    nexus__buf_init(&p.out, NULL, 0); /* freed with nexus_free */
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->family_count; i++)
        family_append(&p, metrics->families[i]);
    pthread_mutex_unlock(&metrics->lock);
    if (p.open)
        nexus__buf_text(&p.out, "# EOF\n");
    status = p.out.status;
    size_t len = 0;
    char *text = nexus__buf_take(&p.out, &len);
    if (!text)
        return status == NEXUS_OK ? nexus__nomem() : status;
    *out = text;
    *n = len;
    return NEXUS_OK;
}

const char *nexus_metrics_content_type(uint32_t format)
{
    return format == NEXUS_METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                               : "text/plain; version=0.0.4; charset=utf-8";
}

uint32_t nexus_metrics_negotiate(nexus_slice accept)
{
    nexus_slice name = NEXUS_S("application/openmetrics-text");
    return nexus__slice_search(accept, name) < accept.n ? NEXUS_METRICS_OPENMETRICS : NEXUS_METRICS_TEXT;
}
