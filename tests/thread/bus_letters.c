/*
 * Fault row 26: dead letters are redriven and handled by the same process, which is killed with -9 half way; another one
 * redrives the rest. Nothing is lost, nothing settled for certain comes again, keys keep their order, the floor stays.
 *
 *   thread-bus-letters [LETTERS]      20,000; the row's number is 1000000
 */
#include <ftw.h>
#include <nexus/bus.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 1000, AT_ONCE = 256, PER_PUBLISH = 500 };

/* Of an event, in memory that outlives the process. */
enum { SEEN = 1, CERTAIN = 2 /* a synchronous ack came after its own */, TWICE = 4 };

static struct shared {
    atomic_uint redriven, handled;
    _Atomic uint8_t facts[];
} *shared;

static unsigned letters = 20000;
static char dir[] = "/tmp/nexus-letters-XXXXXX";

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "bus-letters: line %d: %s: %s\n", __LINE__, #condition, nexus_error_message());            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned peak_mib(void)
{
    char line[256];
    unsigned kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "VmHWM: %u", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib >> 10;
}

static nexus_bus *open_bus(nexus_group **g)
{
    char url[300];
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    nexus_group_opts group = NEXUS_GROUP_OPTS_INIT;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    opts.role = NEXUS_BUS_OWNER;
    group.max_inflight = 4 * AT_ONCE;
    group.types = "t";
    group.redeliver_percent = 1000;
    CHECK(nexus_bus_open(&bus, url, &opts) == NEXUS_OK);
    CHECK(nexus_group_open(g, bus, "g", &group) == NEXUS_OK);
    return bus;
}

static nexus_group_stats stats_of(nexus_group *g)
{
    nexus_group_stats s = {.size = sizeof s};
    CHECK(nexus_group_read_stats(g, &s) == NEXUS_OK);
    return s;
}

/* --- making them ---- */

static void publish(nexus_bus *bus)
{
    static char keys[PER_PUBLISH][16];
    static nexus_event events[PER_PUBLISH];
    static const char data[] = "{\"what\":\"a letter of about a hundred bytes, as they are when something failed in the night\"}";
    for (unsigned done = 0; done < letters; done += PER_PUBLISH) {
        for (unsigned i = 0; i < PER_PUBLISH; i++) {
            events[i] = (nexus_event)NEXUS_EVENT_INIT;
            events[i].subject = (nexus_slice){keys[i], (size_t)snprintf(keys[i], sizeof keys[i], "key-%u", (done + i) % KEYS)};
            events[i].type = NEXUS_S("t");
            events[i].data = (nexus_slice){data, sizeof data - 1};
        }
        CHECK(nexus_bus_publish(bus, events, PER_PUBLISH, NULL, NULL) == NEXUS_OK);
    }
}

