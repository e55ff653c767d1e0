/*
 * Tokens that verified, so that the same one again costs a look-up. Four places for each hash; the one that expires
 * first makes room. The whole token is compared, the hash is keyed: nobody can aim at a place.
 */
#ifndef NEXUS_AUTH_TOKEN_CACHE_H
#define NEXUS_AUTH_TOKEN_CACHE_H

#include "auth/principal.h"

typedef struct nexus__token_cache nexus__token_cache; /* any thread at once */

nexus_status nexus__token_cache_new(nexus__token_cache **out, const nexus_alloc *alloc, uint32_t tokens);
/* A reference to the principal of the token, or NULL. Those of another generation are forgotten. */
nexus_principal *nexus__token_cache_get(nexus__token_cache *cache, nexus_slice token, uint64_t generation);
/* Keeps a reference of its own. */
void nexus__token_cache_put(nexus__token_cache *cache, nexus_principal *principal);
void nexus__token_cache_free(nexus__token_cache *cache);

#endif
