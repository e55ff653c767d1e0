/* ingest/: answers, on small cases by hand and on a real web site's four days. */
#include "fixture.h"

#include <sys/stat.h>

#include "base/buf.h"
#include "json/write.h"

static const char *const shop = "[{\"event\":\"buy\",\"user_id\":\"ann\",\"timestamp\":\"2024-03-01T10:00:"
                                "00Z\",\"properties\":{\"plan\":\"pro\",\"price\":5}},"
                                "{\"event\":\"buy\",\"user_id\":\"bob\",\"timestamp\":\"2024-03-01T12:30:"
                                "00Z\",\"properties\":{\"plan\":\"pro\",\"price\":7}},"
                                "{\"event\":\"buy\",\"user_id\":\"ann\",\"timestamp\":\"2024-03-02T23:30:"
                                "00Z\",\"properties\":{\"plan\":\"free\",\"price\":0}},"
                                "{\"event\":\"see\",\"anonymous_id\":\"x\",\"timestamp\":\"2024-04-01T00:00:"
                                "00Z\",\"properties\":{\"new\":true}}]";

static void expect(fixture *f, const char *question, const char *pointer, int64_t value)
{
    nexus__json doc;
    char *text = query(f, question, &doc);
    cr_assert_eq(number_at(&doc, pointer), value, "%s %s: %s", question, pointer, text);
    nexus__json_free(&doc);
    nexus_free(text);
}

