/* Where a call comes from: what is kept of it, and by which names its failures are counted. */
#include "auth/client.h"

#include "base/ip.h"

#define ADDRESS_MAX 45 /* of IPv6 in text */
#define AGENT_MAX 200

void nexus_auth_client_init(nexus_auth_client *client)
{
    *client = (nexus_auth_client)NEXUS_AUTH_CLIENT_INIT;
}

nexus_slice nexus__client_address(const nexus_auth_client *client)
{
    return client && client->address.n && client->address.n <= ADDRESS_MAX ? client->address : NEXUS_S("");
}

/* Printable ASCII only: it is shown to people, and agents that send more have something else in mind. */
nexus_slice nexus__client_agent(const nexus_auth_client *client)
{
    nexus_slice agent = client && client->agent.n ? client->agent : NEXUS_S("");
    size_t n = 0;
    while (n < agent.n && n < AGENT_MAX && agent.p[n] >= 0x20 && agent.p[n] < 0x7f)
        n++;
    return nexus__slice(agent.p, n);
}

size_t nexus__client_names(nexus_slice address, nexus__client_name out[static 2])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, loopback[16] = {[15] = 1};
    nexus__ip ip;
    if (!nexus__ip_parse(address, &ip))
        return 0;
    bool v4 = memcmp(ip.bytes, mapped, sizeof mapped) == 0;
    if ((v4 && ip.bytes[12] == 127) || memcmp(ip.bytes, loopback, sizeof loopback) == 0)
        return 0;
    memcpy(out[0].bytes, ip.bytes, sizeof ip.bytes);
    out[0].n = sizeof ip.bytes;
    memcpy(out[1].bytes, ip.bytes, 8);
    out[1].n = 8;
    return v4 ? 1 : 2;
}
