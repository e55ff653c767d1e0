/*
 * The gateway inside. Vocabulary:
 *
 *   config    what a routes file says; immutable, reference counted
 *   upstream  a named group of targets with its health; shared by all loops, outlives reloads that do not change it
 *   target    one address of an upstream; in a set, which is immutable and replaced as a whole
 *   snapshot  config + router + upstreams; immutable, one in force
 *   view      one loop's hold on a snapshot, with a pool for each upstream; counted without atomics
 *   pool      one loop's connections to one upstream
 *   uplink    one connection to a target, on one loop: connecting, busy with a call, idle in its pool, or a tunnel; or
 *             one stream of a connection of HTTP/2 (a lane on its carrier: lane.h)
 *   call      one request on its way; lives in the request's own memory
 *
 * A reload makes a snapshot and posts to every loop, which swaps its view. Requests hold the view they started on;
 * tunnels let go of it and keep only their uplink. Counts: gateway -> snapshot <- view <- call; view -> pool <- uplink;
 * pool -> set -> target. At each request a pool looks whether its set is still in force.
 */
#ifndef NEXUS_GATEWAY_GATEWAY_H
#define NEXUS_GATEWAY_GATEWAY_H

#include <nexus/gateway.h>
#include <nexus/limit.h>
#include <nexus/router.h>
#include <nexus/verifier.h>
#include <pthread.h>
#include <stdatomic.h>

#include "gateway/clients.h"
#include "gateway/filter.h"
#include "gateway/filters/limit_lease.h"
#include "gateway/frames.h"
#include "gateway/history.h"
#include "gateway/middleware.h"
#include "gateway/seen.h"
#include "gateway/upstream.h"
#include "http/exchange.h"
#include "http/h2_client.h"
#include "http/tls.h"
#include "runtime/loop.h"

/* Of a route; outlives reloads that do not change its rule. */
typedef struct nexus__route_breaker {
    const nexus_alloc *alloc;
    atomic_uint refs;
    nexus__breaker breaker;
} nexus__route_breaker;

typedef struct nexus__gw_route {
    const nexus__gw_route_conf *conf;
    uint32_t upstream; /* index, or NEXUS__GW_NO_UPSTREAM */
    uint32_t body_max_set;
    void **states;                 /* one for each filter; NULL = stateless */
    bool replies_pass;             /* a filter looks at answers */
    bool stages;                   /* a filter changes their bodies */
    nexus__route_breaker *breaker; /* NULL = none */
    nexus__seen_route seen;        /* its metrics */
} nexus__gw_route;

typedef struct nexus__snapshot {
    const nexus_alloc *alloc;
    atomic_uint refs;
    nexus__gw_config *config;
    nexus__upstream **upstreams; /* config->upstreams.count */
    nexus__gw_route *routes;     /* config->routes.count */
    nexus__trust **clients;      /* config->clients.count; NULL where an entry names no authorities */
    char *text;
    size_t text_len;
    uint64_t version;
} nexus__snapshot;

typedef struct nexus__pool nexus__pool;
typedef struct nexus__pool_target nexus__pool_target;
typedef struct nexus__gw_loop nexus__gw_loop;
typedef struct nexus__uplink nexus__uplink;
typedef struct nexus__carrier nexus__carrier;

typedef struct nexus__view {
    uint32_t refs;
    nexus__gw_loop *home;
    nexus__snapshot *snapshot;
    nexus__pool *pools[]; /* one for each upstream of the snapshot */
} nexus__view;

enum { NEXUS__GW_BUFFER = 64 * 1024, NEXUS__GW_LOOP_ID = 14 };

