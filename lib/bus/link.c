/* Becoming the owner, or staying connected to it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "bus/handle.h"

static void poke_groups(nexus_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    for (nexus__list *n = bus->groups.next; n != &bus->groups; n = n->next) {
        nexus_group *g = NEXUS__CONTAINER(n, nexus_group, node);
        uint64_t one = 1;
        if (g->event_fd >= 0 && write(g->event_fd, &one, sizeof one) < 0)
            continue; /* it is readable already */
    }
    pthread_mutex_unlock(&bus->lock);
}

static void on_wake(uint32_t group, void *user_data)
{
    (void)group; /* few groups a handle: a look too many is cheap */
    poke_groups(user_data);
}

/* NEXUS_ECONFLICT: somebody else owns it. */
static nexus_status own(nexus_bus *bus)
{
    nexus__broker *broker;
    nexus_status status = nexus__broker_open(&broker, bus->dir, &bus->opts);
    if (status == NEXUS_OK && bus->dir) {
        status = nexus__bus_server_open(&bus->server, broker, bus->dir, bus->alloc, bus->opts.connections_max);
        if (status != NEXUS_OK)
            nexus__broker_close(broker);
    }
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&bus->lock);
    atomic_store(&bus->broker, broker);
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
    return NEXUS_OK;
}

static nexus_status open_dir(nexus_bus *bus)
{
    if (bus->dir_fd < 0)
        bus->dir_fd = open(bus->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return bus->dir_fd >= 0 ? NEXUS_OK : nexus__fail(NEXUS_EUNREACH, "%s is not there yet", bus->dir);
}

static nexus_status join(nexus_bus *bus)
{
    nexus__remote *remote;
    nexus_status status = open_dir(bus);
    if (status == NEXUS_OK)
        status = nexus__remote_open(&remote, bus->dir_fd, bus->alloc, bus->epoch + 1);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&bus->lock);
    bus->epoch++;
    bus->remote = remote;
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
    return NEXUS_OK;
}

/* One attempt at either. NEXUS_EUNREACH: an owner is there, but does not answer yet. */
static nexus_status attempt(nexus_bus *bus)
{
    if (bus->opts.role != NEXUS_BUS_CLIENT) {
        nexus_status status = own(bus);
        if (status != NEXUS_ECONFLICT || bus->opts.role == NEXUS_BUS_OWNER)
            return status;
    }
    return join(bus);
}

static void rest(nexus_bus *bus, int64_t ns)
{
    int64_t until = nexus__mono_ns() + ns;
    pthread_mutex_lock(&bus->lock);
    while (!bus->closing && nexus__cond_wait_until(&bus->changed, &bus->lock, until))
        ;
    pthread_mutex_unlock(&bus->lock);
}

uint64_t nexus__bus_epoch(nexus_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    uint64_t epoch = bus->epoch + (atomic_load(&bus->broker) ? 1 : 0);
    pthread_mutex_unlock(&bus->lock);
    return epoch;
}

static bool closing(nexus_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    bool yes = bus->closing;
    pthread_mutex_unlock(&bus->lock);
    return yes;
}

static void read_until_it_ends(nexus_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    nexus__remote *remote = bus->remote;
    pthread_mutex_unlock(&bus->lock);
    nexus__remote_run(remote, on_wake, bus);
    pthread_mutex_lock(&bus->lock);
    bus->remote = NULL;
    pthread_mutex_unlock(&bus->lock);
    nexus__remote_unref(remote);
}

static void up(nexus_bus *bus)
{
    nexus__bus_publish_again(bus);
    poke_groups(bus);
}

static void *link_main(void *arg)
{
    nexus_bus *bus = arg;
    int64_t pause = 10 * NEXUS__NS_PER_MS;
    read_until_it_ends(bus);
    while (!closing(bus)) {
        nexus_status status = attempt(bus);
        if (status != NEXUS_OK) {
            if (status != NEXUS_EUNREACH && status != NEXUS_ECONFLICT) {
                pthread_mutex_lock(&bus->lock);
                bus->broken = status;
                snprintf(bus->broken_text, sizeof bus->broken_text, "%s", nexus_error_message());
                pthread_mutex_unlock(&bus->lock);
            }
            rest(bus, pause);
            pause = pause < 160 * NEXUS__NS_PER_MS ? pause * 2 : pause;
            continue;
        }
        pause = 10 * NEXUS__NS_PER_MS;
        pthread_mutex_lock(&bus->lock);
        bus->broken = NEXUS_OK;
        pthread_mutex_unlock(&bus->lock);
        up(bus);
        if (atomic_load(&bus->broker))
            return NULL;
        read_until_it_ends(bus);
    }
    return NULL;
}

nexus_status nexus__bus_link(nexus_bus *bus)
{
    if (!bus->dir)
        return own(bus);
    int64_t until =
        nexus__mono_ns() + (bus->opts.connect_timeout_ms ? bus->opts.connect_timeout_ms : 5000) * NEXUS__NS_PER_MS;
    nexus_status status;
    while ((status = attempt(bus)) == NEXUS_EUNREACH && nexus__mono_ns() < until)
        rest(bus, 10 * NEXUS__NS_PER_MS);
    if (status == NEXUS_EUNREACH)
        return nexus__fail(status, "nobody owns the bus in %s: start its owner, or open it without role client",
                           bus->dir);
    if (status != NEXUS_OK || atomic_load(&bus->broker))
        return status;
    status = nexus__thread_start(&bus->link_thread, "nexus-bus-link", link_main, bus);
    bus->link_started = status == NEXUS_OK;
    return status;
}

void nexus__bus_unlink(nexus_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    bus->closing = true;
    if (bus->remote)
        nexus__remote_shutdown(bus->remote);
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
    if (bus->link_started)
        pthread_join(bus->link_thread, NULL);
    else if (bus->remote)
        nexus__remote_unref(bus->remote);
    bus->remote = NULL;
}

nexus_status nexus__bus_backend(nexus_bus *bus, int64_t until_ns, nexus__broker **broker, nexus__remote **remote)
{
    *remote = NULL;
    *broker = atomic_load(&bus->broker);
    if (*broker)
        return NEXUS_OK;
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&bus->lock);
    while (!atomic_load(&bus->broker) && !bus->remote && !bus->closing)
        if (!nexus__cond_wait_until(&bus->changed, &bus->lock, until_ns))
            break;
    *broker = atomic_load(&bus->broker);
    if (!*broker && bus->remote)
        *remote = nexus__remote_ref(bus->remote);
    else if (!*broker)
        status = bus->closing              ? nexus__fail(NEXUS_ECLOSED, "the bus is closing")
                 : bus->broken != NEXUS_OK ? nexus__fail(bus->broken, "%s", bus->broken_text)
                                           : nexus__fail(NEXUS_ETIMEDOUT, "no owner of the bus in %s", bus->dir);
    pthread_mutex_unlock(&bus->lock);
    return status;
}
