/*
 * Nonces that were used, until nobody could use them again: a replay is found for as long as its time would let it pass.
 * Bounded; nothing is dropped early, so that a full table is a refusal and never a hole. Any thread.
 */
#ifndef NEXUS_GATEWAY_AUTH_NONCES_H
#define NEXUS_GATEWAY_AUTH_NONCES_H

#include "base/str.h"

typedef struct nexus__nonces nexus__nonces;

/* slots: rounded up to a power of two, at least 16. */
nexus_status nexus__nonces_new(nexus__nonces **out, uint32_t slots, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
/* Remembers what a key used until until_s (included). NEXUS_ECONFLICT: it was used; NEXUS_ENOSPC: no room for it now. */
nexus_status nexus__nonces_use(nexus__nonces *nonces, nexus_slice keyid, nexus_slice nonce, int64_t until_s,
                               int64_t now_s) NEXUS_MUST_CHECK;
void nexus__nonces_free(nexus__nonces *nonces);

#endif
