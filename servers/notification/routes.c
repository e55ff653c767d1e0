/* The HTTP side: each handler passes text to the library and its answer back. */
#include <stdio.h>
#include <string.h>

#include "notification/private.h"

/* --- answers ----------------------------------------------------------------------------------------------- */

static void reply_failure(notification *n, nexus_request *request, nexus_status status)
{
    nexus_log_context context;
    nexus_service_context(request, &context);
    nexus_log_printf(nexus_service_log(n->service), NEXUS_LOG_ERROR, "notification", &context, "%s: %s",
                     nexus_status_name(status), nexus_error_message());
    bool passes = status == NEXUS_EAGAIN || status == NEXUS_ETIMEDOUT || status == NEXUS_EUNREACH ||
                  status == NEXUS_EUNKNOWN || status == NEXUS_ENOMEM || status == NEXUS_ELIMIT;
    if (passes)
        (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
    nexus_request_problem_text(request, passes ? 503 : 500, passes ? "unavailable" : "internal",
                               passes ? "The request could not be done now; try again."
                                      : "The request failed; the log knows why.");
}

/* What a refusal of the library means over HTTP. */
static void reply_refusal(notification *n, nexus_request *request, nexus_status status,
                          const nexus_notify_report *report)
{
    char detail[512];
    snprintf(detail, sizeof detail, "%s", nexus_error_message());
    const char *code = report && report->code[0] ? report->code : "invalid";
    if (status == NEXUS_ENOTFOUND) {
        nexus_request_problem_text(request, 404, "not-found", detail);
    } else if (status == NEXUS_EINVAL && strcmp(code, "json-invalid") == 0) {
        nexus_request_problem_text(request, 400, code, detail);
    } else if (status == NEXUS_EINVAL || status == NEXUS_ENOTSUP || status == NEXUS_ECONFLICT || status == NEXUS_EPERM) {
        const nexus_problem_error error = {report ? report->pointer : "", code, detail};
        nexus_request_problem_errors(request, 422, code, detail, &error, report && report->pointer[0] ? 1 : 0);
    } else {
        reply_failure(n, request, status);
    }
}

static void reply(notification *n, nexus_request *request, nexus_status status, uint16_t code, char *text, size_t len,
                  const nexus_notify_report *report)
{
    if (status == NEXUS_OK)
        nexus_request_reply(request, code, "application/json", (nexus_slice){text, len});
    else
        reply_refusal(n, request, status, report);
    if (status == NEXUS_OK)
        nexus_free(text);
}

static nexus_slice query_param(nexus_request *request, const char *name)
{
    nexus_slice value = NEXUS_S("");
    nexus_request_query_param(request, name, &value);
    return value;
}

static uint32_t limit_of(nexus_request *request)
{
    nexus_slice text = query_param(request, "limit"); /* an integer of the schema already */
    uint32_t limit = 0;
    for (size_t i = 0; i < text.n && i < 6 && text.p[i] >= '0' && text.p[i] <= '9'; i++)
        limit = limit * 10 + (uint32_t)(text.p[i] - '0');
    return limit;
}

/* --- handlers ----------------------------------------------------------------------------------------------- */

static void send_notification(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    nexus_slice body, owner = NEXUS_S(""), key = NEXUS_S("");
    nexus_notify_report report = NEXUS_NOTIFY_REPORT_INIT;
    char *text = NULL;
    size_t len = 0;
    nexus_request_body(request, &body);
    nexus_service_subject(request, &owner);
    nexus_request_header(request, "idempotency-key", &key);
    nexus_status status = nexus_notify_submit(&text, &len, n->notify, body, owner, key, &report);
    if (status == NEXUS_OK && report.replayed)
        (void)nexus_request_set_header(request, "Idempotency-Replayed", NEXUS_S("true"));
    reply(n, request, status, 202, text, len, &report);
}

static void get_notification(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    nexus_slice id = NEXUS_S(""), owner = NEXUS_S("");
    char *text = NULL;
    size_t len = 0;
    nexus_request_param(request, "id", &id);
    if (!nexus_service_may(request, "notifications:read") && (!nexus_service_subject(request, &owner) || owner.n == 0)) {
        nexus_request_problem_text(request, 404, "not-found", "There is no such notification.");
        return;
    }
    nexus_status status = nexus_notify_get(&text, &len, n->notify, id, owner);
    reply(n, request, status, 200, text, len, NULL);
}

static void list_notifications(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    char *text = NULL;
    size_t len = 0;
    nexus_notify_report report = NEXUS_NOTIFY_REPORT_INIT;
    nexus_status status = nexus_notify_list(&text, &len, n->notify, query_param(request, "status"),
                                            query_param(request, "cursor"), limit_of(request));
    if (status == NEXUS_EINVAL)
        snprintf(report.pointer, sizeof report.pointer, "cursor");
    reply(n, request, status, 200, text, len, &report);
}

static void add_endpoint(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    nexus_slice body, owner = NEXUS_S("");
    nexus_notify_report report = NEXUS_NOTIFY_REPORT_INIT;
    char *text = NULL;
    size_t len = 0;
    nexus_request_body(request, &body);
    nexus_service_subject(request, &owner);
    bool everybodys = nexus_service_may(request, "notifications:manage");
    nexus_status status = nexus_notify_add_endpoint(&text, &len, n->notify, body, owner, everybodys, &report);
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    reply(n, request, status, 201, text, len, &report);
}

static void list_mailbox(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    char *text = NULL;
    size_t len = 0;
    nexus_status status = nexus_notify_mailbox(&text, &len, n->notify, limit_of(request));
    reply(n, request, status, 200, text, len, NULL);
}

static void get_mail(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    nexus_slice id = NEXUS_S("");
    char *text = NULL;
    size_t len = 0;
    nexus_request_param(request, "id", &id);
    nexus_status status = nexus_notify_mailbox_get(&text, &len, n->notify, id);
    reply(n, request, status, 200, text, len, NULL);
}

/* {"data":{…}}; no body is no data. */
static nexus_status preview(notification *n, nexus_slice id, nexus_slice body, char **text, size_t *len)
{
    nexus_json *json = NULL;
    nexus_slice data = NEXUS_S("{}");
    if (body.n == 0)
        return nexus_notify_preview(text, len, n->notify, id, data);
    nexus_status status = nexus_json_parse(&json, body);
    if (status != NEXUS_OK)
        return status;
    uint32_t member = nexus_json_get(json, NEXUS_JSON_ROOT, "data");
    if (member != NEXUS_JSON_NONE)
        nexus_json_raw(json, member, &data);
    status = nexus_notify_preview(text, len, n->notify, id, data);
    nexus_json_free(json);
    return status;
}

static void preview_template(nexus_request *request, void *user_data)
{
    notification *n = user_data;
    nexus_slice id = NEXUS_S(""), body;
    char *text = NULL;
    size_t len = 0;
    nexus_request_param(request, "id", &id);
    nexus_request_body(request, &body);
    nexus_status status = preview(n, id, body, &text, &len);
    reply(n, request, status, 200, text, len, NULL);
}

/* --- the table ------------------------------------------------------------------------------------------------ */

#define DELIVERY                                                                                                       \
    "{\"type\":\"object\",\"required\":[\"id\",\"channel\",\"to\",\"status\"],\"properties\":{\"id\":{\"type\":"       \
    "\"string\"},\"channel\":{\"type\":\"string\"},\"to\":{\"type\":\"string\"},\"status\":{\"type\":\"string\","      \
    "\"enum\":[\"queued\",\"sending\",\"sent\",\"delivered\",\"captured\",\"bounced\",\"failed\",\"expired\","         \
    "\"suppressed\",\"unknown\"]},\"attempts\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}}}"
#define NOTIFICATION                                                                                                   \
    "{\"type\":\"object\",\"required\":[\"id\",\"status\",\"deliveries\"],\"properties\":{\"id\":{\"type\":"           \
    "\"string\"},\"status\":{\"type\":\"string\"},\"deliveries\":{\"type\":\"array\",\"items\":" DELIVERY "}}}"
#define ITEMS "{\"type\":\"object\",\"required\":[\"items\"],\"properties\":{\"items\":{\"type\":\"array\"}}}"
#define REQUEST                                                                                                        \
    "{\"type\":\"object\",\"required\":[\"to\"],\"properties\":{"                                                      \
    "\"template\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":100},"                                            \
    "\"content\":{\"type\":\"object\",\"properties\":{\"subject\":{\"type\":\"string\"},\"text\":{\"type\":"           \
    "\"string\"},\"html\":{\"type\":\"string\"}}},"                                                                    \
    "\"to\":{\"type\":[\"string\",\"object\"],\"properties\":{\"email\":{\"type\":\"string\"},\"user_id\":"            \
    "{\"type\":\"string\"},\"endpoint\":{\"type\":\"string\"}}},"                                                      \
    "\"channels\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}},"                                \
    "\"data\":{\"type\":\"object\"},\"topic\":{\"type\":\"string\"},\"category\":{\"type\":\"string\"},"               \
    "\"critical\":{\"type\":\"boolean\"},\"send_at\":{\"type\":\"string\"},\"ttl_s\":{\"type\":\"integer\"},"          \
    "\"idempotency_key\":{\"type\":\"string\",\"maxLength\":255}}}"
