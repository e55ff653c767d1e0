/* bus/: fault rows 15 and 24 to 27 of the bus's specification: stopped owners, crashed members, poison, crashed redrives, clocks. */
#include "place.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bus/broker.h"

/* The clock of the day as this program sees it; the library is linked in, so it sees the same. */
static int64_t jump_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
    long rc = syscall(SYS_clock_gettime, id, t);
    if (rc == 0 && id == CLOCK_REALTIME)
        t->tv_sec += jump_s;
    return (int)rc;
}

static int64_t now_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put_many(nexus_bus *bus, int n)
{
    enum { AT_ONCE = 500 };
    static char ids[AT_ONCE][16];
    static nexus_event events[AT_ONCE];
    for (int done = 0; done < n; done += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) {
            events[i] = (nexus_event)NEXUS_EVENT_INIT;
            snprintf(ids[i], sizeof ids[i], "e%d", done + i);
            events[i].id = events[i].subject = text(ids[i]);
            events[i].type = NEXUS_S("t");
            events[i].data = NEXUS_S("{}");
        }
        cr_assert(nexus_bus_publish(bus, events, AT_ONCE, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
    }
}

/* --- 15: a stopped owner ------------------------------------------------------------------------------------------ */

static pid_t start_owner(const char *dir)
{
    int fds[2];
    char byte;
    cr_assert(pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        nexus_bus *bus = bus_open(dir);
        if (write(fds[1], "x", 1) == 1)
            pause();
        nexus_bus_close(bus);
        _exit(0);
    }
    cr_assert(pid > 0 && read(fds[0], &byte, 1) == 1);
    close(fds[0]);
    close(fds[1]);
    return pid;
}

static void end_owner(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

Test(faults, a_stopped_owner_leaves_the_outcome_open_and_keeps_the_bus)
{
    char *dir = scratch_dir(), url[300];
    pid_t owner = start_owner(dir);
    nexus_bus *client = bus_open(dir), *second;
    nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_bus_opts role = NEXUS_BUS_OPTS_INIT;
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = NEXUS_S("once");
    e.type = NEXUS_S("t");
    o.timeout_ms = 100;
    cr_assert(!nexus_bus_is_owner(client));
    kill(owner, SIGSTOP);
    cr_assert(nexus_bus_publish(client, &e, 1, &o, &r) == NEXUS_EUNKNOWN, "neither stored nor refused");
    cr_assert(nexus_bus_publish(client, &e, 1, &o, &r) == NEXUS_EUNKNOWN);
    role.role = NEXUS_BUS_OWNER;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    cr_assert(nexus_bus_open(&second, url, &role) == NEXUS_ECONFLICT, "no second one beside it");
    kill(owner, SIGCONT);
    cr_assert(nexus_bus_publish(client, &e, 1, NULL, &r) == NEXUS_OK && r.first == 1, "%s", nexus_error_message());
    uint64_t head;
    cr_assert(nexus_bus_head(client, &head) == NEXUS_OK && head == 1, "stored once");
    nexus_bus_close(client);
    end_owner(owner);
    scratch_remove(dir);
}

/* --- 24: a member that is gone with its hands full ---------------------------------------------------------------- */

Test(faults, what_a_crashed_member_held_comes_again_when_its_lease_is_over)
{
    enum { KEYS = 100, LEASE_MS = 300 };
    place p = place_open(true);
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    nexus_delivery *held[KEYS];
    size_t got, n = 0;
    o.ack_wait_ms = LEASE_MS;
    o.backoff_base_ms = 1;
    o.backoff_cap_ms = 1;
    for (int i = 0; i < 2 * KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i % KEYS);
        put(p.owner, "t", key, i < KEYS ? "first" : "second");
    }
    nexus_group *gone = join(p.bus, "g", &o), *g = join(p.owner, "g", &o);
    int64_t start = now_ns(CLOCK_MONOTONIC);
    while (n < KEYS) {
        cr_assert(nexus_group_fetch(gone, held + n, KEYS - n, 1000, &got) == NEXUS_OK);
        n += got;
    }
    int firsts = 0, seconds = 0;
    while (firsts + seconds < 2 * KEYS) {
        nexus_delivery *d = take(g, 10000);
        cr_assert(d);
        bool first = data_is(d, "first");
        if (first) {
            cr_assert(now_ns(CLOCK_MONOTONIC) - start >= LEASE_MS * 1000000LL, "not before its lease is over");
            cr_assert(nexus_delivery_attempt(d) >= 2);
        } else {
            cr_assert(firsts > 0, "the lane waits");
        }
        if (nexus_delivery_ack(d) == NEXUS_OK) { /* on a slow machine ours may be over as well */
            firsts += first;
            seconds += !first;
        }
        nexus_delivery_free(d);
    }
    for (size_t i = 0; i < n; i++) {
        cr_assert(nexus_delivery_ack(held[i]) == NEXUS_ESTALE, "a late ack is of no effect");
        nexus_delivery_free(held[i]);
    }
    cr_assert(stats_of(g).floor == 2 * KEYS);
    nexus_group_close(gone);
    nexus_group_close(g);
    place_close(&p);
}

/* --- 25: poison --------------------------------------------------------------------------------------------------- */

Test(faults, one_key_that_always_fails_is_tried_so_often_and_holds_up_nobody)
{
    enum { KEYS = 100, ATTEMPTS = 5 };
    place p = place_open(false);
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.max_deliver = ATTEMPTS;
    o.backoff_base_ms = 1;
    o.backoff_cap_ms = 4;
    for (int i = 0; i < 2 * KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i % KEYS);
        put(p.bus, "t", key, i == 7 ? "poison" : "fine");
    }
    nexus_group *g = join(p.bus, "g", &o);
    uint32_t tried = 0, others = 0, others_at_first = 0;
    for (nexus_delivery *d; (d = take(g, others + 1 < 2 * KEYS || tried < ATTEMPTS ? 5000 : 0));) {
        if (data_is(d, "poison")) {
            cr_assert_eq(nexus_delivery_attempt(d), ++tried);
            others_at_first = tried == 1 ? others : others_at_first;
            cr_assert(nexus_delivery_nak(d, UINT32_MAX, "parse: not JSON") == NEXUS_OK);
            nexus_delivery_free(d);
            continue;
        }
        cr_assert_eq(nexus_delivery_attempt(d), 1);
        others++;
        ack(d);
    }
    cr_assert(tried == ATTEMPTS && others == 2 * KEYS - 1 && others_at_first == 7);
    char *json;
    cr_assert(nexus_group_dead(&json, NULL, g, NULL) == NEXUS_OK);
    cr_assert(strstr(json, "\"pos\":8,\"attempts\":5,\"reason\":\"parse: not JSON\""), "%s", json);
    nexus_free(json);
    nexus_group_close(g);
    place_close(&p);
}

