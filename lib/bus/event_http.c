/* Events over HTTP (CloudEvents HTTP Protocol Binding 1.0.2), as pure functions over headers and body. */
#include <stdio.h>

#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "base/utf8.h"
#include "bus/event.h"

static nexus_slice media_type(nexus_slice content_type)
{
    return nexus__slice_trim(nexus__slice_cut(&content_type, ';'));
}

static bool media_is(nexus_slice content_type, const char *name)
{
    return nexus__slice_ieq(media_type(content_type), nexus__slice_c(name));
}

/* --- reading binary mode ---- */

static nexus_status header_value(nexus_event_doc *doc, nexus_slice name, nexus_slice raw, nexus_slice *out)
{
    raw = nexus__slice_trim(raw);
    if (raw.n >= 2 && raw.p[0] == '"' && raw.p[raw.n - 1] == '"')
        raw = nexus__slice(raw.p + 1, raw.n - 2);
    char *bytes = nexus__arena_get(&doc->arena, raw.n + 1);
    size_t n;
    if (!bytes)
        return nexus__nomem();
    if (!nexus__percent_decode(raw, false, bytes, &n) || !nexus__utf8_valid(nexus__slice(bytes, n)))
        return nexus__fail(NEXUS_EINVAL, "header \"ce-%.*s\" is not percent-encoded UTF-8", (int)name.n, name.p);
    *out = nexus__slice(bytes, n);
    return NEXUS_OK;
}

static nexus_status take_ext(nexus_event_doc *doc, nexus_event *e, nexus_slice name, nexus_slice value)
{
    nexus_status status = nexus__event_ext_name(name);
    if (status != NEXUS_OK)
        return status;
    if (e->ext_count == NEXUS__EVENT_EXT_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "header \"ce-%.*s\" is one extension too many", (int)name.n, name.p);
    if (!e->ext)
        e->ext = nexus__arena_get(&doc->arena, NEXUS__EVENT_EXT_MAX * sizeof *e->ext);
    if (!e->ext)
        return nexus__nomem();
    *(nexus_pair *)(uintptr_t)&e->ext[e->ext_count++] = (nexus_pair){name, value};
    return NEXUS_OK;
}

static nexus_status take_header(nexus_event_doc *doc, nexus_event *e, nexus_slice name, nexus_slice raw, bool *spec)
{
    nexus_slice value;
    nexus_status status = header_value(doc, name, raw, &value);
    if (status != NEXUS_OK)
        return status;
    const nexus__event_attr *a = nexus__event_attr_find(name);
    uint64_t rev;
    if (a && a->offset != offsetof(nexus_event, datacontenttype)) {
        *nexus__event_slot(e, a) = value;
    } else if (nexus__slice_eq_c(name, "specversion")) {
        *spec = true;
        if (!nexus__slice_eq_c(value, "1.0"))
            return nexus__fail(NEXUS_EINVAL, "header \"ce-specversion\" is not 1.0");
    } else if (nexus__slice_eq_c(name, "time")) {
        if (!nexus__parse_rfc3339(value, &e->time_ns))
            return nexus__fail(NEXUS_EINVAL, "header \"ce-time\" is not an RFC 3339 time");
    } else if (nexus__slice_eq_c(name, "rev")) {
        if (!nexus__parse_u64(value, &rev) || rev > INT32_MAX)
            return nexus__fail(NEXUS_EINVAL, "header \"ce-rev\" is not a whole number");
        e->rev = (uint32_t)rev;
    } else if (!nexus__event_attr_is_ours(name)) {
        return take_ext(doc, e, name, value);
    }
    return NEXUS_OK;
}

static nexus_slice lower(nexus_event_doc *doc, nexus_slice text)
{
    nexus_slice copy = nexus__arena_copy(&doc->arena, text);
    for (size_t i = 0; copy.p && i < copy.n; i++)
        ((char *)(uintptr_t)copy.p)[i] = nexus__ascii_lower(copy.p[i]);
    return copy;
}

static nexus_status from_binary(nexus_event_doc *doc, const nexus_pair *headers, size_t n, nexus_slice type,
                                nexus_slice body)
{
    nexus_event *e = &doc->events[0];
    bool spec = false;
    for (size_t i = 0; i < n; i++) {
        nexus_slice name = lower(doc, headers[i].name);
        if (!name.p)
            return nexus__nomem();
        if (!nexus__slice_starts(name, NEXUS_S("ce-")))
            continue;
        nexus_status status = take_header(doc, e, nexus__slice_from(name, 3), headers[i].value, &spec);
        if (status != NEXUS_OK)
            return status;
    }
    if (!spec)
        return nexus__fail(NEXUS_EINVAL, "header \"ce-specversion\" is missing: this is no CloudEvent");
    if (e->id.n == 0 || e->source.n == 0)
        return nexus__fail(NEXUS_EINVAL, "header \"ce-%s\" is missing", e->id.n ? "source" : "id");
    e->datacontenttype = nexus__arena_copy(&doc->arena, type);
    e->data = nexus__arena_copy(&doc->arena, body);
    return e->data.p && e->datacontenttype.p ? nexus_event_check(e) : nexus__nomem();
}