struct nexus__gw_loop {
    nexus_gateway *gateway;
    nexus_loop *loop;
    nexus__view *view;
    uint64_t random;
    nexus__buf head;           /* scratch: the request head being written */
    nexus__json json;          /* scratch: a body, scanned */
    nexus__buf text, coded;    /* scratch: a body, changed and compressed */
    struct nexus__deflater *deflaters[4]; /* idle */
    nexus__http_head response; /* scratch: the response head being read */
    char *buffer;              /* scratch: NEXUS__GW_BUFFER bytes received */
    nexus__task swap;          /* posted on a reload */
    atomic_bool swap_posted;
    int64_t next_look;   /* at the watched file */
    nexus__uplink *live; /* whose event is handled; NULL once it was freed meanwhile */
    nexus__limit_loop limits;
    nexus_timer *timer;  /* loop 0: watches the file, runs the health checks */
};

struct nexus_gateway {
    const nexus_alloc *alloc;
    const nexus_alloc *traffic_alloc; /* of upstreams, connections to them, and bodies that are held */
    nexus_runtime *runtime;
    atomic_uint refs; /* the owner's, and one for each posted task */
    atomic_bool closed;
    nexus_gateway_opts opts;
    nexus_limiter *limits;
    nexus__ledger ledger;
    nexus_cache_script limit_script; /* once a route has a shared policy */
    atomic_uint_fast64_t evictions_told; /* of the limits, to the metrics */
    nexus_principal *anonymous;         /* once a route takes it */
    struct nexus__nonces *nonces;       /* once a route takes signatures */
    nexus__gw_middlewares *middlewares; /* NULL = none */
    bool mounted;
    struct nexus_client *client;     /* health checks */
    struct nexus_client *authorizer; /* questions to authorization services; NULL = no route asks any */
    nexus__seen_families seen;
    int64_t gauges_due; /* on loop 0 */
    nexus_metric_family *decisions;
    nexus_metric *evictions;
    nexus_metric_family *canary_answers, *canary_aborts;
    struct nexus__usage *_Atomic usage; /* of what is deprecated; NULL = nothing was yet */
    nexus__upstream_families families;
    nexus__list knocks; /* on loop 0: TCP checks under way */
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t idle;
        nexus__snapshot *current;
        uint64_t loads;
        struct nexus__gw_function *functions;
        char *path;                    /* of the file that is watched, and that edits are written to */
        int64_t mtime_ns, size, inode; /* of what was last read of it; 0 = nothing yet */
        char error[512];
        bool busy; /* a worker is loading */
        nexus__history history;
        struct nexus__canary *canaries; /* that some snapshot has */
    } locked;
    pthread_mutex_t load_mutex; /* one load or edit at a time */
    char loop_id[NEXUS__GW_LOOP_ID + 1]; /* of this gateway among all, for CDN-Loop */
    struct nexus__registry *registry;
    nexus__task look;        /* posted to loop 0 when the registry changed */
    atomic_bool look_posted;
    bool names_set; /* loop 0 only: its resolver has the name servers of the options */
    nexus__watch file_watch;    /* on loop 0: inotify, fd -1 without */
    bool file_watched;          /* on loop 0: it was tried */
    uint32_t loop_count;
    nexus__gw_loop loops[];
};

/* --- snapshot.c --------------------------------------------------------------------------------------------------- */

nexus_status nexus__snapshot_build(nexus__snapshot **out, nexus_gateway *g, const char *name, nexus_slice text,
                                   const nexus__snapshot *old) NEXUS_MUST_CHECK;
nexus__snapshot *nexus__snapshot_ref(nexus__snapshot *s);
nexus__snapshot *nexus__snapshot_current(nexus_gateway *g); /* a reference, or NULL; any thread */
void nexus__snapshot_unref(nexus__snapshot *s);
/* The route of a request, as nexus_router_find; m->value is a nexus__gw_route. */
nexus_status nexus__snapshot_find(const nexus__snapshot *s, nexus_slice host, nexus_slice path, uint32_t method,
                                  const nexus__match_subject *subject, nexus_router_match *m) NEXUS_MUST_CHECK;
/* Whether something of the route goes to this upstream. */
bool nexus__gw_leads_to(const nexus__snapshot *s, const nexus__gw_route *route, const nexus__upstream *upstream);

/* On the loop. */
void nexus__view_swap(nexus__gw_loop *home);
void nexus__view_unref(nexus__view *view);