Test(faults, every_wait_is_within_its_bounds)
{
    nexus__group_config c = {.backoff_base_ms = 100, .backoff_cap_ms = 1000, .backoff_factor = 3};
    const uint32_t bounds[] = {100, 300, 900, 1000, 1000};
    nexus__backoff b = nexus__group_config_backoff(&c, NEXUS_S("any: thing"));
    for (uint32_t attempt = 1; attempt <= 5; attempt++) {
        cr_assert_eq(nexus__backoff_ms(&b, attempt, 0), 0);
        cr_assert_eq(nexus__backoff_ms(&b, attempt, UINT64_MAX), bounds[attempt - 1]);
    }
}

/* --- a handler that takes the owner down with it ------------------------------------------------------------------ */

enum { DEADLY = 1000, TRIES = 3 };

static int32_t die_of_one(nexus_delivery *d, void *user_data)
{
    (void)user_data;
    if (nexus_delivery_event(d)->pos == DEADLY)
        _exit(1); /* faster than anything is written */
    return NEXUS_ACK;
}

static void own_until_done(const char *dir)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    nexus_consumer *c;
    o.max_deliver = TRIES;
    nexus_bus *bus = bus_open(dir);
    nexus_group *g = join(bus, "g", &o);
    if (nexus_consumer_open(&c, g, die_of_one, NULL, 1) != NEXUS_OK)
        _exit(2);
    while (stats_of(g).lag)
        usleep(1000);
    nexus_consumer_close(c);
    nexus_bus_close(bus);
    _exit(0);
}

