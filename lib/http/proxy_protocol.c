#include "http/proxy_protocol.h"

enum { HEAD = 16, LOCAL = 0x20, PROXY = 0x21, TCP4 = 0x11, TCP6 = 0x21, UDP4 = 0x12, UDP6 = 0x22 };

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";

/* Of source and destination, with their ports. */
static size_t address_bytes(uint8_t family)
{
    switch (family) {
    case TCP4:
    case UDP4:
        return 12;
    case TCP6:
    case UDP6:
        return 36;
    default:
        return 0;
    }
}

static void source(uint8_t family, const char *p, nexus__ip *client)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (family == TCP6 || family == UDP6) {
        memcpy(client->bytes, p, 16);
        return;
    }
    memcpy(client->bytes, mapped, 12);
    memcpy(client->bytes + 12, p, 4);
}

int32_t nexus__proxy_v2_parse(const char *p, size_t n, nexus__ip *client)
{
    size_t seen = n < sizeof signature ? n : sizeof signature;
    if (memcmp(p, signature, seen) != 0)
        return -1;
    if (n < HEAD)
        return 0;
    uint8_t command = (uint8_t)p[12], family = (uint8_t)p[13];
    size_t length = (size_t)(uint8_t)p[14] << 8 | (uint8_t)p[15];
    if ((command != LOCAL && command != PROXY) || HEAD + length > NEXUS__PROXY_V2_MAX)
        return -1;
    size_t addresses = command == PROXY ? address_bytes(family) : 0;
    if (length < addresses)
        return -1;
    if (n < HEAD + length)
        return 0;
    if (addresses)
        source(family, p + HEAD, client);
    return (int32_t)(HEAD + length);
}
