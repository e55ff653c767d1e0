/* Events of the system turned into notifications: one row of the table for each kind of mail. */
#include <stdio.h>

#include <nexus/event.h>
#include <nexus/secret.h>

#include "base/status.h"
#include "base/time.h"
#include "notify/notify.h"
#include "json/read.h"
#include "json/write.h"

static const struct {
    const char *type, *stage; /* stage: data.stage must be this; NULL = any */
    const char *template_id, *category;
} mails[] = {
    {"order.confirmed", NULL, "order-confirmed", "order"},
    {"order.cancelled", NULL, "order-cancelled", "order"},
    {"user.registered", NULL, "user-registered", "account"},
    {"user.verification", "requested", "verify-address", "security"},
    {"user.verification", "exists", "account-exists", "security"},
    {"user.password_reset", "requested", "password-reset", "security"},
    {"user.password_reset", "confirmed", "password-changed", "security"},
};

/* Events that webhooks may get: accounts and their codes are nobody else's business. */
static const char *const shared[] = {"order.", "payment."};

/* ISO 4217 minor units where they are not two. */
static const struct {
    const char *currency;
    int digits;
} minor_units[] = {
    {"BIF", 0}, {"CLP", 0}, {"DJF", 0}, {"GNF", 0}, {"ISK", 0}, {"JPY", 0}, {"KMF", 0}, {"KRW", 0},
    {"PYG", 0}, {"RWF", 0}, {"UGX", 0}, {"VND", 0}, {"VUV", 0}, {"XAF", 0}, {"XOF", 0}, {"XPF", 0},
    {"BHD", 3}, {"IQD", 3}, {"JOD", 3}, {"KWD", 3}, {"LYD", 3}, {"OMR", 3}, {"TND", 3},
};

typedef struct job {
    nexus_notify *notify;
    const nexus_event *event;
    nexus__json *doc;
    nexus__new_notification row;
    nexus_slice email;
    const char *template_id;
    nexus_rows *endpoints;
    nexus_db *tx;
} job;

static void find_mail(job *j)
{
    nexus_slice stage = NEXUS_S("");
    nexus__json_get_text(j->doc, 0, "stage", &stage);
    for (size_t i = 0; i < sizeof mails / sizeof mails[0] && !j->template_id; i++) {
        if (nexus__slice_eq_c(j->event->type, mails[i].type) &&
            (!mails[i].stage || nexus__slice_eq_c(stage, mails[i].stage))) {
            j->template_id = mails[i].template_id;
            j->row.category = nexus__slice_c(mails[i].category);
        }
    }
    if (!nexus__mail_address_valid(j->email))
        j->template_id = NULL;
}

static bool is_shared(nexus_slice type)
{
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        if (nexus__slice_starts(type, nexus__slice_c(shared[i])))
            return true;
    return false;
}

static bool subscribed(nexus_slice patterns, nexus_slice type)
{
    while (patterns.n > 0)
        if (nexus_event_type_matches(nexus__slice_cut(&patterns, ' '), type))
            return true;
    return false;
}

/* --- mail ---------------------------------------------------------------------------------------- */

static void put_total(nexus__json_writer *w, nexus__json *doc)
{
    uint32_t total = nexus__json_get(doc, 0, "total");
    if (total == NEXUS__JSON_NONE)
        total = 0; /* amount and currency stand beside the others */
    nexus_slice currency;
    int64_t amount = 0;
    char text[48];
    int digits = 2;
    if (!nexus__json_get_i64(doc, total, "amount", &amount) || amount < 0 ||
        !nexus__json_get_text(doc, total, "currency", &currency) || currency.n != 3)
        return;
    for (size_t i = 0; i < sizeof minor_units / sizeof minor_units[0]; i++)
        if (nexus__slice_eq_c(currency, minor_units[i].currency))
            digits = minor_units[i].digits;
    int64_t unit = digits == 0 ? 1 : digits == 3 ? 1000 : 100;
    int n = snprintf(text, sizeof text, "%lld", (long long)(amount / unit));
    if (digits)
        n += snprintf(text + n, sizeof text - (size_t)n, ".%0*lld", digits, (long long)(amount % unit));
    snprintf(text + n, sizeof text - (size_t)n, " %.3s", currency.p);
    nexus__json_put_text_c(w, "total_text", text);
}

