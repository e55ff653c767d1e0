/*
 * HTTP server: routes, the three roles (a handler answers, a filter alters or refuses, a logger records), requests,
 * replies, streams and server-sent events.
 *
 * One request, step by step:
 *   1. The head is parsed, strictly (RFC 9112: reject, never repair), and its path brought into canonical form.
 *   2. The route is looked up. Filters run, on the loop: even when no route was met, so that they can see 404 and 405.
 *   3. `Expect: 100-continue` is answered, the body is read (whole, unless the route has NEXUS_ROUTE_STREAM_BODY).
 *   4. Body filters and the handler run: on a worker thread, or on the loop with NEXUS_ROUTE_ON_LOOP.
 *   5. Someone answers, from any thread, exactly once. Loggers run on the loop.
 *
 * Every error that this server itself reports is application/problem+json (RFC 9457).
 */
#ifndef NEXUS_HTTP_H
#define NEXUS_HTTP_H

#include <nexus/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexus_server nexus_server;
typedef struct nexus_request nexus_request;

/* --- routes ------------------------------------------------------------------------------------------------------- */

/** Answers a request, now or later. Runs on a worker unless the route says NEXUS_ROUTE_ON_LOOP. */
typedef void nexus_handler_fn(nexus_request *request, void *user_data);

enum {
    NEXUS_ROUTE_ON_LOOP = 1,     /**< the handler never blocks: call it on the loop */
    NEXUS_ROUTE_STREAM_BODY = 2, /**< call it when the head is here, it takes the body by nexus_request_read_body;
                                      needs NEXUS_ROUTE_ON_LOOP */
    NEXUS_ROUTE_GET_BODY = 4,    /**< GET and HEAD may carry a body (else 400) */
    NEXUS_ROUTE_VITAL = 16,      /**< answered under overload too: whether the process is alive */
    NEXUS_ROUTE_IN_TENANT = 32,  /**< its permission is asked for in the tenant that the query names: ?tenant=acme */
    NEXUS_ROUTE_FALLBACK = 8 /**< `path` is ignored: meets every request whose path no other route has, those with an
                                      ambiguous path included (nexus_request_path is then the path as received) */
};

/** A documented parameter of a route. */
typedef struct nexus_param {
    const char *name;
    const char *in;     /**< "query", "header" or "path" */
    const char *schema; /**< JSON Schema text; NULL = a string */
    const char *description;
    bool required;
} nexus_param;

/** A documented reply of a route. */
typedef struct nexus_reply_doc {
    uint16_t status;
    const char *description;
    const char *schema; /**< JSON Schema text; NULL = no body, or not JSON */
} nexus_reply_doc;

/** One row of a route table. Everything is copied. */
typedef struct nexus_route {
    size_t size;        /**< sizeof(nexus_route) */
    const char *method; /**< "GET"; NULL or "*" = any but TRACE and CONNECT. HEAD and OPTIONS come by themselves */
    const char *path;   /**< template: "/orders/{id}", {id:int}, {id:uuid}, {rest...} as the last segment */
    nexus_handler_fn *handler;
    void *user_data;          /**< borrowed until the server is closed */
    uint32_t flags;           /**< NEXUS_ROUTE_… */
    uint64_t body_max;        /**< bytes of a request's body, more is 413; 0 = the server's body_max */
    const char *operation_id; /**< this and what follows describe the route for openapi/ and for filters; NULL = none */
    const char *summary;
    const char *tag;
    const char *roles;       /**< "operator,admin"; NULL = any principal; "public" = no token */
    const char *body_schema; /**< JSON Schema text; NULL = not checked */
    const char *body_types;  /**< accepted media types, comma separated; NULL = application/json */
    const nexus_param *params;
    size_t param_count;
    const nexus_reply_doc *replies;
    size_t reply_count;
    const char *permission; /**< "orders:read": what the caller's roles must allow (rbac.h); NULL = nothing */
} nexus_route;

