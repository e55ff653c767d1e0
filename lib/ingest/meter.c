#include "ingest/meter.h"

#include <stdlib.h>
#include <string.h>

#define LATE_MS (5 * 60 * 1000)

/* Empties the seconds that passed without an event. */
static void advance(nexus__meter *m, int64_t second)
{
    if (second - m->second >= NEXUS__METER_SECONDS)
        memset(m->per_second, 0, sizeof m->per_second);
    else
        for (int64_t s = m->second + 1; s <= second; s++)
            m->per_second[s % NEXUS__METER_SECONDS] = 0;
    if (second > m->second)
        m->second = second;
}

void nexus__meter_accept(nexus__meter *m, int64_t event_ms, int64_t now_ms)
{
    advance(m, now_ms / 1000);
    m->accepted++;
    m->per_second[m->second % NEXUS__METER_SECONDS]++;
    if (m->accepted > 1 && event_ms < m->newest_event_ms - LATE_MS)
        m->late++;
    if (m->accepted == 1 || event_ms > m->newest_event_ms)
        m->newest_event_ms = event_ms;
}

void nexus__meter_commit(nexus__meter *m, uint32_t us)
{
    m->times_us[m->time_count++ % NEXUS__METER_TIMES] = us;
}

uint32_t nexus__meter_rate_1s(const nexus__meter *m, int64_t now_ms)
{
    int64_t s = now_ms / 1000 - 1;
    return s > m->second || s <= m->second - NEXUS__METER_SECONDS ? 0 : m->per_second[s % NEXUS__METER_SECONDS];
}

double nexus__meter_rate_1m(const nexus__meter *m, int64_t now_ms)
{
    uint64_t sum = 0;
    for (int64_t s = now_ms / 1000 - 60; s < now_ms / 1000; s++)
        if (s >= 0 && s <= m->second && s > m->second - NEXUS__METER_SECONDS)
            sum += m->per_second[s % NEXUS__METER_SECONDS];
    return (double)sum / 60;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void nexus__meter_times(const nexus__meter *m, double *last_ms, double *p99_ms)
{
    uint32_t sorted[NEXUS__METER_TIMES];
    uint32_t n = m->time_count < NEXUS__METER_TIMES ? m->time_count : NEXUS__METER_TIMES;
    *last_ms = *p99_ms = 0;
    if (n == 0)
        return;
    memcpy(sorted, m->times_us, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_u32);
    *last_ms = m->times_us[(m->time_count - 1) % NEXUS__METER_TIMES] / 1000.0;
    *p99_ms = sorted[(n - 1) * 99 / 100] / 1000.0;
}
