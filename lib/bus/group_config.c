/* A group's configuration as bytes, and what makes two of them different. */
#include "bus/broker.h"

#include "base/backoff.h"
#include "base/status.h"

typedef struct fixed {
    uint32_t start, order;
    uint64_t start_pos;
    int64_t start_time_ns;
    uint32_t ack_wait_ms, max_deliver, max_inflight, backoff_base_ms, backoff_cap_ms,
        update; /* 1 = update, 2 = existing */
} fixed;

/* What came later stands behind the first texts, so that what was stored before it is read as ever: tags, then this. */
typedef struct limits {
    uint64_t max_inflight_bytes, member_inflight_bytes;
    double backoff_factor;
    uint32_t on_exhausted, max_lease_ms, member_inflight, sticky_ms, redeliver_percent, redeliver_per_s, breaker_percent,
        breaker_samples, dead_max, dead_overflow, dead_expire_s, breaker_pause_ms;
} limits;

static void put_text(nexus__buf *out, nexus_slice text)
{
    uint32_t n = (uint32_t)text.n;
    nexus__buf_append(out, &n, sizeof n);
    nexus__buf_slice_append(out, text);
}

void nexus__group_config_encode(nexus__buf *out, const nexus__group_config *c)
{
    fixed f = {c->start,          c->order,
               c->start_pos,      c->start_time_ns,
               c->ack_wait_ms,    c->max_deliver,
               c->max_inflight,   c->backoff_base_ms,
               c->backoff_cap_ms, (c->update ? 1u : 0) | (c->existing ? 2u : 0)};
    limits l = {.max_inflight_bytes = c->max_inflight_bytes,
                .member_inflight_bytes = c->member_inflight_bytes,
                .backoff_factor = c->backoff_factor,
                .on_exhausted = c->on_exhausted,
                .max_lease_ms = c->max_lease_ms,
                .member_inflight = c->member_inflight,
                .sticky_ms = c->sticky_ms,
                .redeliver_percent = c->redeliver_percent,
                .redeliver_per_s = c->redeliver_per_s,
                .breaker_percent = c->breaker_percent,
                .breaker_samples = c->breaker_samples,
                .breaker_pause_ms = c->breaker_pause_ms,
                .dead_max = c->dead_max,
                .dead_overflow = c->dead_overflow,
                .dead_expire_s = c->dead_expire_s};
    nexus__buf_append(out, &f, sizeof f);
    put_text(out, c->types);
    put_text(out, c->subject_prefix);
    put_text(out, c->source);
    put_text(out, c->tags);
    nexus__buf_append(out, &l, sizeof l);
    put_text(out, c->backoff_classes);
    put_text(out, c->high_types);
    put_text(out, c->low_types);
}

static bool take_text(nexus_slice *bytes, nexus_slice *out)
{
    uint32_t n;
    if (bytes->n < sizeof n)
        return false;
    memcpy(&n, bytes->p, sizeof n);
    if (bytes->n - sizeof n < n)
        return false;
    *out = nexus__slice(bytes->p + sizeof n, n);
    *bytes = nexus__slice_from(*bytes, sizeof n + n);
    return true;
}

static bool take_limits(nexus_slice *bytes, nexus__group_config *c)
{
    limits l = {0};
    bool there = bytes->n > 0;
    if (there && bytes->n < sizeof l)
        return false;
    if (there) {
        memcpy(&l, bytes->p, sizeof l);
        *bytes = nexus__slice_from(*bytes, sizeof l);
    }
    c->max_inflight_bytes = l.max_inflight_bytes;
    c->member_inflight_bytes = l.member_inflight_bytes;
    c->backoff_factor = l.backoff_factor;
    c->on_exhausted = l.on_exhausted;
    c->max_lease_ms = l.max_lease_ms;
    c->member_inflight = l.member_inflight;
    c->sticky_ms = l.sticky_ms;
    c->redeliver_percent = l.redeliver_percent;
    c->redeliver_per_s = l.redeliver_per_s;
    c->breaker_percent = l.breaker_percent;
    c->breaker_samples = l.breaker_samples;
    c->breaker_pause_ms = l.breaker_pause_ms;
    c->dead_max = l.dead_max;
    c->dead_overflow = l.dead_overflow;
    c->dead_expire_s = l.dead_expire_s;
    nexus__group_config_defaults(c);
    return !there || (take_text(bytes, &c->backoff_classes) &&
                      take_text(bytes, &c->high_types) && take_text(bytes, &c->low_types));
}

