/* Where one WebSocket frame ends and the next begins (RFC 6455 section 5.2), in bytes that pass by in pieces. Pure. */
#ifndef NEXUS_GATEWAY_FRAMES_H
#define NEXUS_GATEWAY_FRAMES_H

#include "base/str.h"

typedef struct nexus__frames {
    uint64_t left;   /* of the payload, mask included */
    uint64_t length; /* of the payload, while its bytes are being read */
    uint8_t wants;   /* bytes of an extended length */
    uint8_t have;    /* bytes of the head so far; 0 = between two frames, when left is 0 too */
    bool masked;
} nexus__frames;

void nexus__frames_pass(nexus__frames *f, const char *p, size_t n);

/* Whether a control frame may be put in here without tearing another apart. */
static inline bool nexus__frames_between(const nexus__frames *f)
{
    return f->left == 0 && f->have == 0;
}

#endif
