/* bus/projection: effects and checkpoint together, rejects and retries, rebuilds beside what is live. */
#include "fixture.h"

#include <nexus/projection.h>
#include <stdatomic.h>
#include <time.h>

typedef struct counter {
    int64_t step;     /* what one event adds */
    uint64_t hold_at; /* a rebuild waits before this position until let go; 0 = never */
    atomic_bool let_go, held;
    uint64_t fail_once; /* position that is refused once, after a write */
    atomic_bool failed;
    atomic_ullong rebuilt;
} counter;

static void rest(void)
{
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
}

static int64_t number(nexus_slice s)
{
    char digits[24] = "";
    memcpy(digits, s.p, s.n < 23 ? s.n : 23);
    return strtoll(digits, NULL, 10);
}

/* Counts events by subject. */
static int32_t count(nexus_projection_tx *tx, const nexus_event *e, void *user_data)
{
    counter *c = user_data;
    nexus_slice had;
    char text_now[24];
    int64_t n = 0;
    bool rebuild = nexus_projection_tx_is_rebuild(tx);
    atomic_fetch_add(&c->rebuilt, rebuild);
    if (rebuild && c->hold_at && e->pos >= c->hold_at && !atomic_load(&c->let_go)) {
        atomic_store(&c->held, true);
        return NEXUS_RETRY;
    }
    nexus_status status = nexus_projection_fetch(tx, e->subject, &had);
    if (status == NEXUS_OK)
        n = number(had);
    else if (status != NEXUS_ENOTFOUND)
        return NEXUS_RETRY;
    snprintf(text_now, sizeof text_now, "%lld", (long long)(n + c->step));
    if (nexus_projection_put(tx, e->subject, text(text_now)) != NEXUS_OK)
        return NEXUS_RETRY;
    if (e->type.p[0] == 'b') /* "bad" */
        return NEXUS_REJECT;
    if (e->pos == c->fail_once && !atomic_exchange(&c->failed, true))
        return NEXUS_RETRY;
    return NEXUS_ACK;
}

static nexus_projection *start(nexus_bus *bus, counter *c, uint32_t version)
{
    nexus_projection *p = NULL;
    nexus_projection_opts o = NEXUS_PROJECTION_OPTS_INIT;
    o.handler = count;
    o.user_data = c;
    o.version = version;
    o.batch = 7;
    o.parallel = 3;
    o.swap_lag = 5;
    o.retry_ms = 1;
    cr_assert(nexus_projection_open(&p, bus, "counts", &o) == NEXUS_OK, "%s", nexus_error_message());
    return p;
}

static int64_t value(nexus_projection *p, const char *key)
{
    char *out;
    size_t n;
    nexus_status status = nexus_projection_get(&out, &n, p, text(key));
    if (status == NEXUS_ENOTFOUND)
        return -1;
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    int64_t v = strtoll(out, NULL, 10);
    nexus_free(out);
    return v;
}

static uint64_t fill(nexus_bus *bus, int n)
{
    static const char *const subjects[] = {"s-0", "s-1", "s-2", "s-3", "s-4"};
    static nexus_event events[250];
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    for (int i = 0; i < n; i++) {
        nexus_event_init(&events[i]);
        events[i].type = text("a.b");
        events[i].subject = text(subjects[i % 5]);
        events[i].data = text("{}");
    }
    cr_assert(nexus_bus_publish(bus, events, (size_t)n, NULL, &r) == NEXUS_OK, "%s", nexus_error_message());
    return r.last;
}

static void all_at(nexus_projection *p, int64_t n)
{
    for (int i = 0; i < 5; i++) {
        char key[8];
        snprintf(key, sizeof key, "s-%d", i);
        cr_assert(value(p, key) == n, "%s is %lld, not %lld", key, (long long)value(p, key), (long long)n);
    }
}

