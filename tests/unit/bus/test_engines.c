/* bus/engines/: what holds on every engine, as far as its capabilities go. */
#include "engine_steps.h"

#include <nexus/db.h>
#include <pthread.h>
#include <stdatomic.h>

typedef void conformance_fn(const char *url);

static void on(const char *engine, conformance_fn *check)
{
    char *dir = scratch_dir(), url[400];
    if (engine_url(url, engine, dir))
        check(url);
    scratch_remove(dir);
}

#define ON_EACH_ENGINE(check)                                                                                          \
    Test(bus_engines, check##_in_memory) { on("memory", check); }                                                      \
    Test(bus_engines, check##_in_files) { on("file", check); }                                                         \
    Test(bus_engines, check##_in_sqlite) { on("sqlite", check); }                                                      \
    Test(bus_engines, check##_in_postgresql) { on("postgresql", check); }                                              \
    Test(bus_engines, check##_in_nats) { on("nats", check); }                                                          \
    Test(bus_engines, check##_in_redis) { on("redis", check); }                                                        \
    Test(bus_engines, check##_in_kafka) { on("kafka", check); }

static bool lasts(const char *url) /* beyond its handle */
{
    return strncmp(url, "memory:", 7) != 0;
}

static nexus_bus *reopen(nexus_bus *bus, const char *url)
{
    nexus_bus_close(bus);
    return engine_open(url, NEXUS_BUS_AUTO);
}

static nexus_event event(const char *id, const char *subject, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text(id);
    e.type = text("order.created");
    e.subject = text(subject);
    e.data = text(data);
    return e;
}

/* --- publishing and reading ---- */

static void positions_have_no_gaps_and_streams_count(const char *url)
{
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    char data[32];
    for (int i = 0; i < 60; i++) {
        snprintf(data, sizeof data, "{\"n\":%d}", i);
        cr_assert(put(bus, i % 2 ? "order.created" : "payment.processed", i % 5 ? "order-1" : "order-2", data) ==
                  (uint64_t)i + 1);
        if (i == 30 && lasts(url))
            bus = reopen(bus, url);
    }
    uint64_t head;
    int64_t version;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 60);
    cr_assert(nexus_stream_version(bus, "order-1", &version) == NEXUS_OK && version == 47);
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *r;
    const nexus_event *e;
    opts.stream = "order-2";
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    for (int i = 0; i < 12; i++)
        cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->version == i && e->pos == (uint64_t)i * 5 + 1);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    put(bus, "order.created", "order-2", "{}");
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->pos == 61);
    nexus_reader_close(r);
    opts = (nexus_reader_opts)NEXUS_READER_OPTS_INIT;
    opts.types = "payment.*";
    opts.start = NEXUS_START_POS;
    opts.start_pos = 10;
    opts.to_pos = 20;
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    for (uint64_t pos = 11; pos <= 19; pos += 2)
        cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->pos == pos);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    nexus_reader_close(r);
    nexus_bus_close(bus);
}
ON_EACH_ENGINE(positions_have_no_gaps_and_streams_count)

static void a_batch_is_stored_whole_and_an_id_once(const char *url)
{
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_event three[3] = {event("a", "s-1", "1"), event("b", "s-2", "2"), event("c", "s-1", "3")};
    cr_assert(nexus_bus_publish(bus, three, 3, NULL, &r) == NEXUS_OK && r.first == 1 && r.last == 3 && !r.dup);
    cr_assert(r.durable == !!(nexus_bus_caps(bus) & NEXUS_CAP_DURABLE), "durability is echoed as it is");
    if (lasts(url))
        bus = reopen(bus, url);
    cr_assert(nexus_bus_publish(bus, three, 3, NULL, &r) == NEXUS_OK && r.first == 1 && r.last == 3 && r.dup);
    nexus_event other = event("b", "s-2", "changed"), twins[2] = {event("t", "x", "1"), event("t", "x", "1")};
    cr_assert(nexus_bus_publish(bus, &other, 1, NULL, &r) == NEXUS_ECONFLICT);
    cr_assert(nexus_bus_publish(bus, twins, 2, NULL, &r) == NEXUS_EINVAL);
    nexus_event mixed[2] = {event("c", "s-1", "3"), event("d", "s-1", "4")};
    cr_assert(nexus_bus_publish(bus, mixed, 2, NULL, &r) == NEXUS_OK && r.first == 3 && r.last == 4 && !r.dup);
    nexus_bus_close(bus);
}
ON_EACH_ENGINE(a_batch_is_stored_whole_and_an_id_once)

static void an_expected_version_lets_one_writer_win(const char *url)
{
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_event a = event("a", "s-1", "1"), b = event("b", "s-1", "2"), c = event("c", "s-1", "3");
    opts.expect = NEXUS_EXPECT_NO_STREAM;
    cr_assert(nexus_bus_publish(bus, &a, 1, &opts, &r) == NEXUS_OK && r.version == 0);
    if (lasts(url))
        bus = reopen(bus, url);
    cr_assert(nexus_bus_publish(bus, &b, 1, &opts, &r) == NEXUS_ECONFLICT && r.actual_version == 0);
    opts.expect = 0;
    cr_assert(nexus_bus_publish(bus, &b, 1, &opts, &r) == NEXUS_OK && r.version == 1);
    cr_assert(nexus_bus_publish(bus, &c, 1, &opts, &r) == NEXUS_ECONFLICT && r.actual_version == 1);
    cr_assert(nexus_bus_publish(bus, &b, 1, &opts, &r) == NEXUS_OK && r.dup);
    nexus_bus_close(bus);
}
ON_EACH_ENGINE(an_expected_version_lets_one_writer_win)

static void large_events_and_long_logs_are_read_in_pages(const char *url)
{
    enum { EVENTS = 40, BYTES = 100000 };
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    char *data = malloc(BYTES + 1);
    memset(data, 'x', BYTES);
    data[BYTES] = '\0';
    for (int i = 0; i < EVENTS; i++) {
        data[0] = (char)('a' + i % 26);
        put(bus, "big.one", "s-1", data);
    }
    if (lasts(url))
        bus = reopen(bus, url);
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    for (int i = 0; i < EVENTS; i++)
        cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->pos == (uint64_t)i + 1 && e->data.n == BYTES &&
                  e->data.p[0] == 'a' + i % 26);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    nexus_reader_close(r);
    nexus_bus_close(bus);
    free(data);
}
ON_EACH_ENGINE(large_events_and_long_logs_are_read_in_pages)

/* --- groups ---- */

static void a_key_keeps_its_order_through_retries(const char *url)
{
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.max_deliver = 2;
    nexus_group *g = join(bus, "workers", &opts);
    put(bus, "a.b", "one", "1");
    put(bus, "a.b", "one", "2");
    put(bus, "a.b", "two", "3");
    nexus_delivery *first = take(g, 0), *other = take(g, 0);
    cr_assert(data_is(first, "1") && data_is(other, "3") && take(g, 0) == NULL);
    cr_assert(nexus_delivery_ack(other) == NEXUS_OK && nexus_delivery_nak(first, 0, "not yet") == NEXUS_OK);
    nexus_delivery_free(first);
    nexus_delivery_free(other);
    first = take(g, 1000);
    cr_assert(data_is(first, "1") && nexus_delivery_attempt(first) == 2);
    cr_assert(nexus_delivery_nak(first, 0, "never") == NEXUS_OK);
    nexus_delivery_free(first);
    nexus_delivery *second = take(g, 1000);
    cr_assert(data_is(second, "2") && nexus_delivery_ack_sync(second) == NEXUS_OK);
    nexus_delivery_free(second);
    if (lasts(url)) {
        nexus_group_close(g);
        bus = reopen(bus, url);
        g = join(bus, "workers", &opts);
    }
    cr_assert(take(g, 0) == NULL);
    char *json;
    size_t n;
    cr_assert(nexus_group_dead(&json, &n, g, NULL) == NEXUS_OK && strstr(json, "\"reason\":\"never\""), "%s", json);
    nexus_free(json);
    nexus_group_close(g);
    nexus_bus_close(bus);
}
ON_EACH_ENGINE(a_key_keeps_its_order_through_retries)

static void attempts_survive_the_owner(const char *url)
{
    if (!lasts(url))
        return;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
        nexus_group *g = join(bus, "workers", &opts);
        if (attempt == 1)
            put(bus, "a.b", "one", "1");
        nexus_delivery *d = take(g, 3000);
        cr_assert(d && nexus_delivery_attempt(d) == attempt, "attempt %u", d ? nexus_delivery_attempt(d) : 0);
        nexus_delivery_free(d);
        nexus_group_close(g);
        nexus_bus_close(bus);
    }
}
ON_EACH_ENGINE(attempts_survive_the_owner)

/* --- several handles, as several processes would be ---- */

static void others_are_clients_and_one_takes_over(const char *url)
{
    nexus_bus *first = engine_open(url, NEXUS_BUS_AUTO);
    if (!(nexus_bus_caps(first) & NEXUS_CAP_PROCESSES)) {
        nexus_bus_close(first);
        return;
    }
    nexus_bus *second = engine_open(url, NEXUS_BUS_AUTO), *third = engine_open(url, NEXUS_BUS_CLIENT);
    cr_assert(nexus_bus_is_owner(first) && !nexus_bus_is_owner(second) && !nexus_bus_is_owner(third));
    cr_assert(nexus_bus_caps(second) == nexus_bus_caps(first), "a client knows what its owner can");
    nexus_group *g = join(third, "workers", NULL);
    for (int i = 0; i < 20; i++)
        cr_assert(put(i % 2 ? second : third, "a.b", i % 2 ? "odd" : "even", i == 0 ? "first" : "x") ==
                  (uint64_t)i + 1);
    nexus_delivery *d = take(g, 2000);
    cr_assert(d && data_is(d, "first") && nexus_delivery_ack_sync(d) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_delivery_ack(d) == NEXUS_ESTALE);
    nexus_delivery_free(d);
    nexus_bus_close(first);
    cr_assert(put(third, "a.b", "even", "last") == 21);
    cr_assert(nexus_bus_is_owner(second) && !nexus_bus_is_owner(third));
    int left = 0;
    while (left < 20 && (d = take(g, 2000)) != NULL) {
        cr_assert(!data_is(d, "first") && nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
        left++;
    }
    cr_assert(left == 20, "%d", left);
    nexus_group_close(g);
    nexus_bus_close(third);
    nexus_bus_close(second);
}
ON_EACH_ENGINE(others_are_clients_and_one_takes_over)

static void a_second_owner_is_refused(const char *url)
{
    nexus_bus *first = engine_open(url, NEXUS_BUS_AUTO), *second;
    if (nexus_bus_caps(first) & NEXUS_CAP_PROCESSES) {
        nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
        opts.role = NEXUS_BUS_OWNER;
        cr_assert(nexus_bus_open(&second, url, &opts) == NEXUS_ECONFLICT);
    }
    nexus_bus_close(first);
}
ON_EACH_ENGINE(a_second_owner_is_refused)

typedef struct publisher {
    nexus_bus *bus;
    int number;
    pthread_t thread;
} publisher;

static void *publish_many(void *arg)
{
    publisher *p = arg;
    char id[32];
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "%d-%d", p->number, i);
        nexus_event e = event(id, "s-1", "x");
        nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
        cr_assert(nexus_bus_publish(p->bus, &e, 1, NULL, &r) == NEXUS_OK, "%s", nexus_error_message());
    }
    return NULL;
}

