/* wal/: a power cut that loses writes not yet synced, in each mode (fault row 14), and a clock that jumps (row 27). */
#include "scratch.h"

#include "wal/inspect.h"
#include "wal/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

/* --- what a write covered, until it is synced --------------------------------------------------------------------- */

typedef struct lost {
    ino_t file;
    off_t at;
    size_t n;
    char *was;
} lost;

static pthread_cond_t synced = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the log writes and makes files on threads of its own */
static struct {
    lost list[256];
    size_t count;
    int syncs, cut_at, fail_at;
    uint32_t luck; /* 0: every page that is not synced is lost; else of which chance decides, by this seed */
    char *dir, *after; /* after: the directory as the power cut leaves it */
    uint64_t acked, acked_at_cut;
} world;

static ino_t file_of(int fd)
{
    struct stat st;
    cr_assert(fstat(fd, &st) == 0);
    return st.st_ino;
}

static ssize_t keep_and_write(void *user_data, int fd, const void *data, size_t n, off_t at)
{
    (void)user_data;
    pthread_mutex_lock(&lock);
    cr_assert(world.count < 256);
    lost *l = &world.list[world.count++];
    *l = (lost){file_of(fd), at, n, calloc(1, n)};
    cr_assert(pread(fd, l->was, n, at) >= 0);
    ssize_t wrote = pwrite(fd, data, n, at);
    pthread_mutex_unlock(&lock);
    return wrote;
}

static bool is_lost(ino_t file, off_t page)
{
    uint64_t x = ((uint64_t)file * 1000003u + (uint64_t)page) * 0x9e3779b97f4a7c15u + world.luck;
    return !world.luck || (x ^ x >> 29) * 0xbf58476d1ce4e5b9u >> 63;
}

static void take_back(int out, const lost *l)
{
    for (off_t at = l->at, end = l->at + (off_t)l->n; at < end;) {
        off_t next = (at / 4096 + 1) * 4096 < end ? (at / 4096 + 1) * 4096 : end;
        if (is_lost(l->file, at / 4096))
            cr_assert(pwrite(out, l->was + (at - l->at), (size_t)(next - at), at) >= 0);
        at = next;
    }
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 16];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0600);
    for (ssize_t n; (n = read(in, bytes, sizeof bytes)) > 0;)
        cr_assert(write(out, bytes, (size_t)n) == n);
    for (size_t i = world.count; i-- > 0;)
        if (world.list[i].file == file_of(in))
            take_back(out, &world.list[i]);
    close(in);
    close(out);
}

static void cut_power(void)
{
    char from[400], to[400];
    DIR *d = opendir(world.dir);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(from, sizeof from, "%s/%s", world.dir, e->d_name);
        snprintf(to, sizeof to, "%s/%s", world.after, e->d_name);
        copy_file(from, to);
    }
    closedir(d);
    world.acked_at_cut = world.acked;
}

static int sync_or_cut(void *user_data, int fd)
{
    (void)user_data;
    pthread_mutex_lock(&lock);
    if (++world.syncs == world.cut_at)
        cut_power(); /* before this sync, so what it was to make durable is lost */
    pthread_cond_broadcast(&synced);
    if (world.fail_at && world.syncs >= world.fail_at) {
        pthread_mutex_unlock(&lock);
        errno = EIO;
        return -1;
    }
    size_t kept = 0;
    for (size_t i = 0; i < world.count; i++)
        if (world.list[i].file == file_of(fd))
            free(world.list[i].was);
        else
            world.list[kept++] = world.list[i];
    world.count = kept;
    pthread_mutex_unlock(&lock);
    return 0;
}