Test(projection, counts_each_event_once_through_rejects_retries_and_restarts)
{
    char *dir = scratch_dir(), *json;
    nexus_bus *bus = bus_open(dir);
    counter c = {.step = 1, .fail_once = 9};
    nexus_projection_stats stats = {.size = sizeof stats};
    uint64_t pos = fill(bus, 50);
    nexus_projection *p = start(bus, &c, 1);
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK, "%s", nexus_error_message());
    all_at(p, 10);
    cr_assert(atomic_load(&c.failed), "one batch was rolled back and came again");
    pos = put(bus, "bad", "s-0", "{}");
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    all_at(p, 10);
    nexus_projection_read_stats(p, &stats);
    cr_assert(stats.rejected == 1 && stats.events == 51 && stats.generation == 1 && stats.position == 51 &&
              stats.head == 51 && stats.error == NEXUS_OK);
    nexus_projection_close(p);
    nexus_bus_close(bus);
    for (int i = 0; i < 5; i++) { /* closed in the middle of its work */
        bus = bus_open(dir);
        pos = fill(bus, 25);
        p = start(bus, &c, 1);
        nexus_projection_close(p);
        nexus_bus_close(bus);
    }
    bus = bus_open(dir);
    p = start(bus, &c, 1);
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    all_at(p, 35);
    cr_assert(nexus_projection_list(&json, NULL, p, text("s-"), text("s-2"), 0) == NEXUS_OK);
    cr_assert_str_eq(json, "[{\"key\":\"s-3\",\"value\":\"35\"},{\"key\":\"s-4\",\"value\":\"35\"}]");
    nexus_free(json);
    cr_assert(nexus_projection_list(&json, NULL, p, text("t"), text(""), 0) == NEXUS_OK && strcmp(json, "[]") == 0);
    nexus_free(json);
    cr_assert(nexus_projection_wait(p, pos + 1, 0) == NEXUS_ETIMEDOUT);
    nexus_projection_close(p);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

static void await_generation(nexus_projection *p, uint32_t generation)
{
    nexus_projection_stats stats = {.size = sizeof stats};
    for (;;) {
        nexus_projection_read_stats(p, &stats);
        if (stats.generation == generation && stats.shadow_generation == 0)
            return;
        rest();
    }
}

static void await_held(counter *c)
{
    while (!atomic_load(&c->held))
        rest();
}

Test(projection, is_rebuilt_beside_what_is_live)
{
    nexus_bus *bus = bus_open(NULL);
    counter c = {.step = 1, .hold_at = 40};
    uint64_t pos = fill(bus, 50);
    nexus_projection *p = start(bus, &c, 1);
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    all_at(p, 10);
    cr_assert(nexus_projection_rebuild(p) == NEXUS_OK);
    cr_assert(nexus_projection_rebuild(p) == NEXUS_ECONFLICT);
    await_held(&c);
    nexus_projection_stats stats = {.size = sizeof stats};
    nexus_projection_read_stats(p, &stats);
    cr_assert(stats.generation == 1 && stats.shadow_generation == 2 && stats.shadow_position < 50);
    all_at(p, 10);
    pos = fill(bus, 5); /* the live one goes on meanwhile */
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    all_at(p, 11);
    atomic_store(&c.let_go, true);
    await_generation(p, 2);
    all_at(p, 11);
    cr_assert(atomic_load(&c.rebuilt) >= 55);
    nexus_projection_close(p);
    nexus_bus_close(bus);
}

Test(projection, another_version_takes_over_when_it_has_caught_up)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    counter one = {.step = 1}, two = {.step = 2, .hold_at = 40};
    uint64_t pos = fill(bus, 50);
    nexus_projection *p = start(bus, &one, 1);
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    nexus_projection_close(p);
    p = start(bus, &two, 2);
    await_held(&two);
    all_at(p, 10); /* the old one is readable */
    atomic_store(&two.let_go, true);
    await_generation(p, 2);
    all_at(p, 20);
    pos = fill(bus, 5);
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    all_at(p, 22);
    nexus_projection_close(p);
    /* An older version does not take it back. */
    p = start(bus, &one, 1);
    fill(bus, 5);
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    nexus_projection_stats stats = {.size = sizeof stats};
    nexus_projection_read_stats(p, &stats);
    cr_assert(stats.events == 0 && stats.generation == 2 && stats.shadow_generation == 0);
    all_at(p, 22);
    nexus_projection_close(p);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(projection, a_rebuild_that_was_interrupted_goes_on_where_it_was)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    counter c = {.step = 1, .hold_at = 200}, again = {.step = 1};
    uint64_t pos = fill(bus, 250);
    nexus_projection *p = start(bus, &c, 1);
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK);
    cr_assert(nexus_projection_rebuild(p) == NEXUS_OK);
    nexus_projection_stats stats = {.size = sizeof stats};
    do { /* every thread has come near the place where it is held */
        nexus_projection_read_stats(p, &stats);
        rest();
    } while (stats.shadow_position < 150);
    nexus_projection_close(p);
    p = start(bus, &again, 1);
    await_generation(p, 2);
    all_at(p, 50);
    cr_assert(atomic_load(&again.rebuilt) < 150, "%llu of 250 again", (unsigned long long)atomic_load(&again.rebuilt));
    nexus_projection_close(p);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* Two processes (two handles with databases of their own) run the same one. */