/* Members that only one party may know; they leave the house in no webhook. */
static const char *const kept_back[] = {"payment_token", "token", "sealed_token", "password", "total_text"};

static void put_members(nexus__json_writer *w, nexus__json *doc, bool outside)
{
    for (nexus__json_iter it = nexus__json_each(doc, 0); nexus__json_step(doc, &it);) {
        nexus_slice name = NEXUS_S("");
        bool keep = nexus__json_text(doc, it.key, &name);
        for (size_t i = 0; outside && i < sizeof kept_back / sizeof kept_back[0]; i++)
            keep = keep && !nexus__slice_eq_c(name, kept_back[i]);
        if (keep) {
            nexus__json_key_slice(w, name);
            nexus__json_raw_value(w, nexus__json_raw(doc, it.value));
        }
    }
}

/* A token that whoever wrote the event sealed for us; see nexus_auth_opts.event_secrets. */
static nexus_status put_token(nexus__json_writer *w, const job *j)
{
    char context[64], *token;
    nexus_slice sealed;
    size_t n;
    if (!j->notify->event_secrets || !nexus__json_get_text(j->doc, 0, "sealed_token", &sealed))
        return NEXUS_OK;
    snprintf(context, sizeof context, "mail/%.*s", (int)j->row.user_id.n, j->row.user_id.p ? j->row.user_id.p : "");
    nexus_status status =
        nexus_secrets_unseal(j->notify->event_secrets, nexus__slice_c(context), sealed, &token, &n);
    if (status != NEXUS_OK) /* of another ring: trying again does not help */
        return nexus__fail(NEXUS_EINVAL, "sealed_token: %s", nexus_error_message());
    nexus__json_put_text(w, "token", nexus__slice(token, n));
    nexus_free_wiped(token, n);
    return NEXUS_OK;
}

/* The event's data, and what templates cannot compute from it. */
static nexus_status template_data(job *j, nexus__buf *out)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    put_members(&w, j->doc, false);
    if (nexus__json_get(j->doc, 0, "total_text") == NEXUS__JSON_NONE)
        put_total(&w, j->doc);
    nexus_status status = put_token(&w, j);
    nexus__json_close(&w, '}');
    return status == NEXUS_OK ? out->status : status;
}

static nexus_status insert_mail(job *j)
{
    bool wanted = true;
    nexus__buf data;
    nexus__rendered r = {NULL, NULL, NULL};
    nexus_slice email = NEXUS_S("email");
    nexus__buf_init(&data, j->notify->alloc, 0);
    nexus_status status = template_data(j, &data);
    if (status == NEXUS_OK)
        status = nexus__template_render(&r, j->notify, j->tx, nexus__slice_c(j->template_id), nexus__buf_slice(&data));
    if (status == NEXUS_OK)
        status = nexus__preference(j->tx, j->email, j->row.category, email, &wanted);
    if (status == NEXUS_OK) {
        bool critical = nexus__slice_eq_c(j->row.category, "security");
        nexus__new_delivery d = {.channel = email,
                                 .recipient = j->email,
                                 .subject = nexus__slice_c(r.subject),
                                 .text = nexus__slice_c(r.text),
                                 .html = nexus__slice_c(r.html),
                                 .status = wanted || critical ? "queued" : "suppressed",
                                 .due_ns = j->row.now_ns,
                                 .expires_ns = j->row.now_ns + (int64_t)j->notify->ttl_s * NEXUS__NS_PER_S};
        status = nexus__insert_delivery(j->tx, &j->row, &d);
    }
    nexus__rendered_free(&r);
    nexus__buf_free(&data);
    return status;
}

/* --- webhooks -------------------------------------------------------------------------------------- */

