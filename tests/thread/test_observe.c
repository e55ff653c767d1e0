/* Threads that log and count at once: nothing is lost, nothing is torn. */
#include <nexus/log.h>
#include <nexus/metrics.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, ROUNDS = 5000 };

static nexus_log *log_;
static nexus_metric_family *family;
static uint64_t lines;

static void count_line(int32_t level, nexus_slice line, void *user_data)
{
    (void)level;
    if (line.p[0] != '{' || line.p[line.n - 1] != '\n')
        abort();
    ++*(uint64_t *)user_data;
}

static void *work(void *arg)
{
    nexus_slice label = {arg, 1};
    nexus_slice shared = {"s", 1};
    for (int i = 0; i < ROUNDS; i++) {
        nexus_log_printf(log_, NEXUS_LOG_INFO, "t", NULL, "round %d", i);
        nexus_metric_add(nexus_metric_series(family, &label, 1), 1);
        nexus_metric_add(nexus_metric_series(family, &shared, 1), 0.5);
    }
    return NULL;
}

static void check(int truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

int main(void)
{
    nexus_log_opts opts = NEXUS_LOG_OPTS_INIT;
    opts.fd = -1;
    opts.line_fn = count_line;
    opts.line_user_data = &lines;
    opts.ring_records = 256;
    check(nexus_log_open(&log_, &opts) == NEXUS_OK, "log opens");
    nexus_metrics *metrics = NULL;
    check(nexus_metrics_open(&metrics, NULL) == NEXUS_OK, "metrics open");
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "t_total";
    desc.help = "T.";
    desc.labels = "thread";
    check(nexus_metrics_family(&family, metrics, &desc) == NEXUS_OK, "family");

    static char names[THREADS][2] = {"0", "1", "2", "3"};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, work, names[i]) == 0, "thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    for (int i = 0; i < THREADS; i++) {
        nexus_slice label = {names[i], 1};
        check(nexus_metric_value(nexus_metric_series(family, &label, 1)) == ROUNDS, "each thread's count");
    }
    nexus_slice shared = {"s", 1};
    check(nexus_metric_value(nexus_metric_series(family, &shared, 1)) == THREADS * ROUNDS / 2, "the shared count");
    uint64_t dropped = nexus_log_dropped(log_);
    nexus_log_close(log_);
    check(lines >= THREADS * ROUNDS - dropped, "every line written or counted as dropped");
    nexus_metrics_close(metrics);
    return 0;
}
