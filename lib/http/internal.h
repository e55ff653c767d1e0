/*
 * The insides of the server. HTTP/2 is in h2.h; what follows here is of both, where it does not say otherwise.
 *
 * A server has one shard per loop; a connection belongs to one shard for its life, and everything of a shard is touched
 * by its loop only. A connection holds a request object and a receive buffer only while it has bytes of a request, and
 * gives both back to its shard's free lists: an idle connection is small, and a warm shard allocates nothing.
 *
 * A request belongs to its connection until it is handed to a worker or a handler that answers later. If the peer goes in
 * the meantime, the connection is freed and the request becomes an orphan: it keeps the receive buffer that its slices
 * point into, and is released when it is answered.
 *
 * States of a connection (step functions in serve.c):
 *   (PROXY ->) (HANDSHAKE ->) FIRST -> HEAD -> BODY -> WAIT -> (DISCARD ->) HEAD … -> CLOSING -> (LINGER ->) closed
 *   (HANDSHAKE ->) FIRST -> H2 -> CLOSING -> (LINGER ->) closed
 * PROXY: a header that tells who the client is. FIRST: the first bytes tell HTTP/2 from HTTP/1.1. HEAD: reading a head (or idle). BODY: collecting a whole body. WAIT: a filter or handler has the request; a streamed
 * body is read and a reply may be written meanwhile. DISCARD: answered, the rest of its body is skipped. CLOSING: the
 * last bytes are being sent. LINGER: our side is shut down, what still comes is thrown away so that the peer can read
 * our answer before a reset reaches it.
 */
#ifndef NEXUS_HTTP_INTERNAL_H
#define NEXUS_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <nexus/router.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/ip.h"
#include "http/exchange.h"
#include "http/tls.h"
#include "http/tls_clients.h"

typedef struct nexus__conn nexus__conn;
typedef struct nexus__shard nexus__shard;
typedef struct nexus__h2 nexus__h2; /* of a connection */
typedef struct nexus__tls nexus__tls; /* of a server */

enum {
    NEXUS__IN_BYTES = 16384,      /* of a receive buffer from the shard's list */
    NEXUS__SCRATCH_BYTES = 65536, /* where pipelined answers are put together */
    NEXUS__FREE_MAX = 256,        /* buffers kept by a shard */
    NEXUS__FREE_REQUESTS_MAX = 1024,
    NEXUS__USERS_MAX = 8,
    NEXUS__ID_MAX = 64,
    NEXUS__CONTENT_TYPE_MAX = 128
};

enum nexus__conn_state {
    NEXUS__CONN_PROXY,
    NEXUS__CONN_HANDSHAKE,
    NEXUS__CONN_FIRST,
    NEXUS__CONN_HEAD,
    NEXUS__CONN_BODY,
    NEXUS__CONN_WAIT,
    NEXUS__CONN_DISCARD,
    NEXUS__CONN_CLOSING,
    NEXUS__CONN_LINGER,
    NEXUS__CONN_CLOSED,
    NEXUS__CONN_H2
};

struct nexus__conn {
    nexus__watch watch;
    nexus__timeout timeout;
    nexus__list node; /* in shard->conns */
    nexus__shard *shard;
    nexus_request *request; /* HTTP/1.1 */
    nexus__h2 *h2;
    nexus__tls_conn *tls;
    char *in; /* NULL while nothing was received */
    uint32_t in_cap, in_len;
    uint32_t in_at;   /* of the head being read or served */
    uint32_t in_body; /* what is not consumed begins here; >= in_at */
    nexus__buf out;   /* what the socket did not take */
    size_t out_at;
    int fd;
    uint8_t state;
    bool readable;  /* the socket may have bytes */
    bool peer_shut; /* and an end after them */
    bool eof;
    bool running; /* inside nexus__conn_run */
    bool broken;  /* to be closed, see nexus__conn_break */
    bool timed;   /* a head timeout runs */
    bool close;   /* after the current answer */
    bool linger;  /* and not at once: bytes of a request are unread */
    uint64_t lingered;
    nexus__ip peer;
};

