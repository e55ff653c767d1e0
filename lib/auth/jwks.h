/*
 * The published keys of one issuer, kept fresh (row A10 of docs/auth.md).
 *
 * States: without keys → fetching → fresh → due (80 % of the time to live: refreshed in the background) → stale (the
 * issuer fails: still used, for a day) → without keys. One fetch at a time; after a failure the next waits 1 to 60
 * seconds; an unknown kid begins a fetch at most every 30 seconds.
 */
#ifndef NEXUS_AUTH_JWKS_H
#define NEXUS_AUTH_JWKS_H

#include <nexus/verifier.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/time.h"

/* A key set with an owner count: replaced while others read it. */
typedef struct nexus__shared_keys {
    atomic_uint refs;
    uint64_t generation;
    const nexus_keyset *set;
    nexus_keyset *owned; /* NULL when the set is the caller's */
} nexus__shared_keys;

void nexus__shared_keys_free(nexus__shared_keys *keys);

typedef struct nexus__jwks nexus__jwks; /* any thread at once */

/* client and url, or keys, or neither: then keys come by nexus__jwks_use. */
nexus_status nexus__jwks_open(nexus__jwks **out, const nexus_verifier_opts *opts);
/* The present keys (free the reference), beginning a refresh when one is due; NULL: none that may be used. */
nexus__shared_keys *nexus__jwks_keys(nexus__jwks *jwks);
/* A token named a key that is not there. True: a fetch is under way, ask again when it ended. One that was fetched for and
 * not found is not fetched for again within a minute. */
bool nexus__jwks_unknown_kid(nexus__jwks *jwks, nexus_slice token);
bool nexus__jwks_has_keys(nexus__jwks *jwks);
nexus_status nexus__jwks_wait(nexus__jwks *jwks, nexus_verifier_fn *done, void *user_data);
nexus_status nexus__jwks_refresh(nexus__jwks *jwks);
nexus_status nexus__jwks_use(nexus__jwks *jwks, nexus_slice body);
int64_t nexus__jwks_now_ns(const nexus__jwks *jwks);
/* The fetch under way, if any, ends unheard; waiters are told NEXUS_ECANCELED. */
void nexus__jwks_close(nexus__jwks *jwks);

/* https, or http to this machine. */
bool nexus__issuer_url_allowed(const char *url);

#endif
