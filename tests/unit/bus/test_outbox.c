/* Outbox and inbox on a real SQLite file and the memory bus. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nexus/bus.h>
#include <nexus/db.h>
#include <nexus/stream.h>

typedef struct world {
    char dir[64];
    nexus_db *db;
    nexus_bus *bus;
    nexus_outbox_relay *relay;
} world;

static void world_open(world *w)
{
    char url[128];
    *w = (world){.dir = "/tmp/nexus-outbox-XXXXXX"};
    cr_assert_not_null(mkdtemp(w->dir));
    snprintf(url, sizeof url, "sqlite:%s/db", w->dir);
    cr_assert_eq(nexus_db_open(&w->db, url, NULL), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_outbox_prepare(w->db), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus_outbox_prepare(w->db), NEXUS_OK, "a second time is harmless");
    cr_assert_eq(nexus_bus_open(&w->bus, "memory:", NULL), NEXUS_OK);
    nexus_outbox_relay_opts opts = NEXUS_OUTBOX_RELAY_OPTS_INIT;
    opts.poll_ms = 3600 * 1000; /* the tests say when */
    opts.source = "/test";
    opts.batch = 4;
    cr_assert_eq(nexus_outbox_relay_open(&w->relay, w->db, w->bus, &opts), NEXUS_OK, "%s", nexus_error_message());
}

static void world_close(world *w)
{
    nexus_outbox_relay_close(w->relay);
    nexus_bus_close(w->bus);
    nexus_db_close(w->db);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    cr_assert_eq(system(command), 0);
}

static nexus_status append(nexus_db *tx, const char *type)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = (nexus_slice){type, strlen(type)};
    e.subject = NEXUS_S("order-1");
    e.data = NEXUS_S("{\"n\":1}");
    return nexus_outbox_append(tx, &e, 1);
}

static uint64_t head(world *w)
{
    uint64_t pos = 0;
    cr_assert_eq(nexus_bus_head(w->bus, &pos), NEXUS_OK);
    return pos;
}

Test(outbox, what_commits_is_published_in_order_and_what_rolls_back_is_not)
{
    world w;
    nexus_db *tx;
    world_open(&w);
    static const char *const types[] = {"a.one", "a.two", "a.three", "a.four", "a.five", "a.six"};
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
        cr_assert_eq(append(tx, types[i]), NEXUS_OK, "%s", nexus_error_message());
        cr_assert_eq(nexus_db_commit(tx), NEXUS_OK);
    }
    cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
    cr_assert_eq(append(tx, "a.never"), NEXUS_OK);
    nexus_db_rollback(tx);

    uint64_t moved;
    cr_assert_eq(nexus_outbox_relay_run(w.relay, &moved), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(moved, 6);
    nexus_reader *reader;
    const nexus_event *event;
    cr_assert_eq(nexus_reader_open(&reader, w.bus, NULL), NEXUS_OK);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(nexus_reader_next(reader, &event, 0), NEXUS_OK);
        cr_assert_eq(event->type.n, strlen(types[i]));
        cr_assert(memcmp(event->type.p, types[i], event->type.n) == 0);
        cr_assert(event->id.n == 36 && event->source.n == 5 && event->time_ns > 0);
    }
    cr_assert_eq(nexus_reader_next(reader, &event, 0), NEXUS_EDONE);
    nexus_reader_close(reader);
    cr_assert_eq(nexus_outbox_relay_run(w.relay, &moved), NEXUS_OK);
    cr_assert_eq(moved, 0);
    world_close(&w);
}

Test(outbox, a_wake_moves_without_a_poll)
{
    world w;
    nexus_db *tx;
    world_open(&w);
    nexus_reader *reader;
    const nexus_event *event;
    cr_assert_eq(nexus_reader_open(&reader, w.bus, NULL), NEXUS_OK);
    cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
    cr_assert_eq(append(tx, "a.one"), NEXUS_OK);
    cr_assert_eq(nexus_db_commit(tx), NEXUS_OK);
    nexus_outbox_relay_wake(w.relay);
    cr_assert_eq(nexus_reader_next(reader, &event, 10000), NEXUS_OK);
    nexus_reader_close(reader);
    world_close(&w);
}

