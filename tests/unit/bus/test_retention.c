/* bus/: retention. What may go and what stays, and what a group is told that comes too late. Fault row 32, scaled down. */
#include "fixture.h"

#include "bus/retention.h"

static nexus_bus *open_bounded(const char *dir, bool hard)
{
    char url[300];
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 65536;
    opts.retention_bytes = 4 * 65536;
    opts.retention_hard = hard;
    snprintf(url, sizeof url, dir ? "file:%s/bus" : "memory:", dir);
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

static nexus_publish_result put_big(nexus_bus *bus, int i)
{
    char id[16], data[8000];
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    memset(data, 'x', sizeof data);
    e.id = (nexus_slice){id, (size_t)snprintf(id, sizeof id, "id-%d", i)};
    e.type = text("t");
    e.subject = text("stream-1");
    e.data = (nexus_slice){data, sizeof data};
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, &r) == NEXUS_OK, "%s", nexus_error_message());
    return r;
}

/* Whether position 2 is still there. */
static bool second_is_there(nexus_bus *bus)
{
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *r;
    const nexus_event *e;
    opts.start = NEXUS_START_POS;
    opts.start_pos = 2;
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    nexus_status status = nexus_reader_next(r, &e, 0);
    cr_assert(status == NEXUS_OK || status == NEXUS_EMISSING, "%d %s", status, nexus_error_message());
    bool there = status == NEXUS_OK && e->pos == 2;
    if (status == NEXUS_EMISSING)
        cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->pos > 2);
    nexus_reader_close(r);
    return there;
}

static nexus_group *join_total(nexus_bus *bus)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.order = NEXUS_ORDER_NONE;
    return join(bus, "slow", &opts);
}

/* Publishing goes on until the old files have gone. */
static int put_until_gone(nexus_bus *bus, int i)
{
    for (int tries = 0; second_is_there(bus) && tries < 20000; tries++)
        put_big(bus, i++);
    cr_assert(!second_is_there(bus));
    return i;
}

static void what_a_group_needs_stays(const char *dir)
{
    nexus_bus *bus = open_bounded(dir, false);
    nexus_group *g = join_total(bus);
    int i = 1;
    for (; i <= 100; i++) /* 800 KB where 256 KiB are allowed */
        put_big(bus, i);
    cr_assert(second_is_there(bus));
    for (int k = 1; k < i; k++) {
        nexus_delivery *d = take(g, 5000);
        cr_assert(d && nexus_delivery_event(d)->pos == (uint64_t)k);
        cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    put_until_gone(bus, i);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(retention, leaves_what_a_group_has_not_passed)
{
    char *dir = scratch_dir();
    what_a_group_needs_stays(dir);
    what_a_group_needs_stays(NULL);
    scratch_remove(dir);
}

static uint64_t number(const nexus_event *e, const char *name)
{
    char data[300];
    snprintf(data, sizeof data, "%.*s", (int)e->data.n, e->data.p);
    const char *at = strstr(data, name);
    cr_assert(at != NULL, "%s", data);
    return strtoull(at + strlen(name), NULL, 10);
}

Test(retention, by_force_tells_a_slow_group_what_it_missed_and_keeps_everything_else)
{
    char *dir = scratch_dir();
    nexus_bus *bus = open_bounded(dir, true);
    nexus_group *g = join_total(bus);
    put_big(bus, 1);
    nexus_delivery *d = take(g, 5000);
    cr_assert(d && nexus_delivery_term(d, "kept all the same") == NEXUS_OK);
    nexus_delivery_free(d);
    put_big(bus, 2);
    int i = put_until_gone(bus, 3);
    nexus_group_close(g);
    nexus_bus_close(bus);
    for (int round = 0; round < 2; round++) { /* not settled: told again after a restart */
        bus = open_bounded(dir, true);
        g = join_total(bus);
        d = take(g, 5000);
        const nexus_event *e = nexus_delivery_event(d);
        cr_assert(d && e->type.n == 9 && memcmp(e->type.p, "nexus.gap", 9) == 0);
        uint64_t to = number(e, "\"to\":");
        cr_assert(number(e, "\"from\":") == 2 && number(e, "\"events\":") == to - 1 && to < (uint64_t)i);
        if (round == 1)
            cr_assert(nexus_delivery_ack_sync(d) == NEXUS_OK);
        nexus_delivery_free(d);
        d = take(g, 5000);
        cr_assert(d && nexus_delivery_event(d)->pos == to + 1);
        nexus_delivery_free(d);
        char *letters;
        cr_assert(nexus_group_dead(&letters, NULL, g, NULL) == NEXUS_OK && strstr(letters, "kept all the same"));
        nexus_free(letters);
        nexus_group_close(g);
        nexus_bus_close(bus);
    }
    bus = open_bounded(dir, true); /* settled: not again */
    g = join_total(bus);
    d = take(g, 5000);
    cr_assert(d && nexus_delivery_event(d)->type.n == 1);
    nexus_delivery_free(d);
    nexus_publish_result r = put_big(bus, 1); /* ids and streams are known beyond the log */
    int64_t version;
    cr_assert(r.dup && r.first == 1);
    cr_assert(nexus_stream_version(bus, "stream-1", &version) == NEXUS_OK && version == i - 2);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- the decision ------------------------------------------------------------------------------------------------- */

Test(retention, decides_by_bytes_age_need_and_what_is_saved)
{
    const nexus__wal_file files[] = {{.first_pos = 1, .end_pos = 11, .end_seq = 5, .bytes = 100, .ended_ns = 10},
                                     {.first_pos = 11, .end_pos = 21, .end_seq = 9, .bytes = 100, .ended_ns = 20},
                                     {.first_pos = 21, .end_pos = 31, .end_seq = 14, .bytes = 100, .begun_ns = 20}};
    nexus__retention any = {0}, bytes = {.max_bytes = 150}, age = {.max_age_ns = 15},
                     hard = {.max_bytes = 150, .hard = true};
    cr_assert(nexus__retention_count(&any, files, 3, UINT64_MAX, UINT64_MAX, 1000) == 0);
    cr_assert(nexus__retention_count(&bytes, files, 3, UINT64_MAX, UINT64_MAX, 1000) == 2); /* never the last */
    cr_assert(nexus__retention_count(&bytes, files, 3, 20, UINT64_MAX, 1000) == 1);
    cr_assert(nexus__retention_count(&bytes, files, 3, 10, UINT64_MAX, 1000) == 0);
    cr_assert(nexus__retention_count(&hard, files, 3, 10, UINT64_MAX, 1000) == 2);
    cr_assert(nexus__retention_count(&hard, files, 3, 10, 8, 1000) == 1); /* not yet in both checkpoints */
    cr_assert(nexus__retention_count(&age, files, 3, UINT64_MAX, UINT64_MAX, 30) == 1);
    cr_assert(nexus__retention_count(&age, files, 3, UINT64_MAX, UINT64_MAX, 25) == 0);
    cr_assert(nexus__retention_ends_last(&age, &files[2], 36) && !nexus__retention_ends_last(&age, &files[2], 35));
    cr_assert(!nexus__retention_ends_last(&bytes, &files[2], 1000));
}
