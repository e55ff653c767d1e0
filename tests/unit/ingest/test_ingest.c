/* ingest/: what is taken, refused, remembered and kept. */
#include "fixture.h"

#include <zlib.h>

#include "base/time.h"

/* The code of the one refusal of a single event; "" when it was taken. */
static const char *refusal(fixture *f, const char *body, uint32_t flags, char out[static 300])
{
    nexus_ingest_result *r;
    nexus_ingest_call call = NEXUS_INGEST_CALL_INIT;
    nexus_ingest_error e = {sizeof e};
    call.flags = flags;
    nexus_status st = nexus_ingest_event(f->ingest, (nexus_slice){body, strlen(body)}, &call, &r);
    cr_assert_eq(st, NEXUS_OK, "%s: %s", body, nexus_error_message());
    out[0] = '\0';
    if (nexus_ingest_result_error(r, 0, &e))
        snprintf(out, 300, "%.*s %.*s", (int)e.code.n, e.code.p, (int)e.field.n, e.field.p);
    nexus_ingest_result_free(r);
    return out;
}

Test(ingest, each_fault_has_its_code_and_field)
{
    static const struct {
        const char *body, *code;
        uint32_t flags;
    } rows[] = {
        {"{\"event\":\"a\"}", "", 0},
        {"{}", "missing_event /event", 0},
        {"{\"event\":\"\"}", "missing_event /event", 0},
        {"{\"event\":7}", "bad_type /event", 0},
        {"{\"event\":\"a\",\"user_id\":{}}", "bad_type /user_id", 0},
        {"{\"event\":\"a\",\"properties\":[]}", "bad_type /properties", 0},
        {"{\"event\":\"a\",\"properties\":{\"x\":1e999}}", "bad_type /properties/x", 0},
        {"{\"event\":\"a\",\"properties\":{\"a/b~\":1e999}}", "bad_type /properties/a~1b~0", 0},
        {"{\"event\":\"a\"}", "missing_identity /user_id", NEXUS_INGEST_NEED_IDENTITY},
        {"{\"event\":\"a\",\"user_id\":\"NULL\"}", "", 0},
        {"{\"event\":\"a\",\"timestamp\":\"soon\"}", "", 0},
        {"{\"event\":\"a\",\"timestamp\":\"soon\"}", "bad_timestamp /timestamp", NEXUS_INGEST_STRICT_TIME},
        {"{\"event\":\"a\",\"id\":"
         "\"0123456789012345678901234567890123456789012345678901234567890123456789\"}",
         "too_large /id", 0},
        {"{\"event\":\"a\",\"properties\":{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}}", "too_deep ", 0},
    };
    fixture f;
    char got[300];
    fixture_begin(&f, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_str_eq(refusal(&f, rows[i].body, rows[i].flags, got), rows[i].code, "%s: %s", rows[i].body, got);
    fixture_end(&f);
}

Test(ingest, limits_of_size_and_number_hold)
{
    fixture f;
    char got[300], name[300], *big = malloc(200000);
    fixture_begin(&f, NULL);
    memset(name, 'n', 201);
    snprintf(big, 200000, "{\"event\":\"%.201s\"}", name);
    cr_assert_str_eq(refusal(&f, big, 0, got), "event_too_long /event");
    size_t n = (size_t)sprintf(big, "{\"event\":\"a\",\"properties\":{\"k0\":0");
    for (int i = 1; i < 257; i++)
        n += (size_t)sprintf(big + n, ",\"k%d\":0", i);
    strcpy(big + n, "}}");
    cr_assert_str_eq(refusal(&f, big, 0, got), "too_many_properties /properties");
    n = (size_t)sprintf(big, "{\"event\":\"a\",\"properties\":{\"k\":\"");
    memset(big + n, 'x', 70000);
    strcpy(big + n + 70000, "\"}}");
    cr_assert_str_eq(refusal(&f, big, 0, got), "too_large ");
    free(big);
    fixture_end(&f);
}

Test(ingest, what_is_no_event_at_all_is_refused_whole)
{
    fixture f;
    nexus_ingest_result *r;
    fixture_begin(&f, NULL);
    cr_assert_eq(nexus_ingest_event(f.ingest, NEXUS_S("{\"event\":"), NULL, &r), NEXUS_EINVAL);
    cr_assert_eq(nexus_ingest_event(f.ingest, NEXUS_S("[]"), NULL, &r), NEXUS_EINVAL);
    cr_assert_eq(nexus_ingest_batch(f.ingest, NEXUS_S("{\"sent_at\":1}"), NULL, &r), NEXUS_EINVAL);
    cr_assert_eq(nexus_ingest_batch(f.ingest, NEXUS_S(""), NULL, &r), NEXUS_EINVAL);
    fixture_end(&f);
}

Test(ingest, each_event_of_a_batch_has_its_own_fate)
{
    fixture f;
    fixture_begin(&f, NULL);
    nexus_ingest_counts c =
        take(&f,
             "{\"events\":[{\"id\":\"1\",\"event\":\"a\"},{\"id\":\"1\",\"event\":\"a\"},{\"id\":\"2\"},"
             "7,{\"id\":\"3\",\"event\":\"b\"}]}",
             0);
    cr_assert(c.accepted == 2 && c.duplicate == 1 && c.rejected == 2 && c.retry == 0);
    c = take(&f, "[{\"id\":\"1\",\"event\":\"a\"},{\"id\":\"4\",\"event\":\"a\",\"event\":\"b\"}]", 0);
    cr_assert(c.accepted == 0 && c.duplicate == 1 && c.rejected == 1);
    cr_assert_eq(nexus_analytics_count(f.analytics), 2);
    fixture_end(&f);
}

Test(ingest, atomic_stores_all_or_nothing)
{
    fixture f;
    fixture_begin(&f, NULL);
    nexus_ingest_counts c = take(&f, "[{\"id\":\"1\",\"event\":\"a\"},{}]", NEXUS_INGEST_ATOMIC);
    cr_assert(c.accepted == 0 && c.rejected == 1);
    cr_assert_eq(nexus_analytics_count(f.analytics), 0);
    c = take(&f, "[{\"id\":\"1\",\"event\":\"a\"},{\"event\":\"b\"}]", NEXUS_INGEST_ATOMIC);
    cr_assert(c.accepted == 2 && c.rejected == 0);
    fixture_end(&f);
}

Test(ingest, lines_are_judged_one_by_one)
{
    fixture f;
    fixture_begin(&f, NULL);
    nexus_ingest_counts c = take(&f,
                                 "{\"event\":\"a\\u0041\",\"id\":\"x\\u0041\"}\r\n\n{broken\n\"\xff\"\n{"
                                 "\"event\":\"b\",\"id\":\"xA\"}",
                                 NEXUS_INGEST_NDJSON);
    cr_assert(c.accepted == 1 && c.duplicate == 1 && c.rejected == 2);
    char *text;
    size_t n;
    cr_assert_eq(nexus_ingest_rejected(f.ingest, NEXUS_S("bad_json"), 0, 0, &text, &n), NEXUS_OK);
    cr_assert(strstr(text, "{broken"));
    nexus_free(text);
    fixture_end(&f);
}

Test(ingest, a_restart_forgets_nothing)
{
    fixture f;
    fixture_begin(&f, NULL);
    nexus_ingest_counts c =
        take(&f, "[{\"id\":\"1\",\"event\":\"a\",\"user_id\":\"u\",\"properties\":{\"x\":{\"y\":2}}}]", 0);
    cr_assert_eq(c.accepted, 1);
    fixture_close(&f);
    fixture_open(&f, NULL);
    cr_assert_eq(nexus_analytics_count(f.analytics), 1);
    c = take(&f, "[{\"id\":\"1\",\"event\":\"a\"},{\"id\":\"2\",\"event\":\"a\"}]", 0);
    cr_assert(c.accepted == 1 && c.duplicate == 1);
    nexus__json doc;
    char *text = query(&f, "{\"measures\":[{\"agg\":\"sum\",\"field\":\"properties.x.y\"}]}", &doc);
    cr_assert_eq(number_at(&doc, "/totals/sum"), 2);
    nexus__json_free(&doc);
    nexus_free(text);
    fixture_end(&f);
}

Test(ingest, an_illegal_identity_can_be_refused)
{
    nexus_ingest_opts opts = NEXUS_INGEST_OPTS_INIT;
    fixture f;
    char got[300];
    opts.identity_action = NEXUS_IDENTITY_REJECT;
    opts.retention_s = 3600;
    fixture_begin(&f, &opts);
    cr_assert_str_eq(refusal(&f, "{\"event\":\"a\",\"user_id\":\" Undefined \"}", 0, got), "illegal_identity /user_id");
    cr_assert_str_eq(refusal(&f, "{\"event\":\"a\",\"user_id\":0}", 0, got), "illegal_identity /user_id");
    cr_assert_str_eq(refusal(&f, "{\"event\":\"a\",\"timestamp\":\"2015-05-17\"}", 0, got), "too_old /timestamp");
    fixture_end(&f);
}

static int64_t time_of(fixture *f, const char *body, uint32_t flags, int64_t now_ms)
{
    nexus_ingest_result *r;
    nexus_ingest_call call = {sizeof call, flags, now_ms};
    cr_assert_eq(nexus_ingest_event(f->ingest, (nexus_slice){body, strlen(body)}, &call, &r), NEXUS_OK);
    nexus_ingest_result_free(r);
    char *text;
    size_t n;
    uint64_t next;
    int64_t ns = 0;
    nexus_slice stamp;
    nexus__json doc;
    cr_assert_eq(
        nexus_analytics_tail(f->analytics, nexus_analytics_seq(f->analytics) - 1, 1, NEXUS_S(""), &text, &n, &next),
        NEXUS_OK);
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, (nexus_slice){text, n}, NULL), NEXUS_OK);
    uint32_t event = nexus__json_pointer(&doc, 0, NEXUS_S("/events/0"));
    cr_assert(nexus__json_get_text(&doc, event, "timestamp", &stamp));
    cr_assert(nexus__parse_rfc3339(stamp, &ns));
    nexus__json_free(&doc);
    nexus_free(text);
    return ns / 1000000;
}