nexus_status nexus_event_from_http(nexus_event_doc **out, const nexus_pair *headers, size_t n, nexus_slice body)
{
    nexus_slice type = {NULL, 0};
    for (size_t i = 0; i < n; i++)
        if (nexus__slice_ieq(headers[i].name, NEXUS_S("content-type")))
            type = nexus__slice_trim(headers[i].value);
    if (media_is(type, "application/cloudevents+json") || media_is(type, "application/cloudevents-batch+json")) {
        nexus_event_doc *doc;
        nexus_status status = nexus_event_parse(&doc, body.p, body.n, NEXUS_EVENT_STRICT);
        bool array = body.n && nexus__slice_trim(body).n && body.p[strspn(body.p, " \t\r\n")] == '[';
        if (status == NEXUS_OK && array != media_is(type, "application/cloudevents-batch+json")) {
            nexus_event_doc_free(doc);
            return nexus__fail(NEXUS_EINVAL, "the body is %s, Content-Type says otherwise",
                               array ? "a batch" : "one event");
        }
        if (status == NEXUS_OK)
            *out = doc;
        return status;
    }
    nexus_slice media = media_type(type);
    if (media.n > 23 && nexus__slice_ieq(nexus__slice(media.p, 23), NEXUS_S("application/cloudevents")))
        return nexus__fail(NEXUS_ENOTSUP, "Content-Type %.*s: only the JSON format is read", (int)media.n, media.p);
    nexus_event_doc *doc;
    nexus_status status = nexus__event_doc_new(&doc, 1);
    if (status == NEXUS_OK && (status = from_binary(doc, headers, n, type, body)) != NEXUS_OK)
        nexus_event_doc_free(doc);
    else if (status == NEXUS_OK)
        *out = doc;
    return status;
}

/* --- writing ---- */

struct nexus_event_http {
    nexus__arena arena;
    nexus__buf text;
    nexus_pair headers[16 + NEXUS__EVENT_EXT_MAX];
    size_t count;
    nexus_slice body;
    bool failed;
};

/* 3.1.3.2: a space, a quote, a percent sign and what is not printable ASCII are percent-encoded. */
static nexus_slice encoded(nexus_event_http *http, nexus_slice value)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = nexus__arena_get(&http->arena, value.n * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c > ' ' && c < 0x7f && c != '"' && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    http->failed |= !out;
    return nexus__slice(out, out ? n : 0);
}

static void add(nexus_event_http *http, const char *prefix, nexus_slice name, nexus_slice value)
{
    char *full = nexus__arena_get(&http->arena, strlen(prefix) + name.n + 1);
    http->failed |= !full;
    if (!full)
        return;
    memcpy(full, prefix, strlen(prefix));
    memcpy(full + strlen(prefix), name.p, name.n);
    http->headers[http->count++] = (nexus_pair){nexus__slice(full, strlen(prefix) + name.n), value};
}

static void to_binary(nexus_event_http *http, const nexus_event *e)
{
    char text[32];
    nexus_slice type = e->datacontenttype;
    if (type.n || e->data.n)
        add(http, "", NEXUS_S("content-type"),
            nexus__arena_copy(&http->arena, type.n ? type : NEXUS_S("application/json")));
    add(http, "ce-", NEXUS_S("specversion"), NEXUS_S("1.0"));
    for (size_t i = 0; i < nexus__event_attr_count; i++) {
        nexus_slice value = nexus__event_get(e, &nexus__event_attrs[i]);
        if (value.n && nexus__event_attrs[i].offset != offsetof(nexus_event, datacontenttype))
            add(http, "ce-", nexus__slice_c(nexus__event_attrs[i].name), encoded(http, value));
    }
    if (e->time_ns)
        add(http, "ce-", NEXUS_S("time"),
            nexus__arena_copy(&http->arena, nexus__slice(text, nexus__format_rfc3339(e->time_ns, text))));
    if (e->rev)
        add(http, "ce-", NEXUS_S("rev"),
            nexus__arena_copy(&http->arena, nexus__slice(text, (size_t)snprintf(text, sizeof text, "%u", e->rev))));
    for (size_t i = 0; i < e->ext_count; i++)
        add(http, "ce-", e->ext[i].name, encoded(http, e->ext[i].value));
    http->body = nexus__arena_copy(&http->arena, e->data);
}

nexus_status nexus_event_to_http(nexus_event_http **out, const nexus_event *event, uint32_t mode)
{
    nexus_status status = nexus_event_check(event);
    if (status != NEXUS_OK)
        return status;
    nexus_event_http *http = nexus__calloc(NULL, 1, sizeof *http);
    if (!http)
        return nexus__nomem();
    nexus__arena_init(&http->arena, NULL, 0);
    nexus__buf_init(&http->text, NULL, 0);
    if (mode == NEXUS_EVENT_STRUCTURED) {
        add(http, "", NEXUS_S("content-type"), NEXUS_S("application/cloudevents+json; charset=utf-8"));
        nexus__event_write_json(&http->text, event);
        http->body = nexus__buf_slice(&http->text);
    } else {
        to_binary(http, event);
    }
    if (http->failed || http->text.status != NEXUS_OK) {
        nexus_event_http_free(http);
        return nexus__nomem();
    }
    *out = http;
    return NEXUS_OK;
}

const nexus_pair *nexus_event_http_headers(const nexus_event_http *http, size_t *count)
{
    *count = http->count;
    return http->headers;
}

void nexus_event_http_body(const nexus_event_http *http, nexus_slice *out)
{
    *out = http->body;
}

void nexus_event_http_free(nexus_event_http *http)
{
    if (!http)
        return;
    nexus__buf_free(&http->text);
    nexus__arena_free(&http->arena);
    nexus__free(NULL, http);
}
