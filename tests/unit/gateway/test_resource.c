/* gateway/: what a route's resource is, and how a challenge leads to it. */
#include <criterion/criterion.h>

#include "gateway/resource.h"

Test(resource, is_where_the_route_stands_up_to_its_first_placeholder)
{
    static const struct {
        const char *path, *prefix, *resource;
    } rows[] = {{"/orders", NULL, "/orders"},          {NULL, "/orders/", "/orders"}, {NULL, "/", ""},
                {"/orders/{id}/lines", NULL, "/orders"}, {"/{id}", NULL, ""},           {NULL, NULL, ""},
                {"/a/b{id}", NULL, "/a"},              {"/a/{x}/{y}", NULL, "/a"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus__gw_route_conf route = {.path = nexus__slice_c(rows[i].path ? rows[i].path : ""),
                                      .prefix = nexus__slice_c(rows[i].prefix ? rows[i].prefix : "")};
        cr_assert(nexus__slice_eq_c(nexus__resource_path(&route), rows[i].resource), "%zu", i);
    }
}

Test(resource, every_bearer_of_a_challenge_names_it_and_nothing_else_does)
{
    static const struct {
        const char *challenge, *whole;
    } rows[] = {
        {"Bearer", "Bearer resource_metadata=\"U\""},
        {"Bearer error=\"invalid_token\"", "Bearer error=\"invalid_token\", resource_metadata=\"U\""},
        {"Bearer error=\"insufficient_scope\", scope=\"a:b c:d\"",
         "Bearer error=\"insufficient_scope\", scope=\"a:b c:d\", resource_metadata=\"U\""},
        {"Bearer, ApiKey", "Bearer resource_metadata=\"U\", ApiKey"},
        {"ApiKey, Bearer, ClientCertificate", "ApiKey, Bearer resource_metadata=\"U\", ClientCertificate"},
        {"Custom realm=\"x\"", "Custom realm=\"x\""},
        {"Bearers", "Bearers"},
        {"", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus__buf out;
        nexus__buf_init(&out, NULL, 0);
        nexus__resource_challenge(&out, nexus__slice_c(rows[i].challenge), NEXUS_S("U"));
        cr_assert(nexus__slice_eq_c(nexus__buf_slice(&out), rows[i].whole), "%.*s", (int)out.len, out.p);
        nexus__buf_free(&out);
    }
}
