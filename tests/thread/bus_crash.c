/*
 * Several processes on one bus directory, and the one that owns it is killed with -9, again and again. The parent
 * keeps the history, and history.c judges it. Fault rows 1, 16 and 17 of the bus page, bounded for every run.
 *
 *   thread-bus-crash [ROUNDS]
 */
#include <errno.h>
#include <ftw.h>
#include <nexus/nexus.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "history.h"

enum { WORKERS = 3, ACKS_A_ROUND = 60, PER_KEY = 200000 };

static void fail(const char *what)
{
    fprintf(stderr, "bus-crash: %s: %s\n", what, nexus_error_message());
    exit(1);
}

static nexus_bus *open_bus(const char *dir)
{
    char url[300];
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    opts.segment_bytes = 256 << 10;
    opts.checkpoint_bytes = 4096; /* several a round */
    if (nexus_bus_open(&bus, url, &opts) != NEXUS_OK)
        fail("open");
    return bus;
}

/* --- a worker: publishes one event at a time and tells each ack ---- */

typedef struct message { /* smaller than PIPE_BUF: written whole */
    int32_t worker, seq;
    int32_t owner; /* pid of the owner when it is this worker, else 0 */
} message;

static int work(const char *dir, int worker, int seq)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    nexus_bus *bus = open_bus(dir);
    for (;; seq++) {
        char id[32], key[16], data[32];
        nexus_event e = NEXUS_EVENT_INIT;
        e.id = (nexus_slice){id, (size_t)snprintf(id, sizeof id, "%d-%d", worker, seq)};
        e.subject = (nexus_slice){key, (size_t)snprintf(key, sizeof key, "key-%d", worker)};
        e.data = (nexus_slice){data, (size_t)snprintf(data, sizeof data, "%d", seq)};
        e.type = NEXUS_S("crash.test");
        nexus_status status;
        while ((status = nexus_bus_publish(bus, &e, 1, NULL, NULL)) == NEXUS_EUNKNOWN)
            ; /* safe: the same id */
        if (status != NEXUS_OK)
            fail("publish");
        message m = {worker, seq, nexus_bus_is_owner(bus) ? getpid() : 0};
        if (write(1, &m, sizeof m) != sizeof m)
            return 0;
    }
}

/* --- the parent ---- */

static struct {
    pid_t pid[WORKERS];
    int acked[WORKERS]; /* highest sequence told */
    int from_fd, to_fd; /* one pipe for all */
    pid_t owner;
    double worst_s; /* from a kill to the next ack */
    history *history; /* worker = key; event n is its sequence n + 1 */
} state;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void spawn(const char *dir, int worker)
{
    char w[16], seq[16];
    snprintf(w, sizeof w, "%d", worker);
    snprintf(seq, sizeof seq, "%d", state.acked[worker] + 1);
    state.pid[worker] = fork();
    if (state.pid[worker] == 0) {
        dup2(state.to_fd, 1);
        execl("/proc/self/exe", "bus-crash", "--worker", dir, w, seq, (char *)NULL);
        _exit(127);
    }
}

static void trying(int worker, int seq)
{
    history_publish(state.history, (uint32_t)worker, (uint32_t)seq - 1, (uint64_t)seq * WORKERS + (uint64_t)worker);
}

static bool hear(int timeout_ms)
{
    struct pollfd fd = {.fd = state.from_fd, .events = POLLIN};
    message m;
    if (poll(&fd, 1, timeout_ms) != 1 || read(state.from_fd, &m, sizeof m) != sizeof m)
        return false;
    if (m.seq > state.acked[m.worker])
        state.acked[m.worker] = m.seq;
    history_published(state.history, (uint32_t)m.worker, (uint32_t)m.seq - 1);
    trying(m.worker, m.seq + 1);
    if (m.owner)
        state.owner = m.owner;
    return true;
}

/* Nothing but this ends a worker: not even that an owner dies while it is opening the bus. */
static void kill_worker(int worker)
{
    int rc;
    kill(state.pid[worker], SIGKILL);
    waitpid(state.pid[worker], &rc, 0);
    if (!WIFSIGNALED(rc))
        fail("a worker ended by itself");
}

