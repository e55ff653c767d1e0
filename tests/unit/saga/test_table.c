/* Tables: from JSON, of older versions, and what they say of events that come too early. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nexus/saga.h>
#include <nexus/stream.h>

#include "saga/index.h"

#define STEPS                                                                                                          \
    "\"steps\":[{\"name\":\"pay\",\"command\":\"pay.take\",\"on_types\":\"pay.taken\"},"                               \
    "{\"name\":\"pack\",\"command\":\"pack.it\",\"on_types\":\"pack.done\"%s}]"
#define TABLE "{\"name\":\"sale\",\"key\":\"subject\",\"early_backoff_ms\":1,\"done_type\":\"sale.done\"%s," STEPS "}"

typedef struct shop {
    nexus_bus *bus;
    nexus_saga *saga;
    nexus_reader *reader;
} shop;

static void open_table(shop *s, const char *more, const char *of_pack)
{
    char table[1000];
    int n = snprintf(table, sizeof table, TABLE, more, of_pack);
    cr_assert_eq(nexus_saga_open_json(&s->saga, s->bus, table, (size_t)n), NEXUS_OK, "%s", nexus_error_message());
}

static void shop_open(shop *s, const char *more, const char *of_pack)
{
    nexus_reader_opts reader = NEXUS_READER_OPTS_INIT;
    cr_assert_eq(nexus_bus_open(&s->bus, "memory:", NULL), NEXUS_OK);
    open_table(s, more, of_pack);
    reader.types = "pay.take,pack.it,sale.done";
    cr_assert_eq(nexus_reader_open(&s->reader, s->bus, &reader), NEXUS_OK);
}

static void shop_close(shop *s)
{
    nexus_reader_close(s->reader);
    nexus_saga_close(s->saga);
    nexus_bus_close(s->bus);
}

static void publish(shop *s, const char *type, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = (nexus_slice){type, strlen(type)};
    e.subject = NEXUS_S("7");
    e.data = (nexus_slice){data, strlen(data)};
    cr_assert_eq(nexus_bus_publish(s->bus, &e, 1, NULL, NULL), NEXUS_OK);
}

static void expect(shop *s, const char *type)
{
    const nexus_event *e;
    cr_assert_eq(nexus_reader_next(s->reader, &e, 20000), NEXUS_OK, "waiting for %s", type);
    cr_assert(e->type.n == strlen(type) && memcmp(e->type.p, type, e->type.n) == 0, "%.*s", (int)e->type.n, e->type.p);
}

/* Until the saga's group has settled everything; then it has so many dead letters. */
static void await_settled(shop *s, uint64_t letters)
{
    nexus_group *group;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    nexus_group_stats stats = {.size = sizeof stats};
    opts.existing = true;
    cr_assert_eq(nexus_group_open(&group, s->bus, "saga-sale", &opts), NEXUS_OK);
    do
        cr_assert_eq(nexus_group_read_stats(group, &stats), NEXUS_OK);
    while (stats.floor < stats.head);
    cr_assert_eq(stats.dead, letters);
    nexus_group_close(group);
}

Test(saga_table, what_comes_before_its_step_waits_for_it_without_holding_up_the_others)
{
    shop s;
    shop_open(&s, ",\"start_types\":\"shop.sale\",\"early_attempts\":40", "");
    publish(&s, "pack.done", "{}"); /* all of one key: the first one must not block what it waits for */
    publish(&s, "pay.taken", "{}");
    publish(&s, "shop.sale", "{}");
    expect(&s, "pay.take");
    expect(&s, "pack.it");
    expect(&s, "sale.done");
    await_settled(&s, 0);
    shop_close(&s);
}

Test(saga_table, what_never_finds_its_instance_is_a_dead_letter)
{
    shop s;
    shop_open(&s, ",\"early_attempts\":4", "");
    publish(&s, "pack.done", "{}");
    await_settled(&s, 1);
    shop_close(&s);
}

Test(saga_table, dead_at_once_or_discarded_as_the_step_says)
{
    shop s;
    shop_open(&s, "", ",\"early\":\"discard\"");
    publish(&s, "pack.done", "{}");
    await_settled(&s, 0);
    shop_close(&s);
    shop_open(&s, ",\"early\":\"dead\"", "");
    publish(&s, "pack.done", "{}");
    await_settled(&s, 1);
    shop_close(&s);
}

