#include "ingest/event.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"
#include "ingest/instant.h"
#include "json/write.h"

#define SKEW_IGNORED_MS 2000
#define FUTURE_MS (24 * 3600 * 1000ll)

static const char *const code_names[NEXUS__EVENT_CODES] = {
    [NEXUS__EVENT_OK] = "accepted",
    [NEXUS__EVENT_MISSING_EVENT] = "missing_event",
    [NEXUS__EVENT_EVENT_TOO_LONG] = "event_too_long",
    [NEXUS__EVENT_BAD_TYPE] = "bad_type",
    [NEXUS__EVENT_MISSING_IDENTITY] = "missing_identity",
    [NEXUS__EVENT_ILLEGAL_IDENTITY] = "illegal_identity",
    [NEXUS__EVENT_BAD_TIMESTAMP] = "bad_timestamp",
    [NEXUS__EVENT_TOO_OLD] = "too_old",
    [NEXUS__EVENT_TOO_LARGE] = "too_large",
    [NEXUS__EVENT_TOO_DEEP] = "too_deep",
    [NEXUS__EVENT_TOO_MANY_PROPERTIES] = "too_many_properties",
    [NEXUS__EVENT_BAD_UTF8] = "bad_utf8",
    [NEXUS__EVENT_BAD_JSON] = "bad_json",
    [NEXUS__EVENT_NOT_PERSISTED] = "not_persisted",
};

const char *nexus__event_code_name(nexus__event_code code)
{
    return code < NEXUS__EVENT_CODES ? code_names[code] : "unknown";
}

void nexus__event_warnings(nexus__buf *out, uint32_t warnings)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } rows[] = {{NEXUS__WARN_ILLEGAL_IDENTITY, "illegal_identity"},
                {NEXUS__WARN_TRUNCATED, "truncated"},
                {NEXUS__WARN_BAD_TIMESTAMP, "bad_timestamp"},
                {NEXUS__WARN_FUTURE_CLAMPED, "future_clamped"}};
    bool any = false;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (warnings & rows[i].bit) {
            nexus__buf_text(out, any ? "," : "");
            nexus__buf_text(out, rows[i].name);
            any = true;
        }
}

/* What one reading needs at hand. */
typedef struct reading {
    nexus__json *doc;
    const nexus__event_rules *rules;
    nexus__arena *arena;
    nexus__event *event;
    nexus__event_fault *fault;
    uint32_t warnings;
} reading;

NEXUS_PRINTF(4, 5)
static nexus__event_code refuse(reading *r, nexus__event_code code, const char *field, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->fault->message, sizeof r->fault->message, format, args);
    va_end(args);
    snprintf(r->fault->field, sizeof r->fault->field, "%s", field);
    return r->fault->code = code;
}

/* A text member: a string, or a whole number as it is written. Absent and null are the empty slice. */
static nexus__event_code read_text(reading *r, uint32_t v, const char *field, bool number_too, nexus_slice *out)
{
    *out = (nexus_slice){NULL, 0};
    nexus__json_type type = nexus__json_type_of(r->doc, v);
    if (type == NEXUS__JSON_ABSENT || type == NEXUS__JSON_NULL)
        return NEXUS__EVENT_OK;
    if (type == NEXUS__JSON_INT && number_too) {
        *out = nexus__json_raw(r->doc, v);
        return NEXUS__EVENT_OK;
    }
    if (type != NEXUS__JSON_STRING)
        return refuse(r, NEXUS__EVENT_BAD_TYPE, field, "%s must be a string", field + 1);
    if (!nexus__json_text(r->doc, v, out))
        return refuse(r, NEXUS__EVENT_NOT_PERSISTED, field, "out of memory: send the event again");
    return NEXUS__EVENT_OK;
}

static nexus__event_code read_id(reading *r, uint32_t v)
{
    nexus__event_code code = read_text(r, v, "/id", true, &r->event->id);
    if (code == NEXUS__EVENT_OK && r->event->id.n > NEXUS__EVENT_ID_MAX)
        return refuse(r, NEXUS__EVENT_TOO_LARGE, "/id", "id has %zu bytes; at most %d are kept", r->event->id.n,
                      NEXUS__EVENT_ID_MAX);
    return code;
}

