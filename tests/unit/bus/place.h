/* A case that runs in the owner and through the socket: BOTH(name, body) with body(place *). */
#ifndef TESTS_BUS_PLACE_H
#define TESTS_BUS_PLACE_H

#include "fixture.h"

typedef struct place {
    char *dir;
    nexus_bus *owner, *bus;
} place;

static inline place place_open(bool remote)
{
    place p = {.dir = scratch_dir()};
    p.owner = bus_open(p.dir);
    p.bus = remote ? bus_open(p.dir) : p.owner;
    cr_assert(nexus_bus_is_owner(p.owner));
    return p;
}

static inline void place_reopen(place *p)
{
    bool remote = p->bus != p->owner;
    if (remote)
        nexus_bus_close(p->bus);
    nexus_bus_close(p->owner);
    p->owner = bus_open(p->dir);
    p->bus = remote ? bus_open(p->dir) : p->owner;
}

static inline void place_close(place *p)
{
    if (p->bus != p->owner)
        nexus_bus_close(p->bus);
    nexus_bus_close(p->owner);
    scratch_remove(p->dir);
}

#define BOTH(suite, name, body)                                                                                        \
    Test(suite, name)                                                                                                  \
    {                                                                                                                  \
        for (int remote = 0; remote < 2; remote++) {                                                                   \
            place p = place_open(remote);                                                                              \
            body(&p);                                                                                                  \
            place_close(&p);                                                                                           \
        }                                                                                                              \
    }

static inline void ack(nexus_delivery *d)
{
    cr_assert(d && nexus_delivery_ack(d) == NEXUS_OK, "%s", nexus_error_message());
    nexus_delivery_free(d);
}

static inline void ack_data(nexus_group *g, const char *data)
{
    nexus_delivery *d = take(g, 2000);
    cr_assert(d, "%s did not come", data);
    cr_assert(data_is(d, data), "%.*s came, not %s", (int)nexus_delivery_event(d)->data.n, nexus_delivery_event(d)->data.p,
              data);
    ack(d);
}

static inline nexus_group_stats stats_of(nexus_group *g)
{
    nexus_group_stats s = {.size = sizeof s};
    cr_assert(nexus_group_read_stats(g, &s) == NEXUS_OK, "%s", nexus_error_message());
    return s;
}

#endif