static void make(void)
{
    nexus_group *g;
    nexus_bus *bus = open_bus(&g);
    publish(bus);
    nexus_delivery *all[AT_ONCE];
    size_t got;
    while (stats_of(g).dead < letters) {
        CHECK(nexus_group_fetch(g, all, AT_ONCE, 100, &got) == NEXUS_OK);
        for (size_t i = 0; i < got; i++) {
            CHECK(nexus_delivery_term(all[i], "timeout: the night was long") == NEXUS_OK);
            nexus_delivery_free(all[i]);
        }
    }
    CHECK(stats_of(g).floor == letters);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

/* --- redriving and handling ---- */

static uint64_t last_of[KEYS];

static void handle(nexus_delivery *d)
{
    const nexus_event *e = nexus_delivery_event(d);
    char key[24];
    unsigned k;
    snprintf(key, sizeof key, "%.*s", (int)e->subject.n, e->subject.p);
    CHECK(sscanf(key, "key-%u", &k) == 1 && k < KEYS && e->pos >= 1 && e->pos <= letters);
    CHECK(e->pos > last_of[k]);
    last_of[k] = e->pos;
    uint8_t was = atomic_fetch_or(&shared->facts[e->pos], SEEN);
    CHECK(!(was & CERTAIN));
    if (was & SEEN)
        atomic_fetch_or(&shared->facts[e->pos], TWICE);
}

/* The last ack of a fetch is synchronous: then all of them are certain. */
static void settle(nexus_delivery **all, size_t got)
{
    for (size_t i = 0; i < got; i++)
        CHECK((i + 1 < got ? nexus_delivery_ack(all[i]) : nexus_delivery_ack_sync(all[i])) == NEXUS_OK);
    for (size_t i = 0; i < got; i++) {
        atomic_fetch_or(&shared->facts[nexus_delivery_event(all[i])->pos], CERTAIN);
        nexus_delivery_free(all[i]);
    }
    shared->handled += (unsigned)got;
}

static void work_until_empty(nexus_group *g, atomic_bool *redriving)
{
    for (;;) {
        nexus_delivery *all[AT_ONCE];
        size_t got;
        bool last = !atomic_load(redriving);
        CHECK(nexus_group_fetch(g, all, AT_ONCE, last ? 0 : 10, &got) == NEXUS_OK);
        for (size_t i = 0; i < got; i++)
            handle(all[i]);
        if (got)
            settle(all, got);
        else if (last)
            return;
    }
}

static nexus_group *redriven_group;
static atomic_bool redriving = true;

static void *redrive(void *arg)
{
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_result r = {.size = sizeof r};
    (void)arg;
    q.limit = letters / 20 ? letters / 20 : 1;
    do {
        CHECK(nexus_group_redrive(redriven_group, &q, NULL, &r) == NEXUS_OK);
        shared->redriven += (unsigned)r.redriven;
    } while (r.redriven);
    atomic_store(&redriving, false);
    return NULL;
}

static void redrive_and_handle(nexus_group *g)
{
    pthread_t thread;
    redriven_group = g;
    CHECK(pthread_create(&thread, NULL, redrive, NULL) == 0);
    work_until_empty(g, &redriving);
    pthread_join(thread, NULL);
}

/* A child that is killed when half of them are on their way again. */
static void crash_half_way(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        nexus_group *g;
        open_bus(&g);
        redrive_and_handle(g);
        _exit(0);
    }
    CHECK(pid > 0);
    while (shared->redriven < letters / 2 && waitpid(pid, NULL, WNOHANG) == 0)
        poll(NULL, 0, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void count(unsigned *lost, unsigned *twice)
{
    *lost = *twice = 0;
    for (unsigned pos = 1; pos <= letters; pos++) {
        uint8_t facts = atomic_load(&shared->facts[pos]);
        *lost += !(facts & SEEN);
        *twice += (facts & TWICE) != 0;
    }
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static pid_t making(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        make();
        _exit(0);
    }
    return pid;
}

int main(int argc, char **argv)
{
    letters = argc > 1 ? (unsigned)atoi(argv[1]) / PER_PUBLISH * PER_PUBLISH : letters;
    shared = mmap(NULL, sizeof *shared + letters + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(letters && shared != MAP_FAILED && mkdtemp(dir));
    double t0 = now_s(), t1, t2, t3, t4;
    int rc;
    CHECK(waitpid(making(), &rc, 0) > 0 && rc == 0);
    t1 = now_s();
    crash_half_way();
    unsigned before = shared->redriven, handled = shared->handled;
    t2 = now_s();
    nexus_group *g;
    nexus_bus *bus = open_bus(&g);
    t3 = now_s();
    CHECK(stats_of(g).dead <= letters - before && stats_of(g).floor == letters);
    redrive_and_handle(g);
    t4 = now_s();
    unsigned lost, twice;
    count(&lost, &twice);
    CHECK(lost == 0 && stats_of(g).dead == 0 && stats_of(g).floor == letters);
    nexus_group_close(g);
    nexus_bus_close(bus);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    printf("%u dead letters made in %.1f s; killed after %.1f s, when %u were redriven and %u handled; opened in %.2f s, the "
           "rest redriven and handled in %.1f s; %u came twice, none of them settled for certain; peak %u MiB\n",
           letters, t1 - t0, t2 - t1, before, handled, t3 - t2, t4 - t3, twice, peak_mib());
    return 0;
}
