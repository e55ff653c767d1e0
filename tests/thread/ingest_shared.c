/* Several threads ingest overlapping ids while others ask, tail and listen: every id once, answers never torn. */
#include <nexus/ingest.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITERS 4
#define ROUNDS 40
#define BATCH 25

static void check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, nexus_error_message());
        exit(1);
    }
}

typedef struct shared {
    nexus_ingest *ingest;
    nexus_analytics *analytics;
    atomic_uint accepted;
    atomic_ulong heard;
    atomic_bool stop;
} shared;

static void hear(uint64_t seq, void *user_data)
{
    atomic_store(&((shared *)user_data)->heard, seq);
}

/* Every writer sends the same ids, in the same rounds. */
static void *write_all(void *user_data)
{
    shared *s = user_data;
    for (int r = 0; r < ROUNDS; r++) {
        char body[BATCH * 80];
        size_t n = (size_t)snprintf(body, sizeof body, "[");
        for (int i = 0; i < BATCH; i++)
            n += (size_t)snprintf(body + n, sizeof body - n,
                                  "%s{\"id\":\"%d-%d\",\"event\":\"e%d\",\"user_id\":\"u%d\"}", i ? "," : "", r, i,
                                  i % 5, i % 7);
        snprintf(body + n, sizeof body - n, "]");
        nexus_ingest_result *result;
        nexus_ingest_counts c = NEXUS_INGEST_COUNTS_INIT;
        check(nexus_ingest_batch(s->ingest, (nexus_slice){body, strlen(body)}, NULL, &result) == NEXUS_OK, "batch");
        nexus_ingest_result_counts(result, &c);
        check(c.accepted + c.duplicate == BATCH, "every event has its fate");
        atomic_fetch_add(&s->accepted, c.accepted);
        nexus_ingest_result_free(result);
    }
    return NULL;
}

static void *ask_all(void *user_data)
{
    shared *s = user_data;
    while (!atomic_load(&s->stop)) {
        char *text;
        size_t n;
        uint64_t next;
        check(nexus_analytics_query(s->analytics, NEXUS_S("{\"group_by\":[\"event\"],\"interval\":\"1h\"}"), 0, &text,
                                    &n) == NEXUS_OK,
              "query");
        nexus_free(text);
        check(nexus_analytics_tail(s->analytics, 0, 50, NEXUS_S(""), &text, &n, &next) == NEXUS_OK, "tail");
        nexus_free(text);
        check(nexus_ingest_stats(s->ingest, &text, &n) == NEXUS_OK, "stats");
        nexus_free(text);
    }
    return NULL;
}

int main(void)
{
    char dir[] = "/tmp/nexus-ingest-shared-XXXXXX", command[96];
    pthread_t writers[WRITERS], readers[2];
    nexus_ingest_opts opts = NEXUS_INGEST_OPTS_INIT;
    static shared s;
    check(mkdtemp(dir) != NULL, "temporary directory");
    check(nexus_analytics_open(&s.analytics, NULL) == NEXUS_OK, "store");
    opts.dir = dir;
    opts.analytics = s.analytics;
    check(nexus_ingest_open(&s.ingest, &opts) == NEXUS_OK, "log");
    nexus_analytics_listen(s.analytics, hear, &s);
    for (int i = 0; i < 2; i++)
        check(pthread_create(&readers[i], NULL, ask_all, &s) == 0, "thread");
    for (int i = 0; i < WRITERS; i++)
        check(pthread_create(&writers[i], NULL, write_all, &s) == 0, "thread");
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&s.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    check(atomic_load(&s.accepted) == ROUNDS * BATCH, "each id is accepted by exactly one writer");
    check(nexus_analytics_count(s.analytics) == ROUNDS * BATCH, "and visible once");
    check(atomic_load(&s.heard) > 0 && atomic_load(&s.heard) <= ROUNDS * BATCH, "the listener heard");
    nexus_ingest_close(s.ingest);
    nexus_analytics_close(s.analytics);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}
