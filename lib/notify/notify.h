/* A dispatcher from the inside: its settings, its channels, a delivery and what became of an attempt. */
#ifndef NEXUS_NOTIFY_PRIVATE_H
#define NEXUS_NOTIFY_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <nexus/db.h>
#include <nexus/notify.h>

#include "base/buf.h"

enum { NEXUS__NOTIFY_SCHEDULE_MAX = 16, NEXUS__NOTIFY_THREADS_MAX = 64 };

/* What an attempt came to; each has one consequence (decide.c). */
enum {
    NEXUS__OUTCOME_OK = 0,
    NEXUS__OUTCOME_CAPTURED,       /* written to the mailbox: done, but nobody has got it */
    NEXUS__OUTCOME_RETRY_AFTER,    /* not now */
    NEXUS__OUTCOME_PERMANENT,      /* never, for this message */
    NEXUS__OUTCOME_RECIPIENT_GONE, /* never, for this recipient */
    NEXUS__OUTCOME_AUTH_BROKEN,    /* our own credentials: everything waits for the operator */
    NEXUS__OUTCOME_AMBIGUOUS       /* handed over, answer not seen: never again by itself */
};
const char *nexus__outcome_name(uint32_t kind);

typedef struct nexus__outcome {
    uint32_t kind;
    uint32_t ms;
    int32_t code;           /* of the protocol; 0 = none came */
    uint32_t retry_after_s; /* the peer's wish; 0 = none */
    char response[1025];    /* the first KiB of what the peer said */
    char error[256];
} nexus__outcome;

/* A claimed delivery; text is borrowed from the rows of the claim. */
typedef struct nexus__delivery {
    nexus_slice id, notification_id, recipient, endpoint_id, subject, text, html;
    char lease[40];
    int64_t attempts; /* this one included */
    int64_t expires_ns;
} nexus__delivery;

typedef struct nexus__channel {
    const char *name;
    const char *done; /* the status of success */
    bool (*configured)(const nexus_notify *notify);
    void (*deliver)(nexus_notify *notify, const nexus__delivery *delivery, nexus__outcome *outcome);
    bool scheduled; /* waits by the webhook schedule, not by backoff */
} nexus__channel;

const nexus__channel *nexus__channel_find(nexus_slice name);

struct nexus_notify {
    const nexus_alloc *alloc;
    nexus_db *db;
    struct nexus_client *client;
    struct nexus_secrets *secrets;
    const struct nexus_secrets *event_secrets;
    char *smtp_url, *mail_from, *mailbox_dir;
    uint32_t lease_ms, retry_base_ms, retry_cap_ms, retry_max, ttl_s, webhook_timeout_ms;
    uint32_t schedule_s[NEXUS__NOTIFY_SCHEDULE_MAX];
    size_t schedule_count;
    nexus_notify_sent_fn *on_sent;
    void *user_data;
    bool postgres;
    pthread_t threads[NEXUS__NOTIFY_THREADS_MAX];
    size_t thread_count;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct { /* under mutex */
        bool closing;
        uint64_t wakes; /* counts what may have changed the queue */
    } locked;
    struct {
        _Atomic uint64_t attempts, sent, failed, retried;
    } atomic;
};

/* --- the pieces ------------------------------------------------------------------------------ */

nexus_status nexus__notify_migrate(nexus_db *db);

/* dispatch.c */
nexus_status nexus__dispatch_start(nexus_notify *notify, uint32_t email_threads, uint32_t webhook_threads);
void nexus__dispatch_stop(nexus_notify *notify);
void nexus__dispatch_wake(nexus_notify *notify); /* something new is due */

/* decide.c: pure */
typedef struct nexus__decision {
    const char *status; /* the delivery's next */
    int64_t due_ns;     /* of "queued" */
} nexus__decision;
void nexus__notify_decide(nexus__decision *out, const nexus_notify *settings, const nexus__channel *channel,
                          const nexus__outcome *outcome, int64_t attempts, int64_t expires_ns, int64_t now_ns,
                          uint64_t random);

