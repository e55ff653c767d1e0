/* The outbox on a real PostgreSQL, where transactions that begin later may commit earlier. */
#include "engines.h"

#include <nexus/db.h>

typedef struct world {
    nexus_db *db;
    nexus_bus *bus;
    nexus_outbox_relay *relay;
    nexus_reader *reader;
} world;

static bool world_open(world *w)
{
    char schema[40];
    const char *url = getenv("NEXUS_TEST_POSTGRES_URL");
    *w = (world){0};
    if (!url)
        return false;
    nexus_db_opts opts = NEXUS_DB_OPTS_INIT;
    snprintf(schema, sizeof schema, "outbox_%d", (int)getpid());
    opts.schema = schema;
    cr_assert(nexus_db_open(&w->db, url, &opts) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_outbox_prepare(w->db) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_bus_open(&w->bus, "memory:", NULL) == NEXUS_OK);
    cr_assert(nexus_reader_open(&w->reader, w->bus, NULL) == NEXUS_OK);
    return true;
}

static void start_relay(world *w)
{
    nexus_outbox_relay_opts opts = NEXUS_OUTBOX_RELAY_OPTS_INIT;
    opts.poll_ms = 3600 * 1000; /* only news wake it */
    cr_assert(nexus_outbox_relay_open(&w->relay, w->db, w->bus, &opts) == NEXUS_OK, "%s", nexus_error_message());
}

static void world_close(world *w)
{
    nexus_outbox_relay_close(w->relay);
    nexus_reader_close(w->reader);
    nexus_bus_close(w->bus);
    nexus_db_close(w->db);
}

static nexus_db *write_one(world *w, const char *data)
{
    nexus_db *tx;
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = text("order.created");
    e.data = text(data);
    cr_assert(nexus_db_begin(&tx, w->db) == NEXUS_OK);
    cr_assert(nexus_outbox_append(tx, &e, 1) == NEXUS_OK, "%s", nexus_error_message());
    return tx;
}

static void expect_next(world *w, const char *data)
{
    const nexus_event *e;
    cr_assert(nexus_reader_next(w->reader, &e, 10000) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(e->data.n == strlen(data) && memcmp(e->data.p, data, e->data.n) == 0, "%.*s instead of %s", (int)e->data.n,
              e->data.p, data);
}

/* Fault row 30, as JasperFx/marten#4964 tells it: the row with the lower number is committed last. */
Test(outbox_postgres, a_row_that_commits_late_is_published_late_and_never_skipped)
{
    world w;
    if (!world_open(&w))
        return;
    start_relay(&w);
    nexus_db *slow = write_one(&w, "1");
    for (int i = 2; i <= 4; i++) {
        char data[8];
        snprintf(data, sizeof data, "%d", i);
        cr_assert(nexus_db_commit(write_one(&w, data)) == NEXUS_OK);
        expect_next(&w, data); /* a NOTIFY woke the relay; nobody waits for the slow one */
    }
    cr_assert(nexus_db_commit(slow) == NEXUS_OK);
    expect_next(&w, "1");
    world_close(&w);
}

Test(outbox_postgres, the_order_is_that_of_the_commits)
{
    world w;
    if (!world_open(&w))
        return;
    nexus_db *first = write_one(&w, "1"), *second = write_one(&w, "2"), *third = write_one(&w, "3");
    cr_assert(nexus_db_commit(third) == NEXUS_OK);
    cr_assert(nexus_db_commit(first) == NEXUS_OK);
    cr_assert(nexus_db_commit(second) == NEXUS_OK);
    start_relay(&w); /* one pass finds all three */
    expect_next(&w, "3");
    expect_next(&w, "1");
    expect_next(&w, "2");
    world_close(&w);
}