#define NEXUS_ROUTE_INIT NEXUS_SIZED(nexus_route)
NEXUS_API void nexus_route_init(nexus_route *route);

/* --- the server --------------------------------------------------------------------------------------------------- */

/** What a TLS server asks of its clients. */
enum {
    NEXUS_CLIENT_CERT_OFF = 0,      /**< nothing */
    NEXUS_CLIENT_CERT_OPTIONAL = 1, /**< a good certificate or none; a bad one ends the handshake */
    NEXUS_CLIENT_CERT_REQUIRED = 2, /**< a good certificate; without one the handshake ends */
    NEXUS_CLIENT_CERT_ANY = 3       /**< whatever certificate it has: who wants to know looks whether it is verified */
};

typedef struct nexus_server_opts {
    size_t size;               /**< sizeof(nexus_server_opts) */
    const nexus_alloc *alloc;  /**< borrowed until close; NULL = the C library's */
    const char *tls_cert_file; /**< PEM chain; NULL = no TLS */
    const char *tls_key_file;  /**< PEM key */
    uint32_t line_max_bytes;   /**< request line, more is 414; 0 = 8192 */
    uint32_t head_max_bytes;   /**< all header fields together, more is 431; 0 = 32768 */
    uint32_t fields_max;       /**< header fields, more is 431; 0 = 100, at most 128 */
    uint64_t body_max_bytes;   /**< unless the route sets its own, more is 413; 0 = 1 MiB */
    uint32_t head_timeout_ms; /**< from the first byte of a head (or the TLS handshake) to its end, else 408; 0 = 10000 */
    uint32_t body_rate_min;   /**< bytes per second over each body_window_ms, less is 408; 0 = 1024 */
    uint32_t body_window_ms;  /**< 0 = 5000 */
    uint32_t idle_timeout_ms; /**< between requests, and without progress while a reply is written; 0 = 60000 */
    uint32_t drain_max_bytes; /**< read and thrown away after 400, 408 and 413 so that the peer sees them; 0 = 262144 */
    uint32_t drain_timeout_ms;   /**< 0 = 1000 */
    uint32_t connections_max;    /**< per server; further ones wait in the listen queue; 0 = 10000 */
    uint32_t stream_high_bytes;  /**< unsent bytes of a streamed reply at which NEXUS_EAGAIN is given; 0 = 262144 */
    const char *trusted_proxies; /**< CIDRs, comma separated: peers whose X-Request-Id, X-Forwarded-For and Forwarded
                                      (RFC 7239) are believed; NULL = nobody */
    const nexus_pair *headers;   /**< added to every reply of this server itself, errors included, not to what a gateway
                                      passes on; copied */
    size_t header_count;
    const nexus_memory *memory; /**< borrowed until close; NULL = none. From 80 % of its cap on connections end after their
                                     answer, from 90 % new requests are 503 with Retry-After, from 95 % nothing is accepted */
    bool proxy_protocol; /**< connections from trusted_proxies begin with a header of the PROXY protocol, version 2,
                              which names the client (others are closed); from anybody else it earns nothing */
    /* HTTP/2: on TLS by ALPN, else when the client begins with its preface. What follows holds for each connection. */
    bool http2_off;                     /**< only HTTP/1.1 is spoken */
    uint32_t http2_streams_max;         /**< requests at a time, more are refused; 0 = 100 */
    uint32_t http2_stream_window_bytes; /**< of a body that its reader has not taken; 0 = 65536 */
    uint32_t http2_window_bytes;        /**< of all bodies together; 0 = 1 MiB */
    uint32_t http2_memory_max_bytes;    /**< heads and bodies kept: above it new requests are refused, to be tried again;
                                             replies that wait for the client: above it no request is begun; 0 = 1 MiB */
    uint32_t http2_resets_max;          /**< resets by the client, or provoked by it, in 30 s; 0 = 100 */
    uint32_t http2_idle_frames_max;     /**< SETTINGS, PING, PRIORITY and empty DATA frames in 30 s beyond those that
                                             come with requests and data; 0 = 1000 */
    uint32_t http2_stall_timeout_ms;    /**< a reply for which the client opens no window is reset; 0 = 30000 */
    /* Certificates of clients. Where one is asked for, a request whose host is not the server name (SNI) of its
     * connection is 421, and no session is resumed. */
    uint32_t tls_client_cert;        /**< NEXUS_CLIENT_CERT_…: what is asked of clients */
    const char *tls_client_ca_file;  /**< PEM: the authorities whose clients are good; needed for OPTIONAL and REQUIRED */
    const char *tls_client_crl_file; /**< PEM: what they have revoked, a current list for each authority; NULL = not checked */
    bool client_cert_header; /**< Client-Cert and Client-Cert-Chain (RFC 9440) of trusted_proxies are believed, which must
                                  take out what clients send under these names */
} nexus_server_opts;

