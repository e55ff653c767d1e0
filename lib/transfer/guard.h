/* Which addresses a user-given URL may lead to. Pure. */
#ifndef NEXUS_TRANSFER_GUARD_H
#define NEXUS_TRANSFER_GUARD_H

#include <sys/socket.h>

#include "base/ip.h"

/* The address of a socket address; false for other families. */
bool nexus__address_ip(const struct sockaddr *address, nexus__ip *out);

typedef struct nexus__guard {
    nexus__ip_block *allow;
    size_t count;
} nexus__guard;

/* List parted by commas or spaces; text may be NULL. */
nexus_status nexus__guard_init(nexus__guard *guard, const char *allow, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__guard_free(nexus__guard *guard, const nexus_alloc *alloc);

/* Public, or on the allow list. An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is judged as itself. */
bool nexus__guard_allows(const nexus__guard *guard, const nexus__ip *ip);
bool nexus__guard_allows_text(const nexus__guard *guard, const char *address); /* numeric form only */

#endif
