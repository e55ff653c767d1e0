/* One key of a thousand whose handler always fails, beside the others (fault row 25). Through the public API only.
 *     bench-bus-poison DIR SECONDS      two results of load.h: the others' times from stored to handled, without it and with it
 */
#include "load.h"

#include <nexus/nexus.h>
#include <stdatomic.h>
#include <unistd.h>

enum { KEYS = 1000, POISON = 7, MEMBERS = 4, PER_PUBLISH = 50, PER_S = 10000, ATTEMPTS = 5 };

static char url[4096];
static atomic_bool poisoned;
static atomic_uint handled, failed;

static void must(nexus_status status, const char *what)
{
    if (status == NEXUS_OK)
        return;
    fprintf(stderr, "bench-bus-poison: %s: %s\n", what, nexus_error_message());
    exit(1);
}

static int32_t handle(nexus_delivery *delivery, void *user_data)
{
    const nexus_event *event = nexus_delivery_event(delivery);
    struct timespec t;
    if (strtoul(event->subject.p + strlen("account-"), NULL, 10) == POISON && atomic_load(&poisoned)) {
        failed++;
        return NEXUS_RETRY;
    }
    clock_gettime(CLOCK_REALTIME, &t);
    latencies_add(user_data, (double)(t.tv_sec * 1000000000ll + t.tv_nsec - event->recv_ns) * 1e-9);
    handled++;
    return NEXUS_ACK;
}

/* At an even pace, whatever the handlers do; how many were for those that do not fail. */
static unsigned publish(nexus_bus *bus, double seconds)
{
    static char subjects[PER_PUBLISH][24], data[EVENT_BYTES];
    nexus_event events[PER_PUBLISH];
    unsigned others = 0, n = 0;
    memset(data, 'x', sizeof data);
    for (double start = now_s(), next = start; next - start < seconds; next += (double)PER_PUBLISH / PER_S) {
        for (unsigned i = 0; i < PER_PUBLISH; i++, n++) {
            unsigned key = n % KEYS;
            others += key != POISON || !atomic_load(&poisoned);
            nexus_event_init(&events[i]);
            events[i].type = NEXUS_S("bench.event");
            events[i].subject = (nexus_slice){subjects[i], (size_t)snprintf(subjects[i], sizeof subjects[i], "account-%u-", key)};
            events[i].data = (nexus_slice){data, sizeof data};
        }
        must(nexus_bus_publish(bus, events, PER_PUBLISH, NULL, NULL), "publish");
        double left = next + (double)PER_PUBLISH / PER_S - now_s();
        if (left > 0)
            usleep((useconds_t)(left * 1e6));
    }
    return others;
}

static void run(nexus_bus *bus, const char *name, double seconds)
{
    nexus_group *groups[MEMBERS];
    nexus_consumer *consumers[MEMBERS];
    latencies each[MEMBERS] = {0}, all = {0};
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.start = NEXUS_START_END;
    opts.max_deliver = ATTEMPTS;
    handled = 0;
    for (int i = 0; i < MEMBERS; i++) {
        must(nexus_group_open(&groups[i], bus, name, &opts), "group");
        must(nexus_consumer_open(&consumers[i], groups[i], handle, &each[i], 1), "consumer");
    }
    unsigned others = publish(bus, seconds);
    while (handled < others)
        usleep(1000);
    for (int i = 0; i < MEMBERS; i++) {
        nexus_consumer_close(consumers[i]);
        nexus_group_close(groups[i]);
        for (size_t k = 0; k < each[i].n; k++)
            latencies_add(&all, each[i].us[k] * 1e-6);
        free(each[i].us);
    }
    report(all.n, seconds, 0, &all);
    free(all.us);
}

int main(int argc, char **argv)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    if (argc != 3) {
        fprintf(stderr, "usage: bench-bus-poison DIR SECONDS\n");
        return 2;
    }
    snprintf(url, sizeof url, "file:%s", argv[1]);
    opts.role = NEXUS_BUS_OWNER;
    must(nexus_bus_open(&bus, url, &opts), "open");
    run(bus, "fine", atof(argv[2]));
    atomic_store(&poisoned, true);
    run(bus, "poisoned", atof(argv[2]));
    nexus_bus_close(bus);
    if (!failed)
        die("bench-bus-poison: nothing failed");
    return 0;
}
