/*
 * Publishers and a group on a bus whose owner, a process of its own, is killed with -9 or stopped for a while (SIGSTOP)
 * again and again; handlers fail, and now and then one forgets its delivery. history.c judges what came of it. Its lock is
 * never held across a call of the bus: such a call may wait for the next owner, which the main thread starts.
 *
 *   thread-bus-soak [SECONDS] [SEED]      30 seconds; 30 minutes: tests/bench/bus-soak.sh
 */
#include <errno.h>
#include <ftw.h>
#include <nexus/nexus.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bus/handle.h"
#include "history.h"

enum { PUBLISHERS = 3, KEYS_EACH = 8, KEYS = PUBLISHERS * KEYS_EACH, MEMBERS = 3, EVENTS_A_SECOND = 60, LEASE_MS = 1000, SYNC_ONE_IN = 16, LATE = 8 };

static char dir[] = "/tmp/nexus-soak-XXXXXX";
static history *facts;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of facts */
static atomic_bool publishing = true, handling = true, calm;
static atomic_int aimed[2]; /* the owner that is to be killed at the next answer which promises durability: stored, settled */
static atomic_uint published, forgotten, failures, kills, stops, owner_kib;
static uint32_t per_key;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "bus-soak: line %d: %s: %s\n", __LINE__, #condition, nexus_error_message());               \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static uint64_t dice(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pace_ms(int ms)
{
    poll(NULL, 0, ms);
}

static nexus_bus *open_bus(uint32_t role)
{
    char url[300];
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    opts.role = role;
    opts.segment_bytes = 256 << 10;
    opts.checkpoint_bytes = 1 << 20;
    opts.connect_timeout_ms = 30000;
    opts.timeout_ms = 30000;
    CHECK(nexus_bus_open(&bus, url, &opts) == NEXUS_OK);
    return bus;
}

enum { AT_STORED, AT_SETTLED, AT_ONCE };

static void promised(int what)
{
    int pid = atomic_load(&aimed[what]) ? atomic_exchange(&aimed[what], 0) : 0;
    if (pid)
        kill(pid, SIGKILL);
}

/* --- publishers ---- */

typedef struct numbers {
    char id[32], key[16], data[32];
} numbers;

static void fill(nexus_event *e, numbers *t, uint32_t key, uint32_t n)
{
    *e = (nexus_event)NEXUS_EVENT_INIT;
    e->type = NEXUS_S("soak.test");
    e->id = (nexus_slice){t->id, (size_t)snprintf(t->id, sizeof t->id, "%u-%u", key, n)};
    e->subject = (nexus_slice){t->key, (size_t)snprintf(t->key, sizeof t->key, "key-%u", key)};
    e->data = (nexus_slice){t->data, (size_t)snprintf(t->data, sizeof t->data, "%u", n)};
}

typedef struct publisher {
    nexus_bus *bus;
    uint32_t who;
    uint64_t seed;
} publisher;

/* The next event of some of its keys, in one call. */
static void *publish(void *arg)
{
    publisher *p = arg;
    uint32_t next[KEYS_EACH] = {0};
    for (uint64_t batch = p->who; atomic_load(&publishing); batch += PUBLISHERS) {
        nexus_event events[KEYS_EACH];
        numbers texts[KEYS_EACH];
        uint32_t chosen[KEYS_EACH];
        size_t n = 0;
        for (uint32_t k = 0; k < KEYS_EACH; k++)
            if (dice(&p->seed) % 4 == 0 && next[k] < per_key) {
                chosen[n] = k;
                fill(&events[n], &texts[n], p->who * KEYS_EACH + k, next[k]);
                n++;
            }
        if (!n)
            continue;
        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n; i++)
            history_publish(facts, p->who * KEYS_EACH + chosen[i], next[chosen[i]], batch);
        pthread_mutex_unlock(&lock);
        nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
        opts.timeout_ms = 200;
        nexus_status status;
        do
            status = nexus_bus_publish(p->bus, events, n, &opts, NULL);
        while (status == NEXUS_EUNKNOWN || status == NEXUS_ETIMEDOUT); /* safe: the same ids */
        CHECK(status == NEXUS_OK);
        promised(AT_STORED);
        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n; i++)
            history_published(facts, p->who * KEYS_EACH + chosen[i], next[chosen[i]]++);
        pthread_mutex_unlock(&lock);
        published += (unsigned)n;
        pace_ms(5);
    }
    return NULL;
}

/* --- members ---- */

typedef struct member {
    nexus_bus *bus;
    nexus_group *group;
    uint64_t seed;
    struct {
        nexus_delivery *delivery;
        history_call fetch;
        double at_s;
    } late[LATE]; /* forgotten, and acknowledged when the lease is over */
    int late_count;
} member;

