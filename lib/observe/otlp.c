#include "observe/otlp.h"

#include <nexus/version.h>

#include "base/codec.h"

enum { STATUS_ERROR = 2 };

/* --- packing ------------------------------------------------------------------------------------------------------ */

typedef struct head {
    nexus_trace trace;
    uint8_t parent[8];
    int64_t start_ns, end_ns;
    uint8_t kind, attr_count, link_count;
    bool error;
} head;

static void pack_text(nexus__buf *out, nexus_slice text)
{
    uint16_t n = (uint16_t)(text.n < NEXUS__SPAN_TEXT_MAX ? text.n : NEXUS__SPAN_TEXT_MAX);
    nexus__buf_append(out, &n, sizeof n);
    nexus__buf_append(out, text.p, n);
}

static void pack_attr(nexus__buf *out, const nexus_log_field *f)
{
    uint8_t type = (uint8_t)f->type;
    nexus__buf_append(out, &type, 1);
    pack_text(out, nexus__slice_c(f->name));
    if (type == NEXUS_LOG_FIELD_INT || type == NEXUS_LOG_FIELD_BOOL)
        nexus__buf_append(out, &f->i, sizeof f->i);
    else if (type == NEXUS_LOG_FIELD_DOUBLE)
        nexus__buf_append(out, &f->d, sizeof f->d);
    else
        pack_text(out, f->s);
}

void nexus__span_pack(nexus__buf *out, const nexus_span *span)
{
    size_t n = span->attr_count < NEXUS__SPAN_ATTRS_MAX ? span->attr_count : NEXUS__SPAN_ATTRS_MAX;
    size_t links = span->size < sizeof *span                   ? 0
                   : span->link_count < NEXUS__SPAN_LINKS_MAX ? span->link_count
                                                              : NEXUS__SPAN_LINKS_MAX;
    head h = {.trace = span->trace,
              .start_ns = span->start_ns,
              .end_ns = span->end_ns,
              .kind = (uint8_t)span->kind,
              .attr_count = (uint8_t)n,
              .link_count = (uint8_t)links,
              .error = span->error};
    memcpy(h.parent, span->parent, sizeof h.parent);
    nexus__buf_append(out, &h, sizeof h);
    pack_text(out, span->name);
    for (size_t i = 0; i < n; i++)
        pack_attr(out, &span->attrs[i]);
    for (size_t i = 0; i < links; i++)
        nexus__buf_append(out, &span->links[i], sizeof span->links[i]);
}

static bool take(nexus_slice *rest, void *out, size_t n)
{
    if (rest->n < n)
        return false;
    memcpy(out, rest->p, n);
    *rest = nexus__slice_from(*rest, n);
    return true;
}

static bool take_text(nexus_slice *rest, nexus_slice *out)
{
    uint16_t n;
    if (!take(rest, &n, sizeof n) || rest->n < n)
        return false;
    *out = nexus__slice(rest->p, n);
    *rest = nexus__slice_from(*rest, n);
    return true;
}

typedef struct attr {
    uint8_t type;
    nexus_slice name, text;
    int64_t i;
    double d;
} attr;

static bool take_attr(nexus_slice *rest, attr *a)
{
    if (!take(rest, &a->type, 1) || !take_text(rest, &a->name))
        return false;
    if (a->type == NEXUS_LOG_FIELD_INT || a->type == NEXUS_LOG_FIELD_BOOL)
        return take(rest, &a->i, sizeof a->i);
    if (a->type == NEXUS_LOG_FIELD_DOUBLE)
        return take(rest, &a->d, sizeof a->d);
    return take_text(rest, &a->text);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void put_hex(nexus__json_writer *w, const char *name, const uint8_t *bytes, size_t n)
{
    char digits[32];
    nexus__buf text = {.p = digits, .cap = sizeof digits, .max = sizeof digits};
    nexus__hex_append(&text, bytes, n);
    nexus__json_put_text(w, name, nexus__buf_slice(&text));
}

static void put_number_text(nexus__json_writer *w, const char *name, int64_t value)
{
    char digits[24];
    nexus__buf text = {.p = digits, .cap = sizeof digits, .max = sizeof digits};
    nexus__buf_i64(&text, value);
    nexus__json_put_text(w, name, nexus__buf_slice(&text));
}

static void put_attr(nexus__json_writer *w, const attr *a)
{
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "key", a->name);
    nexus__json_key(w, "value");
    nexus__json_open(w, '{');
    if (a->type == NEXUS_LOG_FIELD_INT)
        put_number_text(w, "intValue", a->i);
    else if (a->type == NEXUS_LOG_FIELD_BOOL)
        nexus__json_put_bool(w, "boolValue", a->i != 0);
    else if (a->type == NEXUS_LOG_FIELD_DOUBLE)
        nexus__json_put_double(w, "doubleValue", a->d);
    else
        nexus__json_put_text(w, "stringValue", a->text);
    nexus__json_close(w, '}');
    nexus__json_close(w, '}');
}