Test(outbox, a_crash_between_publish_and_delete_stores_once)
{
    world w;
    nexus_db *tx;
    world_open(&w);
    static const char event[] = "{\"id\":\"e1\",\"type\":\"a.one\",\"data\":{}}";
    for (int i = 0; i < 2; i++) { /* the second time is what a relay does that died before its delete */
        cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
        cr_assert_eq(nexus_outbox_append_json(tx, event, sizeof event - 1), NEXUS_OK, "%s", nexus_error_message());
        cr_assert_eq(nexus_db_commit(tx), NEXUS_OK);
        cr_assert_eq(nexus_outbox_relay_run(w.relay, NULL), NEXUS_OK);
        cr_assert_eq(head(&w), 1);
    }
    world_close(&w);
}

Test(outbox, what_cannot_be_published_is_set_aside_with_its_reason)
{
    world w;
    nexus_db *tx;
    uint64_t moved;
    world_open(&w);
    cr_assert_eq(nexus_db_exec(w.db, "INSERT INTO nexus_outbox (event, at) VALUES ('{\"type\":\"\"}', 0)", NULL, 0, NULL),
                 NEXUS_OK);
    cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
    cr_assert_eq(append(tx, "a.two"), NEXUS_OK);
    cr_assert_eq(nexus_db_commit(tx), NEXUS_OK);
    cr_assert_eq(nexus_outbox_relay_run(w.relay, &moved), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(moved, 1);
    nexus_rows *rows;
    nexus_slice reason;
    cr_assert_eq(nexus_db_query_one(&rows, w.db, "SELECT failed FROM nexus_outbox", NULL, 0), NEXUS_OK);
    nexus_rows_text(rows, 0, &reason);
    cr_assert(memmem(reason.p, reason.n, "type", 4), "%.*s", (int)reason.n, reason.p);
    nexus_rows_free(rows);
    world_close(&w);
}

Test(outbox, wants_a_transaction_and_a_valid_event)
{
    world w;
    nexus_db *tx;
    world_open(&w);
    cr_assert_eq(append(w.db, "a.one"), NEXUS_EINVAL);
    cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
    cr_assert_eq(append(tx, ""), NEXUS_EINVAL);
    cr_assert(strstr(nexus_error_message(), "type"), "%s", nexus_error_message());
    nexus_db_rollback(tx);
    world_close(&w);
}

Test(inbox, an_event_counts_once_for_each_consumer)
{
    world w;
    nexus_db *tx;
    bool is_new;
    world_open(&w);
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = NEXUS_S("a.one");
    e.source = NEXUS_S("/s");
    e.id = NEXUS_S("1");
    cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
    cr_assert_eq(nexus_inbox_claim(tx, "mail", &e, &is_new), NEXUS_OK);
    cr_assert(is_new);
    nexus_db_rollback(tx); /* its effects are gone, so is the claim */
    cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
    cr_assert_eq(nexus_inbox_claim(tx, "mail", &e, &is_new), NEXUS_OK);
    cr_assert(is_new);
    cr_assert_eq(nexus_db_commit(tx), NEXUS_OK);
    cr_assert_eq(nexus_db_begin(&tx, w.db), NEXUS_OK);
    cr_assert_eq(nexus_inbox_claim(tx, "mail", &e, &is_new), NEXUS_OK);
    cr_assert_not(is_new);
    cr_assert_eq(nexus_inbox_claim(tx, "billing", &e, &is_new), NEXUS_OK);
    cr_assert(is_new);
    nexus_db_rollback(tx);
    world_close(&w);
}
