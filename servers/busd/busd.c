/*
 * nexus-busd holds $STATE/bus and serves it over its socket; the services that start after it are its clients. Use it
 * where the bus must not end with the deploy of a service that happened to own it.
 */
#include "busd/busd.h"

static bool still_owner(char *detail, size_t cap, void *user_data)
{
    (void)detail, (void)cap;
    return nexus_bus_is_owner(user_data);
}

static nexus_status mount(nexus_service *service, void **out)
{
    nexus_bus *bus = nexus_service_bus(service);
    if (!bus)
        return NEXUS_EIO;
    if (!nexus_bus_is_owner(bus)) {
        nexus_log_text(nexus_service_log(service), NEXUS_LOG_ERROR, "busd", NULL,
                       NEXUS_S("another process owns the bus; start nexus-busd before the services, or stop them first"));
        return NEXUS_ECONFLICT;
    }
    *out = bus;
    return nexus_service_check(service, "bus", still_owner, bus);
}

const nexus_service_module busd_module = {
    .size = sizeof busd_module,
    .name = "busd",
    .text = "Owns the event bus and serves it to the other services.",
    .port_offset = 6,
    .bus = NEXUS_SERVICE_BUS_OWNER,
    .mount = mount,
};
