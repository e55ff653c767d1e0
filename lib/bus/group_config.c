/* A group's configuration as bytes, and what makes two of them different. */
#include "bus/broker.h"

typedef struct fixed {
    uint32_t start, order;
    uint64_t start_pos;
    int64_t start_time_ns;
    uint32_t ack_wait_ms, max_deliver, max_inflight, backoff_base_ms, backoff_cap_ms,
        update; /* 1 = update, 2 = existing */
} fixed;

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
    nexus__buf_append(out, &f, sizeof f);
    put_text(out, c->types);
    put_text(out, c->subject_prefix);
    put_text(out, c->source);
    put_text(out, c->tags);
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
    return !bytes.n || take_text(&bytes, &c->tags); /* a group of an earlier version has none */
}

nexus__filter nexus__group_config_filter(const nexus__group_config *c)
{
    return (nexus__filter){
        .types = c->types, .subject_prefix = c->subject_prefix, .source = c->source, .tags = c->tags};
}

const char *nexus__group_config_differs(const nexus__group_config *a, const nexus__group_config *b)
{
    if (!nexus__slice_eq(a->types, b->types))
        return "types";
    if (!nexus__slice_eq(a->subject_prefix, b->subject_prefix))
        return "subject_prefix";
    if (!nexus__slice_eq(a->source, b->source))
        return "source";
    if (!nexus__slice_eq(a->tags, b->tags))
        return "tags";
    if (a->order != b->order)
        return "order";
    if (a->ack_wait_ms != b->ack_wait_ms)
        return "ack_wait_ms";
    if (a->max_deliver != b->max_deliver)
        return "max_deliver";
    if (a->max_inflight != b->max_inflight)
        return "max_inflight";
    if (a->backoff_base_ms != b->backoff_base_ms || a->backoff_cap_ms != b->backoff_cap_ms)
        return "backoff";
    return NULL;
}
