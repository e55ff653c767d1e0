/* Routing as a decision: the canonical form of a path, and which rule of many a request meets. No I/O, no
 * clock. */
#ifndef NEXUS_ROUTER_H
#define NEXUS_ROUTER_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- canonical path ----------------------------------------------------------------------------------------------- */

enum {
    NEXUS_PATH_AMBIGUOUS_PASS = 1, /**< let ";" and %2F %5C %00 %25 %3B %3F %23 stand (still upper case) */
    NEXUS_PATH_KEEP_SLASHES = 2    /**< do not merge "//" */
};

/**
 * The one form of a request path that everything downstream uses (RFC 3986, 6.2.2): unreserved escapes
 * decoded, others in upper case, dot segments removed, runs of "/" merged.
 *
 * @param raw   the path as received, without query; it must start with "/"
 * @param flags NEXUS_PATH_…, 0 = strict
 * @param buf   raw.n bytes of the caller's; may be raw's own memory
 * @param out   the canonical path: borrowed, points into raw when raw is canonical already, else into buf
 * @return NEXUS_EINVAL for a path that is none (not starting with "/", a byte outside RFC 3986 pchar, a
 * broken escape, escapes that are not UTF-8, overlong forms included); NEXUS_EPERM for an ambiguous one
 */
NEXUS_API nexus_status nexus_path_canonical(nexus_slice raw, uint32_t flags, char *buf,
                                            nexus_slice *out) NEXUS_MUST_CHECK;

/** Decodes the escapes of one canonical segment or capture, once. `out` needs segment.n bytes and may be its
 * own memory; returns the bytes written. */
NEXUS_API size_t nexus_path_decode(nexus_slice segment, char *out);

/* --- methods ------------------------------------------------------------------------------------------------------ */

enum {
    NEXUS_METHOD_GET = 1,
    NEXUS_METHOD_HEAD = 2,
    NEXUS_METHOD_POST = 4,
    NEXUS_METHOD_PUT = 8,
    NEXUS_METHOD_PATCH = 16,
    NEXUS_METHOD_DELETE = 32,
    NEXUS_METHOD_OPTIONS = 64,
    NEXUS_METHOD_TRACE = 128,
    NEXUS_METHOD_CONNECT = 256,
    NEXUS_METHOD_OTHER = 512, /**< every method without a bit of its own */
    NEXUS_METHOD_ANY = 0x27f  /**< all but TRACE and CONNECT */
};

/** The bit of a method token (case-sensitive, RFC 9110 9.1); NEXUS_METHOD_OTHER for one we do not know. */
NEXUS_API uint32_t nexus_method_parse(nexus_slice token);

/** "GET, HEAD, OPTIONS" for an Allow field: HEAD beside GET and OPTIONS are added. Writes at most size - 1
 * bytes and a NUL; 96 are enough. Returns the length. */
NEXUS_API size_t nexus_method_allow(uint32_t methods, char *out, size_t size);

/* --- the tree ----------------------------------------------------------------------------------------------------- */

/**
 * Many rules compiled into a tree. Add from one thread; once complete, any number of threads may match at
 * once.
 *
 * Of the rules that a request meets in full (host, path, method, and `accept`) the first in this order wins:
 * host exact, then longest "*.suffix", then any; path exact, then template, then longest prefix, then regular
 * expression; then higher priority, more predicates, the more specific template ({x:int} before {x:uuid} before
 * {x:version} before {x} before {x...}, decided at the leftmost segment that differs), lesser id.
 */
typedef struct nexus_router nexus_router;

enum {
    NEXUS_ROUTER_PREFIX = 1, /**< the path is a segment-safe prefix: "/api" meets "/api" and "/api/x", not "/apix" */
    NEXUS_ROUTER_REGEX = 2   /**< the path is a regular expression that the whole canonical path must match: ECMA-262's
                                  without look-around and back-references, at most 1 KiB and 10,000 states. Its groups are
                                  the captures, by name or by number */
};

/** One rule. Texts are copied. */
typedef struct nexus_router_rule {
    size_t size;            /**< sizeof(nexus_router_rule) */
    const char *id;         /**< names the rule in errors; NULL = its path */
    const char *host;       /**< "api.example.com", "*.example.com"; NULL or "*" = any */
    const char *path;       /**< template: "/orders/{id}", {id:int}, {id:uuid}, {v:version} ("v1"), {rest...} as last segment */
    uint32_t methods;       /**< NEXUS_METHOD_… bits; 0 = NEXUS_METHOD_ANY */
    uint32_t flags;         /**< NEXUS_ROUTER_… */
    int32_t priority;       /**< 0 unless set; higher wins */
    uint32_t predicates;    /**< how many further conditions `accept` will check; 0 = none */
    const char *conditions; /**< canonical text of these conditions: rules equal in all else must differ here;
                               NULL = none */
    void *value;            /**< what a match returns; borrowed */
} nexus_router_rule;

#define NEXUS_ROUTER_RULE_INIT NEXUS_SIZED(nexus_router_rule)
NEXUS_API void nexus_router_rule_init(nexus_router_rule *rule);

/** alloc NULL = the C library's. */
NEXUS_API nexus_status nexus_router_new(nexus_router **out, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
NEXUS_API void nexus_router_free(nexus_router *router);

/**
 * Adds a rule.
 * @return NEXUS_EINVAL for a template, pattern or host that is none, NEXUS_ENOTSUP or NEXUS_ETOOBIG for a pattern, NEXUS_ECONFLICT when an equal rule stands (the
 * message names both; parameter names do not make a difference)
 */
NEXUS_API nexus_status nexus_router_add(nexus_router *router, const nexus_router_rule *rule) NEXUS_MUST_CHECK;

enum { NEXUS_ROUTER_CAPTURES_MAX = 16 };

/** What a request met. */
typedef struct nexus_router_match {
    void *value;      /**< of the rule; NULL unless the status is NEXUS_OK */
    const char *id;   /**< of the rule; borrowed from the router */
    const char *path; /**< the rule's template */
    uint32_t methods; /**< on NEXUS_EPERM: methods that this path has, for Allow */
    uint32_t capture_count;
    nexus_pair captures[NEXUS_ROUTER_CAPTURES_MAX]; /**< values point into the path, still escaped:
                                                       nexus_path_decode */
} nexus_router_match;

/** Whether a rule's further conditions hold for this request. Called during the match, on the caller's
 * thread. */
typedef bool nexus_router_accept_fn(void *value, void *user_data);

/**
 * Finds the rule for a request.
 * @param host   the Host field as received (case and port do not matter); empty = none
 * @param path   canonical, see nexus_path_canonical
 * @param method one NEXUS_METHOD_… bit; HEAD is met by GET rules too
 * @param accept NULL = every rule's further conditions hold
 * @param match  filled always
 * @return NEXUS_OK; NEXUS_ENOTFOUND when no rule has this path (404); NEXUS_EPERM when some have but none
 * this method (405, see match->methods). Leaves no error message: both are ordinary.
 */
NEXUS_API nexus_status nexus_router_find(const nexus_router *router, nexus_slice host, nexus_slice path,
                                         uint32_t method, nexus_router_accept_fn *accept, void *user_data,
                                         nexus_router_match *match) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