/* channel_email.c, channel_webhook.c */
extern const nexus__channel nexus__channel_email, nexus__channel_webhook;
struct nexus_mail_report;
void nexus__mail_outcome(nexus__outcome *out, nexus_status status, const struct nexus_mail_report *report);
void nexus__http_outcome(nexus__outcome *out, uint16_t code, nexus_slice retry_after, int64_t now_ns);

/* mime.c */
typedef struct nexus__message {
    nexus_slice id, from, to, subject, text, html;
    int64_t date_ns;
} nexus__message;
/* Appends an RFC 5322 message with CRLF lines. NEXUS_EINVAL: a header field with a control character. */
nexus_status nexus__mime_append(nexus__buf *out, const nexus__message *message);
bool nexus__mail_address_valid(nexus_slice address);

/* templates.c */
typedef struct nexus__rendered {
    char *subject, *text, *html; /* html "" when the template has none */
} nexus__rendered;
nexus_status nexus__template_render(nexus__rendered *out, nexus_notify *notify, nexus_db *db, nexus_slice id,
                                    nexus_slice data);
void nexus__rendered_free(nexus__rendered *r);

/* store.c: rows that submit.c and event.c make */
typedef struct nexus__new_notification {
    char id[40];
    nexus_slice owner, user_id, key, request_hash, template_id, category;
    nexus_slice event_id, event_type, subject, traceparent, correlationid, order_id;
    int64_t now_ns;
} nexus__new_notification;
/* NEXUS_ECONFLICT: the key exists; nothing was written and tx is usable. */
nexus_status nexus__insert_notification(nexus_db *tx, nexus__new_notification *n);

typedef struct nexus__new_delivery {
    nexus_slice channel, recipient, endpoint_id, subject, text, html;
    const char *status; /* "queued" or "suppressed" */
    int64_t due_ns, expires_ns;
} nexus__new_delivery;
nexus_status nexus__insert_delivery(nexus_db *tx, const nexus__new_notification *n, const nexus__new_delivery *d);
/* Whether the recipient wants it. */
nexus_status nexus__preference(nexus_db *db, nexus_slice recipient, nexus_slice category, nexus_slice channel,
                               bool *wanted);
/* The end of a transaction: commits when status is NEXUS_OK, else rolls back and returns it. */
nexus_status nexus__notify_finish(nexus_db *tx, nexus_status status);

/* endpoint.c: the endpoints an event goes to, columns id and url */
nexus_status nexus__endpoints_for(nexus_rows **out, nexus_db *db, nexus_slice user_id);
void nexus__endpoint_seal_at_use(nexus_notify *notify, nexus_slice id, nexus_slice sealed); /* outside of transactions */
nexus_status nexus__endpoint_secret(char **out, size_t *n, nexus_notify *notify, nexus_slice id, nexus_slice sealed);
void nexus__endpoint_disable(nexus_notify *notify, nexus_slice id, const char *why);

/* view.c */
nexus_status nexus__view_submitted(char **out, size_t *n, nexus_db *db, nexus_slice id);

/* NEXUS_EINVAL (or another refusal) with code and pointer in the report, which may be NULL. */
nexus_status nexus__notify_refuse(nexus_notify_report *report, nexus_status status, const char *code,
                                  const char *pointer, const char *format, ...) NEXUS_PRINTF(5, 6);

static inline nexus_slice nexus__cell(const nexus_rows *rows, size_t column)
{
    nexus_slice text;
    nexus_rows_text(rows, column, &text);
    return text;
}

/* Takes the text of a buffer as an *out of the API. */
static inline nexus_status nexus__notify_hand_over(nexus__buf *text, char **out, size_t *n)
{
    nexus_status status = text->status;
    size_t len = 0;
    char *made = nexus__buf_take(text, &len);
    nexus__buf_free(text);
    if (!made)
        return status == NEXUS_OK ? NEXUS_ENOMEM : status;
    *out = made;
    if (n)
        *n = len;
    return NEXUS_OK;
}

#endif