enum nexus__phase {
    NEXUS__PHASE_PARSING, /* nobody but us knows the request */
    NEXUS__PHASE_FILTER,  /* a filter runs, or has suspended it */
    NEXUS__PHASE_BODY,
    NEXUS__PHASE_HANDLER, /* handed over: someone will answer */
    NEXUS__PHASE_REPLY,   /* the head of a reply is out, its body follows */
    NEXUS__PHASE_DONE
};

enum { NEXUS__FILTER_RUNNING, NEXUS__FILTER_SUSPENDED, NEXUS__FILTER_RESUMED };

/* How the body of the reply is delimited. */
enum { NEXUS__REPLY_LENGTH, NEXUS__REPLY_CHUNKED, NEXUS__REPLY_CLOSE, NEXUS__REPLY_NONE, NEXUS__REPLY_TUNNEL };

typedef struct nexus__stream {
    pthread_mutex_t lock;
    struct {
        nexus__buf queue; /* not yet taken by the loop */
        size_t backlog;   /* taken by the loop, not by the kernel */
        bool posted, ended, gone, hungry /* a write was refused */;
    } locked;
    nexus__buf writing; /* on the loop: swapped with the queue */
    bool made, started;
    uint16_t status;
} nexus__stream;

typedef struct nexus__h2_stream {
    int32_t id; /* 0 = the request came by HTTP/1.1 */
    nexus__list node, todo, notice;
    nexus__buf lines; /* of the head */
    nexus__buf out;   /* written, not framed yet */
    size_t out_at;
    const struct iovec *lent; /* after it: bytes that the caller still holds … */
    size_t lent_skip, lent_left;
    struct iovec whole; /* … or that stay, in reply_body */
    size_t body_at;     /* of body_buf: what its reader has taken */
    size_t held;        /* of the session's held */
    size_t owed;        /* to the stream's window */
    size_t uncredited;  /* to both windows */
    int64_t moved_ns;   /* when bytes of the reply went out last, or began to wait */
    int64_t rated_ns;   /* when the time for the body's rate began; 0 = it does not run */
    int error;          /* of the head: enum nexus__http_error */
    bool ended;         /* no more will be written */
    bool deferred;      /* the session waits for more */
    bool closed;        /* the stream is */
    bool broken;        /* the reply does not keep its promise */
    char status[4];
} nexus__h2_stream;

struct nexus_request {
    nexus__shard *shard;
    nexus__conn *conn;   /* NULL: the peer has gone */
    nexus_request *next; /* in the free list */
    nexus__task task;
    nexus__arena arena;
    const char *base; /* what head's offsets count from */
    char *kept;       /* an orphan's receive buffer */
    uint32_t kept_cap;
    uint8_t phase;
    uint8_t reply_framing;
    uint32_t method; /* NEXUS_METHOD_… bit */
    nexus_slice path, body;
    const nexus_route *route;
    nexus_router_match match;
    int64_t start_ns;

    /* what the server will answer by itself once the filters have run; 0 = the route's handler will */
    uint16_t verdict;
    const char *verdict_code, *verdict_detail;

    size_t filter_at;
    _Atomic int filter_state;
    _Atomic bool answered;

    nexus__http_body in_body;
    uint64_t body_max;
    nexus__buf body_buf;
    uint64_t window_bytes; /* received when the last window began */
    bool continued;        /* 100 Continue was sent */
    struct {
        nexus__exchange_body_fn *fn;
        void *user_data;
        nexus_slice piece; /* not taken yet */
        bool stopped, ended;
        nexus_body_fn *public_fn;
        void *public_user_data;
    } reader;

