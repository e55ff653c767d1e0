#include <criterion/criterion.h>
#include <math.h>
#include <nexus/metrics.h>
#include <string.h>

static nexus_metrics *open_metrics(uint32_t series_max, bool process)
{
    nexus_metrics_opts opts = NEXUS_METRICS_OPTS_INIT;
    opts.series_max = series_max;
    opts.process = process;
    nexus_metrics *m = NULL;
    cr_assert_eq(nexus_metrics_open(&m, &opts), NEXUS_OK, "%s", nexus_error_message());
    return m;
}

static nexus_metric_family *family(nexus_metrics *m, const char *name, uint32_t type, const char *labels)
{
    nexus_metric_desc d = NEXUS_METRIC_DESC_INIT;
    nexus_metric_family *f = NULL;
    d.name = name;
    d.help = "Help with \\ and\nnewline.";
    d.type = type;
    d.labels = labels;
    cr_assert_eq(nexus_metrics_family(&f, m, &d), NEXUS_OK, "%s", nexus_error_message());
    return f;
}

static void expect(nexus_metrics *m, uint32_t format, const char *text)
{
    char *out = NULL;
    size_t n = 0;
    cr_assert_eq(nexus_metrics_render(&out, &n, m, format), NEXUS_OK);
    cr_assert_eq(strlen(out), n);
    cr_assert(strstr(out, text), "not there: %s\nin:\n%s", text, out);
    nexus_free(out);
}

Test(metrics, families_are_sorted_and_text_is_escaped)
{
    nexus_metrics *m = open_metrics(0, false);
    nexus_slice value = NEXUS_S("a\"b\\c\nd");
    nexus_metric_add(nexus_metric_series(family(m, "zz_total", NEXUS_METRIC_COUNTER, "path"), &value, 1), 2.5);
    nexus_metric_set(nexus_metrics_gauge(m, "aa", "A gauge."), -INFINITY);
    expect(m, NEXUS_METRICS_TEXT, "# HELP aa A gauge.\n# TYPE aa gauge\naa -Inf\n# HELP nexus_metrics_dropped");
    expect(m, NEXUS_METRICS_TEXT,
           "_total 0\n# HELP zz_total Help with \\\\ and\\nnewline.\n# TYPE zz_total counter\n"
           "zz_total{path=\"a\\\"b\\\\c\\nd\"} 2.5\n");
    expect(m, NEXUS_METRICS_OPENMETRICS, "# TYPE zz counter\nzz_total{path=\"a\\\"b\\\\c\\nd\"} 2.5\nzz_created{path=");
    expect(m, NEXUS_METRICS_OPENMETRICS, "# EOF\n");
    nexus_metrics_close(m);
}

Test(metrics, a_histogram_counts_up_to_each_bound)
{
    nexus_metrics *m = open_metrics(0, false);
    nexus_metric *h = nexus_metric_series(family(m, "d_seconds", NEXUS_METRIC_HISTOGRAM, NULL), NULL, 0);
    static const double values[] = {0.0005, 0.001, 0.003, 7, 11, NAN};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        nexus_metric_observe(h, values[i]);
    cr_assert_eq(nexus_metric_value(h), 5);
    expect(m, NEXUS_METRICS_TEXT,
           "d_seconds_bucket{le=\"0.001\"} 2\nd_seconds_bucket{le=\"0.0025\"} "
           "2\nd_seconds_bucket{le=\"0.005\"} 3\n");
    expect(m, NEXUS_METRICS_TEXT,
           "d_seconds_bucket{le=\"10\"} 4\nd_seconds_bucket{le=\"+Inf\"} 5\nd_seconds_sum "
           "18.0045\nd_seconds_count 5\n");
    expect(m, NEXUS_METRICS_OPENMETRICS, "d_seconds_bucket{le=\"10.0\"} 4\n");
    nexus_metrics_close(m);
}

Test(metrics, series_beyond_the_limit_share_the_overflow_series)
{
    nexus_metrics *m = open_metrics(3, false);
    nexus_metric_family *f = family(m, "n_total", NEXUS_METRIC_COUNTER, "user");
    static const char *const users[] = {"a", "b", "c", "d", "e", "a"};
    for (size_t i = 0; i < 6; i++) {
        nexus_slice user = {users[i], 1};
        nexus_metric_add(nexus_metric_series(f, &user, 1), 1);
    }
    expect(m, NEXUS_METRICS_TEXT,
           "n_total{user=\"a\"} 2\nn_total{user=\"b\"} 1\nn_total{user=\"c\"} "
           "1\nn_total{user=\"__overflow__\"} 2\n");
    expect(m, NEXUS_METRICS_TEXT, "nexus_metrics_dropped_series_total 2\n");
    nexus_metrics_close(m);
}

Test(metrics, a_name_is_one_family_and_wrong_descriptions_are_refused)
{
    nexus_metrics *m = open_metrics(0, false);
    nexus_metric_family *f = family(m, "x_total", NEXUS_METRIC_COUNTER, "a,b");
    cr_assert_eq(family(m, "x_total", NEXUS_METRIC_COUNTER, "a,b"), f);
    nexus_metric_desc d = NEXUS_METRIC_DESC_INIT;
    d.name = "x_total";
    d.labels = "a";
    cr_assert_eq(nexus_metrics_family(&f, m, &d), NEXUS_ECONFLICT);
    static const char *const names[] = {"no_suffix", "1_total", "a-b_total", "_total\xc3\xa9", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        d.name = names[i];
        cr_assert_eq(nexus_metrics_family(&f, m, &d), NEXUS_EINVAL, "%s", names[i]);
    }
    cr_assert_null(nexus_metrics_counter(m, "gauge", "no"));
    nexus_metric_add(NULL, 1);
    nexus_metrics_close(m);
}

Test(metrics, the_process_describes_itself)
{
    nexus_metrics *m = open_metrics(0, true);
    expect(m, NEXUS_METRICS_TEXT, "process_resident_memory_bytes ");
    expect(m, NEXUS_METRICS_TEXT, "process_start_time_seconds 1");
    cr_assert_gt(nexus_metric_value(nexus_metrics_gauge(m, "process_resident_memory_bytes", "")), 100000);
    cr_assert_gt(nexus_metric_value(nexus_metrics_gauge(m, "process_open_fds", "")), 0);
    nexus_metrics_close(m);
}

Test(metrics, openmetrics_is_rendered_for_those_who_ask)
{
    cr_assert_eq(nexus_metrics_negotiate(NEXUS_S("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")),
                 NEXUS_METRICS_OPENMETRICS);
    cr_assert_eq(nexus_metrics_negotiate(NEXUS_S("text/plain")), NEXUS_METRICS_TEXT);
}
