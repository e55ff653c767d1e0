/*
 * One bus, many threads, two handles (owner and client): publishers, a group with members on both handles, a live
 * reader, asynchronous publishes, and strangers on the socket who send nonsense. At the end everything published was
 * delivered exactly as often as acknowledged, per-key order held, and nobody noticed the strangers.
 */
#include <fcntl.h>
#include <ftw.h>
#include <nexus/nexus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PUBLISHERS = 4, EVENTS = 400, KEYS = 8 };

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "bus-shared: line %d: %s: %s\n", __LINE__, #condition, nexus_error_message());             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static nexus_bus *handles[2];
static char dir[] = "/tmp/nexus-shared-XXXXXX";
static atomic_int handled, async_done, last_version[PUBLISHERS][KEYS];

static void fill(nexus_event *e, char *key, int who, int i)
{
    *e = (nexus_event)NEXUS_EVENT_INIT;
    e->type = NEXUS_S("shared.test");
    e->subject = (nexus_slice){key, (size_t)snprintf(key, 16, "%d-%d", who, i % KEYS)};
    e->data = NEXUS_S("{}");
}

static void *publish(void *arg)
{
    int who = (int)(intptr_t)arg;
    for (int i = 0; i < EVENTS; i++) {
        nexus_event e;
        char key[16];
        fill(&e, key, who, i);
        CHECK(nexus_bus_publish(handles[who % 2], &e, 1, NULL, NULL) == NEXUS_OK);
    }
    return NULL;
}

static void on_done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    (void)user_data;
    CHECK(status == NEXUS_OK && result->first > 0);
    async_done++;
}

static void *publish_async(void *arg)
{
    for (int i = 0; i < EVENTS; i++) {
        nexus_event e;
        char key[16];
        fill(&e, key, 0, i);
        e.type = NEXUS_S("shared.async");
        CHECK(nexus_bus_publish_async(handles[i % 2], &e, 1, NULL, on_done, NULL) == NEXUS_OK);
    }
    return arg;
}

static int32_t handle(nexus_delivery *d, void *user_data)
{
    (void)user_data;
    const nexus_event *e = nexus_delivery_event(d);
    int who = e->subject.p[0] - '0', key = e->subject.p[2] - '0';
    int before = atomic_exchange(&last_version[who][key], (int)e->version + 1);
    CHECK(before <= e->version); /* versions of the asynchronous ones lie between */
    handled++;
    return NEXUS_ACK;
}

static void *follow(void *arg)
{
    nexus_reader *r;
    const nexus_event *e;
    uint64_t pos = 0;
    CHECK(nexus_reader_open(&r, handles[(intptr_t)arg], NULL) == NEXUS_OK);
    for (int n = 0; n < PUBLISHERS * EVENTS + EVENTS; n++) {
        CHECK(nexus_reader_next(r, &e, 20000) == NEXUS_OK);
        CHECK(e->pos == ++pos);
    }
    nexus_reader_close(r);
    return NULL;
}

/* Fault rows 18 and 19: a frame that is cut off, one of absurd length, one that fails its check, silence. */
static void *disturb(void *arg)
{
    static const unsigned char nonsense[][24] = {
        {4, 0, 0, 0, 1, 2, 3, 4, 1}, {255, 255, 255, 255, 0, 0, 0, 0, 2}, {0, 0, 0, 0, 9, 9, 9, 9, 77}, {1}};
    for (int i = 0; i < 100; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s/bus/bus.sock", dir);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            (void)!send(fd, nonsense[i % 4], i % 3 ? 24 : 7, MSG_NOSIGNAL);
        close(fd);
    }
    return arg;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

int main(void)
{
    char url[300];
    nexus_group *groups[2];
    nexus_consumer *consumers[2];
    pthread_t threads[PUBLISHERS + 4];
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    nexus_group_opts group = NEXUS_GROUP_OPTS_INIT;
    CHECK(mkdtemp(dir));
    snprintf(url, sizeof url, "file:%s/bus", dir);
    opts.segment_bytes = 256 << 10;
    group.types = "shared.test";
    for (int i = 0; i < 2; i++) {
        CHECK(nexus_bus_open(&handles[i], url, &opts) == NEXUS_OK);
        CHECK(nexus_group_open(&groups[i], handles[i], "members", &group) == NEXUS_OK);
        CHECK(nexus_consumer_open(&consumers[i], groups[i], handle, NULL, 2) == NEXUS_OK);
    }
    int n = 0;
    for (; n < PUBLISHERS; n++)
        CHECK(pthread_create(&threads[n], NULL, publish, (void *)(intptr_t)n) == 0);
    CHECK(pthread_create(&threads[n++], NULL, publish_async, NULL) == 0);
    CHECK(pthread_create(&threads[n++], NULL, follow, (void *)0) == 0);
    CHECK(pthread_create(&threads[n++], NULL, follow, (void *)1) == 0);
    CHECK(pthread_create(&threads[n++], NULL, disturb, NULL) == 0);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    nexus_group_stats stats = {.size = sizeof stats};
    nexus_reader *waiter;
    const nexus_event *e;
    CHECK(nexus_reader_open(&waiter, handles[0],
                            &(nexus_reader_opts){.size = sizeof(nexus_reader_opts), .start = NEXUS_START_END}) ==
          NEXUS_OK);
    do {
        CHECK(nexus_reader_next(waiter, &e, 5) == NEXUS_EDONE);
        CHECK(nexus_group_read_stats(groups[1], &stats) == NEXUS_OK);
    } while (stats.lag || stats.inflight);
    nexus_reader_close(waiter);
    CHECK(handled == PUBLISHERS * EVENTS && stats.acked == PUBLISHERS * EVENTS && stats.dead == 0);
    for (int i = 1; i >= 0; i--) {
        nexus_consumer_close(consumers[i]);
        nexus_group_close(groups[i]);
    }
    nexus_bus_close(handles[0]); /* the client becomes the owner, and what it sent is answered */
    nexus_bus_close(handles[1]);
    CHECK(async_done == EVENTS);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    printf("%d events published, followed and handled\n", PUBLISHERS * EVENTS + EVENTS);
    return 0;
}
