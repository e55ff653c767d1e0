/*
 * The head of a request from the fields that HPACK decoded (RFC 9113 8.3), pure: bytes in the form that HTTP/1.1 has, so
 * that a nexus__http_head points into them as into a received one. One block is decoded at a time.
 */
#ifndef NEXUS_HTTP_H2_HEAD_H
#define NEXUS_HTTP_H2_HEAD_H

#include "base/buf.h"
#include "http/parser.h"

enum {
    NEXUS__H2_HEAD_MALFORMED = -1 /* a stream error; what is > 0 is an enum nexus__http_error, to be answered */
};

typedef struct nexus__h2_head {
    nexus__http_head *head;
    const nexus__http_limits *limits;
    nexus__buf *lines;  /* pseudo-header values, then "name: value\r\n" lines: what the head's offsets count from */
    nexus__buf *crumbs; /* of cookies (RFC 9113 8.2.3): joined, they are the last line */
    uint32_t fields, bytes; /* as they were sent, crumbs one by one */
    uint32_t path_len, authority, authority_len;
    uint8_t seen; /* pseudo-headers */
    bool plain;   /* a field that is none has come */
    int error;    /* what a field said; kept until the end of the block */
} nexus__h2_head;

void nexus__h2_head_init(nexus__h2_head *d, nexus__http_head *head, const nexus__http_limits *limits, nexus__buf *lines,
                         nexus__buf *crumbs);
/* The next field. 0, or NEXUS__H2_HEAD_MALFORMED at once. A block that is too large goes on to the end, unkept, so that it
 * can be answered. */
int nexus__h2_head_field(nexus__h2_head *d, nexus_slice name, nexus_slice value);
/* All fields have come. `end`: so has the request. 0, malformed, or the error to answer with. */
int nexus__h2_head_end(nexus__h2_head *d, bool end);

/* Lines "Name: value\r\n" as fields to send: names are made lower-case in place, values trimmed, fields that belong to a
 * connection left out. Calls put for each; returns how many. */
typedef void nexus__h2_put_fn(void *to, nexus_slice name, nexus_slice value);
size_t nexus__h2_fields(char *lines, size_t n, nexus__h2_put_fn *put, void *to);

/* Flags of nghttp2 for a field to be sent (name in lower case): what has another value in each message, or is a secret,
 * stays out of the table of the compression (RFC 7541 7.1.3), which it would only fill and make slow to search. */
uint8_t nexus__h2_field_flags(nexus_slice name);

#endif
