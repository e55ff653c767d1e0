/* Shared by the JOSE files of this room. */
#ifndef NEXUS_AUTH_JOSE_H
#define NEXUS_AUTH_JOSE_H

#include <nexus/jwt.h>
#include <stdatomic.h>

#include "base/map.h"
#include "crypto/pkey.h"
#include "json/read.h"

struct nexus_key {
    atomic_uint refs;
    nexus__pkey *pkey;
    nexus_slice kid; /* NUL-terminated, owned */
};

struct nexus_keyset {
    const nexus_alloc *alloc;
    bool allow_hmac, has_hmac;
    uint32_t keys_max;
    nexus__map keys; /* kid to nexus_key * */
    const nexus_key *first;
};

/* Claims of a JSON object that is known to be true by other means. Strict JSON. */
nexus_status nexus__claims_parse(nexus_claims **out, nexus_slice json) NEXUS_MUST_CHECK;
/* A claim of any type, as JSON; borrowed from the claims. False: it is not there. */
bool nexus__claims_raw(const nexus_claims *claims, const char *name, nexus_slice *out);

nexus_key *nexus__key_ref(const nexus_key *key);

/* A key of a scanned JWK. NEXUS_ENOTSUP when it is well-formed but not for signatures of this build. */
nexus_status nexus__key_from_json(nexus_key **out, nexus__json *doc, uint32_t v, const char *alg);
void nexus__key_write_jwk(nexus__buf *out, const nexus_key *key, bool with_private, nexus_status *status);

/* A compact JWS taken apart and its signature verified. */
typedef struct nexus__jws {
    char *memory; /* one block, free with nexus__free(NULL, …) */
    nexus_slice payload;
    nexus_slice typ; /* "" without */
    const nexus_key *key;
} nexus__jws;

/* typ, unless NULL, is required. NEXUS_EAUTH; NEXUS_ENOTFOUND: unknown kid. */
nexus_status nexus__jws_open(nexus__jws *out, const nexus_keyset *set, nexus_slice token, const char *typ);
/* The media type rule of RFC 7515, 4.1.9: case and an "application/" prefix do not matter. */
bool nexus__typ_is(nexus_slice typ, const char *expected);

#endif
