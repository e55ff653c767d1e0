#include <nexus/trace.h>

#include <stddef.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"

enum { VERSION_AT = 0, TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, STATE_MEMBERS_MAX = 32 };

/* Lower-case hex of exactly n bytes; the specification forbids upper case. */
static bool hex_field(nexus_slice text, size_t at, uint8_t *out, size_t n)
{
    for (size_t i = at; i < at + 2 * n; i++)
        if (text.p[i] >= 'A' && text.p[i] <= 'F')
            return false;
    return nexus__hex_decode(nexus__slice(text.p + at, 2 * n), out);
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    return any == 0;
}

static bool parse(nexus_slice t, nexus_trace *out)
{
    uint8_t version;
    if (t.n < NEXUS_TRACEPARENT_LEN || t.p[2] != '-' || t.p[35] != '-' || t.p[52] != '-')
        return false;
    if (!hex_field(t, VERSION_AT, &version, 1) || version == 0xff)
        return false;
    if (version == 0 ? t.n != NEXUS_TRACEPARENT_LEN : t.n > NEXUS_TRACEPARENT_LEN && t.p[NEXUS_TRACEPARENT_LEN] != '-')
        return false;
    return hex_field(t, TRACE_AT, out->trace_id, 16) && hex_field(t, SPAN_AT, out->span_id, 8) &&
           hex_field(t, FLAGS_AT, &out->flags, 1) && !all_zero(out->trace_id, 16) && !all_zero(out->span_id, 8);
}

nexus_status nexus_trace_parse(nexus_trace *out, nexus_slice traceparent)
{
    nexus_trace trace;
    if (!parse(nexus__slice_trim(traceparent), &trace))
        return nexus__fail(NEXUS_EINVAL, "trace: not a traceparent of the form 00-TRACE-SPAN-FLAGS");
    trace.flags &= NEXUS_TRACE_SAMPLED; /* version 00 knows one flag; the others are not passed on */
    *out = trace;
    return NEXUS_OK;
}

void nexus_trace_hex(const nexus_trace *trace, char *trace_id, char *span_id)
{
    if (trace_id) {
        nexus__hex_write(trace_id, trace->trace_id, 16);
        trace_id[32] = '\0';
    }
    if (span_id) {
        nexus__hex_write(span_id, trace->span_id, 8);
        span_id[16] = '\0';
    }
}

void nexus_trace_format(const nexus_trace *trace, char *out)
{
    memcpy(out, "00-", 3);
    nexus__hex_write(out + TRACE_AT, trace->trace_id, 16);
    out[TRACE_AT + 32] = '-';
    nexus__hex_write(out + SPAN_AT, trace->span_id, 8);
    out[SPAN_AT + 16] = '-';
    nexus__hex_write(out + FLAGS_AT, &trace->flags, 1);
    out[NEXUS_TRACEPARENT_LEN] = '\0';
}

static void random_id(uint8_t *out, size_t n)
{
    do
        nexus__random(out, n);
    while (all_zero(out, n));
}

void nexus_trace_start(nexus_trace *out, bool sampled)
{
    nexus__random(out, offsetof(nexus_trace, flags)); /* both ids, which stand side by side */
    if (all_zero(out->trace_id, sizeof out->trace_id))
        random_id(out->trace_id, sizeof out->trace_id);
    if (all_zero(out->span_id, sizeof out->span_id))
        random_id(out->span_id, sizeof out->span_id);
    out->flags = sampled ? NEXUS_TRACE_SAMPLED : 0;
}

void nexus_trace_child(nexus_trace *out, const nexus_trace *parent)
{
    *out = *parent;
    random_id(out->span_id, sizeof out->span_id);
}

/* key=value of the specification's characters: a key of [a-z0-9_*+-/@], a value without ',' and '='. */
static bool is_member(nexus_slice m)
{
    size_t equals = nexus__slice_find(m, '=');
    if (equals == 0 || equals > 256 || equals == m.n || m.n - equals - 1 > 256)
        return false;
    for (size_t i = 0; i < equals; i++) {
        char c = m.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("_-*/@", c))))
            return false;
    }
    for (size_t i = equals + 1; i < m.n; i++)
        if (m.p[i] < ' ' || m.p[i] > '~' || m.p[i] == '=' || m.p[i] == ',')
            return false;
    return m.p[0] != '_' && m.p[0] != '-' && m.p[0] != '*' && m.p[0] != '/' && m.p[0] != '@';
}

static bool append_line(nexus__buf *out, nexus_slice line, size_t *members)
{
    while (line.n > 0) {
        nexus_slice m = nexus__slice_trim(nexus__slice_cut(&line, ','));
        if (m.n == 0)
            continue;
        if (!is_member(m))
            return false;
        if (*members == STATE_MEMBERS_MAX || out->len + m.n + 1 > out->max)
            return true; /* whole members from the left; the rest is cut */
        if (++*members > 1)
            nexus__buf_char(out, ',');
        nexus__buf_slice_append(out, m);
    }
    return true;
}

size_t nexus_trace_state(const nexus_slice *lines, size_t count, char *out, size_t cap)
{
    nexus__buf buf = {.p = out, .cap = cap, .max = cap};
    size_t members = 0;
    for (size_t i = 0; i < count; i++)
        if (!append_line(&buf, lines[i], &members))
            return 0;
    return buf.len;
}