static void one_round(const char *dir, int round)
{
    for (int i = 0; i < ACKS_A_ROUND || !state.owner; i++)
        if (!hear(20000))
            fail("no ack for 20 s");
    int victim = round % WORKERS; /* the owner mostly; sometimes a client */
    for (int w = 0; w < WORKERS && round % 4; w++)
        if (state.pid[w] == state.owner)
            victim = w;
    bool was_owner = state.pid[victim] == state.owner;
    kill_worker(victim);
    history_crashed(state.history);
    state.owner = was_owner ? 0 : state.owner;
    while (hear(0)) /* what it had told before */
        ;
    double start = now_s();
    if (!hear(20000))
        fail("no ack after a kill");
    if (was_owner && now_s() - start > state.worst_s)
        state.worst_s = now_s() - start;
    spawn(dir, victim);
}

static uint32_t key_of(const nexus_event *e)
{
    return (uint32_t)(e->subject.p[4] - '0');
}

static uint32_t number_of(const nexus_event *e)
{
    char data[32];
    snprintf(data, sizeof data, "%.*s", (int)e->data.n, e->data.p);
    return (uint32_t)atoi(data) - 1;
}

static int read_back(nexus_bus *bus)
{
    nexus_reader *reader;
    const nexus_event *e;
    nexus_status status;
    int count = 0;
    if (nexus_reader_open(&reader, bus, NULL) != NEXUS_OK)
        fail("reader");
    for (; (status = nexus_reader_next(reader, &e, 0)) == NEXUS_OK; count++)
        history_stored(state.history, e->pos, key_of(e), number_of(e), e->version);
    if (status != NEXUS_EDONE)
        fail("read");
    nexus_reader_close(reader);
    return count;
}

static void deliver(nexus_bus *bus, int left)
{
    nexus_group *g;
    nexus_delivery *all[64];
    size_t got;
    if (nexus_group_open(&g, bus, "checker", NULL) != NEXUS_OK)
        fail("group");
    while (left > 0) {
        history_call fetch, ack;
        history_begin(state.history, &fetch);
        if (nexus_group_fetch(g, all, 64, 2000, &got) != NEXUS_OK || !got)
            return; /* the judge says what is missing */
        history_end(state.history, &fetch);
        for (size_t i = 0; i < got; i++, left--) {
            const nexus_event *e = nexus_delivery_event(all[i]);
            history_delivered(state.history, key_of(e), number_of(e), nexus_delivery_attempt(all[i]), 0, &fetch);
            history_acking(state.history, key_of(e), number_of(e));
            history_begin(state.history, &ack);
            if (nexus_delivery_ack(all[i]) != NEXUS_OK)
                fail("ack");
            history_end(state.history, &ack);
            history_acked(state.history, key_of(e), number_of(e), false, &fetch, &ack);
            nexus_delivery_free(all[i]);
        }
    }
    nexus_group_close(g);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--worker") == 0)
        return work(argv[2], atoi(argv[3]), atoi(argv[4]));
    char dir[] = "/tmp/nexus-crash-XXXXXX";
    int pipe_fds[2], rounds = argc > 1 ? atoi(argv[1]) : 20;
    if (!mkdtemp(dir) || pipe(pipe_fds) != 0)
        fail("set up");
    state.from_fd = pipe_fds[0];
    state.to_fd = pipe_fds[1];
    state.history = history_new(WORKERS, PER_KEY, 30000);
    for (int w = 0; w < WORKERS; w++) {
        trying(w, 1);
        spawn(dir, w);
    }
    for (int r = 0; r < rounds; r++)
        one_round(dir, r);
    for (int w = 0; w < WORKERS; w++)
        kill_worker(w);
    while (hear(0))
        ;
    nexus_bus *bus = open_bus(dir);
    int total = read_back(bus);
    deliver(bus, total);
    if (!history_judge(state.history, true, stderr))
        return 1;
    history_free(state.history);
    nexus_bus_close(bus);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    printf(
        "%d kills, %d events, every acknowledged one stored once and delivered in order; slowest take-over %.0f ms\n",
        rounds, total, state.worst_s * 1000);
    return 0;
}