Test(analytics, measures_groups_and_filters)
{
    static const struct {
        const char *question, *pointer;
        int64_t value;
    } rows[] = {
        {"", "/totals/count", 4},
        {"{\"measures\":[{\"agg\":\"uniques\",\"as\":\"users\"}]}", "/totals/users", 3},
        {"{\"measures\":[{\"agg\":\"sum\",\"field\":\"properties.price\"}]}", "/totals/sum", 12},
        {"{\"measures\":[{\"agg\":\"avg\",\"field\":\"properties.price\"}]}", "/totals/avg", 4},
        {"{\"measures\":[{\"agg\":\"max\",\"field\":\"properties.price\"}]}", "/totals/max", 7},
        {"{\"measures\":[{\"agg\":\"min\",\"field\":\"properties.price\"}]}", "/totals/min", 0},
        {"{\"group_by\":[\"properties.plan\"]}", "/rows/0/values/count", 2},
        {"{\"group_by\":[\"event\"],\"limit\":1}", "/other/count", 1},
        {"{\"group_by\":[\"event\"],\"order\":\"count\"}", "/rows/0/values/count", 1},
        {"{\"bucket\":{\"properties.price\":5},\"order\":\"label\"}", "/rows/2/labels/properties.price", 5},
        {"{\"filters\":[{\"field\":\"event\",\"value\":\"buy\"}]}", "/totals/count", 3},
        {"{\"filters\":[{\"field\":\"event\",\"value\":\"never\"}]}", "/totals/count", 0},
        {"{\"filters\":[{\"field\":\"event\",\"op\":\"ne\",\"value\":\"buy\"}]}", "/totals/count", 1},
        {"{\"filters\":[{\"field\":\"user\",\"op\":\"in\",\"value\":[\"ann\",\"x\"]}]}", "/totals/count", 3},
        {"{\"filters\":[{\"field\":\"properties.price\",\"op\":\"gt\",\"value\":4}]}", "/totals/count", 2},
        {"{\"filters\":[{\"field\":\"properties.price\",\"value\":\"5\"}]}", "/totals/count", 1},
        {"{\"filters\":[{\"field\":\"properties.plan\",\"op\":\"prefix\",\"value\":\"pr\"}]}", "/totals/count", 2},
        {"{\"filters\":[{\"field\":\"properties.plan\",\"op\":\"contains\",\"value\":\"re\"}]}", "/totals/count", 1},
        {"{\"filters\":[{\"field\":\"properties.new\",\"value\":true}]}", "/totals/count", 1},
        {"{\"filters\":[{\"field\":\"properties.new\",\"op\":\"exists\",\"value\":false}]}", "/totals/count", 3},
        {"{\"from\":\"2024-03-01\",\"to\":\"2024-03-02\"}", "/totals/count", 2},
        {"{\"from\":1709337600}", "/totals/count", 2},
        {"{\"interval\":\"1d\",\"to\":\"2024-03-05\"}", "/series/0/points/1/1", 1},
        {"{\"interval\":\"1d\",\"to\":\"2024-03-05\"}", "/series/0/points/3/1", 0},
        {"{\"interval\":\"1d\",\"to\":\"2024-03-05\"}", "/series/0/points/0/0", 1709251200000},
        {"{\"interval\":\"1d\",\"tz\":\"+01:00\"}", "/series/0/points/2/1", 1},
        {"{\"interval\":\"1mo\"}", "/series/0/points/1/0", 1711929600000},
        {"{\"interval\":\"1w\"}", "/series/0/points/0/0", 1708905600000}, /* Monday 26 February */
    };
    fixture f;
    fixture_begin(&f, NULL);
    take(&f, shop, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect(&f, rows[i].question, rows[i].pointer, rows[i].value);
    fixture_end(&f);
}

Test(analytics, a_question_not_understood_names_its_member)
{
    static const struct {
        const char *question, *word;
    } rows[] = {
        {"{\"measure\":[]}", "/measure"},
        {"[]", "object"},
        {"{\"measures\":[{\"agg\":\"median\"}]}", "/measures"},
        {"{\"measures\":[{\"agg\":\"sum\"}]}", "/measures"},
        {"{\"group_by\":[\"plan\"]}", "/group_by"},
        {"{\"group_by\":\"event\"}", "/group_by"},
        {"{\"bucket\":{\"properties.x\":0}}", "/bucket"},
        {"{\"filters\":[{\"op\":\"eq\"}]}", "/filters"},
        {"{\"filters\":[{\"field\":\"event\",\"op\":\"like\",\"value\":1}]}", "/filters"},
        {"{\"filters\":[{\"field\":\"event\"}]}", "/filters"},
        {"{\"from\":\"later\"}", "/from"},
        {"{\"from\":\"2024-01-02\",\"to\":\"2024-01-01\"}", "/from"},
        {"{\"interval\":\"soon\"}", "/interval"},
        {"{\"limit\":0}", "/limit"},
        {"{\"order\":\"sum\"}", "/order"},
        {"{\"tz\":\"Europe/Berlin\"}", "/tz"},
        {"{\"range\":\"long\"}", "/range"},
    };
    fixture f;
    fixture_begin(&f, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text;
        size_t n;
        nexus_status st =
            nexus_analytics_query(f.analytics, (nexus_slice){rows[i].question, strlen(rows[i].question)}, 0, &text, &n);
        cr_assert_eq(st, NEXUS_EINVAL, "%s", rows[i].question);
        cr_assert(strstr(nexus_error_message(), rows[i].word), "%s: %s", rows[i].question, nexus_error_message());
    }
    char *text;
    size_t n;
    cr_assert_eq(nexus_analytics_query(f.analytics, NEXUS_S("{\"range\":\"365d\",\"interval\":\"1m\"}"), 0, &text, &n),
                 NEXUS_ETOOBIG);
    fixture_end(&f);
}

Test(analytics, the_dashboard_sums_orders_and_revenue)
{
    fixture f;
    char *text;
    size_t n;
    nexus__json doc;
    fixture_begin(&f, NULL);
    take(&f,
         "[{\"event\":\"order.created\"},{\"event\":\"order.created\"},{\"event\":\"order.confirmed\"},"
         "{\"event\":\"order.cancelled\"},"
         "{\"event\":\"payment.processed\",\"properties\":{\"status\":\"captured\",\"amount\":1999,"
         "\"currency\":\"EUR\"}},"
         "{\"event\":\"payment.processed\",\"properties\":{\"status\":\"declined\",\"amount\":500,"
         "\"currency\":\"EUR\"}},"
         "{\"event\":\"page_view\",\"user_id\":\"u\",\"properties\":{\"path\":\"/\"}}]",
         0);
    cr_assert_eq(nexus_analytics_dashboard(f.analytics, NEXUS_S("1h"), 0, &text, &n), NEXUS_OK);
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, (nexus_slice){text, n}, NULL), NEXUS_OK, "%s", text);
    cr_assert_eq(number_at(&doc, "/totals/events"), 7);
    cr_assert_eq(number_at(&doc, "/totals/users"), 1);
    cr_assert_eq(number_at(&doc, "/totals/previous/events"), 0);
    cr_assert_eq(number_at(&doc, "/orders/created"), 2);
    cr_assert_eq(number_at(&doc, "/orders/confirmed"), 1);
    cr_assert_eq(number_at(&doc, "/orders/cancelled"), 1);
    cr_assert_eq(number_at(&doc, "/revenue/0/amount"), 1999);
    cr_assert_eq(number_at(&doc, "/top_paths/0/count"), 1);
    cr_assert_geq(number_at(&doc, "/freshness_ms"), 0);
    cr_assert_eq(nexus__json_count(&doc, nexus__json_pointer(&doc, 0, NEXUS_S("/series"))), 61);
    nexus__json_free(&doc);
    nexus_free(text);
    cr_assert_eq(nexus_analytics_dashboard(f.analytics, NEXUS_S("soon"), 0, &text, &n), NEXUS_EINVAL);
    fixture_end(&f);
}

Test(analytics, a_metric_is_a_short_question)
{
    fixture f;
    char *text;
    size_t n;
    nexus__json doc;
    nexus_analytics_metric m = NEXUS_ANALYTICS_METRIC_INIT;
    fixture_begin(&f, NULL);
    take(&f, shop, 0);
    m.metric = NEXUS_S("properties.price");
    m.from = NEXUS_S("2024-03-01");
    m.to = NEXUS_S("2024-03-03");
    m.interval = NEXUS_S("1d");
    m.group_by = NEXUS_S("properties.plan");
    cr_assert_eq(nexus_analytics_metrics(f.analytics, &m, &text, &n), NEXUS_OK, "%s", nexus_error_message());
    nexus__json_init(&doc, NULL);
    cr_assert_eq(nexus__json_scan(&doc, (nexus_slice){text, n}, NULL), NEXUS_OK);
    cr_assert_eq(number_at(&doc, "/series/0/points/0/1"), 12, "%s", text);
    nexus__json_free(&doc);
    nexus_free(text);
    fixture_end(&f);
}

