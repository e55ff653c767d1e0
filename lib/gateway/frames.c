#include "gateway/frames.h"

enum { MASK_BYTES = 4 };

static void head_done(nexus__frames *f)
{
    bool valid = f->length <= INT64_MAX; /* else the peer will end this, and we put nothing in any more */
    f->left = valid ? f->length + (f->masked ? MASK_BYTES : 0) : UINT64_MAX;
    f->have = 0;
}

static void head_byte(nexus__frames *f, uint8_t byte)
{
    if (f->have == 0) { /* opcode: not our business */
        *f = (nexus__frames){.have = 1};
        return;
    }
    if (f->have == 1) {
        uint8_t length = byte & 0x7f;
        f->masked = byte & 0x80;
        f->wants = length == 126 ? 2 : length == 127 ? 8 : 0;
        f->length = f->wants ? 0 : length;
    } else {
        f->length = f->length << 8 | byte;
        f->wants--;
    }
    f->have++;
    if (f->wants == 0)
        head_done(f);
}

void nexus__frames_pass(nexus__frames *f, const char *p, size_t n)
{
    while (n > 0) {
        size_t step = 1;
        if (f->left > 0) {
            step = f->left < n ? (size_t)f->left : n;
            f->left -= step;
        } else {
            head_byte(f, (uint8_t)*p);
        }
        p += step;
        n -= step;
    }
}
