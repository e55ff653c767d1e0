/* What publish asks of an event whose type has a contract. */
#include <stdio.h>

#include "base/status.h"
#include "bus/contract.h"
#include "bus/event.h"

nexus_status nexus_contract_refuse(const char *pointer, const char *detail)
{
    return nexus__fail(NEXUS_EINVAL, "\"%s\": %s", pointer ? pointer : "", detail ? detail : "refused");
}

static nexus_status report_first(nexus_status status, nexus_schema_report *report)
{
    nexus_schema_error error = {.size = sizeof error};
    if (nexus_schema_report_at(report, 0, &error))
        status = nexus__fail(NEXUS_EINVAL, "\"%.*s\": %.*s", (int)error.pointer.n, error.pointer.p, (int)error.detail.n,
                             error.detail.p);
    nexus_schema_report_free(report);
    return status == NEXUS_EPROTO ? NEXUS_EINVAL : status;
}

static nexus_status check(const nexus__rev *r, const nexus_event *e)
{
    nexus_slice data = e->data.n ? e->data : NEXUS_S("null");
    if (r->schema && !nexus__event_is_json(e->datacontenttype))
        return nexus_contract_refuse("", "the schema is of JSON and datacontenttype is not");
    if (r->schema) {
        nexus_schema_report *report;
        nexus_status status = nexus_schema_check(r->schema, data.p, data.n, &report);
        if (status != NEXUS_OK)
            return report_first(status, report);
    }
    return r->check ? r->check(e, r->user_data) : NEXUS_OK;
}

static nexus_status refused(const nexus__rev *r, const nexus_event *e, nexus_status status, uint32_t *warnings)
{
    char text[460];
    snprintf(text, sizeof text, "data of %s, revision %u, at %s", r->type, r->rev, nexus_error_message());
    if (status == NEXUS_ENOMEM || r->mode == NEXUS_CONTRACT_ENFORCE)
        return nexus__fail(status, "%s", text);
    ++*warnings;
    if (r->on_warning)
        r->on_warning(e, text, r->user_data);
    return NEXUS_OK;
}

nexus_status nexus__contract_publish(nexus__contracts *c, nexus_event *e, uint32_t *warnings)
{
    const nexus__contract_set *set = nexus__contracts_now(c);
    uint32_t latest = nexus__contract_latest(set, e->type);
    if (!latest)
        return NEXUS_OK;
    if (!e->rev)
        e->rev = latest;
    if (e->rev > latest)
        return nexus__fail(NEXUS_EREV, "%.*s has revision %u here and no %u: add its contract first", (int)e->type.n,
                           e->type.p, latest, e->rev);
    const nexus__rev *r = nexus__contract_rev(set, e->type, e->rev);
    if (!r || r->mode == NEXUS_CONTRACT_OFF)
        return NEXUS_OK;
    nexus_status status = check(r, e);
    return status == NEXUS_OK ? NEXUS_OK : refused(r, e, status, warnings);
}
