/* notify/decide.c and the meaning of SMTP and HTTP replies: pure tables. */
#include <criterion/criterion.h>
#include <stdio.h>

#include <nexus/client.h>

#include "base/time.h"
#include "notify/notify.h"

static const nexus_notify settings = {
    .retry_base_ms = 1000, .retry_cap_ms = 900000, .retry_max = 8, .schedule_s = {5, 300, 1800}, .schedule_count = 3};
static const int64_t now = 1000 * NEXUS__NS_PER_S, far = INT64_MAX;

static nexus__decision decide(const nexus__channel *channel, uint32_t kind, int64_t attempts, uint32_t wish_s,
                              int64_t expires)
{
    nexus__decision d;
    nexus__outcome o = {.kind = kind, .retry_after_s = wish_s};
    nexus__notify_decide(&d, &settings, channel, &o, attempts, expires, now, 12345678901234567u);
    return d;
}

Test(decide, each_outcome_has_its_consequence)
{
    const nexus__channel *email = &nexus__channel_email, *hook = &nexus__channel_webhook;
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_OK, 1, 0, far).status, "sent");
    cr_assert_str_eq(decide(hook, NEXUS__OUTCOME_OK, 1, 0, far).status, "delivered");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_CAPTURED, 1, 0, far).status, "captured");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_PERMANENT, 1, 0, far).status, "failed");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_RECIPIENT_GONE, 1, 0, far).status, "bounced");
    cr_assert_str_eq(decide(hook, NEXUS__OUTCOME_RECIPIENT_GONE, 1, 0, far).status, "failed");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_AMBIGUOUS, 1, 0, far).status, "unknown", "never sent again");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_RETRY_AFTER, 1, 0, far).status, "queued");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_AUTH_BROKEN, 1, 0, far).status, "queued");
}

Test(decide, waits_and_gives_up)
{
    const nexus__channel *email = &nexus__channel_email, *hook = &nexus__channel_webhook;
    for (int n = 1; n <= 3; n++) {
        int64_t step = settings.schedule_s[n - 1] * NEXUS__NS_PER_S;
        nexus__decision d = decide(hook, NEXUS__OUTCOME_RETRY_AFTER, n, 0, far);
        cr_assert(d.due_ns >= now + step * 8 / 10 && d.due_ns <= now + step * 12 / 10);
    }
    cr_assert_str_eq(decide(hook, NEXUS__OUTCOME_RETRY_AFTER, 4, 0, far).status, "failed");
    cr_assert_leq(decide(email, NEXUS__OUTCOME_RETRY_AFTER, 1, 0, far).due_ns, now + NEXUS__NS_PER_S);
    cr_assert_eq(decide(email, NEXUS__OUTCOME_RETRY_AFTER, 1, 300, far).due_ns, now + 300 * NEXUS__NS_PER_S,
                 "the server's wish is longer than our own wait");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_RETRY_AFTER, 8, 0, far).status, "failed");
    cr_assert_str_eq(decide(email, NEXUS__OUTCOME_RETRY_AFTER, 1, 300, now + 1).status, "expired");
}

Test(decide, smtp_replies)
{
    static const struct {
        nexus_status status;
        uint16_t code;
        const char *enhanced;
        uint32_t kind, wait_s;
    } rows[] = {
        {NEXUS_OK, 250, "2.0.0", NEXUS__OUTCOME_OK, 0},
        {NEXUS_EAGAIN, 421, "", NEXUS__OUTCOME_RETRY_AFTER, 0},
        {NEXUS_EAGAIN, 450, "4.2.1", NEXUS__OUTCOME_RETRY_AFTER, 0},
        {NEXUS_EAGAIN, 451, "4.7.1", NEXUS__OUTCOME_RETRY_AFTER, 300},
        {NEXUS_EAGAIN, 454, "4.7.0", NEXUS__OUTCOME_RETRY_AFTER, 0},
        {NEXUS_EAUTH, 535, "5.7.8", NEXUS__OUTCOME_AUTH_BROKEN, 0},
        {NEXUS_EPERM, 530, "", NEXUS__OUTCOME_AUTH_BROKEN, 0},
        {NEXUS_EPERM, 550, "5.1.1", NEXUS__OUTCOME_RECIPIENT_GONE, 0},
        {NEXUS_EPERM, 550, "", NEXUS__OUTCOME_RECIPIENT_GONE, 0},
        {NEXUS_EPERM, 550, "5.7.1", NEXUS__OUTCOME_PERMANENT, 0},
        {NEXUS_EPERM, 552, "5.2.2", NEXUS__OUTCOME_RETRY_AFTER, 0},
        {NEXUS_EPERM, 554, "5.7.1", NEXUS__OUTCOME_PERMANENT, 0},
        {NEXUS_EUNKNOWN, 0, "", NEXUS__OUTCOME_AMBIGUOUS, 0},
        {NEXUS_EUNREACH, 0, "", NEXUS__OUTCOME_RETRY_AFTER, 0},
        {NEXUS_ETIMEDOUT, 0, "", NEXUS__OUTCOME_RETRY_AFTER, 0},
        {NEXUS_EAUTH, 0, "", NEXUS__OUTCOME_AUTH_BROKEN, 0},
        {NEXUS_EINVAL, 0, "", NEXUS__OUTCOME_PERMANENT, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus_mail_report report = {.size = sizeof report, .code = rows[i].code};
        nexus__outcome o = {.kind = 99};
        snprintf(report.enhanced, sizeof report.enhanced, "%s", rows[i].enhanced);
        nexus__mail_outcome(&o, rows[i].status, &report);
        cr_assert_eq(o.kind, rows[i].kind, "row %zu: %s", i, nexus__outcome_name(o.kind));
        cr_assert_eq(o.retry_after_s, rows[i].wait_s, "row %zu", i);
    }
}

Test(decide, http_replies)
{
    static const struct {
        uint16_t code;
        nexus_slice retry_after;
        uint32_t kind, wait_s;
    } rows[] = {
        {200, {"", 0}, NEXUS__OUTCOME_OK, 0},
        {204, {"", 0}, NEXUS__OUTCOME_OK, 0},
        {301, {"", 0}, NEXUS__OUTCOME_RETRY_AFTER, 0},
        {400, {"", 0}, NEXUS__OUTCOME_RETRY_AFTER, 0},
        {410, {"", 0}, NEXUS__OUTCOME_RECIPIENT_GONE, 0},
        {429, {"7", 1}, NEXUS__OUTCOME_RETRY_AFTER, 7},
        {503, {"Thu, 01 Jan 1970 00:20:00 GMT", 29}, NEXUS__OUTCOME_RETRY_AFTER, 200},
        {503, {"Thu, 01 Jan 1970 00:00:00 GMT", 29}, NEXUS__OUTCOME_RETRY_AFTER, 0},
        {429, {"604800", 6}, NEXUS__OUTCOME_RETRY_AFTER, 86400},
        {429, {"soon", 4}, NEXUS__OUTCOME_RETRY_AFTER, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus__outcome o = {.kind = 99};
        nexus__http_outcome(&o, rows[i].code, rows[i].retry_after, now);
        cr_assert_eq(o.kind, rows[i].kind, "row %zu", i);
        cr_assert_eq(o.retry_after_s, rows[i].wait_s, "row %zu", i);
    }
}
