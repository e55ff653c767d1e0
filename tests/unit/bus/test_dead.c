/* bus/: dead letters. Asking, handing out again, editing, removing, and all of it over a restart. */
#include "fixture.h"

#include <string.h>
#include <unistd.h>

static nexus_group_opts once(void)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.max_deliver = 1;
    return opts;
}

static nexus_group *join_once(nexus_bus *bus)
{
    nexus_group_opts opts = once();
    return join(bus, "g", &opts);
}

/* Takes everything there is and rejects it. */
static void reject_all(nexus_group *g, const char *reason)
{
    for (nexus_delivery *d; (d = take(g, 0));) {
        cr_assert(nexus_delivery_term(d, reason) == NEXUS_OK);
        nexus_delivery_free(d);
    }
}

static char *listing(nexus_group *g, const nexus_dead_query *q)
{
    static char text[20000];
    char *json;
    size_t n;
    cr_assert(nexus_group_dead(&json, &n, g, q) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(n < sizeof text);
    memcpy(text, json, n + 1);
    nexus_free(json);
    return text;
}

static int count(nexus_group *g, const nexus_dead_query *q)
{
    int n = 0;
    for (const char *p = listing(g, q); (p = strstr(p, "\"dead_at\"")); p++)
        n++;
    return n;
}

static uint64_t redrive(nexus_group *g, const nexus_dead_query *q, const nexus_redrive_opts *o)
{
    nexus_redrive_result r = {.size = sizeof r};
    cr_assert(nexus_group_redrive(g, q, o, &r) == NEXUS_OK, "%s", nexus_error_message());
    return o && o->dry_run ? r.matched : r.redriven;
}

static void done(nexus_delivery *d, const char *data, uint32_t attempt)
{
    cr_assert(d && data_is(d, data), "%s", data);
    cr_assert(nexus_delivery_attempt(d) == attempt);
    cr_assert(nexus_delivery_ack_sync(d) == NEXUS_OK);
    nexus_delivery_free(d);
}

Test(dead, are_found_by_type_key_reason_and_position)
{
    nexus_bus *bus = bus_open(NULL);
    put(bus, "order.created", "a", "1");
    put(bus, "order.paid", "b", "2");
    put(bus, "mail.sent", "a", "3");
    nexus_group *g = join_once(bus);
    reject_all(g, "no such customer");
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    cr_assert_eq(count(g, NULL), 3);
    q.types = "order.*";
    cr_assert_eq(count(g, &q), 2);
    q.key = "b";
    cr_assert_eq(count(g, &q), 1);
    cr_assert(strstr(listing(g, &q), "\"pos\":2,\"attempts\":1,\"reason\":\"no such customer\""));
    q = (nexus_dead_query)NEXUS_DEAD_QUERY_INIT;
    q.reason = "such";
    q.after = 1;
    q.limit = 1;
    cr_assert_eq(count(g, &q), 1);
    cr_assert(strstr(listing(g, &q), "\"pos\":2,"));
    q = (nexus_dead_query)NEXUS_DEAD_QUERY_INIT;
    q.before_ns = 1;
    cr_assert_eq(count(g, &q), 0);
    q.types = "order..x";
    char *json;
    cr_assert(nexus_group_dead(&json, NULL, g, &q) == NEXUS_EINVAL);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(dead, come_again_before_younger_events_of_their_key_and_leave_the_floor_alone)
{
    nexus_bus *bus = bus_open(NULL);
    put(bus, "t", "a", "a1");
    put(bus, "t", "a", "a2");
    nexus_group *g = join_once(bus), *other = join(bus, "other", NULL);
    reject_all(g, "bad day");
    for (int i = 0; i < 2; i++) {
        nexus_delivery *d = take(other, 0);
        cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
    }
    put(bus, "t", "a", "a3");
    nexus_group_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    nexus_delivery *young = take(g, 0);
    cr_assert(young && data_is(young, "a3"));
    cr_assert(nexus_delivery_nak(young, 60000, "wait") == NEXUS_OK); /* used up: dead too */
    nexus_delivery_free(young);
    put(bus, "t", "a", "a4");
    cr_assert(nexus_group_read_stats(g, &before) == NEXUS_OK && before.dead == 3);
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    q.limit = 2;
    cr_assert_eq(redrive(g, &q, NULL), 2);
    done(take(g, 0), "a1", 1);
    done(take(g, 0), "a2", 1);
    done(take(g, 0), "a4", 1);
    cr_assert(take(g, 0) == NULL);
    cr_assert(nexus_group_read_stats(g, &after) == NEXUS_OK);
    cr_assert(after.dead == 1 && after.floor == 4 && after.lag == 0, "%d %d %d", (int)after.dead, (int)after.floor,
              (int)after.lag);
    put(bus, "t", "other", "x");
    nexus_delivery *d = take(other, 0);
    while (d && !data_is(d, "x")) {
        cr_assert(data_is(d, "a3") || data_is(d, "a4"), "no other group is told again");
        cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
        nexus_delivery_free(d);
        d = take(other, 0);
    }
    cr_assert_not_null(d);
    nexus_delivery_free(d);
    nexus_group_close(g);
    nexus_group_close(other);
    nexus_bus_close(bus);
}

Test(dead, that_fail_again_are_dead_again)
{
    nexus_bus *bus = bus_open(NULL);
    put(bus, "t", "a", "1");
    nexus_group *g = join_once(bus);
    reject_all(g, "first");
    cr_assert_eq(redrive(g, NULL, NULL), 1);
    cr_assert_eq(count(g, NULL), 0, "handed out");
    reject_all(g, "second");
    cr_assert_eq(count(g, NULL), 1);
    cr_assert(strstr(listing(g, NULL), "\"pos\":1,\"attempts\":1,\"reason\":\"second\""));
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(dead, can_be_edited_one_at_a_time)
{
    nexus_bus *bus = bus_open(NULL);
    put(bus, "t", "a", "\"wrong\"");
    put(bus, "t", "b", "\"wrong\"");
    nexus_group *g = join_once(bus);
    reject_all(g, "typo");
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_opts o = NEXUS_REDRIVE_OPTS_INIT;
    o.data = NEXUS_S("\"right\"");
    cr_assert(nexus_group_redrive(g, &q, &o, NULL) == NEXUS_EINVAL);
    q.pos = 2;
    cr_assert_eq(redrive(g, &q, &o), 1);
    nexus_delivery *d = take(g, 0);
    cr_assert(nexus_delivery_event(d)->pos == 2);
    done(d, "\"right\"", 1);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(dead, are_purged_only_when_the_number_is_right)
{
    nexus_bus *bus = bus_open(NULL);
    for (int i = 0; i < 5; i++)
        put(bus, i % 2 ? "odd" : "even", "k", "x");
    nexus_group *g = join_once(bus);
    reject_all(g, "no");
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_opts dry = NEXUS_REDRIVE_OPTS_INIT;
    q.types = "odd";
    dry.dry_run = true;
    cr_assert_eq(redrive(g, &q, &dry), 2);
    cr_assert(nexus_group_purge(g, &q, 3) == NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "2 dead letters match, not 3"));
    cr_assert_eq(count(g, NULL), 5);
    cr_assert(nexus_group_purge(g, &q, 2) == NEXUS_OK);
    cr_assert_eq(count(g, NULL), 3);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(dead, outlive_the_owner_in_every_state)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus_group_opts opts = once();
    opts.types = "t"; /* and not what the bus says of an edit */
    const char *keys[] = {"rests", "settled", "purged", "back", "edited"};
    for (int i = 0; i < 5; i++)
        put(bus, "t", keys[i], keys[i]);
    nexus_group *g = join(bus, "g", &opts);
    reject_all(g, "why not");
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_opts edit = NEXUS_REDRIVE_OPTS_INIT;
    edit.data = NEXUS_S("new");
    q.key = "settled";
    cr_assert_eq(redrive(g, &q, NULL), 1);
    done(take(g, 0), "settled", 1);
    q.key = "purged";
    cr_assert(nexus_group_purge(g, &q, 1) == NEXUS_OK);
    q.key = "back";
    cr_assert_eq(redrive(g, &q, NULL), 1);
    q.key = "edited";
    cr_assert_eq(redrive(g, &q, &edit), 1);
    nexus_group_close(g);
    nexus_bus_close(bus);

    bus = bus_open(dir);
    g = join(bus, "g", &opts);
    cr_assert_eq(count(g, NULL), 1);
    cr_assert(strstr(listing(g, NULL), "\"subject\":\"rests\""));
    done(take(g, 0), "back", 1);
    done(take(g, 0), "new", 1);
    cr_assert(take(g, 0) == NULL);
    nexus_group_close(g);
    nexus_bus_close(bus);

    bus = bus_open(dir);
    g = join(bus, "g", &opts);
    cr_assert(take(g, 0) == NULL, "settled is settled");
    cr_assert_eq(count(g, NULL), 1);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(dead, are_handed_out_at_a_rate)
{
    nexus_bus *bus = bus_open(NULL);
    for (int i = 0; i < 30; i++)
        put(bus, "t", NULL, "x");
    nexus_group *g = join_once(bus);
    reject_all(g, "no");
    nexus_redrive_opts o = NEXUS_REDRIVE_OPTS_INIT;
    o.max_per_s = 100;
    cr_assert_eq(redrive(g, NULL, &o), 30);
    cr_assert_eq(count(g, NULL), 0);
    reject_all(g, "no");
    cr_assert_eq(count(g, NULL), 30);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(dead, are_the_clients_too)
{
    char *dir = scratch_dir();
    nexus_bus *owner = bus_open(dir), *client = bus_open(dir);
    put(client, "t", "a", "1");
    put(client, "t", "b", "2");
    nexus_group *g = join_once(client);
    for (int i = 0; i < 2; i++) {
        nexus_delivery *d = take(g, 1000);
        cr_assert(nexus_delivery_term(d, "remote") == NEXUS_OK);
        nexus_delivery_free(d);
    }
    cr_assert_eq(count(g, NULL), 2);
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_opts edit = NEXUS_REDRIVE_OPTS_INIT;
    q.pos = 1;
    edit.data = NEXUS_S("one");
    cr_assert_eq(redrive(g, &q, &edit), 1);
    done(take(g, 1000), "one", 1);
    cr_assert(nexus_group_purge(g, NULL, 7) == NEXUS_ECONFLICT);
    cr_assert(nexus_group_purge(g, NULL, 1) == NEXUS_OK);
    cr_assert_eq(count(g, NULL), 0);
    nexus_group_opts existing = NEXUS_GROUP_OPTS_INIT;
    existing.existing = true;
    nexus_group *same, *none;
    cr_assert(nexus_group_open(&same, client, "g", &existing) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_group_open(&none, client, "none", &existing) == NEXUS_ENOTFOUND);
    nexus_group_close(same);
    nexus_group_close(g);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

static char *groups_of(nexus_bus *bus)
{
    static char text[8000];
    char *json;
    size_t n;
    cr_assert(nexus_bus_groups(&json, &n, bus) == NEXUS_OK && n < sizeof text);
    memcpy(text, json, n + 1);
    nexus_free(json);
    return text;
}

Test(explain, says_why_a_group_does_not_move)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir), *client = bus_open(dir);
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.max_inflight = 1;
    nexus_group *g = join(bus, "g", &opts);
    cr_assert(strstr(groups_of(bus), "\"lag\":0") && strstr(groups_of(bus), "\"state\":\"CAUGHT_UP\""));
    put(bus, "t", "order-7", "1");
    cr_assert(strstr(groups_of(bus), "\"state\":\"NO_MEMBER\",\"detail\":\"nobody has asked\""), "%s", groups_of(bus));
    nexus_delivery *d = take(g, 0);
    cr_assert(strstr(groups_of(client), "\"state\":\"INFLIGHT_FULL\""), "%s", groups_of(client));
    cr_assert(nexus_delivery_nak(d, 60000, "the printer burns") == NEXUS_OK);
    nexus_delivery_free(d);
    cr_assert(
        strstr(groups_of(client), "\"state\":\"LANES_BLOCKED\",\"detail\":\"order-7 (attempt 1: the printer burns)\""),
        "%s", groups_of(client));
    nexus_group_close(g);
    nexus_bus_close(client);
    nexus_bus_close(bus);
    scratch_remove(dir);
}
