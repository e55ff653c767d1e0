#include <criterion/criterion.h>

#include "base/hash.h"
#include "base/ip_set.h"

static nexus__ip ip(const char *text)
{
    nexus__ip out;
    cr_assert(nexus__ip_parse(nexus__slice_c(text), &out), "%s", text);
    return out;
}

static void add(nexus__ip_set *set, const char *text)
{
    nexus__ip_block block;
    cr_assert(nexus__ip_block_parse(nexus__slice_c(text), &block), "%s", text);
    nexus__ip_set_add(set, &block);
}

Test(ip_set, blocks_of_any_length_in_any_order)
{
    nexus__ip_node room[NEXUS__IP_SET_NODES(6)];
    nexus__ip_set set = nexus__ip_set_in(room);
    nexus__ip any = ip("1.2.3.4");
    cr_assert_not(nexus__ip_set_has(&set, &any));
    const char *blocks[] = {"10.1.2.3", "10.1.0.0/16", "192.168.0.0/24", "2001:db8::/32", "10.200.0.0/15", "::1"};
    for (int i = 0; i < 6; i++)
        add(&set, blocks[i]);
    const char *in[] = {"10.1.2.3",   "10.1.255.255", "192.168.0.9",    "2001:db8:1::5",
                        "10.201.0.1", "::1",          "::ffff:10.1.0.1"};
    const char *out[] = {"10.2.0.0", "192.168.1.0", "2001:db9::", "10.202.0.0", "::2", "0.0.0.0", "::", "1.0.0.0"};
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
        nexus__ip a = ip(in[i]);
        cr_assert(nexus__ip_set_has(&set, &a), "%s", in[i]);
    }
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
        nexus__ip a = ip(out[i]);
        cr_assert_not(nexus__ip_set_has(&set, &a), "%s", out[i]);
    }
}

Test(ip_set, everything_is_one_block)
{
    nexus__ip_node room[NEXUS__IP_SET_NODES(3)];
    nexus__ip_set set = nexus__ip_set_in(room);
    nexus__ip six = ip("fe80::1"), four = ip("1.2.3.4");
    add(&set, "0.0.0.0/0");
    cr_assert(nexus__ip_set_has(&set, &four));
    cr_assert_not(nexus__ip_set_has(&set, &six));
    add(&set, "::/0");
    add(&set, "1.0.0.0/8");
    cr_assert(nexus__ip_set_has(&set, &six) && nexus__ip_set_has(&set, &four));
}

/* Against the obvious way of asking every block, with blocks that lie close together. */
Test(ip_set, agrees_with_asking_each_block)
{
    enum { BLOCKS = 300 };
    static nexus__ip_node room[NEXUS__IP_SET_NODES(BLOCKS)];
    nexus__ip_block blocks[BLOCKS];
    nexus__ip_set set = nexus__ip_set_in(room);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        uint64_t r = nexus__mix64(i + 1);
        blocks[i] = (nexus__ip_block){.bits = (uint8_t)(100 + r % 29)};
        memset(blocks[i].ip.bytes + 10, 0xff, 2);
        blocks[i].ip.bytes[13] = (uint8_t)(r >> 8 & 0x0f);
        blocks[i].ip.bytes[14] = (uint8_t)(r >> 16);
        blocks[i].ip.bytes[15] = (uint8_t)(r >> 24);
        nexus__ip_set_add(&set, &blocks[i]);
    }
    cr_assert_leq(set.count, NEXUS__IP_SET_NODES(BLOCKS));
    for (uint32_t i = 0; i < 100000; i++) {
        nexus__ip a = {{0}};
        bool expected = false;
        memset(a.bytes + 10, 0xff, 2);
        a.bytes[13] = (uint8_t)(i >> 16);
        a.bytes[14] = (uint8_t)(i >> 8);
        a.bytes[15] = (uint8_t)i;
        for (int k = 0; k < BLOCKS && !expected; k++)
            expected = nexus__ip_block_has(&blocks[k], &a);
        cr_assert_eq(nexus__ip_set_has(&set, &a), expected, "%u", i);
    }
}
