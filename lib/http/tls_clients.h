/*
 * Certificates of clients on a server's TLS connections: who is asked for one, and what came of it.
 *
 * What is asked is decided by the server name (SNI) before anything else of the handshake is looked at. A connection that
 * is asked is never resumed, nor is any resumed into being asked: a certificate is verified on each connection, against
 * what holds for its server name at that time, and there is no renegotiation and no post-handshake authentication.
 */
#ifndef NEXUS_HTTP_TLS_CLIENTS_H
#define NEXUS_HTTP_TLS_CLIENTS_H

#include "crypto/trust.h"
#include "runtime/loop.h"

typedef struct nexus__tls_ask {
    uint32_t mode;        /* NEXUS_CLIENT_CERT_… */
    nexus__trust *trust;  /* NULL: nobody is trusted, which only NEXUS_CLIENT_CERT_ANY can do without */
} nexus__tls_ask;

/*
 * What a connection to that server name (lower case, empty = none was sent) is asked. *ask is what the server's options
 * say, and what it is changed to is borrowed for the call. Returns whether some server name of this listener is asked
 * for certificates. On the connection's loop.
 */
typedef bool nexus__tls_ask_fn(nexus_loop *loop, nexus_slice server_name, nexus__tls_ask *ask, void *user_data);

/* The server name of an extension server_name (RFC 6066, 3), in lower case; false: there is none in it. Pure. */
enum { NEXUS__SERVER_NAME_MAX = 255 };
bool nexus__tls_server_name(const unsigned char *extension, size_t n, char out[static NEXUS__SERVER_NAME_MAX + 1],
                            size_t *len);

/* Whether a request with that Host field (or authority) is meant for a connection to that server name: it names the same
 * host, or no name was sent and it is an address (SNI has none). Pure. */
bool nexus__tls_name_is_host(nexus_slice server_name, nexus_slice authority);

#endif
