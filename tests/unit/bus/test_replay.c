/* bus/replay, pace, handlers: what is replayed, how fast, who sees it; in the owner and in a client. */
#include "fixture.h"

#include <nexus/contract.h>
#include <nexus/replay.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "bus/pace.h"

enum { MS = 1000000 };

/* --- the pace, without a clock ---- */

Test(pace, keeps_the_original_times_by_a_factor)
{
    nexus__pace p = {0};
    nexus__pace_set(&p, 10, 0, 0);
    int64_t now = 5000 * (int64_t)MS, recv = 777 * (int64_t)MS;
    cr_assert(nexus__pace_due(&p, recv, now) <= now);
    nexus__pace_spend(&p, 100, now);
    cr_assert(nexus__pace_due(&p, recv + 1000 * (int64_t)MS, now) == now + 100 * (int64_t)MS);
    nexus__pace_set(&p, 100, 0, 0); /* live: from the next event on */
    cr_assert(nexus__pace_due(&p, recv + 1000 * (int64_t)MS, now) <= now);
    cr_assert(nexus__pace_due(&p, recv + 2000 * (int64_t)MS, now) == now + 10 * (int64_t)MS);
    nexus__pace_rest(&p);
    cr_assert(nexus__pace_due(&p, recv + 9000 * (int64_t)MS, now) <= now, "a pause is left out");
}

Test(pace, keeps_limits_of_events_and_bytes)
{
    nexus__pace p = {0};
    int64_t now = 0;
    uint64_t events = 0;
    nexus__pace_set(&p, 0, 1000, 0);
    for (; now < 1000 * (int64_t)MS; now += MS / 4)
        while (nexus__pace_due(&p, 0, now) <= now) {
            nexus__pace_spend(&p, 10, now);
            events++;
        }
    cr_assert(events >= 990 && events <= 1012, "%lu", (unsigned long)events);
    nexus__pace_set(&p, 0, 0, 1000);
    for (events = 0; now < 3000 * (int64_t)MS; now += MS / 4)
        while (nexus__pace_due(&p, 0, now) <= now) {
            nexus__pace_spend(&p, 100, now);
            events++;
        }
    cr_assert(events >= 19 && events <= 23, "%lu", (unsigned long)events);
    nexus__pace_set(&p, 0, 1e-9, 0);
    nexus__pace_spend(&p, 1, now);
    cr_assert(nexus__pace_due(&p, 0, now) > now + 1000 * (int64_t)MS, "so slow that it never comes");
}

/* --- what is replayed ---- */

static void fill(nexus_bus *bus)
{
    char subject[20];
    for (int i = 0; i < 60; i++) {
        snprintf(subject, sizeof subject, "order-%d", i % 3);
        put(bus, i % 2 ? "order.paid" : "order.created", subject, "{\"n\":1}");
    }
}

static uint64_t taken(nexus_bus *bus, const nexus_replay_opts *opts, uint64_t *first, uint64_t *last)
{
    nexus_replay *r;
    const nexus_event *e;
    uint64_t n = 0;
    *first = *last = 0;
    cr_assert(nexus_replay_open(&r, bus, opts, NULL, 0) == NEXUS_OK, "%s", nexus_error_message());
    nexus_status status;
    while ((status = nexus_replay_next(r, &e, 60000)) == NEXUS_OK) {
        *first = *first ? *first : e->pos;
        *last = e->pos;
        n++;
    }
    cr_assert(status == NEXUS_EDONE && nexus_replay_wait(r, 0) == NEXUS_OK);
    nexus_replay_progress p = {.size = sizeof p};
    nexus_replay_read_progress(r, &p);
    cr_assert(p.state == NEXUS_REPLAY_DONE && p.events == n && p.position == p.to && p.done == 1 && p.eta_ms == 0);
    nexus_replay_close(r);
    nexus_replay_count c = {.size = sizeof c};
    cr_assert(nexus_replay_dry_run(bus, opts, &c) == NEXUS_OK);
    cr_assert(c.events == n && c.first_pos == *first && c.last_pos == *last && c.bytes == 7 * n, "the dry run said so");
    return n;
}

