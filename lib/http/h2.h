/*
 * The server's side of HTTP/2 (RFC 9113), on nghttp2's session. A stream is a nexus_request like any other; what it needs
 * beyond one of HTTP/1.1 is its `h2` part.
 *
 * A connection in state NEXUS__CONN_H2 takes one kind of step (nexus__h2_step): bytes received go through the session,
 * whose callbacks note what happened; then requests are started and bodies handed on; then the session's frames are put
 * together and leave in one send. Requests are released only between steps, so that whoever answers one may use it until
 * its call returns. Replies written from outside of a step are copied, and a step is asked for, once a turn of the loop.
 *
 * Flow control: bytes of a body are given back to the client's windows when they were taken by their reader. Replies wait
 * in their request (h2.out) while the client's window is closed; what waits is told by nexus__exchange_unsent.
 */
#ifndef NEXUS_HTTP_H2_H
#define NEXUS_HTTP_H2_H

#include <nghttp2/nghttp2.h>

#include "http/h2_guard.h"
#include "http/h2_head.h"
#include "http/internal.h"

struct nexus__h2 {
    nghttp2_session *session;
    nexus__conn *conn;
    nexus__list streams; /* requests by h2.node, the oldest first */
    nexus__list waiting; /* to be started, by h2.todo */
    nexus__list todo;    /* started, and something came for them */
    nexus__list closed;  /* to be released */
    nexus__list notices; /* requests by h2.notice: what they wrote was framed */
    nexus__timeout tick;
    nexus__h2_guard guard;
    nexus__h2_guard_limits guard_limits;
    nexus__h2_head decode;
    nexus__buf crumbs;
    nexus_request *heading; /* whose header block is coming */
    int64_t heading_ns;
    size_t held;     /* bytes of heads and bodies */
    size_t out_held; /* of replies */
    uint32_t open;
    bool busy;   /* inside the session: it is not to be entered again */
    bool telling;
    bool woken;  /* a step was asked for */
    bool calm;   /* the guard has had enough */
    bool over;   /* the last GOAWAY was given; bytes received mean nothing any more */
    bool leaving; /* the first GOAWAY of a drain was given, the second was not */
};

/* --- h2_session.c ------------------------------------------------------------------------------------------------ */

/* Sends what can be sent now. */
void nexus__h2_send(nexus__h2 *h);
/* Asks for a step, from the loop. */
void nexus__h2_wake(nexus__h2 *h);
void nexus__h2_reset(nexus_request *r, uint32_t code);

/* --- h2_stream.c ------------------------------------------------------------------------------------------------- */

nexus_request *nexus__h2_open(nexus__h2 *h, int32_t id); /* NULL: out of memory */
void nexus__h2_start(nexus_request *r);                  /* its head is here */
void nexus__h2_body(nexus_request *r, nexus_slice data);
void nexus__h2_body_ended(nexus_request *r);
/* Gives the bytes' room in the windows back. */
void nexus__h2_credit(nexus_request *r, size_t n);
/* Its stream is closed. */
void nexus__h2_release(nexus_request *r);
/* Looks whether anything is too slow. */
void nexus__h2_check(nexus_request *r, int64_t now);
/* The session's send_data_callback and what follows it. */
int nexus__h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                        nghttp2_data_source *source, void *user_data);
void nexus__h2_tell_drained(nexus__h2 *h);

#endif
