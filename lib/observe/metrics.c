#include "observe/metrics.h"

#include <math.h>

#include "base/status.h"

static const double default_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
static const char overflow_value[] = "__overflow__";

void nexus_metrics_opts_init(nexus_metrics_opts *opts)
{
    *opts = (nexus_metrics_opts)NEXUS_METRICS_OPTS_INIT;
}

void nexus_metric_desc_init(nexus_metric_desc *desc)
{
    *desc = (nexus_metric_desc)NEXUS_METRIC_DESC_INIT;
}

/* --- families ----------------------------------------------------------------------------------------------------- */

static bool is_metric_name(nexus_slice name, bool colons)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = nexus__ascii_lower(name.p[i]);
        bool digit = c >= '0' && c <= '9';
        if (!((c >= 'a' && c <= 'z') || c == '_' || (colons && c == ':') || (digit && i > 0)))
            return false;
    }
    return name.n > 0;
}

static nexus_status check_desc(const nexus_metric_desc *d)
{
    nexus_slice name = nexus__slice_c(d->name);
    if (d->size != sizeof *d || !is_metric_name(name, true) || d->type > NEXUS_METRIC_HISTOGRAM)
        return nexus__fail(NEXUS_EINVAL, "metrics: \"%s\" is no metric name, or its type is unknown", d->name);
    if (d->type == NEXUS_METRIC_COUNTER && !nexus__slice_ends(name, NEXUS_S("_total")))
        return nexus__fail(NEXUS_EINVAL, "metrics: the counter \"%s\" must end in _total", d->name);
    if (d->bucket_count > NEXUS__METRIC_BUCKETS_MAX)
        return nexus__fail(NEXUS_EINVAL, "metrics: \"%s\" has more than %d buckets", d->name, NEXUS__METRIC_BUCKETS_MAX);
    for (size_t i = 0; d->buckets && i < d->bucket_count; i++)
        if (!isfinite(d->buckets[i]) || (i > 0 && d->buckets[i] <= d->buckets[i - 1]))
            return nexus__fail(NEXUS_EINVAL, "metrics: the buckets of \"%s\" must be finite and rise", d->name);
    return NEXUS_OK;
}

static nexus_status split_labels(nexus_metric_family *f)
{
    nexus_slice rest = nexus__slice_c(f->labels);
    while (rest.n > 0) {
        nexus_slice label = nexus__slice_trim(nexus__slice_cut(&rest, ','));
        if (!is_metric_name(label, false) || nexus__slice_starts(label, NEXUS_S("__")) ||
            f->label_count == NEXUS__METRIC_LABELS_MAX)
            return nexus__fail(NEXUS_EINVAL, "metrics: label \"%.*s\" of \"%s\" is no label name, or one too many",
                               (int)label.n, label.p, f->name);
        f->label[f->label_count++] = label;
    }
    return NEXUS_OK;
}

static void family_free(nexus_metric_family *f)
{
    const nexus_alloc *a = f->registry->alloc;
    while (!nexus__list_empty(&f->series)) {
        nexus_metric *m = NEXUS__CONTAINER(f->series.next, nexus_metric, node);
        nexus__list_remove(&m->node);
        nexus__metric_free(m);
    }
    nexus__metric_free(f->overflow);
    nexus__map_free(&f->by_key);
    pthread_rwlock_destroy(&f->lock);
    nexus__free(a, f->name);
    nexus__free(a, f->help);
    nexus__free(a, f->labels);
    nexus__free(a, f->unit);
    nexus__free(a, f);
}

static void family_shape(nexus_metric_family *f, const nexus_metric_desc *d)
{
    size_t cells = 1;
    f->shard_count = d->type == NEXUS_METRIC_GAUGE ? 1 : NEXUS__METRIC_SHARDS;
    if (d->type == NEXUS_METRIC_HISTOGRAM) {
        const double *bounds = d->buckets ? d->buckets : default_bounds;
        f->bound_count = d->buckets ? d->bucket_count : sizeof default_bounds / sizeof default_bounds[0];
        memcpy(f->bounds, bounds, f->bound_count * sizeof *bounds);
        cells = f->bound_count + 1;
    }
    f->shard_bytes = (sizeof(uint64_t) * (cells + 1) + 63) / 64 * 64;
}

static nexus_metric_family *family_new(nexus_metrics *r, const nexus_metric_desc *d, nexus_status *status)
{
    nexus_metric_family *f = nexus__calloc(r->alloc, 1, sizeof *f);
    if (!f) {
        *status = nexus__nomem();
        return NULL;
    }
    f->registry = r;
    f->type = d->type;
    nexus__map_init(&f->by_key, r->alloc);
    nexus__list_init(&f->series);
    pthread_rwlock_init(&f->lock, NULL);
    f->name = nexus__strndup(r->alloc, nexus__slice_c(d->name));
    f->help = nexus__strndup(r->alloc, nexus__slice_c(d->help));
    f->labels = nexus__strndup(r->alloc, nexus__slice_c(d->labels));
    f->unit = nexus__strndup(r->alloc, nexus__slice_c(d->unit));
    *status = f->name && f->help && f->labels && f->unit ? split_labels(f) : nexus__nomem();
    if (*status == NEXUS_OK) {
        nexus_slice values[NEXUS__METRIC_LABELS_MAX];
        for (size_t i = 0; i < f->label_count; i++)
            values[i] = NEXUS_S(overflow_value);
        family_shape(f, d);
        f->overflow = nexus__metric_new(f, values, f->label_count);
        *status = f->overflow ? NEXUS_OK : nexus__nomem();
    }
    if (*status == NEXUS_OK)
        return f;
    family_free(f);
    return NULL;
}

