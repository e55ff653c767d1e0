/* The JSON form of events (CloudEvents JSON Event Format 1.0.2). */
#include <limits.h>
#include <stdio.h>

#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "base/utf8.h"
#include "bus/event.h"
#include "json/read.h"
#include "json/write.h"

nexus_status nexus__event_doc_new(nexus_event_doc **out, size_t count)
{
    nexus_event_doc *doc = nexus__calloc(NULL, 1, sizeof *doc);
    if (!doc)
        return nexus__nomem();
    nexus__arena_init(&doc->arena, NULL, 0);
    doc->events = nexus__arena_get(&doc->arena, (count ? count : 1) * sizeof *doc->events);
    if (!doc->events) {
        nexus_event_doc_free(doc);
        return nexus__nomem();
    }
    doc->count = count;
    for (size_t i = 0; i < count; i++)
        nexus_event_init(&doc->events[i]);
    *out = doc;
    return NEXUS_OK;
}

size_t nexus_event_doc_count(const nexus_event_doc *doc)
{
    return doc->count;
}

const nexus_event *nexus_event_doc_at(const nexus_event_doc *doc, size_t i)
{
    return i < doc->count ? &doc->events[i] : NULL;
}

void nexus_event_doc_free(nexus_event_doc *doc)
{
    if (!doc)
        return;
    nexus__arena_free(&doc->arena);
    nexus__free(NULL, doc);
}

/* --- reading ---- */

typedef struct reading {
    nexus__json json;
    nexus_event_doc *doc;
    uint32_t data, data64; /* nodes of the present event */
    bool has_specversion;
} reading;

static nexus_status bad(nexus_slice name, const char *why)
{
    return nexus__fail(NEXUS_EINVAL, "attribute \"%.*s\" %s", (int)(name.n < 64 ? name.n : 64), name.p, why);
}

static nexus_status keep(reading *r, nexus_slice text, nexus_slice *out)
{
    *out = nexus__arena_copy(&r->doc->arena, text);
    return out->p ? NEXUS_OK : nexus__nomem();
}

/* String, boolean and integer attributes all have a text form (CloudEvents 1.0, 3.1). */
static nexus_status scalar(reading *r, nexus_slice name, uint32_t v, nexus_slice *out)
{
    switch (nexus__json_type_of(&r->json, v)) {
    case NEXUS__JSON_STRING: {
        nexus_slice text;
        if (!nexus__json_text(&r->json, v, &text))
            return nexus__nomem();
        return keep(r, text, out);
    }
    case NEXUS__JSON_INT: {
        int64_t i;
        if (!nexus__json_i64(&r->json, v, &i) || i < INT32_MIN || i > INT32_MAX)
            return bad(name, "is an integer outside 32 bits");
        return keep(r, nexus__json_raw(&r->json, v), out);
    }
    case NEXUS__JSON_TRUE:
    case NEXUS__JSON_FALSE:
        return keep(r, nexus__json_raw(&r->json, v), out);
    default:
        return bad(name, "is neither a string nor a boolean nor an integer");
    }
}

static nexus_status read_text_attr(reading *r, nexus_event *e, const nexus__event_attr *a, nexus_slice name, uint32_t v)
{
    if (!nexus__json_is(&r->json, v, NEXUS__JSON_STRING))
        return bad(name, "is not a string");
    nexus_status status = scalar(r, name, v, nexus__event_slot(e, a));
    if (status == NEXUS_OK && nexus__event_get(e, a).n == 0)
        return bad(name, "is empty");
    return status;
}

static nexus_status read_time(reading *r, nexus_event *e, nexus_slice name, uint32_t v)
{
    nexus_slice text;
    if (!nexus__json_text(&r->json, v, &text) || !nexus__parse_rfc3339(text, &e->time_ns))
        return bad(name, "is not an RFC 3339 time");
    return NEXUS_OK;
}

static nexus_status read_rev(reading *r, nexus_event *e, nexus_slice name, uint32_t v)
{
    uint64_t rev;
    nexus_slice text;
    if (!nexus__json_u64(&r->json, v, &rev) && !(nexus__json_text(&r->json, v, &text) && nexus__parse_u64(text, &rev)))
        return bad(name, "is not a whole number");
    if (rev > INT32_MAX)
        return bad(name, "is an integer outside 32 bits");
    e->rev = (uint32_t)rev;
    return NEXUS_OK;
}

