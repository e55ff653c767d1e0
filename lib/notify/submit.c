/* Accepting a request: read, check everything, render, then one transaction that writes notification and deliveries. */
#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "crypto/hash.h"
#include "notify/notify.h"
#include "json/read.h"

enum { KEY_MAX = 255, SUBJECT_MAX = 900, CHANNELS_MAX = 6, YEAR_S = 31536000 };

nexus_status nexus__notify_refuse(nexus_notify_report *report, nexus_status status, const char *code,
                                  const char *pointer, const char *format, ...)
{
    char text[480];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (report) {
        snprintf(report->code, sizeof report->code, "%s", code);
        snprintf(report->pointer, sizeof report->pointer, "%s", pointer);
    }
    return nexus__fail(status, "%s", text);
}

typedef struct request {
    nexus_notify *notify;
    nexus_notify_report *report;
    nexus__json *doc;
    nexus_slice email, endpoint, data, template_id, category, topic;
    nexus__new_notification row;
    const nexus__channel *channels[CHANNELS_MAX];
    size_t channel_count;
    nexus__rendered rendered;
    nexus_slice subject, text, html;
    bool critical;
    int64_t due_ns, expires_ns;
} request;

/* --- reading ------------------------------------------------------------------------------------ */

static nexus_status wrong(const request *r, const char *pointer, const char *text)
{
    return nexus__notify_refuse(r->report, NEXUS_EINVAL, "field-invalid", pointer, "%s: %s", pointer + 1, text);
}

/* An optional text member; false when it is there and no string. */
static bool optional_text(request *r, uint32_t object, const char *name, nexus_slice *out)
{
    uint32_t v = nexus__json_get(r->doc, object, name);
    return v == NEXUS__JSON_NONE || nexus__json_text(r->doc, v, out);
}

static nexus_status read_recipient(request *r)
{
    uint32_t to = nexus__json_get(r->doc, 0, "to");
    if (nexus__json_is(r->doc, to, NEXUS__JSON_STRING)) {
        if (!nexus__json_text(r->doc, to, &r->email))
            return nexus__nomem();
    } else if (nexus__json_is(r->doc, to, NEXUS__JSON_OBJECT)) {
        if (!optional_text(r, to, "email", &r->email))
            return wrong(r, "/to/email", "must be a string");
        if (!optional_text(r, to, "user_id", &r->row.user_id))
            return wrong(r, "/to/user_id", "must be a string");
        if (!optional_text(r, to, "endpoint", &r->endpoint))
            return wrong(r, "/to/endpoint", "must be the id of a webhook endpoint");
    } else {
        return wrong(r, "/to", "give an e-mail address, or an object with email, user_id or endpoint");
    }
    return NEXUS_OK;
}

static nexus_status add_channel(request *r, nexus_slice name, uint32_t index)
{
    char pointer[32];
    snprintf(pointer, sizeof pointer, "/channels/%u", index);
    const nexus__channel *channel = nexus__channel_find(name);
    if (!channel)
        return nexus__notify_refuse(r->report, NEXUS_EINVAL, "channel-unknown", pointer,
                                    "there is no channel \"%.*s\": email, webhook, sms, push, slack, discord",
                                    (int)(name.n > 40 ? 40 : name.n), name.p);
    if (!channel->configured || !channel->configured(r->notify))
        return nexus__notify_refuse(r->report, NEXUS_ENOTSUP, "channel-not-configured", pointer,
                                    "the channel %s is not configured on this server", channel->name);
    for (size_t i = 0; i < r->channel_count; i++)
        if (r->channels[i] == channel)
            return wrong(r, pointer, "the channel is named twice");
    if (r->channel_count == CHANNELS_MAX)
        return wrong(r, pointer, "too many channels");
    r->channels[r->channel_count++] = channel;
    return NEXUS_OK;
}

static nexus_status read_channels(request *r)
{
    uint32_t list = nexus__json_get(r->doc, 0, "channels");
    nexus_status status = NEXUS_OK;
    if (list == NEXUS__JSON_NONE)
        return add_channel(r, r->endpoint.n && !r->email.n ? NEXUS_S("webhook") : NEXUS_S("email"), 0);
    if (!nexus__json_is(r->doc, list, NEXUS__JSON_ARRAY) || nexus__json_count(r->doc, list) == 0)
        return wrong(r, "/channels", "must list at least one channel");
    for (nexus__json_iter it = nexus__json_each(r->doc, list); status == NEXUS_OK && nexus__json_step(r->doc, &it);) {
        nexus_slice name;
        if (!nexus__json_text(r->doc, it.value, &name))
            return wrong(r, "/channels", "must list names of channels");
        status = add_channel(r, name, it.index);
    }
    return status;
}

