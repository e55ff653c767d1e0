#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "http/forwarded.h"

static bool is_ours(const void *context, const nexus__ip *ip)
{
    nexus__ip_block ours;
    (void)context;
    return nexus__ip_block_parse(NEXUS_S("10.0.0.0/8"), &ours) && nexus__ip_block_has(&ours, ip);
}

static const struct {
    const char *fields, *client;
} walks[] = {
    {"X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"},
    {"X-Forwarded-For: 127.0.0.1, 1.2.3.4\r\n", "1.2.3.4"},
    {"X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.9.9.9\r\n", "1.2.3.4"},
    {"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 10.0.0.2\r\n", "1.2.3.4"},
    {"X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3"},
    {"X-Forwarded-For: 1.2.3.4:567\r\n", "1.2.3.4"},
    {"X-Forwarded-For: [2001:db8::7]:567\r\n", "2001:db8::7"},
    {"X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"},
    {"X-Forwarded-For: 6.6.6.6, nonsense, 10.0.0.2\r\n", "10.0.0.2"},
    {"X-Forwarded-For: unknown\r\n", "10.0.0.1"},
    {"X-Forwarded-For: , ,1.2.3.4,\r\n", "1.2.3.4"},
    {"X-Forwarded-For: \"1.2.3.4\r\n", "10.0.0.1"},
    {"Forwarded: for=1.2.3.4\r\n", "1.2.3.4"},
    {"Forwarded: For=\"[2001:db8:cafe::17]:4711\";proto=https\r\n", "2001:db8:cafe::17"},
    {"Forwarded: proto=http; for=1.2.3.4 ;by=10.0.0.9, for=10.0.0.2\r\n", "1.2.3.4"},
    {"Forwarded: for=\"6.6.6.6, for=1.2.3.4\r\n", "1.2.3.4"}, /* an open quote of the client's */
    {"Forwarded: for=\"6.6.6.6\\\r\nForwarded: for=1.2.3.4\r\n", "1.2.3.4"},
    {"Forwarded: for=6.6.6.6, for=1.2.3.4;host=\"a\\\"b,c\"\r\n", "1.2.3.4"},
    {"Forwarded: for=unknown, for=10.0.0.2\r\n", "10.0.0.2"},
    {"Forwarded: for=_hidden\r\n", "10.0.0.1"},
    {"Forwarded: for=1.2.3.4;for=5.6.7.8\r\n", "10.0.0.1"},
    {"Forwarded: by=1.2.3.4\r\n", "10.0.0.1"},
    {"Forwarded: for=2001:db8::1\r\n", "10.0.0.1"}, /* must be quoted and in brackets */
    {"Forwarded: for =1.2.3.4 x\r\n", "10.0.0.1"},
    {"Forwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"},
    {"Forwarded: for=127.0.0.1\r\nX-Forwarded-For: 1.2.3.4\r\n", "10.0.0.1"},
    {"X-Real-IP: 1.2.3.4\r\n", "10.0.0.1"},
};

Test(forwarded, the_rightmost_untrusted_hop_is_the_client)
{
    static const nexus__http_limits limits = {8192, 32768, 100, false};
    for (size_t i = 0; i < sizeof walks / sizeof *walks; i++) {
        nexus__http_head head;
        nexus__ip ip;
        char text[512], got[48];
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", walks[i].fields);
        nexus__http_head_init(&head);
        cr_assert_gt(nexus__http_parse_request(&head, &limits, text, strlen(text)), 0, "%s", text);
        cr_assert(nexus__ip_parse(NEXUS_S("10.0.0.1"), &ip));
        nexus__forwarded_resolve(&head, text, is_ours, NULL, &ip);
        got[nexus__ip_format(&ip, got)] = 0;
        cr_assert_str_eq(got, walks[i].client, "%s", walks[i].fields);
    }
}

Test(forwarded, elements_are_cut_at_commas_outside_quotes)
{
    nexus_slice list = NEXUS_S("a, for=\"x,\\\"y\" , c");
    cr_assert(nexus__slice_eq_c(nexus__forwarded_cut(&list), "c"));
    cr_assert(nexus__slice_eq_c(nexus__forwarded_cut(&list), "for=\"x,\\\"y\""));
    cr_assert(nexus__slice_eq_c(nexus__forwarded_cut(&list), "a"));
    cr_assert_eq(list.n, 0);
}
