/* bus/: groups. Order, leases, retries, dead letters, restarts. */
#include "fixture.h"

#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

Test(group, one_key_waits_for_its_first_event_others_do_not)
{
    nexus_bus *bus = bus_open(NULL);
    put(bus, "t", "a", "a1");
    put(bus, "t", "a", "a2");
    put(bus, "t", "b", "b1");
    put(bus, "t", NULL, "free");
    nexus_group *g = join(bus, "g", NULL);
    nexus_delivery *all[8];
    size_t got;
    cr_assert(nexus_group_fetch(g, all, 8, 0, &got) == NEXUS_OK && got == 3);
    cr_assert(data_is(all[0], "a1") && data_is(all[1], "b1") && data_is(all[2], "free"));
    cr_assert(take(g, 0) == NULL);
    cr_assert(nexus_delivery_nak(all[0], 0, "not now") == NEXUS_OK);
    nexus_delivery *d = take(g, 1000);
    cr_assert(d && data_is(d, "a1") && nexus_delivery_attempt(d) == 2); /* before a2 */
    cr_assert(nexus_delivery_ack(all[0]) == NEXUS_ESTALE);
    cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    d = take(g, 1000);
    cr_assert(d && data_is(d, "a2"));
    cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    for (int i = 0; i < 3; i++)
        nexus_delivery_free(all[i]);
    nexus_group_stats stats = {.size = sizeof stats};
    cr_assert(nexus_group_read_stats(g, &stats) == NEXUS_OK);
    cr_assert(stats.head == 4 && stats.inflight == 2 && stats.acked == 2 && stats.redelivered == 1);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(group, hundreds_can_be_in_flight_at_once)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.max_inflight = 300;
    char key[8];
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put(bus, "t", key, "x");
    }
    nexus_group *g = join(bus, "g", &opts);
    nexus_delivery *all[500];
    size_t n = 0, got;
    do {
        cr_assert(nexus_group_fetch(g, all + n, 500 - n, 0, &got) == NEXUS_OK);
        n += got;
    } while (got);
    cr_assert(n == 300, "%zu", n);
    for (size_t i = 0; i < n; i++) {
        cr_assert(nexus_delivery_ack(all[i]) == NEXUS_OK);
        nexus_delivery_free(all[i]);
    }
    cr_assert(nexus_group_fetch(g, all, 500, 0, &got) == NEXUS_OK && got == 200);
    for (size_t i = 0; i < got; i++)
        nexus_delivery_free(all[i]);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(group, filters_by_type_and_starts_where_told)
{
    nexus_bus *bus = bus_open(NULL);
    put(bus, "order.created", "o-1", "1");
    put(bus, "user.login", "u-1", "2");
    put(bus, "order.cancelled.late", "o-1", "3");
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = "order.*, user.>";
    nexus_group *g = join(bus, "first", &opts);
    nexus_delivery *all[8];
    size_t got;
    cr_assert(nexus_group_fetch(g, all, 8, 0, &got) == NEXUS_OK && got == 2);
    nexus_delivery_free(all[0]);
    nexus_delivery_free(all[1]);
    nexus_group_close(g);
    opts.types = NULL;
    opts.start = NEXUS_START_END;
    g = join(bus, "end", &opts);
    cr_assert(take(g, 0) == NULL);
    put(bus, "x", "x-1", "4");
    nexus_delivery *d = take(g, 1000);
    cr_assert(d && data_is(d, "4"));
    nexus_delivery_free(d);
    nexus_group_close(g);
    opts.types = "bad..pattern";
    cr_assert(nexus_group_open(&g, bus, "bad", &opts) == NEXUS_EINVAL);
    cr_assert(nexus_group_open(&g, bus, "bad name", NULL) == NEXUS_EINVAL);
    nexus_bus_close(bus);
}

