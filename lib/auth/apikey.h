/* API keys, inside: the text's form, and the memory of keys that were found good. */
#ifndef NEXUS_AUTH_APIKEY_H
#define NEXUS_AUTH_APIKEY_H

#include <nexus/apikey.h>

#include "auth/principal.h"
#include "base/ip.h"

enum {
    NEXUS__APIKEY_SECRET_LEN = 43,
    NEXUS__APIKEY_SECRET_AT = 24, /* "nexus_live_", the id, "_" */
    NEXUS__APIKEY_CIDRS_MAX = 32,
};

/* How long a key that was found good is taken for good, and from when on it is asked for again meanwhile. */
#define NEXUS__APIKEY_GOOD_NS (900 * NEXUS__NS_PER_MS)
#define NEXUS__APIKEY_FRESH_NS (500 * NEXUS__NS_PER_MS)

/* apikey_text.c. The whole text with id and secret filled in from random bytes; NUL-terminated. */
void nexus__apikey_make(const char *id, char out[static NEXUS_APIKEY_LEN + 1]); /* id NULL = a new one */

/* What is known of a good key. Immutable but for its counts. */
typedef struct nexus__apikey_known {
    atomic_uint refs;
    nexus_principal *principal;
    int64_t expires_ns; /* of the secret that was used */
    uint32_t cidr_count;
    nexus__ip_block cidrs[NEXUS__APIKEY_CIDRS_MAX];
} nexus__apikey_known;

/* From the JSON of nexus_apikeys_introspect. NEXUS_EPROTO: it is not that. */
nexus_status nexus__apikey_known_new(nexus__apikey_known **out, const nexus_alloc *alloc,
                                     nexus_slice json) NEXUS_MUST_CHECK;
void nexus__apikey_known_unref(nexus__apikey_known *known);
/* What time and address say; NEXUS_EAUTH, NEXUS_EPERM. */
nexus_status nexus__apikey_judge(const nexus__apikey_known *known, nexus_slice ip, int64_t now_ns) NEXUS_MUST_CHECK;
nexus_status nexus__apikey_refused(void); /* the one answer to everything that is no live key */

/*
 * apikey_cache.c: text to what is known of it. It holds no texts: they are found by HMAC under a key of this process.
 * Bounded; the oldest of a set makes room. Any thread.
 */
typedef struct nexus__apikey_cache nexus__apikey_cache;

nexus_status nexus__apikey_cache_new(nexus__apikey_cache **out, const nexus_alloc *alloc,
                                     uint32_t keys) NEXUS_MUST_CHECK;
/* A reference, with its age; NULL when it is not there or too old. */
nexus__apikey_known *nexus__apikey_cache_get(nexus__apikey_cache *cache, nexus_slice text, int64_t now_ns,
                                             int64_t *age_ns);
/* Takes a reference of its own. asked_ns is from when what is known was true. */
void nexus__apikey_cache_put(nexus__apikey_cache *cache, nexus_slice text, nexus__apikey_known *known, int64_t asked_ns);
void nexus__apikey_cache_drop(nexus__apikey_cache *cache, nexus_slice text);
void nexus__apikey_cache_forget(nexus__apikey_cache *cache, nexus_slice id);
void nexus__apikey_cache_free(nexus__apikey_cache *cache);

#endif
