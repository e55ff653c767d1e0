/* What tls.c and tls_client.c share: a connection, its BIO, and how OpenSSL's outcomes are told. */
#ifndef NEXUS_HTTP_TLS_PRIVATE_H
#define NEXUS_HTTP_TLS_PRIVATE_H

#include <openssl/ssl.h>

#include "http/tls.h"
#include "http/tls_clients.h"

/* Of a server. */
struct nexus__tls {
    SSL_CTX *ctx;
    BIO_METHOD *method;
    const nexus_alloc *alloc;
    nexus__tls_ask ask;        /* of every connection, unless … */
    nexus__tls_ask_fn *ask_fn; /* … somebody knows better; NULL = nobody */
    void *ask_user_data;
};

struct nexus__tls_conn {
    SSL *ssl;
    const nexus_alloc *alloc;
    const struct nexus__tls_client *client; /* NULL: we are the server */
    nexus__tls_session **session;           /* where a ticket for the next connection is kept; NULL = nowhere */
    nexus_loop *loop;  /* of a server's; what follows too */
    nexus__tls_ask ask; /* what the client was asked; a reference */
    nexus__cert *cert;
    char *server_name; /* when it is strict */
    bool by_server;     /* asked what the server's options say, not somebody else */
    bool cert_verified; /* by what they say */
    bool strict; /* its listener asks for certificates: it is for one server name */
    bool established, broken, untrusted;
    char failure[120]; /* why the handshake failed; "" = the peer went */
};

/* Sends and receives by send(2) and recv(2) with MSG_NOSIGNAL. */
BIO_METHOD *nexus__tls_method_new(void);
/* A connection of ctx on fd, neither accepting nor connecting yet. NULL: out of memory. */
nexus__tls_conn *nexus__tls_conn_make(SSL_CTX *ctx, BIO_METHOD *method, const nexus_alloc *alloc, int fd);
/* NEXUS_EINVAL with OpenSSL's last error in words. */
nexus_status nexus__tls_fail(const char *what, const char *name);
/* After the client's handshake: the server's key is one that was asked for. */
bool nexus__tls_client_accepts(nexus__tls_conn *t);

#endif