static void choose(nexus_bus *bus)
{
    nexus_replay_opts o = NEXUS_REPLAY_OPTS_INIT;
    nexus_reader *reader;
    const nexus_event *e;
    uint64_t first, last;
    cr_assert(taken(bus, NULL, &first, &last) == 60 && first == 1 && last == 60);
    o.start = NEXUS_START_POS;
    o.start_pos = 11;
    o.to_pos = 20;
    cr_assert(taken(bus, &o, &first, &last) == 10 && first == 11 && last == 20);
    o.types = "order.paid";
    cr_assert(taken(bus, &o, &first, &last) == 5 && first == 12 && last == 20);
    o = (nexus_replay_opts)NEXUS_REPLAY_OPTS_INIT;
    o.stream = "order-1";
    cr_assert(taken(bus, &o, &first, &last) == 20 && first == 2 && last == 59);
    o.category = "nothing";
    cr_assert(taken(bus, &o, &first, &last) == 0);
    /* By time: the moments at which events 20 and 40 were stored. Several may share one. */
    cr_assert(nexus_reader_open(&reader, bus, NULL) == NEXUS_OK);
    o = (nexus_replay_opts)NEXUS_REPLAY_OPTS_INIT;
    o.start = NEXUS_START_TIME;
    for (int i = 1; i <= 40; i++) {
        cr_assert(nexus_reader_next(reader, &e, 0) == NEXUS_OK);
        if (i == 20)
            o.start_time_ns = e->recv_ns;
        if (i == 40)
            o.to_time_ns = e->recv_ns;
    }
    nexus_reader_close(reader);
    uint64_t n = taken(bus, &o, &first, &last);
    cr_assert(first <= 20 && last >= 40 && n == last - first + 1);
    o.to_time_ns = 1;
    cr_assert(taken(bus, &o, &first, &last) == 0);
    o.factor = -1;
    nexus_replay *r;
    cr_assert(nexus_replay_open(&r, bus, &o, NULL, 0) == NEXUS_EINVAL);
}

Test(replay, by_position_time_type_and_stream)
{
    nexus_bus *bus = bus_open(NULL);
    fill(bus);
    choose(bus);
    nexus_bus_close(bus);
    bus = bus_open(NULL); /* an empty log */
    uint64_t first, last;
    cr_assert(taken(bus, NULL, &first, &last) == 0);
    nexus_bus_close(bus);
}

Test(replay, in_a_client_too)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    fill(owner);
    choose(client);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

/* Several files, so that a client reads the finished ones by itself and asks for the rest. */
Test(replay, a_client_reads_finished_files_and_goes_on_with_the_owner)
{
    enum { N = 20000 };
    char *dir = scratch_dir();
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    char url[300];
    nexus_bus *owner, *client;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    opts.segment_bytes = 256 << 10;
    cr_assert(nexus_bus_open(&owner, url, &opts) == NEXUS_OK && nexus_bus_open(&client, url, NULL) == NEXUS_OK);
    static nexus_event batch[1000];
    static char data[200];
    memset(data, 'x', sizeof data);
    for (int i = 0; i < N; i += 1000) {
        for (int k = 0; k < 1000; k++) {
            nexus_event_init(&batch[k]);
            batch[k].type = text("a.b");
            batch[k].data = (nexus_slice){data, sizeof data};
        }
        cr_assert(nexus_bus_publish(owner, batch, 1000, NULL, NULL) == NEXUS_OK);
    }
    nexus_reader *r;
    const nexus_event *e;
    nexus_status status;
    uint64_t pos = 0;
    cr_assert(nexus_reader_open(&r, client, NULL) == NEXUS_OK);
    while ((status = nexus_reader_next(r, &e, 0)) == NEXUS_OK)
        cr_assert(e->pos == ++pos && e->data.n == sizeof data);
    cr_assert(status == NEXUS_EDONE && pos == N, "%d at %lu: %s", status, (unsigned long)pos, nexus_error_message());
    cr_assert(nexus_bus_publish(owner, batch, 1, NULL, NULL) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 5000) == NEXUS_OK && e->pos == N + 1);
    nexus_reader_close(r);
    /* From the middle, and to a bound. */
    nexus_reader_opts from = NEXUS_READER_OPTS_INIT;
    from.start = NEXUS_START_POS;
    from.start_pos = N / 2;
    from.to_pos = N - 1;
    cr_assert(nexus_reader_open(&r, client, &from) == NEXUS_OK);
    for (pos = N / 2; (status = nexus_reader_next(r, &e, 0)) == NEXUS_OK; pos++)
        cr_assert(e->pos == pos);
    cr_assert(status == NEXUS_EDONE && pos == N);
    nexus_reader_close(r);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

/* --- who sees it ---- */

static atomic_uint paid, mailed, replays, live;

static int32_t count(nexus_delivery *d, void *user_data)
{
    atomic_fetch_add((atomic_uint *)user_data, 1);
    atomic_fetch_add(nexus_delivery_is_replay(d) ? &replays : &live, 1);
    cr_assert(nexus_delivery_attempt(d) == 1);
    return NEXUS_ACK;
}

