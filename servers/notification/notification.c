/*
 * The notification service. Requests and events become rows (room notify of the library); its dispatcher sends them.
 * What got through for the first time is published as notification.sent, under the trace of the event that asked for
 * it and with an id of its own making, so that publishing twice is publishing once.
 */
#include "notification/notification.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "notification/private.h"

static const nexus_setting settings[] = {
    {"smtp_url", NEXUS_SETTING_URL, NULL, 0, 0, "smtp,smtps",
     "SMTP server for mail, smtp://[user:password@]host[:port] or smtps://…; unset: in development mail is kept in a "
     "mailbox under the state directory, in production the channel is not configured."},
    {"mail_from", NEXUS_SETTING_TEXT, "nexus@localhost", 0, 0, NULL, "Sender's address of mail."},
    {"mail_threads", NEXUS_SETTING_INT, "2", 1, 24, NULL, "Mails sent at once."},
    {"mail_retry_ms", NEXUS_SETTING_INT, "1000", 1, 3600000, NULL,
     "First wait before a mail is tried again; it doubles, with full jitter, up to 15 minutes, for 8 attempts."},
    {"webhook_threads", NEXUS_SETTING_INT, "4", 1, 32, NULL, "Webhooks sent at once."},
    {"webhook_timeout_ms", NEXUS_SETTING_INT, "15000", 100, 120000, NULL, "Time an endpoint gets to answer."},
    {"webhook_schedule_s", NEXUS_SETTING_TEXT, "5,300,1800,7200,18000,36000,50400,72000,86400", 0, 0, NULL,
     "Waits between the attempts of a webhook, in seconds; each varies by 20 %."},
};

/* --- logs under the trace of an event ------------------------------------------------------------------- */

static void say(notification *n, int32_t level, nexus_slice traceparent, nexus_slice correlationid, const char *text)
{
    char trace_id[33] = "", span_id[17] = "";
    nexus_trace trace;
    if (traceparent.n && nexus_trace_parse(&trace, traceparent) == NEXUS_OK)
        nexus_trace_hex(&trace, trace_id, span_id);
    nexus_log_context context = {.trace_id = {trace_id, strlen(trace_id)},
                                 .span_id = {span_id, strlen(span_id)},
                                 .correlation_id = correlationid};
    nexus_log_text(nexus_service_log(n->service), level, "notification", &context, (nexus_slice){text, strlen(text)});
}

/* --- the bus ---------------------------------------------------------------------------------------------- */

static nexus_status on_sent(const nexus_notify_sent *sent, void *user_data)
{
    notification *n = user_data;
    char id[96], subject[96], text[200];
    nexus_event event = NEXUS_EVENT_INIT;
    snprintf(id, sizeof id, "%.*s-sent", TEXT_ARGS(sent->notification_id));
    snprintf(subject, sizeof subject, "notification-%.*s", TEXT_ARGS(sent->notification_id));
    event.id = (nexus_slice){id, strlen(id)};
    event.source = NEXUS_S("/nexus/notification");
    event.type = NEXUS_S("notification.sent");
    event.subject = (nexus_slice){subject, strlen(subject)};
    event.partitionkey = sent->subject;
    event.traceparent = sent->traceparent;
    event.correlationid = sent->correlationid;
    event.causationid = sent->event_id;
    event.data = sent->data;
    nexus_status status = nexus_bus_publish(n->bus, &event, 1, NULL, NULL);
    if (status == NEXUS_ECONFLICT) /* published before, in other words: once is enough */
        status = NEXUS_OK;
    snprintf(text, sizeof text, "notification %.*s: %s", TEXT_ARGS(sent->notification_id),
             status == NEXUS_OK ? "sent" : nexus_error_message());
    say(n, status == NEXUS_OK ? NEXUS_LOG_INFO : NEXUS_LOG_WARN, sent->traceparent, sent->correlationid, text);
    return status;
}

static int32_t on_event(nexus_delivery *delivery, void *user_data)
{
    notification *n = user_data;
    char text[300];
    const nexus_event *event = nexus_delivery_event(delivery);
    nexus_status status = nexus_notify_handle_event(n->notify, event);
    snprintf(text, sizeof text, "event %.*s of %.*s: %s", TEXT_ARGS(event->type), TEXT_ARGS(event->subject),
             status == NEXUS_OK ? "taken" : nexus_error_message());
    say(n, status == NEXUS_OK ? NEXUS_LOG_INFO : NEXUS_LOG_WARN, event->traceparent, event->correlationid, text);
    if (status == NEXUS_OK)
        return NEXUS_ACK;
    nexus_delivery_reason(delivery, nexus_error_message());
    return status == NEXUS_EINVAL ? NEXUS_REJECT : NEXUS_RETRY;
}

