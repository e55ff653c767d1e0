/* Events in: who may write, what the request says, what became of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analytics.h"

#define BATCH_MAX_BYTES (20u * 1024 * 1024)
#define EVENT_BODY_MAX (4u * 1024 * 1024)
#define ERRORS_SHOWN 100

/* --- who ------------------------------------------------------------------------------------- */

static bool starts(nexus_slice text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.n >= n && strncasecmp(text.p, prefix, n) == 0;
}

static int base64_value(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

/* The user of "Basic base64(user:password)"; false when it is none. */
static bool basic_user(nexus_slice encoded, char out[static 160], nexus_slice *user)
{
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < encoded.n && encoded.p[i] != '='; i++) {
        int v = base64_value(encoded.p[i]);
        if (v < 0 || n == 160)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have);
        }
    }
    const char *colon = memchr(out, ':', n);
    *user = (nexus_slice){out, colon ? (size_t)(colon - out) : n};
    return true;
}

static bool has_write_key(const analytics *a, nexus_request *request)
{
    nexus_slice given, user;
    char decoded[160];
    if (nexus_request_header(request, "x-write-key", &given) || nexus_request_query_param(request, "key", &given))
        return nexus_secret_equal(a->write_key, given);
    if (!nexus_request_header(request, "authorization", &given))
        return false;
    if (starts(given, "Bearer "))
        return nexus_secret_equal(a->write_key, (nexus_slice){given.p + 7, given.n - 7});
    return starts(given, "Basic ") && basic_user((nexus_slice){given.p + 6, given.n - 6}, decoded, &user) &&
           nexus_secret_equal(a->write_key, user);
}

/* What a token allows. The route is public (a write key is no token), so the keys that verify tokens may not have come yet;
 * then they are fetched here, once, on this worker. */
static nexus_status check_token(const analytics *a, nexus_request *request)
{
    nexus_slice given;
    nexus_principal *principal = NULL;
    nexus_verifier *verifier = nexus_service_verifier(a->service);
    if (!nexus_request_header(request, "authorization", &given) || !starts(given, "Bearer "))
        return NEXUS_ENOTFOUND;
    if (!verifier)
        return NEXUS_EAGAIN;
    nexus_client_cert cert = NEXUS_CLIENT_CERT_INIT;
    const uint8_t *sha256 = nexus_request_client_cert(request, &cert) ? cert.sha256 : NULL;
    nexus_status st = nexus_verifier_check_bound(verifier, given.p + 7, given.n - 7, sha256, &principal);
    if (st == NEXUS_EAGAIN && nexus_verifier_refresh(verifier) == NEXUS_OK)
        st = NEXUS_OK;
    nexus_principal_free(principal);
    return st == NEXUS_OK ? nexus_service_authorize(request, "analytics:ingest", NEXUS_S(""), NEXUS_S("")) : st;
}

/* Whether the caller may write; answers when not. */
static bool may_write(const analytics *a, nexus_request *request)
{
    if (has_write_key(a, request))
        return true;
    nexus_status st = check_token(a, request);
    if (st == NEXUS_OK)
        return true;
    if (st == NEXUS_EPERM) {
        nexus_request_problem_text(request, 403, "role-missing",
                                   "Ingestion needs the write key, or a role that allows analytics:ingest.");
    } else if (st == NEXUS_EAGAIN) {
        nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
        nexus_request_problem_text(request, 503, "keys-unavailable",
                                   "The keys that verify tokens cannot be fetched yet; try again.");
    } else {
        nexus_request_set_header(request, "WWW-Authenticate", NEXUS_S("Bearer realm=\"nexus\""));
        nexus_request_problem_text(
            request, 401, st == NEXUS_ENOTFOUND ? "key-missing" : "key-invalid",
            "Send the write key ($STATE/write.key) as \"Authorization: Bearer nxw_…\" or X-Write-Key.");
    }
    return false;
}

/* --- what ------------------------------------------------------------------------------------ */

static bool is_true(nexus_request *request, const char *name)
{
    nexus_slice v;
    return nexus_request_query_param(request, name, &v) &&
           ((v.n == 4 && memcmp(v.p, "true", 4) == 0) || (v.n == 1 && v.p[0] == '1'));
}

/* False, with the answer given, for an encoding that is not known. */
static bool read_encoding(nexus_request *request, uint32_t *flags)
{
    nexus_slice v;
    if (!nexus_request_header(request, "content-encoding", &v) || (v.n == 8 && starts(v, "identity")))
        return true;
    if (v.n == 4 && starts(v, "gzip"))
        *flags |= NEXUS_INGEST_GZIP;
    else if (v.n == 7 && starts(v, "deflate"))
        *flags |= NEXUS_INGEST_DEFLATE;
    else {
        nexus_request_set_header(request, "Accept-Encoding", NEXUS_S("gzip, deflate"));
        nexus_request_problem_text(request, 415, "encoding-unknown", "Content-Encoding is gzip or deflate.");
        return false;
    }
    return true;
}

