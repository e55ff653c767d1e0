/* The states behind nexus_limiter, for who hashes keys by himself. */
#ifndef NEXUS_LIMIT_LIMITER_H
#define NEXUS_LIMIT_LIMITER_H

#include <nexus/limit.h>

#include "base/hash.h"

/* The secret under which keys are hashed. */
nexus__hash_key nexus__limiter_secret(const nexus_limiter *limiter);

/*
 * The state of a key, brought in when it is not there; never NULL. `now` decides who may be pushed out. The pointer may be
 * another key's a moment later, when this one is pushed out: what is taken by it then is lost, nothing is admitted twice
 * on one room.
 */
nexus_rate_state *nexus__limiter_rate(nexus_limiter *limiter, uint64_t hash, int64_t now);
/* until: when a count made now is out of sight. */
nexus_quota_state *nexus__limiter_quota(nexus_limiter *limiter, uint64_t hash, int64_t until, int64_t now);

#endif
