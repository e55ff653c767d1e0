/* Blocks of addresses: "10.0.0.0/8", "fd00::/8", "127.0.0.1". */
#ifndef NEXUS_BASE_IP_H
#define NEXUS_BASE_IP_H

#include "base/str.h"

typedef struct nexus__ip {
    uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d, so that both forms of it are the same */
} nexus__ip;

typedef struct nexus__ip_block {
    nexus__ip ip;
    uint8_t bits; /* of the 128 */
} nexus__ip_block;

bool nexus__ip_parse(nexus_slice text, nexus__ip *out); /* numeric, without port, brackets or zone */
/* "10.1.2.3" or "fd00::1"; returns the length. */
size_t nexus__ip_format(const nexus__ip *ip, char out[static 48]);
bool nexus__ip_block_parse(nexus_slice text, nexus__ip_block *out);
bool nexus__ip_block_has(const nexus__ip_block *cidr, const nexus__ip *ip);

#endif
