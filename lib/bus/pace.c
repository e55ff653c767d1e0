#include "bus/pace.h"

/* A thread that slept too long may catch up this far: without it a limit would never be reached. */
#define CATCH_UP_NS 10e6

void nexus__pace_set(nexus__pace *p, double factor, double events_s, double bytes_s)
{
    p->factor = factor > 0 ? factor : 0;
    p->events_s = events_s > 0 ? events_s : 0;
    p->bytes_s = bytes_s > 0 ? bytes_s : 0;
    nexus__pace_rest(p);
}

void nexus__pace_rest(nexus__pace *p)
{
    p->anchored = false;
    p->event_ns = p->byte_ns = 0;
}

static double later(double a, double b)
{
    return a > b ? a : b;
}

int64_t nexus__pace_due(nexus__pace *p, int64_t recv_ns, int64_t now_ns)
{
    double due = 0;
    if (p->factor > 0 && !p->anchored) {
        p->anchored = true;
        p->anchor_ns = now_ns;
        p->anchor_recv_ns = recv_ns;
    }
    if (p->factor > 0)
        due = (double)p->anchor_ns + (double)(recv_ns - p->anchor_recv_ns) / p->factor;
    if (p->events_s > 0)
        due = later(due, p->event_ns);
    if (p->bytes_s > 0)
        due = later(due, p->byte_ns);
    return due >= 9e18 ? INT64_MAX : (int64_t)due;
}

void nexus__pace_spend(nexus__pace *p, uint64_t bytes, int64_t now_ns)
{
    double floor = (double)now_ns - CATCH_UP_NS;
    if (p->events_s > 0)
        p->event_ns = later(p->event_ns, floor) + 1e9 / p->events_s;
    if (p->bytes_s > 0)
        p->byte_ns = later(p->byte_ns, floor) + 1e9 * (double)bytes / p->bytes_s;
}
