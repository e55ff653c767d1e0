#include <criterion/criterion.h>

#include "base/codec.h"
#include "json/scan.h"
#include "observe/access.h"

static nexus__access example(void)
{
    nexus__access a = {.n = {.real_ns = 1795000000123000000,
                             .took_ns = 1234567,
                             .upstream_ns = 1000999,
                             .bytes_in = 12,
                             .bytes_out = 345,
                             .tries = 2,
                             .status = 502,
                             .level = NEXUS_LOG_WARN,
                             .minor = 1,
                             .traced = true,
                             .proxied = true}};
    memset(a.n.trace_id, 0xab, sizeof a.n.trace_id);
    memset(a.n.span_id, 0xcd, sizeof a.n.span_id);
    static const char *const texts[NEXUS__ACCESS_TEXTS] = {"gateway",
                                                           "0190a1b2-0000-7000-8000-000000000001",
                                                           "192.0.2.7",
                                                           "GET",
                                                           "shop.example",
                                                           "/orders/7",
                                                           "page=2&token=s3cr3t&x=eyJhbGciOiJub25lIn0.eyJhIjoxfQ.abc",
                                                           "orders",
                                                           "shop",
                                                           "http://10.0.0.5:8080",
                                                           "u-1",
                                                           "upstream-closed",
                                                           "retry,timeout"};
    for (size_t i = 0; i < NEXUS__ACCESS_TEXTS; i++)
        a.text[i] = nexus__slice_c(texts[i]);
    return a;
}

static const char expected[] =
    "{\"ts\":\"2026-11-18T11:06:40.123Z\",\"level\":\"warn\",\"msg\":\"request\",\"service\":\"gateway\","
    "\"module\":\"access\",\"trace_id\":\"abababababababababababababababab\",\"span_id\":\"cdcdcdcdcdcdcdcd\","
    "\"correlation_id\":\"0190a1b2-0000-7000-8000-000000000001\",\"ip\":\"192.0.2.7\",\"method\":\"GET\","
    "\"host\":\"shop.example\",\"path\":\"/orders/7\",\"query\":\"page=2&token=[redacted]&x=[redacted]\","
    "\"protocol\":\"HTTP/1.1\",\"status\":502,\"ms\":1.234,\"bytes_in\":12,\"bytes_out\":345,\"route\":\"orders\","
    "\"upstream\":\"shop\",\"target\":\"http://10.0.0.5:8080\",\"tries\":2,\"upstream_ms\":1.000,\"user\":\"u-1\","
    "\"problem\":\"upstream-closed\",\"flags\":[\"retry\",\"timeout\"]}\n";

static void line(const nexus__access *a, nexus__buf *out)
{
    nexus__buf_init(out, NULL, 0);
    nexus__access_line(out, &(nexus__log_style){0}, a);
}

Test(access, the_members_of_a_line_and_their_order_are_fixed)
{
    nexus__access a = example();
    nexus__buf out;
    line(&a, &out);
    cr_assert(nexus__slice_eq(nexus__buf_slice(&out), NEXUS_S(expected)), "%.*s", (int)out.len, out.p);
    nexus__buf_free(&out);
}

Test(access, packing_and_unpacking_changes_nothing_and_a_cut_text_is_noticed)
{
    nexus__access a = example(), b;
    nexus__buf packed, out;
    nexus__buf_init(&packed, NULL, 0);
    nexus__access_pack(&packed, &a);
    cr_assert(nexus__access_unpack(&b, nexus__buf_slice(&packed)));
    line(&b, &out);
    cr_assert(nexus__slice_eq(nexus__buf_slice(&out), NEXUS_S(expected)));
    for (size_t n = 0; n < packed.len; n++)
        cr_assert_not(nexus__access_unpack(&b, nexus__slice(packed.p, n)), "%zu of %zu bytes", n, packed.len);
    nexus__buf_free(&out);
    nexus__buf_free(&packed);
}

Test(access, what_is_not_known_is_left_out)
{
    nexus__access a = {.n = {.upstream_ns = -1, .status = 200, .level = NEXUS_LOG_INFO}};
    nexus__buf out;
    line(&a, &out);
    cr_assert(nexus__slice_ends(nexus__buf_slice(&out),
                                NEXUS_S(",\"msg\":\"request\",\"module\":\"access\",\"protocol\":\"HTTP/1.0\",\"status\":200,"
                                        "\"ms\":0.000,\"bytes_out\":0}\n")),
              "%.*s", (int)out.len, out.p);
    nexus__buf_free(&out);
}

Test(access, names_of_credentials_are_found_however_they_are_escaped)
{
    static const char *const rows[][2] = {
        {"token=abc", "token=[redacted]"},
        {"t%6Fken=abc&a=1", "t%6Fken=[redacted]&a=1"},
        {"API_key=abc", "API_key=[redacted]"},
        {"api%2Dkey=abc", "api%2Dkey=[redacted]"},
        {"a=1;password=p%40ss;b=2", "a=1;password=[redacted];b=2"},
        {"code=123&secret=&access_token=x", "code=[redacted]&secret=[redacted]&access_token=[redacted]"},
        {"q=bearer abcdefghijkl", "q=bearer [redacted]"},
        {"tokens=3&xcode=4", "tokens=3&xcode=4"},
        {"%zz=1&&=", "%zz=1&&="},
        {"token", "token"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus__buf out;
        nexus__buf_init(&out, NULL, 0);
        nexus__access_query(&out, nexus__slice_c(rows[i][0]));
        cr_assert(nexus__slice_eq_c(nexus__buf_slice(&out), rows[i][1]), "%s gave %.*s", rows[i][0], (int)out.len, out.p);
        nexus__buf_free(&out);
    }
}

Test(access, control_bytes_and_broken_utf8_cannot_leave_the_line)
{
    nexus__access a = example();
    nexus__buf out;
    a.text[NEXUS__ACCESS_PATH] = NEXUS_S("/a\"\n\x1b[31m\xff\\");
    a.text[NEXUS__ACCESS_USER] = NEXUS_S("eve\r\nfake=1\x7f");
    line(&a, &out);
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__slice(out.p, out.len - 1), NULL), NEXUS_OK, "%s", nexus_error_message());
    for (size_t i = 0; i + 1 < out.len; i++)
        cr_assert((unsigned char)out.p[i] >= 0x20 && out.p[i] != 0x7f);
    nexus__json_free(&doc);
    nexus__buf_free(&out);
}

static void keep(int32_t level, nexus_slice text, void *user_data)
{
    (void)level;
    nexus__buf_slice_append(user_data, text);
}

Test(access, the_logs_thread_makes_the_line_and_names_the_service)
{
    for (uint32_t ring = 0; ring <= 64; ring += 64) {
        nexus__buf lines;
        nexus_log *log;
        nexus_log_opts opts = NEXUS_LOG_OPTS_INIT;
        nexus__buf_init(&lines, NULL, 0);
        opts.service = "gateway";
        opts.fd = -1;
        opts.line_fn = keep;
        opts.line_user_data = &lines;
        opts.ring_records = ring;
        cr_assert_eq(nexus_log_open(&log, &opts), NEXUS_OK);
        nexus__access a = example();
        a.text[NEXUS__ACCESS_SERVICE] = (nexus_slice){0};
        nexus__log_access(log, &a);
        nexus_log_flush(log);
        cr_assert(nexus__slice_eq(nexus__buf_slice(&lines), NEXUS_S(expected)), "%.*s", (int)lines.len, lines.p);
        nexus_log_close(log);
        nexus__buf_free(&lines);
    }
}