#define NEXUS_SERVER_OPTS_INIT NEXUS_SIZED(nexus_server_opts)
NEXUS_API void nexus_server_opts_init(nexus_server_opts *opts);

/** Makes a server on all loops of the runtime, which must outlive it. opts NULL = defaults. */
NEXUS_API nexus_status nexus_server_open(nexus_server **out, nexus_runtime *runtime,
                                         const nexus_server_opts *opts) NEXUS_MUST_CHECK;

/** Adds routes; before the first listen. NEXUS_ECONFLICT names two routes that are the same. */
NEXUS_API nexus_status nexus_server_route(nexus_server *server, const nexus_route *routes, size_t n) NEXUS_MUST_CHECK;

NEXUS_API size_t nexus_server_route_count(const nexus_server *server);
/** Route i as it was added (borrowed until close), for what documents or checks them; NULL past the end. */
NEXUS_API const nexus_route *nexus_server_route_at(const nexus_server *server, size_t i);

enum {
    NEXUS_FILTER_NEXT = 0,   /**< go on */
    NEXUS_FILTER_DONE = 1,   /**< the filter answered, or will */
    NEXUS_FILTER_SUSPEND = 2 /**< someone will call nexus_request_resume, once; the same filter is not called again */
};

/** Looks at a request before its handler does. Returns NEXUS_FILTER_…. */
typedef int32_t nexus_filter_fn(nexus_request *request, void *user_data);

/**
 * Adds a filter, in the order in which they will run; before the first listen. It runs on the loop as soon as the
 * head is here: before the body, before `100 Continue`, and with nexus_request_route NULL where no route is met.
 */
NEXUS_API nexus_status nexus_server_filter(nexus_server *server, nexus_filter_fn *filter,
                                           void *user_data) NEXUS_MUST_CHECK;

/** Adds a filter that runs right before the handler, on its thread, with the whole body there. It may not suspend.
 * Not called for streamed bodies nor where no route is met. */
NEXUS_API nexus_status nexus_server_body_filter(nexus_server *server, nexus_filter_fn *filter,
                                                void *user_data) NEXUS_MUST_CHECK;

/** Whether a connection is welcome; peer is the socket's address in text, borrowed. False: it is closed at once, before
 * TLS. On the loop; must not block. */
typedef bool nexus_conn_fn(nexus_slice peer, void *user_data);
/** Adds a judge of accepted connections, asked after those added before; before the first listen. */
NEXUS_API nexus_status nexus_server_on_conn(nexus_server *server, nexus_conn_fn *fn, void *user_data) NEXUS_MUST_CHECK;

/** Sees a request that has been answered, or whose peer has gone. On the loop. */
typedef void nexus_logger_fn(const nexus_request *request, void *user_data);
/** Adds a logger; before the first listen. */
NEXUS_API nexus_status nexus_server_logger(nexus_server *server, nexus_logger_fn *logger,
                                           void *user_data) NEXUS_MUST_CHECK;

