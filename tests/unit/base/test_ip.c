/* base/: addresses and blocks of them. */
#include <criterion/criterion.h>

#include "base/ip.h"

Test(ip, blocks_hold_what_they_should)
{
    static const struct {
        const char *block, *ip;
        int has; /* -1 = the block is none */
    } rows[] = {{"10.0.0.0/8", "10.255.0.1", 1},
                {"10.0.0.0/8", "11.0.0.1", 0},
                {"10.1.2.3", "10.1.2.3", 1},
                {"10.1.2.3", "10.1.2.4", 0},
                {"192.168.4.0/22", "192.168.7.9", 1},
                {"192.168.4.0/22", "192.168.8.0", 0},
                {"0.0.0.0/0", "1.2.3.4", 1},
                {"0.0.0.0/0", "::1", 0},
                {"fd00::/8", "fdab::1", 1},
                {"::1", "::1", 1},
                {"10.0.0.0/8", "::ffff:10.1.1.1", 1},
                {"10.0.0.0/33", "", -1},
                {"10.0.0/8", "", -1},
                {"::/129", "", -1},
                {"10.0.0.0/", "", -1},
                {"", "", -1},
                {"x", "", -1},
                {" 10.0.0.0/8 ", "10.0.0.1", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus__ip_block block;
        nexus__ip ip;
        bool good = nexus__ip_block_parse(nexus__slice_c(rows[i].block), &block);
        cr_assert_eq(good, rows[i].has >= 0, "%s", rows[i].block);
        if (!good)
            continue;
        cr_assert(nexus__ip_parse(nexus__slice_c(rows[i].ip), &ip));
        cr_assert_eq(nexus__ip_block_has(&block, &ip), rows[i].has == 1, "%s %s", rows[i].block, rows[i].ip);
    }
}

Test(ip, addresses_are_written_in_their_own_form)
{
    nexus__ip ip;
    char text[48];
    cr_assert(nexus__ip_parse(NEXUS_S("::ffff:1.2.3.4"), &ip));
    cr_assert_eq(nexus__ip_format(&ip, text), 7);
    cr_assert_str_eq(text, "1.2.3.4");
    cr_assert(nexus__ip_parse(NEXUS_S("FD00:0::1"), &ip));
    nexus__ip_format(&ip, text);
    cr_assert_str_eq(text, "fd00::1");
    cr_assert_not(nexus__ip_parse(NEXUS_S("[::1]"), &ip));
    cr_assert_not(nexus__ip_parse(NEXUS_S("1.2.3"), &ip));
}
