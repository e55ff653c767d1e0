/* The bus handle: URL, open, close. */
#include <errno.h>
#include <unistd.h>

#include "base/status.h"
#include "bus/durability.h"
#include "bus/handle.h"

void nexus_bus_opts_init(nexus_bus_opts *opts)
{
    *opts = (nexus_bus_opts)NEXUS_BUS_OPTS_INIT;
}

static uint32_t timeout_of(const nexus_bus *bus, uint32_t timeout_ms)
{
    return timeout_ms ? timeout_ms : bus->opts.timeout_ms ? bus->opts.timeout_ms : 10000;
}

int64_t nexus__bus_until(const nexus_bus *bus, uint32_t timeout_ms)
{
    return nexus__mono_ns() + timeout_of(bus, timeout_ms) * NEXUS__NS_PER_MS;
}

bool nexus__bus_may_write(const nexus_bus *bus, uint32_t timeout_ms)
{
    return timeout_of(bus, timeout_ms) >= 1000;
}

static nexus_status parse_url(nexus_bus *bus, const char *url)
{
    nexus_status status = nexus__bus_engine_find(url, &bus->engine);
    if (status != NEXUS_OK)
        return status;
    bus->url = nexus__strndup(bus->alloc, nexus__slice_c(url));
    atomic_store(&bus->caps, bus->engine->caps);
    if (!bus->url)
        return nexus__nomem();
    if (!bus->engine->suffix)
        return NEXUS_OK;
    nexus__buf dir;
    nexus__buf_init(&dir, bus->alloc, 0);
    nexus__buf_text(&dir, bus->url + strlen(bus->engine->scheme));
    nexus__buf_text(&dir, bus->engine->suffix);
    bus->dir = dir.status == NEXUS_OK ? nexus__strndup(bus->alloc, nexus__buf_slice(&dir)) : NULL;
    nexus__buf_free(&dir);
    return bus->dir ? NEXUS_OK : nexus__nomem();
}

static nexus_status check_opts(const nexus_bus_opts *o)
{
    if (o->role > NEXUS_BUS_OWNER)
        return nexus__fail(NEXUS_EINVAL, "bus option role is %u", o->role);
    if (o->event_max_bytes && (o->event_max_bytes < 65536 || o->event_max_bytes > (16u << 20)))
        return nexus__fail(NEXUS_EINVAL, "bus option event_max_bytes is %llu; 64 KiB to 16 MiB are possible",
                           (unsigned long long)o->event_max_bytes);
    return nexus__durability_check(o);
}

static nexus_status start(nexus_bus *bus, const char *url)
{
    nexus_status status = check_opts(&bus->opts);
    if (status == NEXUS_OK)
        status = parse_url(bus, url);
    if (status != NEXUS_OK)
        return status;
    bus->source = nexus__strndup(bus->alloc, nexus__slice_c(bus->opts.source ? bus->opts.source : "/nexus"));
    if (!bus->source)
        return nexus__nomem();
    bus->shred.dir = bus->dir;
    if (bus->opts.shred_types && *bus->opts.shred_types) {
        status = nexus__types_check(nexus__slice_c(bus->opts.shred_types));
        if (status != NEXUS_OK || !bus->dir)
            return status != NEXUS_OK ? status
                                      : nexus__fail(NEXUS_ENOTSUP, "bus option shred_types needs a bus with a directory of its "
                                                                   "own for the keys (file:, sqlite:)");
        bus->shred_types = nexus__strndup(bus->alloc, nexus__slice_c(bus->opts.shred_types));
        if (!bus->shred_types)
            return nexus__nomem();
        bus->shred.types = bus->opts.shred_types = bus->shred_types;
    }
    if (bus->opts.compact_types) { /* a later owner of this handle needs it again */
        bus->compact_types = nexus__strndup(bus->alloc, nexus__slice_c(bus->opts.compact_types));
        if (!bus->compact_types)
            return nexus__nomem();
        bus->opts.compact_types = bus->compact_types;
    }
    status = nexus__event_attr_check("source", NEXUS__ATTR_URI, nexus__slice_c(bus->source));
    return status == NEXUS_OK ? nexus__bus_link(bus) : status;
}

