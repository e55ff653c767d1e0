/* Webhook endpoints: whose events go where, and the secret that signs them. */
#include <stdio.h>

#include <nexus/client.h>
#include <nexus/secret.h>
#include <nexus/webhook.h>

#include "auth/sealed.h"
#include "base/id.h"
#include "base/status.h"
#include "base/time.h"
#include "notify/notify.h"
#include "json/read.h"
#include "json/write.h"

enum { EVENTS_MAX = 32, URL_MAX = 2048 };

/* The row a sealed secret belongs to: it opens nowhere else. */
static nexus_slice context_of(nexus_slice id, char out[static 96])
{
    int n = snprintf(out, 96, "notify_endpoints.secret/%.*s", (int)(id.n > 64 ? 64 : id.n), id.p);
    return nexus__slice(out, (size_t)n);
}

nexus_status nexus__endpoint_secret(char **out, size_t *n, nexus_notify *notify, nexus_slice id, nexus_slice sealed)
{
    char context[96];
    if (nexus__slice_starts(sealed, NEXUS_S("nx1."))) {
        if (!notify->secrets)
            return nexus__fail(NEXUS_EAUTH, "the endpoint's secret is sealed, and no key ring was given");
        return nexus_secrets_unseal(notify->secrets, context_of(id, context), sealed, out, n);
    }
    *out = nexus__strndup(NULL, sealed);
    *n = sealed.n;
    return *out ? NEXUS_OK : nexus__nomem();
}

void nexus__endpoint_disable(nexus_notify *notify, nexus_slice id, const char *why)
{
    /* When this fails the endpoint will say 410 again. */
    nexus_status status = nexus_db_exec(
        notify->db, "UPDATE notify_endpoints SET disabled_at = $1, disabled_why = $2 WHERE id = $3 AND disabled_at = 0",
        (nexus_value[]){NEXUS_INT(nexus__real_ns()), NEXUS_TEXT_C(why), NEXUS_TEXT(id)}, 3, NULL);
    (void)status;
}

nexus_status nexus__endpoints_for(nexus_rows **out, nexus_db *db, nexus_slice user_id)
{
    return nexus_db_query(out, db,
                          "SELECT id, url, events FROM notify_endpoints WHERE disabled_at = 0 AND"
                          " (everybody = 1 OR (owner = $1 AND owner <> '')) ORDER BY id",
                          (nexus_value[]){NEXUS_TEXT(user_id)}, 1);
}

/* --- registering ------------------------------------------------------------------------------- */

static bool is_token(nexus_slice token)
{
    if (nexus__slice_eq_c(token, "*") || nexus__slice_eq_c(token, ">"))
        return true;
    for (size_t i = 0; i < token.n; i++)
        if (!((token.p[i] >= 'a' && token.p[i] <= 'z') || (token.p[i] >= '0' && token.p[i] <= '9') || token.p[i] == '_'))
            return false;
    return token.n > 0;
}

/* "order.confirmed", "order.*", "payment.>" */
static bool is_pattern(nexus_slice text)
{
    if (text.n == 0 || text.n > 100 || text.p[text.n - 1] == '.' || nexus__slice_find(text, '>') + 1 < text.n)
        return false;
    while (text.n > 0)
        if (!is_token(nexus__slice_cut(&text, '.')))
            return false;
    return true;
}

static nexus_status read_events(nexus__json *doc, nexus__buf *events, nexus_notify_report *report)
{
    uint32_t list = nexus__json_get(doc, 0, "events");
    uint32_t count = nexus__json_count(doc, list);
    if (!nexus__json_is(doc, list, NEXUS__JSON_ARRAY) || count == 0 || count > EVENTS_MAX)
        return nexus__notify_refuse(report, NEXUS_EINVAL, "events-invalid", "/events",
                                    "events must list 1 to %d event types, such as \"order.confirmed\"", EVENTS_MAX);
    for (nexus__json_iter it = nexus__json_each(doc, list); nexus__json_step(doc, &it);) {
        nexus_slice text;
        if (!nexus__json_text(doc, it.value, &text) || !is_pattern(text))
            return nexus__notify_refuse(report, NEXUS_EINVAL, "events-invalid", "/events",
                                        "event %u is not a type such as \"order.confirmed\" or \"order.*\"", it.index);
        if (events->len)
            nexus__buf_char(events, ' ');
        nexus__buf_slice_append(events, text);
    }
    return events->status;
}