/**
 * Listens on an address; more than once if wanted. Routes, filters and loggers are fixed from here on.
 * @param host  a numeric address, or NULL for 127.0.0.1
 * @param port  0 = any free one
 * @param bound the port; NULL = not wanted
 * @return NEXUS_ECONFLICT when the port is taken
 */
NEXUS_API nexus_status nexus_server_listen(nexus_server *server, const char *host, uint16_t port,
                                           uint16_t *bound) NEXUS_MUST_CHECK;

/** Connections open now. Any thread. */
NEXUS_API uint32_t nexus_server_connections(const nexus_server *server);

/**
 * Stops listening, closes idle connections, and waits until every running request is answered, grace_ms at most.
 * Streamed replies are told by their on-close callback. Any thread.
 * @return NEXUS_ETIMEDOUT when some were still running; NEXUS_EDEADLK on a loop thread, which starts it but cannot wait
 */
NEXUS_API nexus_status nexus_server_drain(nexus_server *server, uint32_t grace_ms);

/**
 * Closes all connections, waits for handlers that are running (not when called on a loop or from a handler), frees.
 * Requests not yet answered stay valid until they are. NULL is fine.
 */
NEXUS_API void nexus_server_close(nexus_server *server);

/* --- a request: valid until it is answered (a stream: until nexus_request_stream_end) --------------------------
 * Slices are borrowed for that time. One thread at a time may use a request; the calls that answer or write say
 * what else holds for them. */

NEXUS_API void nexus_request_method(const nexus_request *request, nexus_slice *out);
/** Canonical (nexus_path_canonical); "*" for OPTIONS *. */
NEXUS_API void nexus_request_path(const nexus_request *request, nexus_slice *out);
/** What follows "?", as received, without it. */
NEXUS_API void nexus_request_query(const nexus_request *request, nexus_slice *out);
/** The request target as received. */
NEXUS_API void nexus_request_target(const nexus_request *request, nexus_slice *out);
/** The Host field, or the authority of an absolute target (they are the same). */
NEXUS_API void nexus_request_host(const nexus_request *request, nexus_slice *out);
/** The whole body, chunks joined; empty in filters and for NEXUS_ROUTE_STREAM_BODY. */
NEXUS_API void nexus_request_body(const nexus_request *request, nexus_slice *out);
/** The client's address in text: the rightmost one of X-Forwarded-For or Forwarded that is not a trusted proxy, else the
 * socket's. When both fields are there and say different things, neither is believed. */
NEXUS_API void nexus_request_remote_ip(const nexus_request *request, nexus_slice *out);
/**
 * The correlation id: X-Request-Id of a trusted peer if it is [A-Za-z0-9_-]{8,64}, else a UUIDv7 made at the first
 * call. Once somebody has asked for it before the answer, the reply carries it as X-Request-Id.
 */
NEXUS_API void nexus_request_id(const nexus_request *request, nexus_slice *out);
NEXUS_API bool nexus_request_is_tls(const nexus_request *request);

/** The certificate of who sent a request. Slices and pointers are borrowed from the request. */
typedef struct nexus_client_cert {
    size_t size;           /**< sizeof(nexus_client_cert) */
    nexus_slice der;       /**< X.509 */
    nexus_slice subject;   /**< distinguished name as RFC 4514 writes it, in ASCII */
    const uint8_t *sha256; /**< 32 bytes: of der, what x5t#S256 (RFC 8705) has in base64url */
    bool verified;         /**< this server verified it by its tls_client_ca_file; of one in a field: false */
} nexus_client_cert;

#define NEXUS_CLIENT_CERT_INIT NEXUS_SIZED(nexus_client_cert)
NEXUS_API void nexus_client_cert_init(nexus_client_cert *cert);

/** The certificate that the client proved to have on this connection, or, with client_cert_header, the one that a trusted
 * proxy tells of in Client-Cert (RFC 9440). False: there is none, or it cannot be read. */
