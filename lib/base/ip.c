#include "base/ip.h"

#include <arpa/inet.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool nexus__ip_parse(nexus_slice text, nexus__ip *out)
{
    char c[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof c || memchr(text.p, '\0', text.n))
        return false;
    memcpy(c, text.p, text.n);
    c[text.n] = '\0';
    if (inet_pton(AF_INET6, c, out->bytes) == 1)
        return true;
    memcpy(out->bytes, mapped, sizeof mapped);
    return inet_pton(AF_INET, c, out->bytes + 12) == 1;
}

/* Of each request: no printf, as inet_ntop has it. */
static size_t format_v4(const uint8_t bytes[static 4], char *out)
{
    char *at = out;
    for (int i = 0; i < 4; i++) {
        uint8_t b = bytes[i];
        if (b >= 100)
            *at++ = (char)('0' + b / 100);
        if (b >= 10)
            *at++ = (char)('0' + b / 10 % 10);
        *at++ = (char)('0' + b % 10);
        *at++ = i < 3 ? '.' : '\0';
    }
    return (size_t)(at - out) - 1;
}

size_t nexus__ip_format(const nexus__ip *ip, char out[static 48])
{
    if (memcmp(ip->bytes, mapped, sizeof mapped) == 0)
        return format_v4(ip->bytes + 12, out);
    return inet_ntop(AF_INET6, ip->bytes, out, 48) ? strlen(out) : 0;
}

bool nexus__ip_block_parse(nexus_slice text, nexus__ip_block *out)
{
    nexus_slice rest = nexus__slice_trim(text), address = nexus__slice_cut(&rest, '/');
    bool slash = address.n < nexus__slice_trim(text).n, v4 = memchr(address.p ? address.p : "", ':', address.n) == NULL;
    uint64_t bits = v4 ? 32 : 128;
    if (!nexus__ip_parse(address, &out->ip) || (slash && (!nexus__parse_u64(rest, &bits) || bits > (v4 ? 32 : 128))))
        return false;
    out->bits = (uint8_t)(bits + (v4 ? 96 : 0));
    return true;
}

bool nexus__ip_block_has(const nexus__ip_block *cidr, const nexus__ip *ip)
{
    unsigned whole = cidr->bits / 8, rest = cidr->bits % 8;
    if (memcmp(cidr->ip.bytes, ip->bytes, whole) != 0)
        return false;
    return rest == 0 || ((cidr->ip.bytes[whole] ^ ip->bytes[whole]) >> (8 - rest)) == 0;
}
