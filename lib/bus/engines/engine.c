/* The engines, by what a bus URL begins with. */
#include "bus/engines/engine.h"

#include "base/status.h"

#define BROKER_CAPS                                                                                                    \
    (NEXUS_CAP_EXPECT | NEXUS_CAP_ATOMIC_BATCH | NEXUS_CAP_GLOBAL_ORDER | NEXUS_CAP_DEDUPE | NEXUS_CAP_KEY_LANES |     \
     NEXUS_CAP_DCB | NEXUS_CAP_DELAY | NEXUS_CAP_TXN)

static const nexus__bus_engine engines[] = {
    {.scheme = "memory:", .caps = BROKER_CAPS},
    {.scheme = "file:", .caps = BROKER_CAPS | NEXUS_CAP_PROCESSES, .suffix = ""},
    {.scheme = "sqlite:",
     .caps = BROKER_CAPS | NEXUS_CAP_PROCESSES,
     .suffix = "-bus",
     .open_log = nexus__sql_log_open},
#if NEXUS_HAVE_POSTGRES
#define POSTGRES(name)                                                                                                 \
    {                                                                                                                  \
        .scheme = name, .caps = BROKER_CAPS | NEXUS_CAP_PROCESSES | NEXUS_CAP_MACHINES,                                \
        .open_log = nexus__sql_log_open, .serve = nexus__sql_serve, .dial = nexus__sql_dial,                           \
        .close_porter = nexus__sql_porter_close                                                                        \
    }
    POSTGRES("postgresql://"),
    POSTGRES("postgres://"),
#else
    {.scheme = "postgresql://", .left_out = "libpq-dev"},
    {.scheme = "postgres://", .left_out = "libpq-dev"},
#endif
#if NEXUS_HAVE_NATS
    {.scheme = "nats://",
     .caps = BROKER_CAPS | NEXUS_CAP_PROCESSES | NEXUS_CAP_MACHINES,
     .open_log = nexus__nats_log_open,
     .serve = nexus__nats_serve,
     .dial = nexus__nats_dial,
     .close_porter = nexus__nats_porter_close},
#else
    {.scheme = "nats://", .left_out = "libnats-dev"},
#endif
#if NEXUS_HAVE_REDIS
    {.scheme = "redis://",
     .caps = BROKER_CAPS | NEXUS_CAP_PROCESSES | NEXUS_CAP_MACHINES,
     .open_log = nexus__redis_log_open,
     .serve = nexus__redis_serve,
     .dial = nexus__redis_dial,
     .close_porter = nexus__redis_porter_close},
#else
    {.scheme = "redis://", .left_out = "libhiredis-dev"},
#endif
#if NEXUS_HAVE_KAFKA
    {.scheme = "kafka://",
     .caps = BROKER_CAPS | NEXUS_CAP_PROCESSES | NEXUS_CAP_MACHINES,
     .open_log = nexus__kafka_log_open,
     .serve = nexus__kafka_serve,
     .dial = nexus__kafka_dial,
     .close_porter = nexus__kafka_porter_close},
#else
    {.scheme = "kafka://", .left_out = "librdkafka-dev"},
#endif
};

nexus_status nexus__bus_engine_find(const char *url, const nexus__bus_engine **out)
{
    nexus_slice text = nexus__slice_c(url);
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        const nexus__bus_engine *e = &engines[i];
        nexus_slice scheme = nexus__slice_c(e->scheme);
        if (!nexus__slice_starts(text, scheme) || (text.n == scheme.n) != (i == 0))
            continue;
        if (e->left_out)
            return nexus__fail(NEXUS_ENOTSUP, "this build has no bus engine for %s: build it with %s", e->scheme,
                               e->left_out);
        *out = e;
        return NEXUS_OK;
    }
    if (nexus__slice_starts(text, NEXUS_S("rediss:")))
        return nexus__fail(NEXUS_ENOTSUP, "bus URL rediss:: hiredis 0.14 has no TLS. Use redis:// on a private network or "
                                          "through a TLS tunnel");
    return nexus__fail(NEXUS_EINVAL, "not a bus URL: use file:DIR, sqlite:PATH, postgresql://…, redis://…, nats://…, "
                                     "kafka://… or memory:");
}
