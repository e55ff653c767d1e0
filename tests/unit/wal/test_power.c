/* wal/: a power cut that loses every write not yet synced (fault row 14), and a clock that jumps (row 27). */
#include "scratch.h"

#include <dirent.h>
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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the log writes and makes files on threads of its own */
static struct {
    lost list[256];
    size_t count;
    int syncs, cut_at;
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

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 16];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0600);
    for (ssize_t n; (n = read(in, bytes, sizeof bytes)) > 0;)
        cr_assert(write(out, bytes, (size_t)n) == n);
    for (size_t i = world.count; i-- > 0;)
        if (world.list[i].file == file_of(in))
            cr_assert(pwrite(out, world.list[i].was, world.list[i].n, world.list[i].at) >= 0);
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