static void await(atomic_uint *counter, unsigned n)
{
    struct timespec pause = {.tv_nsec = MS};
    while (atomic_load(counter) < n)
        nanosleep(&pause, NULL);
}

static void isolate(nexus_bus *bus)
{
    nexus_handler table[2] = {NEXUS_HANDLER_INIT, NEXUS_HANDLER_INIT};
    atomic_store(&paid, 0);
    atomic_store(&mailed, 0);
    atomic_store(&replays, 0);
    atomic_store(&live, 0);
    table[0].types = "order.paid";
    table[0].fn = table[1].fn = count;
    table[0].user_data = &paid;
    table[1].user_data = &mailed;
    table[1].flags = NEXUS_HANDLER_LIVE_ONLY;
    nexus_group *g = join(bus, "mails", NULL);
    nexus_consumer *c;
    cr_assert(nexus_consumer_open_handlers(&c, g, table, 2, 1) == NEXUS_OK, "%s", nexus_error_message());
    await(&mailed, 60);
    cr_assert(atomic_load(&paid) == 30 && atomic_load(&live) == 90 && atomic_load(&replays) == 0);
    nexus_consumer_close(c);
    nexus_replay *r;
    cr_assert(nexus_replay_open(&r, bus, NULL, table, 2) == NEXUS_OK);
    cr_assert(nexus_replay_wait(r, 60000) == NEXUS_OK);
    cr_assert(atomic_load(&paid) == 60 && atomic_load(&mailed) == 60, "LIVE_ONLY is not called");
    cr_assert(atomic_load(&live) == 90 && atomic_load(&replays) == 30);
    const nexus_event *e;
    cr_assert(nexus_replay_next(r, &e, 0) == NEXUS_EINVAL);
    nexus_replay_close(r);
    /* A group that is moved back replays as well: what it had before is no news to a mailer. */
    nexus_seek_opts seek = NEXUS_SEEK_OPTS_INIT;
    seek.start = NEXUS_START_POS;
    seek.start_pos = 41;
    cr_assert(nexus_group_seek(g, &seek, NULL) == NEXUS_OK, "%s", nexus_error_message());
    put(bus, "order.paid", "order-9", "{}");
    cr_assert(nexus_consumer_open_handlers(&c, g, table, 2, 1) == NEXUS_OK);
    await(&mailed, 61);
    cr_assert(atomic_load(&paid) == 71 && atomic_load(&mailed) == 61 && atomic_load(&replays) == 40);
    nexus_consumer_close(c);
    nexus_group_close(g);
    table[1].fn = NULL;
    cr_assert(nexus_replay_open(&r, bus, NULL, table, 2) == NEXUS_EINVAL);
}

Test(replay, live_only_handlers_are_never_called)
{
    nexus_bus *bus = bus_open(NULL);
    fill(bus);
    isolate(bus);
    nexus_bus_close(bus);
}

Test(replay, nor_in_a_client)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    fill(owner);
    isolate(client);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

static int32_t refuse_some(nexus_delivery *d, void *user_data)
{
    atomic_uint *calls = user_data;
    unsigned n = atomic_fetch_add(calls, 1);
    nexus_delivery_reason(d, "not today");
    (void)!nexus_delivery_ack(d); /* means nothing here */
    if (nexus_delivery_event(d)->pos == 2)
        return NEXUS_REJECT;
    return n == 0 || nexus_delivery_event(d)->pos == 3 ? NEXUS_RETRY : NEXUS_ACK;
}

