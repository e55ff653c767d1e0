/* What a bus promises when it answers a publish: the owner's choice, told to everybody else. Pure. */
#ifndef NEXUS_BUS_DURABILITY_H
#define NEXUS_BUS_DURABILITY_H

#include <nexus/bus.h>

#include "wal/wal.h"

typedef struct nexus__durability {
    uint32_t mode, ms; /* NEXUS_DURABILITY_…; ms of INTERVAL */
} nexus__durability;

nexus_status nexus__durability_check(const nexus_bus_opts *o) NEXUS_MUST_CHECK;
/* What the options ask for, as options of the log. */
void nexus__durability_ask(const nexus_bus_opts *o, nexus__wal_opts *out);
nexus__durability nexus__durability_of(const nexus__wal *wal);
/* NEXUS_ECONFLICT: the owner gives less than the options ask for; the message names both. */
nexus_status nexus__durability_compare(const nexus_bus_opts *o, nexus__durability owner) NEXUS_MUST_CHECK;

/* In the upper half of the capabilities, as an owner tells them. */
uint64_t nexus__durability_pack(uint64_t caps, nexus__durability d);
nexus__durability nexus__durability_unpack(uint64_t *caps); /* which are the lower half then */

#endif
