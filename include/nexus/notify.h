/* Notifications: one call sends a message over a channel, and every attempt can be accounted for afterwards. */
#ifndef NEXUS_NOTIFY_H
#define NEXUS_NOTIFY_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nexus_client;  /* client.h */
struct nexus_db;      /* db.h */
struct nexus_event;   /* event.h */
struct nexus_secrets; /* secret.h */

/**
 * A dispatcher over a database: notifications, their deliveries and attempts, templates, preferences and webhook
 * endpoints are tables of it. What a call accepted is durable; own threads send what is due and try again. Any
 * thread may use it; calls block (NEXUS_EDEADLK on a loop thread).
 *
 * Channels built: "email" (SMTP, or a mailbox directory in development) and "webhook" (Standard Webhooks). "sms",
 * "push", "slack" and "discord" answer NEXUS_ENOTSUP, code "channel-not-configured".
 *
 * A delivery is queued, sending, then one of: sent (email: the server took it), delivered (webhook: 2xx), captured
 * (written to the mailbox, not sent), bounced (the recipient does not exist), failed, expired, suppressed (the
 * recipient wants none), unknown (the message was handed over and the answer was not seen: never sent again).
 */
typedef struct nexus_notify nexus_notify;

/** Something was sent for the first time for this notification; all text is borrowed for the call. */
typedef struct nexus_notify_sent {
    size_t size;
    nexus_slice notification_id;
    nexus_slice event_type, event_id; /**< of the event that caused it; empty when a call did */
    nexus_slice subject;              /**< of that event, "order-42" */
    nexus_slice traceparent, correlationid;
    nexus_slice data; /**< JSON: {"notification_id","order_id"?,"user_id"?,"channel","status","template"?} */
} nexus_notify_sent;

/**
 * Announces it (on the bus, say); runs on a thread of the dispatcher and may block. It is called again, also after a
 * restart, until it returns NEXUS_OK: make its effect idempotent by notification_id.
 */
typedef nexus_status nexus_notify_sent_fn(const nexus_notify_sent *sent, void *user_data);

/** nexus_notify_open's options. Text is copied; 0 and NULL mean the default. */
typedef struct nexus_notify_opts {
    size_t size;                         /**< sizeof(nexus_notify_opts) */
    const nexus_alloc *alloc;            /**< borrowed; NULL = the C library's */
    struct nexus_client *client;         /**< borrowed; sends HTTP and mail. Webhook addresses pass its guard */
    struct nexus_secrets *secrets; /**< borrowed; seals webhook secrets at rest. NULL = they are stored plain */
    const struct nexus_secrets *event_secrets; /**< borrowed; opens "sealed_token" of events (nexus_auth_opts); NULL = such
                                              mails go out without it */
    const char *smtp_url;                /**< smtp://… or smtps://…; NULL = mailbox_dir takes the mail */
    const char *mail_from;               /**< address of the sender; NULL = "nexus@localhost" */
    const char *mailbox_dir; /**< development mailbox, made when absent; NULL and no smtp_url: email is not configured */
    uint32_t email_threads, webhook_threads; /**< deliveries under way at once; 0 = 2 and 4 */
    uint32_t lease_ms;                       /**< after a crash a delivery is taken up again this late; 0 = 60000 */
    uint32_t retry_base_ms;                  /**< email: full jitter, doubling; 0 = 1000 */
    uint32_t retry_cap_ms;                   /**< 0 = 900000 */
    uint32_t retry_max;                      /**< email: attempts at most; 0 = 8 */
    uint32_t ttl_s;                          /**< email: given up after; 0 = 86400 */
    const char *webhook_schedule_s; /**< waits between attempts, "5,300,1800"; NULL = 5,300,1800,7200,18000,36000,
                                         50400,72000,86400, each with 20 % jitter */
    uint32_t webhook_timeout_ms;    /**< 0 = 15000 */
    nexus_notify_sent_fn *on_sent;
    void *user_data;
} nexus_notify_opts;

#define NEXUS_NOTIFY_OPTS_INIT NEXUS_SIZED(nexus_notify_opts)
NEXUS_API void nexus_notify_opts_init(nexus_notify_opts *opts);

/** Migrates the tables (component "notify") and starts the threads. db and client are borrowed until close. */
NEXUS_API nexus_status nexus_notify_open(nexus_notify **out, struct nexus_db *db,
                                         const nexus_notify_opts *opts) NEXUS_MUST_CHECK;

/** Takes up no more, waits for what is under way, frees. NULL is fine. */
NEXUS_API void nexus_notify_close(nexus_notify *notify);

/** What is wrong with a request, for a problem document; always filled. */
typedef struct nexus_notify_report {
    size_t size;
    char code[40];    /**< "channel-not-configured", "template-unknown", "" */
    char pointer[64]; /**< JSON pointer into the request, "/to/email"; "" */
    bool replayed;    /**< an earlier call with this key made it */
} nexus_notify_report;

#define NEXUS_NOTIFY_REPORT_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(nexus_notify_report), "", "", false                                                                     \
    }

/**
 * Accepts a notification: {"template" or "content":{"subject","text","html"}, "to":{"email","user_id","endpoint"} or
 * an address, "channels":["email"], "data":{…}, "topic", "category", "critical", "send_at", "ttl_s"}. owner is who
 * asks; key, when not empty, makes the call idempotent for the owner.
 * *out is {"id","status","deliveries":[{"id","channel","to","status"}]}, durable by then; free with nexus_free.
 * NEXUS_EINVAL and NEXUS_ENOTSUP: refused, see report (may be NULL). NEXUS_ECONFLICT: the key was used with another
 * request.
 */