static nexus_status open_consumer(notification *n)
{
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = "order.*,payment.processed,user.registered,user.verification,user.password_reset";
    opts.ack_wait_ms = 3000; /* renewed while a handler runs; after a crash nobody waits longer for his mail */
    nexus_status status = nexus_group_open(&n->group, n->bus, "notification", &opts);
    if (status == NEXUS_OK)
        status = nexus_consumer_open(&n->consumer, n->group, on_event, n, 2);
    return status;
}

/* --- mount ------------------------------------------------------------------------------------------------- */

static nexus_status open_notify(notification *n)
{
    char path[4200];
    const nexus_settings *s = nexus_service_settings(n->service);
    nexus_notify_opts opts = NEXUS_NOTIFY_OPTS_INIT;
    nexus_status status = nexus_service_ring(&n->secrets, n->service, "notification.keys");
    if (status == NEXUS_OK)
        status = nexus_service_ring(&n->mail_secrets, n->service, "mail.keys"); /* the backend's and ours */
    if (status != NEXUS_OK)
        return status;
    opts.event_secrets = n->mail_secrets;
    snprintf(path, sizeof path, "%s/mailbox", nexus_service_state_dir(n->service));
    opts.secrets = n->secrets;
    opts.client = nexus_service_client(n->service);
    opts.smtp_url = nexus_settings_text(s, "smtp_url");
    opts.mail_from = nexus_settings_text(s, "mail_from");
    opts.mailbox_dir = nexus_service_dev(n->service) ? path : NULL;
    opts.email_threads = (uint32_t)nexus_settings_int(s, "mail_threads");
    opts.retry_base_ms = (uint32_t)nexus_settings_int(s, "mail_retry_ms");
    opts.webhook_threads = (uint32_t)nexus_settings_int(s, "webhook_threads");
    opts.webhook_timeout_ms = (uint32_t)nexus_settings_int(s, "webhook_timeout_ms");
    opts.webhook_schedule_s = nexus_settings_text(s, "webhook_schedule_s");
    opts.on_sent = on_sent;
    opts.user_data = n;
    if (!*opts.smtp_url)
        nexus_log_printf(nexus_service_log(n->service), opts.mailbox_dir ? NEXUS_LOG_INFO : NEXUS_LOG_WARN,
                         "notification", NULL, "no smtp_url: mail is %s",
                         opts.mailbox_dir ? "captured in the development mailbox, not sent" : "not sent");
    return nexus_notify_open(&n->notify, nexus_service_db(n->service), &opts);
}

static void notification_unmount(void *mounted)
{
    notification *n = mounted;
    if (!n)
        return;
    nexus_consumer_close(n->consumer);
    nexus_group_close(n->group);
    nexus_notify_close(n->notify);
    nexus_secrets_close(n->secrets);
    nexus_secrets_close(n->mail_secrets);
    free(n);
}

static nexus_status mount_parts(notification *n)
{
    n->bus = nexus_service_db(n->service) ? nexus_service_bus(n->service) : NULL;
    if (!n->bus || !nexus_service_client(n->service))
        return NEXUS_EIO;
    nexus_status status = open_notify(n);
    if (status == NEXUS_OK)
        status = open_consumer(n);
    if (status == NEXUS_OK)
        status = nexus_service_audit(n->service) ? NEXUS_OK : NEXUS_EIO;
    if (status == NEXUS_OK)
        status = notification_secret_routes(n);
    return status == NEXUS_OK ? notification_routes(n) : status;
}

static nexus_status notification_mount(nexus_service *service, void **out)
{
    notification *n = calloc(1, sizeof *n);
    if (!n)
        return NEXUS_ENOMEM;
    n->service = service;
    nexus_status status = mount_parts(n);
    if (status == NEXUS_OK)
        *out = n;
    else
        notification_unmount(n);
    return status;
}

const nexus_service_module notification_module = {
    .size = sizeof notification_module,
    .name = "notification",
    .text = "Notifications: mail and signed webhooks, with every attempt on record.",
    .port_offset = 4,
    .bus = NEXUS_SERVICE_BUS_OWNER,
    .settings = settings,
    .setting_count = sizeof settings / sizeof settings[0],
    .mount = notification_mount,
    .unmount = notification_unmount,
};