Test(projection, several_processes_share_one)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    counter a = {.step = 1}, b = {.step = 1};
    nexus_projection *p = start(owner, &a, 1), *q = start(client, &b, 1);
    uint64_t pos = 0;
    for (int i = 0; i < 4; i++) {
        pos = fill(owner, 25);
        cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK && nexus_projection_wait(q, pos, 60000) == NEXUS_OK);
    }
    all_at(p, 20);
    all_at(q, 20);
    nexus_projection_close(p);
    nexus_projection_close(q);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

/* A process of an older version only watches: its wait ends when the newer one has moved on, not when its time is up. */
Test(projection, a_wait_ends_when_another_process_has_moved_it)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    counter newer = {.step = 1}, older = {.step = 1};
    nexus_projection *p = start(owner, &newer, 2);
    cr_assert(nexus_projection_wait(p, fill(owner, 25), 60000) == NEXUS_OK);
    nexus_projection *q = start(client, &older, 1);
    for (int i = 0; i < 3; i++)
        cr_assert(nexus_projection_wait(q, fill(owner, 25), UINT32_MAX) == NEXUS_OK);
    all_at(q, 20);
    nexus_projection_close(p);
    nexus_projection_close(q);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

/* --- in the caller's tables ---- */

static int32_t into_table(nexus_projection_tx *tx, const nexus_event *e, void *user_data)
{
    counter *c = user_data;
    const nexus_value row[] = {NEXUS_TEXT(e->subject), NEXUS_INT(nexus_projection_tx_generation(tx))};
    if (nexus_db_exec(nexus_projection_tx_db(tx), "INSERT INTO seen (subject, generation) VALUES ($1, $2)", row, 2,
                      NULL) != NEXUS_OK)
        return NEXUS_RETRY;
    return e->pos == c->fail_once && !atomic_exchange(&c->failed, true) ? NEXUS_RETRY : NEXUS_ACK;
}

static nexus_status empty_old(nexus_projection_tx *tx, uint32_t old_generation, uint32_t new_generation, void *user_data)
{
    const nexus_value old = NEXUS_INT(old_generation);
    (void)user_data;
    cr_assert(new_generation == old_generation + 1);
    return nexus_db_exec(nexus_projection_tx_db(tx), "DELETE FROM seen WHERE generation = $1", &old, 1, NULL);
}

static int64_t rows_of(nexus_db *db, int64_t generation)
{
    nexus_rows *rows;
    const nexus_value arg = NEXUS_INT(generation);
    cr_assert(nexus_db_query_one(&rows, db, "SELECT COUNT(*) FROM seen WHERE generation = $1", &arg, 1) == NEXUS_OK);
    int64_t n = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    return n;
}

Test(projection, commits_with_tables_of_the_callers_own)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_db *db;
    counter c = {.fail_once = 12};
    nexus_projection_opts o = NEXUS_PROJECTION_OPTS_INIT;
    nexus_projection *p;
    cr_assert(nexus_db_open(&db, "sqlite::memory:", NULL) == NEXUS_OK);
    cr_assert(nexus_db_exec(db, "CREATE TABLE seen (subject TEXT, generation BIGINT)", NULL, 0, NULL) == NEXUS_OK);
    o.db = db;
    o.handler = into_table;
    o.on_swap = empty_old;
    o.user_data = &c;
    o.retry_ms = 1;
    o.types = "a.*";
    cr_assert(nexus_projection_open(&p, bus, "seen", &o) == NEXUS_OK, "%s", nexus_error_message());
    fill(bus, 20);
    uint64_t pos = put(bus, "c.d", "s-1", "{}"); /* does not match: it is passed all the same */
    cr_assert(nexus_projection_wait(p, pos, 60000) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(rows_of(db, 1) == 20 && atomic_load(&c.failed));
    cr_assert(nexus_projection_rebuild(p) == NEXUS_OK);
    await_generation(p, 2);
    cr_assert(rows_of(db, 1) == 0 && rows_of(db, 2) == 20);
    nexus_projection_close(p);
    nexus_db_close(db);
    o.handler = NULL;
    cr_assert(nexus_projection_open(&p, bus, "seen", &o) == NEXUS_EINVAL);
    nexus_bus_close(bus);
}