/* Where the name stands or belongs in the sorted array. */
static size_t position(const nexus_metrics *r, const char *name, bool *found)
{
    size_t low = 0, high = r->family_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(r->families[middle]->name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = false;
    return low;
}

static nexus_status insert(nexus_metrics *r, size_t at, nexus_metric_family *f)
{
    nexus_metric_family **grown =
        nexus__realloc(r->alloc, r->families, (r->family_count + 1) * sizeof(nexus_metric_family *));
    if (!grown)
        return nexus__nomem();
    memmove(grown + at + 1, grown + at, (r->family_count - at) * sizeof *grown);
    grown[at] = f;
    r->families = grown;
    r->family_count++;
    return NEXUS_OK;
}

static nexus_status family_get(nexus_metric_family **out, nexus_metrics *r, const nexus_metric_desc *d)
{
    bool found;
    nexus_status status = NEXUS_OK;
    size_t at = position(r, d->name, &found);
    if (found) {
        nexus_metric_family *f = r->families[at];
        if (f->type != d->type || strcmp(f->labels, d->labels ? d->labels : "") != 0)
            return nexus__fail(NEXUS_ECONFLICT, "metrics: \"%s\" exists with another type or other labels", d->name);
        *out = f;
        return NEXUS_OK;
    }
    nexus_metric_family *f = family_new(r, d, &status);
    if (!f)
        return status;
    status = insert(r, at, f);
    if (status != NEXUS_OK)
        family_free(f);
    else
        *out = f;
    return status;
}

nexus_status nexus_metrics_family(nexus_metric_family **out, nexus_metrics *metrics, const nexus_metric_desc *desc)
{
    nexus_status status = check_desc(desc);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&metrics->lock);
    status = family_get(out, metrics, desc);
    pthread_mutex_unlock(&metrics->lock);
    return status;
}

static nexus_metric *single(nexus_metrics *metrics, const char *name, const char *help, uint32_t type)
{
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = name;
    desc.help = help;
    desc.type = type;
    nexus_metric_family *family = NULL;
    return nexus_metrics_family(&family, metrics, &desc) == NEXUS_OK ? nexus_metric_series(family, NULL, 0) : NULL;
}

nexus_metric *nexus_metrics_counter(nexus_metrics *metrics, const char *name, const char *help)
{
    return single(metrics, name, help, NEXUS_METRIC_COUNTER);
}

nexus_metric *nexus_metrics_gauge(nexus_metrics *metrics, const char *name, const char *help)
{
    return single(metrics, name, help, NEXUS_METRIC_GAUGE);
}

/* --- the registry ------------------------------------------------------------------------------------------------- */

nexus_status nexus_metrics_collect(nexus_metrics *metrics, nexus_metrics_collect_fn *fn, void *user_data)
{
    pthread_mutex_lock(&metrics->lock);
    nexus__metrics_collector *grown =
        nexus__realloc(metrics->alloc, metrics->collectors, (metrics->collector_count + 1) * sizeof *grown);
    if (grown) {
        grown[metrics->collector_count++] = (nexus__metrics_collector){fn, user_data};
        metrics->collectors = grown;
    }
    pthread_mutex_unlock(&metrics->lock);
    return grown ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus_metrics_open(nexus_metrics **out, const nexus_metrics_opts *opts)
{
    const nexus_metrics_opts defaults = NEXUS_METRICS_OPTS_INIT;
    const nexus_metrics_opts *o = opts ? opts : &defaults;
    if (o->size != sizeof *o)
        return nexus__fail(NEXUS_EINVAL, "metrics: options are not initialised; begin with NEXUS_METRICS_OPTS_INIT");
    nexus_metrics *r = nexus__calloc(o->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->alloc = o->alloc;
    r->series_max = o->series_max ? o->series_max : NEXUS__METRIC_SERIES_MAX;
    pthread_mutex_init(&r->lock, NULL);
    r->dropped_series = nexus_metrics_counter(r, "nexus_metrics_dropped_series_total",
                                              "Look-ups of series beyond the limit of their family.");
    nexus_status status = r->dropped_series ? NEXUS_OK : NEXUS_ENOMEM;
    if (status == NEXUS_OK && o->process)
        status = nexus__metrics_process(r);
    if (status != NEXUS_OK) {
        nexus_metrics_close(r);
        return status;
    }
    *out = r;
    return NEXUS_OK;
}

void nexus_metrics_close(nexus_metrics *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->family_count; i++)
        family_free(r->families[i]);
    nexus__free(r->alloc, r->families);
    nexus__free(r->alloc, r->collectors);
    pthread_mutex_destroy(&r->lock);
    nexus__free(r->alloc, r);
}