Test(replay, handlers_may_fail_and_the_groups_do_not_move)
{
    nexus_bus *bus = bus_open(NULL);
    atomic_uint calls = 0;
    nexus_handler h = NEXUS_HANDLER_INIT;
    nexus_replay_opts o = NEXUS_REPLAY_OPTS_INIT;
    nexus_replay_progress p = {.size = sizeof p};
    nexus_replay *r;
    for (int i = 0; i < 4; i++)
        put(bus, "a.b", "s", "{}");
    nexus_group *g = join(bus, "g", NULL);
    h.fn = refuse_some;
    h.user_data = &calls;
    o.attempts = 2;
    cr_assert(nexus_replay_open(&r, bus, &o, &h, 1) == NEXUS_OK && nexus_replay_wait(r, 60000) == NEXUS_OK);
    nexus_replay_read_progress(r, &p);
    cr_assert(p.events == 4 && p.failed == 2 && p.error == NEXUS_EPERM && atomic_load(&calls) == 2 + 1 + 2 + 1);
    nexus_replay_close(r);
    nexus_group_stats stats = {.size = sizeof stats};
    cr_assert(nexus_group_read_stats(g, &stats) == NEXUS_OK && stats.floor == 0 && stats.dead == 0);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

/* --- how fast ---- */

Test(replay, speed_can_be_changed_and_paused_on_the_way)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_replay_opts o = NEXUS_REPLAY_OPTS_INIT;
    nexus_replay_progress p = {.size = sizeof p};
    nexus_replay *r;
    const nexus_event *e;
    fill(bus);
    o.max_events_s = 1e-6; /* the first comes at once, the second in eleven days */
    cr_assert(nexus_replay_open(&r, bus, &o, NULL, 0) == NEXUS_OK);
    cr_assert(nexus_replay_next(r, &e, 0) == NEXUS_OK && e->pos == 1);
    cr_assert(nexus_replay_next(r, &e, 0) == NEXUS_EAGAIN && nexus_replay_next(r, &e, 1) == NEXUS_EAGAIN);
    nexus_replay_read_progress(r, &p);
    cr_assert(p.state == NEXUS_REPLAY_RUNNING && p.events == 1 && p.to == 60);
    cr_assert(nexus_replay_rate(r, 0, 0, 0) == NEXUS_OK);
    cr_assert(nexus_replay_next(r, &e, 0) == NEXUS_OK && e->pos == 2);
    nexus_replay_pause(r, true);
    cr_assert(nexus_replay_next(r, &e, 0) == NEXUS_EAGAIN);
    nexus_replay_read_progress(r, &p);
    cr_assert(p.state == NEXUS_REPLAY_PAUSED && p.position == 1);
    nexus_replay_pause(r, false);
    const char *json;
    cr_assert(nexus_replay_next_json(r, &json, NULL, 0) == NEXUS_OK && strstr(json, "\"pos\":\"3\""));
    cr_assert(nexus_replay_rate(r, 1e-12, 0, 0) == NEXUS_OK); /* original times, very slowly */
    cr_assert(nexus_replay_next(r, &e, 0) == NEXUS_OK && e->pos == 4, "the first one sets the clock");
    nexus_replay_close(r);
    /* With handlers: a replay that stands still is stopped at once. */
    atomic_store(&mailed, 0);
    nexus_handler h = NEXUS_HANDLER_INIT;
    h.fn = count;
    h.user_data = &mailed;
    cr_assert(nexus_replay_open(&r, bus, &o, &h, 1) == NEXUS_OK);
    await(&mailed, 1);
    cr_assert(nexus_replay_wait(r, 0) == NEXUS_ETIMEDOUT);
    cr_assert(nexus_replay_rate(r, 0, 0, 1e9) == NEXUS_OK);
    cr_assert(nexus_replay_wait(r, 60000) == NEXUS_OK && atomic_load(&mailed) == 60);
    nexus_replay_close(r);
    o.paused = true;
    cr_assert(nexus_replay_open(&r, bus, &o, &h, 1) == NEXUS_OK);
    nexus_replay_close(r);
    cr_assert(atomic_load(&mailed) == 60);
    nexus_replay_count c = {.size = sizeof c};
    o.max_events_s = 10;
    cr_assert(nexus_replay_dry_run(bus, &o, &c) == NEXUS_OK && c.eta_ms == 6000, "60 events at 10 a second");
    nexus_bus_close(bus);
}

/* Fault row 29 in a replay: what an upcaster cannot read is counted, and the rest goes on. */
static nexus_status throws(const nexus_event *e, nexus_upcast *out, void *user_data)
{
    (void)user_data;
    return e->pos == 5 ? nexus_contract_refuse("", "no") : nexus_upcast_emit(out, e);
}

Test(replay, counts_what_upcasters_refuse)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_upcaster u = NEXUS_UPCASTER_INIT;
    nexus_replay_progress p = {.size = sizeof p};
    nexus_replay *r;
    const nexus_event *e;
    fill(bus);
    u.type = "order.created";
    u.from_rev = 1;
    u.fn = throws;
    cr_assert(nexus_contract_add(bus, NULL, 0, &u, 1) == NEXUS_OK);
    cr_assert(nexus_replay_open(&r, bus, NULL, NULL, 0) == NEXUS_OK);
    while (nexus_replay_next(r, &e, 0) == NEXUS_OK)
        ;
    nexus_replay_read_progress(r, &p);
    cr_assert(p.state == NEXUS_REPLAY_DONE && p.events == 59 && p.failed == 1 && p.error == NEXUS_EINVAL);
    nexus_replay_close(r);
    nexus_bus_close(bus);
}
