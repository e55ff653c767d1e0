/* Becoming the owner, or staying connected to it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "bus/durability.h"
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

/* On the flush thread of a log that takes no more writes. */
static void lost(void *user_data)
{
    nexus_bus *bus = user_data;
    pthread_mutex_lock(&bus->lock);
    bus->lost = true;
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
}

static nexus_status let_others_in(nexus_bus *bus, nexus__broker *broker, nexus__durability given)
{
    const nexus__bus_engine *engine = bus->engine;
    if (!bus->dir && !engine->serve)
        return NEXUS_OK;
    nexus_status status = nexus__bus_server_open(&bus->server, broker, bus->dir, bus->alloc, bus->opts.connections_max,
                                                 nexus__durability_pack(atomic_load(&bus->caps), given));
    if (status == NEXUS_OK && engine->serve)
        status = engine->serve(&bus->porter, bus->url, bus->server, bus->alloc);
    return status;
}

static void let_nobody_in(nexus_bus *bus)
{
    if (bus->porter)
        bus->engine->close_porter(bus->porter);
    nexus__bus_server_close(bus->server);
    bus->porter = NULL;
    bus->server = NULL;
}

/* NEXUS_ECONFLICT: somebody else owns it. */
static nexus_status own(nexus_bus *bus)
{
    nexus__broker *broker;
    nexus__wal_engine *log = NULL;
    nexus_status status = bus->engine->open_log ? bus->engine->open_log(&log, bus->url, bus->alloc) : NEXUS_OK;
    if (status == NEXUS_OK)
        status = nexus__broker_open(&broker, bus->dir, log, &bus->opts);
    if (status != NEXUS_OK)
        return status;
    nexus__wal *wal = nexus__broker_wal(broker);
    nexus__durability given = nexus__durability_of(wal);
    atomic_store(&bus->caps, bus->engine->caps | (given.mode == NEXUS_DURABILITY_ALWAYS ? NEXUS_CAP_DURABLE : 0));
    nexus__wal_on_lost(wal, lost, bus);
    status = let_others_in(bus, broker, given);
    if (status != NEXUS_OK) {
        let_nobody_in(bus);
        nexus__broker_close(broker);
        return status;
    }
    pthread_mutex_lock(&bus->lock);
    atomic_store(&bus->broker, broker);
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
    return NEXUS_OK;
}

/* The log is lost: whoever asks from now on waits for the next owner, which may be this handle again. */
static void step_down(nexus_bus *bus)
{
    nexus__broker **grown = nexus__realloc(bus->alloc, bus->former, (bus->former_count + 1) * sizeof *grown);
    if (!grown)
        return; /* a log that refuses everything, until there is memory */
    pthread_mutex_lock(&bus->lock);
    bus->former = grown;
    bus->former[bus->former_count++] = atomic_exchange(&bus->broker, NULL);
    bus->epoch++;
    bus->lost = false;
    pthread_mutex_unlock(&bus->lock);
    let_nobody_in(bus);
}

static nexus_status open_dir(nexus_bus *bus)
{
    if (bus->dir_fd < 0)
        bus->dir_fd = open(bus->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return bus->dir_fd >= 0 ? NEXUS_OK : nexus__fail(NEXUS_EUNREACH, "%s is not there yet", bus->dir);
}

/* What callers are told until there is an owner that can be used. */
static void break_off(nexus_bus *bus, nexus_status status)
{
    pthread_mutex_lock(&bus->lock);
    bus->broken = status;
    snprintf(bus->broken_text, sizeof bus->broken_text, "%s", nexus_error_message());
    pthread_mutex_unlock(&bus->lock);
}

/* While the owner is waited for to say hello, a close can end that. */
static void set_greeting(nexus_bus *bus, int fd)
{
    pthread_mutex_lock(&bus->lock);
    if (bus->greeting >= 0)
        close(bus->greeting);
    bus->greeting = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd >= 0 && bus->closing)
        shutdown(fd, SHUT_RDWR);
    pthread_mutex_unlock(&bus->lock);
}

static nexus_status greet(nexus_bus *bus, nexus__remote **remote, int fd, uint64_t *caps)
{
    set_greeting(bus, fd);
    nexus_status status = nexus__remote_open(remote, fd, bus->alloc, bus->epoch + 1, caps);
    set_greeting(bus, -1);
    return status;
}

