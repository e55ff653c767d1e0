#include "bus/durability.h"

#include <stdio.h>

#include "base/status.h"

enum { MS_MAX = 3600 * 1000 };

static uint32_t interval(const nexus_bus_opts *o)
{
    return o->durability_ms ? o->durability_ms : NEXUS__WAL_SYNC_MS;
}

nexus_status nexus__durability_check(const nexus_bus_opts *o)
{
    if (o->durability > NEXUS_DURABILITY_OS)
        return nexus__fail(NEXUS_EINVAL, "bus option durability is %u", o->durability);
    if (o->durability_ms > MS_MAX)
        return nexus__fail(NEXUS_EINVAL, "bus option durability_ms is %u; at most %d are possible", o->durability_ms, MS_MAX);
    return NEXUS_OK;
}

void nexus__durability_ask(const nexus_bus_opts *o, nexus__wal_opts *out)
{
    static const uint32_t modes[] = {[NEXUS_DURABILITY_DEFAULT] = NEXUS__WAL_ALWAYS,
                                     [NEXUS_DURABILITY_ALWAYS] = NEXUS__WAL_ALWAYS,
                                     [NEXUS_DURABILITY_INTERVAL] = NEXUS__WAL_INTERVAL,
                                     [NEXUS_DURABILITY_OS] = NEXUS__WAL_OS};
    out->durability = modes[o->durability];
    out->sync_ms = interval(o);
}

nexus__durability nexus__durability_of(const nexus__wal *wal)
{
    static const uint32_t modes[] = {[NEXUS__WAL_ALWAYS] = NEXUS_DURABILITY_ALWAYS,
                                     [NEXUS__WAL_INTERVAL] = NEXUS_DURABILITY_INTERVAL,
                                     [NEXUS__WAL_OS] = NEXUS_DURABILITY_OS,
                                     [NEXUS__WAL_NOWHERE] = NEXUS_DURABILITY_NONE};
    nexus__durability d;
    d.mode = modes[nexus__wal_durability(wal, &d.ms)];
    return d;
}

static const char *describe(nexus__durability d, char out[static 48])
{
    static const char *const names[] = {[NEXUS_DURABILITY_ALWAYS] = "always",
                                        [NEXUS_DURABILITY_INTERVAL] = "interval",
                                        [NEXUS_DURABILITY_OS] = "os"};
    if (d.mode == NEXUS_DURABILITY_INTERVAL)
        snprintf(out, 48, "interval (%u ms)", d.ms);
    else
        snprintf(out, 48, "%s", names[d.mode]);
    return out;
}

nexus_status nexus__durability_compare(const nexus_bus_opts *o, nexus__durability owner)
{
    nexus__durability asked = {o->durability, interval(o)};
    char mine[48], theirs[48];
    bool chosen = owner.mode == NEXUS_DURABILITY_INTERVAL || owner.mode == NEXUS_DURABILITY_OS;
    bool less = owner.mode > asked.mode ||
                (owner.mode == asked.mode && owner.mode == NEXUS_DURABILITY_INTERVAL && owner.ms > asked.ms);
    if (asked.mode == NEXUS_DURABILITY_DEFAULT || !chosen || !less)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ECONFLICT, "the bus is opened with durability %s, and its owner gives %s: give both the same",
                       describe(asked, mine), describe(owner, theirs));
}

/* 32 bits of capabilities, 24 of milliseconds, 8 of the mode. */
uint64_t nexus__durability_pack(uint64_t caps, nexus__durability d)
{
    return (caps & UINT32_MAX) | (uint64_t)(d.ms & 0xffffff) << 32 | (uint64_t)d.mode << 56;
}

nexus__durability nexus__durability_unpack(uint64_t *caps)
{
    nexus__durability d = {(uint32_t)(*caps >> 56), (uint32_t)(*caps >> 32) & 0xffffff};
    *caps &= UINT32_MAX;
    return d;
}
