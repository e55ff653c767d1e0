/* The event: its table of attributes, its checks, its stored form. */
#include "bus/event.h"

#include "base/status.h"
#include "base/time.h"
#include "base/utf8.h"

#define ATTR(field, core, kind)                                                                                        \
    {                                                                                                                  \
#field, offsetof(nexus_event, field), core, kind                                                               \
    }

const nexus__event_attr nexus__event_attrs[] = {
    ATTR(id, true, NEXUS__ATTR_TEXT),
    ATTR(source, true, NEXUS__ATTR_URI),
    ATTR(type, true, NEXUS__ATTR_TEXT),
    ATTR(subject, true, NEXUS__ATTR_TEXT),
    ATTR(datacontenttype, true, NEXUS__ATTR_MEDIA),
    ATTR(dataschema, true, NEXUS__ATTR_URI),
    ATTR(traceparent, false, NEXUS__ATTR_TEXT),
    ATTR(tracestate, false, NEXUS__ATTR_TEXT),
    ATTR(partitionkey, false, NEXUS__ATTR_TEXT),
    ATTR(correlationid, false, NEXUS__ATTR_TEXT),
    ATTR(causationid, false, NEXUS__ATTR_TEXT),
};
const size_t nexus__event_attr_count = sizeof nexus__event_attrs / sizeof nexus__event_attrs[0];

void nexus_event_init(nexus_event *event)
{
    *event = (nexus_event)NEXUS_EVENT_INIT;
}

const nexus__event_attr *nexus__event_attr_find(nexus_slice name)
{
    for (size_t i = 0; i < nexus__event_attr_count; i++)
        if (nexus__slice_eq_c(name, nexus__event_attrs[i].name))
            return &nexus__event_attrs[i];
    return NULL;
}

bool nexus__event_attr_is_ours(nexus_slice name)
{
    static const char *const ours[] = {"pos", "stream", "streamversion", "recvtime"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (nexus__slice_eq_c(name, ours[i]))
            return true;
    return false;
}

nexus_status nexus__event_ext_name(nexus_slice name)
{
    bool good = name.n >= 1 && name.n <= 20 && !nexus__slice_eq_c(name, "data");
    for (size_t i = 0; good && i < name.n; i++)
        good = (name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9');
    return good ? NEXUS_OK
                : nexus__fail(NEXUS_EINVAL, "attribute \"%.*s\": names are 1 to 20 of a-z and 0-9, and never \"data\"",
                              (int)(name.n < 64 ? name.n : 64), name.p ? name.p : "");
}

/* Eight bytes, all of them from ' ' to '~'. */
static bool plain_word(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return !((word | (word - 0x2020202020202020u) | (word + 0x0101010101010101u)) & 0x8080808080808080u);
}

/* Length of a prefix of bytes from ' ' to '~'; not always the longest. Most text is all of it. */
static size_t plain_prefix(nexus_slice text)
{
    size_t at = 0;
    while (at + 8 <= text.n && plain_word(text.p + at))
        at += 8;
    if (text.n >= 8 && plain_word(text.p + text.n - 8))
        return text.n;
    while (at < text.n && text.p[at] >= ' ' && text.p[at] <= '~')
        at++;
    return at;
}

/* CloudEvents 1.0, 3.1 String: no control characters, no noncharacters, no lone surrogates. */
static bool legal_text(nexus_slice text)
{
    text = nexus__slice_from(text, plain_prefix(text));
    if (!text.n)
        return true;
    if (!nexus__utf8_valid(text))
        return false;
    for (size_t at = 0; at < text.n;) {
        uint32_t c = nexus__utf8_next(text, &at);
        if (c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef))
            return false;
    }
    return true;
}

/* RFC 3986 2: every printable character but these: " < > \ ^ ` { | } */
static bool legal_uri(nexus_slice text)
{
    static const uint64_t legal[4] = {0xaffffffa00000000u, 0x47fffffeafffffffu, 0, 0};
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];
        if (!(legal[c >> 6] >> (c & 63) & 1))
            return false;
    }
    return true;
}

nexus_status nexus__event_attr_check(const char *name, enum nexus__attr_kind kind, nexus_slice value)
{
    if (value.n > NEXUS__EVENT_ATTR_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "attribute \"%s\" has %zu bytes; at most %u fit", name, value.n,
                           NEXUS__EVENT_ATTR_MAX);
    if (!legal_text(value))
        return nexus__fail(NEXUS_EINVAL, "attribute \"%s\" holds a control character or is not UTF-8", name);
    if (kind == NEXUS__ATTR_URI && !legal_uri(value))
        return nexus__fail(NEXUS_EINVAL, "attribute \"%s\" is not a URI reference", name);
    if (kind == NEXUS__ATTR_MEDIA && value.n && nexus__slice_find(value, '/') == value.n)
        return nexus__fail(NEXUS_EINVAL, "attribute \"%s\" is not a media type (RFC 2046)", name);
    return NEXUS_OK;
}