#define ENDPOINT                                                                                                       \
    "{\"type\":\"object\",\"required\":[\"url\",\"events\"],\"properties\":{\"url\":{\"type\":\"string\","             \
    "\"maxLength\":2048},\"events\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":32,\"items\":{\"type\":"           \
    "\"string\"}}}}"
#define ENDPOINT_MADE                                                                                                  \
    "{\"type\":\"object\",\"required\":[\"id\",\"secret\"],\"properties\":{\"id\":{\"type\":\"string\"},"              \
    "\"secret\":{\"type\":\"string\"},\"url\":{\"type\":\"string\"},\"events\":{\"type\":\"array\"}}}"
#define LIMIT "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200}"

static const nexus_param key_param[] = {{"Idempotency-Key", "header",
                                         "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255}",
                                         "The same key with the same body is the same notification.", false}};
static const nexus_param list_params[] = {{"limit", "query", LIMIT, "Items of a page; 50.", false},
                                          {"cursor", "query", NULL, "next_cursor of the page before.", false},
                                          {"status", "query", NULL, "Only those with a delivery in this status.", false}};
static const nexus_reply_doc accepted[] = {{202, "Accepted; it is durable.", NOTIFICATION},
                                           {422, "Refused; errors name the field.", NULL}};
static const nexus_reply_doc one[] = {{200, "The notification with every attempt.", NOTIFICATION},
                                      {404, "There is none, or it is another's.", NULL}};
