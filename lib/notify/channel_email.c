/* E-mail: over SMTP, or into the development mailbox, where it is captured and never counts as delivered. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nexus/client.h>

#include "base/status.h"
#include "base/time.h"
#include "notify/notify.h"

enum { GREYLIST_WAIT_S = 300, SMTP_TIMEOUT_MS = 30000 };

/* --- what SMTP replies mean (RFC 5321, RFC 3463) ---------------------------------------------- */

static const struct {
    uint16_t code;
    const char *enhanced; /* prefix; "" = any */
    uint32_t kind;
    uint32_t wait_s;
} replies[] = {
    /* the first row that fits */
    {451, "4.7.1", NEXUS__OUTCOME_RETRY_AFTER, GREYLIST_WAIT_S}, /* greylisted */
    {530, "", NEXUS__OUTCOME_AUTH_BROKEN, 0},
    {534, "", NEXUS__OUTCOME_AUTH_BROKEN, 0},
    {535, "", NEXUS__OUTCOME_AUTH_BROKEN, 0},
    {538, "", NEXUS__OUTCOME_AUTH_BROKEN, 0},
    {552, "", NEXUS__OUTCOME_RETRY_AFTER, 0}, /* mailbox full */
    {550, "5.2.2", NEXUS__OUTCOME_RETRY_AFTER, 0},
    {550, "5.7", NEXUS__OUTCOME_PERMANENT, 0}, /* policy, not the address */
    {553, "5.7", NEXUS__OUTCOME_PERMANENT, 0},
    {550, "", NEXUS__OUTCOME_RECIPIENT_GONE, 0},
    {551, "", NEXUS__OUTCOME_RECIPIENT_GONE, 0},
    {553, "", NEXUS__OUTCOME_RECIPIENT_GONE, 0},
    {554, "5.1", NEXUS__OUTCOME_RECIPIENT_GONE, 0},
};

static uint32_t kind_of_reply(uint16_t code, const char *enhanced, uint32_t *wait_s)
{
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        if (replies[i].code == code && strncmp(enhanced, replies[i].enhanced, strlen(replies[i].enhanced)) == 0) {
            *wait_s = replies[i].wait_s;
            return replies[i].kind;
        }
    }
    return code >= 400 && code < 500 ? NEXUS__OUTCOME_RETRY_AFTER : NEXUS__OUTCOME_PERMANENT;
}

void nexus__mail_outcome(nexus__outcome *out, nexus_status status, const nexus_mail_report *report)
{
    out->code = report->code;
    out->ms = report->ms;
    snprintf(out->response, sizeof out->response, "%s", report->text);
    if (status == NEXUS_OK) {
        out->kind = NEXUS__OUTCOME_OK;
        return;
    }
    snprintf(out->error, sizeof out->error, "%s", nexus_error_message());
    if (status == NEXUS_EUNKNOWN)
        out->kind = NEXUS__OUTCOME_AMBIGUOUS;
    else if (report->code >= 400)
        out->kind = kind_of_reply(report->code, report->enhanced, &out->retry_after_s);
    else if (status == NEXUS_EAUTH)
        out->kind = NEXUS__OUTCOME_AUTH_BROKEN;
    else if (status == NEXUS_EINVAL || status == NEXUS_EPERM)
        out->kind = NEXUS__OUTCOME_PERMANENT;
    else
        out->kind = NEXUS__OUTCOME_RETRY_AFTER;
}

/* --- the development mailbox ------------------------------------------------------------------- */

static nexus_status write_all(int fd, nexus_slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return nexus__fail_errno(errno, "cannot write to the mailbox");
        bytes = nexus__slice_from(bytes, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) == 0 ? NEXUS_OK : nexus__fail_errno(errno, "cannot write to the mailbox");
}

/* Whole or not at all: written beside and renamed. The id is ours, so it cannot lead elsewhere. */
static nexus_status capture(const nexus_notify *notify, nexus_slice id, nexus_slice message)
{
    char path[4200], beside[4200];
    int n = snprintf(path, sizeof path, "%s/%.*s.eml", notify->mailbox_dir, (int)id.n, id.p);
    snprintf(beside, sizeof beside, "%s/.%.*s", notify->mailbox_dir, (int)id.n, id.p);
    if (n < 0 || (size_t)n >= sizeof path)
        return nexus__fail(NEXUS_EINVAL, "the path of the mailbox is too long");
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return nexus__fail_errno(errno, "cannot write to the mailbox %s", notify->mailbox_dir);
    nexus_status status = write_all(fd, message);
    close(fd);
    if (status == NEXUS_OK && rename(beside, path) != 0)
        status = nexus__fail_errno(errno, "cannot write to the mailbox %s", notify->mailbox_dir);
    if (status != NEXUS_OK)
        unlink(beside);
    return status;
}

static void deliver_to_mailbox(const nexus_notify *notify, const nexus__delivery *d, nexus_slice message,
                               nexus__outcome *out)
{
    int64_t start = nexus__mono_ns();
    nexus_status status = capture(notify, d->id, message);
    out->ms = (uint32_t)((nexus__mono_ns() - start) / NEXUS__NS_PER_MS);
    out->kind = status == NEXUS_OK ? NEXUS__OUTCOME_CAPTURED : NEXUS__OUTCOME_RETRY_AFTER;
    if (status == NEXUS_OK)
        snprintf(out->response, sizeof out->response, "captured in the development mailbox; not sent");
    else
        snprintf(out->error, sizeof out->error, "%s", nexus_error_message());
}

/* --- the channel -------------------------------------------------------------------------------- */

static void deliver_by_smtp(nexus_notify *notify, const nexus__delivery *d, nexus_slice message, nexus__outcome *out)
{
    nexus_mail mail = NEXUS_MAIL_INIT;
    nexus_mail_report report = {.size = sizeof report};
    mail.url = nexus__slice_c(notify->smtp_url);
    mail.from = nexus__slice_c(notify->mail_from);
    mail.to = &d->recipient;
    mail.to_count = 1; /* one recipient a transaction: its outcome is exact */
    mail.message = message;
    mail.timeout_ms = SMTP_TIMEOUT_MS;
    nexus_status status = nexus_client_mail(notify->client, &mail, &report);
    nexus__mail_outcome(out, status, &report);
}

static void deliver_email(nexus_notify *notify, const nexus__delivery *d, nexus__outcome *out)
{
    nexus__buf text;
    nexus__buf_init(&text, notify->alloc, 0);
    nexus__message message = {.id = d->id,
                              .from = nexus__slice_c(notify->mail_from),
                              .to = d->recipient,
                              .subject = d->subject,
                              .text = d->text,
                              .html = d->html,
                              .date_ns = nexus__real_ns()};
    nexus_status status = nexus__mime_append(&text, &message);
    if (status != NEXUS_OK) {
        out->kind = status == NEXUS_EINVAL ? NEXUS__OUTCOME_PERMANENT : NEXUS__OUTCOME_RETRY_AFTER;
        snprintf(out->error, sizeof out->error, "%s", nexus_error_message());
    } else if (notify->smtp_url) {
        deliver_by_smtp(notify, d, nexus__buf_slice(&text), out);
    } else {
        deliver_to_mailbox(notify, d, nexus__buf_slice(&text), out);
    }
    nexus__buf_free(&text);
}

static bool email_configured(const nexus_notify *notify)
{
    return notify->mailbox_dir || (notify->smtp_url && notify->client);
}

const nexus__channel nexus__channel_email = {
    .name = "email", .done = "sent", .configured = email_configured, .deliver = deliver_email};
