/* http/: the PROXY protocol, version 2: the parser, and whom a server believes. */
#include "peer.h"

#include "http/proxy_protocol.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 SIGNATURE "\x21\x11\0\x0c\xcb\0\x71\x09\x0a\0\0\1\x30\x39\0\x50"

Test(proxy_protocol, headers_whole_and_byte_by_byte)
{
    static const struct {
        const char *p;
        size_t n;
        int32_t result;
        const char *client; /* "" = none named */
    } rows[] = {
        {V4, 28, 28, "203.0.113.9"},
        {SIGNATURE "\x21\x11\0\x0f\xcb\0\x71\x09\x0a\0\0\1\x30\x39\0\x50\3\0\0", 31, 31, "203.0.113.9"},
        {SIGNATURE "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x30\x39\0\x50", 52, 52,
         "2001:db8::7"},
        {SIGNATURE "\x20\0\0\0", 16, 16, ""},
        {SIGNATURE "\x21\0\0\0", 16, 16, ""},
        {SIGNATURE "\x21\x11\0\x0b", 16, -1, ""},    /* shorter than its addresses */
        {SIGNATURE "\x11\x11\0\x0c", 16, -1, ""},    /* version 1 */
        {SIGNATURE "\x22\x11\0\x0c", 16, -1, ""},    /* an unknown command */
        {SIGNATURE "\x21\x11\xff\xff", 16, -1, ""},  /* too long */
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 32, -1, ""},
        {"GET / HTTP/1.1\r\n\r\n", 18, -1, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus__ip ip, none;
        char text[48] = "";
        memset(&ip, 0xee, sizeof ip);
        none = ip;
        int32_t result = 0;
        for (size_t n = 1; n <= rows[i].n && result == 0; n++)
            result = nexus__proxy_v2_parse(rows[i].p, n, &ip);
        cr_assert_eq(result, rows[i].result, "row %zu: %d", i, result);
        if (memcmp(&ip, &none, sizeof ip) != 0)
            text[nexus__ip_format(&ip, text)] = '\0';
        cr_assert_str_eq(text, rows[i].client, "row %zu", i);
    }
}

static void says_ip(nexus_request *r, void *ud)
{
    nexus_slice ip;
    (void)ud;
    nexus_request_remote_ip(r, &ip);
    nexus_request_reply(r, 200, "text/plain", ip);
}

static void serve(peer *p, const char *trusted)
{
    nexus_server_opts o = NEXUS_SERVER_OPTS_INIT;
    o.trusted_proxies = trusted;
    o.proxy_protocol = true;
    peer_open(p, &o, 1);
    peer_route(p, "GET", "/ip", says_ip, NULL, NEXUS_ROUTE_ON_LOOP);
    peer_start(p);
}

static const char ask[] = "GET /ip HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";

Test(proxy_protocol, names_the_client_when_its_sender_is_trusted)
{
    peer p;
    answer a;
    serve(&p, "127.0.0.0/8");
    int fd = peer_connect(&p);
    for (size_t i = 0; i < 28; i++)
        peer_send(fd, &V4[i], 1);
    for (int i = 0; i < 2; i++) {
        peer_say(fd, ask);
        peer_answer(fd, &a, false);
        cr_assert_str_eq(a.body, "203.0.113.9", "what the client says of others is not believed");
    }
    close(fd);
    fd = peer_connect(&p);
    peer_say(fd, ask); /* no header */
    cr_assert(peer_ended(fd));
    close(fd);
    peer_close(&p);
}

Test(proxy_protocol, earns_nothing_from_anybody_else)
{
    peer p;
    answer a;
    serve(&p, "10.0.0.0/8");
    int fd = peer_connect(&p);
    peer_send(fd, V4, 28);
    peer_say(fd, ask);
    peer_answer(fd, &a, false);
    cr_assert_eq(a.status, 400);
    close(fd);
    peer_ask(&p, ask, &a);
    cr_assert_str_eq(a.body, "127.0.0.1");
    peer_close(&p);
}