static nexus_status read_url(nexus__json *doc, nexus_slice *url, nexus_notify *notify, nexus_notify_report *report)
{
    if (!nexus__json_get_text(doc, 0, "url", url) || url->n == 0 || url->n > URL_MAX)
        return nexus__notify_refuse(report, NEXUS_EINVAL, "url-invalid", "/url", "url must be an http or https address");
    nexus_status status = nexus_client_check_url(notify->client, *url);
    if (status == NEXUS_EINVAL || status == NEXUS_EUNREACH)
        return nexus__notify_refuse(report, NEXUS_EINVAL, "url-invalid", "/url", "%s", nexus_error_message());
    if (status == NEXUS_EPERM)
        return nexus__notify_refuse(report, NEXUS_EPERM, "url-refused", "/url", "%s", nexus_error_message());
    return status;
}

static nexus_status seal(char **out, nexus_notify *notify, const char *id, const char *secret)
{
    char context[96];
    size_t n = 0;
    if (!notify->secrets) {
        *out = nexus__strndup(NULL, nexus__slice_c(secret));
        return *out ? NEXUS_OK : nexus__nomem();
    }
    return nexus_secrets_seal(notify->secrets, context_of(nexus__slice_c(id), context), nexus__slice_c(secret), out, &n);
}

static nexus_status insert_in(nexus_db *tx, nexus_notify *notify, const char *id, nexus_slice owner, bool everybody,
                              nexus_slice url, nexus_slice events, const char *secret)
{
    char *sealed = NULL;
    nexus_status status = nexus__sealed_enter(tx);
    if (status == NEXUS_OK)
        status = seal(&sealed, notify, id, secret);
    if (status == NEXUS_OK)
        status =
            nexus_db_exec(tx,
                          "INSERT INTO notify_endpoints (id, owner, everybody, url, events, secret, created_at,"
                          " disabled_at, disabled_why) VALUES ($1,$2,$3,$4,$5,$6,$7,0,'')",
                          (nexus_value[]){NEXUS_TEXT_C(id), NEXUS_TEXT(owner), NEXUS_INT(everybody), NEXUS_TEXT(url),
                                          NEXUS_TEXT(events), NEXUS_TEXT_C(sealed), NEXUS_INT(nexus__real_ns())},
                          7, NULL);
    nexus_free(sealed);
    return status;
}

static nexus_status insert(nexus_notify *notify, const char *id, nexus_slice owner, bool everybody, nexus_slice url,
                           nexus_slice events, const char *secret)
{
    nexus_db *tx;
    nexus_status status = nexus_db_begin(&tx, notify->db);
    if (status != NEXUS_OK)
        return status;
    status = insert_in(tx, notify, id, owner, everybody, url, events, secret);
    if (status == NEXUS_OK)
        return nexus_db_commit(tx);
    nexus_db_rollback(tx);
    return status;
}

static nexus_status describe(char **out, size_t *n, const char *id, nexus_slice url, nexus_slice events,
                             const char *secret)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "id", id);
    nexus__json_put_text(&w, "url", url);
    nexus__json_key(&w, "events");
    nexus__json_open(&w, '[');
    while (events.n > 0)
        nexus__json_text_value(&w, nexus__slice_cut(&events, ' '));
    nexus__json_close(&w, ']');
    nexus__json_put_text_c(&w, "secret", secret);
    nexus__json_close(&w, '}');
    return nexus__notify_hand_over(&text, out, n);
}

nexus_status nexus_notify_add_endpoint(char **out, size_t *n, nexus_notify *notify, nexus_slice request,
                                       nexus_slice owner, bool everybody, nexus_notify_report *report)
{
    nexus__json doc;
    nexus__buf events;
    nexus_slice url = NEXUS_S("");
    char *secret = NULL, id[NEXUS__UUID_LEN + 1];
    nexus__json_init(&doc, notify->alloc);
    nexus__buf_init(&events, notify->alloc, 0);
    nexus__uuid7(id);
    nexus_status status = nexus__json_scan(&doc, request, NULL);
    if (status != NEXUS_OK)
        status = nexus__notify_refuse(report, NEXUS_EINVAL, "json-invalid", "", "%s", nexus_error_message());
    if (status == NEXUS_OK)
        status = read_events(&doc, &events, report);
    if (status == NEXUS_OK)
        status = read_url(&doc, &url, notify, report);
    if (status == NEXUS_OK)
        status = nexus_webhook_secret(&secret);
    if (status == NEXUS_OK)
        status = insert(notify, id, owner, everybody, url, nexus__buf_slice(&events), secret);
    if (status == NEXUS_OK)
        status = describe(out, n, id, url, nexus__buf_slice(&events), secret);
    if (secret)
        nexus_free_wiped(secret, strlen(secret));
    nexus__buf_free(&events);
    nexus__json_free(&doc);
    return status;
}
