/* Upgrades: only to WebSocket (RFC 6455), and only from pages that may. */
#include "gateway/filters/cors.h"
#include "gateway/gateway.h"

static bool foreign(const nexus__call *call, nexus_slice origin)
{
    const nexus__gw_cors_conf *cors = nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_cors);
    nexus_slice host;
    nexus_request_host(call->request, &host);
    return !nexus__cors_same_origin(origin, host) && !(cors && nexus__cors_allows(cors, origin));
}

bool nexus__call_check_upgrade(nexus__call *call)
{
    nexus_slice value;
    const nexus__http_head *head = nexus__exchange_head(call->request);
    if (!head->upgrade || call->method != NEXUS_METHOD_GET || !nexus_request_header(call->request, "upgrade", &value) ||
        !nexus__slice_ieq(value, NEXUS_S("websocket")))
        return true; /* an offer of anything else is left out */
    if (!nexus_request_header(call->request, "sec-websocket-version", &value) || !nexus__slice_eq_c(value, "13")) {
        (void)nexus_request_set_header(call->request, "Sec-WebSocket-Version", NEXUS_S("13"));
        nexus__call_problem(call, 426, "websocket-version", "Only WebSocket version 13 is known here.");
        return false;
    }
    if (!nexus_request_header(call->request, "sec-websocket-key", &value) || value.n != 24) {
        nexus__call_problem(call, 400, "websocket-key", "Sec-WebSocket-Key is missing or malformed.");
        return false;
    }
    if (nexus_request_header(call->request, "origin", &value) && foreign(call, value)) {
        nexus__call_problem(call, 403, "foreign-origin", "Pages of this origin may not open WebSockets here.");
        return false;
    }
    call->upgrade = true;
    return true;
}