static void name_of(const nexus_delivery *d, unsigned *key, unsigned *n)
{
    const nexus_event *e = nexus_delivery_event(d);
    char text[64];
    snprintf(text, sizeof text, "%.*s-%.*s", (int)e->subject.n, e->subject.p, (int)e->data.n, e->data.p);
    CHECK(sscanf(text, "key-%u-%u", key, n) == 2);
}

static void ack(nexus_delivery *d, unsigned key, unsigned n, bool sync, const history_call *fetch)
{
    history_call call;
    pthread_mutex_lock(&lock);
    history_acking(facts, key, n);
    pthread_mutex_unlock(&lock);
    history_begin(facts, &call);
    nexus_status status = sync ? nexus_delivery_ack_sync(d) : nexus_delivery_ack(d);
    history_end(facts, &call);
    if (sync && status == NEXUS_OK)
        promised(AT_SETTLED);
    pthread_mutex_lock(&lock);
    if (status == NEXUS_OK)
        history_acked(facts, key, n, sync, fetch, &call);
    else
        history_ack_unknown(facts, key, n, &call);
    pthread_mutex_unlock(&lock);
}

/* Around the end of its lease, when another may have it. */
static void forget(member *m, nexus_delivery *d, const history_call *fetch)
{
    forgotten++;
    if (m->late_count == LATE) {
        nexus_delivery_free(d);
        return;
    }
    m->late[m->late_count].delivery = d;
    m->late[m->late_count].fetch = *fetch;
    m->late[m->late_count++].at_s = now_s() + (LEASE_MS + (double)(dice(&m->seed) % 40)) / 1e3;
}

static void ack_late(member *m)
{
    for (int i = 0; i < m->late_count; i++) {
        unsigned key, n;
        if (now_s() < m->late[i].at_s && !atomic_load(&calm))
            continue;
        name_of(m->late[i].delivery, &key, &n);
        ack(m->late[i].delivery, key, n, false, &m->late[i].fetch);
        nexus_delivery_free(m->late[i].delivery);
        m->late[i--] = m->late[--m->late_count];
    }
}

static void handle(member *m, nexus_delivery *d, const history_call *fetch)
{
    unsigned key, n;
    name_of(d, &key, &n);
    uint64_t roll = atomic_load(&calm) ? 999 : dice(&m->seed) % 1000;
    if (roll < 2) {
        forget(m, d, fetch);
        return;
    }
    if (roll < 200 && nexus_delivery_attempt(d) > 1) /* a late ack of the one who had it before may come meanwhile */
        pace_ms(60);
    if (roll < 20) {
        pthread_mutex_lock(&lock);
        history_failed(facts, key, n); /* whether or not the owner hears of it */
        pthread_mutex_unlock(&lock);
        (void)nexus_delivery_nak(d, 0, "again");
        failures++;
    } else {
        ack(d, key, n, roll % SYNC_ONE_IN == 0, fetch);
    }
    nexus_delivery_free(d);
}

static void tell(nexus_delivery *const *all, size_t got, const history_call *fetch)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < got; i++) {
        unsigned key, n;
        uint64_t pos, lease;
        name_of(all[i], &key, &n);
        nexus__delivery_lease(all[i], &pos, &lease);
        history_delivered(facts, key, n, nexus_delivery_attempt(all[i]), lease, fetch);
    }
    pthread_mutex_unlock(&lock);
}

static void *work(void *arg)
{
    member *m = arg;
    while (atomic_load(&handling)) {
        nexus_delivery *all[16];
        size_t got;
        history_call fetch;
        history_begin(facts, &fetch);
        nexus_status status = nexus_group_fetch(m->group, all, 16, 50, &got);
        history_end(facts, &fetch);
        if (status != NEXUS_OK)
            continue;
        tell(all, got, &fetch);
        for (size_t i = 0; i < got; i++)
            handle(m, all[i], &fetch);
        ack_late(m);
    }
    ack_late(m);
    return NULL;
}

/* --- the owner ---- */

static pid_t start_owner(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "bus-soak", "--owner", dir, (char *)NULL);
        _exit(127);
    }
    CHECK(pid > 0);
    return pid;
}

static int own(const char *where)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(dir, sizeof dir, "%s", where);
    nexus_bus *bus = open_bus(NEXUS_BUS_OWNER);
    pause(); /* until it is killed */
    nexus_bus_close(bus);
    return 0;
}

static unsigned peak_kib(pid_t pid)
{
    char path[64], line[256];
    unsigned kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "VmHWM: %u", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib;
}

