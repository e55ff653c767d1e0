#include "bus/wire.h"

#include "base/codec.h"
#include "base/status.h"

size_t nexus__wire_begin(nexus__buf *out, uint16_t op, int32_t status, uint64_t id)
{
    size_t begin = out->len;
    nexus__wire_head head = {.op = op, .status = status, .id = id};
    nexus__buf_append(out, &head, sizeof head);
    return begin;
}

static uint32_t frame_crc(const char *frame, size_t n)
{
    return nexus__crc32c(0, frame + 8, n - 8);
}

void nexus__wire_end(nexus__buf *out, size_t begin)
{
    if (out->status != NEXUS_OK)
        return;
    uint32_t bytes = (uint32_t)(out->len - begin - sizeof(nexus__wire_head));
    memcpy(out->p + begin, &bytes, sizeof bytes);
    uint32_t crc = frame_crc(out->p + begin, out->len - begin);
    memcpy(out->p + begin + 4, &crc, sizeof crc);
}

nexus_status nexus__wire_decode(const char *bytes, size_t n, nexus__wire_head *head, nexus_slice *body, size_t *used)
{
    if (n < sizeof *head)
        return NEXUS_EAGAIN;
    memcpy(head, bytes, sizeof *head);
    if (head->bytes > NEXUS__WIRE_BODY_MAX)
        return nexus__fail(NEXUS_EPROTO, "a frame of %u bytes is over the cap of %u", head->bytes, NEXUS__WIRE_BODY_MAX);
    uint16_t op = head->op & (uint16_t)~NEXUS__WIRE_REPLY;
    if (op == 0 || op > WIRE_OP_MAX || head->reserved)
        return nexus__fail(NEXUS_EPROTO, "a frame with the unknown operation %u", head->op);
    if (n - sizeof *head < head->bytes)
        return NEXUS_EAGAIN;
    *used = sizeof *head + head->bytes;
    if (head->crc != frame_crc(bytes, *used))
        return nexus__fail(NEXUS_EPROTO, "a frame fails its check");
    *body = nexus__slice(bytes + sizeof *head, head->bytes);
    return NEXUS_OK;
}

void nexus__wire_take(nexus__wire_in *in, void *out, size_t n)
{
    if (in->bad || in->rest.n < n) {
        in->bad = true;
        memset(out, 0, n);
        return;
    }
    memcpy(out, in->rest.p, n);
    in->rest = nexus__slice_from(in->rest, n);
}

uint32_t nexus__wire_take_u32(nexus__wire_in *in)
{
    uint32_t v;
    nexus__wire_take(in, &v, sizeof v);
    return v;
}

uint64_t nexus__wire_take_u64(nexus__wire_in *in)
{
    uint64_t v;
    nexus__wire_take(in, &v, sizeof v);
    return v;
}

nexus_slice nexus__wire_take_text(nexus__wire_in *in)
{
    uint32_t n = nexus__wire_take_u32(in);
    if (in->bad || in->rest.n < n) {
        in->bad = true;
        return NEXUS_S("");
    }
    nexus_slice text = nexus__slice(in->rest.p, n);
    in->rest = nexus__slice_from(in->rest, n);
    return text;
}

void nexus__wire_event(nexus__buf *out, const nexus_event *e, nexus_slice meta)
{
    nexus__wire_u64(out, e->pos);
    nexus__wire_u64(out, (uint64_t)e->version);
    nexus__wire_u64(out, (uint64_t)e->recv_ns);
    nexus__wire_text(out, meta);
    nexus__wire_text(out, e->data);
}

void nexus__wire_take_event(nexus__wire_in *in, nexus__wire_stored *out)
{
    out->pos = nexus__wire_take_u64(in);
    out->version = (int64_t)nexus__wire_take_u64(in);
    out->recv_ns = (int64_t)nexus__wire_take_u64(in);
    out->meta = nexus__wire_take_text(in);
    out->data = nexus__wire_take_text(in);
}

void nexus__wire_read_request(nexus__buf *out, const nexus__read_request *r)
{
    nexus__wire_u64(out, r->from);
    nexus__wire_u64(out, r->to);
    nexus__wire_u64(out, (uint64_t)r->from_time_ns);
    nexus__wire_u64(out, (uint64_t)r->from_version);
    nexus__wire_u32(out, r->max);
    nexus__wire_u32(out, r->wait_ms);
    nexus__wire_text(out, r->filter.types);
    nexus__wire_text(out, r->filter.subject_prefix);
    nexus__wire_text(out, r->filter.source);
    nexus__wire_text(out, r->filter.stream);
    nexus__wire_text(out, r->filter.category);
    nexus__wire_text(out, r->filter.tags);
}

void nexus__wire_take_read_request(nexus__wire_in *in, nexus__read_request *r)
{
    r->from = nexus__wire_take_u64(in);
    r->to = nexus__wire_take_u64(in);
    r->from_time_ns = (int64_t)nexus__wire_take_u64(in);
    r->from_version = (int64_t)nexus__wire_take_u64(in);
    r->max = nexus__wire_take_u32(in);
    r->wait_ms = nexus__wire_take_u32(in);
    r->filter.types = nexus__wire_take_text(in);
    r->filter.subject_prefix = nexus__wire_take_text(in);
    r->filter.source = nexus__wire_take_text(in);
    r->filter.stream = nexus__wire_take_text(in);
    r->filter.category = nexus__wire_take_text(in);
    r->filter.tags = nexus__wire_take_text(in);
}

void nexus__wire_dead_query(nexus__buf *out, const nexus__dead_query *q)
{
    nexus__wire_text(out, q->types);
    nexus__wire_text(out, q->key);
    nexus__wire_text(out, q->reason);
    nexus__wire_u64(out, q->pos);
    nexus__wire_u64(out, q->after);
    nexus__wire_u64(out, (uint64_t)q->before_ns);
    nexus__wire_u32(out, q->limit);
}

void nexus__wire_take_dead_query(nexus__wire_in *in, nexus__dead_query *q)
{
    q->types = nexus__wire_take_text(in);
    q->key = nexus__wire_take_text(in);
    q->reason = nexus__wire_take_text(in);
    q->pos = nexus__wire_take_u64(in);
    q->after = nexus__wire_take_u64(in);
    q->before_ns = (int64_t)nexus__wire_take_u64(in);
    q->limit = nexus__wire_take_u32(in);
}
