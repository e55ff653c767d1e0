/*
 * TLS 1.3 handshakes, one after another on new connections, for a while.
 *
 *     tls-load PORT full|resume SECONDS
 *
 * Each connection is closed after its handshake and one small request, in whose answer the session ticket has come; with
 * `resume` the ticket of the connection before is used. Prints {"handshakes","resumed"}.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static SSL_SESSION *session;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int keep(SSL *ssl, SSL_SESSION *fresh)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = fresh;
    return 1;
}

/* -1: failed; else whether the session was resumed. */
static int visit(SSL_CTX *ctx, const struct sockaddr_in *server, bool resume)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    char reply[4096];
    int fd = socket(AF_INET, SOCK_STREAM, 0), result = -1;
    SSL *ssl = SSL_new(ctx);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (ssl && connect(fd, (const struct sockaddr *)server, sizeof *server) == 0 && SSL_set_fd(ssl, fd) == 1) {
        if (resume && session)
            SSL_set_session(ssl, session);
        if (SSL_connect(ssl) == 1 && SSL_write(ssl, request, (int)sizeof request - 1) > 0) {
            while (SSL_read(ssl, reply, sizeof reply) > 0)
                ;
            result = SSL_session_reused(ssl);
        }
    }
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else the session counts as spoilt */
    SSL_free(ssl);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger)); /* no TIME_WAIT */
    close(fd);
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)atoi(argv[1]))};
    bool resume = strcmp(argv[2], "resume") == 0;
    unsigned long handshakes = 0, resumed = 0;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep);
    for (double end = now_s() + atof(argv[3]); now_s() < end; handshakes++) {
        int result = visit(ctx, &server, resume);
        if (result < 0)
            return 1;
        resumed += (unsigned long)result;
    }
    printf("{\"handshakes\":%lu,\"resumed\":%lu}\n", handshakes, resumed);
    SSL_SESSION_free(session);
    SSL_CTX_free(ctx);
    return 0;
}
