/*
 * A request and its reply as the gateway uses them: on the loop, without copying bodies, with backpressure both ways.
 *
 * Everything here is called on the loop of the request's connection. Not final until the gateway performs with it: say
 * what you need.
 *
 * A handler with NEXUS_ROUTE_ON_LOOP | NEXUS_ROUTE_STREAM_BODY owns its exchange until it has ended it. The order is:
 *   body:  nexus__exchange_read (whenever you are ready for it); pieces come as slices of the receive buffer.
 *   reply: nexus__exchange_begin, then nexus__exchange_write as often as you like, the last with `end`.
 * The peer may go at any time: then on_close is called (once, if set), writes return NEXUS_ECLOSED, and the exchange
 * must still be ended by nexus__exchange_abort or a write with `end`. After the end the request is gone.
 */
#ifndef NEXUS_HTTP_EXCHANGE_H
#define NEXUS_HTTP_EXCHANGE_H

#include <sys/uio.h>

#include <nexus/http.h>

#include "http/parser.h"
#include "http/tls_clients.h"
#include "runtime/loop.h"

/* --- the request as parsed --------------------------------------------------------------------------------------- */

const nexus__http_head *nexus__exchange_head(const nexus_request *request);
/* What the head's offsets count from. Stable until the exchange ends. */
const char *nexus__exchange_base(const nexus_request *request);
nexus_loop *nexus__exchange_loop(const nexus_request *request);
/* One NEXUS_METHOD_… bit. */
uint32_t nexus__exchange_method(const nexus_request *request);
/* Whether the peer is one of the trusted proxies. */
bool nexus__exchange_trusted(const nexus_request *request);

/* --- its body ---------------------------------------------------------------------------------------------------- */

/*
 * A piece of the body (of which `end` is the last, possibly empty). Returns how many bytes were taken: fewer than data.n
 * means "stop" until nexus__exchange_read_again, which brings the rest once more. status other than NEXUS_OK: the body
 * was cut off (NEXUS_ECLOSED), broke the rules (NEXUS_EPROTO), was too slow (NEXUS_ETIMEDOUT) or too big
 * (NEXUS_ETOOBIG); no more calls come.
 */
typedef size_t nexus__exchange_body_fn(nexus_request *request, nexus_slice data, bool end, nexus_status status,
                                       void *user_data);

/* Starts to take the body; sends `100 Continue` if the client waits for it. The callback may run inside this call when
 * bytes are there already. With no body: one call with end. */
void nexus__exchange_read(nexus_request *request, nexus__exchange_body_fn *fn, void *user_data);
void nexus__exchange_read_again(nexus_request *request);
/* The whole body, if it has arrived already: then no nexus__exchange_read is needed. */
bool nexus__exchange_body_ready(nexus_request *request, nexus_slice *body);

/*
 * What followed the body: lines "Name: value\r\n", checked; none that HTTP forbids as a trailer. Complete once the body
 * callback was given `end`, borrowed until the exchange ends.
 */
nexus_slice nexus__exchange_trailers(const nexus_request *request);

/*
 * Gives the request, from here on, to a handler as if it had been routed to it: with this path, its whole body (within
 * body_max, the route's; more is 413) and the route's flags. route must outlive the server. Nothing was read or answered
 * before; afterwards the request is the handler's. ended(request, user_data) is called once: when it has been answered, or
 * its peer has gone; on the loop, before loggers are.
 */
void nexus__exchange_serve(nexus_request *request, const nexus_route *route, nexus_slice path, nexus_handler_fn *ended,
                           void *user_data);

/* --- the reply --------------------------------------------------------------------------------------------------- */

/* Fields of this server's own answers, beyond those that it has; before it listens. What is passed on by
 * nexus__exchange_begin does not get them, nor the server's others. */
nexus_status nexus__server_add_headers(nexus_server *server, const nexus_pair *headers, size_t n) NEXUS_MUST_CHECK;

/* Decides what TLS clients are asked for; before the server listens. Without TLS there is nothing to decide. */
void nexus__server_ask_clients(nexus_server *server, nexus__tls_ask_fn *fn, void *user_data);

