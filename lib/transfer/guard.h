/* Which addresses a user-given URL may lead to. Pure. */
#ifndef NEXUS_TRANSFER_GUARD_H
#define NEXUS_TRANSFER_GUARD_H

#include <sys/socket.h>

#include "base/str.h"

/* An address range; IPv4 is kept as ::ffff:a.b.c.d. */
typedef struct nexus__cidr {
    uint8_t bytes[16];
    uint8_t bits;
} nexus__cidr;

/* "10.0.0.0/8", "fd00::/8", "127.0.0.1"; false when it is none (host bits may be set, they are ignored). */
bool nexus__cidr_parse(nexus_slice text, nexus__cidr *out);
bool nexus__cidr_has(const nexus__cidr *cidr, const uint8_t address[static 16]);

/* The 16-byte form of a socket address (IPv4 mapped); false for other families. */
bool nexus__address_bytes(const struct sockaddr *address, uint8_t out[static 16]);

typedef struct nexus__guard {
    nexus__cidr *allow;
    size_t count;
} nexus__guard;

/* List parted by commas or spaces; text may be NULL. */
nexus_status nexus__guard_init(nexus__guard *guard, const char *allow, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__guard_free(nexus__guard *guard, const nexus_alloc *alloc);

/* Public, or on the allow list. An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is judged as itself. */
bool nexus__guard_allows(const nexus__guard *guard, const uint8_t address[static 16]);
bool nexus__guard_allows_text(const nexus__guard *guard, const char *address); /* numeric form only */

#endif