static nexus_status read_ext(reading *r, nexus_event *e, nexus_slice name, uint32_t v)
{
    nexus_status status = nexus__event_ext_name(name);
    if (status != NEXUS_OK)
        return status;
    if (e->ext_count == NEXUS__EVENT_EXT_MAX)
        return bad(name, "is one extension too many");
    if (!e->ext)
        e->ext = nexus__arena_get(&r->doc->arena, NEXUS__EVENT_EXT_MAX * sizeof *e->ext);
    if (!e->ext)
        return nexus__nomem();
    nexus_pair *pair = (nexus_pair *)(uintptr_t)&e->ext[e->ext_count++];
    status = keep(r, name, &pair->name);
    return status == NEXUS_OK ? scalar(r, name, v, &pair->value) : status;
}

static nexus_status read_member(reading *r, nexus_event *e, nexus_slice name, uint32_t v)
{
    const nexus__event_attr *a = nexus__event_attr_find(name);
    if (nexus__slice_eq_c(name, "data")) {
        r->data = v;
        return NEXUS_OK;
    }
    if (nexus__slice_eq_c(name, "data_base64")) {
        r->data64 = v;
        return NEXUS_OK;
    }
    if (nexus__json_is(&r->json, v, NEXUS__JSON_NULL)) /* 3.1.1: null is absent */
        return a || nexus__slice_eq_c(name, "specversion") ? NEXUS_OK : nexus__event_ext_name(name);
    if (a)
        return read_text_attr(r, e, a, name, v);
    if (nexus__slice_eq_c(name, "time"))
        return read_time(r, e, name, v);
    if (nexus__slice_eq_c(name, "rev"))
        return read_rev(r, e, name, v);
    if (nexus__slice_eq_c(name, "specversion")) {
        r->has_specversion = true;
        return nexus__json_text_is(&r->json, v, NEXUS_S("1.0")) ? NEXUS_OK : bad(name, "is not \"1.0\"");
    }
    return nexus__event_attr_is_ours(name) ? NEXUS_OK : read_ext(r, e, name, v);
}

static nexus_status read_base64(reading *r, nexus_event *e)
{
    nexus_slice text;
    if (r->data != NEXUS__JSON_NONE)
        return nexus__fail(NEXUS_EINVAL, "\"data\" and \"data_base64\" are both there");
    if (!nexus__json_text(&r->json, r->data64, &text))
        return nexus__fail(NEXUS_EINVAL, "\"data_base64\" is not a string");
    char *bytes = nexus__arena_get(&r->doc->arena, NEXUS__BASE64_DECODED_MAX(text.n));
    size_t n;
    if (!bytes)
        return nexus__nomem();
    if (!nexus__base64_decode(text, bytes, &n))
        return nexus__fail(NEXUS_EINVAL, "\"data_base64\" is not base64");
    e->data = nexus__slice(bytes, n);
    return NEXUS_OK;
}

static nexus_status read_data(reading *r, nexus_event *e)
{
    if (r->data64 != NEXUS__JSON_NONE)
        return read_base64(r, e);
    if (r->data == NEXUS__JSON_NONE)
        return NEXUS_OK;
    nexus_slice text;
    if (!nexus__event_is_json(e->datacontenttype) && nexus__json_text(&r->json, r->data, &text))
        return keep(r, text, &e->data);
    return keep(r, nexus__json_raw(&r->json, r->data), &e->data);
}

static nexus_status require(const nexus_event *e, bool has_specversion)
{
    if (!has_specversion)
        return nexus__fail(NEXUS_EINVAL, "attribute \"specversion\" is required");
    if (e->id.n == 0)
        return nexus__fail(NEXUS_EINVAL, "attribute \"id\" is required");
    if (e->source.n == 0)
        return nexus__fail(NEXUS_EINVAL, "attribute \"source\" is required");
    return NEXUS_OK;
}

