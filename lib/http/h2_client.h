/*
 * An HTTP/2 connection to a server: the protocol, without a socket. Bytes that came go in, bytes to send come out.
 *
 * A request goes in and an answer comes out in the form that HTTP/1.1 gives a head ("GET /x HTTP/1.1\r\nHost: …"), so that
 * who forwards messages has one form for both. An answer's head has the framing fields it came with; bodies come in
 * pieces, and what of an answer arrived together is told together.
 *
 * Nothing is told from inside a call other than nexus__h2c_receive, nexus__h2c_fail and nexus__h2c_tell. One loop's.
 */
#ifndef NEXUS_HTTP_H2_CLIENT_H
#define NEXUS_HTTP_H2_CLIENT_H

#include <sys/uio.h>

#include "base/buf.h"
#include "base/list.h"

enum {
    NEXUS__H2C_PIECES = 16,
    NEXUS__H2C_STREAM_WINDOW = 64 * 1024, /* what of one answer may wait here for a slow reader */
    NEXUS__H2C_WINDOW = 1024 * 1024,
    NEXUS__H2C_UPLOAD_MAX = 64 * 1024 /* what of one request's body waits to be sent */
};

typedef struct nexus__h2c nexus__h2c;

/* Why there will be no (further) answer. */
enum nexus__h2c_loss {
    NEXUS__H2C_REFUSED, /* the server did not begin with it: may be asked again */
    NEXUS__H2C_CLOSED,  /* the connection ended */
    NEXUS__H2C_RESET,   /* the server gave it up */
    NEXUS__H2C_INVALID  /* the answer breaks the protocol */
};

typedef struct nexus__h2c_stream {
    nexus__h2c *session;    /* NULL: not begun, or over */
    nexus__list node, news; /* among the open ones; among those with something to tell */
    int32_t id;
    bool replied;  /* the head of the answer came */
    bool ended;    /* the whole answer came */
    bool uploaded; /* no more body will be given */
    bool deferred; /* the session waits for more body */
    bool full;     /* more body was offered than there is room for */
    bool dead;     /* closed before its answer was whole */
    uint8_t loss;
    uint32_t fields, head_bytes;
    nexus__buf head; /* not told yet: interim heads and the answer's, one after the other */
    size_t head_at;  /* where the one that is being read begins */
    nexus__buf spill, trailers, upload, upload_trailers;
    size_t upload_at;
    size_t unread; /* bytes told whose room in the window is not given back yet */
    uint32_t piece_count;
    struct iovec pieces[NEXUS__H2C_PIECES];
} nexus__h2c_stream;

typedef struct nexus__h2c_news {
    nexus_slice head;     /* one or more: interim ones, that of the answer; empty: all were told before */
    struct iovec *pieces; /* of the body, in order; borrowed for the call */
    size_t piece_count;
    bool end;
    nexus_slice trailers; /* with end: lines "Name: value\r\n" */
} nexus__h2c_news;

typedef struct nexus__h2c_ops {
    /* May close its stream or others; not the session. */
    void (*news)(nexus__h2c_stream *stream, const nexus__h2c_news *news);
    void (*lost)(nexus__h2c_stream *stream, enum nexus__h2c_loss how); /* the stream is over */
    void (*writable)(nexus__h2c_stream *stream);                       /* after `full`: there is room again */
} nexus__h2c_ops;

/* secure: of the scheme that is told to the server. */
nexus_status nexus__h2c_new(nexus__h2c **out, const nexus_alloc *alloc, const nexus__h2c_ops *ops,
                            bool secure) NEXUS_MUST_CHECK;
/* After its streams were closed. */
void nexus__h2c_free(nexus__h2c *h);

void nexus__h2c_stream_init(nexus__h2c_stream *stream, const nexus_alloc *alloc);
/* As new, after it was closed; keeps its memory, unless that is much. */
void nexus__h2c_stream_reuse(nexus__h2c_stream *stream);
/* Nothing is told of it any more; the server is told that nobody waits for the answer, unless that is whole. What was
 * told stays until the stream is freed. */
void nexus__h2c_stream_close(nexus__h2c *h, nexus__h2c_stream *stream);
void nexus__h2c_stream_free(nexus__h2c_stream *stream);

/* The server has said how many requests it takes at once. */
bool nexus__h2c_settled(const nexus__h2c *h);
/* How many more requests the server takes now: one until it has said; 0 after it said goodbye. */
uint32_t nexus__h2c_room(const nexus__h2c *h);
uint32_t nexus__h2c_open_streams(const nexus__h2c *h);
/* No new requests: the server is going away, or ids have run out. */
bool nexus__h2c_draining(const nexus__h2c *h);

/* Begins a request. head is changed in place (names become lower case). With `end` it has no body. NEXUS_EINVAL: not a
 * request's head. */
nexus_status nexus__h2c_request(nexus__h2c *h, nexus__h2c_stream *stream, char *head, size_t n,
                                bool end) NEXUS_MUST_CHECK;
/* More of its body, copied: returns how much was taken; less than n sets `full`. */
size_t nexus__h2c_write(nexus__h2c_stream *stream, const void *p, size_t n);
/* All of its body, of which the caller has a whole copy anyway: no limit. */
void nexus__h2c_write_all(nexus__h2c_stream *stream, const void *p, size_t n);
/* trailers: lines "Name: value\r\n" that follow the body, or nothing. */
void nexus__h2c_end(nexus__h2c_stream *stream, nexus_slice trailers);
/* Whoever reads the answer has taken what was told so far: the server may send as much again. Until then at most a
 * window's worth comes. */
void nexus__h2c_taken(nexus__h2c_stream *stream);

/* Bytes from the server. false: the connection is of no use any more, because the server broke the protocol or said
 * goodbye and all is done; every open stream was told. */
bool nexus__h2c_receive(nexus__h2c *h, const char *p, size_t n);
/* The connection ended: every open stream is told. */
void nexus__h2c_fail(nexus__h2c *h);
/* What came up while bytes were sent (room for more body, requests that could not leave): told by nexus__h2c_tell. */
bool nexus__h2c_has_news(const nexus__h2c *h);
void nexus__h2c_tell(nexus__h2c *h);
/* What is to be sent, brought up to date; the caller consumes what it has sent, and asks again when all is. */
nexus__buf *nexus__h2c_output(nexus__h2c *h);

#endif
