/* Where a call comes from. */
#ifndef NEXUS_AUTH_CLIENT_H
#define NEXUS_AUTH_CLIENT_H

#include <nexus/auth.h>

#include "base/str.h"

nexus_slice nexus__client_address(const nexus_auth_client *client); /* "" without */
nexus_slice nexus__client_agent(const nexus_auth_client *client);

typedef struct nexus__client_name {
    uint8_t bytes[16];
    size_t n; /* 16: the address; 8: its /64 */
} nexus__client_name;

/*
 * The names under which an address is counted: itself and, of IPv6, its /64, which one household owns whole. None for
 * what is no address and for loopback: a request from there stands for whoever the proxy on this machine speaks for.
 */
size_t nexus__client_names(nexus_slice address, nexus__client_name out[static 2]);

#endif
