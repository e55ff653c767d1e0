/* A scratch directory and short ways to publish and fetch. */
#ifndef TESTS_BUS_FIXTURE_H
#define TESTS_BUS_FIXTURE_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <nexus/bus.h>
#include <nexus/stream.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline char *scratch_dir(void)
{
    char template[] = "/tmp/nexus-test-XXXXXX";
    cr_assert(mkdtemp(template) != NULL);
    return strdup(template);
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void scratch_remove(char *dir)
{
    nftw(dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

static inline nexus_bus *bus_open(const char *dir)
{
    char url[300];
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 1 << 20;
    snprintf(url, sizeof url, dir ? "file:%s/bus" : "memory:", dir);
    nexus_status status = nexus_bus_open(&bus, url, &opts);
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

static inline nexus_slice text(const char *t)
{
    return (nexus_slice){t, t ? strlen(t) : 0};
}

static inline uint64_t put(nexus_bus *bus, const char *type, const char *subject, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    e.type = text(type);
    e.subject = text(subject);
    e.data = text(data);
    nexus_status status = nexus_bus_publish(bus, &e, 1, NULL, &r);
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    return r.first;
}

static inline nexus_group *join(nexus_bus *bus, const char *name, const nexus_group_opts *opts)
{
    nexus_group *g = NULL;
    cr_assert(nexus_group_open(&g, bus, name, opts) == NEXUS_OK, "%s", nexus_error_message());
    return g;
}

static inline nexus_delivery *take(nexus_group *g, uint32_t wait_ms)
{
    nexus_delivery *d = NULL;
    size_t got;
    cr_assert(nexus_group_fetch(g, &d, 1, wait_ms, &got) == NEXUS_OK, "%s", nexus_error_message());
    return got ? d : NULL;
}

static inline bool data_is(const nexus_delivery *d, const char *expected)
{
    const nexus_event *e = nexus_delivery_event(d);
    return e->data.n == strlen(expected) && memcmp(e->data.p, expected, e->data.n) == 0;
}

#endif
