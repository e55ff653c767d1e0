/*
 * Who is calling with this token? Asked of an introspection endpoint (RFC 7662), for tokens that only their issuer can
 * read. What it said is remembered for a minute at most, a no for ten seconds; each token is asked for once at a time.
 */
#ifndef NEXUS_INTROSPECTOR_H
#define NEXUS_INTROSPECTOR_H

#include <nexus/verifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Usable from any thread at once. */
typedef struct nexus_introspector nexus_introspector;
struct nexus_secret;

typedef struct nexus_introspector_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL = the C library's */
    struct nexus_client *client;        /**< required; borrowed until close */
    const char *url;                    /**< of the endpoint, https unless loopback; required; copied */
    const char *client_id;              /**< who we are there (Basic); required; copied */
    const struct nexus_secret *client_secret; /**< required; used at each question, so it may be set anew; borrowed until
                                                   close */
    const char *audience;               /**< must be among "aud" of the answer; NULL = not looked at; copied */
    uint32_t timeout_ms;                /**< of a request; 0 = 2000 */
    uint32_t keep_s;                    /**< a yes is remembered for so long, and never beyond "exp"; 0 = 60 */
    uint32_t refused_s;                 /**< a no; 0 = 10 */
    uint32_t cache_tokens;              /**< 0 = 8192 */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;
} nexus_introspector_opts;

#define NEXUS_INTROSPECTOR_OPTS_INIT NEXUS_SIZED(nexus_introspector_opts)
NEXUS_API void nexus_introspector_opts_init(nexus_introspector_opts *opts);
NEXUS_API nexus_status nexus_introspector_open(nexus_introspector **out,
                                               const nexus_introspector_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_introspector_close(nexus_introspector *introspector); /**< waits for what is asked; NULL is fine */

/**
 * Checks a token (the text after "Bearer ") from memory. Never blocks. NEXUS_EAUTH: it is not active. NEXUS_EAGAIN: it
 * must be asked for: nexus_introspector_wait_async, then check again. Free *out with nexus_principal_free.
 */
NEXUS_API nexus_status nexus_introspector_check(nexus_introspector *introspector, const char *token, size_t n,
                                                nexus_principal **out) NEXUS_MUST_CHECK;
/** The same for a caller with a certificate, as nexus_verifier_check_bound. */
NEXUS_API nexus_status nexus_introspector_check_bound(nexus_introspector *introspector, const char *token, size_t n,
                                                      const uint8_t *cert_sha256,
                                                      nexus_principal **out) NEXUS_MUST_CHECK;

/**
 * Asks for the token, or joins who does, and calls back once on a thread of the client: NEXUS_OK when it is known now,
 * whatever the answer. NEXUS_EDONE: it has become known meanwhile, check at once; done is not called. NEXUS_EAGAIN: too
 * many are asked for now; done is not called.
 */
NEXUS_API nexus_status nexus_introspector_wait_async(nexus_introspector *introspector, const char *token, size_t n,
                                                     nexus_verifier_fn *done, void *user_data) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
