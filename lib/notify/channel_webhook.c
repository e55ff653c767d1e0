/*
 * Webhooks (Standard Webhooks 1.0). A 2xx is success and nothing else; the receiver knows repeats by webhook-id, which
 * is the delivery's and stays the same, so an answer that was not seen is simply tried again.
 */
#include <stdio.h>

#include <nexus/client.h>
#include <nexus/webhook.h>

#include "base/status.h"
#include "base/time.h"
#include "base/utf8.h"
#include "crypto/wipe.h"
#include "notify/notify.h"

enum { REPLY_MAX = 64 * 1024, RETRY_AFTER_MAX_S = 86400 };

/* Seconds or an HTTP date (RFC 9110 10.2.3); 0 when it is neither or past. */
static uint32_t parse_retry_after(nexus_slice text, int64_t now_ns)
{
    uint64_t seconds = 0;
    int64_t at = 0;
    if (!nexus__parse_u64(text, &seconds)) {
        if (!nexus__parse_http_date(text, &at) || at <= now_ns)
            return 0;
        seconds = (uint64_t)((at - now_ns + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S);
    }
    return seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : (uint32_t)seconds;
}

void nexus__http_outcome(nexus__outcome *out, uint16_t code, nexus_slice retry_after, int64_t now_ns)
{
    out->code = code;
    if (code >= 200 && code < 300) {
        out->kind = NEXUS__OUTCOME_OK;
        return;
    }
    snprintf(out->error, sizeof out->error, "the endpoint answered %u, not 2xx", code);
    out->kind = code == 410 ? NEXUS__OUTCOME_RECIPIENT_GONE : NEXUS__OUTCOME_RETRY_AFTER;
    out->retry_after_s = parse_retry_after(retry_after, now_ns);
}

static void keep_response(nexus__outcome *out, nexus_slice body)
{
    size_t n = body.n < sizeof out->response - 1 ? body.n : sizeof out->response - 1;
    for (size_t i = 0; i < n; i++) /* it is stored as text: no NUL, and no half characters at the cut */
        out->response[i] = body.p[i] ? body.p[i] : ' ';
    n = nexus__utf8_valid_prefix(nexus__slice(out->response, n));
    out->response[n] = '\0';
}

static void read_reply(nexus__outcome *out, const nexus_reply *reply)
{
    nexus_slice body = NEXUS_S(""), retry_after = NEXUS_S("");
    nexus_reply_body(reply, &body);
    nexus_reply_header(reply, "retry-after", &retry_after);
    nexus__http_outcome(out, nexus_reply_status(reply), retry_after, nexus__real_ns());
    keep_response(out, body);
}

static nexus_status post(nexus_notify *notify, const nexus__delivery *d, nexus_slice secret, nexus__outcome *out)
{
    char *signature = NULL;
    size_t signature_n = 0;
    int64_t now_s = nexus__real_ns() / NEXUS__NS_PER_S;
    nexus_status status = nexus_webhook_sign(&signature, &signature_n, secret, d->id, now_s, d->text);
    if (status != NEXUS_OK)
        return status;
    char time_text[24];
    int n = snprintf(time_text, sizeof time_text, "%lld", (long long)now_s);
    const nexus_pair headers[] = {
        {NEXUS_S("Content-Type"), NEXUS_S("application/json")},
        {NEXUS_S("webhook-id"), d->id},
        {NEXUS_S("webhook-timestamp"), nexus__slice(time_text, (size_t)n)},
        {NEXUS_S("webhook-signature"), nexus__slice(signature, signature_n)},
    };
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    nexus_reply *reply = NULL;
    fetch.method = "POST";
    fetch.url = d->recipient;
    fetch.headers = headers;
    fetch.header_count = sizeof headers / sizeof headers[0];
    fetch.body = d->text;
    fetch.timeout_ms = notify->webhook_timeout_ms;
    fetch.reply_max_bytes = REPLY_MAX;
    fetch.guard = true; /* a user gave the address */
    status = nexus_client_fetch(notify->client, &fetch, &reply);
    if (status == NEXUS_OK)
        read_reply(out, reply);
    nexus_reply_free(reply);
    nexus_free(signature);
    return status;
}

/* The endpoint as it is now: it may have been disabled since the delivery was queued. */
static nexus_status find_secret(char **secret, size_t *n, nexus_notify *notify, const nexus__delivery *d)
{
    nexus_rows *rows = NULL;
    nexus_status status =
        nexus_db_query_one(&rows, notify->db, "SELECT secret, disabled_at FROM notify_endpoints WHERE id = $1",
                           (nexus_value[]){NEXUS_TEXT(d->endpoint_id)}, 1);
    if (status == NEXUS_OK && nexus_rows_int(rows, 1) != 0)
        status = nexus__fail(NEXUS_EPERM, "the endpoint is disabled");
    if (status == NEXUS_OK)
        status = nexus__endpoint_secret(secret, n, notify, d->endpoint_id, nexus__cell(rows, 0));
    if (status == NEXUS_OK)
        nexus__endpoint_seal_at_use(notify, d->endpoint_id, nexus__cell(rows, 0));
    nexus_rows_free(rows);
    return status;
}

static void deliver_webhook(nexus_notify *notify, const nexus__delivery *d, nexus__outcome *out)
{
    char *secret = NULL;
    size_t secret_n = 0;
    int64_t start = nexus__mono_ns();
    nexus_status status = find_secret(&secret, &secret_n, notify, d);
    if (status == NEXUS_OK)
        status = post(notify, d, nexus__slice(secret, secret_n), out);
    out->ms = (uint32_t)((nexus__mono_ns() - start) / NEXUS__NS_PER_MS);
    if (status != NEXUS_OK) {
        bool never = status == NEXUS_EPERM || status == NEXUS_EINVAL || status == NEXUS_ENOTFOUND;
        out->kind = never ? NEXUS__OUTCOME_PERMANENT : NEXUS__OUTCOME_RETRY_AFTER;
        snprintf(out->error, sizeof out->error, "%s", nexus_error_message());
    } else if (out->kind == NEXUS__OUTCOME_RECIPIENT_GONE) {
        nexus__endpoint_disable(notify, d->endpoint_id, "it answered 410 Gone");
    }
    if (secret) {
        nexus__wipe(secret, secret_n);
        nexus_free(secret);
    }
}

static bool webhook_configured(const nexus_notify *notify)
{
    return notify->client != NULL;
}

const nexus__channel nexus__channel_webhook = {.name = "webhook",
                                               .done = "delivered",
                                               .configured = webhook_configured,
                                               .deliver = deliver_webhook,
                                               .scheduled = true};
