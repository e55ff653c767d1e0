/* bus/: checkpoints of the derived state. Whatever becomes of them, the bus answers as before or says what is missing. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/handle.h"
#include "bus/internal.h"

enum { EVENTS = 240, TAKEN = 120, LEFT = 5, DEAD = 7 };

static nexus_bus *try_open(const char *dir, nexus_status *status)
{
    char url[300];
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 65536;
    opts.checkpoint_bytes = 65536;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    *status = nexus_bus_open(&bus, url, &opts);
    return bus;
}

static nexus_bus *open_small(const char *dir)
{
    nexus_status status;
    nexus_bus *bus = try_open(dir, &status);
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

static nexus_status put_numbered(nexus_bus *bus, int i, char first, nexus_publish_result *r)
{
    char id[16], key[16], data[3000];
    nexus_event e = NEXUS_EVENT_INIT;
    memset(data, 'x', sizeof data);
    data[0] = first;
    e.id = (nexus_slice){id, (size_t)snprintf(id, sizeof id, "id-%d", i)};
    e.subject = (nexus_slice){key, (size_t)snprintf(key, sizeof key, "k-%d", i)};
    e.type = text("t");
    e.data = (nexus_slice){data, sizeof data};
    *r = (nexus_publish_result)NEXUS_PUBLISH_RESULT_INIT;
    return nexus_bus_publish(bus, &e, 1, NULL, r);
}

static nexus_group *join_g(nexus_bus *bus)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.max_inflight = EVENTS;
    return join(bus, "g", &opts);
}

/* 240 events, the first 120 taken: all acknowledged but one, which is left, and one that becomes a dead letter. */
static void fill(const char *dir)
{
    nexus_bus *bus = open_small(dir);
    nexus_publish_result r;
    nexus_group *g = join_g(bus);
    for (int i = 1; i <= EVENTS; i++) {
        cr_assert(put_numbered(bus, i, 'a', &r) == NEXUS_OK && r.first == (uint64_t)i);
        nexus_delivery *d = i <= TAKEN ? take(g, 5000) : NULL;
        cr_assert(i > TAKEN || d);
        if (i == DEAD)
            cr_assert(nexus_delivery_term(d, "bad one") == NEXUS_OK);
        else if (d && i != LEFT)
            cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    nexus_group_close(g);
    nexus_bus_close(bus);
}

static void check_events(nexus_bus *bus)
{
    nexus_publish_result r;
    int64_t version;
    cr_assert(put_numbered(bus, 2, 'a', &r) == NEXUS_OK && r.dup && r.first == 2);
    cr_assert(put_numbered(bus, EVENTS, 'a', &r) == NEXUS_OK && r.dup && r.first == EVENTS);
    cr_assert(put_numbered(bus, 2, 'b', &r) == NEXUS_ECONFLICT);
    cr_assert(nexus_stream_version(bus, "k-3", &version) == NEXUS_OK && version == 0);
    cr_assert(nexus_stream_version(bus, "k-0", &version) == NEXUS_OK && version == -1);
}

static void check_group(nexus_bus *bus)
{
    nexus_group *g = join_g(bus);
    char *letters = NULL;
    nexus_delivery *d = take(g, 5000);
    cr_assert(d && nexus_delivery_event(d)->pos == LEFT && nexus_delivery_attempt(d) == 2);
    nexus_delivery_free(d);
    for (uint64_t pos = TAKEN + 1; pos <= EVENTS; pos++) {
        d = take(g, 5000);
        cr_assert(d && nexus_delivery_event(d)->pos == pos && nexus_delivery_attempt(d) == 1);
        nexus_delivery_free(d);
    }
    cr_assert(take(g, 0) == NULL);
    cr_assert(nexus_group_dead(&letters, NULL, g, NULL) == NEXUS_OK);
    cr_assert(strstr(letters, "\"pos\":7,") && strstr(letters, "bad one") && !strstr(letters + 10, "\"pos\":8,"));
    nexus_free(letters);
    nexus_group_close(g);
}

static void check(const char *dir)
{
    nexus_bus *bus = open_small(dir);
    check_events(bus);
    check_group(bus);
    nexus_bus_close(bus);
}

/* --- owners that live for a short time ---------------------------------------------------------------------------- */

/* Leaves without a close, as if killed, when there is nothing the keeper has to do. */
static void live_shortly(const char *dir, int round)
{
    nexus_bus *bus = open_small(dir);
    nexus__broker *b = atomic_load(&bus->broker);
    nexus_publish_result r;
    bool due = true;
    for (int i = 0; i < 5; i++)
        cr_assert(put_numbered(bus, round * 5 + i, 'a', &r) == NEXUS_OK);
    while (due) {
        pthread_mutex_lock(&b->keep.work);
        due = nexus__wal_written(b->wal) - b->keep.saved_written >= 65536 + 20000;
        pthread_mutex_unlock(&b->keep.work);
    }
    _exit(0);
}

Test(state, is_written_though_no_owner_lives_for_long)
{
    char *dir = scratch_dir();
    for (int round = 0; round < 20; round++) {
        int rc;
        pid_t pid = fork();
        if (pid == 0)
            live_shortly(dir, round);
        cr_assert(pid > 0 && waitpid(pid, &rc, 0) == pid && rc == 0);
    }
    nexus_bus *bus = open_small(dir);
    cr_assert(atomic_load(&bus->broker)->keep.behind < 65536 + 40000, "%llu bytes behind the newest one",
              (unsigned long long)atomic_load(&bus->broker)->keep.behind);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- damage ------------------------------------------------------------------------------------------------------- */

typedef void file_fn(int dir_fd, const char *name);

static int each(const char *dir, const char *suffix, file_fn *fn)
{
    char path[300];
    int n = 0;
    snprintf(path, sizeof path, "%s/bus", dir);
    DIR *d = opendir(path);
    cr_assert(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), end = strlen(suffix);
        if (len < end || strcmp(e->d_name + len - end, suffix) != 0)
            continue;
        n++;
        if (fn)
            fn(dirfd(d), e->d_name);
    }
    closedir(d);
    return n;
}

static void unlink_it(int dir_fd, const char *name)
{
    cr_assert(unlinkat(dir_fd, name, 0) == 0);
}

static void unlink_early_log(int dir_fd, const char *name)
{
    unsigned long long pos;
    if (sscanf(name, "seg-%16llx", &pos) == 1 && pos < 60)
        unlink_it(dir_fd, name);
}

static void flip_at(int dir_fd, const char *name, off_t at)
{
    char byte;
    int fd = openat(dir_fd, name, O_RDWR);
    cr_assert(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 4;
    cr_assert(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

static void flip_head(int dir_fd, const char *name)
{
    flip_at(dir_fd, name, 3);
}

static void flip_cursor(int dir_fd, const char *name)
{
    flip_at(dir_fd, name, 60);
}

static void flip_body(int dir_fd, const char *name)
{
    flip_at(dir_fd, name, 700);
}

static void flip_newest(int dir_fd, const char *name)
{
    struct stat st[2] = {0};
    if (fstatat(dir_fd, "bus-0.ckpt", &st[0], 0) == 0 && fstatat(dir_fd, "bus-1.ckpt", &st[1], 0) == 0) {
        bool second = st[1].st_mtim.tv_sec > st[0].st_mtim.tv_sec ||
                      (st[1].st_mtim.tv_sec == st[0].st_mtim.tv_sec && st[1].st_mtim.tv_nsec > st[0].st_mtim.tv_nsec);
        if (strcmp(name, second ? "bus-1.ckpt" : "bus-0.ckpt") == 0)
            flip_at(dir_fd, name, 700);
    }
}

Test(state, survives_reopening_without_the_older_log)
{
    char *dir = scratch_dir();
    fill(dir);
    cr_assert(each(dir, ".ckpt", NULL) == 2);
    each(dir, ".log", unlink_early_log);
    nexus_bus *bus = open_small(dir);
    check_events(bus);
    char *letters;
    nexus_group *g = join_g(bus);
    cr_assert(nexus_group_dead(&letters, NULL, g, NULL) == NEXUS_OK && strstr(letters, "bad one"));
    nexus_free(letters);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(state, is_rebuilt_from_the_log_whatever_happens_to_checkpoints)
{
    static file_fn *const damages[] = {NULL, unlink_it, flip_head, flip_cursor, flip_body, flip_newest};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char *dir = scratch_dir();
        fill(dir);
        each(dir, ".ckpt", damages[i]);
        check(dir);
        scratch_remove(dir);
    }
}

Test(state, that_is_nowhere_any_more_is_named)
{
    static file_fn *const damages[] = {unlink_it, flip_body};
    static const nexus_status statuses[] = {NEXUS_EMISSING, NEXUS_ECORRUPT};
    for (size_t i = 0; i < 2; i++) {
        char *dir = scratch_dir();
        nexus_status status;
        fill(dir);
        each(dir, ".log", unlink_early_log);
        each(dir, ".ckpt", damages[i]);
        cr_assert(try_open(dir, &status) == NULL && status == statuses[i], "%d %s", status, nexus_error_message());
        cr_assert(strstr(nexus_error_message(), "the log begins at position"));
        scratch_remove(dir);
    }
}

static void expect_progress(nexus_bus *bus, uint64_t floor, uint64_t lag)
{
    nexus_group *g = join_g(bus);
    nexus_group_stats stats = {.size = sizeof stats};
    cr_assert(nexus_group_read_stats(g, &stats) == NEXUS_OK);
    cr_assert(stats.floor == floor && stats.lag == lag, "floor %llu, lag %llu", (unsigned long long)stats.floor,
              (unsigned long long)stats.lag);
    nexus_group_close(g);
}

/* Ten events are taken; those of the bits are acknowledged, the last one first, and `refused` becomes a dead letter. */
static nexus_bus *settle_some(char *dir, unsigned bits, int refused)
{
    nexus_bus *bus = open_small(dir);
    nexus_publish_result r;
    nexus_group *g = join_g(bus);
    nexus_delivery *all[10];
    size_t got;
    for (int i = 0; i < 10; i++)
        cr_assert(put_numbered(bus, i, 'x', &r) == NEXUS_OK);
    cr_assert(nexus_group_fetch(g, all, 10, 0, &got) == NEXUS_OK && got == 10);
    for (int i = 9; i >= 0; i--)
        if (bits >> i & 1)
            cr_assert(nexus_delivery_ack_sync(all[i]) == NEXUS_OK);
    if (refused >= 0)
        cr_assert(nexus_delivery_term(all[refused], "no") == NEXUS_OK);
    for (int i = 0; i < 10; i++)
        nexus_delivery_free(all[i]);
    nexus_group_close(g);
    return bus;
}

Test(state, what_was_settled_out_of_order_is_no_lag_of_the_next_owner)
{
    char *dir = scratch_dir();
    nexus_bus_close(settle_some(dir, 0x3ef, -1)); /* all but the fifth */
    nexus_bus *bus = open_small(dir);
    expect_progress(bus, 4, 1);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(state, the_floor_of_the_next_owner_is_the_first_event_that_is_not_settled)
{
    char *dir = scratch_dir();
    nexus_dead_query all = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_result result = {.size = sizeof result};
    nexus_bus *bus = settle_some(dir, 0x6, 0); /* two and three are acknowledged before one is a dead letter */
    nexus_group *g = join_g(bus);
    cr_assert(nexus_group_redrive(g, &all, NULL, &result) == NEXUS_OK && result.redriven == 1, "%s", nexus_error_message());
    nexus_group_close(g);
    nexus_bus_close(bus);
    bus = open_small(dir);
    expect_progress(bus, 3, 8); /* seven, and the letter that comes again */
    nexus_bus_close(bus);
    scratch_remove(dir);
}

static bool hand_out_at_once(nexus_bus *bus, nexus_group *g, int i)
{
    nexus_dead_query all = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_result result = {.size = sizeof result};
    char key[8];
    snprintf(key, sizeof key, "k-%d", i);
    put(bus, "t", key, "1");
    nexus_delivery *d = NULL;
    size_t got; /* those of the rounds before come along, and stay with their holder */
    do {
        if (nexus_group_fetch(g, &d, 1, 0, &got) != NEXUS_OK || !got)
            return false;
    } while (!nexus__slice_eq(nexus_delivery_event(d)->subject, text(key)));
    return nexus_delivery_term(d, "no") == NEXUS_OK && nexus_group_redrive(g, &all, NULL, &result) == NEXUS_OK &&
           result.redriven == 1;
}

/* What a group has noted and not yet written is written before what it is told to do with it. */
Test(state, a_letter_handed_out_at_once_has_all_its_attempts_when_its_owner_is_killed)
{
    enum { ROUNDS = 20 };
    char *dir = scratch_dir();
    pid_t child = fork();
    if (child == 0) {
        nexus_bus *bus = open_small(dir);
        nexus_group *g = join_g(bus);
        bool good = true;
        for (int i = 0; i < ROUNDS && good; i++)
            good = hand_out_at_once(bus, g, i);
        _exit(good ? 0 : 1);
    }
    int ended;
    cr_assert(child > 0 && waitpid(child, &ended, 0) == child && WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    nexus_bus *bus = open_small(dir);
    nexus_group *g = join_g(bus);
    nexus_group_stats stats = {.size = sizeof stats};
    cr_assert(nexus_group_read_stats(g, &stats) == NEXUS_OK && stats.dead == 0, "%llu", (unsigned long long)stats.dead);
    bool last = false;
    for (int i = 0; i < ROUNDS; i++) {
        nexus_delivery *d = take(g, 0);
        cr_assert(d != NULL);
        if (nexus__slice_eq(nexus_delivery_event(d)->subject, NEXUS_S("k-19"))) {
            last = true;
            cr_assert(nexus_delivery_attempt(d) == 1, "%u", nexus_delivery_attempt(d));
        }
        nexus_delivery_free(d);
    }
    cr_assert(last);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}
