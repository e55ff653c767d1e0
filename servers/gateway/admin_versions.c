/* The admin API's report of what is deprecated and who still calls it. */
#include "gateway/gateway.h"

static void get_versions(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char *text = NULL;
    size_t n = 0;
    if (nexus_gateway_versions(g->gateway, &text, &n)) {
        nexus_request_problem_text(request, 500, "failed", nexus_error_message());
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){text, n});
    nexus_free(text);
}

nexus_status gateway_admin_versions_routes(gateway *g)
{
    nexus_route route = NEXUS_ROUTE_INIT;
    route.method = "GET";
    route.path = "/admin/v1/versions";
    route.operation_id = "getVersions";
    route.summary = "What is deprecated, and who still calls it";
    route.handler = get_versions;
    route.user_data = g;
    return nexus_server_route(g->admin, &route, 1);
}
