/*
 * Who was not let, counted: an attacker must not fill the disk with records of himself. The same by the same one is one record
 * soon after the first time, and one more a minute with how often it was. What is too much to tell apart is one number.
 */
#ifndef NEXUS_SERVICE_DENIALS_H
#define NEXUS_SERVICE_DENIALS_H

#include "base/str.h"

enum { NEXUS__DENIALS_MAX = 64 };

typedef struct nexus__denial {
    char actor[65], ip[46]; /* with an actor the address does not part them */
    char action[33], object[161], reason[65];
    char request_id[65]; /* of the first */
    uint64_t count;      /* since the last record of it */
    bool told;           /* in this minute */
} nexus__denial;

/* One thread at a time. Zeroed: empty. */
typedef struct nexus__denials {
    nexus__denial rows[NEXUS__DENIALS_MAX];
    size_t count;
    uint64_t others; /* that found no row */
    int64_t since_ns; /* when this minute began */
} nexus__denials;

void nexus__denials_add(nexus__denials *d, const nexus__denial *denial);
/* What is to be recorded now, at most one more than rows; `last`: everything. */
size_t nexus__denials_due(nexus__denials *d, int64_t now_ns, bool last, nexus__denial out[static NEXUS__DENIALS_MAX + 1]);

#endif
