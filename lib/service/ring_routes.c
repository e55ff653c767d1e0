/* What administrators do with a ring of keys, whatever it seals: see the keys, put a new one in front, seal again, let go. */
#include <nexus/audit.h>
#include <stdio.h>

#include "base/status.h"
#include "service/service.h"

/* --- records of changes ---------------------------------------------------------------------------------------------- */

static nexus_status record(nexus_service *s, const nexus_request *request, const char *action, nexus_slice object,
                           nexus_slice outcome, const char *detail)
{
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    nexus_audit *trail = nexus_service_audit(s);
    if (!nexus_service_subject(request, &r.actor))
        r.actor = NEXUS_S("operator");
    r.action = nexus__slice_c(action);
    r.object = object;
    r.outcome = outcome;
    r.detail = nexus__slice_c(detail);
    nexus_request_remote_ip(request, &r.ip);
    nexus_request_id(request, &r.request_id);
    nexus_status status = trail ? nexus_audit_write(trail, &r, NULL) : NEXUS_EIO;
    if (status != NEXUS_OK)
        nexus_log_printf(s->log, NEXUS_LOG_ERROR, "audit", NULL, "%s is not recorded: %s", action, nexus_error_message());
    return status;
}

bool nexus_service_audited(nexus_service *service, nexus_request *request, const char *action, nexus_slice object)
{
    if (record(service, request, action, object, NEXUS_S("done"), "") == NEXUS_OK)
        return true;
    nexus_request_problem_text(request, 503, "audit-unavailable",
                               "What cannot be recorded in the audit trail is not done; see the log.");
    return false;
}

void nexus_service_audit_undone(nexus_service *service, const nexus_request *request, const char *action,
                                nexus_slice object, nexus_status status, const char *why)
{
    bool broken = status == NEXUS_ENOMEM || status == NEXUS_EIO || status == NEXUS_ENOSPC || status == NEXUS_EROFS;
    (void)record(service, request, action, object, broken ? NEXUS_S("failed") : NEXUS_S("denied"), why);
}

/* --- the ring -------------------------------------------------------------------------------------------------------- */

/* action NULL: nothing was recorded. */
static void refuse(const nexus_ring_calls *c, nexus_request *request, nexus_status status, const char *action,
                   nexus_slice object)
{
    char why[256];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    if (action)
        nexus_service_audit_undone(c->service, request, action, object, status, why);
    if (status == NEXUS_ENOTFOUND) {
        nexus_request_problem_text(request, 404, "not-found", why);
    } else if (status == NEXUS_ECONFLICT || status == NEXUS_ETOOBIG) {
        nexus_request_problem_text(request, 409, "conflict", why);
    } else if (status == NEXUS_EAGAIN || status == NEXUS_ETIMEDOUT || status == NEXUS_EUNREACH) {
        (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
        nexus_request_problem_text(request, 503, "unavailable", "The request could not be done now; try again.");
    } else {
        nexus_log_printf(c->service->log, NEXUS_LOG_ERROR, "secrets", NULL, "the ring %s: %s", c->name, why);
        nexus_request_problem_text(request, 500, "internal", "The keys cannot be changed or read; see the log.");
    }
}

void nexus_ring_show(nexus_request *request, void *calls)
{
    const nexus_ring_calls *c = calls;
    char *json;
    size_t n;
    nexus_status status = c->list(c->user_data, &json, &n);
    if (status != NEXUS_OK) {
        refuse(c, request, status, NULL, NEXUS_S(""));
        return;
    }
    nexus_request_reply(request, 200, "application/json", nexus__slice(json, n));
    nexus_free(json);
}

void nexus_ring_rotate(nexus_request *request, void *calls)
{
    const nexus_ring_calls *c = calls;
    nexus_slice object = nexus__slice_c(c->name);
    if (!nexus_service_audited(c->service, request, "secrets.rotate", object))
        return;
    nexus_status status = c->rotate(c->user_data);
    if (status == NEXUS_OK)
        nexus_ring_show(request, calls);
    else
        refuse(c, request, status, "secrets.rotate", object);
}

void nexus_ring_reseal(nexus_request *request, void *calls)
{
    const nexus_ring_calls *c = calls;
    char text[40];
    uint32_t done = 0;
    nexus_status status = c->reseal(c->user_data, &done);
    if (status != NEXUS_OK) {
        refuse(c, request, status, NULL, NEXUS_S(""));
        return;
    }
    int n = snprintf(text, sizeof text, "{\"resealed\":%u}", done);
    nexus_request_reply(request, 200, "application/json", nexus__slice(text, (size_t)n));
}

void nexus_ring_retire(nexus_request *request, void *calls)
{
    const nexus_ring_calls *c = calls;
    nexus_slice id = NEXUS_S("");
    char kid[64];
    nexus_request_param(request, "kid", &id);
    snprintf(kid, sizeof kid, "%.*s", (int)(id.n < sizeof kid ? id.n : sizeof kid - 1), id.p);
    if (!nexus_service_audited(c->service, request, "secrets.retire", id))
        return;
    nexus_status status = c->retire(c->user_data, kid);
    if (status == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, NEXUS_S(""));
    else
        refuse(c, request, status, "secrets.retire", id);
}