static nexus_status check_recipient(request *r)
{
    for (size_t i = 0; i < r->channel_count; i++) {
        if (r->channels[i] == &nexus__channel_email && !nexus__mail_address_valid(r->email))
            return nexus__notify_refuse(r->report, NEXUS_EINVAL, "email-invalid", "/to/email",
                                        "to.email must be an address such as ada@example.com");
        if (r->channels[i] == &nexus__channel_webhook && r->endpoint.n == 0)
            return wrong(r, "/to/endpoint", "the webhook channel needs the id of an endpoint");
    }
    return NEXUS_OK;
}

static nexus_status read_times(request *r)
{
    int64_t ttl_s = r->notify->ttl_s, send_at_ns = 0;
    nexus_slice text = NEXUS_S("");
    uint32_t ttl = nexus__json_get(r->doc, 0, "ttl_s");
    if (ttl != NEXUS__JSON_NONE && (!nexus__json_i64(r->doc, ttl, &ttl_s) || ttl_s < 1 || ttl_s > 30 * 86400))
        return wrong(r, "/ttl_s", "must be 1 to 2592000 seconds");
    r->due_ns = r->row.now_ns;
    if (!optional_text(r, 0, "send_at", &text) || (text.n && !nexus__parse_rfc3339(text, &send_at_ns)))
        return wrong(r, "/send_at", "must be a time such as 2026-11-23T20:00:00Z");
    if (send_at_ns > r->row.now_ns + (int64_t)YEAR_S * NEXUS__NS_PER_S)
        return wrong(r, "/send_at", "must be within one year");
    if (send_at_ns > r->due_ns)
        r->due_ns = send_at_ns;
    r->expires_ns = r->due_ns + ttl_s * NEXUS__NS_PER_S;
    return NEXUS_OK;
}

static nexus_status read_meta(request *r)
{
    uint32_t data = nexus__json_get(r->doc, 0, "data"), critical = nexus__json_get(r->doc, 0, "critical");
    r->category = NEXUS_S("general");
    r->topic = NEXUS_S("notification");
    if (data != NEXUS__JSON_NONE && !nexus__json_is(r->doc, data, NEXUS__JSON_OBJECT))
        return wrong(r, "/data", "must be an object");
    r->data = data == NEXUS__JSON_NONE ? NEXUS_S("{}") : nexus__json_raw(r->doc, data);
    if (!optional_text(r, 0, "category", &r->category) || r->category.n == 0 || r->category.n > 100)
        return wrong(r, "/category", "must be a word of at most 100 bytes");
    if (!optional_text(r, 0, "topic", &r->topic) || r->topic.n == 0 || r->topic.n > 100)
        return wrong(r, "/topic", "must be an event type of at most 100 bytes");
    if (critical != NEXUS__JSON_NONE && !nexus__json_bool(r->doc, critical, &r->critical))
        return wrong(r, "/critical", "must be true or false");
    return NEXUS_OK;
}

/* --- the content --------------------------------------------------------------------------------- */

static nexus_status check_subject(request *r)
{
    for (size_t i = 0; i < r->subject.n; i++)
        if ((uint8_t)r->subject.p[i] < 0x20 || r->subject.p[i] == 0x7f)
            return nexus__notify_refuse(r->report, NEXUS_EINVAL, "header-injection", "/content/subject",
                                        "content.subject holds a control character: a subject is one line");
    if (r->subject.n == 0 || r->subject.n > SUBJECT_MAX)
        return wrong(r, "/content/subject", "must have 1 to 900 bytes");
    return NEXUS_OK;
}

static nexus_status read_content(request *r, uint32_t content)
{
    if (!nexus__json_is(r->doc, content, NEXUS__JSON_OBJECT))
        return wrong(r, "/content", "must be an object with subject, and text or html");
    if (!optional_text(r, content, "subject", &r->subject) || !optional_text(r, content, "text", &r->text) ||
        !optional_text(r, content, "html", &r->html))
        return wrong(r, "/content", "subject, text and html must be strings");
    if (r->text.n == 0 && r->html.n == 0)
        return wrong(r, "/content/text", "give text or html");
    return check_subject(r);
}

