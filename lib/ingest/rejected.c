#include "ingest/rejected.h"

#include "base/time.h"
#include "json/write.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000

void nexus__rejected_init(nexus__rejected *r, const nexus_alloc *alloc, uint32_t max, size_t max_bytes)
{
    *r = (nexus__rejected){.first = 1, .next = 1, .max = max, .max_bytes = max_bytes, .alloc = alloc};
}

static nexus__rejected_row *row_at(const nexus__rejected *r, uint64_t seq)
{
    return &r->ring[seq % r->cap];
}

static void drop_oldest(nexus__rejected *r)
{
    nexus__rejected_row *row = row_at(r, r->first++);
    r->bytes -= row->bytes;
    nexus__free(r->alloc, row->body);
}

void nexus__rejected_free(nexus__rejected *r)
{
    while (r->first < r->next)
        drop_oldest(r);
    nexus__free(r->alloc, r->ring);
    r->ring = NULL;
}

/* Doubles the ring up to its maximum; rows move to where their seq belongs in the bigger one. */
static bool grow(nexus__rejected *r)
{
    nexus__rejected bigger = *r;
    bigger.cap = r->cap == 0 ? 64 : r->cap * 2 < r->max ? r->cap * 2 : r->max;
    bigger.ring = nexus__calloc(r->alloc, bigger.cap, sizeof *bigger.ring);
    if (!bigger.ring)
        return false;
    for (uint64_t seq = r->first; seq < r->next; seq++)
        *row_at(&bigger, seq) = *row_at(r, seq);
    nexus__free(r->alloc, r->ring);
    *r = bigger;
    return true;
}

void nexus__rejected_add(nexus__rejected *r, int64_t at_ms, const nexus__event_fault *fault, nexus_slice body)
{
    size_t field_n = strlen(fault->field) + 1, message_n = strlen(fault->message) + 1;
    nexus__rejected_row row = {.at_ms = at_ms, .code = fault->code, .body_n = body.n};
    row.bytes = body.n + field_n + message_n + sizeof row;
    if (row.bytes > r->max_bytes)
        return;
    row.body = nexus__malloc(r->alloc, body.n + field_n + message_n);
    if (!row.body)
        return;
    if (body.n != 0)
        memcpy(row.body, body.p, body.n);
    memcpy(row.body + body.n, fault->field, field_n);
    memcpy(row.body + body.n + field_n, fault->message, message_n);
    while (r->first < r->next && (r->next - r->first >= r->max || r->bytes + row.bytes > r->max_bytes))
        drop_oldest(r);
    if (r->next - r->first == r->cap && !grow(r)) {
        nexus__free(r->alloc, row.body);
        return;
    }
    row.seq = r->next++;
    r->bytes += row.bytes;
    *row_at(r, row.seq) = row;
}

static void write_row(nexus__json_writer *w, const nexus__rejected_row *row)
{
    char at[32];
    const char *field = row->body + row->body_n;
    size_t n = nexus__format_rfc3339(row->at_ms * NEXUS__NS_PER_MS, at);
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "seq", row->seq);
    nexus__json_put_text(w, "at", nexus__slice(at, n));
    nexus__json_put_text_c(w, "code", nexus__event_code_name(row->code));
    nexus__json_put_text_c(w, "field", field);
    nexus__json_put_text_c(w, "message", field + strlen(field) + 1);
    nexus__json_put_text(w, "body", nexus__slice(row->body, row->body_n));
    nexus__json_close(w, '}');
}

void nexus__rejected_write(const nexus__rejected *r, nexus__buf *out, nexus_slice code, uint64_t after, uint32_t limit)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    uint64_t seq = after + 1 > r->first ? after + 1 : r->first;
    uint32_t written = 0;
    limit = limit == 0 ? LIMIT_DEFAULT : limit > LIMIT_MAX ? LIMIT_MAX : limit;
    nexus__json_open(&w, '{');
    nexus__json_key(&w, "events");
    nexus__json_open(&w, '[');
    for (; seq < r->next && written < limit; seq++)
        if (code.n == 0 || nexus__slice_eq_c(code, nexus__event_code_name(row_at(r, seq)->code))) {
            write_row(&w, row_at(r, seq));
            written++;
        }
    nexus__json_close(&w, ']');
    nexus__json_put_u64(&w, "next", seq > 0 ? seq - 1 : 0);
    nexus__json_put_u64(&w, "dropped", r->first - 1);
    nexus__json_close(&w, '}');
}