    nexus__buf extra; /* lines of set_header */
    nexus__buf head_out;
    nexus__buf reply_body;
    nexus__buf trailers_in, trailers_out; /* lines */
    uint16_t status;
    char content_type[NEXUS__CONTENT_TYPE_MAX];
    uint64_t reply_left; /* LENGTH: bytes promised and not yet given */
    uint64_t bytes_out;
    bool reply_ended;
    const char *problem_code;
    nexus_handler_fn *ended_fn; /* of who gave it to another handler */
    void *ended_user_data;
    nexus_handler_fn *close_fn, *drain_fn, *exchange_drained_fn;
    void *close_user_data, *drain_user_data, *exchange_drained_user_data;
    uint32_t tunnel_idle_ms;
    nexus__stream stream;
    nexus__h2_stream h2;

    nexus__cert *cert; /* the client's; a reference; NULL = none */
    bool cert_verified, cert_looked /* for one in its fields */;
    nexus__ip peer;
    char id[NEXUS__ID_MAX + 1];
    uint8_t id_len;
    char ip[48];
    uint8_t ip_len;
    uint8_t user_count;
    struct {
        const char *key;
        void *value;
    } users[NEXUS__USERS_MAX];

    nexus__http_head head; /* last: its fields are not cleared */
};

typedef struct nexus__listener {
    nexus__watch watch;
    nexus__list node; /* in shard->listeners */
    nexus__shard *shard;
} nexus__listener;

struct nexus__shard {
    nexus_server *server;
    nexus_loop *loop;
    nexus__list conns, listeners;
    nexus__conn *corked; /* whose output is in scratch */
    nexus_request *free_requests;
    char *free_bufs; /* each begins with a pointer to the next */
    uint32_t free_request_count, free_buf_count;
    uint32_t requests; /* in use */
    int64_t date_until_ns;
    size_t scratch_len;
    nexus__timeout retry; /* runs while accepting is paused: another shard's connection may end first */
    bool closing, paused /* accepting, at connections_max */;
    bool quiet; /* counted in the server's locked.quiet */
    nexus__task drain_task, close_task;
    char date_line[48]; /* "Date: …\r\n" */
    uint8_t date_len;
    char scratch[NEXUS__SCRATCH_BYTES];
};

typedef struct nexus__filter {
    nexus_filter_fn *fn;
    void *user_data;
} nexus__filter;

typedef struct nexus__logger {
    nexus_logger_fn *fn;
    void *user_data;
} nexus__logger;

typedef struct nexus__conn_hook {
    nexus_conn_fn *fn;
    void *user_data;
} nexus__conn_hook;

struct nexus_server {
    nexus_runtime *runtime;
    const nexus_alloc *alloc;
    nexus_server_opts opts; /* zeros replaced by defaults */
    nexus__http_limits limits;
    nexus__tls *tls;
    struct nghttp2_session_callbacks *h2_callbacks;
    struct nghttp2_option *h2_option;
    nexus__arena arena;   /* routes, header lines */
    nexus_route **routes; /* in the arena */
    size_t route_count;
    const nexus_route *fallback;
    nexus_router *router;
    nexus__filter *filters, *body_filters;
    size_t filter_count, body_filter_count; /* the arrays are the arena's, and doubled when full */
    nexus__logger *loggers;
    size_t logger_count;
    nexus__conn_hook *conn_hooks;
    size_t conn_hook_count;
    nexus_slice header_lines;
    nexus__ip_block *trusted;
    size_t trusted_count;
    bool fixed; /* listening: routes and filters do not change any more */
    nexus__shard **shards;
    uint32_t shard_count;
    _Atomic uint32_t connections;
    _Atomic bool draining;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct {
        uint32_t refs;    /* the owner's; one of each shard that is open or has requests */
        uint32_t working; /* handlers on workers */
        uint32_t quiet;   /* shards without connections and requests, while draining */
        uint32_t open;    /* shards not closed */
    } locked;
};

