/* A world with a bus, the order saga on it, and a reader of what it publishes. */
#ifndef TESTS_SAGA_WORLD_H
#define TESTS_SAGA_WORLD_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nexus/saga.h>
#include <nexus/stream.h>

typedef struct world {
    char dir[64], url[96];
    nexus_bus *bus;
    nexus_saga *saga;
    nexus_reader *reader;
    uint32_t timeout_ms, version;
} world;

static inline void saga_open(world *w)
{
    nexus_saga_step steps[3] = {NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT};
    steps[0].name = "reserve";
    steps[0].command = "stock.reserve";
    steps[0].undo_command = "stock.release";
    steps[1].name = "payment";
    steps[1].command = "payment.requested";
    steps[1].on_types = "payment.processed";
    steps[1].fail_when = "status=declined|timed_out";
    steps[1].undo_command = "payment.refund";
    steps[1].late_command = "payment.refund";
    steps[1].timeout_ms = w->timeout_ms;
    steps[2].name = "ship";
    steps[2].command = "ship.requested";
    steps[2].on_types = "ship.done";
    steps[2].fail_when = "status=lost";
    nexus_saga_opts opts = NEXUS_SAGA_OPTS_INIT;
    opts.start_types = "order.created";
    opts.key = "data.order_id,subject";
    opts.done_type = "order.confirmed";
    opts.failed_type = "order.cancelled";
    opts.version = w->version;
    cr_assert_eq(nexus_saga_open(&w->saga, w->bus, "order", steps, 3, &opts), NEXUS_OK, "%s", nexus_error_message());
}

static inline void world_open(world *w, bool file, uint32_t timeout_ms)
{
    *w = (world){.dir = "/tmp/nexus-saga-XXXXXX", .timeout_ms = timeout_ms, .version = 1};
    cr_assert_not_null(mkdtemp(w->dir));
    snprintf(w->url, sizeof w->url, file ? "file:%s/bus" : "memory:", w->dir);
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 1 << 20;
    cr_assert_eq(nexus_bus_open(&w->bus, w->url, &opts), NEXUS_OK, "%s", nexus_error_message());
    saga_open(w);
    nexus_reader_opts reader = NEXUS_READER_OPTS_INIT;
    reader.types = "stock.*,payment.requested,payment.refund,ship.requested,order.confirmed,order.cancelled";
    cr_assert_eq(nexus_reader_open(&w->reader, w->bus, &reader), NEXUS_OK);
}

static inline void world_close(world *w)
{
    char command[128];
    nexus_reader_close(w->reader);
    nexus_saga_close(w->saga);
    nexus_bus_close(w->bus);
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    cr_assert_eq(system(command), 0);
}

/* The process dies and comes back: everything but the files is gone. */
static inline void restart(world *w)
{
    nexus_reader_opts reader = NEXUS_READER_OPTS_INIT;
    uint64_t head;
    cr_assert_eq(nexus_bus_head(w->bus, &head), NEXUS_OK);
    nexus_reader_close(w->reader);
    nexus_saga_close(w->saga);
    nexus_bus_close(w->bus);
    cr_assert_eq(nexus_bus_open(&w->bus, w->url, NULL), NEXUS_OK, "%s", nexus_error_message());
    reader.types = "stock.*,payment.requested,payment.refund,ship.requested,order.confirmed,order.cancelled";
    reader.start = NEXUS_START_POS;
    reader.start_pos = head + 1;
    cr_assert_eq(nexus_reader_open(&w->reader, w->bus, &reader), NEXUS_OK);
    saga_open(w);
}

static inline void publish(world *w, const char *json)
{
    cr_assert_eq(nexus_bus_publish_json(w->bus, json, strlen(json), NULL, NULL), NEXUS_OK, "%s", nexus_error_message());
}

#define START                                                                                                          \
    "{\"id\":\"c1\",\"source\":\"/"                                                                                    \
    "s\",\"type\":\"order.created\",\"subject\":\"order-7\",\"correlationid\":\"corr-1\","                             \
    "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","                                     \
    "\"data\":{\"order_id\":\"7\",\"amount\":5}}"
#define PAID(id, status)                                                                                               \
    "{\"id\":\"" id "\",\"source\":\"/p\",\"type\":\"payment.processed\",\"subject\":\"order-7\","                     \
    "\"data\":{\"order_id\":\"7\",\"status\":\"" status "\"}}"
#define SHIPPED(status)                                                                                                \
    "{\"id\":\"s1\",\"source\":\"/p\",\"type\":\"ship.done\",\"subject\":\"order-7\","                                 \
    "\"data\":{\"order_id\":\"7\",\"status\":\"" status "\"}}"

/* The next published event is of that type; checks what every event of the saga carries. */
static inline void expect(world *w, const char *type)
{
    const nexus_event *e;
    cr_assert_eq(nexus_reader_next(w->reader, &e, 10000), NEXUS_OK, "waiting for %s: %s", type, nexus_error_message());
    cr_assert(e->type.n == strlen(type) && memcmp(e->type.p, type, e->type.n) == 0, "%s, not %.*s", type,
              (int)e->type.n, e->type.p);
    cr_assert(e->subject.n == 7 && memcmp(e->subject.p, "order-7", 7) == 0);
    cr_assert(e->correlationid.n == 6 && e->traceparent.n == 55);
    cr_assert(memmem(e->data.p, e->data.n, "\"saga_id\":\"7\"", 13), "%.*s", (int)e->data.n, e->data.p);
}

static inline void expect_nothing(world *w)
{
    const nexus_event *e;
    cr_assert_eq(nexus_reader_next(w->reader, &e, 100), NEXUS_EDONE);
}

static inline void expect_status(world *w, const char *status, const char *reason)
{
    char *view, wanted[64];
    size_t n;
    cr_assert_eq(nexus_saga_get(&view, &n, w->bus, "order", NEXUS_S("7")), NEXUS_OK, "%s", nexus_error_message());
    snprintf(wanted, sizeof wanted, "\"status\":\"%s\"", status);
    cr_assert(strstr(view, wanted), "%s", view);
    cr_assert(!reason || strstr(view, reason), "%s", view);
    cr_assert(strstr(view, "\"history\":[{"), "%s", view);
    nexus_free(view);
}

#endif
