#include "observe/log_line.h"

#include "base/time.h"
#include "observe/redact.h"
#include "json/write.h"

typedef struct line {
    nexus__buf *out;
    const nexus__log_style *style;
    bool first;
} line;

static void name_append(line *l, const char *name)
{
    if (!l->first)
        nexus__buf_char(l->out, l->style->logfmt ? ' ' : ',');
    l->first = false;
    if (l->style->logfmt) {
        nexus__buf_text(l->out, name);
        nexus__buf_char(l->out, '=');
        return;
    }
    nexus__buf_char(l->out, '"');
    nexus__json_escape_append(l->out, nexus__slice_c(name));
    nexus__buf_append(l->out, "\":", 2);
}

/* logfmt leaves quotes away where nothing needs them. */
static bool is_bare(nexus_slice text)
{
    if (text.n == 0)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= ' ' || c == '=' || c == '"' || c == '\\' || c >= 0x7f)
            return false;
    }
    return true;
}

static void quoted_append(line *l, nexus_slice text)
{
    if (l->style->logfmt && is_bare(text)) {
        nexus__buf_slice_append(l->out, text);
        return;
    }
    nexus__buf_char(l->out, '"');
    nexus__json_escape_append(l->out, text);
    nexus__buf_char(l->out, '"');
}

static void text_append(line *l, const char *name, nexus_slice text, bool trusted)
{
    name_append(l, name);
    if (trusted || l->style->show_secrets) {
        quoted_append(l, text);
        return;
    }
    char memory[1024];
    nexus__buf clean = {.p = memory, .cap = sizeof memory, .max = sizeof memory};
    nexus__redact_append(&clean, text);
    if (clean.status == NEXUS_OK) {
        quoted_append(l, nexus__buf_slice(&clean));
        return;
    }
    nexus__buf large;
    nexus__buf_init(&large, l->out->alloc, 0);
    nexus__redact_append(&large, text);
    quoted_append(l, nexus__buf_slice(&large));
    nexus__buf_free(&large);
}

static void json_append(line *l, nexus_slice json)
{
    if (l->style->logfmt) {
        quoted_append(l, json);
    } else if (l->style->show_secrets) {
        nexus__buf_slice_append(l->out, json);
    } else {
        nexus__redact_append(l->out, json);
    }
}

static void field_append(line *l, const nexus_log_field *f)
{
    if (!l->style->show_secrets && nexus__redact_name(nexus__slice_c(f->name))) {
        text_append(l, f->name, NEXUS_S(NEXUS__REDACTED), true);
        return;
    }
    if (f->type == NEXUS_LOG_FIELD_TEXT) {
        text_append(l, f->name, f->s, false);
        return;
    }
    name_append(l, f->name);
    if (f->type == NEXUS_LOG_FIELD_INT)
        nexus__buf_i64(l->out, f->i);
    else if (f->type == NEXUS_LOG_FIELD_DOUBLE)
        nexus__buf_double(l->out, f->d);
    else if (f->type == NEXUS_LOG_FIELD_BOOL)
        nexus__buf_text(l->out, f->i ? "true" : "false");
    else
        json_append(l, f->s);
}

static void context_append(line *l, const nexus_log_context *c)
{
    const struct {
        const char *name;
        nexus_slice text;
    } ids[] = {
        {"trace_id", c->trace_id}, {"span_id", c->span_id}, {"correlation_id", c->correlation_id}, {"tenant", c->tenant}};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].text.n > 0)
            text_append(l, ids[i].name, ids[i].text, true);
}

static void caller_append(line *l, const char *file, int32_t number)
{
    const char *last = strrchr(file, '/'), *start = file;
    for (const char *p = file; last && p < last; p++)
        if (*p == '/')
            start = p + 1; /* the last folder and the file are enough to find it */
    name_append(l, "caller");
    if (!l->style->logfmt)
        nexus__buf_char(l->out, '"');
    nexus__json_escape_append(l->out, nexus__slice_c(start));
    nexus__buf_char(l->out, ':');
    nexus__buf_i64(l->out, number);
    if (!l->style->logfmt)
        nexus__buf_char(l->out, '"');
}

void nexus__log_line(nexus__buf *out, const nexus__log_style *style, const nexus_log_record *record, int64_t real_ns)
{
    line l = {.out = out, .style = style, .first = true};
    char ts[32];
    size_t ts_len = nexus__format_rfc3339(real_ns, ts);
    if (!style->logfmt)
        nexus__buf_char(out, '{');
    text_append(&l, "ts", nexus__slice(ts, ts_len), true);
    text_append(&l, "level", nexus__slice_c(nexus_log_level_name(record->level)), true);
    text_append(&l, "msg", record->message, false);
    if (style->service)
        text_append(&l, "service", nexus__slice_c(style->service), true);
    if (record->module)
        text_append(&l, "module", nexus__slice_c(record->module), true);
    if (record->context)
        context_append(&l, record->context);
    if (record->file)
        caller_append(&l, record->file, record->line);
    for (size_t i = 0; i < record->field_count; i++)
        field_append(&l, &record->fields[i]);
    nexus__buf_text(out, style->logfmt ? "\n" : "}\n");
}
