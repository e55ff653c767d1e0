/*
 * Code of your own inside the gateway: called at fixed points of every request's way, in this process.
 *
 *     on_conn      a connection was accepted, nothing of it was read
 *     on_request   the path is canonical, nothing is routed yet
 *     on_route     the route is known, no filter has run
 *     on_auth      `auth`, `roles`, `require` and `ext` have let the caller in
 *     on_upstream  every filter was passed, nothing has been sent upstream
 *     around       wraps what follows: runs what is inside of it by nexus_gateway_next, and hears what came of it
 *     on_response  the head of upstream's answer is here, nothing of it has left
 *     on_log       the call is over
 *
 * In each phase the middlewares run by `order`, then as they were added; `explain` prints them. `around` nests: the first
 * is outermost. Everything is called on the loop of the request's connection and must not block; a phase that has to wait
 * suspends. Without middlewares a request pays one comparison for each phase.
 *
 * The ABI: this header only grows at the ends of its structs, which begin with their size; what an older caller does not
 * have is taken as absent.
 */
#ifndef NEXUS_MIDDLEWARE_H
#define NEXUS_MIDDLEWARE_H

#include <nexus/gateway.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_principal;

/** One request on its way through the gateway; valid from on_request until on_log returns. */
typedef struct nexus__call nexus_gateway_call;
/** What is inside of one `around`, for one call. */
typedef struct nexus__gw_frame nexus_gateway_frame;

enum {
    NEXUS_MIDDLEWARE_CONTINUE = 0, /**< on to the next one */
    NEXUS_MIDDLEWARE_RESPOND = 1,  /**< nexus_gateway_call_respond has said with what; the call ends */
    NEXUS_MIDDLEWARE_SUSPEND = 2   /**< someone will call nexus_gateway_call_resume, exactly once; not in on_response */
};

/** A phase. slot is this middleware's memory of this call (slot_bytes, zeroed at its beginning); NULL without. */
typedef int32_t nexus_middleware_fn(nexus_gateway_call *call, void *slot, void *user_data);
/** peer: the socket's address in text, borrowed. CONTINUE, or anything else: the connection is closed at once. */
typedef int32_t nexus_middleware_conn_fn(nexus_slice peer, void *user_data);
/** status as the client got it; 0: the client went, or got half an answer. */
typedef void nexus_middleware_log_fn(nexus_gateway_call *call, uint16_t status, void *slot, void *user_data);
/** Calls nexus_gateway_next once, now or later on this loop, or nexus_gateway_call_respond and returns. */
typedef void nexus_middleware_around_fn(nexus_gateway_call *call, nexus_gateway_frame *frame, void *slot,
                                        void *user_data);

typedef struct nexus_middleware {
    size_t size;         /**< sizeof(nexus_middleware) */
    const char *name;    /**< for explain; required; copied */
    int32_t order;       /**< lower runs first */
    uint32_t slot_bytes; /**< memory that each call has for this middleware, aligned to 16; 0 = none, at most 65536 */
    nexus_middleware_fn *on_request, *on_route, *on_auth, *on_upstream, *on_response; /**< NULL = not interested */
    nexus_middleware_around_fn *around;
    nexus_middleware_log_fn *on_log;
    void *user_data;                   /**< borrowed until the gateway is closed */
    nexus_middleware_conn_fn *on_conn; /**< for every connection of the server it is mounted on */
} nexus_middleware;

#define NEXUS_MIDDLEWARE_INIT NEXUS_SIZED(nexus_middleware)
NEXUS_API void nexus_middleware_init(nexus_middleware *middleware);

/** Adds a middleware (copied). Before nexus_gateway_mount: NEXUS_ECONFLICT afterwards, and for a name that is there.
 * NEXUS_ELIMIT: more than 16. */
NEXUS_API nexus_status nexus_gateway_use(nexus_gateway *gateway, const nexus_middleware *middleware) NEXUS_MUST_CHECK;

/** The request itself: method, headers, memory, nexus_request_set_header for the answer. It is not yours to answer. */
NEXUS_API nexus_request *nexus_gateway_call_request(nexus_gateway_call *call);
/** Canonical; from on_route on as upstream gets it. */
NEXUS_API void nexus_gateway_call_path(const nexus_gateway_call *call, nexus_slice *out);
/** The route's id and its upstream's name; false before there is one. upstream may be NULL. */
NEXUS_API bool nexus_gateway_call_route(const nexus_gateway_call *call, nexus_slice *id, nexus_slice *upstream);
/** Who asks, from on_auth on; NULL = nobody knows. Borrowed until the call ends. */
NEXUS_API const struct nexus_principal *nexus_gateway_call_principal(const nexus_gateway_call *call);
/** The status of upstream's answer, from on_response on and in what nexus_gateway_next calls back; 0 = there is none. */
NEXUS_API uint16_t nexus_gateway_call_status(const nexus_gateway_call *call);
/** In on_response: a field of upstream's answer; borrowed for the phase. False: it has none, or this is another phase. */
NEXUS_API bool nexus_gateway_call_reply_header(const nexus_gateway_call *call, const char *name, nexus_slice *out);

/** Sets a field that upstream gets, in place of the client's of that name; copied. Up to and in `around`.
 * NEXUS_EINVAL: HTTP does not allow it, it belongs to the connection, or the gateway itself sets it (X-Nexus-…,
 * X-Forwarded-…). */
NEXUS_API nexus_status nexus_gateway_call_set_upstream_header(nexus_gateway_call *call, const char *name,
                                                              nexus_slice value) NEXUS_MUST_CHECK;

/** Says with what NEXUS_MIDDLEWARE_RESPOND, or an `around` that does not go on, answers; copied. content_type NULL = none.
 * NEXUS_ECONFLICT: it was said before. */
NEXUS_API nexus_status nexus_gateway_call_respond(nexus_gateway_call *call, uint16_t status, const char *content_type,
                                                  nexus_slice body);

/** After NEXUS_MIDDLEWARE_SUSPEND: goes on as if the phase had returned verdict (CONTINUE or RESPOND). Any thread, also
 * from inside the phase. With RESPOND nexus_gateway_call_respond comes before, from the same thread. */
NEXUS_API void nexus_gateway_call_resume(nexus_gateway_call *call, int32_t verdict);

/** What came of what is inside: the status that upstream answered or the gateway made (502, 503, 504); 0 = the client went
 * before. On the loop, once, innermost first, before the head of the answer leaves. */
typedef void nexus_gateway_done_fn(nexus_gateway_call *call, uint16_t status, void *user_data);

/** From `around`, or later on the same loop: runs what is inside, at last the request to upstream. Once for each frame.
 * When it is called later the client may be gone: then done is called with 0 and nothing runs. After
 * nexus_gateway_call_respond nothing runs either: that is the answer. done may be NULL. */
NEXUS_API void nexus_gateway_next(nexus_gateway_frame *frame, nexus_gateway_done_fn *done, void *user_data);

#ifdef __cplusplus
}
#endif

#endif