Test(ingest, a_wrong_clock_is_corrected_when_asked)
{
    const int64_t now = 1700000000000;
    const char *body = "{\"event\":\"a\",\"timestamp\":1699990000000,\"sent_at\":1699990005000}";
    fixture f;
    fixture_begin(&f, NULL);
    cr_assert_eq(time_of(&f, body, 0, now), 1699990000000);
    cr_assert_eq(time_of(&f, body, NEXUS_INGEST_FIX_SKEW, now), now - 5000);
    /* two days ahead: the receive time; an hour ahead: kept */
    cr_assert_eq(time_of(&f, "{\"event\":\"a\",\"timestamp\":1700172800000}", 0, now), now);
    cr_assert_eq(time_of(&f, "{\"event\":\"a\",\"timestamp\":1700003600000}", 0, now), 1700003600000);
    fixture_end(&f);
}

Test(ingest, compressed_bodies_are_read_and_bombs_refused)
{
    static const char body[] = "[{\"event\":\"a\"}]";
    static char zeros[4 << 20];
    unsigned char packed[65536];
    uLongf n = sizeof packed;
    nexus_ingest_result *r;
    nexus_ingest_call call = {sizeof call, NEXUS_INGEST_DEFLATE, 0};
    fixture f;
    fixture_begin(&f, NULL);
    cr_assert_eq(compress(packed, &n, (const unsigned char *)body, sizeof body - 1), Z_OK);
    cr_assert_eq(nexus_ingest_batch(f.ingest, (nexus_slice){(char *)packed, n}, &call, &r), NEXUS_OK);
    cr_assert_eq(counts_of(r).accepted, 1);
    nexus_ingest_result_free(r);
    n = sizeof packed;
    cr_assert_eq(compress(packed, &n, (const unsigned char *)zeros, sizeof zeros), Z_OK);
    cr_assert_eq(nexus_ingest_batch(f.ingest, (nexus_slice){(char *)packed, n}, &call, &r), NEXUS_ETOOBIG);
    cr_assert_eq(nexus_ingest_batch(f.ingest, (nexus_slice){(char *)packed, 20}, &call, &r), NEXUS_EINVAL);
    fixture_end(&f);
}