static nexus__event_code read_name(reading *r, uint32_t v)
{
    nexus__event_code code = read_text(r, v, "/event", false, &r->event->name);
    if (code != NEXUS__EVENT_OK)
        return code;
    if (r->event->name.n == 0)
        return refuse(r, NEXUS__EVENT_MISSING_EVENT, "/event", "event, the name of what happened, is needed");
    if (r->event->name.n > NEXUS__EVENT_NAME_MAX)
        return refuse(r, NEXUS__EVENT_EVENT_TOO_LONG, "/event", "event has %zu bytes; at most %d are allowed",
                      r->event->name.n, NEXUS__EVENT_NAME_MAX);
    return code;
}

static bool listed(nexus_slice list, nexus_slice text)
{
    while (list.n != 0)
        if (nexus__slice_ieq(nexus__slice_trim(nexus__slice_cut(&list, ',')), text))
            return true;
    return false;
}

static nexus__event_code read_identity(reading *r, uint32_t v, const char *field, nexus_slice *out)
{
    nexus__event_code code = read_text(r, v, field, true, out);
    if (code != NEXUS__EVENT_OK || !out->p)
        return code;
    nexus_slice trimmed = nexus__slice_trim(*out);
    if (trimmed.n > NEXUS__EVENT_IDENTITY_MAX)
        return refuse(r, NEXUS__EVENT_TOO_LARGE, field, "%s has %zu bytes; at most %d are allowed", field + 1,
                      trimmed.n, NEXUS__EVENT_IDENTITY_MAX);
    *out = trimmed;
    if (trimmed.n != 0 && !listed(r->rules->illegal_identities, trimmed))
        return code;
    if (r->rules->identity_reject)
        return refuse(r, NEXUS__EVENT_ILLEGAL_IDENTITY, field,
                      "\"%.*s\" is a placeholder and no identity; leave %s out", (int)trimmed.n, trimmed.p, field + 1);
    if (trimmed.n != 0)
        r->warnings |= NEXUS__WARN_ILLEGAL_IDENTITY;
    *out = (nexus_slice){NULL, 0};
    return code;
}

int64_t nexus__event_instant(nexus__json *doc, uint32_t v)
{
    int64_t ms;
    double number;
    nexus_slice text;
    if (nexus__json_double(doc, v, &number))
        return nexus__instant_from_number(number, &ms) ? ms : NEXUS__EVENT_NO_TIME;
    if (nexus__json_text(doc, v, &text) && nexus__instant_parse(text, &ms))
        return ms;
    return NEXUS__EVENT_NO_TIME;
}

/* The sender's clock error, when both its times are known and it is more than noise. */
static int64_t skew_of(const reading *r, int64_t stamp, int64_t sent)
{
    if (!r->rules->fix_skew || sent == NEXUS__EVENT_NO_TIME || sent < stamp)
        return 0;
    int64_t skew = r->event->received_ms - sent;
    return skew > -SKEW_IGNORED_MS && skew < SKEW_IGNORED_MS ? 0 : skew;
}

static nexus__event_code read_time(reading *r, uint32_t object, int64_t sent)
{
    nexus__event *e = r->event;
    uint32_t v = nexus__json_get(r->doc, object, "timestamp"), own = nexus__json_get(r->doc, object, "sent_at");
    e->time_ms = e->received_ms;
    e->original_ms = NEXUS__EVENT_NO_TIME;
    if (nexus__json_type_of(r->doc, v) <= NEXUS__JSON_NULL)
        return NEXUS__EVENT_OK;
    int64_t stamp = nexus__event_instant(r->doc, v);
    if (stamp == NEXUS__EVENT_NO_TIME) {
        if (r->rules->strict_time)
            return refuse(r, NEXUS__EVENT_BAD_TIMESTAMP, "/timestamp",
                          "timestamp must be RFC 3339, YYYY-MM-DD or Unix time");
        r->warnings |= NEXUS__WARN_BAD_TIMESTAMP;
        return NEXUS__EVENT_OK;
    }
    if (nexus__json_type_of(r->doc, own) > NEXUS__JSON_NULL)
        sent = nexus__event_instant(r->doc, own);
    e->time_ms = stamp + skew_of(r, stamp, sent);
    if (e->time_ms > e->received_ms + FUTURE_MS) {
        e->time_ms = e->received_ms;
        r->warnings |= NEXUS__WARN_FUTURE_CLAMPED;
    }
    if (e->time_ms != stamp)
        e->original_ms = stamp;
    if (r->rules->retention_ms != 0 && e->time_ms < e->received_ms - r->rules->retention_ms)
        return refuse(r, NEXUS__EVENT_TOO_OLD, "/timestamp", "the event is older than what is kept");
    return NEXUS__EVENT_OK;
}