nexus_status nexus_bus_open(nexus_bus **out, const char *url, const nexus_bus_opts *opts)
{
    if (opts && opts->size == 0)
        return nexus__fail(NEXUS_EINVAL, "bus options: size is 0; begin with NEXUS_BUS_OPTS_INIT");
    nexus_bus_opts given = NEXUS_BUS_OPTS_INIT;
    if (opts)
        memcpy(&given, opts, opts->size < sizeof given ? opts->size : sizeof given);
    nexus_bus *bus = nexus__calloc(given.alloc, 1, sizeof *bus);
    if (!bus)
        return nexus__nomem();
    bus->alloc = given.alloc;
    bus->opts = given;
    bus->dir_fd = bus->greeting = -1;
    pthread_mutex_init(&bus->lock, NULL);
    nexus__cond_init(&bus->changed);
    nexus__cond_init(&bus->done);
    nexus__cond_init(&bus->room);
    pthread_rwlock_init(&bus->tracer_lock, NULL);
    atomic_init(&bus->tracer, given.tracer);
    nexus__cond_init(&bus->polled);
    bus->completed_tail = &bus->completed;
    bus->arrived_tail = &bus->arrived;
    nexus__list_init(&bus->groups);
    nexus__contracts_init(&bus->contracts);
    nexus__snapshots_init(&bus->snapshots, bus->alloc);
    nexus__shred_init(&bus->shred, bus->alloc);
    bus->again_tail = &bus->again;
    bus->finished_tail = &bus->finished;
    nexus_status status = start(bus, url);
    if (status != NEXUS_OK) {
        nexus_bus_close(bus);
        return status;
    }
    *out = bus;
    return NEXUS_OK;
}

void nexus_bus_close(nexus_bus *bus)
{
    if (!bus)
        return;
    nexus__bus_unlink(bus);
    nexus__broker *broker = atomic_load(&bus->broker);
    /* Behind this barrier every local publish has been answered. */
    if (broker && nexus__wal_append(nexus__broker_wal(broker), NULL, 0, NULL) != NEXUS_OK)
        bus->closing = true;
    nexus__bus_publish_end(bus);
    nexus__snapshots_end(bus);
    nexus__broker_close(broker);
    for (size_t i = 0; i < bus->former_count; i++)
        nexus__broker_close(bus->former[i]);
    nexus__free(bus->alloc, bus->former);
    if (bus->dir_fd >= 0)
        close(bus->dir_fd);
    nexus__free(bus->alloc, bus->url);
    nexus__free(bus->alloc, bus->dir);
    nexus__free(bus->alloc, bus->source);
    nexus__free(bus->alloc, bus->compact_types);
    nexus__shred_end(&bus->shred);
    nexus__free(bus->alloc, bus->shred_types);
    nexus__contracts_free(&bus->contracts, bus->alloc);
    pthread_mutex_destroy(&bus->lock);
    pthread_cond_destroy(&bus->changed);
    pthread_cond_destroy(&bus->done);
    pthread_cond_destroy(&bus->room);
    pthread_rwlock_destroy(&bus->tracer_lock);
    pthread_cond_destroy(&bus->polled);
    nexus__free(bus->alloc, bus);
}

uint64_t nexus_bus_caps(const nexus_bus *bus)
{
    return atomic_load(&((nexus_bus *)(uintptr_t)bus)->caps);
}

bool nexus_bus_is_owner(const nexus_bus *bus)
{
    return atomic_load(&((nexus_bus *)(uintptr_t)bus)->broker) != NULL;
}

nexus_status nexus__bus_ask(nexus_bus *bus, uint16_t op, nexus_slice body, nexus__broker **broker, nexus__buf *answer)
{
    int64_t until = nexus__bus_until(bus, 0);
    for (;;) {
        nexus__remote *remote;
        nexus_status status = nexus__bus_backend(bus, until, broker, &remote);
        if (status != NEXUS_OK || *broker)
            return status;
        status = nexus__remote_call(remote, op, body, until, answer);
        nexus__remote_unref(remote);
        if (status != NEXUS_ECLOSED)
            return status;
    }
}

/* An answer of n bytes. */
static nexus_status ask(nexus_bus *bus, uint16_t op, nexus_slice body, nexus__broker **broker, void *out, size_t n)
{
    nexus__buf answer;
    nexus__buf_init(&answer, bus->alloc, 0);
    nexus_status status = nexus__bus_ask(bus, op, body, broker, &answer);
    if (status == NEXUS_OK && !*broker && answer.len != n)
        status = nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    if (status == NEXUS_OK && !*broker)
        memcpy(out, answer.p, n);
    nexus__buf_free(&answer);
    return status;
}

nexus_status nexus_bus_head(nexus_bus *bus, uint64_t *pos)
{
    nexus__broker *broker;
    nexus_status status = ask(bus, WIRE_HEAD, NEXUS_S(""), &broker, pos, sizeof *pos);
    if (status == NEXUS_OK && broker)
        *pos = nexus__wal_durable(nexus__broker_wal(broker));
    return status;
}

nexus_status nexus_stream_version(nexus_bus *bus, const char *stream, int64_t *version)
{
    nexus__buf body;
    nexus__buf_init(&body, bus->alloc, 0);
    nexus__wire_text(&body, nexus__slice_c(stream));
    nexus__broker *broker;
    nexus_status status = ask(bus, WIRE_VERSION, nexus__buf_slice(&body), &broker, version, sizeof *version);
    nexus__buf_free(&body);
    if (status == NEXUS_OK && broker)
        *version = nexus__broker_stream_version(broker, nexus__slice_c(stream));
    return status;
}
