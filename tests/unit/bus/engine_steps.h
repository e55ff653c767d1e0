/* What the tests of every engine do to a bus or a log: publish by number until it is stored, and read what there is. */
#ifndef TESTS_BUS_ENGINE_STEPS_H
#define TESTS_BUS_ENGINE_STEPS_H

#include "engines.h"
#include "wal/wal.h"

static inline nexus_status publish_once(nexus_bus *bus, const char *id)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text(id);
    e.type = text("a.b");
    e.data = text(id);
    return nexus_bus_publish(bus, &e, 1, NULL, NULL);
}

/* Whatever happens to servers and owners meanwhile. */
static inline void publish_until_stored(nexus_bus *bus, const char *id)
{
    nexus_status status;
    do {
        status = publish_once(bus, id);
    } while (status == NEXUS_EUNKNOWN || status == NEXUS_EROFS || status == NEXUS_ETIMEDOUT || status == NEXUS_EUNREACH);
    cr_assert(status == NEXUS_OK, "%s: %s", nexus_status_name(status), nexus_error_message());
}

static inline void publish_numbers(nexus_bus *bus, int from, int to)
{
    char id[16];
    for (; from <= to; from++) {
        snprintf(id, sizeof id, "%d", from);
        publish_until_stored(bus, id);
    }
}

static inline int number_of(nexus_slice data)
{
    char digits[16] = "";
    cr_assert(data.n < sizeof digits);
    memcpy(digits, data.p, data.n);
    return atoi(digits);
}

/* Each id once, in the order given. */
static inline void expect_ids(nexus_bus *bus, const char *const *ids, size_t n)
{
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    for (size_t i = 0; i < n; i++)
        cr_assert(nexus_reader_next(r, &e, 2000) == NEXUS_OK && e->pos == i + 1 && nexus__slice_eq(e->id, text(ids[i])),
                  "%zu: %s", i, nexus_error_message());
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_EDONE);
    nexus_reader_close(r);
}

/* Ten records, of which five go; a second life finds what is left, and the checkpoint. */
static inline void expect_dropping(nexus_status (*open)(nexus__wal_engine **out, const char *url, const nexus_alloc *alloc),
                                   const char *url)
{
    uint64_t pos;
    for (int life = 0; life < 2; life++) {
        nexus__wal_engine *log;
        nexus__wal *wal;
        nexus__wal_reader *r;
        cr_assert(open(&log, url, NULL) == NEXUS_OK, "%s", nexus_error_message());
        nexus__wal_opts opts = {.engine = log};
        cr_assert(nexus__wal_open(&wal, NULL, &opts, NULL) == NEXUS_OK, "%s", nexus_error_message());
        nexus__wal_record record = {.payload = text("x")}, read;
        for (uint64_t i = 1; life == 0 && i <= 10; i++)
            cr_assert(nexus__wal_append(wal, &record, 1, &pos) == NEXUS_OK && pos == i);
        if (life == 0)
            cr_assert(nexus__wal_drop_below(wal, 6) == NEXUS_OK);
        cr_assert(nexus__wal_first(wal) == 6 && nexus__wal_durable(wal) == 10);
        cr_assert(nexus__wal_reader_open(&r, wal, 3) == NEXUS_EMISSING);
        cr_assert(nexus__wal_reader_open(&r, wal, 6) == NEXUS_OK);
        for (uint64_t i = 6; i <= 10; i++)
            cr_assert(nexus__wal_reader_next(r, &read) == NEXUS_OK && read.pos == i);
        cr_assert(nexus__wal_reader_next(r, &read) == NEXUS_EDONE);
        nexus__wal_reader_close(r);
        char *blob;
        size_t n;
        if (life == 0)
            cr_assert(nexus__wal_checkpoint_write(wal, "groups", text("state")) == NEXUS_OK);
        cr_assert(nexus__wal_checkpoint_read(wal, "groups", &blob, &n) == NEXUS_OK && strcmp(blob, "state") == 0);
        nexus_free(blob);
        cr_assert(nexus__wal_checkpoint_read(wal, "others", &blob, &n) == NEXUS_ENOTFOUND);
        nexus__wal_close(wal);
    }
}

static inline nexus_bus *open_bounded(const char *url, uint64_t bytes, uint32_t seconds)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 1 << 16;
    opts.retention_bytes = bytes;
    opts.retention_s = seconds;
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

/* The first position that can be read. */
static inline uint64_t first_kept(nexus_bus *bus)
{
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    nexus_status status = nexus_reader_next(r, &e, 0);
    if (status == NEXUS_EMISSING)
        status = nexus_reader_next(r, &e, 0);
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    uint64_t pos = e->pos;
    nexus_reader_close(r);
    return pos;
}

/* What every group has passed goes when there is too much; what it did stays known, in another life, too. */
static inline void expect_retention(const char *url)
{
    char data[2001];
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_event first = NEXUS_EVENT_INIT;
    uint64_t kept = 1;
    memset(data, 'x', 2000);
    data[2000] = '\0';
    nexus_bus *bus = open_bounded(url, 100000, 0);
    first.id = text("first");
    first.type = text("a.b");
    first.subject = text("order-1");
    first.data = text("1");
    cr_assert(nexus_bus_publish(bus, &first, 1, NULL, &r) == NEXUS_OK && r.first == 1);
    nexus_group *g = join(bus, "slow", NULL);
    for (int i = 0; i < 120; i++)
        put(bus, "a.b", "order-1", data);
    cr_assert(first_kept(bus) == 1, "a group has not passed it");
    for (nexus_delivery *d; (d = take(g, 0)) != NULL; nexus_delivery_free(d))
        cr_assert(nexus_delivery_ack_sync(d) == NEXUS_OK);
    while ((kept = first_kept(bus)) == 1) { /* the keeper looks when there is more to look at */
        put(bus, "a.b", "order-1", data);
        nexus_delivery *d = take(g, 0);
        cr_assert(!d || nexus_delivery_ack_sync(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    uint64_t head;
    int64_t version;
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK);
    nexus_group_close(g);
    nexus_bus_close(bus);
    bus = open_bounded(url, 100000, 0); /* what is gone is in the checkpoint */
    cr_assert(first_kept(bus) >= kept);
    cr_assert(nexus_bus_publish(bus, &first, 1, NULL, &r) == NEXUS_OK && r.dup && r.first == 1);
    cr_assert(nexus_stream_version(bus, "order-1", &version) == NEXUS_OK && version == (int64_t)head - 1);
    cr_assert(put(bus, "a.b", "order-1", data) == head + 1);
    g = join(bus, "slow", NULL);
    nexus_delivery *d = take(g, 1000);
    cr_assert(d && nexus_delivery_event(d)->pos == head + 1, "%llu", d ? (unsigned long long)nexus_delivery_event(d)->pos : 0);
    nexus_delivery_free(d);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

#endif