static const nexus_reply_doc many[] = {{200, "A page, newest first.", ITEMS}};
static const nexus_reply_doc made[] = {{201, "Made; the secret is shown only here.", ENDPOINT_MADE},
                                       {422, "Refused; errors name the field.", NULL}};
static const nexus_reply_doc mail[] = {{200, "The mail.", "{\"type\":\"object\"}"}, {404, "There is none.", NULL}};
static const nexus_reply_doc rendered[] = {{200, "What would be sent, and the names that data lacks.",
                                            "{\"type\":\"object\",\"required\":[\"subject\",\"text\",\"html\","
                                            "\"missing\"]}"},
                                           {404, "There is no such template.", NULL}};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

nexus_status notification_routes(notification *n)
{
    nexus_route rows[] = {
        {.method = "POST",
         .path = "/api/v1/notifications",
         .handler = send_notification,
         .operation_id = "sendNotification",
         .summary = "Sends a message over one or more channels.",
         .permission = "notifications:send",
         .body_schema = REQUEST,
         .params = key_param,
         .param_count = COUNT(key_param),
         .replies = accepted,
         .reply_count = COUNT(accepted)},
        {.method = "GET",
         .path = "/api/v1/notifications",
         .handler = list_notifications,
         .operation_id = "listNotifications",
         .summary = "Lists notifications.",
         .permission = "notifications:read",
         .params = list_params,
         .param_count = COUNT(list_params),
         .replies = many,
         .reply_count = COUNT(many)},
        {.method = "GET",
         .path = "/api/v1/notifications/{id:uuid}",
         .handler = get_notification,
         .operation_id = "getNotification",
         .summary = "Shows a notification with every attempt; customers see their own.",
         .replies = one,
         .reply_count = COUNT(one)},
        {.method = "POST",
         .path = "/api/v1/notifications/endpoints",
         .handler = add_endpoint,
         .operation_id = "addWebhookEndpoint",
         .summary = "Registers a webhook endpoint: for your own events, or as operator for everybody's.",
         .body_schema = ENDPOINT,
         .body_max = 65536,
         .replies = made,
         .reply_count = COUNT(made)},
        {.method = "GET",
         .path = "/api/v1/notifications/mailbox",
         .handler = list_mailbox,
         .operation_id = "listMailbox",
         .summary = "Lists the mail that the development mailbox captured.",
         .permission = "notifications:read",
         .params = list_params,
         .param_count = 1,
         .replies = many,
         .reply_count = COUNT(many)},
        {.method = "GET",
         .path = "/api/v1/notifications/mailbox/{id:uuid}",
         .handler = get_mail,
         .operation_id = "getMail",
         .summary = "Shows one captured mail.",
         .permission = "notifications:read",
         .replies = mail,
         .reply_count = COUNT(mail)},
        {.method = "POST",
         .path = "/api/v1/notifications/templates/{id}/preview",
         .handler = preview_template,
         .operation_id = "previewTemplate",
         .summary = "Renders a template with the given data, without sending anything.",
         .permission = "notifications:send",
         .body_schema = "{\"type\":\"object\",\"properties\":{\"data\":{\"type\":\"object\"}}}",
         .body_max = 262144,
         .replies = rendered,
         .reply_count = COUNT(rendered)},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        rows[i].size = sizeof rows[i];
        rows[i].user_data = n;
        rows[i].tag = "notifications";
    }
    return nexus_service_route(n->service, rows, COUNT(rows));
}
