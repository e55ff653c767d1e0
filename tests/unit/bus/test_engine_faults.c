/* bus/engines/: what happens to a log in a database when rows, sessions or owners go wrong. */
#include "engine_steps.h"

#include <nexus/db.h>
#include <pthread.h>

#include "bus/engines/engine.h"

typedef struct world {
    char *dir, url[400];
    nexus_db *db; /* a look at the tables from beside */
} world;

static bool world_open(world *w, const char *engine)
{
    w->dir = scratch_dir();
    w->db = NULL;
    if (!engine_url(w->url, engine, w->dir)) {
        scratch_remove(w->dir);
        return false;
    }
    cr_assert(nexus__sql_open(&w->db, w->url, 2, NULL) == NEXUS_OK, "%s", nexus_error_message());
    return true;
}

static void world_close(world *w)
{
    nexus_db_close(w->db);
    scratch_remove(w->dir);
}

static void sql(world *w, const char *statement)
{
    cr_assert(nexus_db_exec(w->db, statement, NULL, 0, NULL) == NEXUS_OK, "%s", nexus_error_message());
}

static nexus_status next(nexus_reader *r, uint64_t *pos)
{
    const nexus_event *e;
    nexus_status status = nexus_reader_next(r, &e, 0);
    *pos = status == NEXUS_OK ? e->pos : 0;
    return status;
}

static void damage(const char *engine, const char *statement, nexus_status expected, uint64_t from, uint64_t to)
{
    world w;
    uint64_t pos;
    nexus_reader *r;
    if (!world_open(&w, engine))
        return;
    nexus_bus *bus = engine_open(w.url, NEXUS_BUS_AUTO);
    for (int i = 0; i < 9; i++)
        put(bus, "a.b", "s-1", "x");
    sql(&w, statement);
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    for (uint64_t i = 1; i < from; i++)
        cr_assert(next(r, &pos) == NEXUS_OK && pos == i);
    cr_assert(next(r, &pos) == expected, "%s", nexus_error_message());
    for (uint64_t i = to + 1; i <= 9; i++) {
        nexus_status status = next(r, &pos);
        cr_assert(status == NEXUS_OK && pos == i, "%llu: %s", (unsigned long long)pos, nexus_error_message());
    }
    cr_assert(next(r, &pos) == NEXUS_EDONE);
    cr_assert(put(bus, "a.b", "s-1", "y") == 10 && next(r, &pos) == NEXUS_OK && pos == 10);
    nexus_reader_close(r);
    nexus_group *g = join(bus, "workers", NULL); /* it goes on with what there is */
    for (uint64_t i = 0; i < 10 - (to - from + 1); i++) {
        nexus_delivery *d = take(g, 1000);
        cr_assert(d && nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    nexus_group_close(g);
    nexus_bus_close(bus);
    world_close(&w);
}

#define THIRD "(SELECT at FROM nexus_bus_log WHERE first_pos = 3 ORDER BY at LIMIT 1)"

Test(bus_engine_faults, rows_removed_from_sqlite_are_a_gap_that_readers_are_told_of)
{
    damage("sqlite", "DELETE FROM nexus_bus_log WHERE first_pos IN (3, 4)", NEXUS_EMISSING, 3, 4);
}

Test(bus_engine_faults, rows_removed_from_postgresql_are_a_gap_that_readers_are_told_of)
{
    damage("postgresql", "DELETE FROM nexus_bus_log WHERE first_pos IN (3, 4)", NEXUS_EMISSING, 3, 4);
}

Test(bus_engine_faults, a_row_changed_in_sqlite_is_corrupt_and_the_rest_is_read)
{
    damage("sqlite", "UPDATE nexus_bus_log SET bytes = zeroblob(length(bytes)) WHERE at = " THIRD, NEXUS_ECORRUPT, 3, 3);
}

Test(bus_engine_faults, a_row_changed_in_postgresql_is_corrupt_and_the_rest_is_read)
{
    damage("postgresql", "UPDATE nexus_bus_log SET bytes = set_byte(bytes, 20, 77) WHERE at = " THIRD, NEXUS_ECORRUPT, 3,
           3);
}

#define END_SESSIONS                                                                                                   \
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"                      \
    " AND datname = current_database()"

Test(bus_engine_faults, an_owner_whose_sessions_end_goes_on_and_stores_each_event_once)
{
    static const char *const ids[] = {"1", "2", "3"};
    world w;
    if (!world_open(&w, "postgresql"))
        return;
    nexus_bus *bus = engine_open(w.url, NEXUS_BUS_AUTO), *client = engine_open(w.url, NEXUS_BUS_CLIENT);
    publish_until_stored(client, "1");
    sql(&w, END_SESSIONS);
    publish_until_stored(bus, "2");
    cr_assert(nexus_bus_is_owner(bus));
    publish_until_stored(client, "3"); /* it has dialled again by itself */
    expect_ids(bus, ids, 3);
    nexus_bus_close(client);
    nexus_bus_close(bus);
    world_close(&w);
}

/* What a process sees that slept while another one became the owner: the epoch has moved on. */
static void overtaken(const char *engine)
{
    static const char *const ids[] = {"1", "2", "3"};
    world w;
    if (!world_open(&w, engine))
        return;
    nexus_bus *bus = engine_open(w.url, NEXUS_BUS_AUTO);
    publish_until_stored(bus, "1");
    sql(&w, "UPDATE nexus_bus_head SET epoch = epoch + 1");
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text("2");
    e.type = text("a.b");
    e.data = text("2");
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, NULL) == NEXUS_EUNKNOWN);
    if (strcmp(engine, "sqlite") == 0) { /* the lock is a file's, so the owner stays one until it is closed */
        cr_assert(nexus_bus_publish(bus, &e, 1, NULL, NULL) == NEXUS_EROFS);
        nexus_bus_close(bus);
        bus = engine_open(w.url, NEXUS_BUS_AUTO);
    }
    publish_until_stored(bus, "2");
    publish_until_stored(bus, "3");
    expect_ids(bus, ids, 3);
    nexus_bus_close(bus);
    world_close(&w);
}