Test(ingest, long_strings_are_cut_with_a_warning)
{
    fixture f;
    nexus_ingest_result *r;
    char *big = malloc(20000);
    fixture_begin(&f, NULL);
    size_t n = (size_t)sprintf(big, "{\"event\":\"a\",\"properties\":{\"n\":[1,{\"b\":true}],\"k\":\"");
    for (int i = 0; i < 4500; i++, n += 2)
        memcpy(big + n, "\xc3\xa9", 2);
    strcpy(big + n, "\"}}");
    cr_assert_eq(nexus_ingest_event(f.ingest, (nexus_slice){big, strlen(big)}, NULL, &r), NEXUS_OK);
    cr_assert(strstr(nexus_ingest_result_json(r, NULL), "\"warning\":\"truncated\""));
    nexus_ingest_result_free(r);
    free(big);
    fixture_end(&f);
}

Test(ingest, stats_count_what_happened)
{
    fixture f;
    char *text;
    size_t n;
    nexus__json doc;
    fixture_begin(&f, NULL);
    take(&f, "[{\"id\":\"1\",\"event\":\"a\"},{\"id\":\"1\",\"event\":\"a\"},{}]", 0);
    cr_assert_eq(nexus_ingest_stats(f.ingest, &text, &n), NEXUS_OK);
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, (nexus_slice){text, n}, NULL), NEXUS_OK);
    cr_assert_eq(number_at(&doc, "/received"), 3);
    cr_assert_eq(number_at(&doc, "/accepted"), 1);
    cr_assert_eq(number_at(&doc, "/duplicate"), 1);
    cr_assert_eq(number_at(&doc, "/rejected/missing_event"), 1);
    cr_assert_eq(number_at(&doc, "/dedupe/entries"), 1);
    cr_assert_eq(number_at(&doc, "/dedupe/window_s"), 86400);
    cr_assert_gt(number_at(&doc, "/wal/bytes"), 0);
    nexus__json_free(&doc);
    nexus_free(text);
    fixture_end(&f);
}
