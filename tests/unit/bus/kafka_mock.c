/* The mock cluster of librdkafka with the topics of one bus, for tests of other processes: prints its URL, ends with its
 * standard input. */
#include <librdkafka/rdkafka.h>
/* it needs the one before */
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>

int main(void)
{
    static const char *const topics[] = {"nexus_bus", "nexus_bus-owner", "nexus_bus-state", "nexus_bus-wire"};
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "0", why, sizeof why);
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    rd_kafka_mock_cluster_t *cluster = host ? rd_kafka_mock_cluster_new(host, 1) : NULL;
    if (!cluster)
        return 1;
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        rd_kafka_mock_topic_create(cluster, topics[i], 1, 1);
    printf("kafka://%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    return 0;
}
