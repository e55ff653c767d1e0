/*
 * The engines that this build and this machine have, each with the URL of a fresh bus: tests that hold for every engine
 * run once for each. Servers come from with_servers.py; where there is none, its engine is left out.
 */
#ifndef TESTS_BUS_ENGINES_H
#define TESTS_BUS_ENGINES_H

#include "fixture.h"

#include <unistd.h>

#if NEXUS_HAVE_KAFKA
#include <librdkafka/rdkafka.h>
/* it needs the one before */
#include <librdkafka/rdkafka_mock.h>

/* The mock cluster of librdkafka, in this process and gone with it. It knows transactions by name only: nobody is shut
 * out, and what was undone is seen; it keeps the last 5 MiB of a partition, and compacts nothing. */
static rd_kafka_mock_cluster_t *kafka_mock;

static inline bool kafka_url(char out[static 400], const char *name)
{
    char topic[120], why[200];
    static const char *const topics[] = {"", "-owner", "-state", "-wire"};
    if (!kafka_mock) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        rd_kafka_conf_set(conf, "log_level", "0", why, sizeof why);
        rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
        kafka_mock = host ? rd_kafka_mock_cluster_new(host, 1) : NULL;
    }
    if (!kafka_mock)
        return false;
    for (int i = 0; i < 4; i++) {
        snprintf(topic, sizeof topic, "%s%s", name, topics[i]);
        rd_kafka_mock_topic_create(kafka_mock, topic, 1, 1);
    }
    snprintf(out, 400, "kafka://%s#%s", rd_kafka_mock_cluster_bootstraps(kafka_mock), name);
    return true;
}
#else
static inline bool kafka_url(char out[static 400], const char *name)
{
    (void)out, (void)name;
    return false;
}
#endif

static const char *const engine_names[] = {"memory", "file", "sqlite", "postgresql", "nats", "redis", "kafka"};
enum { ENGINE_COUNT = sizeof engine_names / sizeof engine_names[0] };

/* False: no such server here. The bus is new; dir is a scratch directory. */
static inline bool engine_url(char out[static 400], const char *engine, const char *dir)
{
    static int number;
    const char *server = NULL;
    if (strcmp(engine, "memory") == 0)
        snprintf(out, 400, "memory:");
    else if (strcmp(engine, "file") == 0)
        snprintf(out, 400, "file:%s/bus%d", dir, number++);
    else if (strcmp(engine, "sqlite") == 0)
        snprintf(out, 400, "sqlite:%s/bus%d.db", dir, number++);
    else if (strcmp(engine, "postgresql") == 0 && (server = getenv("NEXUS_TEST_POSTGRES_URL")) != NULL)
        snprintf(out, 400, "%s#bus_%d_%d", server, (int)getpid(), number++);
    else if (strcmp(engine, "nats") == 0 && (server = getenv("NEXUS_TEST_NATS_URL")) != NULL)
        snprintf(out, 400, "%s#bus_%d_%d", server, (int)getpid(), number++);
    else if (strcmp(engine, "redis") == 0 && (server = getenv("NEXUS_TEST_REDIS_URL")) != NULL)
        snprintf(out, 400, "%s#bus_%d_%d", server, (int)getpid(), number++);
    else if (strcmp(engine, "kafka") == 0) {
        char name[40];
        snprintf(name, sizeof name, "bus_%d", number++);
        return kafka_url(out, name);
    } else
        return false;
    return true;
}

static inline nexus_bus *engine_open(const char *url, uint32_t role)
{
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 1 << 20;
    opts.role = role;
    nexus_status status = nexus_bus_open(&bus, url, &opts);
    cr_assert(status == NEXUS_OK, "%s: %s", url, nexus_error_message());
    return bus;
}

#endif