static nexus_status render_content(request *r)
{
    nexus_status status = nexus__template_render(&r->rendered, r->notify, r->notify->db, r->template_id, r->data);
    if (status == NEXUS_ENOTFOUND)
        return nexus__notify_refuse(r->report, NEXUS_EINVAL, "template-unknown", "/template", "%s",
                                    nexus_error_message());
    if (status == NEXUS_EINVAL || status == NEXUS_ETOOBIG || status == NEXUS_EPERM)
        return nexus__notify_refuse(r->report, NEXUS_EINVAL, "template-fails", "/data", "%s", nexus_error_message());
    if (status != NEXUS_OK)
        return status;
    r->subject = nexus__slice_c(r->rendered.subject);
    r->text = nexus__slice_c(r->rendered.text);
    r->html = nexus__slice_c(r->rendered.html);
    return NEXUS_OK;
}

static nexus_status find_content(request *r)
{
    uint32_t content = nexus__json_get(r->doc, 0, "content"), tpl = nexus__json_get(r->doc, 0, "template");
    if ((content == NEXUS__JSON_NONE) == (tpl == NEXUS__JSON_NONE))
        return wrong(r, "/template", "give either template or content");
    if (content != NEXUS__JSON_NONE)
        return read_content(r, content);
    if (!nexus__json_text(r->doc, tpl, &r->template_id))
        return wrong(r, "/template", "must be the id of a template");
    return render_content(r);
}

/* --- writing -------------------------------------------------------------------------------------- */

static nexus_status webhook_body(request *r, nexus__buf *body)
{
    char at[32];
    size_t n = nexus__format_rfc3339(r->row.now_ns, at);
    nexus__buf_text(body, "{\"type\":\"");
    for (size_t i = 0; i < r->topic.n; i++) /* a type is of plain characters; others are left out */
        if ((uint8_t)r->topic.p[i] > 0x20 && r->topic.p[i] != '"' && r->topic.p[i] != '\\')
            nexus__buf_char(body, r->topic.p[i]);
    nexus__buf_text(body, "\",\"timestamp\":\"");
    nexus__buf_append(body, at, n);
    nexus__buf_text(body, "\",\"data\":");
    nexus__buf_slice_append(body, r->data);
    nexus__buf_char(body, '}');
    return body->status;
}

/* The endpoint must be the owner's, or everybody's when an operator registered it and asks. */
static nexus_status insert_webhook(request *r, nexus_db *tx, nexus__new_delivery *d)
{
    nexus_rows *rows = NULL;
    nexus__buf body;
    nexus_status status = nexus_db_query_one(
        &rows, tx, "SELECT url FROM notify_endpoints WHERE id = $1 AND owner = $2 AND disabled_at = 0",
        (nexus_value[]){NEXUS_TEXT(r->endpoint), NEXUS_TEXT(r->row.owner)}, 2);
    if (status == NEXUS_ENOTFOUND)
        return nexus__notify_refuse(r->report, NEXUS_EINVAL, "endpoint-unknown", "/to/endpoint",
                                    "you have no such endpoint, or it is disabled");
    if (status != NEXUS_OK)
        return status;
    nexus__buf_init(&body, r->notify->alloc, 0);
    status = webhook_body(r, &body);
    d->recipient = nexus__cell(rows, 0);
    d->endpoint_id = r->endpoint;
    d->text = nexus__buf_slice(&body);
    if (status == NEXUS_OK)
        status = nexus__insert_delivery(tx, &r->row, d);
    nexus__buf_free(&body);
    nexus_rows_free(rows);
    return status;
}

static nexus_status insert_one(request *r, nexus_db *tx, const nexus__channel *channel)
{
    bool wanted = true;
    nexus__new_delivery d = {.channel = nexus__slice_c(channel->name), .due_ns = r->due_ns, .expires_ns = r->expires_ns};
    d.recipient = r->email;
    nexus_slice whom = channel == &nexus__channel_email ? r->email : r->endpoint;
    nexus_status status = nexus__preference(tx, whom, r->category, d.channel, &wanted);
    if (status != NEXUS_OK)
        return status;
    d.status = wanted || r->critical ? "queued" : "suppressed";
    if (channel == &nexus__channel_webhook) {
        d.expires_ns = INT64_MAX; /* the schedule is the limit */
        return insert_webhook(r, tx, &d);
    }
    d.subject = r->subject;
    d.text = r->text;
    d.html = r->html;
    return nexus__insert_delivery(tx, &r->row, &d);
}