static nexus_status insert_webhook(job *j)
{
    char at[32];
    nexus__buf body;
    nexus__buf_init(&body, j->notify->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&body);
    int64_t event_ns = j->event->time_ns ? j->event->time_ns : j->row.now_ns;
    size_t n = nexus__format_rfc3339(event_ns, at);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "type", j->event->type);
    nexus__json_put_text(&w, "timestamp", nexus__slice(at, n));
    nexus__json_put_text(&w, "id", j->event->id);
    nexus__json_key(&w, "data");
    nexus__json_open(&w, '{');
    put_members(&w, j->doc, true);
    nexus__json_close(&w, '}');
    nexus__json_close(&w, '}');
    nexus__new_delivery d = {.channel = NEXUS_S("webhook"),
                             .recipient = nexus__cell(j->endpoints, 1),
                             .endpoint_id = nexus__cell(j->endpoints, 0),
                             .text = nexus__buf_slice(&body),
                             .status = "queued",
                             .due_ns = j->row.now_ns,
                             .expires_ns = INT64_MAX};
    nexus_status status = body.status == NEXUS_OK ? nexus__insert_delivery(j->tx, &j->row, &d) : body.status;
    nexus__buf_free(&body);
    return status;
}

/* --- the event --------------------------------------------------------------------------------------- */

static nexus_status insert_deliveries(job *j, size_t *count)
{
    nexus_status status = NEXUS_OK;
    *count = 0;
    if (j->template_id && nexus__channel_email.configured(j->notify)) {
        status = insert_mail(j);
        ++*count;
    }
    if (status == NEXUS_OK && is_shared(j->event->type) && j->notify->client)
        status = nexus__endpoints_for(&j->endpoints, j->tx, j->row.user_id);
    while (status == NEXUS_OK && j->endpoints && nexus_rows_next(j->endpoints)) {
        if (subscribed(nexus__cell(j->endpoints, 2), j->event->type)) {
            status = insert_webhook(j);
            ++*count;
        }
    }
    nexus_rows_free(j->endpoints);
    return status;
}

static nexus_status insert_all(job *j)
{
    size_t count = 0;
    nexus_status status = nexus_db_begin(&j->tx, j->notify->db);
    if (status != NEXUS_OK)
        return status;
    status = nexus__insert_notification(j->tx, &j->row);
    if (status == NEXUS_OK)
        status = insert_deliveries(j, &count);
    if (status == NEXUS_ECONFLICT || (status == NEXUS_OK && count == 0)) {
        nexus_db_rollback(j->tx); /* seen before, or nobody to tell */
        return NEXUS_OK;
    }
    return nexus__notify_finish(j->tx, status);
}

static nexus_status read_event(job *j, char key[static 700])
{
    const nexus_event *e = j->event;
    if (e->id.n > 300 || e->source.n > 300)
        return nexus__fail(NEXUS_EINVAL, "the event's id or source is over 300 bytes");
    if (nexus__json_scan(j->doc, e->data, NULL) != NEXUS_OK || !nexus__json_is(j->doc, 0, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "the event's data is not a JSON object");
    int n = snprintf(key, 700, "event\n%.*s\n%.*s", (int)e->source.n, e->source.p, (int)e->id.n, e->id.p);
    j->row = (nexus__new_notification){.key = nexus__slice(key, (size_t)n),
                                       .category = NEXUS_S("event"),
                                       .event_id = e->id,
                                       .event_type = e->type,
                                       .subject = e->subject,
                                       .traceparent = e->traceparent,
                                       .correlationid = e->correlationid,
                                       .now_ns = nexus__real_ns()};
    nexus__json_get_text(j->doc, 0, "user_id", &j->row.user_id);
    nexus__json_get_text(j->doc, 0, "order_id", &j->row.order_id);
    nexus__json_get_text(j->doc, 0, "email", &j->email);
    j->row.owner = j->row.user_id;
    find_mail(j);
    if (j->template_id)
        j->row.template_id = nexus__slice_c(j->template_id);
    return NEXUS_OK;
}

nexus_status nexus_notify_handle_event(nexus_notify *notify, const nexus_event *event)
{
    nexus__json doc;
    char key[700];
    nexus__json_init(&doc, notify->alloc);
    job j = {.notify = notify, .event = event, .doc = &doc};
    nexus_status status = read_event(&j, key);
    if (status == NEXUS_OK)
        status = insert_all(&j);
    nexus__json_free(&doc);
    if (status == NEXUS_OK)
        nexus__dispatch_wake(notify);
    return status;
}