/* --- gateway.c, routes_file.c ------------------------------------------------------------------------------------- */

/* Under load_mutex: takes the snapshot and brings it into force. */
void nexus__gateway_publish(nexus_gateway *g, nexus__snapshot *s, const char *origin);
/* Under load_mutex. name names the text in errors, origin says in the history where it came from. */
nexus_status nexus__gateway_load_locked(nexus_gateway *g, const char *name, const char *origin,
                                        nexus_slice text) NEXUS_MUST_CHECK;
/* Of what runs later than a close may come. */
void nexus__gateway_ref(nexus_gateway *g);
void nexus__gateway_unref(nexus_gateway *g);
/* Has loop 0 look at once what is to be done. Any thread. */
void nexus__gateway_look_soon(nexus_gateway *g);
/* Keeps the message of the failure for nexus_gateway_last_error; returns the status. */
nexus_status nexus__gateway_remember(nexus_gateway *g, nexus_status status);

/* On loop 0: looks at the file when it is time, or when the kernel said that it changed; returns when to come again. */
uint32_t nexus__routes_file_tick(nexus_gateway *g, nexus__gw_loop *home, int64_t now);
void nexus__routes_file_unwatch(nexus_gateway *g);
/* Under load_mutex: replaces the file, whole and durable or not at all. Without a file there is nothing to do. NEXUS_ESTALE:
 * the file was changed by somebody else and is not in force. */
nexus_status nexus__routes_file_save(nexus_gateway *g, nexus_slice text) NEXUS_MUST_CHECK;

/* --- health.c ----------------------------------------------------------------------------------------------------- */

/* Runs the checks that are due, on loop 0; returns in how many ms to come again. */
uint32_t nexus__health_tick(nexus_gateway *g, nexus__snapshot *s, int64_t now);
/* Ends those that run on loop 0. */
void nexus__health_stop(nexus_gateway *g);

/* --- pool.c ------------------------------------------------------------------------------------------------------- */

/* One loop's connections to one target. */
struct nexus__pool_target {
    const nexus_alloc *alloc;
    nexus__target *target;
    uint32_t refs; /* the pool, and connections */
    uint32_t idle_count;
    nexus__list idle;
    uint64_t bit; /* among the tries of a call */
    bool retired; /* in the pool's set no more */
    nexus__list carriers;        /* connections of HTTP/2 */
    uint32_t spoken;             /* NEXUS__TLS_…: what the server chose the last time; 0 = not known */
    nexus__tls_session *session; /* for the next handshake */
};

struct nexus__pool {
    uint32_t refs; /* views and connections in use */
    nexus__gw_loop *home;
    nexus__upstream *upstream;
    nexus__upstream_loop *shared; /* what other loops see of it */
    nexus__target_set *set;
    nexus__pool_target **targets; /* one for each of the set */
    int64_t *turns;               /* the same, of balancing in turns */
    nexus__list queue;            /* nexus__wait: calls for which no connection is free */
    nexus__timeout queue_timer;
};

nexus_status nexus__pool_new(nexus__pool **out, nexus__gw_loop *home, nexus__upstream *u) NEXUS_MUST_CHECK;
void nexus__pool_unref(nexus__pool *pool);
/* Takes up the set that is in force now; out of memory the old one goes on. */
void nexus__pool_follow(nexus__pool *pool);
void nexus__pool_target_unref(nexus__pool_target *at);

/* An idle connection to the target, or NULL. upgrade: one that speaks HTTP/1.1. */
nexus__uplink *nexus__uplink_take(nexus__pool *pool, nexus__pool_target *at, bool upgrade);
/* Back into the pool, or closed when it is full. */
void nexus__uplink_release(nexus__uplink *conn);
/* An idle connection is idle no more. */
void nexus__uplink_leave(nexus__uplink *conn);

/* --- uplink.c ----------------------------------------------------------------------------------------------------- */

typedef struct nexus__call nexus__call;

enum nexus__uplink_state { NEXUS__UPLINK_CONNECTING, NEXUS__UPLINK_BUSY, NEXUS__UPLINK_IDLE, NEXUS__UPLINK_TUNNEL };