static void count_call(uint64_t seq, void *user_data)
{
    *(uint64_t *)user_data = seq;
}

Test(analytics, the_tail_gives_events_in_order_and_says_what_was_missed)
{
    fixture f;
    char *text;
    size_t n;
    uint64_t next = 0, heard = 0;
    fixture_begin(&f, NULL);
    nexus_analytics_listen(f.analytics, count_call, &heard);
    take(&f, shop, 0);
    cr_assert_eq(heard, 4);
    cr_assert_eq(nexus_analytics_tail(f.analytics, 1, 2, NEXUS_S(""), &text, &n, &next), NEXUS_OK);
    cr_assert_eq(next, 3);
    cr_assert(strstr(text, "\"seq\":2") && strstr(text, "\"seq\":3") && !strstr(text, "\"seq\":4"));
    nexus_free(text);
    cr_assert_eq(nexus_analytics_tail(f.analytics, 0, 0, NEXUS_S("see"), &text, &n, &next), NEXUS_OK);
    cr_assert(strstr(text, "\"seq\":4") && !strstr(text, "\"seq\":1,"));
    nexus_free(text);
    fixture_end(&f);
}

/* pageviews.ndjson with its members renamed as nexus ingest --map does it. */
static char *load_pageviews(size_t *size)
{
    FILE *file = fopen(NEXUS_TEST_DATA "/pageviews.ndjson", "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t got;
    nexus__json doc;
    nexus__buf out;
    if (!file)
        return NULL;
    nexus__json_init(&doc, NULL);
    nexus__buf_init(&out, NULL, 0);
    while ((got = getline(&line, &cap, file)) > 0) {
        nexus__json_writer w = nexus__json_writer_on(&out);
        cr_assert_eq(nexus__json_scan(&doc, (nexus_slice){line, (size_t)got}, NULL), NEXUS_OK);
        nexus__json_open(&w, '{');
        nexus__json_put_raw(&w, "id", nexus__json_raw(&doc, nexus__json_get(&doc, 0, "id")));
        nexus__json_put_raw(&w, "event", nexus__json_raw(&doc, nexus__json_get(&doc, 0, "event")));
        nexus__json_put_raw(&w, "user_id", nexus__json_raw(&doc, nexus__json_get(&doc, 0, "user")));
        nexus__json_put_raw(&w, "timestamp", nexus__json_raw(&doc, nexus__json_get(&doc, 0, "ts")));
        nexus__json_put_raw(&w, "properties", nexus__json_raw(&doc, nexus__json_get(&doc, 0, "props")));
        nexus__json_close(&w, '}');
        nexus__buf_char(&out, '\n');
    }
    fclose(file);
    free(line);
    nexus__json_free(&doc);
    return nexus__buf_take(&out, size);
}

Test(analytics, a_real_web_site_adds_up)
{
    fixture f;
    size_t n = 0;
    char *body = load_pageviews(&n);
    if (!body)
        cr_skip("../shared/data/pageviews.ndjson is not here");
    fixture_begin(&f, NULL);
    nexus_ingest_counts c = take(&f, body, NEXUS_INGEST_NDJSON);
    cr_assert(c.accepted == 9999 && c.duplicate == 0 && c.rejected == 0);
    c = take(&f, body, NEXUS_INGEST_NDJSON);
    cr_assert(c.accepted == 0 && c.duplicate == 9999);
    for (int round = 0; round < 2; round++) {
        expect(&f, "", "/totals/count", 9999);
        expect(&f, "{\"measures\":[{\"agg\":\"uniques\"}]}", "/totals/uniques", 1753);
        expect(&f, "{\"group_by\":[\"properties.path\"],\"limit\":1}", "/rows/0/values/count", 807);
        expect(&f, "{\"group_by\":[\"properties.status\"]}", "/rows/0/values/count", 9125);
        expect(&f, "{\"group_by\":[\"properties.status\"]}", "/rows/2/values/count", 213);
        expect(&f, "{\"bucket\":{\"properties.status\":100}}", "/rows/0/values/count", 9125 + 45);
        expect(&f, "{\"bucket\":{\"properties.status\":100}}", "/rows/1/values/count", 445 + 164);
        expect(&f, "{\"bucket\":{\"properties.status\":100}}", "/rows/2/values/count", 213 + 2 + 2);
        expect(&f, "{\"bucket\":{\"properties.status\":100}}", "/rows/3/values/count", 3);
        fixture_close(&f);
        fixture_open(&f, NULL);
    }
    free(body);
    fixture_end(&f);
}
