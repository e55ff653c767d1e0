/*
 * What limits cost a request: keys, decision and the lines of the reply, without the request around them.
 * usage: bench-limit [ROUNDS] [--json]     CPU time, median of the rounds
 *        valgrind --tool=callgrind --toggle-collect=composite bench-limit 1     instructions of 200,000 requests
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/time.h"
#include "gateway/filters/limit.h"
#include "limit/limiter.h"

enum { REQUESTS = 200000, CLIENTS = 1000, ROUNDS_MAX = 99, GOAL_NS = 150 };

static const char *const kinds[] = {
    "[{\"name\":\"burst\",\"rate\":1000000,\"period_s\":60,\"key\":[\"ip\"]}]",
    "[{\"name\":\"burst\",\"rate\":1000000,\"period_s\":60,\"key\":[\"ip\"]},"
    "{\"name\":\"user\",\"rate\":2000000,\"period_s\":60,\"key\":[\"consumer\",\"route\"]}]",
    "[{\"name\":\"burst\",\"rate\":1000000,\"period_s\":60,\"key\":[\"ip\"]},"
    "{\"name\":\"hour\",\"quota\":16000000,\"window_s\":3600,\"key\":[\"consumer\",\"route\"]}]",
};
static const char *const names[] = {"one rate by address", "composite: rate by address, rate by consumer and route",
                                    "composite: rate by address, quota by consumer and route"};

static struct client {
    char ip[24], name[24];
} clients[CLIENTS];

static double cpu_ns(void)
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

__attribute__((noinline)) void composite(nexus_limiter *limiter, const nexus__limit_set *set, unsigned *denied);

void composite(nexus_limiter *limiter, const nexus__limit_set *set, unsigned *denied)
{
    char space[NEXUS__LIMIT_LINES_MAX];
    int64_t now = nexus__mono_ns();
    for (int i = 0; i < REQUESTS; i++) {
        const struct client *c = &clients[i % CLIENTS];
        nexus__limit_subject s = {.ip = nexus__slice_c(c->ip), .consumer = nexus__slice_c(c->name)};
        nexus__limit_outcome o;
        nexus__limits_take(limiter, set, &s, 1, now, NULL, &o);
        *denied += o.denied != 0 || nexus__limit_lines(&o, space).n == 0;
    }
}

static double measure(nexus_limiter *limiter, const char *limits, int rounds)
{
    char text[1024];
    double took[ROUNDS_MAX];
    nexus__gw_config *config;
    nexus__limit_set set;
    unsigned denied = 0;
    snprintf(text, sizeof text,
             "{\"upstreams\":{\"u\":{\"targets\":[\"http://h\"]}},\"routes\":[{\"id\":\"orders\",\"prefix\":\"/\","
             "\"upstream\":\"u\",\"auth\":\"jwt\",\"limits\":%s}]}",
             limits);
    if (nexus__gw_config_parse(&config, "bench", nexus__slice_c(text), NULL))
        exit(1);
    const nexus__gw_limits_conf *c = nexus__gw_filter_conf(&config->routes.items[0], &nexus__gw_filter_limits);
    if (nexus__limit_set_open(&set, &c->policies, NULL, NEXUS_S("orders"), 1, 1, nexus__limiter_secret(limiter), NULL))
        exit(1);
    for (int i = 0; i < rounds; i++) {
        double start = cpu_ns();
        composite(limiter, &set, &denied);
        took[i] = (cpu_ns() - start) / REQUESTS;
    }
    nexus__limit_set_close(&set, NULL);
    nexus__gw_config_free(config);
    qsort(took, (size_t)rounds, sizeof *took, compare);
    return denied ? 0 : took[rounds / 2];
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 15;
    bool as_json = argc > 1 && strcmp(argv[argc - 1], "--json") == 0;
    nexus_limiter *limiter;
    if (nexus_limiter_new(&limiter, 0, NULL))
        return 1;
    for (unsigned i = 0; i < CLIENTS; i++) {
        snprintf(clients[i].ip, sizeof clients[i].ip, "10.1.%u.%u", i / 250, i % 250);
        snprintf(clients[i].name, sizeof clients[i].name, "user-%06u", i * 7919 % 1000000);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        double ns = measure(limiter, kinds[i], rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX);
        printf(as_json ? "{\"work\":\"%s\",\"unit\":\"ns\",\"value\":%.1f,\"goal\":%d,\"met\":%s}\n"
                       : "%s: %.1f ns (goal %d: %s)\n",
               names[i], ns, GOAL_NS,
               ns <= GOAL_NS ? (as_json ? "true" : "met")
               : as_json     ? "false"
                             : "missed");
    }
    nexus_limiter_free(limiter);
    return 0;
}