struct nexus__uplink {
    nexus__list node; /* in its pool, idle only; the most recently used last */
    nexus__watch watch;
    nexus__timeout timeout;
    nexus__pool *pool;
    nexus__call *call; /* busy; NULL while idle */
    nexus_request *tunnel;
    nexus__pool_target *at;   /* a reference */
    nexus__carrier *carrier;  /* it is a lane of this one, and has no socket; NULL = it has */
    nexus__tls_conn *tls;     /* NULL = in the clear */
    struct nexus__dial *dial; /* while it looks for an address that answers */
    int64_t born;
    enum nexus__uplink_state state;
    bool used;    /* carried a request before this one */
    bool paused;  /* what the socket has is left there until the client took more */
    bool hung_up; /* the peer has shut down its side; bytes may stand before that end */
    bool broken;  /* its end was not a clean one */
    struct {
        bool client_pinged, upstream_pinged;  /* since it was last heard */
        nexus__frames to_client, to_upstream; /* where their frames stand */
        int64_t client_heard, upstream_heard; /* ns */
    } passing;                                /* of a tunnel */
    nexus__buf in;                            /* the beginning of a response head that came in pieces */
    nexus__buf out;                           /* what the socket did not take */
};

/* Starts to connect: nexus__call_connected follows. upgrade: one that speaks HTTP/1.1. */
nexus_status nexus__uplink_open(nexus__uplink **out, nexus__pool *pool, nexus__pool_target *at,
                                bool upgrade) NEXUS_MUST_CHECK;
/* An uplink, busy, of a connection that is up; takes fd and tls if it succeeds. */
nexus_status nexus__uplink_adopt(nexus__uplink **out, nexus__pool *pool, nexus__pool_target *at, int fd,
                                 nexus__tls_conn *tls) NEXUS_MUST_CHECK;
/* What may be spoken with the target: NEXUS__TLS_… bits. */
uint32_t nexus__uplink_protocols(const nexus__pool *pool, const nexus__target *t);
nexus__timeout_fn nexus__uplink_on_timeout;
void nexus__uplink_close(nexus__uplink *conn);
/* Sends, keeping what the socket does not take in conn->out. False: the connection is broken (errno). */
bool nexus__uplink_send(nexus__uplink *conn, struct iovec *iov, int n);
/* Sends from body without keeping the rest: returns what was taken, -1 = broken. Only while conn->out is empty. */
ssize_t nexus__uplink_send_some(nexus__uplink *conn, nexus_slice data);
/* We say nothing more (tunnels). */
void nexus__uplink_shut(nexus__uplink *conn);
/* Goes on reading after a pause. */
void nexus__uplink_resume(nexus__uplink *conn);

/* --- call.c, attempt.c, reply.c: what a conn tells its call ------------------------------------------------------------------ */

enum nexus__lost {
    NEXUS__LOST_CONNECT,
    NEXUS__LOST_TLS,         /* the handshake failed */
    NEXUS__LOST_CERTIFICATE, /* upstream is not who it should be */
    NEXUS__LOST_CLOSED,
    NEXUS__LOST_UNSENT,  /* closed, and nothing of the request was taken */
    NEXUS__LOST_REFUSED, /* upstream did not begin with the request */
    NEXUS__LOST_INVALID, /* its answer breaks the protocol */
    NEXUS__LOST_TIMEOUT
};

struct nexus__gw_auth;

