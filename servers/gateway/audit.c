/* The audit trail of the gateway, $STATE/audit/gateway: what is changed through its admin API, recorded before it is done. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void upkeep(void *user_data)
{
    gateway *g = user_data;
    if (nexus_audit_upkeep(g->audit) != NEXUS_OK)
        nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL, "audit: %s",
                         nexus_error_message());
}

nexus_status gateway_audit_open(gateway *g)
{
    char dir[4200];
    nexus_audit_opts opts = NEXUS_AUDIT_OPTS_INIT;
    snprintf(dir, sizeof dir, "%s/audit", nexus_service_state_dir(g->service));
    (void)mkdir(dir, 0700); /* whatever is wrong with it shows at once */
    snprintf(dir, sizeof dir, "%s/audit/gateway", nexus_service_state_dir(g->service));
    opts.dir = dir;
    nexus_status status = nexus_audit_open(&g->audit, &opts);
    if (status == NEXUS_OK)
        return nexus_service_every(g->service, "audit-upkeep", 5000, upkeep, g);
    nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL, "audit: %s",
                     nexus_error_message());
    return status;
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
