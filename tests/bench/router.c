/*
 * What 10,000 routes cost: a match among them beside one among 10, and loading and reloading a gateway with them.
 * Usage: bench-router [--check] [--json]. CPU time of the thread that matches or loads: least of a match, median of a reload; --check exits 1 when a goal
 * is missed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nexus/gateway.h>
#include <nexus/router.h>

enum { ROUTES = 10000, UPSTREAMS = 1000, ROUNDS = 15, MATCHES = 100000 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double sorted(double *values, int at)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[at];
}

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, nexus_error_message());
    exit(2);
}

/* Ten services as templates, prefixes and exact paths; with more of them, more of the same. */
static void write_path(char out[static 96], size_t i)
{
    if (i % 3 == 0)
        snprintf(out, 96, "/service%zu/v1/items%zu/{id:int}", i % 100, i);
    else if (i % 3 == 1)
        snprintf(out, 96, "/service%zu/v1/things%zu/{id}/parts", i % 100, i);
    else
        snprintf(out, 96, "/service%zu/files%zu", i % 100, i);
}

/* All ten paths that every table has, in turn, so that nothing is answered from one hot line. */
static double match_ns(size_t count)
{
    nexus_router *r;
    char paths[10][96];
    double rounds[ROUNDS];
    if (nexus_router_new(&r, NULL))
        fail("router");
    for (size_t i = 0; i < count; i++) {
        char path[96];
        nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
        write_path(path, i);
        rule.path = path;
        rule.flags = i % 3 == 2 ? NEXUS_ROUTER_PREFIX : 0;
        rule.value = r;
        if (nexus_router_add(r, &rule))
            fail(path);
    }
    for (size_t i = 0; i < 10; i++)
        if (i % 3 == 0)
            snprintf(paths[i], sizeof paths[i], "/service%zu/v1/items%zu/42", i, i);
        else if (i % 3 == 1)
            snprintf(paths[i], sizeof paths[i], "/service%zu/v1/things%zu/x/parts", i, i);
        else
            snprintf(paths[i], sizeof paths[i], "/service%zu/files%zu/a/b", i, i);
    for (int round = 0; round < ROUNDS; round++) {
        nexus_router_match m;
        double start = now_ns();
        for (int i = 0; i < MATCHES; i++) {
            const char *path = paths[i % 10];
            if (nexus_router_find(r, (nexus_slice){NULL, 0}, (nexus_slice){path, strlen(path)}, NEXUS_METHOD_GET, NULL,
                                  NULL, &m))
                fail(path);
        }
        rounds[round] = (now_ns() - start) / MATCHES;
    }
    nexus_router_free(r);
    return sorted(rounds, 0); /* the least: what neighbours on the machine do to the cache is not ours */
}

static char *routes_text(size_t *n)
{
    char *text;
    FILE *f = open_memstream(&text, n);
    if (!f)
        exit(2);
    fputs("{\"version\":1,\"upstreams\":{", f);
    for (int i = 0; i < UPSTREAMS; i++)
        fprintf(f, "%s\"u%d\":{\"targets\":[\"http://127.0.0.1:%d\"]}", i ? "," : "", i, 10000 + i);
    fputs("},\"routes\":[", f);
    for (size_t i = 0; i < ROUTES; i++) {
        char path[96];
        write_path(path, i);
        fprintf(
            f, "%s\n{\"id\":\"r%zu\",\"%s\":\"%s\",\"methods\":[\"GET\",\"POST\"],\"upstream\":\"u%zu\",\"limits\":[{\"rate\":100}]}",
            i ? "," : "", i, i % 3 == 2 ? "prefix" : "path", path, i % UPSTREAMS);
    }
    fputs("]} ", f);
    fclose(f);
    return text;
}

static void load_ms(double *first, double *again)
{
    nexus_runtime *runtime;
    nexus_metrics *metrics;
    nexus_gateway *g;
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    nexus_gateway_opts gateway = NEXUS_GATEWAY_OPTS_INIT;
    double rounds[ROUNDS];
    size_t n;
    char *text = routes_text(&n);
    opts.loops = 2;
    opts.workers = 1;
    if (nexus_runtime_open(&runtime, &opts) || nexus_runtime_start(runtime) || nexus_metrics_open(&metrics, NULL))
        fail("runtime");
    gateway.metrics = metrics;
    if (nexus_gateway_open(&g, runtime, &gateway))
        fail("gateway");
    for (int round = -1; round < ROUNDS; round++) { /* each text another one, as an edit would have it */
        text[n - 1] = round % 2 ? '}' : ' ';
        text[n - 2] = round % 2 ? ' ' : '}';
        double start = now_ns();
        if (nexus_gateway_load(g, "bench", (nexus_slice){text, n}))
            fail("load");
        double took = (now_ns() - start) / 1e6;
        *(round < 0 ? first : &rounds[round]) = took;
    }
    *again = sorted(rounds, ROUNDS / 2);
    nexus_gateway_close(g);
    nexus_metrics_close(metrics);
    nexus_runtime_close(runtime);
    free(text);
}

static bool report(bool json, const char *work, const char *unit, double value, double ratio, double goal)
{
    double judged = ratio > 0 ? ratio : value;
    bool met = goal <= 0 || judged <= goal;
    if (json)
        printf(
            "{\"work\":\"%s\",\"unit\":\"%s\",\"value\":%.2f,\"peers\":{},\"ratio\":%.3f,\"goal\":%.2f,\"met\":%s}\n",
            work, unit, value, ratio, goal, met ? "true" : "false");
    else if (goal > 0)
        printf("%-34s %9.2f %s  %.2f of %.2f allowed: %s\n", work, value, unit, judged, goal, met ? "met" : "MISSED");
    else
        printf("%-34s %9.2f %s\n", work, value, unit);
    return met;
}

int main(int argc, char **argv)
{
    bool json = false, check = false, met = true;
    double first, again;
    for (int i = 1; i < argc; i++) {
        json |= strcmp(argv[i], "--json") == 0;
        check |= strcmp(argv[i], "--check") == 0;
    }
    double ten = match_ns(10), all = match_ns(ROUTES);
    load_ms(&first, &again);
    (void)report(json, "match among 10 routes", "ns", ten, 0, 0);
    met &= report(json, "match among 10,000 routes", "ns", all, all / ten, 1.3);
    met &= report(json, "load 10,000 routes", "ms", first, 0, 100);
    met &= report(json, "reload 10,000 routes", "ms", again, 0, 100);
    return check && !met;
}
