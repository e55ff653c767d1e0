#include <criterion/criterion.h>
#include <nexus/log.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "observe/redact.h"
#include "json/scan.h"

static void keep(int32_t level, nexus_slice line, void *user_data)
{
    (void)level;
    nexus__buf_slice_append(user_data, line);
}

static nexus_log *open_log(nexus__buf *lines, int32_t format, uint32_t ring)
{
    nexus_log_opts opts = NEXUS_LOG_OPTS_INIT;
    nexus__buf_init(lines, NULL, 0);
    opts.service = "backend";
    opts.fd = -1;
    opts.format = format;
    opts.line_fn = keep;
    opts.line_user_data = lines;
    opts.ring_records = ring;
    nexus_log *log = NULL;
    cr_assert_eq(nexus_log_open(&log, &opts), NEXUS_OK, "%s", nexus_error_message());
    return log;
}

static bool holds(const nexus__buf *lines, const char *text)
{
    nexus_slice all = nexus__buf_slice(lines);
    return nexus__slice_search(all, nexus__slice_c(text)) < all.n;
}

Test(log, a_record_is_one_json_line_with_its_ids_caller_and_fields)
{
    nexus__buf lines;
    nexus_log *log = open_log(&lines, NEXUS_LOG_FORMAT_JSON, 0);
    nexus_log_context context = {
        NEXUS_S("0af7651916cd43dd8448eb211c80319c"), NEXUS_S("b7ad6b7169203331"), NEXUS_S("req-12345678"), {NULL, 0}};
    NEXUS_LOG(log, NEXUS_LOG_WARN, "saga", &context, "step \"pay\" failed\n", NEXUS_LOG_I("step", 3),
              NEXUS_LOG_S("why", NEXUS_S("no\x1bmoney")), NEXUS_LOG_B("retry", true), NEXUS_LOG_D("ms", 1.5));
    cr_assert(holds(&lines, "\"level\":\"warn\",\"msg\":\"step \\\"pay\\\" "
                            "failed\\n\",\"service\":\"backend\",\"module\":\"saga\""));
    cr_assert(holds(&lines, "\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"span_id\":\"b7ad6b7169203331\""));
    cr_assert(holds(&lines, "\"correlation_id\":\"req-12345678\""));
    cr_assert(holds(&lines, "\"caller\":\"observe/test_log.c:"));
    cr_assert(holds(&lines, "\"step\":3,\"why\":\"no\\u001bmoney\",\"retry\":true,\"ms\":1.5}\n"));
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, nexus__buf_slice(&lines), NULL), NEXUS_OK, "%s", nexus_error_message());
    nexus__json_free(&doc);
    nexus_log_close(log);
    nexus__buf_free(&lines);
}

Test(log, a_terminal_gets_logfmt_with_quotes_only_where_needed)
{
    nexus__buf lines;
    nexus_log *log = open_log(&lines, NEXUS_LOG_FORMAT_LOGFMT, 0);
    NEXUS_LOG(log, NEXUS_LOG_INFO, NULL, NULL, "listening here", NEXUS_LOG_I("port", 3000),
              NEXUS_LOG_S("host", NEXUS_S("127.0.0.1")), NEXUS_LOG_S("esc", NEXUS_S("a\x1b[31m")));
    cr_assert(holds(&lines, " level=info msg=\"listening here\" service=backend caller="));
    cr_assert(holds(&lines, " port=3000 host=127.0.0.1 esc=\"a\\u001b[31m\"\n"));
    nexus_log_close(log);
    nexus__buf_free(&lines);
}