static nexus_status join(nexus_bus *bus)
{
    nexus__remote *remote;
    uint64_t caps = 0;
    int fd = -1;
    nexus_status status;
    if (bus->engine->dial)
        status = bus->engine->dial(&bus->porter, &fd, bus->url, bus->alloc);
    else if ((status = open_dir(bus)) == NEXUS_OK)
        status = nexus__remote_dial(&fd, bus->dir_fd);
    if (status == NEXUS_OK)
        status = greet(bus, &remote, fd, &caps);
    if (status != NEXUS_OK) {
        let_nobody_in(bus);
        return status;
    }
    nexus__durability given = nexus__durability_unpack(&caps);
    if (!bus->engine->open_log) /* else it is the server's choice, which no owner can better */
        status = nexus__durability_compare(&bus->opts, given);
    if (status != NEXUS_OK) {
        break_off(bus, status);
        nexus__remote_unref(remote);
        let_nobody_in(bus);
        return status;
    }
    atomic_store(&bus->caps, caps);
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

static void on_answers(void *user_data)
{
    nexus__bus_publish_arrived(user_data);
}

static void read_until_it_ends(nexus_bus *bus)
{
    nexus__remote_events told = {.on_wake = on_wake, .on_answers = on_answers, .user_data = bus};
    pthread_mutex_lock(&bus->lock);
    nexus__remote *remote = bus->remote;
    pthread_mutex_unlock(&bus->lock);
    nexus__remote_run(remote, &told);
    pthread_mutex_lock(&bus->lock);
    bus->remote = NULL;
    pthread_mutex_unlock(&bus->lock);
    nexus__remote_unref(remote);
    let_nobody_in(bus);
}

static void wait_until_lost(nexus_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    while (!bus->closing && !bus->lost)
        pthread_cond_wait(&bus->changed, &bus->lock);
    bool over = bus->lost && !bus->closing;
    pthread_mutex_unlock(&bus->lock);
    if (over)
        step_down(bus);
}

/* Whether an owner of this engine can stop being one before its end. */
static bool can_lose(const nexus_bus *bus)
{
    return bus->engine->serve != NULL;
}

static void up(nexus_bus *bus)
{
    nexus__bus_publish_again(bus);
    poke_groups(bus);
}

/* Until what the handle is, owner or client, is over. */
static void stay(nexus_bus *bus)
{
    if (atomic_load(&bus->broker))
        wait_until_lost(bus);
    else
        read_until_it_ends(bus);
}

static void *link_main(void *arg)
{
    nexus_bus *bus = arg;
    int64_t pause = 10 * NEXUS__NS_PER_MS;
    stay(bus);
    while (!closing(bus)) {
        nexus_status status = attempt(bus);
        if (status != NEXUS_OK) {
            if (status != NEXUS_EUNREACH && status != NEXUS_ECONFLICT)
                break_off(bus, status);
            rest(bus, pause);
            pause = pause < 160 * NEXUS__NS_PER_MS ? pause * 2 : pause;
            continue;
        }
        pause = 10 * NEXUS__NS_PER_MS;
        pthread_mutex_lock(&bus->lock);
        bus->broken = NEXUS_OK;
        pthread_mutex_unlock(&bus->lock);
        up(bus);
        if (atomic_load(&bus->broker) && !can_lose(bus))
            return NULL;
        stay(bus);
    }
    return NULL;
}

nexus_status nexus__bus_link(nexus_bus *bus)
{
    if (!bus->dir && !bus->engine->serve)
        return own(bus);
    int64_t until =
        nexus__mono_ns() + (bus->opts.connect_timeout_ms ? bus->opts.connect_timeout_ms : 5000) * NEXUS__NS_PER_MS;
    nexus_status status;
    while ((status = attempt(bus)) == NEXUS_EUNREACH && nexus__mono_ns() < until)
        rest(bus, 10 * NEXUS__NS_PER_MS);
    if (status == NEXUS_EUNREACH && bus->opts.role == NEXUS_BUS_CLIENT)
        return nexus__fail(status, "nobody owns the bus: start its owner, or open it without role client (%s)",
                           nexus_error_message());
    if (status != NEXUS_OK || (atomic_load(&bus->broker) && !can_lose(bus)))
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
    if (bus->greeting >= 0)
        shutdown(bus->greeting, SHUT_RDWR);
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
    if (bus->link_started)
        pthread_join(bus->link_thread, NULL);
    else if (bus->remote)
        nexus__remote_unref(bus->remote);
    bus->remote = NULL;
    let_nobody_in(bus);
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
                                           : nexus__fail(NEXUS_ETIMEDOUT, "the bus has no owner at the moment");
    pthread_mutex_unlock(&bus->lock);
    return status;
}
