/* Keys in their files, under the lock of the handle. */
#ifndef NEXUS_BUS_SHRED_KEYS_H
#define NEXUS_BUS_SHRED_KEYS_H

#include "bus/shred.h"

/* The shard as its file is now. */
nexus_status nexus__shred_load(nexus__shred *s, unsigned shard) NEXUS_MUST_CHECK;
void nexus__shred_forget(nexus__shred *s, unsigned shard);
/* The key of a subject, made when there is none; durable. *out lives under the lock. */
nexus_status nexus__shred_key_of(nexus__shred *s, nexus_slice subject, const nexus__shred_key **out) NEXUS_MUST_CHECK;
const nexus__shred_key *nexus__shred_by_id(const nexus__shred *s, const uint8_t id[static SHRED_ID]); /* of a loaded shard */

#endif
