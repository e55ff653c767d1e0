/* gateway/: which names of a certificate a route lets in. */
#include <criterion/criterion.h>

#include "gateway/auth/client_name.h"
#include "gateway/clients.h"

static nexus__cert cert = {
    .subject = {"CN=till 7,O=Shop", 16},
    .sha256 = {0xab, 0xcd},
    .name_count = 4,
    .names = {{NEXUS__CERT_DNS, {"till-7.shop.test", 16}},
              {NEXUS__CERT_DNS, {"*.shop.test", 11}},
              {NEXUS__CERT_URI, {"spiffe://shop/till/7", 20}},
              {NEXUS__CERT_EMAIL, {"till@shop.test", 14}}},
};

static bool meets(const char *pattern)
{
    nexus__client_name p;
    const char *why;
    cr_assert(nexus__client_name_parse(&p, nexus__slice_c(pattern), &why), "%s: %s", pattern, why);
    return nexus__client_name_find(&p, &cert).p != NULL;
}

Test(client_name, meets_what_it_names_and_nothing_else)
{
    static const char *const yes[] = {"dns:till-7.shop.test", "dns:TILL-7.Shop.test", "dns:*.shop.test", "uri:spiffe://shop/till/7",
                                      "uri:spiffe://shop/*", "email:till@SHOP.test", "subject:CN=till 7,O=Shop",
                                      "sha256:abcd000000000000000000000000000000000000000000000000000000000000"};
    static const char *const no[] = {"dns:shop.test", "dns:*.test", "dns:till-7.shop.test.evil", "dns:*.till-7.shop.test", "uri:spiffe://shop",
                                     "uri:spiffe://shop/till/70*", "uri:SPIFFE://shop/till/7", "email:Till@shop.test", "ip:10.0.0.1",
                                     "subject:CN=till 7", "subject:O=Shop,CN=till 7",
                                     "sha256:abcd000000000000000000000000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        cr_assert(meets(yes[i]), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        cr_assert_not(meets(no[i]), "%s", no[i]);
}

Test(client_name, what_is_no_name_is_refused)
{
    static const char *const bad[] = {"", "dns", "dns:", "cn:x", "dns:a.*.b", "dns:*", "dns:*a.b", "dns:*.*.b", "ip:300.1.1.1",
                                      "sha256:ab", "sha256:zz00000000000000000000000000000000000000000000000000000000000000"};
    nexus__client_name p;
    const char *why;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(nexus__client_name_parse(&p, nexus__slice_c(bad[i]), &why), "%s", bad[i]);
}

Test(client_name, names_the_owner)
{
    char hex[65];
    cr_assert(nexus__slice_eq_c(nexus__client_name_of(&cert, NEXUS__CERT_DNS, hex), "till-7.shop.test"));
    cr_assert(nexus__slice_eq_c(nexus__client_name_of(&cert, NEXUS__CLIENT_SUBJECT, hex), "CN=till 7,O=Shop"));
    cr_assert(nexus__slice_starts(nexus__client_name_of(&cert, NEXUS__CLIENT_SHA256, hex), NEXUS_S("abcd00")));
    cr_assert_null(nexus__client_name_of(&cert, NEXUS__CERT_IP, hex).p);
}

Test(client_name, a_host_is_found_by_its_longest_name)
{
    nexus__gw_clients_conf items[] = {{.host = {"*", 1}}, {.host = {"*.test", 6}}, {.host = {"*.shop.test", 11}}, {.host = {"a.shop.test", 11}}};
    nexus__gw_config c = {.clients = {items, 4}};
    static const struct {
        const char *host;
        uint32_t at;
    } rows[] = {{"a.shop.test", 3}, {"b.shop.test", 2}, {"b.a.shop.test", 2}, {"shop.test", 1}, {"test", 0}, {"", 0}, {"x.org", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(nexus__gw_clients_find(&c, nexus__slice_c(rows[i].host)), rows[i].at, "%s", rows[i].host);
    c.clients.items++;
    c.clients.count = 3;
    cr_assert_eq(nexus__gw_clients_find(&c, NEXUS_S("x.org")), 3, "nobody's");
    cr_assert_eq(nexus__gw_clients_find(&c, NEXUS_S(".test")), 3);
}