NEXUS_API bool nexus_request_client_cert(const nexus_request *request, nexus_client_cert *out);
/** DER of certificate i that was sent beside it, its issuer first; false past the end. */
NEXUS_API bool nexus_request_client_cert_chain(const nexus_request *request, size_t i, nexus_slice *der);

/** The value of the first cookie of that name, as it was sent; false when there is none. */
NEXUS_API bool nexus_request_cookie(const nexus_request *request, const char *name, nexus_slice *out);
/** The first field of that name (any case); false when there is none. */
NEXUS_API bool nexus_request_header(const nexus_request *request, const char *name, nexus_slice *out);
NEXUS_API size_t nexus_request_header_count(const nexus_request *request);
/** Field i in the order received; false past the end. */
NEXUS_API bool nexus_request_header_at(const nexus_request *request, size_t i, nexus_pair *out);

/** A parameter of the path template, decoded. */
NEXUS_API bool nexus_request_param(const nexus_request *request, const char *name, nexus_slice *out);
/** The first query parameter of that name, decoded ("+" is a space); false when absent or its escapes are broken. */
NEXUS_API bool nexus_request_query_param(nexus_request *request, const char *name, nexus_slice *out);

/** The same from the body, for application/x-www-form-urlencoded. */
NEXUS_API bool nexus_request_form_param(nexus_request *request, const char *name, nexus_slice *out);

/** The route that was met; NULL = none. Borrowed until the server is closed. */
NEXUS_API const nexus_route *nexus_request_route(const nexus_request *request);

/** Keeps a pointer with the request under a key, at most 8 keys; further ones are NEXUS_ELIMIT. The key is borrowed. */
NEXUS_API nexus_status nexus_request_set_user(nexus_request *request, const char *key, void *value);
/** What was kept under the key; NULL = nothing. */
NEXUS_API void *nexus_request_user(const nexus_request *request, const char *key);
/** Memory that lives as long as the request, aligned to 16; NULL when out of memory. */
NEXUS_API void *nexus_request_alloc(nexus_request *request, size_t bytes);

/** After NEXUS_FILTER_SUSPEND: runs what follows that filter, on the loop. Any thread, also from inside the filter. */
NEXUS_API void nexus_request_resume(nexus_request *request);

/* For loggers. */
/** The status that was sent; 0 = none was, because the peer had gone. */
NEXUS_API uint16_t nexus_request_status(const nexus_request *request);
/** Why this server itself refused ("length-and-encoding", "no-route"): the problem's code; "" = it did not. */
NEXUS_API const char *nexus_request_problem_code(const nexus_request *request);
/** Bytes of the reply's body. */
NEXUS_API uint64_t nexus_request_bytes_out(const nexus_request *request);
/** When the head was complete, in nanoseconds of CLOCK_MONOTONIC (loop time). */
NEXUS_API int64_t nexus_request_start_ns(const nexus_request *request);

/* --- answering: any thread, exactly once ------------------------------------------------------------------------
 * What answers second is ignored. A request must be answered by someone, or its connection waits for ever. */

/** Sets a field of the reply, whatever it will be, in place of an earlier value (Set-Cookie and Vary are added). Copied. Before
 * the answer. NEXUS_EINVAL for a name or value that HTTP does not allow (CR, LF, NUL) or that is ours to set. */
NEXUS_API nexus_status nexus_request_set_header(nexus_request *request, const char *name, nexus_slice value);

/** Answers. content_type NULL = no Content-Type; the body is copied. Bodies of HEAD, 204 and 304 are left out. */
NEXUS_API void nexus_request_reply(nexus_request *request, uint16_t status, const char *content_type, nexus_slice body);

/** A finding of a check: where, what, in words. */
typedef struct nexus_problem_error {
    const char *pointer; /**< JSON pointer, or the parameter's name */
    const char *code;
    const char *detail;
} nexus_problem_error;

