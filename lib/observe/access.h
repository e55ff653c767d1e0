/*
 * Lines of the access log. What is known of a request is packed on the loop that served it, a few hundred bytes and no
 * formatting; the log's writer thread makes the line. The members and their order are fixed and documented in
 * docs/gateway/observability.md. Pure.
 */
#ifndef NEXUS_OBSERVE_ACCESS_H
#define NEXUS_OBSERVE_ACCESS_H

#include <nexus/log.h>

#include "base/buf.h"
#include "observe/log_line.h"

/* Texts of a line, in the order in which they are packed. */
enum nexus__access_text {
    NEXUS__ACCESS_SERVICE, /* set by nexus__log_access */
    NEXUS__ACCESS_ID,
    NEXUS__ACCESS_IP,
    NEXUS__ACCESS_METHOD,
    NEXUS__ACCESS_HOST,
    NEXUS__ACCESS_PATH,  /* canonical; credentials in it are taken out when the line is made */
    NEXUS__ACCESS_QUERY, /* as received; the same */
    NEXUS__ACCESS_ROUTE,
    NEXUS__ACCESS_UPSTREAM,
    NEXUS__ACCESS_TARGET,
    NEXUS__ACCESS_USER,
    NEXUS__ACCESS_PROBLEM,
    NEXUS__ACCESS_FLAGS, /* words parted by ',' */
    NEXUS__ACCESS_TEXTS
};

typedef struct nexus__access_numbers {
    int64_t real_ns;     /* when the answer was complete */
    int64_t took_ns;     /* since the head of the request */
    int64_t upstream_ns; /* of it, until the head of the upstream's answer; -1: there was none */
    uint64_t bytes_in, bytes_out;
    uint32_t tries; /* 0: nobody was asked */
    uint16_t status;
    int16_t level;
    uint8_t minor; /* of HTTP/1 */
    bool traced;
    bool proxied; /* has bytes_in, tries and upstream_ms */
    uint8_t trace_id[16], span_id[8];
} nexus__access_numbers;

typedef struct nexus__access {
    nexus__access_numbers n;
    nexus_slice text[NEXUS__ACCESS_TEXTS]; /* empty: left out */
} nexus__access;

/* Appends the packed form. A text longer than 4 KiB is cut. */
void nexus__access_pack(nexus__buf *out, const nexus__access *a);
/* The texts point into packed. False: it is not what nexus__access_pack made. */
bool nexus__access_unpack(nexus__access *out, nexus_slice packed);
/* Appends the line with its newline. */
void nexus__access_line(nexus__buf *out, const nexus__log_style *style, const nexus__access *a);

/* Appends a query with the values of credentials replaced, whatever escapes their names are written with. */
void nexus__access_query(nexus__buf *out, nexus_slice query);

/* Writes the line to the log's sinks: by its writer thread when it has one. Any thread; never waits. */
void nexus__log_access(nexus_log *log, const nexus__access *a);

#endif
