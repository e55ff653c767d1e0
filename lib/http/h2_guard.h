/*
 * What a peer of HTTP/2 may do to us for nothing, counted over windows of 30 s. Pure: `now` is a parameter.
 *
 * Resets: each begins a request and throws it away (CVE-2023-44487), by RST_STREAM or by a bad frame that makes us reset
 * (CVE-2025-8671); both count alike. Idle frames: SETTINGS, PING, PRIORITY, empty DATA and frames of types unknown; each
 * that asks for work or brings bytes allows for one. CONTINUATION: frames and bytes of one header block.
 */
#ifndef NEXUS_HTTP_H2_GUARD_H
#define NEXUS_HTTP_H2_GUARD_H

#include "base/time.h"

typedef struct nexus__h2_guard {
    int64_t window_ns;     /* when it began */
    uint32_t resets, idle; /* in it */
    uint32_t block_frames, block_bytes; /* of the header block being received */
} nexus__h2_guard;

typedef struct nexus__h2_guard_limits {
    uint32_t resets, idle, block_bytes;
} nexus__h2_guard_limits;

/* A frame has begun to come: false = that is enough. */
bool nexus__h2_guard_frame(nexus__h2_guard *g, const nexus__h2_guard_limits *limits, int64_t now, uint8_t type,
                           uint8_t flags, size_t length);
/* A stream is reset, by the peer or because of it. */
bool nexus__h2_guard_reset(nexus__h2_guard *g, const nexus__h2_guard_limits *limits, int64_t now);
/* A frame of ours brings the peer what it asked for. */
static inline void nexus__h2_guard_useful(nexus__h2_guard *g)
{
    if (g->idle)
        g->idle--;
}

#endif