/* At once, or by whoever gets the next such answer, if there is one within a second. */
static void stop_owner(pid_t owner, int when)
{
    unsigned kib = peak_kib(owner);
    owner_kib = kib > owner_kib ? kib : owner_kib;
    bool gone = false;
    if (when <= AT_SETTLED) {
        atomic_store(&aimed[when], owner);
        for (int i = 0; i < 200 && !(gone = waitpid(owner, NULL, WNOHANG) == owner); i++)
            pace_ms(5);
    }
    if (!gone && (when > AT_SETTLED || atomic_exchange(&aimed[when], 0)))
        kill(owner, SIGKILL);
    if (!gone)
        waitpid(owner, NULL, 0);
}

static void crash(pid_t *owner, int when)
{
    stop_owner(*owner, when);
    pthread_mutex_lock(&lock);
    history_crashed(facts); /* no owner is there now, so whom a call meets is known by the count */
    pthread_mutex_unlock(&lock);
    *owner = start_owner();
    kills++;
}

static void freeze(pid_t owner)
{
    kill(owner, SIGSTOP);
    pace_ms(300); /* longer than a publish waits */
    kill(owner, SIGCONT);
    stops++;
}

/* --- the end ---- */

static void drain(nexus_group *g)
{
    double until = now_s() + 60;
    nexus_group_stats s = {.size = sizeof s};
    do {
        pace_ms(5);
        CHECK(nexus_group_read_stats(g, &s) == NEXUS_OK);
    } while ((s.floor < s.head || s.lag || s.inflight || s.delayed) && now_s() < until);
}

static void read_back(nexus_bus *bus)
{
    nexus_reader *reader;
    const nexus_event *e;
    CHECK(nexus_reader_open(&reader, bus, NULL) == NEXUS_OK);
    while (nexus_reader_next(reader, &e, 0) == NEXUS_OK) {
        char text[64];
        unsigned key, n;
        snprintf(text, sizeof text, "%.*s-%.*s", (int)e->subject.n, e->subject.p, (int)e->data.n, e->data.p);
        CHECK(sscanf(text, "key-%u-%u", &key, &n) == 2);
        history_stored(facts, e->pos, key, n, e->version);
    }
    nexus_reader_close(reader);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--owner") == 0)
        return own(argv[2]);
    double seconds = argc > 1 ? atof(argv[1]) : 30;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)getpid() * 7919 + 1;
    per_key = (uint32_t)(seconds * EVENTS_A_SECOND) + 100;
    facts = history_new(KEYS, per_key, LEASE_MS);
    CHECK(mkdtemp(dir));
    pid_t owner = start_owner();
    nexus_bus *bus = open_bus(NEXUS_BUS_CLIENT);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.ack_wait_ms = LEASE_MS;
    opts.max_deliver = 1000;
    opts.redeliver_percent = 1000;
    opts.backoff_base_ms = 1;
    pthread_t threads[PUBLISHERS + MEMBERS];
    publisher publishers[PUBLISHERS];
    member members[MEMBERS];
    int n = 0;
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (publisher){bus, i, seed + i * 1000003};
        CHECK(pthread_create(&threads[n++], NULL, publish, &publishers[i]) == 0);
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        members[i] = (member){.bus = bus, .seed = seed + i * 69997 + 5};
        CHECK(nexus_group_open(&members[i].group, bus, "members", &opts) == NEXUS_OK);
        CHECK(pthread_create(&threads[n++], NULL, work, &members[i]) == 0);
    }
    double end = now_s() + seconds;
    for (uint64_t s = seed; now_s() < end;) {
        pace_ms(200 + (int)(dice(&s) % 500));
        if (dice(&s) % 3)
            crash(&owner, (int)(dice(&s) % 3));
        else
            freeze(owner);
    }
    publishing = false;
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(threads[i], NULL);
    calm = true;
    drain(members[0].group);
    handling = false;
    for (int i = PUBLISHERS; i < n; i++)
        pthread_join(threads[i], NULL);
    read_back(bus);
    bool good = history_judge(facts, true, stderr);
    for (int i = 0; i < MEMBERS; i++)
        nexus_group_close(members[i].group);
    nexus_bus_close(bus);
    stop_owner(owner, AT_ONCE);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    history_figures figures;
    history_count(facts, &figures);
    printf("%u events, %u kills, %u stops, %u failures, %u forgotten, %llu delivered again, %llu of them after an ack that "
           "was told at most %.1f ms before a kill, peaks of the owner %u MiB and of this process with the history %u MiB, "
           "seed %llu: %s\n",
           published, kills, stops, failures, forgotten, (unsigned long long)figures.again,
           (unsigned long long)figures.undone, figures.undone_ms, owner_kib >> 10, peak_kib(getpid()) >> 10,
           (unsigned long long)seed,
           good ? "nothing lost, nothing twice, in order" : "BROKEN");
    history_free(facts);
    return good ? 0 : 1;
}
