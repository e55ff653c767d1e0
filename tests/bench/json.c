/* Nanoseconds to parse and check one 300-byte event: the scanner with its reader, and jansson doing the same work.
 * Usage: bench-json [ROUNDS] [--json]. CPU time, median of the rounds. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "json/read.h"

static const char event[] =
    "{\"id\":\"018f3c5e-7a1b-7c3d-9e4f-5a6b7c8d9e0f\",\"event\":\"page.viewed\",\"user_id\":\"user-48213\","
    "\"timestamp\":\"2015-05-17T10:05:03.000Z\",\"properties\":{\"path\":\"/presentations/"
    "logstash-monitorama-2013/"
    "images/kibana.png\",\"method\":\"GET\",\"status\":200,\"bytes\":203023,\"referrer\":\"http://"
    "semicomplete.com/\","
    "\"ua\":\"Mozilla/5.0\"}}";

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static bool check_scanned(nexus__json *doc)
{
    if (nexus__json_scan(doc, nexus__slice(event, sizeof event - 1), NULL) != NEXUS_OK)
        return false;
    nexus_slice id, name, user, at;
    int64_t status;
    return nexus__json_get_text(doc, 0, "id", &id) && nexus__json_get_text(doc, 0, "event", &name) &&
           nexus__json_get_text(doc, 0, "user_id", &user) && nexus__json_get_text(doc, 0, "timestamp", &at) &&
           nexus__json_get_i64(doc, nexus__json_get(doc, 0, "properties"), "status", &status) && status == 200;
}

static bool check_tree(void)
{
    json_t *tree = json_loadb(event, sizeof event - 1, JSON_REJECT_DUPLICATES, NULL);
    bool good = json_is_string(json_object_get(tree, "id")) && json_is_string(json_object_get(tree, "event")) &&
                json_is_string(json_object_get(tree, "user_id")) && json_is_string(json_object_get(tree, "timestamp")) &&
                json_integer_value(json_object_get(json_object_get(tree, "properties"), "status")) == 200;
    json_decref(tree);
    return good;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    enum { ROUNDS_MAX = 99, SCANS = 20000, TREES = 2000 };
    int rounds = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 15;
    bool as_json = argc > 1 && strcmp(argv[argc - 1], "--json") == 0;
    if (rounds > ROUNDS_MAX)
        rounds = ROUNDS_MAX;
    double scan[ROUNDS_MAX], tree[ROUNDS_MAX];
    nexus__json doc;
    nexus__json_init(&doc, NULL);
    bool good = true;
    for (int r = 0; r < rounds; r++) {
        double start = now_ns();
        for (int i = 0; i < SCANS; i++)
            good &= check_scanned(&doc);
        scan[r] = (now_ns() - start) / SCANS;
        start = now_ns();
        for (int i = 0; i < TREES; i++)
            good &= check_tree();
        tree[r] = (now_ns() - start) / TREES;
    }
    nexus__json_free(&doc);
    qsort(scan, (size_t)rounds, sizeof *scan, compare);
    qsort(tree, (size_t)rounds, sizeof *tree, compare);
    double ours = scan[rounds / 2], peer = tree[rounds / 2];
    if (as_json)
        printf("{\"work\":\"parse and check one %zu-byte "
               "event\",\"unit\":\"ns\",\"value\":%.0f,\"peers\":{\"jansson\":%.0f},"
               "\"ratio\":%.3f}\n",
               sizeof event - 1, ours, peer, ours / peer);
    else
        printf("%zu-byte event: scanner %.0f ns (%.0f-%.0f), jansson %.0f ns: 1/%.1f\n", sizeof event - 1, ours,
               scan[0], scan[rounds - 1], peer, peer / ours);
    return good ? 0 : 1;
}
