/* http/: whose connection a request is on: server names, and the fields of RFC 9440. */
#include <criterion/criterion.h>

#include "http/client_cert.h"
#include "http/tls_clients.h"

static bool server_name(const char *bytes, size_t n, char *out)
{
    size_t len = 0;
    char name[NEXUS__SERVER_NAME_MAX + 1];
    bool found = nexus__tls_server_name((const unsigned char *)bytes, n, name, &len);
    strcpy(out, found ? name : "");
    return found;
}

Test(client_cert, the_server_name_of_a_hello)
{
    char name[NEXUS__SERVER_NAME_MAX + 1];
    cr_assert(server_name("\0\x0c\0\0\x09" "A.Example", 14, name));
    cr_assert_str_eq(name, "a.example");
    cr_assert(server_name("\0\x05\0\0\x02" "b.", 7, name));
    cr_assert_str_eq(name, "b");
    static const struct {
        const char *bytes;
        size_t n;
    } none[] = {{"", 0},
                {"\0\0", 2},
                {"\0\x03\0\0\0", 5},                    /* empty */
                {"\0\x05\1\0\x02" "ab", 7},             /* another kind of name */
                {"\0\x05\0\0\x03" "ab", 7},             /* longer than there is */
                {"\0\x06\0\0\x02" "ab", 7},
                {"\0\x05\0\0\x02" "abc", 8},            /* more behind it */
                {"\0\x0a\0\0\x02" "ab\0\0\x02" "cd", 12}, /* two */
                {"\0\x05\0\0\x02" "a\0", 7},
                {"\0\x05\0\0\x02" "a ", 7},
                {"\0\x04\0\0\x01" ".", 6}};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        cr_assert_not(server_name(none[i].bytes, none[i].n, name), "%zu", i);
}

Test(client_cert, a_request_is_for_the_name_of_its_connection)
{
    static const struct {
        const char *name, *authority;
        bool same;
    } rows[] = {{"a.example", "a.example", true},  {"a.example", "A.Example:8443", true},
                {"a.example", "a.example.", true}, {"a.example", "b.example", false},
                {"a.example", "a.example.evil", false}, {"a.example", "10.0.0.1", false},
                {"a.example", "", false},          {"", "10.0.0.1:443", true},
                {"", "[fd00::1]:443", true},       {"", "[fd00::1]", true},
                {"", "a.example", false},          {"", "", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(nexus__tls_name_is_host(nexus__slice_c(rows[i].name), nexus__slice_c(rows[i].authority)), rows[i].same,
                     "%s %s", rows[i].name, rows[i].authority);
}

static bool fields(const char *cert, const char *line1, const char *line2, nexus__cert_fields *f)
{
    nexus__arena arena;
    nexus_slice lines[2] = {nexus__slice_c(line1 ? line1 : ""), nexus__slice_c(line2 ? line2 : "")};
    nexus__arena_init(&arena, NULL, 0);
    bool good = nexus__client_cert_read(f, nexus__slice_c(cert), lines, (line1 != NULL) + (line2 != NULL), &arena);
    if (good)
        good = f->der.n > 0; /* what it points to goes with the arena */
    nexus__arena_free(&arena);
    return good;
}

Test(client_cert, byte_sequences_of_rfc_9440)
{
    nexus__cert_fields f;
    cr_assert(fields(":AAEC:", NULL, NULL, &f));
    cr_assert_eq(f.der.n, 3);
    cr_assert(fields(" :AAEC: ", ":AQ==:, :Ag==:", ":Aw==:", &f));
    cr_assert_eq(f.count, 3);
    static const char *const bad[] = {"", ":", "::", ":AAEC", "AAEC:", "AAEC", ":AAEC:;x=1", ":A A:", ":AAEC:, :AAEC:", ":AAE:", ":A-_C:"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_not(fields(bad[i], NULL, NULL, &f), "%s", bad[i]);
        if (*bad[i] && i != 8)
            cr_assert_not(fields(":AAEC:", bad[i], NULL, &f), "chain %s", bad[i]);
    }
    cr_assert_not(fields(":AAEC:", ":AQ==:, , :AQ==:", NULL, &f));
    cr_assert_not(fields(":AAEC:", ":AQ==:,:AQ==:,:AQ==:,:AQ==:,:AQ==:", ":AQ==:,:AQ==:,:AQ==:,:AQ==:", &f), "more than a chain has");
}