Test(log, credentials_do_not_reach_a_line)
{
    nexus__buf lines;
    nexus_log *log = open_log(&lines, NEXUS_LOG_FORMAT_JSON, 0);
    NEXUS_LOG(log, NEXUS_LOG_INFO, NULL, NULL,
              "sent Authorization: Bearer s3cr3t-s3cr3t to http://u:hunter2@h/p?token=abc123&x=1",
              NEXUS_LOG_S("Authorization", NEXUS_S("Basic c2VlZGVkc2VjcmV0")),
              NEXUS_LOG_S("x-api-key", NEXUS_S("seeded1")), NEXUS_LOG_S("refresh_token", NEXUS_S("seeded2")),
              NEXUS_LOG_S("Set-Cookie", NEXUS_S("seeded3")), NEXUS_LOG_S("password", NEXUS_S("seeded4")),
              NEXUS_LOG_S("client_secret", NEXUS_S("seeded5")), NEXUS_LOG_S("code", NEXUS_S("seeded6")),
              NEXUS_LOG_I("status_code", 200),
              NEXUS_LOG_S("body", NEXUS_S("{\"password\": \"seeded7\",\"name\":\"kept\"}")),
              NEXUS_LOG_S("jwt", NEXUS_S("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2VlZGVk")),
              NEXUS_LOG_S("hook", NEXUS_S("whsec_seeded8")));
    static const char *const secrets[] = {"s3cr3t", "hunter2", "abc123", "c2VlZ", "seeded", "eyJ"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        cr_assert_not(holds(&lines, secrets[i]), "%s is in %.*s", secrets[i], (int)lines.len, lines.p);
    cr_assert(holds(&lines, "x=1"));
    cr_assert(holds(&lines, "kept"));
    cr_assert(holds(&lines, "\"status_code\":200"));
    nexus_log_close(log);
    nexus__buf_free(&lines);
}

Test(log, ordinary_texts_stay_as_they_are)
{
    static const char *const texts[] = {
        "basic income", "be=re", "eyJ not a token", "http://host:80/a@b", "basically", "a \"name\":\"x\"", "==::b", ""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        nexus__buf out;
        nexus__buf_init(&out, NULL, 0);
        nexus__redact_append(&out, nexus__slice_c(texts[i]));
        cr_assert(nexus__slice_eq_c(nexus__buf_slice(&out), texts[i]), "%s", texts[i]);
        nexus__buf_free(&out);
    }
}

Test(log, levels_are_set_per_module_and_revert)
{
    nexus__buf lines;
    nexus_log *log = open_log(&lines, NEXUS_LOG_FORMAT_JSON, 0);
    cr_assert_not(nexus_log_enabled(log, NEXUS_LOG_DEBUG, "http"));
    cr_assert_eq(nexus_log_set_level(log, "http", NEXUS_LOG_DEBUG, 0), NEXUS_OK);
    cr_assert(nexus_log_enabled(log, NEXUS_LOG_DEBUG, "http"));
    cr_assert_not(nexus_log_enabled(log, NEXUS_LOG_DEBUG, "saga"));
    cr_assert_eq(nexus_log_set_level(log, "*", NEXUS_LOG_ERROR, 1), NEXUS_OK);
    while (nexus_log_level(log, NULL) == NEXUS_LOG_ERROR)
        usleep(100);
    cr_assert_eq(nexus_log_level(log, NULL), NEXUS_LOG_INFO);
    cr_assert_eq(nexus_log_level(log, "http"), NEXUS_LOG_DEBUG);
    cr_assert_eq(nexus_log_set_level(log, NULL, 9, 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_log_level_parse(NEXUS_S("WARN")), NEXUS_LOG_WARN);
    cr_assert_eq(nexus_log_level_parse(NEXUS_S("loud")), -1);
    nexus_log_close(log);
    nexus__buf_free(&lines);
}

Test(log, the_ring_keeps_order_and_long_lines)
{
    nexus__buf lines;
    nexus_log *log = open_log(&lines, NEXUS_LOG_FORMAT_JSON, 64);
    char *large = malloc(5000);
    memset(large, 'x', 5000);
    nexus_log_text(log, NEXUS_LOG_INFO, NULL, NULL, NEXUS_S("first"));
    nexus_log_text(log, NEXUS_LOG_INFO, NULL, NULL, nexus__slice(large, 5000));
    nexus_log_printf(log, NEXUS_LOG_INFO, NULL, NULL, "third %d", 3);
    nexus_log_flush(log);
    nexus_slice all = nexus__buf_slice(&lines);
    size_t first = nexus__slice_search(all, NEXUS_S("first")),
           long_at = nexus__slice_search(all, nexus__slice(large, 5000));
    cr_assert(first < long_at && long_at < nexus__slice_search(all, NEXUS_S("third 3")));
    free(large);
    nexus_log_close(log);
    nexus__buf_free(&lines);
}

Test(log, a_child_speaks_under_its_own_name_through_the_same_sinks)
{
    nexus__buf lines;
    nexus_log *log = open_log(&lines, NEXUS_LOG_FORMAT_JSON, 0), *child = NULL;
    cr_assert_eq(nexus_log_child(&child, log, "gateway"), NEXUS_OK);
    nexus_log_close(log);
    nexus_log_text(child, NEXUS_LOG_INFO, NULL, NULL, NEXUS_S("hello"));
    cr_assert(holds(&lines, "\"service\":\"gateway\""));
    nexus_log_close(child);
    nexus_log_write(NULL, NULL);
    nexus__buf_free(&lines);
}

struct gate {
    int fds[2];
};

static void stand_still(int32_t level, nexus_slice line, void *user_data)
{
    (void)level, (void)line;
    char c;
    cr_assert_geq(read(((struct gate *)user_data)->fds[0], &c, 1), 0);
}

Test(log, a_full_ring_counts_what_it_drops_and_never_waits)
{
    struct gate gate;
    cr_assert_eq(pipe(gate.fds), 0);
    nexus_log_opts opts = NEXUS_LOG_OPTS_INIT;
    opts.fd = -1;
    opts.line_fn = stand_still;
    opts.line_user_data = &gate;
    opts.ring_records = 8;
    nexus_log *log = NULL;
    cr_assert_eq(nexus_log_open(&log, &opts), NEXUS_OK);
    for (int i = 0; i < 100; i++)
        nexus_log_text(log, NEXUS_LOG_INFO, NULL, NULL, NEXUS_S("x"));
    cr_assert_geq(nexus_log_dropped(log), 90);
    close(gate.fds[1]);
    nexus_log_close(log);
    close(gate.fds[0]);
}