Test(power, a_cut_before_any_sync_loses_nothing_that_was_acknowledged, .timeout = 60)
{
    static const nexus__wal_io io = {.pwrite_fn = keep_and_write, .fdatasync_fn = sync_or_cut};
    for (int cut_at = 1; cut_at <= 40; cut_at += 3) {
        memset(&world, 0, sizeof world);
        world.cut_at = cut_at;
        world.dir = scratch_dir();
        world.after = scratch_dir();
        nexus__wal *wal;
        nexus__wal_report report;
        nexus__wal_opts opts = {.segment_bytes = 65536, .io = &io};
        char payload[5000] = "p";
        cr_assert(nexus__wal_open(&wal, world.dir, &opts, NULL) == NEXUS_OK);
        while (world.syncs < world.cut_at)
            world.acked = log_put(wal, payload, sizeof payload, 0);
        nexus__wal_close(wal);
        while (world.count)
            free(world.list[--world.count].was);
        wal = log_open(world.after, &report);
        cr_assert(!report.read_only, "%s", report.damage);
        cr_assert(log_count(wal, 1) >= world.acked_at_cut, "cut %d", cut_at);
        cr_assert(log_put(wal, "on", 2, 0) == nexus__wal_durable(wal));
        nexus__wal_close(wal);
        scratch_remove(world.dir);
        scratch_remove(world.after);
    }
}

/* --- the weaker modes --------------------------------------------------------------------------------------------- */

static const nexus__wal_io losing = {.pwrite_fn = keep_and_write, .fdatasync_fn = sync_or_cut};
static _Atomic int64_t ticks_ns;

static int64_t tick(void *user_data)
{
    (void)user_data;
    return ticks_ns;
}

static const nexus__clock ticking = {.mono_ns = tick};

static nexus__wal *open_weakly(uint32_t mode, uint32_t sync_ms)
{
    nexus__wal *wal;
    nexus__wal_opts opts = {
        .segment_bytes = 65536, .io = &losing, .clock = &ticking, .durability = mode, .sync_ms = sync_ms};
    cr_assert(nexus__wal_open(&wal, world.dir, &opts, NULL) == NEXUS_OK, "%s", nexus_error_message());
    return wal;
}

static void begin_world(uint32_t luck)
{
    memset(&world, 0, sizeof world);
    world.luck = luck;
    world.dir = scratch_dir();
    world.after = scratch_dir();
    ticks_ns = NEXUS__NS_PER_S;
}

static void end_world(void)
{
    while (world.count)
        free(world.list[--world.count].was);
    scratch_remove(world.dir);
    scratch_remove(world.after);
}

static void tell_finding(const nexus__wal_finding *f, void *user_data)
{
    (void)user_data;
    cr_log_error("%s at %llu: %s", f->file, (unsigned long long)f->at, f->what);
}

/* What a cut after `puts` of 30 ms each leaves: a prefix without a hole, that can be written on. */
static uint64_t left_after(uint32_t mode, int puts)
{
    char payload[3000] = "p";
    nexus__wal_report report;
    nexus__wal *wal = open_weakly(mode, 100);
    for (int i = 0; i < puts; i++) {
        ticks_ns += 30 * NEXUS__NS_PER_MS;
        log_put(wal, payload, sizeof payload, 0);
    }
    pthread_mutex_lock(&lock);
    cut_power();
    pthread_mutex_unlock(&lock);
    nexus__wal_close(wal);
    nexus__wal_inspection seen; /* a torn tail is no damage to who verifies the log, either */
    cr_assert(nexus__wal_inspect(world.after, NULL, false, tell_finding, NULL, &seen) == NEXUS_OK);
    cr_assert_eq(seen.findings, 0);
    wal = log_open(world.after, &report);
    cr_assert(!report.read_only, "%s", report.damage);
    uint64_t left = log_count(wal, 1);
    cr_assert_eq(left, nexus__wal_durable(wal));
    cr_assert_eq(log_put(wal, "on", 2, 0), left + 1);
    nexus__wal_close(wal);
    wal = log_open(world.after, &report);
    cr_assert(!report.read_only && report.cut_bytes == 0, "%s", report.damage);
    cr_assert_eq(log_count(wal, 1), left + 1);
    nexus__wal_close(wal);
    return left;
}

Test(power, a_cut_in_mode_interval_loses_no_more_than_the_interval_and_leaves_a_prefix, .timeout = 60)
{
    for (uint32_t luck = 0; luck < 60; luck++) {
        int puts = 1 + (int)luck;
        begin_world(luck);
        uint64_t left = left_after(NEXUS__WAL_INTERVAL, puts);
        cr_assert((int)left >= puts - 4, "of %d %d are left", puts, (int)left); /* 100 ms are four puts */
        end_world();
    }
}