/* How much of the server's memory is in use, in percent; 0 when nobody counts. */
static inline uint32_t nexus__server_load(const nexus_server *s)
{
    const nexus_memory *m = s->opts.memory;
    return m ? (uint32_t)(nexus_memory_used(m) * 100 / (nexus_memory_cap(m) | 1)) : 0;
}
enum { NEXUS__LOAD_CLOSE = 80, NEXUS__LOAD_REFUSE = 90, NEXUS__LOAD_DEAF = 95 };

/* --- conn.c: sockets --------------------------------------------------------------------------------------------- */

void nexus__conn_accept(nexus__watch *watch, uint32_t ready);
void nexus__shard_retry_accept(nexus__timeout *timeout); /* of shard->retry, and whenever a connection ended */
/* Reads once into the buffer; false when there is nothing now (or ever: conn->eof). */
bool nexus__conn_fill(nexus__conn *c);
/* Copies to the scratch, or sends, or keeps what the socket does not take. A dead socket breaks the connection. */
void nexus__conn_write(nexus__conn *c, const struct iovec *iov, size_t n);
static inline size_t nexus__conn_unsent(const nexus__conn *c)
{
    return c->out.len - c->out_at;
}
void nexus__conn_uncork(nexus__conn *c);
/* It is of no use any more: nothing is written, and it is closed soon, from the loop. */
void nexus__conn_break(nexus__conn *c);
/* Ends it. Freed when nexus__conn_run returns, or at once when that is not running. */
void nexus__conn_close(nexus__conn *c);
void nexus__conn_release_in(nexus__conn *c);
void nexus__shard_release_buf(nexus__shard *shard, char *buf, uint32_t cap);

/* --- serve.c: what happens on a connection ----------------------------------------------------------------------- */

void nexus__conn_run(nexus__conn *c);
void nexus__conn_on_timeout(nexus__timeout *timeout);
void nexus__request_orphan(nexus_request *r); /* its connection is closing */
void nexus__request_handle(nexus_request *r); /* all of it is here: the route's handler, on a worker or here */
void nexus__request_end(nexus_request *r);    /* its reply is complete: log, and go on */

/* --- dispatch.c: from a head to a handler ------------------------------------------------------------------------ */

/* r->head, r->base and r->in_body are set: finds path and route, runs the filters and what follows. */
void nexus__request_start(nexus_request *r);
/* The body is here (or streamed): the handler runs. */
void nexus__request_handle(nexus_request *r);

/* --- h2_session.c, h2_stream.c ------------------------------------------------------------------------------------ */

nexus_status nexus__h2_server_open(nexus_server *s) NEXUS_MUST_CHECK;
void nexus__h2_server_close(nexus_server *s);
/* The connection speaks HTTP/2 from here on, the bytes in its buffer included. False: out of memory. */
bool nexus__h2_begin(nexus__conn *c);
bool nexus__h2_step(nexus__conn *c);
/* Ends the session; its requests lose their connection. */
void nexus__h2_end(nexus__conn *c);
void nexus__h2_drain(nexus__conn *c);
void nexus__h2_on_idle(nexus__conn *c); /* the connection's timeout */
/* Its reader wants (more of) the body. */
void nexus__h2_read(nexus_request *r);
/* Hands on what came of the body. */
void nexus__h2_feed(nexus_request *r);
/* nexus__reply_write for HTTP/2: `left` of the bytes may go. With first, r->head_out has the lines of the head. */
void nexus__h2_write(nexus_request *r, bool first, const struct iovec *body, size_t n, size_t left, bool end);
void nexus__h2_interim(nexus_request *r, uint16_t status, const struct iovec *fields, size_t n);
void nexus__h2_abort(nexus_request *r);
void nexus__h2_wake_for(nexus_request *r);
static inline size_t nexus__h2_unsent(const nexus_request *r)
{
    return r->h2.out.len - r->h2.out_at + r->h2.lent_left;
}
/* What may be written is of use to someone. */
static inline bool nexus__request_alive(const nexus_request *r)
{
    return r->conn && !r->conn->broken && !r->h2.closed;
}

