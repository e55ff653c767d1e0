#include "gateway/problem.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "http/exchange.h"

enum { PAGE_MAX = 4096 };

/* --- Proxy-Status ------------------------------------------------------------------------------------------------- */

static const char *of_fault(int fault)
{
    static const struct {
        int fault;
        const char *error;
    } rows[] = {{ECONNREFUSED, "connection_refused"},      {ETIMEDOUT, "connection_timeout"},
                {EHOSTUNREACH, "destination_ip_unroutable"}, {ENETUNREACH, "destination_ip_unroutable"},
                {ECONNRESET, "connection_terminated"},     {EPIPE, "connection_terminated"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].fault == fault)
            return rows[i].error;
    return "destination_unavailable";
}

const char *nexus__problem_proxy_error(uint16_t status, const char *code, int fault)
{
    static const struct {
        const char *code, *error;
    } rows[] = {
        {"upstream-closed", "connection_terminated"},
        {"upstream-incomplete", "http_response_incomplete"},
        {"upstream-protocol", "http_protocol_error"},
        {"upstream-busy", "connection_limit_reached"},
        {"upstream-tls", "tls_protocol_error"},
        {"upstream-certificate", "tls_certificate_error"},
        {"upstream-dns", "dns_error"},
        {"no-healthy-upstream", "destination_unavailable"},
        {"circuit-open", "destination_unavailable"},
        {"upstream-body-too-big", "http_response_body_size"},
        {"upstream-encoding", "http_response_content_coding"},
        {"response-transform", "http_response_incomplete"},
    };
    if (status < 502 || status > 504)
        return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].code, code) == 0)
            return rows[i].error;
    if (strcmp(code, "upstream-unreachable") == 0 || fault == ETIMEDOUT)
        return of_fault(fault);
    return status == 504 ? "http_response_timeout" : status == 503 ? "proxy_internal_response" : "http_protocol_error";
}

/* --- the page ----------------------------------------------------------------------------------------------------- */

/* The quality of a media range in thousandths (RFC 9110 12.4.2); 1000 when none is given. */
static uint32_t quality(nexus_slice params)
{
    while (params.n) {
        nexus_slice param = nexus__slice_trim(nexus__slice_cut(&params, ';'));
        if (param.n < 3 || (param.p[0] | 0x20) != 'q' || param.p[1] != '=')
            continue;
        uint32_t q = param.p[2] == '1' ? 1000 : 0, unit = 100;
        for (size_t i = 4; i < param.n && i < 7 && q < 1000; i++, unit /= 10)
            q += (uint32_t)(param.p[i] >= '0' && param.p[i] <= '9' ? param.p[i] - '0' : 0) * unit;
        return q;
    }
    return 1000;
}

bool nexus__problem_wants_page(nexus_slice accept)
{
    uint32_t best = 0;
    bool page = false;
    while (accept.n) {
        nexus_slice params = nexus__slice_cut(&accept, ',');
        nexus_slice type = nexus__slice_trim(nexus__slice_cut(&params, ';'));
        uint32_t q = quality(params);
        if (q <= best)
            continue;
        best = q;
        page = nexus__slice_ieq(type, NEXUS_S("text/html")) || nexus__slice_ieq(type, NEXUS_S("application/xhtml+xml"));
    }
    return page;
}

static void escaped(nexus__buf *out, nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'')
            nexus__buf_printf(out, "&#%d;", c);
        else
            nexus__buf_char(out, c);
    }
}

static void write_page(nexus_request *request, uint16_t status, const char *code, const char *detail)
{
    char space[PAGE_MAX];
    nexus__buf page = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus_slice id, reason = nexus__reason(status);
    nexus_request_id(request, &id);
    nexus__buf_printf(&page, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>%u %s</title>\n", status,
                      reason.p);
    nexus__buf_printf(&page, "<h1>%s</h1>\n<p>", reason.p);
    escaped(&page, nexus__slice_c(detail));
    nexus__buf_printf(&page, "</p>\n<p>%u, %s, request ", status, code);
    escaped(&page, id);
    nexus__buf_text(&page, "</p>\n</html>\n");
    (void)nexus_request_set_header(request, "Content-Security-Policy",
                                   NEXUS_S("default-src 'none'; frame-ancestors 'none'"));
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    nexus__exchange_page(request, status, code, "text/html; charset=utf-8", nexus__buf_slice(&page));
}

void nexus__problem_reply(nexus_request *request, uint16_t status, const char *code, const char *detail, int fault)
{
    char text[80];
    nexus_slice accept;
    const char *error = nexus__problem_proxy_error(status, code, fault);
    if (error) {
        int n = snprintf(text, sizeof text, "nexus; error=%s", error);
        (void)nexus_request_set_header(request, "Proxy-Status", nexus__slice(text, (size_t)n));
    }
    if (nexus_request_header(request, "accept", &accept) && nexus__problem_wants_page(accept))
        write_page(request, status, code, detail);
    else
        nexus_request_problem_text(request, status, code, detail);
}