static void put_head(nexus__json_writer *w, const head *h, nexus_slice name)
{
    static const uint8_t root[8];
    put_hex(w, "traceId", h->trace.trace_id, sizeof h->trace.trace_id);
    put_hex(w, "spanId", h->trace.span_id, sizeof h->trace.span_id);
    if (memcmp(h->parent, root, sizeof root) != 0)
        put_hex(w, "parentSpanId", h->parent, sizeof h->parent);
    nexus__json_put_u64(w, "flags", h->trace.flags);
    nexus__json_put_text(w, "name", name);
    nexus__json_put_u64(w, "kind", h->kind);
    put_number_text(w, "startTimeUnixNano", h->start_ns);
    put_number_text(w, "endTimeUnixNano", h->end_ns);
}

static void put_link(nexus__json_writer *w, const nexus_trace *link)
{
    nexus__json_open(w, '{');
    put_hex(w, "traceId", link->trace_id, sizeof link->trace_id);
    put_hex(w, "spanId", link->span_id, sizeof link->span_id);
    nexus__json_put_u64(w, "flags", link->flags);
    nexus__json_close(w, '}');
}

static bool parse(nexus_slice packed, head *h, nexus_slice *name, attr attrs[static NEXUS__SPAN_ATTRS_MAX],
                  nexus_trace links[static NEXUS__SPAN_LINKS_MAX])
{
    if (!take(&packed, h, sizeof *h) || !take_text(&packed, name) || h->attr_count > NEXUS__SPAN_ATTRS_MAX ||
        h->link_count > NEXUS__SPAN_LINKS_MAX)
        return false;
    for (size_t i = 0; i < h->attr_count; i++)
        if (!take_attr(&packed, &attrs[i]))
            return false;
    for (size_t i = 0; i < h->link_count; i++)
        if (!take(&packed, &links[i], sizeof links[i]))
            return false;
    return packed.n == 0;
}

bool nexus__otlp_span(nexus__json_writer *w, nexus_slice packed)
{
    head h;
    nexus_slice name;
    attr attrs[NEXUS__SPAN_ATTRS_MAX];
    nexus_trace links[NEXUS__SPAN_LINKS_MAX];
    if (!parse(packed, &h, &name, attrs, links))
        return false;
    nexus__json_open(w, '{');
    put_head(w, &h, name);
    nexus__json_key(w, "attributes");
    nexus__json_open(w, '[');
    for (size_t i = 0; i < h.attr_count; i++)
        put_attr(w, &attrs[i]);
    nexus__json_close(w, ']');
    if (h.link_count) {
        nexus__json_key(w, "links");
        nexus__json_open(w, '[');
        for (size_t i = 0; i < h.link_count; i++)
            put_link(w, &links[i]);
        nexus__json_close(w, ']');
    }
    nexus__json_key(w, "status");
    nexus__json_open(w, '{');
    if (h.error)
        nexus__json_put_u64(w, "code", STATUS_ERROR);
    nexus__json_close(w, '}');
    nexus__json_close(w, '}');
    return true;
}

void nexus__otlp_begin(nexus__json_writer *w, nexus_slice service)
{
    const attr attrs[] = {{.name = NEXUS_S("service.name"), .text = service},
                          {.name = NEXUS_S("service.version"), .text = NEXUS_S(NEXUS_VERSION)},
                          {.name = NEXUS_S("telemetry.sdk.name"), .text = NEXUS_S("libnexus")},
                          {.name = NEXUS_S("telemetry.sdk.language"), .text = NEXUS_S("c")}};
    nexus__json_open(w, '{');
    nexus__json_key(w, "resourceSpans");
    nexus__json_open(w, '[');
    nexus__json_open(w, '{');
    nexus__json_key(w, "resource");
    nexus__json_open(w, '{');
    nexus__json_key(w, "attributes");
    nexus__json_open(w, '[');
    for (size_t i = 0; i < sizeof attrs / sizeof attrs[0]; i++)
        put_attr(w, &attrs[i]);
    nexus__json_close(w, ']');
    nexus__json_close(w, '}');
    nexus__json_key(w, "scopeSpans");
    nexus__json_open(w, '[');
    nexus__json_open(w, '{');
    nexus__json_put_raw(w, "scope", NEXUS_S("{\"name\":\"libnexus\",\"version\":\"" NEXUS_VERSION "\"}"));
    nexus__json_key(w, "spans");
    nexus__json_open(w, '[');
}

void nexus__otlp_end(nexus__json_writer *w)
{
    for (const char *bracket = "]}]}]}"; *bracket; bracket++)
        nexus__json_close(w, *bracket);
}
