/* The audit trail of the gateway, $STATE/audit/gateway: what is changed through its admin API, recorded before it is done. */
#include "gateway/gateway.h"

#include <string.h>

nexus_status gateway_audit_open(gateway *g)
{
    return nexus_service_audit(g->service) ? NEXUS_OK : NEXUS_EIO;
}

bool gateway_audited(gateway *g, nexus_request *request, const char *what)
{
    return nexus_service_audited(g->service, request, "gateway.admin", (nexus_slice){what, strlen(what)});
}

void gateway_audit_refused(gateway *g, nexus_request *request, const char *what, nexus_status status, const char *why)
{
    nexus_service_audit_undone(g->service, request, "gateway.admin", (nexus_slice){what, strlen(what)}, status, why);
}

void gateway_audit_stranger(gateway *g, const nexus_request *request)
{
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    r.action = NEXUS_S("access.denied");
    r.object = NEXUS_S("admin API");
    r.detail = NEXUS_S("unauthorized");
    nexus_request_remote_ip(request, &r.ip);
    nexus_request_id(request, &r.request_id);
    nexus_service_denied(g->service, &r);
}