static nexus_status check_ext(const nexus_event *e)
{
    if (e->ext_count > NEXUS__EVENT_EXT_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "%zu extension attributes; at most %d fit", e->ext_count,
                           NEXUS__EVENT_EXT_MAX);
    for (size_t i = 0; i < e->ext_count; i++) {
        nexus_slice name = e->ext[i].name;
        char text[24];
        nexus_status status = nexus__event_ext_name(name);
        if (status != NEXUS_OK)
            return status;
        memcpy(text, name.p, name.n);
        text[name.n] = '\0';
        if (nexus__event_attr_find(name) || strcmp(text, "time") == 0 || strcmp(text, "specversion") == 0 ||
            strcmp(text, "rev") == 0 || nexus__event_attr_is_ours(name))
            return nexus__fail(NEXUS_EINVAL, "attribute \"%s\" has a place of its own and is no extension", text);
        if ((status = nexus__event_attr_check(text, NEXUS__ATTR_TEXT, e->ext[i].value)) != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

static bool is_same(nexus_slice a, nexus_slice b)
{
    return a.p == b.p && a.n == b.n;
}

nexus_status nexus_event_check(const nexus_event *e)
{
    return nexus__event_check_like(e, NULL);
}

nexus_status nexus__event_check_like(const nexus_event *e, const nexus_event *like)
{
    if (e->size < sizeof *e)
        return nexus__fail(NEXUS_EINVAL, "event: size is %zu; begin with NEXUS_EVENT_INIT", e->size);
    if (e->type.n == 0)
        return nexus__fail(NEXUS_EINVAL, "attribute \"type\" is required");
    for (size_t i = 0; i < nexus__event_attr_count; i++) {
        const nexus__event_attr *a = &nexus__event_attrs[i];
        nexus_slice value = nexus__event_get(e, a);
        if (!value.n || (like && is_same(value, nexus__event_get(like, a))))
            continue;
        nexus_status status = nexus__event_attr_check(a->name, a->kind, value);
        if (status != NEXUS_OK)
            return status;
    }
    return e->ext_count ? check_ext(e) : NEXUS_OK;
}

bool nexus__event_is_json(nexus_slice type)
{
    if (type.n == 0)
        return true;
    nexus_slice media = nexus__slice_trim(nexus__slice_cut(&type, ';'));
    size_t slash = nexus__slice_find(media, '/');
    nexus_slice sub = nexus__slice_from(media, slash < media.n ? slash + 1 : slash);
    return nexus__slice_ieq(sub, NEXUS_S("json")) ||
           (sub.n > 5 && nexus__slice_ieq(nexus__slice_from(sub, sub.n - 5), NEXUS_S("+json")));
}

/* --- topic match ---- */

bool nexus_event_type_matches(nexus_slice pattern, nexus_slice type)
{
    if (pattern.n == 0 || type.n == 0)
        return false;
    bool more_pattern = true, more_type = true;
    while (more_pattern && more_type) {
        more_pattern = nexus__slice_find(pattern, '.') < pattern.n;
        more_type = nexus__slice_find(type, '.') < type.n;
        nexus_slice p = nexus__slice_cut(&pattern, '.'), t = nexus__slice_cut(&type, '.');
        if (nexus__slice_eq_c(p, ">"))
            return !more_pattern && t.n > 0;
        if (p.n == 0 || (!nexus__slice_eq_c(p, "*") && !nexus__slice_eq(p, t)))
            return false;
    }
    return !more_pattern && !more_type;
}

/* --- stored form: {tag, length, bytes} for each attribute that is there ---- */

/* TAG_SUBJECT_STREAM: the stream has the subject's name, as most do; no bytes. */
enum { TAG_TIME = 64, TAG_REV = 65, TAG_STREAM = 66, TAG_EXT = 67, TAG_SUBJECT_STREAM = 68, HEAD_BYTES = 3 };

static char *put(char *at, uint8_t tag, const void *bytes, size_t n)
{
    uint8_t head[HEAD_BYTES] = {tag, (uint8_t)n, (uint8_t)(n >> 8)};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, bytes, n);
    return at + sizeof head + n;
}

static size_t ext_bytes(const nexus_pair *ext)
{
    return 1 + ext->name.n + ext->value.n;
}

static char *put_ext(char *at, const nexus_pair *ext)
{
    size_t n = ext_bytes(ext);
    uint8_t head[] = {TAG_EXT, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)ext->name.n};
    memcpy(at, head, sizeof head);
    at += sizeof head;
    memcpy(at, ext->name.p, ext->name.n);
    if (ext->value.n)
        memcpy(at + ext->name.n, ext->value.p, ext->value.n);
    return at + ext->name.n + ext->value.n;
}

/* Room for all of it; more than that when an attribute is too long to be stored. */
static size_t encoded_most(const nexus_event *e, nexus_slice stream)
{
    size_t n = 2 * HEAD_BYTES + sizeof e->time_ns + sizeof e->rev + HEAD_BYTES + stream.n;
    for (size_t i = 0; i < nexus__event_attr_count; i++)
        n += HEAD_BYTES + nexus__event_get(e, &nexus__event_attrs[i]).n;
    for (size_t i = 0; i < e->ext_count; i++) {
        if (ext_bytes(&e->ext[i]) > NEXUS__EVENT_ATTR_MAX)
            return SIZE_MAX;
        n += HEAD_BYTES + ext_bytes(&e->ext[i]);
    }
    return n;
}

void nexus__event_encode(nexus__buf *out, const nexus_event *e, nexus_slice stream)
{
    size_t most = encoded_most(e, stream);
    char *start = most < SIZE_MAX ? nexus__buf_reserve(out, most) : NULL, *at = start;
    if (!start) {
        out->status = out->status == NEXUS_OK ? NEXUS_ETOOBIG : out->status;
        return;
    }
    for (size_t i = 0; i < nexus__event_attr_count; i++) {
        nexus_slice value = nexus__event_get(e, &nexus__event_attrs[i]);
        if (value.n)
            at = put(at, (uint8_t)(i + 1), value.p, value.n);
    }
    if (e->time_ns)
        at = put(at, TAG_TIME, &e->time_ns, sizeof e->time_ns);
    if (e->rev)
        at = put(at, TAG_REV, &e->rev, sizeof e->rev);
    if (stream.n && nexus__slice_eq(stream, e->subject))
        at = put(at, TAG_SUBJECT_STREAM, "", 0);
    else if (stream.n)
        at = put(at, TAG_STREAM, stream.p, stream.n);
    for (size_t i = 0; i < e->ext_count; i++)
        at = put_ext(at, &e->ext[i]);
    out->len += (size_t)(at - start);
}

static bool take(nexus__event_view *view, uint8_t tag, nexus_slice v)
{
    nexus_event *e = &view->event;
    if (tag >= 1 && tag <= nexus__event_attr_count) {
        *nexus__event_slot(e, &nexus__event_attrs[tag - 1]) = v;
        return true;
    }
    switch (tag) {
    case TAG_TIME:
        memcpy(&e->time_ns, v.p, v.n < 8 ? v.n : 8);
        return v.n == 8;
    case TAG_REV:
        memcpy(&e->rev, v.p, v.n < 4 ? v.n : 4);
        return v.n == 4;
    case TAG_STREAM:
        e->stream = v;
        return true;
    case TAG_SUBJECT_STREAM: /* attributes come first */
        e->stream = e->subject;
        return true;
    case TAG_EXT:
        if (v.n < 1 || (size_t)(uint8_t)v.p[0] + 1 > v.n || e->ext_count == NEXUS__EVENT_EXT_MAX)
            return false;
        view->ext[e->ext_count++] =
            (nexus_pair){nexus__slice(v.p + 1, (uint8_t)v.p[0]), nexus__slice_from(v, 1u + (uint8_t)v.p[0])};
        return true;
    default:
        return true; /* of a later version: skipped */
    }
}

nexus_status nexus__event_decode(nexus__event_view *view, nexus_slice meta, nexus_slice data)
{
    view->event = (nexus_event){.size = sizeof view->event, .ext = view->ext, .data = data, .version = -1};
    while (meta.n) {
        const uint8_t *head = (const uint8_t *)meta.p;
        size_t n = meta.n < 3 ? SIZE_MAX : (size_t)head[1] | (size_t)head[2] << 8;
        if (n > meta.n - 3 || meta.n < 3 || !take(view, head[0], nexus__slice(meta.p + 3, n)))
            return nexus__fail(NEXUS_ECORRUPT, "the attributes of a stored event are not readable");
        meta = nexus__slice_from(meta, 3 + n);
    }
    return NEXUS_OK;
}

nexus__event_view *nexus__event_own(const nexus_alloc *alloc, nexus_slice meta, nexus_slice data, nexus_status *status)
{
    nexus__event_view *view = nexus__malloc(alloc, sizeof *view + meta.n + data.n);
    if (!view) {
        *status = nexus__nomem();
        return NULL;
    }
    char *bytes = (char *)(view + 1);
    if (meta.n)
        memcpy(bytes, meta.p, meta.n);
    if (data.n)
        memcpy(bytes + meta.n, data.p, data.n);
    *status = nexus__event_decode(view, nexus__slice(bytes, meta.n), nexus__slice(bytes + meta.n, data.n));
    if (*status != NEXUS_OK) {
        nexus__free(alloc, view);
        return NULL;
    }
    return view;
}