/* The JSON Pointer of a name below `field`; long names are cut, the pointer stays well-formed. */
static void pointer_to(reading *r, const char *field, uint32_t key, char out[static 160])
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    size_t n = (size_t)snprintf(out, 160, "%s/", field);
    if (nexus__json_text_append(r->doc, key, &text))
        for (size_t i = 0; i < text.len && n < 150; i++) {
            bool escape = text.p[i] == '~' || text.p[i] == '/';
            if (escape)
                out[n++] = '~';
            out[n++] = escape ? (text.p[i] == '~' ? '0' : '1') : text.p[i];
        }
    while (n > 0 && !nexus__utf8_valid(nexus__slice(out, n)))
        n--;
    out[n] = '\0';
    nexus__buf_free(&text);
}

/* Copies a value with every over-long string cut at a character; called only when there is one. */
static void write_cut(reading *r, nexus__json_writer *w, uint32_t v)
{
    const nexus__json *doc = r->doc;
    nexus__json_type type = nexus__json_type_of(doc, v);
    if (type == NEXUS__JSON_ARRAY || type == NEXUS__JSON_OBJECT) {
        nexus__json_open(w, type == NEXUS__JSON_OBJECT ? '{' : '[');
        for (nexus__json_iter it = nexus__json_each(doc, v); nexus__json_step(doc, &it);) {
            nexus_slice key;
            if (it.object && nexus__json_text(r->doc, it.key, &key))
                nexus__json_key_slice(w, key);
            write_cut(r, w, it.value);
        }
        nexus__json_close(w, type == NEXUS__JSON_OBJECT ? '}' : ']');
        return;
    }
    nexus_slice text;
    if (type == NEXUS__JSON_STRING && nexus__json_raw(doc, v).n > NEXUS__EVENT_STRING_MAX + 2 &&
        nexus__json_text(r->doc, v, &text) && text.n > NEXUS__EVENT_STRING_MAX) {
        text.n = nexus__utf8_valid_prefix(nexus__slice(text.p, NEXUS__EVENT_STRING_MAX));
        nexus__json_text_value(w, text);
        return;
    }
    nexus__json_raw_value(w, nexus__json_raw(doc, v));
}

/* Counts what a bag holds and finds names too long, numbers without end and strings to cut. Depth is bounded before. */
static nexus__event_code check_bag(reading *r, const char *field, uint32_t v, uint32_t *members, bool *cut)
{
    for (nexus__json_iter it = nexus__json_each(r->doc, v); nexus__json_step(r->doc, &it);) {
        char pointer[160];
        double number;
        nexus__json_type type = nexus__json_type_of(r->doc, it.value);
        nexus_slice raw = nexus__json_raw(r->doc, it.value);
        if (it.object && ++*members > NEXUS__EVENT_PROPERTIES_MAX)
            return refuse(r, NEXUS__EVENT_TOO_MANY_PROPERTIES, field, "more than %d members",
                          NEXUS__EVENT_PROPERTIES_MAX);
        if (it.object && nexus__json_raw(r->doc, it.key).n > NEXUS__EVENT_KEY_MAX + 2) {
            pointer_to(r, field, it.key, pointer);
            return refuse(r, NEXUS__EVENT_TOO_LARGE, pointer, "a name may have %d bytes", NEXUS__EVENT_KEY_MAX);
        }
        if ((type == NEXUS__JSON_INT || type == NEXUS__JSON_REAL) && !nexus__json_double(r->doc, it.value, &number)) {
            if (it.object)
                pointer_to(r, field, it.key, pointer);
            return refuse(r, NEXUS__EVENT_BAD_TYPE, it.object ? pointer : field, "the number is out of range");
        }
        if (type == NEXUS__JSON_STRING && raw.n > NEXUS__EVENT_STRING_MAX + 2)
            *cut = true;
        nexus__event_code code = check_bag(r, field, it.value, members, cut);
        if (code != NEXUS__EVENT_OK)
            return code;
    }
    return NEXUS__EVENT_OK;
}

