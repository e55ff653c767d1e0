#include <criterion/criterion.h>

#include "transfer/guard.h"

static const struct {
    const char *address;
    bool allowed, with_list;
} rows[] = {
    {"8.8.8.8", true, true},
    {"127.0.0.1", false, true},
    {"127.255.1.2", false, true},
    {"10.1.2.3", false, false},
    {"172.16.0.1", false, false},
    {"172.32.0.1", true, true},
    {"192.168.1.1", false, false},
    {"169.254.169.254", false, false},
    {"100.64.0.1", false, false},
    {"0.0.0.0", false, false},
    {"224.0.0.1", false, false},
    {"255.255.255.255", false, false},
    {"::1", false, false},
    {"::", false, false},
    {"::ffff:127.0.0.1", false, true},
    {"::ffff:8.8.8.8", true, true},
    {"::127.0.0.1", false, false},
    {"64:ff9b::7f00:1", false, true},
    {"64:ff9b::808:808", true, true},
    {"2002:7f00:1::", false, true},
    {"2002:808:808::", true, true},
    {"2001:0:1::", false, false},
    {"2001:db8::1", false, false},
    {"fe80::1", false, false},
    {"fd00::1", false, true},
    {"fc01::1", false, false},
    {"ff02::1", false, false},
    {"2606:4700:4700::1111", true, true},
    {"localhost", false, false},
};

Test(guard, judges_addresses)
{
    nexus__guard none, list;
    cr_assert_eq(nexus__guard_init(&none, NULL, NULL), 0);
    cr_assert_eq(nexus__guard_init(&list, "127.0.0.0/8, fd00::/16", NULL), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_assert_eq(nexus__guard_allows_text(&none, rows[i].address), rows[i].allowed, "%s", rows[i].address);
        cr_assert_eq(nexus__guard_allows_text(&list, rows[i].address), rows[i].with_list, "%s", rows[i].address);
    }
    nexus__guard_free(&none, NULL);
    nexus__guard_free(&list, NULL);
}

Test(guard, refuses_broken_lists)
{
    static const char *bad[] = {
        "10.0.0.0/33", "fd00::/129", "10.0.0/8", "host", "10.0.0.0/", "10.0.0.0/-1", "1.2.3.4/18446744073709551600"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nexus__guard g;
        cr_assert_eq(nexus__guard_init(&g, bad[i], NULL), NEXUS_EINVAL, "%s", bad[i]);
    }
}