bool nexus__group_config_decode(nexus_slice bytes, nexus__group_config *c)
{
    fixed f;
    if (bytes.n < sizeof f)
        return false;
    memcpy(&f, bytes.p, sizeof f);
    bytes = nexus__slice_from(bytes, sizeof f);
    *c = (nexus__group_config){.start = f.start,
                               .order = f.order,
                               .start_pos = f.start_pos,
                               .start_time_ns = f.start_time_ns,
                               .ack_wait_ms = f.ack_wait_ms,
                               .max_deliver = f.max_deliver,
                               .max_inflight = f.max_inflight,
                               .backoff_base_ms = f.backoff_base_ms,
                               .backoff_cap_ms = f.backoff_cap_ms,
                               .update = f.update & 1,
                               .existing = f.update & 2};
    if (!take_text(&bytes, &c->types) || !take_text(&bytes, &c->subject_prefix) || !take_text(&bytes, &c->source))
        return false;
    c->tags = NEXUS_S("");
    return (!bytes.n || take_text(&bytes, &c->tags)) && take_limits(&bytes, c);
}

nexus__filter nexus__group_config_filter(const nexus__group_config *c)
{
    return (nexus__filter){
        .types = c->types, .subject_prefix = c->subject_prefix, .source = c->source, .tags = c->tags};
}

/* --- defaults and limits ------------------------------------------------------------------------------------------ */

#define OR(field, value) c->field = c->field ? c->field : (value)

void nexus__group_config_defaults(nexus__group_config *c)
{
    OR(ack_wait_ms, 30000);
    OR(max_deliver, 8);
    OR(max_inflight, 1024);
    if (c->order == NEXUS_ORDER_TOTAL)
        c->max_inflight = 1;
    OR(backoff_base_ms, 200);
    OR(backoff_cap_ms, 60000);
    OR(max_lease_ms, c->ack_wait_ms < UINT32_MAX / 10 ? c->ack_wait_ms * 10 : UINT32_MAX);
    OR(max_inflight_bytes, 64u << 20);
    OR(member_inflight, c->max_inflight);
    OR(member_inflight_bytes, c->max_inflight_bytes);
    OR(redeliver_percent, 10);
    OR(redeliver_per_s, 10);
    OR(breaker_samples, 20);
    OR(breaker_pause_ms, 5000);
    OR(dead_max, NEXUS__LETTERS_MAX);
    if (!(c->backoff_factor >= 1))
        c->backoff_factor = 2;
}

/* One "class=base/cap"; false when it is not that. */
static bool read_class(nexus_slice item, nexus_slice *name, nexus__backoff *b)
{
    uint64_t base, cap;
    *name = nexus__slice_trim(nexus__slice_cut(&item, '='));
    nexus_slice first = nexus__slice_trim(nexus__slice_cut(&item, '/')), second = nexus__slice_trim(item);
    if (!name->n || !nexus__parse_u64(first, &base) || !nexus__parse_u64(second, &cap) || base > UINT32_MAX ||
        cap > UINT32_MAX || base > cap)
        return false;
    b->base_ms = (uint32_t)base;
    b->cap_ms = (uint32_t)cap;
    return true;
}