/* --- request.c --------------------------------------------------------------------------------------------------- */

nexus_request *nexus__request_take(nexus__shard *shard, nexus__conn *c); /* NULL: out of memory */
void nexus__request_release(nexus_request *r);
void nexus__request_free(nexus_request *r);
bool nexus__server_trusts(const void *server, const nexus__ip *ip); /* is it one of trusted_proxies? */

/* --- reply.c ----------------------------------------------------------------------------------------------------- */

typedef struct nexus__reply_head {
    uint16_t status;
    nexus_slice reason, content_type;
    const struct iovec *fields;
    size_t field_iovs;
    uint64_t length; /* or NEXUS__LENGTH_UNKNOWN */
    bool close, has_date, tunnel;
    bool passed; /* somebody else's answer: the server's own header lines are not for it */
} nexus__reply_head;

/* Whether one of the lines is of that name. */
bool nexus__reply_has_line(nexus_slice lines, nexus_slice name);
/* On the loop. The head goes to r->head_out; the body (of `length`) is the caller's to write with nexus__reply_write. */
void nexus__reply_begin(nexus_request *r, const nexus__reply_head *head);
/* Frames and writes; with `first` the head goes before it. */
void nexus__reply_write(nexus_request *r, bool first, const struct iovec *body, size_t n, bool end);
/* A whole reply, on the loop. */
void nexus__reply_now(nexus_request *r, uint16_t status, nexus_slice content_type, nexus_slice body);
/* A problem on the loop, by this server itself. */
void nexus__reply_refuse(nexus_request *r, uint16_t status, const char *code, const char *detail);

/* --- stream.c ---------------------------------------------------------------------------------------------------- */

void nexus__stream_gone(nexus_request *r);    /* the peer has gone, or the server drains */
void nexus__stream_drained(nexus_request *r); /* bytes went out */
void nexus__stream_reset(nexus_request *r);
void nexus__stream_free(nexus_request *r);

/* --- server.c ---------------------------------------------------------------------------------------------------- */

void nexus__shard_changed(nexus__shard *shard); /* a connection or request ended */
void nexus__server_working(nexus_server *s, int32_t by);

/* --- tls.c ------------------------------------------------------------------------------------------------------- */

nexus_status nexus__tls_open(nexus__tls **out, const nexus_alloc *alloc, const char *cert_file,
                             const char *key_file, bool h2) NEXUS_MUST_CHECK;
void nexus__tls_close(nexus__tls *tls);
nexus__tls_conn *nexus__tls_conn_open(nexus__tls *tls, nexus_loop *loop, int fd); /* the rest: http/tls.h */

/* --- tls_clients.c ------------------------------------------------------------------------------------------------ */

/* Every connection is asked. Before any is made; NEXUS_EINVAL. */
nexus_status nexus__tls_ask_all(nexus__tls *tls, uint32_t mode, const char *ca_file,
                                const char *crl_file) NEXUS_MUST_CHECK;
/* fn is asked what to ask. Before any connection is made. */
void nexus__tls_ask_by(nexus__tls *tls, nexus__tls_ask_fn *fn, void *user_data);
/* The client's, once the handshake is done; borrowed; NULL = none. verified: what its connection was asked holds. */
nexus__cert *nexus__tls_cert(const nexus__tls_conn *t, bool *verified);
/* Whether the listener asks some server names for certificates: requests then must be for the one of their connection. */
bool nexus__tls_is_strict(const nexus__tls_conn *t, nexus_slice *server_name);

/* --- client_cert.c -------------------------------------------------------------------------------------------------- */

/* What the connection of a request knows is kept with it. */
void nexus__request_keep_cert(nexus_request *r);
void nexus__request_drop_cert(nexus_request *r);

#endif
