/* What an attempt's outcome means for the delivery. Pure: bytes and `now` in, a decision out. */
#include "base/backoff.h"
#include "base/time.h"
#include "notify/notify.h"

static const char *const names[] = {
    [NEXUS__OUTCOME_OK] = "ok",
    [NEXUS__OUTCOME_CAPTURED] = "captured",
    [NEXUS__OUTCOME_RETRY_AFTER] = "retry_after",
    [NEXUS__OUTCOME_PERMANENT] = "permanent",
    [NEXUS__OUTCOME_RECIPIENT_GONE] = "recipient_gone",
    [NEXUS__OUTCOME_AUTH_BROKEN] = "auth_broken",
    [NEXUS__OUTCOME_AMBIGUOUS] = "ambiguous",
};

const char *nexus__outcome_name(uint32_t kind)
{
    return kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

/* The next wait in nanoseconds; -1: no further attempt. */
static int64_t next_wait(const nexus_notify *s, const nexus__channel *channel, int64_t attempts, uint64_t random)
{
    if (channel->scheduled) {
        if (attempts > (int64_t)s->schedule_count)
            return -1;
        /* 80 % to 120 % of the step. */
        int64_t permille = 800 + (int64_t)(random % 401);
        return (int64_t)s->schedule_s[attempts - 1] * permille * (NEXUS__NS_PER_S / 1000);
    }
    if (attempts >= (int64_t)s->retry_max)
        return -1;
    nexus__backoff backoff = {.base_ms = s->retry_base_ms, .cap_ms = s->retry_cap_ms};
    return (int64_t)nexus__backoff_ms(&backoff, (uint32_t)attempts, random) * NEXUS__NS_PER_MS;
}

static void retry(nexus__decision *out, const nexus_notify *s, const nexus__channel *channel,
                  const nexus__outcome *outcome, int64_t attempts, int64_t expires_ns, int64_t now_ns, uint64_t random)
{
    int64_t wait = next_wait(s, channel, attempts, random);
    int64_t wished = (int64_t)outcome->retry_after_s * NEXUS__NS_PER_S;
    if (wait < 0) {
        out->status = "failed";
        return;
    }
    out->due_ns = now_ns + (wished > wait ? wished : wait);
    out->status = out->due_ns < expires_ns ? "queued" : "expired";
}

void nexus__notify_decide(nexus__decision *out, const nexus_notify *settings, const nexus__channel *channel,
                          const nexus__outcome *outcome, int64_t attempts, int64_t expires_ns, int64_t now_ns,
                          uint64_t random)
{
    *out = (nexus__decision){.status = "failed"};
    switch (outcome->kind) {
    case NEXUS__OUTCOME_OK:
        out->status = channel->done;
        break;
    case NEXUS__OUTCOME_CAPTURED:
        out->status = "captured";
        break;
    case NEXUS__OUTCOME_RETRY_AFTER:
    case NEXUS__OUTCOME_AUTH_BROKEN: /* kept until the operator has mended it, within the same bounds */
        retry(out, settings, channel, outcome, attempts, expires_ns, now_ns, random);
        break;
    case NEXUS__OUTCOME_RECIPIENT_GONE:
        out->status = channel->scheduled ? "failed" : "bounced";
        break;
    case NEXUS__OUTCOME_AMBIGUOUS:
        out->status = "unknown";
        break;
    default:
        break;
    }
}
