/*
 * The audit trail of the backend, $STATE/audit/backend. What auth/ tells (logins, registrations, changes of users and
 * clients, keys) is recorded in the transaction that makes it true, before that commits: what cannot be recorded is rolled
 * back. Of an event only members that are no secrets are taken.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/private.h"

static void put_detail(FILE *f, nexus_json *json)
{
    static const char *const members[] = {"change", "role_given", "role_taken", "state", "reason",    "method",
                                          "stage",  "key_id",     "client_id",  "kind",  "expires_at",
                                          "tenant", "inherits",   "allow",      "deny",  "grant"};
    bool first = true;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        nexus_slice value;
        uint32_t v = nexus_json_get(json, NEXUS_JSON_ROOT, members[i]);
        if (nexus_json_type(json, v) == NEXUS_JSON_INT ||
            (nexus_json_type(json, v) == NEXUS_JSON_ARRAY && nexus_json_count(json, v) > 0))
            nexus_json_raw(json, v, &value);
        else if (!nexus_json_text(json, v, &value) || value.n == 0)
            continue;
        fprintf(f, "%s%s=%.*s", first ? "" : " ", members[i], TEXT_ARGS(value));
        first = false;
    }
}

/* Free *out; "" without anything to say. */
static char *detail_of(nexus_slice data)
{
    char *text = NULL;
    size_t n;
    nexus_json *json;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    if (nexus_json_parse(&json, data) == NEXUS_OK) {
        put_detail(f, json);
        nexus_json_free(json);
    }
    return fclose(f) == 0 ? text : NULL;
}

/* Who asks, from where, under which id. */
static void put_caller(nexus_audit_record *r, const nexus_request *request)
{
    if (!request)
        return;
    nexus_request_remote_ip(request, &r->ip);
    nexus_request_id(request, &r->request_id);
    if (!nexus_service_subject(request, &r->actor) && nexus_service_is_operator(request))
        r->actor = NEXUS_S("operator");
}

nexus_status audit_as(backend *b, nexus_slice actor, const char *action, nexus_slice object, nexus_slice detail)
{
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    put_caller(&r, current_request);
    r.actor = r.actor.n ? r.actor : actor; /* who logs in has no token yet */
    r.action = (nexus_slice){action, strlen(action)};
    r.object = object;
    r.detail = detail;
    return nexus_audit_write(b->audit, &r, NULL);
}

nexus_status audit_event(backend *b, const char *type, nexus_slice subject, nexus_slice data)
{
    char *detail = detail_of(data);
    if (!detail)
        return NEXUS_ENOMEM;
    nexus_status status = audit_as(b, subject, type, subject, (nexus_slice){detail, strlen(detail)});
    free(detail);
    return status;
}

void audit_denied(backend *b, const nexus_request *request, const char *action, nexus_slice object)
{
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    put_caller(&r, request);
    r.action = (nexus_slice){action, strlen(action)};
    r.object = object;
    r.detail = NEXUS_S("refused");
    nexus_service_denied(b->service, &r); /* counted: an attacker must not fill the disk */
}

/* --- routes -------------------------------------------------------------------------------------------------------- */

static nexus_slice query(nexus_request *request, const char *name)
{
    nexus_slice value = {"", 0};
    (void)nexus_request_query_param(request, name, &value);
    return value;
}

static uint64_t number(nexus_request *request, const char *name)
{
    char text[24];
    snprintf(text, sizeof text, "%.*s", TEXT_ARGS(query(request, name)));
    return strtoull(text, NULL, 10);
}

static void list_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_audit_filter f = NEXUS_AUDIT_FILTER_INIT;
    char *json;
    size_t n;
    f.actor = query(request, "actor");
    f.action = query(request, "action");
    f.object = query(request, "object");
    f.outcome = query(request, "outcome");
    f.after = number(request, "after");
    f.limit = (uint32_t)number(request, "limit");
    nexus_status status = nexus_audit_list(b->audit, &f, &json, &n);
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){json, n});
    nexus_free(json);
}

static void verify_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_audit_report report = NEXUS_AUDIT_REPORT_INIT;
    nexus_json_writer *w;
    nexus_status status = nexus_audit_verify(b->audit, &report);
    if ((status != NEXUS_OK && status != NEXUS_ECORRUPT) || nexus_json_writer_new(&w) != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    nexus_json_open_object(w, NULL);
    nexus_json_put_int(w, "records", (int64_t)report.records);
    nexus_json_put_int(w, "checkpoints", (int64_t)report.checkpoints);
    nexus_json_put_int(w, "bad", (int64_t)report.bad);
    nexus_json_put_text_c(w, "why", report.why);
    nexus_json_close(w);
    reply_json(request, 200, w);
}

static const nexus_param params[] = {
    {"actor", "query", "{\"type\":\"string\",\"maxLength\":128}", "Who.", false},
    {"action", "query", "{\"type\":\"string\",\"maxLength\":128}", "What; user.* is a prefix.", false},
    {"object", "query", "{\"type\":\"string\",\"maxLength\":254}", "To what.", false},
    {"outcome", "query", "{\"enum\":[\"done\",\"denied\",\"failed\"]}", "How it ended.", false},
    {"after", "query", "{\"type\":\"integer\",\"minimum\":0}", "next_after of the page before.", false},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}", "Records a page; 100.", false}};
static const nexus_reply_doc listed[] = {{200, "A page of records.", "{\"type\":\"object\"}"}};
static const nexus_reply_doc verified[] = {{200, "bad is the first bad record, 0 for none.", "{\"type\":\"object\"}"}};

nexus_status audit_routes(backend *b)
{
    nexus_route rows[] = {
        {.method = "GET",
         .path = "/api/v1/admin/audit",
         .handler = list_handler,
         .operation_id = "listAudit",
         .summary = "Lists the audit trail.",
         .permission = "audit:read",
         .params = params,
         .param_count = sizeof params / sizeof params[0],
         .replies = listed},
        {.method = "POST",
         .path = "/api/v1/admin/audit/verify",
         .handler = verify_handler,
         .operation_id = "verifyAudit",
         .summary = "Verifies the whole audit trail.",
         .permission = "audit:read",
         .replies = verified},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows[i].size = sizeof rows[i];
        rows[i].tag = "audit";
        rows[i].user_data = b;
        rows[i].reply_count = 1;
    }
    return nexus_service_route(b->service, rows, sizeof rows / sizeof rows[0]);
}

nexus_status audit_open(backend *b)
{
    b->audit = nexus_service_audit(b->service);
    return b->audit ? NEXUS_OK : NEXUS_EIO;
}
