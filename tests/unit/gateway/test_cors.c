#include <criterion/criterion.h>

#include "gateway/filters/cors.h"

static bool allows(const char *pattern, const char *origin)
{
    nexus_slice patterns[1] = {nexus__slice_c(pattern)};
    nexus__gw_cors_conf conf = {.origins = {patterns, 1}};
    return nexus__cors_allows(&conf, nexus__slice_c(origin));
}

static const struct {
    const char *pattern, *origin;
    bool allowed;
} rows[] = {
    {"https://example.com", "https://example.com", true},
    {"https://example.com", "HTTPS://Example.com", true},
    {"https://example.com", "http://example.com", false},
    {"https://example.com", "https://example.com:444", false},
    {"https://example.com", "https://evil-example.com", false},
    {"https://example.com", "https://example.com.evil", false},
    {"https://example.com", "null", false},
    {"https://*.example.com", "https://a.example.com", true},
    {"https://*.example.com", "https://a.b.example.com", true},
    {"https://*.example.com", "https://example.com", false},
    {"https://*.example.com", "https://.example.com", false},
    {"https://*.example.com", "http://a.example.com", false},
    {"https://*.example.com", "https://evil-example.com", false},
    {"https://*.example.com", "https://a.example.com.evil", false},
    {"https://*.example.com", "https://evil.net/.example.com", false},
    {"https://*.example.com", "https://evil.net#.example.com", false},
    {"https://*.example.com", "https://evil.net:80.example.com", false},
    {"https://*.example.com", "https://user@a.example.com", false},
    {"https://*.example.com:8443", "https://a.example.com:8443", true},
    {"https://*.example.com:8443", "https://a.example.com", false},
    {"*", "https://any.where", true},
    {"*", "null", false},
};

Test(cors, origins_are_whole_ones)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(allows(rows[i].pattern, rows[i].origin), rows[i].allowed, "%s for %s", rows[i].pattern,
                     rows[i].origin);
}
