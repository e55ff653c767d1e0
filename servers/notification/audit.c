/* The audit trail of the notification service, $STATE/audit/notification: changes of its keys, recorded before they are made. */
#include <string.h>

#include "notification/private.h"

static void complain(notification *n)
{
    nexus_log_printf(nexus_service_log(n->service), NEXUS_LOG_ERROR, "notification", NULL, "audit: %s", nexus_error_message());
}

nexus_status notification_audit_open(notification *n)
{
    n->audit = nexus_service_audit(n->service);
    return n->audit ? NEXUS_OK : NEXUS_EIO;
}

static nexus_status write_record(notification *n, const nexus_request *request, const char *action, nexus_slice object,
                                 nexus_slice outcome)
{
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    if (!nexus_service_subject(request, &r.actor))
        r.actor = NEXUS_S("operator");
    r.action = (nexus_slice){action, strlen(action)};
    r.object = object;
    r.outcome = outcome;
    nexus_request_remote_ip(request, &r.ip);
    nexus_request_id(request, &r.request_id);
    nexus_status status = nexus_audit_write(n->audit, &r, NULL);
    if (status != NEXUS_OK)
        complain(n);
    return status;
}

bool notification_audited(notification *n, nexus_request *request, const char *action, nexus_slice object)
{
    if (write_record(n, request, action, object, NEXUS_S("done")) == NEXUS_OK)
        return true;
    nexus_request_problem_text(request, 503, "audit-unavailable",
                               "What cannot be recorded in the audit trail is not done; see the log.");
    return false;
}

void notification_audit_failed(notification *n, const nexus_request *request, const char *action, nexus_slice object,
                               nexus_status why)
{
    bool refused = why == NEXUS_ECONFLICT || why == NEXUS_ENOTFOUND;
    (void)!write_record(n, request, action, object, refused ? NEXUS_S("denied") : NEXUS_S("failed"));
}