struct nexus__call {
    nexus_request *request;
    nexus__view *view;
    const nexus__gw_route *route;
    nexus__pool *pool;
    nexus__uplink *conn;
    nexus_principal *principal;
    struct nexus__gw_mw *mw;                         /* middlewares; NULL = there are none */
    struct nexus__gw_auth *auth;                     /* what the authenticators said; NULL = they were not asked */
    const struct nexus__gw_field *fields;            /* that filters add for upstream */
    nexus__gw_headers_conf *request_own, *reply_own; /* what this call changes beyond its route; NULL = nothing */
    const nexus__version *version;                   /* NULL = its route has none */
    const nexus__deprecation *deprecation;           /* of route or version; NULL = none */
    struct nexus__canary *canary;                    /* NULL = its route has none, or it has not come so far */
    const struct nexus__canary_conf *canary_conf;
    uint32_t arm;
    const nexus_pair *captures;                      /* of the route's path, when it asks for them; still escaped */
    uint32_t capture_count;
    nexus_slice path;         /* canonical, as upstream gets it */
    nexus_slice body;         /* when it was there at once */
    char *kept;               /* a streamed one, in case that it has to be sent again */
    int64_t deadline;         /* of the head of the reply */
    int64_t began, try_until; /* of this try */
    uint64_t tried;           /* bits of targets that had it */
    nexus_slice hash_param;   /* the path parameter that keyed balancing goes by */
    uint64_t hash;
    struct nexus__wait *wait;  /* once it had to, see waiting.h */
    uint32_t pass, route_pass; /* of breakers: to be given back; 0 = none */
    int32_t outcome;           /* of the last try */
    bool hash_done, hashed;
    bool started;  /* counted by its upstream */
    bool budgeted; /* holds a place of the retry budget */
    bool fresh;    /* a kept connection was stale: new ones only */
    uint64_t sent; /* bytes of body given to upstream */
    uint32_t tries, interims, filter_at;
    uint32_t method;
    bool whole;    /* body is all of it */
    bool collected, opened; /* body is all of it, for a filter; and its content coding is off */
    bool reading;  /* the body is streamed up */
    bool blocked;  /* and waits for upstream's socket */
    bool uploaded; /* nothing more to send */
    bool chunked;  /* how it is sent */
    bool upgrade;
    bool ambiguous; /* the path holds an escape that servers read differently */
    bool broke_off; /* upstream did, behind the head of its answer */
    bool replied;   /* the head of the reply has gone out */
    bool waiting;   /* a filter does, for something that is not of this loop */
    bool gone;      /* the client went while waiting */
    struct nexus__stage *stage; /* what is done to the answer's body; NULL = nothing */
    uint16_t status;
    int fault; /* errno of the last connection that did not come about */
    nexus__http_body reply_body;
    nexus__gw_seen seen;
    bool reusable;
};

void nexus__call_handle(nexus_request *request, void *user_data); /* the server's fallback route */
void nexus__call_connected(nexus__uplink *conn);
void nexus__call_writable(nexus__uplink *conn);
void nexus__call_lost(nexus__uplink *conn, enum nexus__lost how); /* the conn is closed by it */
/* Bytes from upstream; false when the conn is not this call's any more. */
bool nexus__reply_bytes(nexus__uplink *conn, const char *p, size_t n);
/* The same from HTTP/2; the conn may be closed by it. */
void nexus__reply_message(nexus__uplink *conn, const nexus__h2c_news *news);
void nexus__reply_eof(nexus__uplink *conn);
/* Ends the call's hold on everything but the exchange, which the caller ends. */
void nexus__call_release(nexus__call *call, bool reuse);
/* Answers with a problem document and ends the call. */
void nexus__call_problem(nexus__call *call, uint16_t status, const char *code, const char *detail);
/* The same with what is wrong where; the texts are the request's memory or constant. */
void nexus__call_problem_errors(nexus__call *call, uint16_t status, const char *code, const char *detail,
                                const nexus_problem_error *errors, size_t n);
void nexus__call_count(nexus__call *call, uint16_t status);
/* Adds a field to what upstream gets and keeps the client's of that name from it; copied. value.p NULL: only the latter.
 * A value that HTTP does not allow counts as NULL. False: out of memory. */
bool nexus__call_add_field(nexus__call *call, nexus_slice name, nexus_slice value) NEXUS_MUST_CHECK;

/* filters/auth.c: gives back the principals. NULL is fine. */
void nexus__auth_release(struct nexus__gw_auth *auth);

void nexus__call_client_gone(nexus_request *request, void *user_data); /* on_close of the request */

