/*
 * Canonical path. Everything after this (match, authorization, limits, log, upstream) sees one form, so that
 * no two parts can disagree about what a path names: the root of most proxy bypasses.
 */
#include <nexus/router.h>

#include "base/codec.h"
#include "base/status.h"
#include "base/utf8.h"

enum { PLAIN = 1, UNRESERVED = 2 };

/* RFC 3986 pchar without '%' and ';' (a parameter to some servers, a plain byte to others); of these ALPHA
 * DIGIT - . _ ~ are unreserved. '.' and '/' are not PLAIN: they may need work. */
static const uint8_t classes[256] = {
    ['!'] = PLAIN, ['$'] = PLAIN,      ['&'] = PLAIN, ['\''] = PLAIN, ['('] = PLAIN, [')'] = PLAIN, ['*'] = PLAIN,
    ['+'] = PLAIN, [','] = PLAIN,      ['='] = PLAIN, [':'] = PLAIN,  ['@'] = PLAIN, ['-'] = 3,     ['_'] = 3,
    ['~'] = 3,     ['.'] = UNRESERVED, ['0'] = 3,     ['1'] = 3,      ['2'] = 3,     ['3'] = 3,     ['4'] = 3,
    ['5'] = 3,     ['6'] = 3,          ['7'] = 3,     ['8'] = 3,      ['9'] = 3,     ['A'] = 3,     ['B'] = 3,
    ['C'] = 3,     ['D'] = 3,          ['E'] = 3,     ['F'] = 3,      ['G'] = 3,     ['H'] = 3,     ['I'] = 3,
    ['J'] = 3,     ['K'] = 3,          ['L'] = 3,     ['M'] = 3,      ['N'] = 3,     ['O'] = 3,     ['P'] = 3,
    ['Q'] = 3,     ['R'] = 3,          ['S'] = 3,     ['T'] = 3,      ['U'] = 3,     ['V'] = 3,     ['W'] = 3,
    ['X'] = 3,     ['Y'] = 3,          ['Z'] = 3,     ['a'] = 3,      ['b'] = 3,     ['c'] = 3,     ['d'] = 3,
    ['e'] = 3,     ['f'] = 3,          ['g'] = 3,     ['h'] = 3,      ['i'] = 3,     ['j'] = 3,     ['k'] = 3,
    ['l'] = 3,     ['m'] = 3,          ['n'] = 3,     ['o'] = 3,      ['p'] = 3,     ['q'] = 3,     ['r'] = 3,
    ['s'] = 3,     ['t'] = 3,          ['u'] = 3,     ['v'] = 3,      ['w'] = 3,     ['x'] = 3,     ['y'] = 3,
    ['z'] = 3,
};

/* Length of the prefix that is canonical as it stands; a '.' or '/' right after a '/' ends it, and so does
 * '%'. */
static size_t canonical_prefix(nexus_slice raw)
{
    size_t i = 0;
    char before = 0;
    for (; i < raw.n; before = raw.p[i++]) {
        char c = raw.p[i];
        if (classes[(uint8_t)c] & PLAIN)
            continue;
        if ((c != '/' && c != '.') || before == '/')
            break;
    }
    return i;
}

static bool ambiguous(unsigned byte)
{
    return byte == '/' || byte == '\\' || byte == 0 || byte == '%' || byte == ';' || byte == '?' || byte == '#';
}

/* One escape at raw.p[i]; appends its canonical form at out and reports the byte it stands for. */
static nexus_status take_escape(nexus_slice raw, size_t i, uint32_t flags, char *out, size_t *len, unsigned *byte)
{
    int high = i + 2 < raw.n ? nexus__hex_digit(raw.p[i + 1]) : -1;
    int low = high >= 0 ? nexus__hex_digit(raw.p[i + 2]) : -1;
    if (low < 0)
        return nexus__fail(NEXUS_EINVAL, "path: broken escape at byte %zu; write %%XX with two hex digits", i);
    *byte = (unsigned)high << 4 | (unsigned)low;
    if (ambiguous(*byte) && !(flags & NEXUS_PATH_AMBIGUOUS_PASS))
        return nexus__fail(NEXUS_EPERM, "path: ambiguous escape %%%02X at byte %zu", *byte, i);
    if (*byte < 0x80 && classes[*byte] & UNRESERVED) {
        out[(*len)++] = (char)*byte;
        return NEXUS_OK;
    }
    static const char digits[] = "0123456789ABCDEF";
    out[(*len)++] = '%';
    out[(*len)++] = digits[high];
    out[(*len)++] = digits[low];
    return NEXUS_OK;
}

