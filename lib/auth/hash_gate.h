/* Password hashing takes memory and a core: so many at once, so many waiting, the rest are told to come again. */
#ifndef NEXUS_AUTH_HASH_GATE_H
#define NEXUS_AUTH_HASH_GATE_H

#include "base/str.h"

typedef struct nexus__hash_gate nexus__hash_gate; /* any thread at once */

nexus_status nexus__hash_gate_new(nexus__hash_gate **out, const nexus_alloc *alloc, uint32_t parallel, uint32_t queue);
nexus_status nexus__hash_gate_enter(nexus__hash_gate *gate); /* NEXUS_ELIMIT: the queue is full */
void nexus__hash_gate_leave(nexus__hash_gate *gate);
uint64_t nexus__hash_gate_count(nexus__hash_gate *gate); /* how many have entered */
void nexus__hash_gate_free(nexus__hash_gate *gate);

#endif