Test(power, a_cut_in_mode_os_leaves_a_prefix, .timeout = 60)
{
    bool more = false;
    for (uint32_t luck = 0; luck < 60; luck++) {
        int puts = 1 + (int)luck;
        begin_world(luck);
        more |= (int)left_after(NEXUS__WAL_OS, puts) < puts - 4;
        end_world();
    }
    cr_assert(more);
}

Test(power, in_mode_interval_a_lone_write_is_synced_without_another_one, .timeout = 60)
{
    begin_world(0);
    nexus__wal *wal = open_weakly(NEXUS__WAL_INTERVAL, 1);
    pthread_mutex_lock(&lock);
    int before = world.syncs;
    pthread_mutex_unlock(&lock);
    log_put(wal, "x", 1, 0);
    pthread_mutex_lock(&lock);
    while (world.syncs == before)
        pthread_cond_wait(&synced, &lock);
    pthread_mutex_unlock(&lock);
    nexus__wal_close(wal);
    end_world();
}

Test(power, a_sync_that_fails_later_poisons_the_log, .timeout = 60)
{
    begin_world(0);
    nexus__wal *wal = open_weakly(NEXUS__WAL_INTERVAL, 100);
    nexus__wal_record r = {.payload = NEXUS_S("x")};
    log_put(wal, "x", 1, 0);
    pthread_mutex_lock(&lock);
    world.fail_at = world.syncs + 1;
    pthread_mutex_unlock(&lock);
    ticks_ns += 200 * NEXUS__NS_PER_MS; /* this one has to wait for the one before */
    nexus_status status = nexus__wal_append(wal, &r, 1, NULL);
    cr_assert(status == NEXUS_EUNKNOWN || status == NEXUS_EROFS, "%d", status);
    int syncs = world.syncs;
    cr_assert(nexus__wal_append(wal, &r, 1, NULL) == NEXUS_EROFS);
    cr_assert(nexus__wal_condition(wal) == NEXUS_EROFS);
    nexus__wal_close(wal);
    cr_assert_eq(world.syncs, syncs);
    end_world();
}

Test(power, whether_a_sync_is_due_is_decided_by_the_oldest_write)
{
    cr_assert(!nexus__wal_sync_is_due(0, 1000, 10));
    cr_assert(!nexus__wal_sync_is_due(991, 1000, 10));
    cr_assert(nexus__wal_sync_is_due(990, 1000, 10));
}

/* --- clocks ------------------------------------------------------------------------------------------------------- */

static int64_t told_ns;

static int64_t tell(void *user_data)
{
    (void)user_data;
    return told_ns;
}

static void put_at(nexus__wal *wal, int64_t now_ns)
{
    told_ns = now_ns;
    log_put(wal, "x", 1, 0);
}

Test(clock, that_jumps_back_never_makes_receive_times_decrease_not_even_over_a_restart)
{
    static const nexus__clock clock = {.real_ns = tell};
    static const nexus__wal_opts opts = {.segment_bytes = 65536, .clock = &clock};
    const int64_t hour = 3600 * NEXUS__NS_PER_S;
    char *dir = scratch_dir();
    nexus__wal *wal;
    told_ns = 100 * hour;
    cr_assert(nexus__wal_open(&wal, dir, &opts, NULL) == NEXUS_OK);
    put_at(wal, 101 * hour);
    put_at(wal, 99 * hour);
    cr_assert(nexus__wal_seal_active(wal) == NEXUS_OK); /* the next life finds an empty file */
    nexus__wal_close(wal);
    told_ns = 98 * hour;
    cr_assert(nexus__wal_open(&wal, dir, &opts, NULL) == NEXUS_OK);
    put_at(wal, 98 * hour);
    put_at(wal, 102 * hour);
    nexus__wal_reader *r;
    nexus__wal_record record;
    const int64_t expected[] = {101, 101, 101, 102};
    cr_assert(nexus__wal_reader_open(&r, wal, 1) == NEXUS_OK);
    for (size_t i = 0; i < 4; i++)
        cr_assert(nexus__wal_reader_next(r, &record) == NEXUS_OK && record.recv_ns == expected[i] * hour, "%zu", i);
    nexus__wal_reader_close(r);
    nexus__wal_close(wal);
    scratch_remove(dir);
}
