/* bus/: publish, dedupe, versions, reading, reopening; on memory: and file: alike. */
#include "fixture.h"

#include <stdatomic.h>

static void publish_and_read(nexus_bus *bus)
{
    char data[32];
    for (int i = 0; i < 50; i++) {
        snprintf(data, sizeof data, "{\"n\":%d}", i);
        cr_assert(put(bus, i % 2 ? "order.created" : "payment.processed", i % 5 ? "order-1" : "order-2", data) ==
                  (uint64_t)i + 1);
    }
    uint64_t head;
    int64_t version;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 50);
    cr_assert(nexus_stream_version(bus, "order-1", &version) == NEXUS_OK && version == 39);
    cr_assert(nexus_stream_version(bus, "nobody", &version) == NEXUS_OK && version == -1);
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *r;
    const nexus_event *e;
    opts.stream = "order-2";
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    for (int i = 0; i < 10; i++) {
        cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK);
        cr_assert(e->version == i && e->pos == (uint64_t)i * 5 + 1 && e->recv_ns > 0 && e->time_ns > 0);
        cr_assert(e->id.n == 36 && e->source.n);
    }
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    put(bus, "order.created", "order-2", "{}");
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->pos == 51);
    nexus_reader_close(r);
    opts = (nexus_reader_opts)NEXUS_READER_OPTS_INIT;
    opts.types = "payment.*";
    opts.category = "order";
    opts.start = NEXUS_START_POS;
    opts.start_pos = 10;
    opts.to_pos = 20;
    cr_assert(nexus_reader_open(&r, bus, &opts) == NEXUS_OK);
    int n = 0;
    while (nexus_reader_next(r, &e, 0) == NEXUS_OK)
        n++;
    cr_assert(n == 5);
    nexus_reader_close(r);
}

Test(bus, publishes_and_reads_in_memory)
{
    nexus_bus *bus = bus_open(NULL);
    cr_assert(nexus_bus_is_owner(bus) && !(nexus_bus_caps(bus) & NEXUS_CAP_DURABLE));
    publish_and_read(bus);
    nexus_bus_close(bus);
}

Test(bus, publishes_and_reads_in_files)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    publish_and_read(bus);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    uint64_t head;
    int64_t version;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 51);
    cr_assert(nexus_stream_version(bus, "order-1", &version) == NEXUS_OK && version == 39);
    cr_assert(put(bus, "order.created", "order-1", "{}") == 52);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

static nexus_event with_id(const char *id, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text(id);
    e.type = text("a.b");
    e.subject = text("s-1");
    e.data = text(data);
    return e;
}

static void duplicates(nexus_bus *bus, bool again)
{
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_event e[2] = {with_id("id-1", "1"), with_id("id-2", "2")};
    cr_assert(nexus_bus_publish(bus, e, 2, NULL, &r) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(r.dup == again && r.first == 1 && r.last == 2 && r.version == 1);
    cr_assert(nexus_bus_publish(bus, e, 1, NULL, &r) == NEXUS_OK && r.dup && r.first == 1);
    nexus_event other = with_id("id-1", "changed");
    cr_assert(nexus_bus_publish(bus, &other, 1, NULL, &r) == NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "id-1"));
    nexus_event twins[2] = {with_id("t", "1"), with_id("t", "1")};
    cr_assert(nexus_bus_publish(bus, twins, 2, NULL, &r) == NEXUS_EINVAL);
    uint64_t head;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 2);
}

Test(bus, a_repeated_id_is_stored_once_after_reopening_too)
{
    char *dir = scratch_dir();
    for (int i = 0; i < 3; i++) {
        nexus_bus *bus = bus_open(dir);
        duplicates(bus, i > 0);
        nexus_bus_close(bus);
    }
    scratch_remove(dir);
    nexus_bus *bus = bus_open(NULL);
    duplicates(bus, false);
    nexus_bus_close(bus);
}

Test(bus, the_window_of_ids_is_bounded)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.dedupe_max = 100;
    cr_assert(nexus_bus_open(&bus, "memory:", &opts) == NEXUS_OK);
    char id[16];
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    for (int i = 0; i < 150; i++) {
        snprintf(id, sizeof id, "%d", i);
        nexus_event e = with_id(id, "x");
        cr_assert(nexus_bus_publish(bus, &e, 1, NULL, &r) == NEXUS_OK && !r.dup);
    }
    nexus_event old = with_id("10", "x"), recent = with_id("140", "x");
    cr_assert(nexus_bus_publish(bus, &recent, 1, NULL, &r) == NEXUS_OK && r.dup && r.first == 141);
    cr_assert(nexus_bus_publish(bus, &old, 1, NULL, &r) == NEXUS_OK && !r.dup);
    nexus_bus_close(bus);
}

