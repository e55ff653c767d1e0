#ifndef NEXUS_HTTP_CLIENT_CERT_H
#define NEXUS_HTTP_CLIENT_CERT_H

#include <nexus/http.h>

#include "base/arena.h"
#include "crypto/cert.h"

/* What Client-Cert and Client-Cert-Chain (RFC 9440) say. */
typedef struct nexus__cert_fields {
    nexus_slice der, chain[NEXUS__CERT_CHAIN_MAX]; /* of the arena */
    size_t count;
} nexus__cert_fields;

/* lines: of Client-Cert-Chain, n of them. False: they are not as the RFC has them. */
bool nexus__client_cert_read(nexus__cert_fields *out, nexus_slice cert, const nexus_slice *lines, size_t n,
                             nexus__arena *arena);

/* As nexus_request_client_cert, with all that it says; borrowed from the request. NULL = there is none. */
nexus__cert *nexus__request_cert(const nexus_request *request, bool *verified);

#endif