static bool read_call(nexus_request *request, nexus_ingest_call *call)
{
    nexus_slice type = {"", 0}, results;
    call->flags |= is_true(request, "atomic") ? NEXUS_INGEST_ATOMIC : 0;
    call->flags |= is_true(request, "strict_time") ? NEXUS_INGEST_STRICT_TIME : 0;
    call->flags |= is_true(request, "fix_skew") ? NEXUS_INGEST_FIX_SKEW : 0;
    if (nexus_request_query_param(request, "results", &results) && results.n == 3 && memcmp(results.p, "all", 3) == 0)
        call->flags |= NEXUS_INGEST_ALL_RESULTS;
    (void)nexus_request_header(request, "content-type", &type);
    if (starts(type, "application/x-ndjson") || starts(type, "application/jsonl"))
        call->flags |= NEXUS_INGEST_NDJSON;
    return read_encoding(request, &call->flags);
}

static void count(analytics *a, const nexus_ingest_counts *c)
{
    nexus_metric_add(a->accepted, c->accepted);
    nexus_metric_add(a->duplicate, c->duplicate);
    nexus_metric_add(a->rejected, c->rejected);
}

/* 422 with every refusal, as far as a person reads them. In a batch the pointer begins with the event's index. */
static void refuse_events(nexus_request *request, const nexus_ingest_result *result, bool batch, const char *detail)
{
    nexus_problem_error errors[ERRORS_SHOWN];
    char(*texts)[512] = nexus_request_alloc(request, ERRORS_SHOWN * sizeof *texts);
    nexus_ingest_error e = {sizeof e, 0, {0, 0}, {0, 0}, {0, 0}};
    size_t n = 0;
    for (; texts && n < ERRORS_SHOWN && nexus_ingest_result_error(result, n, &e); n++) {
        char *pointer = texts[n], *code = texts[n] + 200, *message = texts[n] + 240;
        if (batch)
            snprintf(pointer, 200, "/%u%.*s", e.index, (int)e.field.n, e.field.p);
        else
            snprintf(pointer, 200, "%.*s", (int)e.field.n, e.field.p);
        snprintf(code, 40, "%.*s", (int)e.code.n, e.code.p);
        snprintf(message, 270, "%.*s", (int)e.message.n, e.message.p);
        errors[n] = (nexus_problem_error){pointer, code, message};
    }
    nexus_request_problem_errors(request, 422, batch || n == 0 ? "invalid-events" : errors[0].code, detail, errors, n);
}

static void take_event(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    nexus_ingest_call call = NEXUS_INGEST_CALL_INIT;
    nexus_ingest_counts counts = NEXUS_INGEST_COUNTS_INIT;
    nexus_ingest_result *result;
    nexus_slice body, json;
    if (!may_write(a, request) || !read_call(request, &call))
        return;
    nexus_request_body(request, &body);
    nexus_status st = nexus_ingest_event(a->ingest, body, &call, &result);
    if (st != NEXUS_OK) {
        analytics_refuse(request, st);
        return;
    }
    nexus_ingest_result_counts(result, &counts);
    count(a, &counts);
    nexus_request_set_header(request, "Nexus-Durability", NEXUS_S("fsync"));
    json.p = nexus_ingest_result_json(result, &json.n);
    if (counts.rejected)
        refuse_events(request, result, false, "The event was not taken; see errors.");
    else
        nexus_request_reply(request, counts.accepted ? 202 : 200, "application/json", json);
    nexus_ingest_result_free(result);
}

static void take_batch(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    nexus_ingest_call call = NEXUS_INGEST_CALL_INIT;
    nexus_ingest_counts counts = NEXUS_INGEST_COUNTS_INIT;
    nexus_ingest_result *result;
    nexus_slice body, json;
    if (!may_write(a, request) || !read_call(request, &call))
        return;
    nexus_request_body(request, &body);
    nexus_status st = nexus_ingest_batch(a->ingest, body, &call, &result);
    if (st != NEXUS_OK) {
        analytics_refuse(request, st);
        return;
    }
    nexus_ingest_result_counts(result, &counts);
    count(a, &counts);
    nexus_request_set_header(request, "Nexus-Durability", NEXUS_S("fsync"));
    json.p = nexus_ingest_result_json(result, &json.n);
    if ((call.flags & NEXUS_INGEST_ATOMIC) && counts.rejected)
        refuse_events(request, result, true, "Nothing was stored: with atomic=true every event must be valid.");
    else
        nexus_request_reply(request, 200, "application/json", json);
    nexus_ingest_result_free(result);
}

/* --- looking --------------------------------------------------------------------------------- */

static void show_stats(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    char *text;
    size_t n;
    nexus_status st = nexus_ingest_stats(a->ingest, &text, &n);
    if (st != NEXUS_OK)
        analytics_refuse(request, st);
    else
        analytics_answer(request, text, n);
}

