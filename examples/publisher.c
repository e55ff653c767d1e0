/* Publishes one event: publisher DIR TYPE SUBJECT JSON. Returns when it is on disk; any number may run at once. */
#include <nexus/nexus.h>
#include <stdio.h>
#include <string.h>

static nexus_slice text(const char *s)
{
    nexus_slice slice = {s, strlen(s)};
    return slice;
}

int main(int argc, char **argv)
{
    char url[4096];
    nexus_bus *bus = NULL;
    nexus_event event = NEXUS_EVENT_INIT;
    nexus_publish_result result = NEXUS_PUBLISH_RESULT_INIT;
    nexus_status status;

    if (argc != 5) {
        fprintf(stderr, "usage: publisher DIR TYPE SUBJECT JSON\n");
        return 2;
    }
    snprintf(url, sizeof url, "file:%s", argv[1]);
    event.type = text(argv[2]);
    event.subject = text(argv[3]);
    event.data = text(argv[4]);
    status = nexus_bus_open(&bus, url, NULL);
    if (status == NEXUS_OK)
        status = nexus_bus_publish(bus, &event, 1, NULL, &result);
    if (status == NEXUS_OK)
        printf("position %llu, version %lld of %s\n", (unsigned long long)result.first, (long long)result.version, argv[3]);
    else
        fprintf(stderr, "%s\n", nexus_error_message());
    nexus_bus_close(bus);
    return status == NEXUS_OK ? 0 : 1;
}