Test(saga_table, an_early_event_can_start_its_instance)
{
    shop s;
    char *view;
    size_t n;
    shop_open(&s, ",\"early\":\"start\"", "");
    publish(&s, "pay.taken", "{\"amount\":5}");
    expect(&s, "pay.take");
    expect(&s, "pack.it");
    cr_assert_eq(nexus_saga_get(&view, &n, s.bus, "sale", NEXUS_S("7")), NEXUS_OK);
    cr_assert(strstr(view, "\"state\":{\"amount\":5}"), "%s", view);
    nexus_free(view);
    await_settled(&s, 0);
    shop_close(&s);
}

Test(saga_table, an_instance_ends_with_the_table_it_began_with)
{
    shop s;
    shop_open(&s, "", "");
    cr_assert_eq(nexus_saga_start(s.saga, NEXUS_S("7"), NEXUS_S("{}")), NEXUS_OK);
    expect(&s, "pay.take");
    nexus_saga_close(s.saga);
    static const char second[] = "{\"name\":\"sale\",\"version\":2,\"done_type\":\"sale.done\","
                                 "\"steps\":[{\"name\":\"pay\",\"command\":\"pay.take\",\"on_types\":\"pay.taken\"}]%s}";
    char table[1000], older[600];
    snprintf(table, sizeof table, second, "");
    s.saga = NULL;
    cr_assert_eq(nexus_saga_open_json(&s.saga, s.bus, table, strlen(table)), NEXUS_EREV);
    cr_assert(strstr(nexus_error_message(), " 7 (version 1)"), "%s", nexus_error_message());
    snprintf(older, sizeof older, ",\"older\":[{\"version\":1," STEPS "}]", "");
    snprintf(table, sizeof table, second, older);
    cr_assert_eq(nexus_saga_open_json(&s.saga, s.bus, table, strlen(table)), NEXUS_OK, "%s", nexus_error_message());
    publish(&s, "pay.taken", "{}");
    expect(&s, "pack.it"); /* the old table has this step */
    publish(&s, "pack.done", "{}");
    expect(&s, "sale.done");
    cr_assert_eq(nexus_saga_start(s.saga, NEXUS_S("8"), NEXUS_S("{}")), NEXUS_OK);
    char *view;
    size_t n;
    cr_assert_eq(nexus_saga_get(&view, &n, s.bus, "sale", NEXUS_S("8")), NEXUS_OK);
    cr_assert(strstr(view, "\"version\":2"), "%s", view);
    nexus_free(view);
    shop_close(&s);
}

Test(saga_table, what_a_json_table_gets_wrong_is_named)
{
    static const char *const rows[][2] = {
        {"{\"steps\":[]}", "name"},
        {"{\"name\":\"a\"}", "steps"},
        {"{\"name\":\"a\",\"steps\":[]}", "0 steps"},
        {"{\"name\":\"a\",\"steps\":[{\"name\":\"x\",\"colour\":1}]}", "/steps/0/colour"},
        {"{\"name\":\"a\",\"steps\":[{\"name\":\"x\",\"timeout_ms\":-1}]}", "/steps/0/timeout_ms"},
        {"{\"name\":\"a\",\"steps\":[{\"name\":\"x\",\"early\":\"never\"}]}", "/steps/0/early"},
        {"{\"name\":\"a\",\"steps\":[{\"name\":\"x\"},{\"name\":\"x\"}]}", "two steps"},
        {"{\"name\":\"a\",\"steps\":[{\"name\":\"x\",\"timeout_ms\":5}]}", "on_types"},
        {"{\"name\":\"a\",\"older\":{},\"steps\":[{\"name\":\"x\"}]}", "/older"},
        {"{\"name\":\"a\",\"older\":[{\"version\":1,\"steps\":[{\"name\":\"x\"}]}],\"steps\":[{\"name\":\"x\"}]}",
         "two tables of version 1"},
        {"[]", "object"},
    };
    nexus_bus *bus;
    nexus_saga *saga = NULL;
    cr_assert_eq(nexus_bus_open(&bus, "memory:", NULL), NEXUS_OK);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        cr_assert_eq(nexus_saga_open_json(&saga, bus, rows[k][0], strlen(rows[k][0])), NEXUS_EINVAL, "%s", rows[k][0]);
        cr_assert(strstr(nexus_error_message(), rows[k][1]), "%s: %s", rows[k][0], nexus_error_message());
    }
    nexus_bus_close(bus);
}