static void show_rejected(nexus_request *request, void *user_data)
{
    analytics *a = user_data;
    nexus_slice code = {"", 0}, after, limit;
    char number[24] = "", *text;
    size_t n;
    uint64_t from = 0;
    uint32_t most = 0;
    (void)nexus_request_query_param(request, "code", &code);
    if (nexus_request_query_param(request, "after", &after)) {
        snprintf(number, sizeof number, "%.*s", (int)(after.n < 20 ? after.n : 20), after.p);
        from = strtoull(number, NULL, 10);
    }
    if (nexus_request_query_param(request, "limit", &limit)) {
        snprintf(number, sizeof number, "%.*s", (int)(limit.n < 9 ? limit.n : 9), limit.p);
        most = (uint32_t)strtoul(number, NULL, 10);
    }
    nexus_status st = nexus_ingest_rejected(a->ingest, code, from, most, &text, &n);
    if (st != NEXUS_OK)
        analytics_refuse(request, st);
    else
        analytics_answer(request, text, n);
}

/* --- the table ------------------------------------------------------------------------------- */

#define BOOLEAN "{\"type\":\"boolean\"}"

static const nexus_param call_params[] = {
    {"strict_time", "query", BOOLEAN, "An unreadable timestamp refuses the event.", false},
    {"fix_skew", "query", BOOLEAN, "Correct timestamp by the sender's clock error (sent_at).", false},
};
static const nexus_param batch_params[] = {
    {"atomic", "query", BOOLEAN, "One invalid event refuses the whole batch (422).", false},
    {"results", "query", "{\"type\":\"string\",\"enum\":[\"all\"]}", "all: list accepted events too.", false},
    {"strict_time", "query", BOOLEAN, "An unreadable timestamp refuses the event.", false},
    {"fix_skew", "query", BOOLEAN, "Correct timestamp by the sender's clock error (sent_at).", false},
};
static const nexus_param rejected_params[] = {
    {"code", "query", NULL, "Only this code.", false},
    {"after", "query", "{\"type\":\"integer\",\"minimum\":0}", "Only later ones: the `next` of the last answer.", false},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000}", "At most so many; 100.", false},
};
static const nexus_reply_doc event_replies[] = {{202, "Durable.", "{\"type\":\"object\"}"},
                                                {200, "Its id was taken before.", "{\"type\":\"object\"}"},
                                                {422, "Not taken; errors[] has the codes.", NULL},
                                                {429, "The queue is full.", NULL}};
static const nexus_reply_doc batch_replies[] = {{200, "The fate of each event.", "{\"type\":\"object\"}"},
                                                {422, "With atomic=true: nothing was stored.", NULL},
                                                {429, "The queue is full.", NULL}};
static const nexus_reply_doc object_replies[] = {{200, "The document.", "{\"type\":\"object\"}"}};

#define COUNT(x) (sizeof(x) / sizeof *(x))

nexus_status analytics_ingest_routes(analytics *a)
{
    const nexus_route routes[] = {
        {.size = sizeof(nexus_route),
         .method = "POST",
         .path = "/api/v1/ingest/event",
         .handler = take_event,
         .user_data = a,
         .body_max = EVENT_BODY_MAX,
         .operation_id = "ingestEvent",
         .summary = "Take one event "
                    "{id?,event,user_id?,anonymous_id?,timestamp?,sent_at?,session_id?,properties?,context?}; "
                    "durable before 202. Write key or operator token.",
         .tag = "ingest",
         .roles = "public",
         .body_types = "application/json,text/plain",
         .params = call_params,
         .param_count = COUNT(call_params),
         .replies = event_replies,
         .reply_count = COUNT(event_replies)},
        {.size = sizeof(nexus_route),
         .method = "POST",
         .path = "/api/v1/ingest/events/batch",
         .handler = take_batch,
         .user_data = a,
         .body_max = BATCH_MAX_BYTES,
         .operation_id = "ingestBatch",
         .summary = "Take up to 10,000 events: {sent_at?,events:[…]}, an array, or NDJSON; each has its own "
                    "fate. Write "
                    "key or operator token.",
         .tag = "ingest",
         .roles = "public",
         .body_types = "application/json,application/x-ndjson,application/jsonl,text/plain",
         .params = batch_params,
         .param_count = COUNT(batch_params),
         .replies = batch_replies,
         .reply_count = COUNT(batch_replies)},
        {.size = sizeof(nexus_route),
         .method = "GET",
         .path = "/api/v1/ingest/stats",
         .handler = show_stats,
         .user_data = a,
         .operation_id = "ingestStats",
         .summary = "Counters of ingestion since the start of the server",
         .tag = "ingest",
         .permission = "analytics:read",
         .replies = object_replies,
         .reply_count = 1},
        {.size = sizeof(nexus_route),
         .method = "GET",
         .path = "/api/v1/ingest/rejected",
         .handler = show_rejected,
         .user_data = a,
         .operation_id = "ingestRejected",
         .summary = "Refused events, verbatim, oldest first",
         .tag = "ingest",
         .permission = "analytics:read",
         .params = rejected_params,
         .param_count = COUNT(rejected_params),
         .replies = object_replies,
         .reply_count = 1},
    };
    return nexus_service_route(a->service, routes, COUNT(routes));
}