Test(bus_engine_faults, an_owner_of_postgresql_that_was_overtaken_stores_nothing_and_is_an_owner_or_client_again)
{
    overtaken("postgresql");
}

Test(bus_engine_faults, an_owner_of_sqlite_that_was_overtaken_stores_nothing)
{
    overtaken("sqlite");
}

Test(bus_engine_faults, an_owner_that_loses_the_bus_to_another_becomes_its_client_with_its_groups)
{
    world w;
    if (!world_open(&w, "postgresql"))
        return;
    nexus_bus *first = engine_open(w.url, NEXUS_BUS_AUTO), *second = engine_open(w.url, NEXUS_BUS_AUTO);
    nexus_group *g = join(first, "workers", NULL);
    publish_until_stored(first, "1");
    /* The owner's session ends while the lock is held for it by nobody: the client is quicker, since the owner only
     * notices when it writes. */
    sql(&w, END_SESSIONS);
    while (!nexus_bus_is_owner(second))
        usleep(1000);
    publish_until_stored(second, "2");
    publish_until_stored(first, "3");
    cr_assert(!nexus_bus_is_owner(first) && nexus_bus_is_owner(second));
    for (int i = 1; i <= 3; i++) {
        char expected[2] = {(char)('0' + i), '\0'};
        nexus_delivery *d = NULL;
        while (!d)
            d = take(g, 1000);
        cr_assert(data_is(d, expected) && nexus_delivery_ack_sync(d) == NEXUS_OK, "%s", nexus_error_message());
        nexus_delivery_free(d);
    }
    nexus_group_close(g);
    nexus_bus_close(first);
    nexus_bus_close(second);
    world_close(&w);
}

/* Fault row 30 in the engine: an append that has its position and does not commit. */
static void *publish_second(void *bus)
{
    publish_until_stored(bus, "2");
    return NULL;
}

Test(bus_engine_faults, an_append_that_commits_late_holds_up_the_next_and_no_position_is_skipped)
{
    static const char *const ids[] = {"1", "2", "3"};
    world w;
    pthread_t thread;
    nexus_db *slow;
    uint64_t head;
    if (!world_open(&w, "postgresql"))
        return;
    nexus_bus *bus = engine_open(w.url, NEXUS_BUS_AUTO);
    publish_until_stored(bus, "1");
    cr_assert(nexus_db_begin(&slow, w.db) == NEXUS_OK);
    cr_assert(nexus_db_exec(slow, "UPDATE nexus_bus_head SET next_at = next_at", NULL, 0, NULL) == NEXUS_OK);
    cr_assert(pthread_create(&thread, NULL, publish_second, bus) == 0);
    nexus_rows *rows;
    do { /* until the append waits for that transaction */
        cr_assert(nexus_db_query_one(&rows, w.db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                     " AND query LIKE '%nexus_bus_log%'", NULL, 0) == NEXUS_OK);
        head = (uint64_t)nexus_rows_int(rows, 0);
        nexus_rows_free(rows);
    } while (!head);
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 1, "nobody sees what is not committed");
    cr_assert(nexus_db_commit(slow) == NEXUS_OK);
    pthread_join(thread, NULL);
    publish_until_stored(bus, "3");
    expect_ids(bus, ids, 3);
    nexus_bus_close(bus);
    world_close(&w);
}

static void dropping(const char *engine)
{
    world w;
    if (!world_open(&w, engine))
        return;
    expect_dropping(nexus__sql_log_open, w.url);
    world_close(&w);
}

Test(bus_engine_faults, old_rows_of_sqlite_are_dropped_and_checkpoints_kept)
{
    dropping("sqlite");
}

Test(bus_engine_faults, old_rows_of_postgresql_are_dropped_and_checkpoints_kept)
{
    dropping("postgresql");
}
