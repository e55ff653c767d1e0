/* Where the administration may be reached: on this machine, through TLS, or behind something that ends TLS. */
#include "service/exposure.h"

#include "base/ip.h"
#include "base/status.h"

static bool is_loopback(const char *address)
{
    nexus__ip ip;
    nexus__ip_block v4, v6;
    return nexus__ip_parse(nexus__slice_c(address), &ip) && nexus__ip_block_parse(NEXUS_S("127.0.0.0/8"), &v4) &&
           nexus__ip_block_parse(NEXUS_S("::1/128"), &v6) &&
           (nexus__ip_block_has(&v4, &ip) || nexus__ip_block_has(&v6, &ip));
}

nexus_status nexus__exposure_check(const nexus__exposure *e)
{
    if (!e->administers || e->development || e->tls || e->tls_in_front || is_loopback(e->address))
        return NEXUS_OK;
    return nexus__fail(NEXUS_EPERM,
                       "%s has the administration and would listen on %s without TLS, where tokens and passwords pass in "
                       "the clear. Set NEXUS_BIND=127.0.0.1, or NEXUS_TLS_CERT and NEXUS_TLS_KEY; where something in front "
                       "ends TLS, NEXUS_TLS_IN_FRONT=true",
                       e->service, e->address);
}