Test(faults, a_handler_that_kills_its_process_at_once_is_counted)
{
    char *dir = scratch_dir();
    int rc, lives = 0;
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    nexus_bus *bus = bus_open(dir);
    put_many(bus, 2 * DEADLY);
    nexus_bus_close(bus);
    do {
        pid_t pid = fork();
        if (pid == 0)
            own_until_done(dir);
        cr_assert(pid > 0 && waitpid(pid, &rc, 0) == pid);
    } while (rc != 0 && ++lives < 2 * TRIES);
    cr_assert(lives >= TRIES && lives <= TRIES + 1, "%d lives", lives);
    bus = bus_open(dir);
    o.existing = true;
    nexus_group *g = join(bus, "g", &o);
    cr_assert(stats_of(g).dead == 1 && stats_of(g).floor == 2 * DEADLY);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- 26: a redrive that crashes half way -------------------------------------------------------------------------- */

enum { LETTERS = 3000, BEFORE = 1000 };

static void make_letters(const char *dir)
{
    nexus_bus *bus = bus_open(dir);
    nexus_group *g = join(bus, "g", NULL);
    nexus_delivery *all[256];
    size_t got;
    put_many(bus, LETTERS);
    do {
        cr_assert(nexus_group_fetch(g, all, 256, 0, &got) == NEXUS_OK);
        for (size_t i = 0; i < got; i++) {
            cr_assert(nexus_delivery_term(all[i], "bad day") == NEXUS_OK);
            nexus_delivery_free(all[i]);
        }
    } while (got);
    cr_assert(stats_of(g).dead == LETTERS && stats_of(g).floor == LETTERS);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

/* Redrives some, says so, and goes on until it is killed. */
static void redrive_until_killed(const char *dir, int fd)
{
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_bus *bus = bus_open(dir);
    nexus_group *g = join(bus, "g", NULL);
    q.limit = BEFORE;
    nexus_status status = nexus_group_redrive(g, &q, NULL, NULL);
    if (status == NEXUS_OK && write(fd, "x", 1) == 1)
        status = nexus_group_redrive(g, NULL, NULL, NULL);
    pause();
    _exit(status != NEXUS_OK);
}

Test(faults, a_redrive_that_crashed_goes_on_and_loses_nothing)
{
    char *dir = scratch_dir(), byte;
    static uint8_t seen[LETTERS + 1];
    int fds[2];
    make_letters(dir);
    cr_assert(pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0)
        redrive_until_killed(dir, fds[1]);
    cr_assert(pid > 0 && read(fds[0], &byte, 1) == 1);
    end_owner(pid);
    nexus_bus *bus = bus_open(dir);
    nexus_group *g = join(bus, "g", NULL);
    nexus_redrive_result r = {.size = sizeof r};
    cr_assert(stats_of(g).dead <= LETTERS - BEFORE, "what was told is done");
    cr_assert(nexus_group_redrive(g, NULL, NULL, &r) == NEXUS_OK);
    for (nexus_delivery *d; (d = take(g, 0)); ack(d)) {
        uint64_t pos = nexus_delivery_event(d)->pos;
        cr_assert(pos <= LETTERS && !seen[pos]++, "%d twice", (int)pos);
    }
    for (int i = 1; i <= LETTERS; i++)
        cr_assert(seen[i], "%d is lost", i);
    cr_assert(stats_of(g).dead == 0 && stats_of(g).floor == LETTERS, "the floor did not move");
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- 27: the clock of the day is set ------------------------------------------------------------------------------ */

Test(faults, a_clock_that_jumps_moves_no_lease_and_no_order_of_times)
{
    place p = place_open(false);
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.ack_wait_ms = 600000;
    put(p.bus, "t", "a", "1");
    put(p.bus, "t", "b", "2");
    nexus_group *g = join(p.bus, "g", &o);
    nexus_delivery *leased = take(g, 1000), *delayed = take(g, 1000);
    cr_assert(nexus_delivery_nak(delayed, 600000, "later") == NEXUS_OK);
    nexus_delivery_free(delayed);
    const int64_t jumps[] = {3600, -3600, 1, 0};
    for (size_t i = 0; i < 4; i++) {
        jump_s = jumps[i];
        put(p.bus, "u", NULL, "x");
        ack_data(g, "x");
        cr_assert(take(g, 0) == NULL, "neither the lease nor the wait is over");
    }
    ack(leased);
    nexus_reader *r;
    const nexus_event *e;
    int64_t last = 0;
    cr_assert(nexus_reader_open(&r, p.bus, NULL) == NEXUS_OK);
    for (int n = 0; n < 6; n++) {
        cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK && e->recv_ns >= last, "times of storing never go back");
        last = e->recv_ns;
    }
    nexus_reader_close(r);
    nexus_group_close(g);
    place_close(&p);
}

Test(faults, what_waits_for_a_time_of_day_follows_a_clock_that_is_set)
{
    place p = place_open(false);
    nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = NEXUS_S("t");
    e.data = NEXUS_S("1");
    o.not_before_ns = now_ns(CLOCK_REALTIME) + 1800 * 1000000000LL;
    cr_assert(nexus_bus_publish(p.bus, &e, 1, &o, NULL) == NEXUS_OK);
    nexus_group *g = join(p.bus, "g", NULL);
    cr_assert(take(g, 0) == NULL);
    jump_s = 3600;
    nexus_delivery *d = take(g, 20000); /* looked at each second */
    cr_assert(d && data_is(d, "1"));
    ack(d);
    nexus_group_close(g);
    place_close(&p);
}

/* --- what the log must tell a new owner, by its checkpoint alone -------------------------------------------------- */

static nexus_bus *open_with_checkpoints(const char *dir)
{
    char url[300];
    nexus_bus *bus;
    nexus_bus_opts o = NEXUS_BUS_OPTS_INIT;
    o.segment_bytes = 65536;
    o.checkpoint_bytes = 65536;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    cr_assert(nexus_bus_open(&bus, url, &o) == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

Test(faults, delays_parked_lanes_and_notes_are_in_the_checkpoint)
{
    char *dir = scratch_dir();
    static char big[3000];
    nexus_bus *bus = open_with_checkpoints(dir);
    nexus_publish_opts later = NEXUS_PUBLISH_OPTS_INIT;
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    nexus_event e = NEXUS_EVENT_INIT;
    memset(big, 'x', sizeof big - 1);
    o.types = "t";
    o.max_deliver = 1;
    o.on_exhausted = NEXUS_PARK_LANE;
    e.id = NEXUS_S("far");
    e.type = NEXUS_S("t");
    e.data = NEXUS_S("later");
    later.not_before_ns = now_ns(CLOCK_REALTIME) + 1800 * 1000000000LL;
    cr_assert(nexus_bus_publish(bus, &e, 1, &later, NULL) == NEXUS_OK);
    put(bus, "t", "a", "a1");
    nexus_group *g = join(bus, "g", &o);
    nexus_delivery *d = take(g, 1000);
    cr_assert(nexus_delivery_term(d, "no") == NEXUS_OK);
    nexus_delivery_free(d);
    cr_assert(nexus_group_pause(g, true) == NEXUS_OK);
    nexus_group_close(g);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 60; i++) /* several checkpoints */
            put(bus, "u", NULL, big);
        nexus_bus_close(bus);
        bus = open_with_checkpoints(dir);
    }
    g = join(bus, "g", &o);
    cr_assert(stats_of(g).paused && nexus_group_pause(g, false) == NEXUS_OK);
    put(bus, "t", "a", "a2");
    cr_assert(take(g, 0) == NULL && stats_of(g).dead == 2, "its lane is parked");
    jump_s = 3600;
    ack_data(g, "later");
    cr_assert(take(g, 0) == NULL);
    char *json;
    cr_assert(nexus_group_audit(&json, NULL, g) == NEXUS_OK);
    cr_assert(strstr(json, "\"pause\"") && strstr(json, "\"resume\""), "%s", json);
    nexus_free(json);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- a log that takes no writes ----------------------------------------------------------------------------------- */

Test(faults, a_group_says_that_the_log_takes_no_writes)
{
    place p = place_open(false);
    nexus_group *g = join(p.bus, "g", NULL);
    nexus_event e = NEXUS_EVENT_INIT;
    static char big[300000];
    char *json;
    memset(big, 'x', sizeof big - 1);
    e.type = NEXUS_S("t");
    e.data = text(big);
    put(p.bus, "t", NULL, "x");
    signal(SIGXFSZ, SIG_IGN);
    cr_assert(setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000}) == 0);
    cr_assert(nexus_bus_publish(p.bus, &e, 1, NULL, NULL) != NEXUS_OK);
    cr_assert(nexus_group_explain(&json, NULL, g) == NEXUS_OK);
    cr_assert(strstr(json, "\"state\":\"DISK\""), "%s", json);
    nexus_free(json);
    nexus_group_close(g);
    place_close(&p);
}
