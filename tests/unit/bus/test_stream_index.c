/* bus/: reads of one stream and of one type when the finished files of the log have their indexes. */
#include "place.h"

#include <dirent.h>
#include <unistd.h>

enum { EVENTS = 12000, STREAMS = 400, BATCH = 200 };

static void fill(nexus_bus *bus)
{
    static char subjects[BATCH][24], data[300];
    memset(data, 'd', sizeof data - 1);
    for (int i = 0; i < EVENTS; i += BATCH) {
        nexus_event events[BATCH];
        for (int k = 0; k < BATCH; k++) {
            events[k] = (nexus_event)NEXUS_EVENT_INIT;
            snprintf(subjects[k], sizeof subjects[k], "order-%d", (i + k) % STREAMS);
            events[k].type = text((i + k) % 5000 == 4321 ? "rare.thing" : "usual.thing");
            events[k].subject = text(subjects[k]);
            events[k].data = text(data);
        }
        cr_assert(nexus_bus_publish(bus, events, BATCH, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
    }
}

static int count_files(const char *dir, const char *ending)
{
    char path[300];
    int n = 0;
    snprintf(path, sizeof path, "%s/bus", dir);
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        n += strncmp(e->d_name, "seg-", 4) == 0 && strcmp(e->d_name + len - 4, ending) == 0;
    }
    closedir(d);
    return n;
}

/* The owner makes them in the background. */
static void wait_for_indexes(const char *dir)
{
    while (count_files(dir, ".idx") + 1 < count_files(dir, ".log"))
        usleep(1000);
}

static int count_events(nexus_bus *bus, const nexus_reader_opts *opts, const char *type)
{
    nexus_reader *r;
    const nexus_event *e;
    int n = 0;
    nexus_status status;
    cr_assert(nexus_reader_open(&r, bus, opts) == NEXUS_OK);
    while ((status = nexus_reader_next(r, &e, 0)) == NEXUS_OK) {
        n++;
        cr_assert(!type || nexus_event_type_matches(text(type), e->type));
        cr_assert(!opts->stream || (strlen(opts->stream) == e->subject.n && e->version == n - 1 + opts->from_version));
    }
    cr_assert(status == NEXUS_EDONE, "%s", nexus_error_message());
    cr_assert_eq(nexus_reader_position(r), opts->to_pos || opts->stream ? nexus_reader_position(r) : EVENTS);
    nexus_reader_close(r);
    return n;
}

static void check(nexus_bus *bus)
{
    char stream[24];
    nexus_reader_opts one = NEXUS_READER_OPTS_INIT, rare = NEXUS_READER_OPTS_INIT, none = NEXUS_READER_OPTS_INIT;
    one.stream = stream;
    for (int s = 0; s < STREAMS; s += 57) {
        snprintf(stream, sizeof stream, "order-%d", s);
        one.from_version = 0;
        cr_assert_eq(count_events(bus, &one, NULL), EVENTS / STREAMS);
        one.from_version = 20;
        cr_assert_eq(count_events(bus, &one, NULL), EVENTS / STREAMS - 20);
    }
    rare.types = "rare.*";
    rare.signals = true;
    cr_assert_eq(count_events(bus, &rare, "rare.*"), 2);
    rare.start = NEXUS_START_POS;
    rare.start_pos = 5000;
    cr_assert_eq(count_events(bus, &rare, "rare.*"), 1);
    none.types = "nobody.*";
    none.signals = true;
    cr_assert_eq(count_events(bus, &none, NULL), 0);
}

static void with_and_without(place *p)
{
    char cmd[300];
    fill(p->bus);
    check(p->bus);
    wait_for_indexes(p->dir);
    cr_assert(count_files(p->dir, ".idx") >= 3);
    check(p->bus);
    place_reopen(p);
    check(p->bus);
    if (p->bus != p->owner)
        nexus_bus_close(p->bus);
    nexus_bus_close(p->owner);
    snprintf(cmd, sizeof cmd, "rm %s/bus/*.idx", p->dir);
    cr_assert(system(cmd) == 0);
    p->owner = bus_open(p->dir);
    p->bus = bus_open(p->dir); /* a client: it reads finished files by itself */
    check(p->bus);
    wait_for_indexes(p->dir);
    check(p->bus);
    check(p->owner);
    uint64_t pos = put(p->bus, "rare.late", "order-0", "x");
    cr_assert_eq(pos, EVENTS + 1);
}

BOTH(stream_index, does_not_change_what_is_read_only_how_much_is_looked_at, with_and_without)