nexus__backoff nexus__group_config_backoff(const nexus__group_config *c, nexus_slice reason)
{
    nexus__backoff b = {.base_ms = c->backoff_base_ms, .cap_ms = c->backoff_cap_ms, .factor = c->backoff_factor};
    nexus_slice rest = c->backoff_classes, class = nexus__slice_trim(nexus__slice_cut(&reason, ':'));
    while (rest.n) {
        nexus__backoff other = b;
        nexus_slice name;
        if (read_class(nexus__slice_cut(&rest, ','), &name, &other) && nexus__slice_eq(name, class))
            return other;
    }
    return b;
}

nexus_status nexus__group_config_check(nexus_slice name, const nexus__group_config *c)
{
    const nexus_slice patterns[] = {c->types, c->high_types, c->low_types};
    if (c->order > NEXUS_ORDER_TOTAL || c->start > NEXUS_START_TIME || c->on_exhausted > NEXUS_PARK_LANE ||
        c->dead_overflow > NEXUS_DEAD_DROP_OLDEST)
        return nexus__fail(NEXUS_EINVAL, "group %.*s: order, start, on_exhausted or dead_overflow is not one of the named values",
                           (int)name.n, name.p);
    if (c->on_exhausted == NEXUS_PARK_LANE && c->order == NEXUS_ORDER_NONE)
        return nexus__fail(NEXUS_EINVAL, "group %.*s: without order there are no lanes to park; on_exhausted is PARK_EVENT",
                           (int)name.n, name.p);
    if (c->breaker_percent > 100 || c->dead_max > NEXUS__LETTERS_MAX)
        return nexus__fail(NEXUS_EINVAL, "group %.*s: breaker_percent is at most 100, dead_max at most %d", (int)name.n,
                           name.p, NEXUS__LETTERS_MAX);
    for (nexus_slice rest = c->backoff_classes; rest.n;) {
        nexus__backoff b = {0};
        nexus_slice class, item = nexus__slice_cut(&rest, ',');
        if (!read_class(item, &class, &b))
            return nexus__fail(NEXUS_EINVAL, "group %.*s: backoff_classes \"%.*s\" is not class=base_ms/cap_ms",
                               (int)name.n, name.p, (int)item.n, item.p);
    }
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns && status == NEXUS_OK; i++)
        status = nexus__types_check(patterns[i]);
    return status;
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

#define DIFFERS(field)                                                                                                 \
    if (a->field != b->field)                                                                                          \
        return #field;
#define DIFFERS_TEXT(field)                                                                                            \
    if (!nexus__slice_eq(a->field, b->field))                                                                          \
        return #field;

const char *nexus__group_config_differs(const nexus__group_config *a, const nexus__group_config *b)
{
    DIFFERS_TEXT(types)
    DIFFERS_TEXT(subject_prefix)
    DIFFERS_TEXT(source)
    DIFFERS_TEXT(tags)
    DIFFERS(order)
    DIFFERS(ack_wait_ms)
    DIFFERS(max_deliver)
    DIFFERS(max_inflight)
    DIFFERS(backoff_base_ms)
    DIFFERS(backoff_cap_ms)
    if (a->backoff_factor < b->backoff_factor || a->backoff_factor > b->backoff_factor)
        return "backoff_factor";
    DIFFERS_TEXT(backoff_classes)
    DIFFERS(on_exhausted)
    DIFFERS(max_lease_ms)
    DIFFERS(max_inflight_bytes)
    DIFFERS(member_inflight)
    DIFFERS(member_inflight_bytes)
    DIFFERS(sticky_ms)
    DIFFERS_TEXT(high_types)
    DIFFERS_TEXT(low_types)
    DIFFERS(redeliver_percent)
    DIFFERS(redeliver_per_s)
    DIFFERS(breaker_percent)
    DIFFERS(breaker_samples)
    DIFFERS(breaker_pause_ms)
    DIFFERS(dead_max)
    DIFFERS(dead_overflow)
    DIFFERS(dead_expire_s)
    return NULL;
}
