/* POST /api/v1/copilot/chat */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "wording.h"

#define WORD_BYTES 12 /* of a streamed piece of the answer, about */

/* One question on its way to its answer. */
typedef struct chat {
    copilot *c;
    nexus_request *request;
    copilot_intent intent;
    copilot_answer now, before;
    bool asked_now, asked_before;
    char conversation[80];
    char text[COPILOT_TEXT_MAX];
} chat;

/* --- the answer document --------------------------------------------------------------------- */

static void put_citation(nexus_json_writer *w, const copilot_intent *in, copilot_answer *a)
{
    nexus_slice id = {"", 0};
    (void)nexus_json_text(a->doc, nexus_json_get(a->doc, NEXUS_JSON_ROOT, "query_id"), &id);
    nexus_json_open_object(w, NULL);
    nexus_json_put_text(w, "query_id", id);
    copilot_value(w, "value", in, a);
    nexus_json_put_raw(w, "query", (nexus_slice){a->query, strlen(a->query)});
    nexus_json_close(w);
}

static void put_chart(nexus_json_writer *w, chat *t)
{
    nexus_slice points;
    if (!t->asked_now || !t->intent.interval)
        return;
    nexus_json_raw(t->now.doc, copilot_answer_points(&t->now), &points);
    nexus_json_open_object(w, "chart");
    nexus_json_put_text_c(w, "type", "line");
    nexus_json_put_text_c(w, "title", t->intent.metric->noun);
    nexus_json_put_raw(w, "points", points.n ? points : NEXUS_S("[]"));
    nexus_json_close(w);
}

static nexus_json_writer *write_answer(chat *t)
{
    nexus_json_writer *w;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return NULL;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "answer", t->text);
    if (t->asked_now)
        copilot_value(w, "value", &t->intent, &t->now);
    else
        nexus_json_put_null(w, "value");
    nexus_json_open_array(w, "citations");
    if (t->asked_now)
        put_citation(w, &t->intent, &t->now);
    if (t->asked_before)
        put_citation(w, &t->intent, &t->before);
    nexus_json_close(w);
    put_chart(w, t);
    if (!t->intent.metric) {
        nexus_json_open_array(w, "suggestions");
        for (size_t i = 0; i < copilot_example_count; i++)
            nexus_json_put_text_c(w, NULL, copilot_examples[i]);
        nexus_json_close(w);
    }
    nexus_json_put_text_c(w, "conversation_id", t->conversation);
    nexus_json_close(w);
    return w;
}

/* --- sending --------------------------------------------------------------------------------- */

static bool wants_stream(nexus_request *request)
{
    nexus_slice accept;
    char text[256];
    if (!nexus_request_header(request, "accept", &accept))
        return false;
    snprintf(text, sizeof text, "%.*s", (int)(accept.n < 255 ? accept.n : 255), accept.p);
    return strstr(text, "text/event-stream") != NULL;
}

static nexus_status send_tool(chat *t, copilot_answer *a)
{
    nexus_json_writer *w;
    nexus_slice data;
    nexus_status st = nexus_sse_send(t->request, "tool_call", NULL, (nexus_slice){a->query, strlen(a->query)});
    if (st != NEXUS_OK || (st = nexus_json_writer_new(&w)) != NEXUS_OK)
        return st;
    put_citation(w, &t->intent, a);
    data.p = nexus_json_writer_text(w, &data.n);
    st = data.p ? nexus_sse_send(t->request, "tool_result", NULL, data) : NEXUS_ENOMEM;
    nexus_json_writer_free(w);
    return st;
}

/* The text in pieces of a few words, each a JSON string, so that a piece may hold any character. */
static nexus_status send_text(chat *t)
{
    nexus_status st = NEXUS_OK;
    for (const char *at = t->text; *at && st == NEXUS_OK;) {
        nexus_json_writer *w;
        nexus_slice data;
        size_t n = strnlen(at, WORD_BYTES);
        n += strcspn(at + n, " ");
        if ((st = nexus_json_writer_new(&w)) != NEXUS_OK)
            break;
        nexus_json_open_object(w, NULL);
        nexus_json_put_text(w, "text", (nexus_slice){at, n});
        nexus_json_close(w);
        data.p = nexus_json_writer_text(w, &data.n);
        st = data.p ? nexus_sse_send(t->request, "delta", NULL, data) : NEXUS_ENOMEM;
        nexus_json_writer_free(w);
        at += n;
    }
    return st;
}

static void send_stream(chat *t, nexus_slice document)
{
    nexus_status st = nexus_sse_start(t->request);
    if (st != NEXUS_OK)
        return;
    if (t->asked_now)
        st = send_tool(t, &t->now);
    if (st == NEXUS_OK && t->asked_before)
        st = send_tool(t, &t->before);
    if (st == NEXUS_OK)
        st = send_text(t);
    if (st == NEXUS_OK)
        st = nexus_sse_send(t->request, "done", NULL, document);
    nexus_request_stream_end(t->request);
}

static void send_answer(chat *t)
{
    nexus_slice document = {NULL, 0};
    nexus_json_writer *w = write_answer(t);
    if (w)
        document.p = nexus_json_writer_text(w, &document.n);
    if (!document.p)
        nexus_request_problem_text(t->request, 503, "out-of-memory", "Try again.");
    else if (wants_stream(t->request))
        send_stream(t, document);
    else
        nexus_request_reply(t->request, 200, "application/json", document);
    nexus_json_writer_free(w);
}