static nexus__event_code read_bag(reading *r, uint32_t v, const char *field, nexus_slice *out)
{
    uint32_t members = 0;
    bool cut = false;
    nexus__json_type type = nexus__json_type_of(r->doc, v);
    *out = (nexus_slice){NULL, 0};
    if (type <= NEXUS__JSON_NULL)
        return NEXUS__EVENT_OK;
    if (type != NEXUS__JSON_OBJECT)
        return refuse(r, NEXUS__EVENT_BAD_TYPE, field, "%s must be an object", field + 1);
    nexus__event_code code = check_bag(r, field, v, &members, &cut);
    if (code != NEXUS__EVENT_OK)
        return code;
    *out = nexus__json_raw(r->doc, v);
    if (!cut)
        return NEXUS__EVENT_OK;
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    write_cut(r, &w, v);
    *out = text.status == NEXUS_OK ? nexus__arena_copy(r->arena, nexus__buf_slice(&text)) : (nexus_slice){NULL, 0};
    nexus__buf_free(&text);
    if (!out->p)
        return refuse(r, NEXUS__EVENT_NOT_PERSISTED, field, "out of memory: send the event again");
    r->warnings |= NEXUS__WARN_TRUNCATED;
    return NEXUS__EVENT_OK;
}

/* Deepest nesting below v, counting v; stops caring past the limit. Iterates over the flat nodes. */
static uint32_t depth_of(const nexus__json *doc, uint32_t v)
{
    uint32_t ends[NEXUS__EVENT_DEPTH_MAX + 1], open = 0, deepest = 0;
    for (uint32_t i = v; i < doc->nodes[v].next; i++) {
        while (open > 0 && i >= ends[open - 1])
            open--;
        nexus__json_type type = nexus__json_type_of(doc, i);
        if (type != NEXUS__JSON_ARRAY && type != NEXUS__JSON_OBJECT)
            continue;
        ends[open++] = doc->nodes[i].next;
        deepest = open > deepest ? open : deepest;
        if (open > NEXUS__EVENT_DEPTH_MAX)
            break;
    }
    return deepest;
}

static nexus__event_code read_fields(reading *r, uint32_t v, int64_t sent)
{
    nexus__json *doc = r->doc;
    nexus__event *e = r->event;
    nexus__event_code code;
    if ((code = read_id(r, nexus__json_get(doc, v, "id"))) || (code = read_name(r, nexus__json_get(doc, v, "event"))) ||
        (code = read_identity(r, nexus__json_get(doc, v, "user_id"), "/user_id", &e->user_id)) ||
        (code = read_identity(r, nexus__json_get(doc, v, "anonymous_id"), "/anonymous_id", &e->anonymous_id)) ||
        (code = read_text(r, nexus__json_get(doc, v, "session_id"), "/session_id", true, &e->session_id)) ||
        (code = read_bag(r, nexus__json_get(doc, v, "properties"), "/properties", &e->properties)) ||
        (code = read_bag(r, nexus__json_get(doc, v, "context"), "/context", &e->context)))
        return code;
    if (e->session_id.n > NEXUS__EVENT_IDENTITY_MAX)
        return refuse(r, NEXUS__EVENT_TOO_LARGE, "/session_id", "session_id may have %d bytes",
                      NEXUS__EVENT_IDENTITY_MAX);
    if (r->rules->identity_needed && e->user_id.n == 0 && e->anonymous_id.n == 0)
        return refuse(r, NEXUS__EVENT_MISSING_IDENTITY, "/user_id", "user_id or anonymous_id is needed");
    return read_time(r, v, sent);
}

nexus__event_code nexus__event_read(nexus__json *doc, uint32_t v, const nexus__event_rules *rules, int64_t received_ms,
                                    int64_t sent_ms, nexus__arena *arena, nexus__event *event, uint32_t *warnings,
                                    nexus__event_fault *fault)
{
    reading r = {.doc = doc, .rules = rules, .arena = arena, .event = event, .fault = fault};
    *event = (nexus__event){.received_ms = received_ms};
    *fault = (nexus__event_fault){0};
    *warnings = 0;
    if (!nexus__json_is(doc, v, NEXUS__JSON_OBJECT))
        return refuse(&r, NEXUS__EVENT_BAD_TYPE, "", "an event is a JSON object");
    if (nexus__json_raw(doc, v).n > rules->max_bytes)
        return refuse(&r, NEXUS__EVENT_TOO_LARGE, "", "the event has %zu bytes; at most %u are allowed",
                      nexus__json_raw(doc, v).n, rules->max_bytes);
    if (depth_of(doc, v) > NEXUS__EVENT_DEPTH_MAX)
        return refuse(&r, NEXUS__EVENT_TOO_DEEP, "", "nested deeper than %d", NEXUS__EVENT_DEPTH_MAX);
    nexus__event_code code = read_fields(&r, v, sent_ms);
    *warnings = r.warnings;
    return code;
}
