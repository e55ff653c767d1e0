/* The audit trail of the gateway, $STATE/audit/gateway: what is changed through its admin API, recorded before it is done. */
#include "gateway/gateway.h"

#include <string.h>

nexus_status gateway_audit_open(gateway *g)
{
    g->audit = nexus_service_audit(g->service);
    return g->audit ? NEXUS_OK : NEXUS_EIO;
}

static nexus_status write_record(gateway *g, nexus_request *request, const char *what, nexus_slice outcome, const char *why)
{
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    r.actor = NEXUS_S("operator");
    r.action = NEXUS_S("gateway.admin");
    r.object = (nexus_slice){what, strlen(what)};
    r.outcome = outcome;
    r.detail = (nexus_slice){why, strlen(why)};
    nexus_request_remote_ip(request, &r.ip);
    nexus_request_id(request, &r.request_id);
    nexus_status status = nexus_audit_write(g->audit, &r, NULL);
    if (status != NEXUS_OK)
        nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL, "audit: %s",
                         nexus_error_message());
    return status;
}

bool gateway_audited(gateway *g, nexus_request *request, const char *what)
{
    if (write_record(g, request, what, NEXUS_S("done"), "") == NEXUS_OK)
        return true;
    nexus_request_problem_text(request, 503, "audit-unavailable",
                               "What cannot be recorded in the audit trail is not done; see the log.");
    return false;
}

void gateway_audit_refused(gateway *g, nexus_request *request, const char *what, nexus_status status, const char *why)
{
    bool broken = status == NEXUS_ENOMEM || status == NEXUS_EIO || status == NEXUS_ENOSPC || status == NEXUS_EROFS;
    (void)!write_record(g, request, what, broken ? NEXUS_S("failed") : NEXUS_S("denied"), why);
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
