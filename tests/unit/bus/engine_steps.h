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

#endif
