/* Who serves what. The services verify tokens themselves: their place in the network earns nothing. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    uint16_t offset;
    bool described;
} services[] = {
    {"backend", 1, true}, {"console", 2, false}, {"analytics", 3, true}, {"notification", 4, true}, {"copilot", 5, true}};

static const struct {
    const char *prefix, *upstream;
} routes[] = {
    {"/api/v1/auth", "backend"},        {"/api/v1/users", "backend"},
    {"/api/v1/admin", "backend"},       {"/api/v1/orders", "backend"},
    {"/api/v1/payments", "backend"},    {"/.well-known", "backend"},
    {"/api/v1/ingest", "analytics"},    {"/api/v1/analytics", "analytics"},
    {"/oauth", "backend"},
    {"/api/v1/copilot", "copilot"},     {"/api/v1/notifications", "notification"},
    {"/", "console"},
};

static void write_upstream(FILE *f, size_t i, uint16_t port)
{
    /* An answer of the copilot or a large import may take longer than what people wait for elsewhere. */
    fprintf(
        f,
        "%s\"%s\":{\"targets\":[\"http://127.0.0.1:%u\"],\"health\":{\"path\":\"/health/live\",\"interval_ms\":2000,"
        "\"down_interval_ms\":1000,\"timeout_ms\":2000}%s%s}",
        i ? "," : "", services[i].name, port,
        services[i].offset == 5 || services[i].offset == 3 ? ",\"timeouts_ms\":{\"first_byte\":30000,\"total\":60000}"
                                                           : "",
        services[i].described ? ",\"openapi\":\"/api/openapi.json\"" : "");
}

nexus_status gateway_default_routes(char **out, size_t *n, const nexus_service *service)
{
    FILE *f = open_memstream(out, n);
    if (!f)
        return NEXUS_ENOMEM;
    fputs("{\"version\":1,\"upstreams\":{", f);
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++)
        write_upstream(f, i, nexus_service_peer_port(service, services[i].offset));
    fputs("},\"routes\":[", f);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        fprintf(f,
                "%s{\"prefix\":\"%s\",\"upstream\":\"%s\","
                "\"client_cert\":{\"forward\":\"chain\",\"forward_unverified\":true}}",
                i ? "," : "", routes[i].prefix, routes[i].upstream);
    fputs("]}", f);
    return fclose(f) == 0 ? NEXUS_OK : NEXUS_ENOMEM;
}