static nexus_status insert_all(request *r)
{
    nexus_db *tx = NULL;
    nexus_status status = nexus_db_begin(&tx, r->notify->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__insert_notification(tx, &r->row);
    for (size_t i = 0; status == NEXUS_OK && i < r->channel_count; i++)
        status = insert_one(r, tx, r->channels[i]);
    return nexus__notify_finish(tx, status);
}

static nexus_status read_all(request *r)
{
    if (!nexus__json_is(r->doc, 0, NEXUS__JSON_OBJECT))
        return nexus__notify_refuse(r->report, NEXUS_EINVAL, "json-invalid", "", "the request must be an object");
    nexus_status status = read_recipient(r);
    if (status == NEXUS_OK)
        status = read_channels(r);
    if (status == NEXUS_OK)
        status = check_recipient(r);
    if (status == NEXUS_OK)
        status = read_meta(r);
    if (status == NEXUS_OK)
        status = read_times(r);
    if (status == NEXUS_OK)
        status = find_content(r);
    r->row.template_id = r->template_id;
    r->row.category = r->category;
    return status;
}

/* --- idempotency ----------------------------------------------------------------------------------- */

static nexus_status replay(char **out, size_t *n, const request *r)
{
    nexus_rows *rows = NULL;
    nexus_status status = nexus_db_query_one(&rows, r->notify->db,
                                             "SELECT id, request_hash FROM notify_notifications WHERE idem_key = $1",
                                             (nexus_value[]){NEXUS_TEXT(r->row.key)}, 1);
    if (status != NEXUS_OK)
        return status;
    if (!nexus__slice_eq(nexus__cell(rows, 1), r->row.request_hash))
        status = nexus__notify_refuse(r->report, NEXUS_ECONFLICT, "idempotency-key-reused", "",
                                      "the idempotency key was used with another request");
    else
        status = nexus__view_submitted(out, n, r->notify->db, nexus__cell(rows, 0));
    if (status == NEXUS_OK && r->report)
        r->report->replayed = true;
    nexus_rows_free(rows);
    return status;
}

static nexus_status submit(char **out, size_t *n, request *r)
{
    nexus_status status = NEXUS_ENOTFOUND;
    if (r->row.key.n > 0)
        status = replay(out, n, r);
    if (status != NEXUS_ENOTFOUND)
        return status;
    status = read_all(r);
    if (status == NEXUS_OK)
        status = insert_all(r);
    if (status == NEXUS_ECONFLICT && r->row.key.n > 0) /* the same call, at the same time */
        return replay(out, n, r);
    if (status != NEXUS_OK)
        return status;
    nexus__dispatch_wake(r->notify);
    return nexus__view_submitted(out, n, r->notify->db, nexus__slice_c(r->row.id));
}

static nexus_status hash_request(nexus_slice text, char hex[static 65])
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_status status = nexus__hash(NEXUS__SHA256, text, digest);
    for (size_t i = 0; status == NEXUS_OK && i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return status;
}

nexus_status nexus_notify_submit(char **out, size_t *n, nexus_notify *notify, nexus_slice request_text,
                                 nexus_slice owner, nexus_slice key, nexus_notify_report *report)
{
    nexus__json doc;
    char hash[65], full_key[600];
    size_t unused = 0;
    if (report)
        *report = (nexus_notify_report)NEXUS_NOTIFY_REPORT_INIT;
    nexus__json_init(&doc, notify->alloc);
    request r = {.notify = notify, .report = report, .doc = &doc, .row = {.owner = owner, .now_ns = nexus__real_ns()}};
    nexus_status status = nexus__json_scan(&doc, request_text, NULL);
    if (status != NEXUS_OK)
        status = nexus__notify_refuse(report, NEXUS_EINVAL, "json-invalid", "", "%s", nexus_error_message());
    else
        status = hash_request(request_text, hash);
    if (status == NEXUS_OK && key.n == 0)
        nexus__json_get_text(&doc, 0, "idempotency_key", &key);
    if (status == NEXUS_OK && (key.n > KEY_MAX || owner.n > KEY_MAX))
        status = wrong(&r, "/idempotency_key", "has at most 255 bytes");
    if (status == NEXUS_OK) {
        int len =
            key.n ? snprintf(full_key, sizeof full_key, "call\n%.*s\n%.*s", (int)owner.n, owner.p, (int)key.n, key.p)
                  : 0;
        r.row.key = nexus__slice(full_key, (size_t)len);
        r.row.request_hash = nexus__slice(hash, 64);
        status = submit(out, n ? n : &unused, &r);
    }
    nexus__rendered_free(&r.rendered);
    nexus__json_free(&doc);
    return status;
}
