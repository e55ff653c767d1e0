/* Prints the events of a durable group as JSON lines: consumer DIR GROUP [TYPES]. Ends when none came for a second;
 * started again it goes on where it stopped. */
#include <nexus/nexus.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    char url[4096];
    nexus_bus *bus = NULL;
    nexus_group *group = NULL;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    nexus_delivery *delivery;
    nexus_status status;
    size_t got;

    if (argc < 3) {
        fprintf(stderr, "usage: consumer DIR GROUP [TYPES]\n");
        return 2;
    }
    snprintf(url, sizeof url, "file:%s", argv[1]);
    opts.types = argc > 3 ? argv[3] : NULL;
    status = nexus_bus_open(&bus, url, NULL);
    if (status == NEXUS_OK)
        status = nexus_group_open(&group, bus, argv[2], &opts);
    while (status == NEXUS_OK && (status = nexus_group_fetch(group, &delivery, 1, 1000, &got)) == NEXUS_OK && got) {
        const char *json;
        size_t n;
        status = nexus_delivery_json(delivery, &json, &n);
        if (status == NEXUS_OK) {
            printf("%.*s\n", (int)n, json);
            status = nexus_delivery_ack(delivery);
        }
        nexus_delivery_free(delivery);
    }
    if (status != NEXUS_OK)
        fprintf(stderr, "%s\n", nexus_error_message());
    nexus_group_close(group);
    nexus_bus_close(bus);
    return status == NEXUS_OK ? 0 : 1;
}
