/* Opening and closing a dispatcher, its channels, its figures. */
#include <errno.h>
#include <sys/stat.h>
#include <time.h>

#include "base/status.h"
#include "notify/notify.h"

/* Channels by name; those without functions are known, and not built. */
static const nexus__channel not_built[] = {{.name = "sms"}, {.name = "push"}, {.name = "slack"}, {.name = "discord"}};

const nexus__channel *nexus__channel_find(nexus_slice name)
{
    if (nexus__slice_eq_c(name, nexus__channel_email.name))
        return &nexus__channel_email;
    if (nexus__slice_eq_c(name, nexus__channel_webhook.name))
        return &nexus__channel_webhook;
    for (size_t i = 0; i < sizeof not_built / sizeof not_built[0]; i++)
        if (nexus__slice_eq_c(name, not_built[i].name))
            return &not_built[i];
    return NULL;
}

void nexus_notify_opts_init(nexus_notify_opts *opts)
{
    *opts = (nexus_notify_opts)NEXUS_NOTIFY_OPTS_INIT;
}

static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

static nexus_status copy_text(char **out, const nexus_notify *notify, const char *text)
{
    if (!text || !*text)
        return NEXUS_OK;
    *out = nexus__strndup(notify->alloc, nexus__slice_c(text));
    return *out ? NEXUS_OK : nexus__nomem();
}

static nexus_status read_schedule(nexus_notify *notify, const char *text)
{
    nexus_slice rest = nexus__slice_c(text ? text : "5,300,1800,7200,18000,36000,50400,72000,86400");
    while (rest.n > 0) {
        uint64_t seconds = 0;
        if (!nexus__parse_u64(nexus__slice_trim(nexus__slice_cut(&rest, ',')), &seconds) || seconds > 30 * 86400 ||
            notify->schedule_count == NEXUS__NOTIFY_SCHEDULE_MAX)
            return nexus__fail(NEXUS_EINVAL, "webhook_schedule_s is at most %d numbers of seconds, parted by commas",
                               NEXUS__NOTIFY_SCHEDULE_MAX);
        notify->schedule_s[notify->schedule_count++] = (uint32_t)seconds;
    }
    return NEXUS_OK;
}

static nexus_status make_mailbox(const nexus_notify *notify)
{
    if (!notify->mailbox_dir || mkdir(notify->mailbox_dir, 0700) == 0 || errno == EEXIST)
        return NEXUS_OK;
    return nexus__fail_errno(errno, "cannot make the mailbox %s", notify->mailbox_dir);
}

static nexus_status configure(nexus_notify *notify, const nexus_notify_opts *o)
{
    notify->lease_ms = or_default(o->lease_ms, 60000);
    notify->retry_base_ms = or_default(o->retry_base_ms, 1000);
    notify->retry_cap_ms = or_default(o->retry_cap_ms, 900000);
    notify->retry_max = or_default(o->retry_max, 8);
    notify->ttl_s = or_default(o->ttl_s, 86400);
    notify->webhook_timeout_ms = or_default(o->webhook_timeout_ms, 15000);
    nexus_status status = read_schedule(notify, o->webhook_schedule_s);
    if (status == NEXUS_OK)
        status = copy_text(&notify->smtp_url, notify, o->smtp_url);
    if (status == NEXUS_OK)
        status = copy_text(&notify->mail_from, notify, o->mail_from ? o->mail_from : "nexus@localhost");
    if (status == NEXUS_OK && !notify->smtp_url)
        status = copy_text(&notify->mailbox_dir, notify, o->mailbox_dir);
    if (status == NEXUS_OK && (!notify->mail_from || !nexus__mail_address_valid(nexus__slice_c(notify->mail_from))))
        status = nexus__fail(NEXUS_EINVAL, "mail_from is not an address such as shop@example.com");
    return status == NEXUS_OK ? make_mailbox(notify) : status;
}

static void init_waiting(nexus_notify *notify)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&notify->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&notify->mutex, NULL);
}

nexus_status nexus_notify_open(nexus_notify **out, nexus_db *db, const nexus_notify_opts *opts)
{
    nexus_notify_opts o = NEXUS_NOTIFY_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    if (!db)
        return nexus__fail(NEXUS_EINVAL, "a dispatcher needs a database");
    nexus_notify *notify = nexus__calloc(o.alloc, 1, sizeof *notify);
    if (!notify)
        return nexus__nomem();
    notify->alloc = o.alloc;
    notify->db = db;
    notify->client = o.client;
    notify->secrets = o.secrets;
    notify->event_secrets = o.event_secrets;
    notify->on_sent = o.on_sent;
    notify->user_data = o.user_data;
    notify->postgres = strcmp(nexus_db_kind(db), "postgres") == 0;
    init_waiting(notify);
    nexus_status status = configure(notify, &o);
    if (status == NEXUS_OK)
        status = nexus__notify_migrate(db);
    if (status == NEXUS_OK)
        status = nexus__dispatch_start(notify, or_default(o.email_threads, 2), or_default(o.webhook_threads, 4));
    if (status != NEXUS_OK) {
        nexus_notify_close(notify);
        return status;
    }
    *out = notify;
    return NEXUS_OK;
}

void nexus_notify_close(nexus_notify *notify)
{
    if (!notify)
        return;
    nexus__dispatch_stop(notify);
    pthread_cond_destroy(&notify->wake);
    pthread_mutex_destroy(&notify->mutex);
    nexus__free(notify->alloc, notify->smtp_url);
    nexus__free(notify->alloc, notify->mail_from);
    nexus__free(notify->alloc, notify->mailbox_dir);
    nexus__free(notify->alloc, notify);
}

nexus_status nexus_notify_read_stats(nexus_notify *notify, nexus_notify_stats *stats)
{
    nexus_notify_stats now = {.size = stats->size,
                              .attempts = atomic_load(&notify->atomic.attempts),
                              .sent = atomic_load(&notify->atomic.sent),
                              .failed = atomic_load(&notify->atomic.failed),
                              .retried = atomic_load(&notify->atomic.retried)};
    nexus_rows *rows = NULL;
    nexus_status status = nexus_db_query_one(
        &rows, notify->db, "SELECT count(*) FROM notify_deliveries WHERE status IN ('queued', 'sending')", NULL, 0);
    if (status == NEXUS_OK)
        now.waiting = nexus_rows_int(rows, 0);
    nexus_rows_free(rows);
    memcpy(stats, &now, stats->size < sizeof now ? stats->size : sizeof now);
    return status;
}
