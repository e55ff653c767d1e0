#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "gateway/forward.h"

static const nexus__http_limits limits = {8192, 32768, 100};
static const nexus__gw_headers_conf unchanged;

static const char *forward(const char *head_text, const nexus__gw_headers_conf *change, nexus__forward *f)
{
    static char out[8192];
    nexus__http_head head;
    nexus__buf buf;
    nexus__http_head_init(&head);
    cr_assert_gt(nexus__http_parse_request(&head, &limits, head_text, strlen(head_text)), 0);
    nexus__buf_init(&buf, NULL, 0);
    f->method = NEXUS_S("GET");
    f->path = NEXUS_S("/p");
    f->host = NEXUS_S("h");
    f->client_ip = NEXUS_S("1.2.3.4");
    f->request_id = NEXUS_S("rid");
    f->traceparent = NEXUS_S("tp");
    f->change = change;
    f->framing = head.framing;
    f->length = head.length;
    nexus__forward_request(&buf, &head, head_text, f);
    snprintf(out, sizeof out, "%.*s", (int)buf.len, buf.p);
    nexus__buf_free(&buf);
    return out;
}

#define TAIL                                                                                                           \
    "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\nX-Request-Id: rid\r\ntraceparent: " \
    "tp\r\n"

Test(request, keeps_the_rest_and_strips_what_is_not_the_clients)
{
    nexus__forward f = {0};
    cr_assert_str_eq(
        forward(
            "GET /p HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nx-nexus-user: admin\r\nX_Nexus_Roles: admin\r\n"
            "X-Forwarded-For: 9.9.9.9\r\nForwarded: for=x\r\nX-Real-IP: 8\r\nProxy: http://evil\r\n"
            "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /admin\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n"
            "Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nX-Consumer-Id: 7\r\n"
            "X-Request-Id: mine\r\nTraceParent: x\r\nCookie: a=b\r\nX-Other: y\r\n\r\n",
            &unchanged, &f),
        "GET /p HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nCookie: a=b\r\nX-Other: y\r\n" TAIL "\r\n");
}

Test(request, connection_cannot_strip_what_the_gateway_sets)
{
    nexus__forward f = {.user = NEXUS_S("u1"), .roles = NEXUS_S("customer")};
    cr_assert(strstr(forward("GET /p HTTP/1.1\r\nHost: h\r\nConnection: x-nexus-user\r\n\r\n", &unchanged, &f),
                     "X-Nexus-User: u1\r\nX-Nexus-Roles: customer\r\n"));
}

Test(request, a_filters_field_takes_the_place_of_the_clients)
{
    nexus__gw_field kept_from = {.name = NEXUS_S("x-plan")}, tier = {&kept_from, NEXUS_S("X-Tier"), NEXUS_S("gold")};
    nexus__forward f = {.fields = &tier};
    cr_assert_str_eq(forward("GET /p HTTP/1.1\r\nHost: h\r\nx_tier: evil\r\nX-Plan: evil\r\nX-Tiers: y\r\n"
                             "Connection: x-tier\r\n\r\n",
                             &unchanged, &f),
                     "GET /p HTTP/1.1\r\nHost: h\r\nX-Tiers: y\r\n" TAIL "X-Tier: gold\r\n\r\n");
}

Test(request, frames_the_body_anew_and_changes_headers)
{
    nexus_pair set[] = {{NEXUS_S("X-Tenant"), NEXUS_S("acme")}};
    nexus_slice gone[] = {NEXUS_S("x-secret")};
    nexus__gw_headers_conf change = {.set = {set, 1}, .remove = {gone, 1}};
    nexus__forward f = {.has_query = true, .query = NEXUS_S("a=1")};
    cr_assert_str_eq(
        forward("POST /p HTTP/1.1\r\nHost: h\r\nX-Secret: s\r\nx-tenant: evil\r\nContent-Length: 5\r\n\r\n", &change, &f),
        "GET /p?a=1 HTTP/1.1\r\nHost: h\r\n" TAIL "X-Tenant: acme\r\nContent-Length: 5\r\n\r\n");
    cr_assert(strstr(forward("POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", &unchanged, &f),
                     "\r\nTransfer-Encoding: chunked\r\n\r\n"));
}

Test(reply, passes_runs_of_lines)
{
    const char *text =
        "HTTP/1.1 200 OK\r\nServer: evil/1\r\nDate: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
        "Connection: close, x-hop\r\nX-Hop: 1\r\nETag:\"a\"  \r\n\r\n";
    struct iovec iov[NEXUS__FORWARD_IOVS];
    nexus__http_head head;
    nexus__buf space;
    bool has_date;
    char out[512] = "";
    nexus__http_head_init(&head);
    cr_assert_gt(nexus__http_parse_response(&head, &limits, false, text, strlen(text)), 0);
    nexus__buf_init(&space, NULL, 0);
    nexus_pair set[] = {{NEXUS_S("X-Via"), NEXUS_S("g")}};
    nexus__gw_headers_conf change = {.set = {set, 1}};
    size_t n = nexus__forward_reply(iov, &space, &head, text, &change, NULL, &has_date);
    for (size_t i = 0; i < n; i++)
        strncat(out, iov[i].iov_base, iov[i].iov_len);
    cr_assert_str_eq(out, "Date: x\r\nContent-Type: text/plain\r\nETag:\"a\"  \r\nX-Via: g\r\n");
    cr_assert(has_date);
    nexus__buf_free(&space);
}

Test(request, says_that_it_was_here)
{
    nexus__forward f = {.loop_id = NEXUS_S("nexus-1")};
    const char *sent = forward("GET /p HTTP/1.1\r\nHost: h\r\nCDN-Loop: other.example; v=1\r\n\r\n", &unchanged, &f);
    cr_expect(strstr(sent, "CDN-Loop: other.example; v=1\r\n"));
    cr_expect(strstr(sent, "\r\nCDN-Loop: nexus-1\r\n"));
}

Test(request, a_loop_is_known_by_our_own_name_alone)
{
    static const struct {
        const char *field;
        bool loops;
    } rows[] = {{"a, NEXUS-1;x=\"y\" , b", true},
                {"nexus-1", true},
                {"nexus-12", false},
                {"a;nexus-1", false},
                {"", false},
                {"a,,", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nexus__http_head head;
        char text[200];
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\nCDN-Loop: first\r\nCDN-Loop: %s\r\n\r\n",
                 rows[i].field);
        nexus__http_head_init(&head);
        cr_assert_gt(nexus__http_parse_request(&head, &limits, text, strlen(text)), 0);
        cr_expect_eq(nexus__forward_loops(&head, text, NEXUS_S("nexus-1")), rows[i].loops, "%s", rows[i].field);
    }
}