static void readers_see_every_position_while_many_publish(const char *url)
{
    nexus_bus *owner = engine_open(url, NEXUS_BUS_AUTO), *other = owner;
    if (nexus_bus_caps(owner) & NEXUS_CAP_PROCESSES)
        other = engine_open(url, NEXUS_BUS_CLIENT);
    nexus_reader *r;
    const nexus_event *e;
    publisher publishers[4];
    cr_assert(nexus_reader_open(&r, other, NULL) == NEXUS_OK);
    for (int i = 0; i < 4; i++) {
        publishers[i] = (publisher){.bus = i % 2 ? owner : other, .number = i};
        cr_assert(pthread_create(&publishers[i].thread, NULL, publish_many, &publishers[i]) == 0);
    }
    for (uint64_t pos = 1; pos <= 120; pos++) {
        nexus_status status = nexus_reader_next(r, &e, 10000);
        cr_assert(status == NEXUS_OK && e->pos == pos && e->version == (int64_t)pos - 1, "%llu: %s",
                  (unsigned long long)pos, nexus_error_message());
    }
    for (int i = 0; i < 4; i++)
        pthread_join(publishers[i].thread, NULL);
    nexus_reader_close(r);
    if (other != owner)
        nexus_bus_close(other);
    nexus_bus_close(owner);
}
ON_EACH_ENGINE(readers_see_every_position_while_many_publish)

/* Files, memory and Redis have tests of their own. */
static void old_events_go_or_the_bus_says_that_they_cannot(const char *url)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.retention_bytes = 100000;
    if (strncmp(url, "nats:", 5) == 0 || strncmp(url, "kafka:", 6) == 0)
        cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_ENOTSUP && strstr(nexus_error_message(), "retention"));
    else
        expect_retention(url);
}
Test(bus_engines, retention_in_sqlite) { on("sqlite", old_events_go_or_the_bus_says_that_they_cannot); }
Test(bus_engines, retention_in_postgresql) { on("postgresql", old_events_go_or_the_bus_says_that_they_cannot); }
Test(bus_engines, retention_in_nats) { on("nats", old_events_go_or_the_bus_says_that_they_cannot); }
Test(bus_engines, retention_in_kafka) { on("kafka", old_events_go_or_the_bus_says_that_they_cannot); }