/* --- asking ---------------------------------------------------------------------------------- */

/* True when there is an answer to word; otherwise the request is answered. */
static bool ask(chat *t, copilot_answer *a, int64_t back_ms)
{
    nexus_status st = copilot_ask(a, t->c, t->request, &t->intent, back_ms);
    if (st == NEXUS_OK && a->doc)
        return true;
    if (a->status == 401 || a->status == 403)
        nexus_request_problem_text(t->request, a->status, a->status == 401 ? "token-invalid" : "role-missing",
                                   "The analytics server refused your token.");
    else if (a->status == 0)
        nexus_request_problem_text(t->request, 503, "analytics-unreachable", nexus_error_message());
    else
        nexus_request_problem(t->request, 502, "analytics-failed", "The analytics server answered %u.", a->status);
    return false;
}

static void say_unknown(chat *t)
{
    snprintf(t->text, sizeof t->text, "%s Try one of: %s; %s; %s; %s; %s.",
             t->intent.help
                 ? "I answer from the events that analytics holds: orders, payments, revenue, users, logins, page "
                   "views, notifications, alerts, by time, by page, status or other properties."
                 : "I did not understand that, and I do not guess.",
             copilot_examples[0], copilot_examples[1], copilot_examples[2], copilot_examples[4], copilot_examples[5]);
}

static void answer(chat *t)
{
    bool closed = t->intent.from_ms != INT64_MIN && t->intent.to_ms != INT64_MAX;
    bool known = t->intent.metric && !t->intent.help;
    nexus_metric_add(known ? t->c->understood : t->c->unknown, 1);
    if (!known) {
        t->intent.metric = NULL;
        say_unknown(t);
        send_answer(t);
        return;
    }
    t->asked_now = ask(t, &t->now, 0);
    if (!t->asked_now)
        return;
    if (t->intent.compare && closed && !t->intent.dimension[0] && !t->intent.interval) {
        t->asked_before = ask(t, &t->before, t->intent.to_ms - t->intent.from_ms);
        if (!t->asked_before)
            return;
    }
    copilot_wording(t->text, &t->intent, &t->now, t->asked_before ? &t->before : NULL);
    send_answer(t);
}

/* --- the route ------------------------------------------------------------------------------- */

static void read_conversation(chat *t, nexus_json *body)
{
    nexus_slice id;
    if (nexus_json_text(body, nexus_json_get(body, NEXUS_JSON_ROOT, "conversation_id"), &id) && id.n > 0 && id.n <= 64)
        snprintf(t->conversation, sizeof t->conversation, "%.*s", (int)id.n, id.p);
    else
        nexus_id_make(t->conversation);
}

static void handle(nexus_request *request, void *user_data)
{
    nexus_slice text, message;
    nexus_json *body = NULL;
    chat *t = calloc(1, sizeof *t);
    if (!t) {
        nexus_request_problem_text(request, 503, "out-of-memory", "Try again.");
        return;
    }
    t->c = user_data;
    t->request = request;
    nexus_request_body(request, &text);
    if (nexus_json_parse(&body, text) != NEXUS_OK) {
        nexus_request_problem_text(request, 400, "malformed", nexus_error_message());
    } else if (!nexus_json_text(body, nexus_json_get(body, NEXUS_JSON_ROOT, "message"), &message) || message.n == 0) {
        const nexus_problem_error error = {"/message", "required", "message is the question, a text"};
        nexus_request_problem_errors(request, 422, "invalid", "A message is needed.", &error, 1);
    } else {
        read_conversation(t, body);
        copilot_intent_read(&t->intent, message, nexus_time_now_ns() / 1000000);
        answer(t);
    }
    copilot_answer_free(&t->now);
    copilot_answer_free(&t->before);
    nexus_json_free(body);
    free(t);
}

static const char body_schema[] =
    "{\"type\":\"object\",\"required\":[\"message\"],\"properties\":{"
    "\"message\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":2000},"
    "\"conversation_id\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":64}},\"additionalProperties\":false}";
static const char answer_schema[] = "{\"type\":\"object\",\"properties\":{\"answer\":{\"type\":\"string\"},\"value\":{}"
                                    ",\"citations\":{\"type\":\"array\"},"
                                    "\"conversation_id\":{\"type\":\"string\"}}}";
static const nexus_reply_doc replies[] = {
    {200, "The answer with its citations; with Accept: text/event-stream as tool_call, tool_result, delta and done.",
     answer_schema},
    {503, "The analytics server does not answer.", NULL}};

nexus_status copilot_chat_routes(copilot *c)
{
    const nexus_route route = {.size = sizeof route,
                               .method = "POST",
                               .path = "/api/v1/copilot/chat",
                               .handler = handle,
                               .user_data = c,
                               .operation_id = "copilotChat",
                               .summary = "Ask in plain words",
                               .tag = "copilot",
                               .permission = "copilot:chat",
                               .body_schema = body_schema,
                               .replies = replies,
                               .reply_count = 2};
    return nexus_service_route(c->service, &route, 1);
}