Test(bus, an_expected_version_lets_one_writer_win)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    opts.expect = NEXUS_EXPECT_EXISTS;
    nexus_event a = with_id("a", "1"), b = with_id("b", "2"), c = with_id("c", "3");
    cr_assert(nexus_bus_publish(bus, &a, 1, &opts, &r) == NEXUS_ECONFLICT && r.actual_version == -1);
    opts.expect = NEXUS_EXPECT_NO_STREAM;
    cr_assert(nexus_bus_publish(bus, &a, 1, &opts, &r) == NEXUS_OK && r.version == 0);
    cr_assert(nexus_bus_publish(bus, &b, 1, &opts, &r) == NEXUS_ECONFLICT && r.actual_version == 0);
    opts.expect = 0;
    cr_assert(nexus_bus_publish(bus, &b, 1, &opts, &r) == NEXUS_OK && r.version == 1);
    cr_assert(nexus_bus_publish(bus, &c, 1, &opts, &r) == NEXUS_ECONFLICT && r.actual_version == 1);
    cr_assert(nexus_bus_publish(bus, &b, 1, &opts, &r) == NEXUS_OK && r.dup); /* the winner's retry */
    opts.stream = "other-1";
    opts.expect = NEXUS_EXPECT_NO_STREAM;
    nexus_event two[2] = {with_id("d", "4"), with_id("e", "5")};
    cr_assert(nexus_bus_publish(bus, two, 2, &opts, &r) == NEXUS_OK && r.version == 1);
    int64_t version;
    cr_assert(nexus_stream_version(bus, "other-1", &version) == NEXUS_OK && version == 1);
    nexus_bus_close(bus);
}

Test(bus, sizes_have_limits_and_nothing_is_stored_beyond)
{
    nexus_bus *bus = bus_open(NULL);
    char *big = calloc(1, (1 << 20) + 1);
    memset(big, 'x', 1 << 20);
    nexus_event e = with_id("big", "");
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    e.data = (nexus_slice){big, 65536};
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, &r) == NEXUS_OK);
    e.id = text("bigger");
    e.data.n = (1 << 20) + 1;
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, &r) == NEXUS_ETOOBIG);
    uint64_t head;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 1);
    free(big);
    nexus_bus_close(bus);
}

Test(bus, publishes_json_and_names_what_is_wrong)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    const char *good = "[{\"type\":\"a.b\",\"data\":{\"x\":1}},{\"type\":\"a.c\",\"subject\":\"s\",\"data\":null}]";
    cr_assert(nexus_bus_publish_json(bus, good, strlen(good), NULL, &r) == NEXUS_OK && r.last == 2);
    const char *bad = "[{\"type\":\"a.b\"},{\"type\":\"a.b\",\"Data\":1}]";
    cr_assert(nexus_bus_publish_json(bus, bad, strlen(bad), NULL, &r) == NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "Data") && strstr(nexus_error_message(), "event 1"), "%s",
              nexus_error_message());
    cr_assert(nexus_bus_publish_json(bus, "{}", 2, NULL, &r) == NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "type"));
    nexus_reader *reader;
    const char *json;
    size_t n;
    cr_assert(nexus_reader_open(&reader, bus, NULL) == NEXUS_OK);
    cr_assert(nexus_reader_next_json(reader, &json, &n, 0) == NEXUS_OK);
    cr_assert(strstr(json, "\"data\":{\"x\":1}") && strstr(json, "\"pos\":\"1\"") && strlen(json) == n, "%s", json);
    nexus_reader_close(reader);
    nexus_bus_close(bus);
}

static atomic_int done_count, done_ok;

static void done(nexus_status status, const nexus_publish_result *r, void *ud)
{
    done_ok += status == NEXUS_OK && r->first > 0;
    done_count++;
    if (ud && done_count < 10) { /* may publish and wait from its callback */
        nexus_event e = NEXUS_EVENT_INIT;
        e.type = text("from.callback");
        cr_assert(nexus_bus_publish(ud, &e, 1, NULL, NULL) == NEXUS_OK);
    }
}

Test(bus, async_publishes_call_back_once_each_close_included)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = text("a.b");
    for (int i = 0; i < 1000; i++)
        cr_assert(nexus_bus_publish_async(bus, &e, 1, NULL, done, i < 5 ? bus : NULL) == NEXUS_OK);
    nexus_bus_close(bus);
    cr_assert(done_count == 1000 && done_ok == 1000, "%d %d", done_count, done_ok);
    scratch_remove(dir);
}

Test(bus, urls_of_engines_not_built_say_so)
{
    nexus_bus *bus;
    cr_assert(nexus_bus_open(&bus, "rediss://x", NULL) == NEXUS_ENOTSUP);
    cr_assert(strstr(nexus_error_message(), "TLS"));
    cr_assert(nexus_bus_open(&bus, "bogus", NULL) == NEXUS_EINVAL);
    cr_assert(nexus_bus_open(&bus, "file:", NULL) == NEXUS_EINVAL);
}

Test(bus, a_second_handle_on_the_directory_is_a_client_and_takes_over)
{
    char *dir = scratch_dir();
    nexus_bus *first = bus_open(dir), *second = bus_open(dir);
    cr_assert(nexus_bus_is_owner(first) && !nexus_bus_is_owner(second));
    nexus_group *g = join(second, "workers", NULL);
    publish_and_read(second);
    nexus_delivery *d = take(g, 1000);
    cr_assert(d && data_is(d, "{\"n\":0}"));
    cr_assert(nexus_delivery_ack_sync(d) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_delivery_ack(d) == NEXUS_ESTALE);
    nexus_delivery_free(d);
    nexus_bus_close(first);
    cr_assert(put(second, "order.created", "order-1", "{}") == 52);
    cr_assert(nexus_bus_is_owner(second));
    d = take(g, 1000);
    cr_assert(d && data_is(d, "{\"n\":1}"));
    cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    nexus_group_close(g);
    nexus_bus_close(second);
    scratch_remove(dir);
}
