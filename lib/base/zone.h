/* Time zones of the system's database, for local days and months. Pure but for loading; no setting of the process. */
#ifndef NEXUS_BASE_ZONE_H
#define NEXUS_BASE_ZONE_H

#include "base/arena.h"
#include "base/str.h"

typedef struct nexus__zone nexus__zone;

/* A TZif file (RFC 9636), version 2 or later; what it says is kept in the arena. NEXUS_EINVAL: it is none. */
nexus_status nexus__zone_parse(nexus__zone **out, nexus_slice file, nexus__arena *arena) NEXUS_MUST_CHECK;
/* "Europe/Berlin", from /usr/share/zoneinfo. NEXUS_ENOTFOUND: there is no such zone. */
nexus_status nexus__zone_load(nexus__zone **out, nexus_slice name, nexus__arena *arena) NEXUS_MUST_CHECK;

/* Seconds east of UTC then; NULL is UTC. */
int32_t nexus__zone_offset(const nexus__zone *zone, int64_t unix_s);
/* The first moment of a local day; month and day may be beyond their ends. */
int64_t nexus__zone_day(const nexus__zone *zone, int32_t year, int32_t month, int32_t day);

#endif