/* Escapes into canonical form, bytes checked; dots and slashes still as they were. Writes never overtake
 * reads. */
static nexus_status decode(nexus_slice raw, uint32_t flags, char *out, size_t *len)
{
    char run[4]; /* the escaped bytes of one code point, at most */
    size_t n = 0;
    *len = 0;
    for (size_t i = 0; i < raw.n;) {
        unsigned byte = (uint8_t)raw.p[i];
        bool escape = byte == '%';
        if (escape) {
            nexus_status status = take_escape(raw, i, flags, out, len, &byte);
            if (status)
                return status;
            i += 3;
        } else if (byte == ';' && !(flags & NEXUS_PATH_AMBIGUOUS_PASS)) {
            return nexus__fail(NEXUS_EPERM, "path: ambiguous \";\" at byte %zu", i);
        } else if (classes[byte] || byte == '/' || byte == ';') {
            out[(*len)++] = (char)byte;
            i++;
        } else {
            return nexus__fail(NEXUS_EINVAL, "path: byte 0x%02X at %zu must be escaped", byte, i);
        }
        if (byte >= 0x80 && n < sizeof run)
            run[n++] = (char)byte;
        else if (n > 0)
            return nexus__fail(NEXUS_EINVAL, "path: escapes before byte %zu are not UTF-8", i);
        if (n > 0 && nexus__utf8_valid(nexus__slice(run, n)))
            n = 0;
    }
    return n ? nexus__fail(NEXUS_EINVAL, "path: escapes at the end are not UTF-8") : NEXUS_OK;
}

/* RFC 3986 5.2.4 over p[0..n), in place, merging slashes unless told to keep them. */
static size_t remove_dots(char *p, size_t n, bool keep_slashes)
{
    size_t out = 0;
    for (size_t i = 0; i < n;) { /* p[i] is '/' */
        size_t end = i + 1;
        while (end < n && p[end] != '/')
            end++;
        size_t segment = end - i - 1;
        bool last = end == n;
        bool dot = segment == 1 && p[i + 1] == '.';
        bool up = segment == 2 && p[i + 1] == '.' && p[i + 2] == '.';
        if (up)
            while (out > 0 && p[--out] != '/')
                ;
        if (dot || up) {
            if (last)
                p[out++] = '/';
        } else if (segment > 0 || last || keep_slashes) {
            memmove(p + out, p + i, end - i);
            out += end - i;
        }
        i = end;
    }
    return out;
}

nexus_status nexus_path_canonical(nexus_slice raw, uint32_t flags, char *buf, nexus_slice *out)
{
    if (raw.n == 0 || raw.p[0] != '/')
        return nexus__fail(NEXUS_EINVAL, "path: must start with \"/\"");
    if (canonical_prefix(raw) == raw.n) {
        *out = raw;
        return NEXUS_OK;
    }
    size_t len;
    nexus_status status = decode(raw, flags, buf, &len);
    if (status)
        return status;
    *out = nexus__slice(buf, remove_dots(buf, len, flags & NEXUS_PATH_KEEP_SLASHES));
    return NEXUS_OK;
}

size_t nexus_path_decode(nexus_slice segment, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < segment.n; i++) {
        int high = segment.p[i] == '%' && i + 2 < segment.n ? nexus__hex_digit(segment.p[i + 1]) : -1;
        int low = high >= 0 ? nexus__hex_digit(segment.p[i + 2]) : -1;
        out[len++] = low >= 0 ? (char)(high << 4 | low) : segment.p[i];
        i += low >= 0 ? 2 : 0;
    }
    return len;
}