NEXUS_API nexus_status nexus_notify_submit(char **out, size_t *n, nexus_notify *notify, nexus_slice request,
                                           nexus_slice owner, nexus_slice key,
                                           nexus_notify_report *report) NEXUS_MUST_CHECK;

/**
 * Makes the notifications that an event asks for: mail to data.email for order.confirmed, order.cancelled,
 * user.registered, user.verification and user.password_reset, and a webhook to each endpoint that subscribed to order.* (those of
 * data.user_id, and those of operators). Idempotent by the event's source and id. An event nobody waits for is
 * NEXUS_OK. NEXUS_EINVAL: the event can never be handled (its data is not a JSON object).
 */
NEXUS_API nexus_status nexus_notify_handle_event(nexus_notify *notify, const struct nexus_event *event) NEXUS_MUST_CHECK;

/*
 * Views, as JSON text; free *out with nexus_free. owner empty = everybody's (an operator asks); else only what the
 * owner made or is addressed in, anything else is NEXUS_ENOTFOUND.
 */

/** {"id","status","created_at",…,"deliveries":[{"id","channel","to","status","attempts":[{"at","ms","code",
 * "response","error","outcome","next_at"}]}]} */
NEXUS_API nexus_status nexus_notify_get(char **out, size_t *n, nexus_notify *notify, nexus_slice id,
                                        nexus_slice owner) NEXUS_MUST_CHECK;
/** {"items":[…],"next_cursor"}, newest first. status empty = any; cursor empty = from the start; limit 0 = 50, at
 * most 200. NEXUS_EINVAL: not a cursor. */
NEXUS_API nexus_status nexus_notify_list(char **out, size_t *n, nexus_notify *notify, nexus_slice status,
                                         nexus_slice cursor, uint32_t limit) NEXUS_MUST_CHECK;
/** {"items":[{"id","notification_id","to","subject","at"}]}: mail that the development mailbox captured. */
NEXUS_API nexus_status nexus_notify_mailbox(char **out, size_t *n, nexus_notify *notify,
                                            uint32_t limit) NEXUS_MUST_CHECK;
/** One captured mail: {"id","to","subject","at","text","html","message"}, message being the whole .eml text. */
NEXUS_API nexus_status nexus_notify_mailbox_get(char **out, size_t *n, nexus_notify *notify,
                                                nexus_slice id) NEXUS_MUST_CHECK;

/**
 * Renders a template with data (a JSON object, empty = {}): {"subject","text","html","missing":[…]}.
 * NEXUS_ENOTFOUND: no such template. NEXUS_EINVAL: the data is not an object.
 */
NEXUS_API nexus_status nexus_notify_preview(char **out, size_t *n, nexus_notify *notify, nexus_slice template_id,
                                            nexus_slice data) NEXUS_MUST_CHECK;
/** Puts or replaces a template of our own, before the built-in one of that id: {"subject","text","html"}. It must
 * compile; raw tags are refused in html. */
NEXUS_API nexus_status nexus_notify_put_template(nexus_notify *notify, nexus_slice template_id,
                                                 nexus_slice json) NEXUS_MUST_CHECK;

/** Whether a recipient (address) wants this category ("order", "account", …; "*" = all) over this channel. */
NEXUS_API nexus_status nexus_notify_set_preference(nexus_notify *notify, nexus_slice recipient, nexus_slice category,
                                                   nexus_slice channel, bool wanted) NEXUS_MUST_CHECK;

/**
 * Registers a webhook endpoint: {"url","events":["order.confirmed","order.*"]}. everybody: events of all users, not
 * only the owner's. *out is {"id","url","events","secret"}; the secret is told only here.
 * NEXUS_EINVAL, NEXUS_EPERM (the guard refuses the address): see report.
 */
NEXUS_API nexus_status nexus_notify_add_endpoint(char **out, size_t *n, nexus_notify *notify, nexus_slice request,
                                                 nexus_slice owner, bool everybody,
                                                 nexus_notify_report *report) NEXUS_MUST_CHECK;

/** The keys of the ring that seals webhook secrets, and how many each protects; see nexus_auth_secrets. NEXUS_ENOTSUP: no ring
 * was given. Rotate the ring itself (nexus_secrets_rotate). Free *json with nexus_free. */
NEXUS_API nexus_status nexus_notify_secrets(nexus_notify *notify, char **json, size_t *n) NEXUS_MUST_CHECK;
/** Seals up to `batch` of them again that older keys sealed (0: 100); see nexus_auth_reseal. */
NEXUS_API nexus_status nexus_notify_reseal(nexus_notify *notify, uint32_t batch, uint32_t *resealed) NEXUS_MUST_CHECK;
/** Takes a key out that protects none of them; see nexus_auth_secrets_retire. */
NEXUS_API nexus_status nexus_notify_secrets_retire(nexus_notify *notify, const char *kid) NEXUS_MUST_CHECK;

/** Figures for a metrics page: deliveries queued or under way, and those ended since open. */
typedef struct nexus_notify_stats {
    size_t size;
    uint64_t attempts, sent, failed, retried;
    int64_t waiting; /**< queued or sending now */
} nexus_notify_stats;
NEXUS_API nexus_status nexus_notify_read_stats(nexus_notify *notify, nexus_notify_stats *stats) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
