#include "ingest/record.h"

#include "base/status.h"
#include "base/time.h"
#include "json/write.h"

#define RECORD_VERSION 1
#define RECORD_HEAD 4
#define EVENT_TEXTS 7
#define EVENT_HEAD (3 * 8)

static void put_u32(nexus__buf *out, uint32_t v)
{
    const uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    nexus__buf_append(out, b, sizeof b);
}

static void put_i64(nexus__buf *out, int64_t v)
{
    put_u32(out, (uint32_t)(uint64_t)v);
    put_u32(out, (uint32_t)((uint64_t)v >> 32));
}

static uint32_t get_u32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static int64_t get_i64(const char *p)
{
    return (int64_t)((uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32);
}

void nexus__record_begin(nexus__buf *out)
{
    put_u32(out, RECORD_VERSION);
}

void nexus__record_add(nexus__buf *out, const nexus__event *e)
{
    const nexus_slice texts[EVENT_TEXTS] = {e->id,         e->name,       e->user_id, e->anonymous_id,
                                            e->session_id, e->properties, e->context};
    size_t n = EVENT_HEAD;
    for (size_t i = 0; i < EVENT_TEXTS; i++)
        n += 4 + texts[i].n;
    put_u32(out, (uint32_t)n);
    put_i64(out, e->time_ms);
    put_i64(out, e->received_ms);
    put_i64(out, e->original_ms);
    for (size_t i = 0; i < EVENT_TEXTS; i++) {
        put_u32(out, (uint32_t)texts[i].n);
        nexus__buf_slice_append(out, texts[i]);
    }
}

static nexus_status corrupt(void)
{
    return nexus__fail(NEXUS_ECORRUPT, "an ingestion record is cut short: restore the log from a backup");
}

static nexus_status read_texts(nexus_slice body, nexus__event *e)
{
    nexus_slice *const texts[EVENT_TEXTS] = {&e->id,         &e->name,       &e->user_id, &e->anonymous_id,
                                             &e->session_id, &e->properties, &e->context};
    for (size_t i = 0; i < EVENT_TEXTS; i++) {
        if (body.n < 4 || body.n - 4 < get_u32(body.p))
            return corrupt();
        *texts[i] = nexus__slice(body.p + 4, get_u32(body.p));
        body = nexus__slice_from(body, 4 + texts[i]->n);
    }
    return body.n == 0 ? NEXUS_OK : corrupt();
}

nexus_status nexus__record_next(nexus_slice record, size_t *at, nexus__event *event)
{
    if (*at == 0) {
        if (record.n < RECORD_HEAD)
            return corrupt();
        if (get_u32(record.p) != RECORD_VERSION)
            return nexus__fail(NEXUS_EREV, "ingestion record of version %u; this build knows %d", get_u32(record.p),
                               RECORD_VERSION);
        *at = RECORD_HEAD;
    }
    nexus_slice rest = nexus__slice_from(record, *at);
    if (rest.n == 0)
        return NEXUS_EDONE;
    if (rest.n < 4 + EVENT_HEAD || get_u32(rest.p) < EVENT_HEAD || rest.n - 4 < get_u32(rest.p))
        return corrupt();
    uint32_t n = get_u32(rest.p);
    *event = (nexus__event){
        .time_ms = get_i64(rest.p + 4), .received_ms = get_i64(rest.p + 12), .original_ms = get_i64(rest.p + 20)};
    *at += 4 + n;
    return read_texts(nexus__slice(rest.p + 4 + EVENT_HEAD, n - EVENT_HEAD), event);
}

static void put_instant(nexus__json_writer *w, const char *name, int64_t ms)
{
    char text[32];
    if (ms > INT64_MAX / NEXUS__NS_PER_MS || ms < INT64_MIN / NEXUS__NS_PER_MS) {
        nexus__json_put_i64(w, name, ms); /* outside what nanoseconds reach: as Unix milliseconds */
        return;
    }
    size_t n = nexus__format_rfc3339(ms * NEXUS__NS_PER_MS, text);
    nexus__json_put_text(w, name, nexus__slice(text, n));
}

static void put_optional(nexus__json_writer *w, const char *name, nexus_slice text)
{
    if (text.n != 0)
        nexus__json_put_text(w, name, text);
}

void nexus__record_write_json(nexus__json_writer *w, const nexus__event *e)
{
    put_optional(w, "id", e->id);
    nexus__json_put_text(w, "event", e->name);
    put_optional(w, "user_id", e->user_id);
    put_optional(w, "anonymous_id", e->anonymous_id);
    put_optional(w, "session_id", e->session_id);
    put_instant(w, "timestamp", e->time_ms);
    if (e->original_ms != NEXUS__EVENT_NO_TIME)
        put_instant(w, "original_timestamp", e->original_ms);
    put_instant(w, "received_at", e->received_ms);
    if (e->properties.n != 0)
        nexus__json_put_raw(w, "properties", e->properties);
    if (e->context.n != 0)
        nexus__json_put_raw(w, "context", e->context);
}
