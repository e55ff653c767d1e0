#include "transfer/guard.h"

#include <netinet/in.h>

#include "base/status.h"

/* Everything the special-purpose registries (RFC 6890 and later) do not call globally reachable, and multicast. */
static const char *const closed[] = {
    "0.0.0.0/8",      "10.0.0.0/8",   "100.64.0.0/10",  "127.0.0.0/8",    "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24",   "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",  "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4",  "240.0.0.0/4",    "64:ff9b:1::/48", "100::/64",       "2001::/23",
    "2001:db8::/32",  "3fff::/20",    "5f00::/16",      "fc00::/7",       "fe80::/10",      "fec0::/10",
    "ff00::/8",       "::/96",
};

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};

static void map_v4(const void *v4, uint8_t out[static 16])
{
    memcpy(out, mapped, 12);
    memcpy(out + 12, v4, 4);
}

bool nexus__address_ip(const struct sockaddr *address, nexus__ip *out)
{
    if (address->sa_family == AF_INET)
        map_v4(&((const struct sockaddr_in *)(const void *)address)->sin_addr, out->bytes);
    else if (address->sa_family == AF_INET6)
        memcpy(out->bytes, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    else
        return false;
    return true;
}

nexus_status nexus__guard_init(nexus__guard *guard, const char *allow, const nexus_alloc *alloc)
{
    *guard = (nexus__guard){0};
    nexus_slice rest = nexus__slice_c(allow);
    if (rest.n == 0)
        return NEXUS_OK;
    guard->allow = nexus__calloc(alloc, rest.n, sizeof *guard->allow); /* more than enough, and made once */
    if (!guard->allow)
        return nexus__nomem();
    while (rest.n > 0) {
        size_t end = strcspn(rest.p, ", \t\n");
        nexus_slice one = nexus__slice(rest.p, end);
        rest = nexus__slice_from(rest, end < rest.n ? end + 1 : end);
        if (one.n == 0)
            continue;
        if (!nexus__ip_block_parse(one, &guard->allow[guard->count++])) {
            nexus__guard_free(guard, alloc);
            return nexus__fail(NEXUS_EINVAL, "allow list: \"%.*s\" is no address range; write 10.0.0.0/8 or fd00::/8",
                               (int)one.n, one.p);
        }
    }
    return NEXUS_OK;
}

void nexus__guard_free(nexus__guard *guard, const nexus_alloc *alloc)
{
    nexus__free(alloc, guard->allow);
    *guard = (nexus__guard){0};
}

static bool is_closed(const nexus__ip *ip)
{
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        nexus__ip_block cidr;
        if (nexus__ip_block_parse(nexus__slice_c(closed[i]), &cidr) && nexus__ip_block_has(&cidr, ip))
            return true;
    }
    return false;
}

bool nexus__guard_allows(const nexus__guard *guard, const nexus__ip *ip)
{
    nexus__ip inner;
    for (size_t i = 0; i < guard->count; i++)
        if (nexus__ip_block_has(&guard->allow[i], ip))
            return true;
    if (memcmp(ip->bytes, nat64, 12) == 0) {
        map_v4(ip->bytes + 12, inner.bytes);
        return nexus__guard_allows(guard, &inner);
    }
    if (ip->bytes[0] == 0x20 && ip->bytes[1] == 0x02) { /* 6to4 */
        map_v4(ip->bytes + 2, inner.bytes);
        return nexus__guard_allows(guard, &inner);
    }
    return !is_closed(ip);
}

bool nexus__guard_allows_text(const nexus__guard *guard, const char *text)
{
    nexus__ip ip;
    return nexus__ip_parse(nexus__slice_c(text), &ip) && nexus__guard_allows(guard, &ip);
}