/* --- the index ---------------------------------------------------------------------------------------------------- */

Test(saga_index, times_come_in_order_whatever_is_put_moved_and_taken_out)
{
    nexus__saga_index x;
    nexus__saga_index_init(&x, NULL);
    uint64_t random = 88172645463325252u;
    for (uint64_t k = 0; k < 20000; k++) {
        char id[16];
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        int n = snprintf(id, sizeof id, "%d", (int)(random % 997));
        nexus__saga_entry row = {.seq = k + 1, .due_ns = (int64_t)(random >> 33), .version = 1};
        row.status = random % 5 == 0 ? NEXUS__SAGA_DONE : NEXUS__SAGA_RUNNING;
        cr_assert_eq(nexus__saga_index_put(&x, nexus__slice(id, (size_t)n), &row), NEXUS_OK);
    }
    int64_t last = 0;
    size_t count = 0, waiting = x.heap_count;
    for (nexus__saga_entry *e; (e = nexus__saga_index_first(&x)); count++) {
        cr_assert_geq(e->look_ns, last);
        last = e->look_ns;
        cr_assert_eq(nexus__saga_index_plan(&x, e, 0), NEXUS_OK);
    }
    cr_assert_eq(count, waiting);
    nexus__saga_index_free(&x);
}

Test(saga_index, a_stored_index_is_read_whole_or_not_at_all)
{
    nexus_bus *bus;
    nexus__saga_index x, y;
    cr_assert_eq(nexus_bus_open(&bus, "memory:", NULL), NEXUS_OK);
    nexus__saga_index_init(&x, NULL);
    for (uint64_t k = 0; k < 5000; k++) {
        char id[48];
        int n = snprintf(id, sizeof id, "instance-\"%llu\"", (unsigned long long)k);
        nexus__saga_entry row = {.seq = k + 1, .pos = k, .due_ns = (int64_t)k, .version = 3, .status = NEXUS__SAGA_STUCK};
        cr_assert_eq(nexus__saga_index_put(&x, nexus__slice(id, (size_t)n), &row), NEXUS_OK);
    }
    x.pos = 77;
    for (int turn = 0; turn < 3; turn++) {
        cr_assert_eq(nexus__saga_index_store(&x, bus, "sale"), NEXUS_OK, "%s", nexus_error_message());
        nexus__saga_index_init(&y, NULL);
        cr_assert_eq(nexus__saga_index_load(&y, bus, "sale"), NEXUS_OK);
        cr_assert_eq(y.pos, 77);
        cr_assert_eq(y.entries.count, 5000);
        const nexus__saga_entry *e = nexus__map_get(&y.entries, NEXUS_S("instance-\"4711\""));
        cr_assert(e && e->seq == 4712 && e->pos == 4711 && e->due_ns == 4711 && e->version == 3);
        nexus__saga_index_free(&y);
    }
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT; /* somebody writes over a part of the set in force */
    nexus_event e = NEXUS_EVENT_INIT;
    opts.stream = "saga_index-sale-a-2";
    e.type = NEXUS_S("saga.index");
    e.data = NEXUS_S("{\"mark\":\"another\",\"rows\":[]}");
    cr_assert_eq(nexus_bus_publish(bus, &e, 1, &opts, NULL), NEXUS_OK);
    nexus__saga_index_init(&y, NULL);
    cr_assert_eq(nexus__saga_index_load(&y, bus, "sale"), NEXUS_OK);
    cr_assert_eq(y.pos, 0);
    cr_assert_eq(y.entries.count, 0);
    nexus__saga_index_free(&y);
    nexus__saga_index_free(&x);
    nexus_bus_close(bus);
}
