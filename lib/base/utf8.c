#include "base/utf8.h"

/* RFC 3629 section 4. */
size_t nexus__utf8_sequence(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t need = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (!need || left < need)
        return 0;
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

size_t nexus__utf8_valid_prefix(nexus_slice text)
{
    const uint8_t *p = (const uint8_t *)text.p;
    size_t at = 0;
    while (at < text.n) {
        while (at + 8 <= text.n) {
            uint64_t word;
            memcpy(&word, p + at, 8);
            if (word & 0x8080808080808080u)
                break;
            at += 8;
        }
        if (at >= text.n)
            break;
        size_t n = nexus__utf8_sequence(p + at, text.n - at);
        if (!n)
            return at;
        at += n;
    }
    return text.n;
}

uint32_t nexus__utf8_next(nexus_slice text, size_t *at)
{
    const uint8_t *p = (const uint8_t *)text.p + *at;
    if (p[0] < 0x80) {
        *at += 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *at += 2;
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    }
    if (p[0] < 0xf0) {
        *at += 3;
        return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    }
    *at += 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 | (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
}

size_t nexus__utf8_encode(uint32_t c, char out[static 4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

size_t nexus__utf8_count(nexus_slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.n; i++)
        count += ((uint8_t)text.p[i] & 0xc0) != 0x80;
    return count;
}
