#include "base/codec.h"

static const char standard_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(nexus__buf *out, const uint8_t *p, size_t n, const char *alphabet, bool pad)
{
    char *at = nexus__buf_reserve(out, (n + 2) / 3 * 4);
    if (!at)
        return;
    char *start = at;
    for (; n >= 3; n -= 3, p += 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *at++ = alphabet[v >> 18];
        *at++ = alphabet[v >> 12 & 63];
        *at++ = alphabet[v >> 6 & 63];
        *at++ = alphabet[v & 63];
    }
    if (n) {
        uint32_t v = (uint32_t)p[0] << 16 | (n == 2 ? (uint32_t)p[1] << 8 : 0);
        *at++ = alphabet[v >> 18];
        *at++ = alphabet[v >> 12 & 63];
        if (n == 2)
            *at++ = alphabet[v >> 6 & 63];
        if (pad)
            for (size_t i = n; i < 3; i++)
                *at++ = '=';
    }
    out->len += (size_t)(at - start);
}

void nexus__base64_append(nexus__buf *out, const void *data, size_t n)
{
    encode(out, data, n, standard_alphabet, true);
}

void nexus__base64url_append(nexus__buf *out, const void *data, size_t n)
{
    encode(out, data, n, url_alphabet, false);
}

static int sextet(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    if (c == (url ? '_' : '/'))
        return 63;
    return -1;
}

static bool decode(nexus_slice text, bool url, uint8_t *out, size_t *n)
{
    size_t written = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < text.n; i++) {
        int value = sextet(text.p[i], url);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[written++] = (uint8_t)(bits >> have);
        }
    }
    if (have == 6 || (bits & ((1u << have) - 1)))
        return false; /* a lone sextet, or trailing bits that another text could share */
    *n = written;
    return true;
}

bool nexus__base64_decode(nexus_slice text, void *out, size_t *n)
{
    if (text.n % 4)
        return false;
    if (text.n && text.p[text.n - 1] == '=')
        text.n -= text.p[text.n - 2] == '=' ? 2 : 1;
    return decode(text, false, out, n);
}

bool nexus__base64url_decode(nexus_slice text, void *out, size_t *n)
{
    return decode(text, true, out, n);
}

/* Two digits of each byte: ids are written with every request. */
static const char pairs[512 + 1] = "000102030405060708090a0b0c0d0e0f"
                                   "101112131415161718191a1b1c1d1e1f"
                                   "202122232425262728292a2b2c2d2e2f"
                                   "303132333435363738393a3b3c3d3e3f"
                                   "404142434445464748494a4b4c4d4e4f"
                                   "505152535455565758595a5b5c5d5e5f"
                                   "606162636465666768696a6b6c6d6e6f"
                                   "707172737475767778797a7b7c7d7e7f"
                                   "808182838485868788898a8b8c8d8e8f"
                                   "909192939495969798999a9b9c9d9e9f"
                                   "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
                                   "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
                                   "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
                                   "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
                                   "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
                                   "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

void nexus__hex_write(char *out, const void *data, size_t n)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++)
        memcpy(out + 2 * i, pairs + 2 * p[i], 2);
}

void nexus__hex_append(nexus__buf *out, const void *data, size_t n)
{
    char *at = nexus__buf_reserve(out, n * 2);
    if (!at)
        return;
    nexus__hex_write(at, data, n);
    out->len += n * 2;
}

int nexus__hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool nexus__hex_decode(nexus_slice text, void *out)
{
    if (text.n % 2)
        return false;
    for (size_t i = 0; i < text.n; i += 2) {
        int high = nexus__hex_digit(text.p[i]);
        int low = nexus__hex_digit(text.p[i + 1]);
        if (high < 0 || low < 0)
            return false;
        ((uint8_t *)out)[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool nexus__percent_decode(nexus_slice text, bool form, char *out, size_t *n)
{
    size_t written = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            int high = i + 2 < text.n ? nexus__hex_digit(text.p[i + 1]) : -1;
            int low = i + 2 < text.n ? nexus__hex_digit(text.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (form && c == '+') {
            c = ' ';
        }
        out[written++] = c;
    }
    *n = written;
    return true;
}

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

void nexus__percent_append(nexus__buf *out, nexus_slice text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (unreserved(c)) {
            nexus__buf_char(out, c);
            continue;
        }
        char escape[3] = {'%', digits[(uint8_t)c >> 4], digits[(uint8_t)c & 15]};
        nexus__buf_append(out, escape, 3);
    }
}

bool nexus__query_find(nexus_slice query, nexus_slice name, nexus_slice *value)
{
    while (query.n) {
        nexus_slice pair = nexus__slice_cut(&query, '&');
        nexus_slice key = nexus__slice_cut(&pair, '=');
        if (nexus__slice_eq(key, name)) {
            *value = pair;
            return true;
        }
    }
    return false;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const uint8_t *p, size_t n)
{
    uint64_t c = crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = _mm_crc32_u64(c, word);
    }
    if (n & 4) {
        uint32_t word;
        memcpy(&word, p, 4);
        c = _mm_crc32_u32((uint32_t)c, word);
        p += 4;
    }
    if (n & 2) {
        uint16_t word;
        memcpy(&word, p, 2);
        c = _mm_crc32_u16((uint32_t)c, word);
        p += 2;
    }
    return n & 1 ? _mm_crc32_u8((uint32_t)c, *p) : (uint32_t)c;
}

enum { LANE = 64 };

/* crc as it is after some zero bytes: a carry-less product with x^(8 * bytes - 33), reduced by the instruction itself. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_shift(uint64_t crc, uint32_t power)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)power), 0);
    return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* The instruction takes three cycles and starts each cycle: three runs side by side, then put together (Gopal et al.,
 * Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction, 2011). */
__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_lanes(uint32_t crc, const uint8_t *p, size_t n)
{
    for (; n >= (size_t)3 * LANE; n -= (size_t)3 * LANE, p += (size_t)3 * LANE) {
        uint64_t a = crc, b = 0, c = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            uint64_t word[3];
            memcpy(&word[0], p + i, 8);
            memcpy(&word[1], p + LANE + i, 8);
            memcpy(&word[2], p + 2 * LANE + i, 8);
            a = _mm_crc32_u64(a, word[0]);
            b = _mm_crc32_u64(b, word[1]);
            c = _mm_crc32_u64(c, word[2]);
        }
        crc = crc_shift(a, 0x0d3b6092) ^ crc_shift(b, 0x9e4addf8) ^ (uint32_t)c; /* 128 and 64 bytes */
    }
    return crc_hardware(crc, p, n);
}
#endif

/* Half a byte at a time: small, and only for processors without the instruction. */
static uint32_t crc_table(uint32_t crc, const uint8_t *p, size_t n)
{
    static const uint32_t nibble[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    while (n--) {
        crc ^= *p++;
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return crc;
}

uint32_t nexus__crc32c(uint32_t crc, const void *data, size_t n)
{
#if defined(__x86_64__)
    if (n >= (size_t)3 * LANE && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return ~crc_lanes(~crc, data, n);
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_hardware(~crc, data, n);
#endif
    return ~crc_table(~crc, data, n);
}

/* Four bits at a time. */
uint32_t nexus__crc32(uint32_t crc, const void *data, size_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}
