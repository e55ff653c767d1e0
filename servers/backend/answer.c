/* What handlers say, and the events they write. */
#include <stdio.h>
#include <string.h>

#include "backend/private.h"

_Thread_local nexus_request *current_request;
_Thread_local const nexus_event *current_cause;

nexus_slice member(nexus_json *body, const char *name)
{
    nexus_slice text = {"", 0};
    nexus_json_text(body, nexus_json_get(body, NEXUS_JSON_ROOT, name), &text);
    return text;
}

bool read_body(nexus_request *request, nexus_json **out)
{
    nexus_slice text;
    nexus_request_body(request, &text);
    if (nexus_json_parse(out, text) == NEXUS_OK)
        return true;
    nexus_request_problem_text(request, 400, "malformed", nexus_error_message());
    return false;
}

const char *writer_text(nexus_json_writer *writer, nexus_slice *out)
{
    out->p = nexus_json_writer_text(writer, &out->n);
    return out->p;
}

void reply_json(nexus_request *request, uint16_t status, nexus_json_writer *writer)
{
    nexus_slice text;
    if (writer_text(writer, &text))
        nexus_request_reply(request, status, "application/json", text);
    else
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
    nexus_json_writer_free(writer);
}

void reply_invalid(nexus_request *request, const char *pointer, const char *detail)
{
    const nexus_problem_error error = {pointer, "invalid", detail};
    nexus_request_problem_errors(request, 422, "invalid", "The request has a value that is not allowed; see errors.",
                                 &error, 1);
}

void reply_member(nexus_request *request, const char *message)
{
    char pointer[64];
    const char *colon = strstr(message, ": ");
    if (!colon || colon - message > 50) {
        reply_invalid(request, "", message);
        return;
    }
    snprintf(pointer, sizeof pointer, "/%.*s", (int)(colon - message), message);
    reply_invalid(request, pointer, colon + 2);
}

/* Nothing was done that the caller could help: he may try again, be it after the operator has seen to a full disk. */
static bool is_unavailable(nexus_status status)
{
    static const nexus_status statuses[] = {NEXUS_EAGAIN, NEXUS_ETIMEDOUT, NEXUS_EUNREACH, NEXUS_ENOMEM, NEXUS_ELIMIT,
                                            NEXUS_EUNKNOWN, NEXUS_ENOSPC, NEXUS_EROFS};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (status == statuses[i])
            return true;
    return false;
}

void reply_failure(backend *b, nexus_request *request, nexus_status status)
{
    nexus_log_context context;
    nexus_service_context(request, &context);
    nexus_log_printf(nexus_service_log(b->service), NEXUS_LOG_ERROR, "backend", &context, "%s: %s",
                     nexus_status_name(status), nexus_error_message());
    if (is_unavailable(status)) {
        (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
        nexus_request_problem_text(request, 503, "unavailable", "The request could not be done now; try again.");
    } else {
        nexus_request_problem_text(request, 500, "internal", "The request failed; the log knows why.");
    }
}

nexus_status publish_in(nexus_db *tx, const char *type, const char *subject, nexus_slice data, const nexus_event *cause)
{
    char traceparent[NEXUS_TRACEPARENT_LEN + 1];
    nexus_event event = NEXUS_EVENT_INIT;
    event.type = (nexus_slice){type, strlen(type)};
    event.subject = (nexus_slice){subject, strlen(subject)};
    event.source = NEXUS_S("/nexus/backend");
    event.data = data;
    cause = cause ? cause : current_cause;
    if (cause) {
        event.traceparent = cause->traceparent;
        event.correlationid = cause->correlationid;
        event.causationid = cause->id;
    } else if (current_request) {
        nexus_trace trace;
        nexus_service_trace(current_request, &trace);
        nexus_trace_format(&trace, traceparent);
        event.traceparent = (nexus_slice){traceparent, NEXUS_TRACEPARENT_LEN};
        nexus_request_id(current_request, &event.correlationid);
    }
    return nexus_outbox_append(tx, &event, 1);
}
