/* What the log of an open bus takes, as its owner knows it, as JSON. */
#include "base/status.h"
#include "bus/handle.h"
#include "bus/internal.h"
#include "json/write.h"

nexus_status nexus__broker_stats(nexus__broker *b, nexus__buf *json)
{
    static const char *const names[] = {[NEXUS_DURABILITY_DEFAULT] = "",
                                        [NEXUS_DURABILITY_ALWAYS] = "always",
                                        [NEXUS_DURABILITY_INTERVAL] = "interval",
                                        [NEXUS_DURABILITY_OS] = "os",
                                        [NEXUS_DURABILITY_NONE] = "none"};
    nexus__json_writer w = nexus__json_writer_on(json);
    nexus__wal_file *files = NULL;
    size_t n = 0;
    nexus_status status = nexus__wal_has_engine(b->wal) ? NEXUS_OK : nexus__wal_files(b->wal, &files, &n);
    if (status != NEXUS_OK)
        return status;
    nexus__free(b->alloc, files);
    nexus__json_open(&w, '{');
    nexus__json_put_u64(&w, "files", n);
    nexus__json_put_u64(&w, "bytes", nexus__wal_bytes(b->wal));
    nexus__json_put_u64(&w, "first", nexus__wal_first(b->wal));
    nexus__json_put_u64(&w, "last", nexus__wal_durable(b->wal));
    nexus__json_put_u64(&w, "written", nexus__wal_written(b->wal));
    nexus__json_put_text_c(&w, "durability", names[b->durability]);
    nexus__json_close(&w, '}');
    return json->status;
}

nexus_status nexus_bus_stats(char **out, size_t *n, nexus_bus *bus)
{
    nexus__broker *broker;
    nexus__buf json;
    nexus__buf_init(&json, bus->alloc, 0);
    nexus_status status = nexus__bus_ask(bus, WIRE_BUS_STATS, NEXUS_S(""), &broker, &json);
    if (status == NEXUS_OK && broker)
        status = nexus__broker_stats(broker, &json);
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(&json, out, n);
    nexus__buf_free(&json);
    return status;
}
