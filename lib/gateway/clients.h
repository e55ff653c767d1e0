/* Whom the hosts of a routes file take for their clients: authorities by host, made when the file is loaded. */
#ifndef NEXUS_GATEWAY_CLIENTS_H
#define NEXUS_GATEWAY_CLIENTS_H

#include "gateway/config.h"
#include "http/tls_clients.h"

/* What the host (lower case, without port) says of its clients: its own entry, else the longest "*.x", else "*". Its index;
 * count when there is none. Pure. */
uint32_t nexus__gw_clients_find(const nexus__gw_config *config, nexus_slice host);

/* One for each entry, NULL where it names no authorities. Reads files. */
nexus_status nexus__gw_clients_open(nexus__trust ***out, const nexus__gw_config *config,
                                    const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__gw_clients_close(nexus__trust **trusts, const nexus__gw_config *config, const nexus_alloc *alloc);

/* For nexus__tls_ask_by; user_data is the gateway. */
nexus__tls_ask_fn nexus__gw_clients_ask;

#endif
