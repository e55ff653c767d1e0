/*
 * A TLS connection on a descriptor that the caller watches, whichever side opened it: the server's ends are made by
 * tls.c (http/internal.h), those to upstreams by tls_client.c. No call blocks.
 */
#ifndef NEXUS_HTTP_TLS_H
#define NEXUS_HTTP_TLS_H

#include <nexus/alloc.h>
#include <nexus/status.h>
#include <sys/types.h>

#include "base/str.h"

typedef struct nexus__tls_conn nexus__tls_conn;
typedef struct nexus__tls_session nexus__tls_session; /* what a resumed handshake needs */

/* 1 = done, 0 = would block, -1 = failed. */
int nexus__tls_handshake(nexus__tls_conn *t);
/* Bytes; 0 = the peer has ended; -1 = would block; -2 = broken. */
ssize_t nexus__tls_read(nexus__tls_conn *t, void *p, size_t n);
ssize_t nexus__tls_write(nexus__tls_conn *t, const void *p, size_t n);
void nexus__tls_conn_close(nexus__tls_conn *t); /* says goodbye if it can */

/* --- to a server -------------------------------------------------------------------------------------------------- */

enum { NEXUS__TLS_HTTP1 = 1, NEXUS__TLS_H2 = 2 }; /* protocols, as bits */

/* What connections to the same group of servers share. Any thread, once opened. */
typedef struct nexus__tls_client nexus__tls_client;

typedef struct nexus__tls_client_opts {
    const char *ca_file;              /* PEM; NULL = the system's authorities */
    const char *cert_file, *key_file; /* our own certificate, for servers that ask; NULL = none */
    const uint8_t (*pins)[32]; /* SHA-256 of public keys (SubjectPublicKeyInfo), of which the chain must have one;
                                         copied */
    size_t pin_count;          /* 0 = any */
    bool insecure;             /* the chain is not verified; pins still are */
} nexus__tls_client_opts;

/* TLS 1.2 and up, the chain verified, the name checked. NEXUS_EINVAL: a file is not what it should be. */
nexus_status nexus__tls_client_open(nexus__tls_client **out, const nexus_alloc *alloc,
                                    const nexus__tls_client_opts *opts) NEXUS_MUST_CHECK;
void nexus__tls_client_close(nexus__tls_client *client);

/*
 * A connection on a connected descriptor. host (NUL-terminated) is asked for by SNI and must be in the certificate; a
 * numeric one is checked as an address. protocols is offered by ALPN. *session is used for a resumed handshake and
 * replaced by what the server gives for the next; it must outlive the connection. NULL: out of memory.
 */
nexus__tls_conn *nexus__tls_client_conn(nexus__tls_client *client, int fd, const char *host, uint32_t protocols,
                                        nexus__tls_session **session);
/* After the handshake: the one protocol that was chosen. */
uint32_t nexus__tls_protocol(const nexus__tls_conn *t);
bool nexus__tls_resumed(const nexus__tls_conn *t);
/* Why the handshake failed, in OpenSSL's words ("certificate has expired"); "" = the connection was closed. */
const char *nexus__tls_failure(const nexus__tls_conn *t);
bool nexus__tls_untrusted(const nexus__tls_conn *t); /* it failed because of the server's certificate */
void nexus__tls_session_free(nexus__tls_session *session);

#endif