/* A phase that had to wait has passed: the call goes on behind it. */
void nexus__call_passed(nexus__call *call, nexus__mw_phase phase);

/* --- route.c ------------------------------------------------------------------------------------------------------ */

/* Finds the route and settles the path; false: answered. */
bool nexus__call_route(nexus__call *call);
/* Counts who calls what is deprecated; false: answered, what is gone is gone. Behind the filters. */
bool nexus__call_check_age(nexus__call *call);
nexus__rewrite_input nexus__call_rewrite_input(const nexus__call *call);
/* Answers for a path that could not be put together. */
void nexus__call_refuse_path(nexus__call *call, nexus_status status);

/* --- attempt.c ---------------------------------------------------------------------------------------------------- */

/* All filters were passed: the first try begins. */
void nexus__call_start(nexus__call *call);
/* The next one; answers when there can be none. */
void nexus__call_try(nexus__call *call);
/* The outcome (NEXUS_BREAKER_…) of the try at this target is known. */
void nexus__call_judge(nexus__call *call, nexus__target *t, int32_t outcome);
/* Whether twice does no more than once. */
bool nexus__call_is_idempotent(const nexus__call *call);
/* The connection goes back, or is closed. */
void nexus__call_end_try(nexus__call *call, bool reuse);
/* It is on its way no more. */
void nexus__call_leave(nexus__call *call);
/* An answer came with a status that asks for another try. True: it is under way, the connection is not this call's any
 * more. whole: the bytes of the answer were all there are. */
bool nexus__call_retry_status(nexus__call *call, const nexus__http_head *head, const char *base, bool whole);

/* --- hash_key.c --------------------------------------------------------------------------------------------------- */

void nexus__call_hash(nexus__call *call);
/* Keeps the path parameter, if the upstream of the route goes by one. */
void nexus__call_note_param(nexus__call *call, const nexus_pair *captures, uint32_t count);

/* --- waiting.c, see waiting.h -------------------------------------------------------------------------------------- */

void nexus__waiting_turn(nexus__task *task);
void nexus__waiting_tick(nexus__timeout *timeout);
/* A connection ended or rests. */
void nexus__waiting_freed(nexus__pool *pool);
/* The connection should rather end than rest: another loop needs its place. */
bool nexus__waiting_elsewhere(const nexus__uplink *conn);

/* --- upload.c ----------------------------------------------------------------------------------------------------- */

/* Streams the body up, or goes on with it after another try. */
void nexus__call_upload(nexus__call *call);
/* Nothing more to send: the time for the first byte of an answer runs from now. */
void nexus__call_uploaded(nexus__call *call);
/* ms from now on the conn's timeout, within the call's deadline. */
void nexus__call_limit_time(nexus__call *call, uint32_t ms);
uint64_t nexus__call_body_max(const nexus__call *call);
int64_t nexus__call_total_ns(const nexus__call *call);

/* --- websocket.c -------------------------------------------------------------------------------------------------- */

/* Judges an upgrade; false: answered. An offer of anything but WebSocket is left out. */
bool nexus__call_check_upgrade(nexus__call *call);

/* --- stage.c ------------------------------------------------------------------------------------------------------ */

void nexus__stage_close(struct nexus__stage *stage); /* NULL is fine */
void nexus__stage_free_scratch(nexus__gw_loop *home);

/* --- tunnel.c ----------------------------------------------------------------------------------------------------- */

/* The upstream answered 101; rest are the bytes after its head. Takes the conn, ends the call. */
void nexus__tunnel_start(nexus__call *call, const nexus__http_head *head, const char *base, nexus_slice rest);
void nexus__tunnel_bytes(nexus__uplink *conn, const char *p, size_t n);
void nexus__tunnel_eof(nexus__uplink *conn);
void nexus__tunnel_writable(nexus__uplink *conn);
/* The clock of a tunnel: pings who is silent, ends when one side has been silent for too long. */
void nexus__tunnel_tick(nexus__uplink *conn);
void nexus__tunnel_end(nexus__uplink *conn);

#endif
