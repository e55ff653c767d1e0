/* The process's own metrics, read from /proc when the registry is rendered. */
#include "observe/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/status.h"
#include "base/time.h"

typedef struct row {
    const char *name, *help;
    uint32_t type;
    double (*read)(void);
} row;

static size_t file_read(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);
    if (fd >= 0)
        close(fd);
    out[n < 0 ? 0 : n] = '\0';
    return n < 0 ? 0 : (size_t)n;
}

/* The i-th word, counted from 0. */
static double word_at(const char *text, size_t i)
{
    nexus_slice rest = nexus__slice_c(text), word = {0};
    for (size_t k = 0; k <= i; k++)
        word = nexus__slice_cut(&rest, ' ');
    double value = 0;
    return nexus__parse_double(word, &value) ? value : 0;
}

static double cpu_seconds(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double resident_bytes(void)
{
    char text[128];
    file_read("/proc/self/statm", text, sizeof text);
    return word_at(text, 1) * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double n = -3; /* ".", ".." and the folder's own descriptor */
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n > 0 ? n : 0;
}

static double max_fds(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0;
}

/* proc(5): field 22 of stat counts ticks since boot; the name in field 2 may hold spaces, so count from its end. */
static double start_time(void)
{
    char text[1024];
    file_read("/proc/self/stat", text, sizeof text);
    const char *after = strrchr(text, ')');
    char boot[64];
    file_read("/proc/uptime", boot, sizeof boot);
    if (!after)
        return 0;
    double age = word_at(boot, 0) - word_at(after + 2, 19) / (double)sysconf(_SC_CLK_TCK);
    return (double)nexus__real_ns() / 1e9 - age;
}

static const row rows[] = {
    {"process_cpu_seconds_total", "User and system CPU time spent, in seconds.", NEXUS_METRIC_COUNTER, cpu_seconds},
    {"process_resident_memory_bytes", "Resident memory.", NEXUS_METRIC_GAUGE, resident_bytes},
    {"process_open_fds", "Open file descriptors.", NEXUS_METRIC_GAUGE, open_fds},
    {"process_max_fds", "Limit of open file descriptors.", NEXUS_METRIC_GAUGE, max_fds},
    {"process_start_time_seconds", "When the process started, in seconds since 1970.", NEXUS_METRIC_GAUGE, start_time},
};

static void collect(nexus_metrics *metrics, void *user_data)
{
    (void)user_data;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].type == NEXUS_METRIC_GAUGE) {
            nexus_metric_set(nexus_metrics_gauge(metrics, rows[i].name, rows[i].help), rows[i].read());
            continue;
        }
        nexus_metric *m = nexus_metrics_counter(metrics, rows[i].name, rows[i].help);
        nexus_metric_add(m, rows[i].read() - nexus_metric_value(m));
    }
}

nexus_status nexus__metrics_process(nexus_metrics *metrics)
{
    return nexus_metrics_collect(metrics, collect, NULL);
}
