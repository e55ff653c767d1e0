#include <criterion/criterion.h>
#include <nexus/trace.h>
#include <string.h>

static nexus_slice text(const char *s)
{
    return (nexus_slice){s, strlen(s)};
}

Test(trace, a_traceparent_survives_the_round_trip)
{
    const char *header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    nexus_trace t;
    char again[56], id[33], span[17];
    cr_assert_eq(nexus_trace_parse(&t, text(header)), NEXUS_OK);
    nexus_trace_format(&t, again);
    cr_assert_str_eq(again, header);
    nexus_trace_hex(&t, id, span);
    cr_assert_str_eq(id, "0af7651916cd43dd8448eb211c80319c");
    cr_assert_str_eq(span, "b7ad6b7169203331");
}

Test(trace, later_versions_are_read_by_their_first_fields)
{
    nexus_trace t;
    cr_assert_eq(nexus_trace_parse(&t, text("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-what-ever")),
                 NEXUS_OK);
    cr_assert_eq(t.flags, 1);
}

Test(trace, malformed_headers_are_refused)
{
    static const char *const bad[] = {
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    };
    nexus_trace t;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(nexus_trace_parse(&t, text(bad[i])), NEXUS_EINVAL, "%s", bad[i]);
}

Test(trace, a_child_keeps_the_trace_and_takes_a_span_of_its_own)
{
    nexus_trace parent, child;
    nexus_trace_start(&parent, true);
    nexus_trace_child(&child, &parent);
    cr_assert_arr_eq(parent.trace_id, child.trace_id, 16);
    cr_assert_arr_neq(parent.span_id, child.span_id, 8);
    cr_assert_eq(child.flags, NEXUS_TRACE_SAMPLED);
}

Test(trace, tracestate_lines_are_joined_in_order)
{
    char out[512];
    nexus_slice lines[] = {NEXUS_S("rojo=00f067aa0ba902b7, "), NEXUS_S(",congo=t61rcWkgMzE")};
    size_t n = nexus_trace_state(lines, 2, out, sizeof out);
    cr_assert_eq(n, strlen("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
    cr_assert_eq(memcmp(out, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", n), 0);
    nexus_slice bad[] = {NEXUS_S("rojo=1"), NEXUS_S("Bad Key=1")};
    cr_assert_eq(nexus_trace_state(bad, 2, out, sizeof out), 0);
    cr_assert_eq(nexus_trace_state(lines, 2, out, 24), strlen("rojo=00f067aa0ba902b7"));
}
