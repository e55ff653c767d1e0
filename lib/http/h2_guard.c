#include "http/h2_guard.h"

#include <nghttp2/nghttp2.h>

enum { WINDOW_S = 30, BLOCK_FRAMES_MAX = 8 };

static void turn(nexus__h2_guard *g, int64_t now)
{
    if (now - g->window_ns < WINDOW_S * NEXUS__NS_PER_S)
        return;
    g->window_ns = now;
    g->resets = g->idle = 0;
}

static bool block(nexus__h2_guard *g, const nexus__h2_guard_limits *limits, uint8_t type, size_t length)
{
    g->block_frames += type == NGHTTP2_CONTINUATION;
    g->block_bytes += (uint32_t)length;
    return g->block_frames <= BLOCK_FRAMES_MAX && g->block_bytes <= limits->block_bytes;
}

static bool useful(uint8_t type, uint8_t flags, size_t length)
{
    switch (type) {
    case NGHTTP2_DATA:
        return length > 0 || flags & NGHTTP2_FLAG_END_STREAM;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION: /* counted by block */
    case NGHTTP2_RST_STREAM:   /* as a reset */
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_GOAWAY:
        return true;
    default:
        return false;
    }
}

bool nexus__h2_guard_frame(nexus__h2_guard *g, const nexus__h2_guard_limits *limits, int64_t now, uint8_t type,
                           uint8_t flags, size_t length)
{
    turn(g, now);
    if (type == NGHTTP2_HEADERS)
        g->block_frames = g->block_bytes = 0;
    if ((type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION) && !block(g, limits, type, length))
        return false;
    if (!useful(type, flags, length))
        return ++g->idle <= limits->idle;
    if (type == NGHTTP2_HEADERS || type == NGHTTP2_DATA)
        nexus__h2_guard_useful(g);
    return true;
}

bool nexus__h2_guard_reset(nexus__h2_guard *g, const nexus__h2_guard_limits *limits, int64_t now)
{
    turn(g, now);
    return ++g->resets <= limits->resets;
}
