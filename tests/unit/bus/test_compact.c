/* bus/: compaction. What goes, what stays, who notices, and a kill in the middle of it. */
#include "place.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/compact.h"

static nexus_bus *open_compacting(const char *dir, uint32_t grace_s)
{
    char url[300];
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 65536;
    opts.checkpoint_bytes = 65536;
    opts.compact_types = "profile.*";
    opts.tombstone_grace_s = grace_s;
    opts.durability = NEXUS_DURABILITY_OS; /* quicker, and what a kill leaves is the same */
    snprintf(url, sizeof url, dir ? "file:%s/bus" : "memory:", dir);
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

enum { KEYS = 10, ROUNDS = 30, EVENTS = KEYS * ROUNDS + ROUNDS };

/* Round after round a profile of each key, and an order that is nobody's to compact. */
static void fill(nexus_bus *bus)
{
    char subject[24], data[1200];
    for (int round = 0; round < ROUNDS; round++) {
        for (int k = 0; k < KEYS; k++) {
            snprintf(subject, sizeof subject, "user-%d", k);
            snprintf(data, sizeof data, "%d.%d %01000d", k, round, 0);
            put(bus, "profile.changed", subject, data);
        }
        snprintf(data, sizeof data, "%d", round);
        put(bus, "order.created", "user-0", data);
    }
}

static nexus_compact_result compact(nexus_bus *bus)
{
    nexus_compact_result r = {.size = sizeof r};
    cr_assert(nexus_bus_compact(bus, &r) == NEXUS_OK, "%s", nexus_error_message());
    return r;
}

typedef struct seen {
    int profiles, orders;
    bool last_ones; /* the profiles are those of the last round */
} seen;

static seen read_all(nexus_bus *bus)
{
    seen s = {.last_ones = true};
    nexus_reader *r;
    const nexus_event *e;
    nexus_status status;
    uint64_t before = 0;
    char expected[24];
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    while ((status = nexus_reader_next(r, &e, 0)) == NEXUS_OK) {
        cr_assert(e->pos > before && e->id.n && e->source.n);
        before = e->pos;
        if (nexus_event_type_matches(text("order.*"), e->type)) {
            s.orders++;
            continue;
        }
        s.profiles++;
        int n = snprintf(expected, sizeof expected, "%c.%d ", e->subject.p[5], ROUNDS - 1);
        s.last_ones &= e->data.n > (size_t)n && memcmp(e->data.p, expected, (size_t)n) == 0;
    }
    cr_assert(status == NEXUS_EDONE, "%s", nexus_error_message());
    nexus_reader_close(r);
    return s;
}

static int pass_all(nexus_group *g)
{
    int n = 0;
    for (nexus_delivery *d; (d = take(g, 0)); n++) {
        cr_assert(!nexus_event_type_matches(text("nexus.gap"), nexus_delivery_event(d)->type));
        cr_assert(nexus_delivery_event(d)->id.n > 0);
        cr_assert(nexus_delivery_ack_sync(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    return n;
}

static int64_t version_of(nexus_bus *bus, const char *stream)
{
    int64_t version = -2;
    cr_assert(nexus_stream_version(bus, stream, &version) == NEXUS_OK);
    return version;
}

static void keeps_the_last(const char *dir, bool remote)
{
    nexus_bus *owner = open_compacting(dir, 0), *bus = remote ? bus_open(dir) : owner;
    nexus_group *slow = join(bus, "slow", NULL);
    fill(bus);
    cr_assert_eq(compact(bus).events, 0); /* a group has not passed it */
    cr_assert_eq(pass_all(slow), EVENTS);
    nexus_compact_result r = compact(bus);
    cr_assert(r.events <= KEYS * (ROUNDS - 1)); /* the owner may have begun by itself */
    cr_assert(r.bytes_after < r.bytes_before || r.events == 0);
    seen s = read_all(bus);
    cr_assert(s.profiles == KEYS && s.orders == ROUNDS && s.last_ones, "%d %d", s.profiles, s.orders);
    cr_assert_eq(compact(bus).events, 0);
    nexus_group *late = join(bus, "late", NULL); /* from the first event on: no gap, nothing made up */
    cr_assert_eq(pass_all(late), KEYS + ROUNDS);
    nexus_seek_opts first = NEXUS_SEEK_OPTS_INIT;
    nexus_seek_result moved = {.size = sizeof moved};
    first.start = NEXUS_START_FIRST;
    cr_assert(nexus_group_seek(slow, &first, &moved) == NEXUS_OK);
    cr_assert_eq(moved.again, KEYS + ROUNDS);
    cr_assert_eq(pass_all(slow), KEYS + ROUNDS);
    cr_assert_eq(stats_of(slow).lag, 0);
    cr_assert_eq(version_of(bus, "user-3"), ROUNDS - 1);
    cr_assert_eq(put(bus, "profile.changed", "user-3", "new"), EVENTS + 1);
    cr_assert_eq(version_of(bus, "user-3"), ROUNDS);
    nexus_group_close(late);
    nexus_group_close(slow);
    if (remote)
        nexus_bus_close(bus);
    nexus_bus_close(owner);
}

Test(compact, keeps_the_last_event_of_each_key_and_nobody_sees_a_gap_or_a_phantom)
{
    keeps_the_last(NULL, false);
    for (int remote = 0; remote < 2; remote++) {
        char *dir = scratch_dir();
        keeps_the_last(dir, remote);
        scratch_remove(dir);
    }
}

Test(compact, survives_opening_without_any_checkpoint_or_index)
{
    char *dir = scratch_dir(), cmd[300];
    nexus_bus *bus = open_compacting(dir, 0);
    fill(bus);
    compact(bus);
    seen before = read_all(bus);
    nexus_bus_close(bus);
    snprintf(cmd, sizeof cmd, "rm -f %s/bus/*.ckpt %s/bus/*.idx", dir, dir);
    cr_assert(system(cmd) == 0);
    bus = open_compacting(dir, 0);
    seen after = read_all(bus);
    cr_assert(after.profiles == before.profiles && after.orders == before.orders);
    cr_assert_eq(version_of(bus, "user-0"), 2 * ROUNDS - 1); /* with its orders */
    cr_assert_eq(version_of(bus, "user-9"), ROUNDS - 1);
    nexus_group *g = join(bus, "g", NULL);
    cr_assert_eq(pass_all(g), before.profiles + before.orders);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(compact, by_an_owner_without_types_or_on_another_engine_is_refused)
{
    char *dir = scratch_dir(), url[300];
    nexus_bus *bus = bus_open(dir);
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    cr_assert(nexus_bus_compact(bus, NULL) == NEXUS_EINVAL && strstr(nexus_error_message(), "compact_types"));
    nexus_bus_close(bus);
    snprintf(url, sizeof url, "sqlite:%s/bus.db", dir);
    opts.compact_types = "profile.*";
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_ENOTSUP && strstr(nexus_error_message(), "compact_types"));
    opts.compact_types = "bad..pattern";
    cr_assert(nexus_bus_open(&bus, "memory:", &opts) == NEXUS_EINVAL);
    scratch_remove(dir);
}

/* --- decisions ---------------------------------------------------------------------------------------------------- */

Test(compact, takes_tombstones_when_their_grace_is_over_and_redacted_events_never_for_one)
{
    nexus__wal_record full = {.pos = 5, .recv_ns = 1000, .payload = NEXUS_S("x")}, empty = {.pos = 5, .recv_ns = 1000};
    nexus__wal_record erased = {.pos = 5, .recv_ns = 1000, .flags = NEXUS__WAL_ERASED};
    cr_assert(nexus__compact_drops(&full, 6, 1000, 100) && nexus__compact_drops(&empty, 6, 1000, 100));
    cr_assert(!nexus__compact_drops(&full, 5, 9999, 100));
    cr_assert(!nexus__compact_drops(&empty, 5, 1100, 100) && nexus__compact_drops(&empty, 5, 1101, 100));
    cr_assert(!nexus__compact_drops(&erased, 5, 9999, 100) && nexus__compact_drops(&erased, 6, 9999, 100));
}

Test(compact, touches_no_file_that_a_group_or_a_checkpoint_needs)
{
    nexus__compact_file f = {.end_pos = 100, .end_seq = 50, .bytes = 1000, .dead_bytes = 500};
    cr_assert(nexus__compact_should(&f, 100, 50));
    cr_assert(!nexus__compact_should(&f, 99, 50) && !nexus__compact_should(&f, 100, 49));
    f.dead_bytes = 499;
    cr_assert(!nexus__compact_should(&f, 100, 50) && nexus__compact_may(&f, 100, 50));
    f.last = true;
    cr_assert(!nexus__compact_may(&f, UINT64_MAX, UINT64_MAX));
}

Test(compact, leaves_nothing_of_a_key_whose_tombstone_is_old, .timeout = 30)
{
    char *dir = scratch_dir();
    nexus_bus *bus = open_compacting(dir, 1);
    fill(bus);
    put(bus, "profile.changed", "user-4", NULL);
    put(bus, "order.created", "user-0", "x");
    compact(bus);
    seen s = read_all(bus);
    cr_assert(s.profiles == KEYS && !s.last_ones); /* the tombstone is one of them */
    while (read_all(bus).profiles == KEYS)
        compact(bus);
    cr_assert_eq(read_all(bus).profiles, KEYS - 1);
    cr_assert_eq(version_of(bus, "user-4"), ROUNDS);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* A condition still meets what was stored and superseded since. */
Test(compact, does_not_hide_an_event_from_a_condition)
{
    char *dir = scratch_dir();
    nexus_bus *bus = open_compacting(dir, 0);
    fill(bus);
    put(bus, "order.created", "user-0", "last");
    compact(bus);
    cr_assert_eq(read_all(bus).profiles, KEYS);
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    e.type = text("report.made");
    opts.fail_types = "profile.changed";
    opts.fail_after = 1;
    cr_assert(nexus_bus_publish(bus, &e, 1, &opts, &r) == NEXUS_ECONFLICT && r.first == 2, "%llu",
              (unsigned long long)r.first);
    opts.fail_types = "profile.removed";
    cr_assert(nexus_bus_publish(bus, &e, 1, &opts, &r) == NEXUS_OK);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- in the background, and killed ---------------------------------------------------------------------------------- */

static uint64_t log_bytes(const char *dir)
{
    char path[700];
    struct stat st;
    uint64_t bytes = 0;
    snprintf(path, sizeof path, "%s/bus", dir);
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/bus/%s", dir, e->d_name);
        if (strncmp(e->d_name, "seg-", 4) == 0 && strstr(e->d_name, ".log") && stat(path, &st) == 0)
            bytes += (uint64_t)st.st_size;
    }
    closedir(d);
    return bytes;
}

Test(compact, goes_on_by_itself_when_half_of_a_file_is_superseded, .timeout = 60)
{
    char *dir = scratch_dir();
    nexus_bus *bus = open_compacting(dir, 0);
    static char big[8000];
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 3; i++)
        fill(bus);
    for (int i = 0; i < 100; i++) /* so that both checkpoints are written behind the others */
        put(bus, "profile.changed", "user-0", big);
    for (; log_bytes(dir) > 1350000; usleep(5000)) /* of 1.9 MB */
        put(bus, "order.created", "user-0", "x"); /* the owner looks when something was written */
    cr_assert(read_all(bus).profiles >= KEYS);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

static void publish_and_compact(const char *dir, int out)
{
    nexus_bus *bus = open_compacting(dir, 0);
    char subject[24], data[1200];
    for (int i = 0;; i++) {
        snprintf(subject, sizeof subject, "user-%d", i % KEYS);
        snprintf(data, sizeof data, "%d %01000d", i, 0);
        put(bus, "profile.changed", subject, data);
        if (write(out, &i, sizeof i) != sizeof i)
            _exit(1);
        if (i % 60 == 59)
            (void)!nexus_bus_compact(bus, NULL);
    }
}

/* The last of each key that was answered is there, or a later one. */
static void check_last(const char *dir, const int last[KEYS])
{
    nexus_bus *bus = open_compacting(dir, 0);
    int found[KEYS];
    memset(found, -1, sizeof found);
    nexus_reader *r;
    const nexus_event *e;
    nexus_status status;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    while ((status = nexus_reader_next(r, &e, 0)) == NEXUS_OK)
        found[e->subject.p[5] - '0'] = atoi(e->data.p);
    cr_assert(status == NEXUS_EDONE, "%s", nexus_error_message());
    nexus_reader_close(r);
    for (int k = 0; k < KEYS; k++)
        cr_assert(found[k] >= last[k], "key %d: %d, answered was %d", k, found[k], last[k]);
    nexus_bus_close(bus);
}

Test(compact, that_is_killed_loses_nothing, .timeout = 60)
{
    for (int life = 0; life < 8; life++) {
        char *dir = scratch_dir();
        int ends[2], last[KEYS], i;
        memset(last, -1, sizeof last);
        cr_assert(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            publish_and_compact(dir, ends[1]);
        }
        close(ends[1]);
        /* The pipe holds more than one round, so that the child is compacting, or just behind it. */
        while (read(ends[0], &i, sizeof i) == sizeof i && i < 239 + life * 7)
            last[i % KEYS] = i;
        kill(child, SIGKILL);
        while (read(ends[0], &i, sizeof i) == sizeof i)
            last[i % KEYS] = i;
        close(ends[0]);
        waitpid(child, NULL, 0);
        check_last(dir, last);
        scratch_remove(dir);
    }
}