Test(group, a_lease_that_ran_out_goes_to_the_next_and_the_late_ack_is_stale)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.ack_wait_ms = 50;
    put(bus, "t", "a", "a1");
    nexus_group *g = join(bus, "g", &opts);
    nexus_delivery *first = take(g, 0);
    cr_assert(first);
    cr_assert(take(g, 10) == NULL); /* not before */
    nexus_delivery *second = take(g, 2000);
    cr_assert(second && nexus_delivery_attempt(second) == 2);
    cr_assert(nexus_delivery_ack(first) == NEXUS_ESTALE);
    cr_assert(nexus_delivery_extend(second, 60000) == NEXUS_OK);
    cr_assert(take(g, 120) == NULL);
    cr_assert(nexus_delivery_ack(second) == NEXUS_OK);
    nexus_delivery_free(first);
    nexus_delivery_free(second);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(group, after_the_last_attempt_it_is_a_dead_letter_with_a_copy)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.max_deliver = 3;
    put(bus, "t", "a", "{\"poison\":true}");
    put(bus, "t", "a", "a2");
    put(bus, "t", "b", "reject");
    nexus_group *g = join(bus, "g", &opts);
    for (uint32_t i = 1; i <= 3; i++) {
        nexus_delivery *all[4], *d = NULL;
        size_t got;
        cr_assert(nexus_group_fetch(g, all, 4, 1000, &got) == NEXUS_OK && got >= 1);
        for (size_t k = 0; k < got; k++) {
            if (data_is(all[k], "reject"))
                cr_assert(nexus_delivery_term(all[k], "no use") == NEXUS_OK);
            else
                d = all[k];
            if (all[k] != d)
                nexus_delivery_free(all[k]);
        }
        cr_assert(d && data_is(d, "{\"poison\":true}") && nexus_delivery_attempt(d) == i);
        cr_assert(nexus_delivery_nak(d, 0, "cannot \"parse\"") == NEXUS_OK);
        nexus_delivery_free(d);
    }
    nexus_delivery *d = take(g, 1000);
    cr_assert(d && data_is(d, "a2"));
    cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    for (int round = 0; round < 2; round++) {
        char *json;
        size_t n;
        cr_assert(nexus_group_dead(&json, &n, g, NULL) == NEXUS_OK);
        cr_assert(strstr(json, "\"pos\":1,\"attempts\":3,\"reason\":\"cannot \\\"parse\\\"\""), "%s", json);
        cr_assert(strstr(json, "\"reason\":\"no use\"") && strstr(json, "\"data\":{\"poison\":true}"), "%s", json);
        nexus_free(json);
        cr_assert(take(g, 0) == NULL);
        if (round)
            break;
        nexus_group_close(g);
        nexus_bus_close(bus);
        bus = bus_open(dir);
        g = join(bus, "g", &opts);
    }
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(group, remembers_acks_and_attempts_over_a_restart)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus_group *g = join(bus, "g", NULL);
    char key[8];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put(bus, "t", key, key);
    }
    for (int i = 0; i < 100; i++) { /* every third stays unsettled */
        nexus_delivery *d = take(g, 1000);
        cr_assert(d);
        if (i % 3)
            cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    nexus_group_close(g);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    g = join(bus, "g", NULL);
    int n = 0;
    for (nexus_delivery *d; (d = take(g, 0)); n++) {
        cr_assert(nexus_delivery_event(d)->pos % 3 == 1 && nexus_delivery_attempt(d) == 2);
        cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    cr_assert(n == 34, "%d", n);
    nexus_group_stats stats = {.size = sizeof stats};
    cr_assert(nexus_group_read_stats(g, &stats) == NEXUS_OK && stats.floor == 100 && stats.lag == 0);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(group, another_configuration_is_an_error_unless_it_is_an_update)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = "a.*";
    nexus_group *g = join(bus, "g", &opts), *other;
    opts.types = "b.*";
    cr_assert(nexus_group_open(&other, bus, "g", &opts) == NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "types"));
    opts.update = true;
    cr_assert(nexus_group_open(&other, bus, "g", &opts) == NEXUS_OK);
    nexus_group_close(other);
    nexus_group_close(g);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    opts.update = false;
    g = join(bus, "g", &opts);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

static atomic_int handled, retried;

static int32_t handler(nexus_delivery *d, void *ud)
{
    (void)ud;
    if (nexus_delivery_event(d)->pos % 10 == 0 && nexus_delivery_attempt(d) == 1) {
        nexus_delivery_reason(d, "again");
        retried++;
        return NEXUS_RETRY;
    }
    handled++;
    return NEXUS_ACK;
}

Test(group, consumer_threads_settle_what_their_handler_decides)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.backoff_base_ms = 1;
    nexus_group *g = join(bus, "g", &opts);
    nexus_consumer *c;
    cr_assert(nexus_consumer_open(&c, g, handler, NULL, 3) == NEXUS_OK);
    char key[8];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "k%d", i % 17);
        put(bus, "t", key, "x");
    }
    nexus_group_stats stats = {.size = sizeof stats};
    do {
        struct pollfd none = {.fd = -1};
        poll(&none, 1, 2);
        cr_assert(nexus_group_read_stats(g, &stats) == NEXUS_OK);
    } while (stats.floor < 200);
    cr_assert(handled == 200 && retried == 20);
    nexus_consumer_close(c);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(group, an_eventfd_tells_when_to_look)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir), *client = bus_open(dir);
    nexus_bus *handles[] = {bus, client};
    for (int i = 0; i < 2; i++) {
        nexus_group *g = join(handles[i], i ? "remote" : "local", NULL);
        struct pollfd fd = {.fd = nexus_group_fd(g), .events = POLLIN};
        uint64_t drained;
        cr_assert(fd.fd >= 0);
        nexus_delivery *d;
        while ((d = take(g, 20))) {
            cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
            nexus_delivery_free(d);
        }
        while (poll(&fd, 1, 50) == 1)
            cr_assert(read(fd.fd, &drained, sizeof drained) > 0);
        put(handles[1 - i], "t", "a", "x");
        cr_assert(poll(&fd, 1, 2000) == 1);
        d = take(g, 0);
        cr_assert(d);
        nexus_delivery_free(d);
        nexus_group_close(g);
    }
    nexus_bus_close(client);
    nexus_bus_close(bus);
    scratch_remove(dir);
}
