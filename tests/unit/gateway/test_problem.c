#include <criterion/criterion.h>
#include <errno.h>

#include "gateway/problem.h"

Test(problem, a_page_is_for_who_likes_it_best)
{
    static const struct {
        const char *accept;
        bool page;
    } rows[] = {
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
        {"text/html", true},
        {"TEXT/HTML;level=1", true},
        {"application/xhtml+xml", true},
        {"*/*", false},
        {"application/json, text/html", false},
        {"application/json;q=0.9, text/html", true},
        {"text/html;q=0.5, application/json;q=0.500", true},
        {"text/html;q=0.4, application/json;q=0.5", false},
        {"text/html;q=0", false},
        {"text/*", false},
        {"", false},
        {",;q=,=;", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(nexus__problem_wants_page(nexus__slice_c(rows[i].accept)), rows[i].page, "%s", rows[i].accept);
}

Test(problem, names_the_error_of_the_proxy)
{
    static const struct {
        uint16_t status;
        const char *code;
        int fault;
        const char *error;
    } rows[] = {
        {502, "upstream-unreachable", ECONNREFUSED, "connection_refused"},
        {504, "upstream-timeout", ETIMEDOUT, "connection_timeout"},
        {504, "upstream-timeout", 0, "http_response_timeout"},
        {502, "upstream-unreachable", EHOSTUNREACH, "destination_ip_unroutable"},
        {502, "upstream-unreachable", 0, "destination_unavailable"},
        {502, "upstream-closed", 0, "connection_terminated"},
        {502, "upstream-protocol", 0, "http_protocol_error"},
        {503, "upstream-busy", 0, "connection_limit_reached"},
        {503, "no-healthy-upstream", 0, "destination_unavailable"},
        {503, "keys-unavailable", 0, "proxy_internal_response"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_str_eq(nexus__problem_proxy_error(rows[i].status, rows[i].code, rows[i].fault), rows[i].error, "%s",
                         rows[i].code);
    cr_assert_null(nexus__problem_proxy_error(404, "no-route", 0));
    cr_assert_null(nexus__problem_proxy_error(500, "rewrite", 0));
    cr_assert_null(nexus__problem_proxy_error(501, "x", 0));
}
