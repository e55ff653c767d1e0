/* Series and their values: adding without a lock, looking one up under the family's read lock. */
#include "observe/metrics.h"

#include <math.h>

#include "base/time.h"

/* --- values ------------------------------------------------------------------------------------------------------- */

/* Threads spread over the shards by their control block's address; two that meet only share a cache line. */
static nexus__metric_shard *own_shard(nexus_metric *m)
{
    uint64_t self = (uint64_t)(uintptr_t)pthread_self();
    return nexus__metric_shard_at(m, nexus__mix64(self >> 8) % m->family->shard_count);
}

static double as_double(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static uint64_t as_bits(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

static void add_double(_Atomic uint64_t *cell, double value)
{
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(cell, &old, as_bits(as_double(old) + value), memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

void nexus_metric_add(nexus_metric *m, double value)
{
    if (!m || isnan(value))
        return;
    if (m->family->type == NEXUS_METRIC_GAUGE) {
        add_double(&nexus__metric_shard_at(m, 0)->sum, value);
    } else if (m->family->type == NEXUS_METRIC_COUNTER && value >= 0) {
        nexus__metric_shard *shard = own_shard(m);
        uint64_t whole = value < 9e15 ? (uint64_t)value : 0;
        atomic_fetch_add_explicit(&shard->count[0], whole, memory_order_relaxed);
        if ((double)whole < value)
            add_double(&shard->sum, value - (double)whole);
    }
}

void nexus_metric_set(nexus_metric *m, double value)
{
    if (m && m->family->type == NEXUS_METRIC_GAUGE)
        atomic_store_explicit(&nexus__metric_shard_at(m, 0)->sum, as_bits(value), memory_order_relaxed);
}

void nexus_metric_observe(nexus_metric *m, double value)
{
    if (!m || m->family->type != NEXUS_METRIC_HISTOGRAM || isnan(value))
        return;
    size_t i = 0;
    while (i < m->family->bound_count && value > m->family->bounds[i])
        i++;
    nexus__metric_shard *shard = own_shard(m);
    atomic_fetch_add_explicit(&shard->count[i], 1, memory_order_relaxed);
    add_double(&shard->sum, value);
}

uint64_t nexus__metric_count(const nexus_metric *m, size_t i)
{
    uint64_t n = 0;
    for (size_t s = 0; s < m->family->shard_count; s++)
        n += atomic_load_explicit(&nexus__metric_shard_at(m, s)->count[i], memory_order_relaxed);
    return n;
}

double nexus__metric_sum(const nexus_metric *m)
{
    double sum = 0;
    for (size_t s = 0; s < m->family->shard_count; s++)
        sum += as_double(atomic_load_explicit(&nexus__metric_shard_at(m, s)->sum, memory_order_relaxed));
    return sum;
}

double nexus_metric_value(const nexus_metric *m)
{
    if (!m)
        return 0;
    if (m->family->type == NEXUS_METRIC_COUNTER)
        return (double)nexus__metric_count(m, 0) + nexus__metric_sum(m);
    if (m->family->type == NEXUS_METRIC_GAUGE)
        return nexus__metric_sum(m);
    uint64_t n = 0;
    for (size_t i = 0; i <= m->family->bound_count; i++)
        n += nexus__metric_count(m, i);
    return (double)n;
}

/* --- series ------------------------------------------------------------------------------------------------------- */

static void label_escape(nexus__buf *out, nexus_slice value)
{
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\\' || value.p[i] == '"')
            nexus__buf_char(out, '\\');
        if (value.p[i] == '\n')
            nexus__buf_append(out, "\\n", 2);
        else
            nexus__buf_char(out, value.p[i]);
    }
}

static nexus_slice value_at(const nexus_slice *values, size_t count, size_t i)
{
    return i < count ? values[i] : (nexus_slice){"", 0};
}

static void key_append(nexus__buf *out, const nexus_metric_family *f, const nexus_slice *values, size_t count)
{
    for (size_t i = 0; i < f->label_count; i++) {
        nexus_slice v = value_at(values, count, i);
        uint32_t n = (uint32_t)v.n;
        nexus__buf_append(out, &n, sizeof n);
        nexus__buf_slice_append(out, v);
    }
}

static void labels_append(nexus__buf *out, const nexus_metric_family *f, const nexus_slice *values, size_t count)
{
    for (size_t i = 0; i < f->label_count; i++) {
        if (i > 0)
            nexus__buf_char(out, ',');
        nexus__buf_slice_append(out, f->label[i]);
        nexus__buf_append(out, "=\"", 2);
        label_escape(out, value_at(values, count, i));
        nexus__buf_char(out, '"');
    }
}

void nexus__metric_free(nexus_metric *m)
{
    if (!m)
        return;
    const nexus_alloc *a = m->family->registry->alloc;
    nexus__free(a, (void *)(uintptr_t)m->key.p);
    nexus__free(a, (void *)(uintptr_t)m->labels.p);
    nexus__free(a, m->memory);
    nexus__free(a, m);
}

/* Memory aligned to a cache line from an allocator that promises 16: one line more, and the start moved up. */
static char *shards_new(const nexus_metric_family *f, nexus_metric *m)
{
    m->memory = nexus__calloc(f->registry->alloc, 1, f->shard_count * f->shard_bytes + 64);
    m->shards = m->memory + (64 - (uintptr_t)m->memory % 64) % 64;
    return m->memory;
}

nexus_metric *nexus__metric_new(nexus_metric_family *f, const nexus_slice *values, size_t count)
{
    const nexus_alloc *a = f->registry->alloc;
    nexus_metric *m = nexus__calloc(a, 1, sizeof *m);
    if (!m)
        return NULL;
    m->family = f;
    m->created_ns = nexus__real_ns();
    nexus__list_init(&m->node);
    nexus__buf key, labels;
    nexus__buf_init(&key, a, 0);
    nexus__buf_init(&labels, a, 0);
    key_append(&key, f, values, count);
    labels_append(&labels, f, values, count);
    m->key.p = nexus__buf_take(&key, &m->key.n);
    m->labels.p = nexus__buf_take(&labels, &m->labels.n);
    if (!m->key.p || !m->labels.p || !shards_new(f, m)) {
        nexus__metric_free(m);
        return NULL;
    }
    return m;
}

static nexus_metric *series_add(nexus_metric_family *f, nexus_slice key, const nexus_slice *values, size_t count)
{
    nexus_metric *m = NULL;
    pthread_rwlock_wrlock(&f->lock);
    m = nexus__map_get(&f->by_key, key);
    if (!m && f->series_count < f->registry->series_max && (m = nexus__metric_new(f, values, count))) {
        if (nexus__map_put(&f->by_key, m->key, m, NULL) == NEXUS_OK) {
            nexus__list_push(&f->series, &m->node);
            f->series_count++;
        } else {
            nexus__metric_free(m);
            m = NULL;
        }
    }
    pthread_rwlock_unlock(&f->lock);
    return m;
}

static nexus_metric *overflowed(nexus_metric_family *f)
{
    nexus_metric_add(f->registry->dropped_series, 1);
    return f->overflow;
}

nexus_metric *nexus_metric_series(nexus_metric_family *f, const nexus_slice *values, size_t count)
{
    if (!f)
        return NULL;
    char memory[512];
    nexus__buf key = {.p = memory, .cap = sizeof memory, .max = sizeof memory};
    key_append(&key, f, values, count);
    if (key.status != NEXUS_OK) /* values of half a kilobyte are no label */
        return overflowed(f);
    pthread_rwlock_rdlock(&f->lock);
    nexus_metric *m = nexus__map_get(&f->by_key, nexus__buf_slice(&key));
    bool full = f->series_count >= f->registry->series_max;
    pthread_rwlock_unlock(&f->lock);
    if (!m && !full)
        m = series_add(f, nexus__buf_slice(&key), values, count);
    return m ? m : overflowed(f);
}