static nexus_status read_event(reading *r, nexus_event *e, uint32_t v, uint32_t flags)
{
    if (!nexus__json_is(&r->json, v, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "an event is a JSON object");
    r->data = r->data64 = NEXUS__JSON_NONE;
    r->has_specversion = false;
    nexus_status status = NEXUS_OK;
    nexus__json_iter it = nexus__json_each(&r->json, v);
    while (status == NEXUS_OK && nexus__json_step(&r->json, &it)) {
        nexus_slice name;
        status = nexus__json_text(&r->json, it.key, &name) ? read_member(r, e, name, it.value) : nexus__nomem();
    }
    if (status == NEXUS_OK)
        status = read_data(r, e);
    if (status == NEXUS_OK && !(flags & NEXUS_EVENT_LENIENT))
        status = require(e, r->has_specversion);
    return status == NEXUS_OK ? nexus_event_check(e) : status;
}

static nexus_status read_all(reading *r, uint32_t flags)
{
    bool batch = nexus__json_is(&r->json, 0, NEXUS__JSON_ARRAY);
    nexus_status status = nexus__event_doc_new(&r->doc, batch ? nexus__json_count(&r->json, 0) : 1);
    if (status != NEXUS_OK || !batch)
        return status == NEXUS_OK ? read_event(r, &r->doc->events[0], 0, flags) : status;
    nexus__json_iter it = nexus__json_each(&r->json, 0);
    while (nexus__json_step(&r->json, &it)) {
        status = read_event(r, &r->doc->events[it.index], it.value, flags);
        if (status != NEXUS_OK)
            return nexus__fail(status, "event %u: %s", it.index, nexus_error_message());
    }
    return NEXUS_OK;
}

nexus_status nexus_event_parse(nexus_event_doc **out, const char *text, size_t n, uint32_t flags)
{
    reading r = {.doc = NULL};
    nexus__json_init(&r.json, NULL);
    nexus_status status = nexus__json_scan(&r.json, nexus__slice(text, n), NULL);
    if (status == NEXUS_OK)
        status = read_all(&r, flags);
    nexus__json_free(&r.json);
    if (status != NEXUS_OK) {
        nexus_event_doc_free(r.doc);
        return status;
    }
    *out = r.doc;
    return NEXUS_OK;
}

/* --- writing ---- */

static bool is_text_type(nexus_slice type)
{
    return nexus__slice_starts(type, NEXUS_S("text/")) || nexus__slice_search(type, NEXUS_S("xml")) < type.n;
}

static bool is_json(nexus_slice text)
{
    nexus__json json;
    nexus__json_init(&json, NULL);
    static const nexus__json_limits limits = {.lenient = true, .max_depth = 128};
    bool good = nexus__json_scan(&json, text, &limits) == NEXUS_OK;
    nexus__json_free(&json);
    return good;
}

static void write_data(nexus__json_writer *w, const nexus_event *e)
{
    if (e->data.n == 0)
        return;
    if (nexus__event_is_json(e->datacontenttype) && is_json(e->data)) {
        nexus__json_put_raw(w, "data", e->data);
    } else if (is_text_type(e->datacontenttype) && nexus__utf8_valid(e->data)) {
        nexus__json_put_text(w, "data", e->data);
    } else {
        nexus__json_put_raw(w, "data_base64", NEXUS_S("\""));
        nexus__base64_append(w->out, e->data.p, e->data.n);
        nexus__buf_char(w->out, '"');
    }
}

static void put_time(nexus__json_writer *w, const char *name, int64_t ns)
{
    char text[32];
    if (ns)
        nexus__json_put_text(w, name, nexus__slice(text, nexus__format_rfc3339(ns, text)));
}

static void put_number(nexus__json_writer *w, const char *name, uint64_t value)
{
    char text[24];
    nexus__json_put_text(w, name,
                         nexus__slice(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)value)));
}

static void write_ours(nexus__json_writer *w, const nexus_event *e)
{
    if (!e->pos)
        return;
    put_number(w, "pos", e->pos);
    if (e->version >= 0) {
        nexus__json_put_text(w, "stream", e->stream);
        put_number(w, "streamversion", (uint64_t)e->version);
    }
    put_time(w, "recvtime", e->recv_ns);
}

void nexus__event_write_json(nexus__buf *out, const nexus_event *e)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "specversion", NEXUS_S("1.0"));
    for (size_t i = 0; i < nexus__event_attr_count; i++) {
        nexus_slice value = nexus__event_get(e, &nexus__event_attrs[i]);
        if (value.n)
            nexus__json_put_text(&w, nexus__event_attrs[i].name, value);
    }
    put_time(&w, "time", e->time_ns);
    if (e->rev)
        nexus__json_put_u64(&w, "rev", e->rev);
    for (size_t i = 0; i < e->ext_count; i++) {
        nexus__json_key_slice(&w, e->ext[i].name);
        nexus__json_text_value(&w, e->ext[i].value);
    }
    write_ours(&w, e);
    write_data(&w, e);
    nexus__json_close(&w, '}');
}

nexus_status nexus_event_format(char **out, size_t *n, const nexus_event *event)
{
    nexus__buf buf;
    nexus__buf_init(&buf, NULL, 0);
    nexus__event_write_json(&buf, event);
    size_t len;
    char *text = nexus__buf_take(&buf, &len);
    if (!text)
        return nexus__nomem();
    *out = text;
    if (n)
        *n = len;
    return NEXUS_OK;
}
