/* bus/: what a weaker durability changes, and who decides about it. */
#include "fixture.h"

static nexus_status open_as(nexus_bus **out, const char *dir, uint32_t mode, uint32_t ms)
{
    char url[300];
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    opts.durability = mode;
    opts.durability_ms = ms;
    opts.segment_bytes = 1 << 20;
    return nexus_bus_open(out, url, &opts);
}

static nexus_publish_result publish(nexus_bus *bus, const char *id)
{
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    e.id = text(id);
    e.type = text("order.created");
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, &r) == NEXUS_OK, "%s", nexus_error_message());
    return r;
}

static void check_stats(nexus_bus *bus, uint32_t mode)
{
    static const char *const names[] = {"", "always", "interval", "os"};
    char *text, expected[64];
    size_t n;
    snprintf(expected, sizeof expected, "\"durability\":\"%s\"", names[mode]);
    cr_assert(nexus_bus_stats(&text, &n, bus) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(strstr(text, expected) && strstr(text, "\"files\":1,") && strstr(text, "\"last\":2,"), "%s", text);
    nexus_free(text);
}

Test(durability, of_the_owner_is_told_in_every_result_also_of_a_client_and_of_a_duplicate)
{
    static const uint32_t modes[][2] = {{NEXUS_DURABILITY_DEFAULT, NEXUS_DURABILITY_ALWAYS},
                                        {NEXUS_DURABILITY_ALWAYS, NEXUS_DURABILITY_ALWAYS},
                                        {NEXUS_DURABILITY_INTERVAL, NEXUS_DURABILITY_INTERVAL},
                                        {NEXUS_DURABILITY_OS, NEXUS_DURABILITY_OS}};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char *dir = scratch_dir();
        nexus_bus *owner, *client;
        cr_assert(open_as(&owner, dir, modes[i][0], 50) == NEXUS_OK, "%s", nexus_error_message());
        cr_assert(open_as(&client, dir, NEXUS_DURABILITY_DEFAULT, 0) == NEXUS_OK, "%s", nexus_error_message());
        bool always = modes[i][1] == NEXUS_DURABILITY_ALWAYS;
        nexus_publish_result r = publish(owner, "a");
        cr_assert(r.durability == modes[i][1] && r.durable == always);
        r = publish(client, "b");
        cr_assert(r.durability == modes[i][1] && r.durable == always && !r.dup);
        r = publish(client, "a");
        cr_assert(r.durability == modes[i][1] && r.durable == always && r.dup);
        cr_assert(!(nexus_bus_caps(owner) & NEXUS_CAP_DURABLE) == !always);
        cr_assert_eq(nexus_bus_caps(client), nexus_bus_caps(owner));
        check_stats(owner, modes[i][1]);
        check_stats(client, modes[i][1]);
        nexus_bus_close(client);
        nexus_bus_close(owner);
        owner = bus_open(dir); /* closed properly, nothing is lost in any mode */
        cr_assert(publish(owner, "a").dup && publish(owner, "b").dup);
        nexus_bus_close(owner);
        scratch_remove(dir);
    }
}

Test(durability, in_memory_is_none)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_publish_result r = publish(bus, "a");
    cr_assert(r.durability == NEXUS_DURABILITY_NONE && !r.durable);
    nexus_bus_close(bus);
}

Test(durability, weaker_than_the_opener_asks_for_is_refused_and_the_message_names_both)
{
    char *dir = scratch_dir();
    nexus_bus *owner, *other;
    cr_assert(open_as(&owner, dir, NEXUS_DURABILITY_INTERVAL, 500) == NEXUS_OK);
    cr_assert(open_as(&other, dir, NEXUS_DURABILITY_ALWAYS, 0) == NEXUS_ECONFLICT);
    cr_assert(strstr(nexus_error_message(), "always") && strstr(nexus_error_message(), "interval (500 ms)"), "%s",
              nexus_error_message());
    cr_assert(open_as(&other, dir, NEXUS_DURABILITY_INTERVAL, 400) == NEXUS_ECONFLICT);
    cr_assert(open_as(&other, dir, NEXUS_DURABILITY_INTERVAL, 500) == NEXUS_OK);
    nexus_bus_close(other);
    cr_assert(open_as(&other, dir, NEXUS_DURABILITY_OS, 0) == NEXUS_OK);
    nexus_bus_close(other);
    nexus_bus_close(owner);
    cr_assert(open_as(&owner, dir, NEXUS_DURABILITY_OS, 0) == NEXUS_OK);
    cr_assert(open_as(&other, dir, NEXUS_DURABILITY_INTERVAL, 500) == NEXUS_ECONFLICT);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

Test(durability, that_is_none_is_an_error_that_names_the_option)
{
    char *dir = scratch_dir(), url[300];
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    cr_assert(open_as(&bus, dir, NEXUS_DURABILITY_NONE, 0) == NEXUS_EINVAL && strstr(nexus_error_message(), "durability"));
    cr_assert(open_as(&bus, dir, NEXUS_DURABILITY_INTERVAL, 3600001) == NEXUS_EINVAL);
    snprintf(url, sizeof url, "sqlite:%s/bus.db", dir);
    opts.durability = NEXUS_DURABILITY_OS;
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_ENOTSUP && strstr(nexus_error_message(), "durability"));
    scratch_remove(dir);
}