/** Answers with application/problem+json {type,title,status,detail,instance,code}. detail_fmt is printf's. */
NEXUS_API void nexus_request_problem(nexus_request *request, uint16_t status, const char *code, const char *detail_fmt,
                                     ...) NEXUS_PRINTF(4, 5);
/** The same, detail as text; NULL = none. */
NEXUS_API void nexus_request_problem_text(nexus_request *request, uint16_t status, const char *code, const char *detail);
/** The same with `errors`. */
NEXUS_API void nexus_request_problem_errors(nexus_request *request, uint16_t status, const char *code,
                                            const char *detail, const nexus_problem_error *errors, size_t n);

/* --- streamed replies --------------------------------------------------------------------------------------------- */

/** Answers with a head; the body follows by nexus_request_stream_write (chunked, or until close for HTTP/1.0). Any
 * thread. NEXUS_ECLOSED: the request is answered already or the peer has gone; call nexus_request_stream_end
 * whichever it was only after NEXUS_OK. */
NEXUS_API nexus_status nexus_request_stream_start(nexus_request *request, uint16_t status,
                                                  const char *content_type) NEXUS_MUST_CHECK;
/** Adds bytes, copied. Any thread, several too. NEXUS_EAGAIN: stream_high_bytes are unsent, nothing was taken;
 * NEXUS_ECLOSED: the peer has gone. */
NEXUS_API nexus_status nexus_request_stream_write(nexus_request *request, nexus_slice data) NEXUS_MUST_CHECK;
/** Ends the body, and with it the request: exactly once after a start, also when the peer has gone. */
NEXUS_API void nexus_request_stream_end(nexus_request *request);

/** Calls fn on the loop, once, when the peer goes away or the server drains while a reply is streamed. Set it before
 * nexus_request_stream_start. NULL = nothing. */
NEXUS_API void nexus_request_on_close(nexus_request *request, nexus_handler_fn *fn, void *user_data);
/** Calls fn on the loop each time the unsent bytes fall to half of stream_high_bytes after a NEXUS_EAGAIN. Set it
 * before nexus_request_stream_start. */
NEXUS_API void nexus_request_on_drain(nexus_request *request, nexus_handler_fn *fn, void *user_data);

/** Starts a stream of server-sent events (text/event-stream, no-store). */
NEXUS_API nexus_status nexus_sse_start(nexus_request *request) NEXUS_MUST_CHECK;
/** One event; lines of data are split as the format wants. event and id may be NULL. Statuses of
 * nexus_request_stream_write; NEXUS_EINVAL for a line break in event or id. */
NEXUS_API nexus_status nexus_sse_send(nexus_request *request, const char *event, const char *id,
                                      nexus_slice data) NEXUS_MUST_CHECK;
/** A comment line, which keeps proxies from closing an idle stream. */
NEXUS_API nexus_status nexus_sse_ping(nexus_request *request) NEXUS_MUST_CHECK;

/* --- streamed request bodies -------------------------------------------------------------------------------------- */

/** Bytes of the body, borrowed for the call; end is set once, with the last of them (which may be none). When the peer
 * goes away or breaks the rules, the call is made with failed set, and the request must still be answered. */
typedef void nexus_body_fn(nexus_request *request, nexus_slice data, bool end, bool failed, void *user_data);

/** Takes the body piece by piece, on the loop. From a handler with NEXUS_ROUTE_STREAM_BODY or later, once. */
NEXUS_API nexus_status nexus_request_read_body(nexus_request *request, nexus_body_fn *fn,
                                               void *user_data) NEXUS_MUST_CHECK;
/** No more pieces until resumed; the peer's TCP window closes. On the loop. */
NEXUS_API void nexus_request_pause_body(nexus_request *request);
NEXUS_API void nexus_request_resume_body(nexus_request *request);

#ifdef __cplusplus
}
#endif

#endif