#define NEXUS__LENGTH_UNKNOWN UINT64_MAX

typedef struct nexus__exchange_reply {
    uint16_t status;
    nexus_slice reason;         /* empty = the usual one */
    uint64_t length;            /* of the body; NEXUS__LENGTH_UNKNOWN = chunked (HTTP/1.0: until close) */
    bool close;                 /* do not keep the connection */
    bool has_date;              /* `fields` has a Date already */
    const struct iovec *fields; /* lines "Name: value\r\n", checked by the caller (nexus__http_is_value), without
                                   Connection, Content-Length, Transfer-Encoding, Keep-Alive, Trailer, Upgrade */
    size_t field_iovs;
} nexus__exchange_reply;

/*
 * The head, and the first part of the body, which leave together. What set_header set goes in too. Bytes that the socket
 * does not take are copied, so iovecs are borrowed for the call only. `end` ends the exchange: the request is gone.
 * Interim replies: any number of nexus__exchange_interim before.
 */
nexus_status nexus__exchange_begin(nexus_request *request, const nexus__exchange_reply *reply, const struct iovec *body,
                                   size_t n, bool end);
/* NEXUS_OK, or NEXUS_ECLOSED: the peer has gone, nothing was taken. With `end` the exchange is over in either case. A body
 * shorter than the promised length closes the connection. */
nexus_status nexus__exchange_write(nexus_request *request, const struct iovec *body, size_t n, bool end);
/*
 * What shall follow the reply's body: append lines "Name: value\r\n" (or let nexus__http_body.trailers do it) before the
 * write with `end`. They go out after a body of unknown length, and on HTTP/2 after any; else they are left out.
 */
nexus__buf *nexus__exchange_trailers_out(nexus_request *request);
/* Bytes taken but not yet given to the kernel. Stop reading the source above some mark … */
size_t nexus__exchange_unsent(const nexus_request *request);
/* … and go on when fn is called: once, when none are left (or the peer is gone: then on_close is called instead, if set).
 * false = none are unsent now, fn will not be called. */
bool nexus__exchange_on_drained(nexus_request *request, nexus_handler_fn *fn, void *user_data);
/* The usual reason phrase; NUL-terminated. */
nexus_slice nexus__reason(uint16_t status);
/* A whole answer in place of a problem document: code is what loggers see of it. */
void nexus__exchange_page(nexus_request *request, uint16_t status, const char *code, const char *content_type,
                          nexus_slice body);
/* Adds lines "Name: value\r\n" to the reply, whatever it will be: nexus_request_set_header for who has checked them and
 * knows that the names were not set before. */
void nexus__exchange_add_lines(nexus_request *request, nexus_slice lines);
/* 103 and the like: fields as above. */
nexus_status nexus__exchange_interim(nexus_request *request, uint16_t status, const struct iovec *fields, size_t n);
/* Ends the exchange without (the rest of) a reply: the connection is reset. */
void nexus__exchange_abort(nexus_request *request);
/* When the peer goes: nexus_request_on_close serves here too. */

/* --- tunnels ----------------------------------------------------------------------------------------------------- */

/*
 * After `101 Switching Protocols` (or a 2xx to CONNECT) the bytes are yours. nexus__exchange_tunnel sends the head with
 * `Connection: Upgrade` and the given fields (Upgrade among them), after which nexus__exchange_read brings raw bytes until
 * end (the peer shut down its side), nexus__exchange_write writes raw bytes, `end` shuts down ours after they are sent,
 * and the exchange is over when both sides have ended. Bytes received after the head come first. No log line is written
 * and no timeout runs until nexus__exchange_tunnel_idle sets one.
 */
nexus_status nexus__exchange_tunnel(nexus_request *request, uint16_t status, const struct iovec *fields, size_t n);
/* Calls the body callback with NEXUS_ETIMEDOUT when nothing was received or sent for ms; 0 = never. */
void nexus__exchange_tunnel_idle(nexus_request *request, uint32_t ms);

#endif
