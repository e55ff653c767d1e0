#include "http/h2_head.h"

#include <nghttp2/nghttp2.h>

#include "http/chars.h"

enum { METHOD = 1, PATH = 2, AUTHORITY = 4, SCHEME = 8 };

void nexus__h2_head_init(nexus__h2_head *d, nexus__http_head *head, const nexus__http_limits *limits, nexus__buf *lines,
                         nexus__buf *crumbs)
{
    *d = (nexus__h2_head){.head = head, .limits = limits, .lines = lines, .crumbs = crumbs};
    nexus__http_head_init(head);
    nexus__buf_clear(lines);
    nexus__buf_clear(crumbs);
}

/* --- pseudo-headers ----------------------------------------------------------------------------------------------- */

static uint8_t pseudo_of(nexus_slice name)
{
    static const struct {
        const char *name;
        uint8_t bit;
    } rows[] = {{":method", METHOD}, {":path", PATH}, {":authority", AUTHORITY}, {":scheme", SCHEME}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (nexus__slice_eq_c(name, rows[i].name))
            return rows[i].bit;
    return 0;
}

static int pseudo(nexus__h2_head *d, nexus_slice name, nexus_slice value)
{
    uint8_t bit = pseudo_of(name);
    uint32_t at = (uint32_t)d->lines->len;
    if (!bit || d->seen & bit || d->plain || !value.n || !nexus__http_is_value(value))
        return NEXUS__H2_HEAD_MALFORMED;
    d->seen |= bit;
    if (value.n > d->limits->line_max) {
        d->error = NEXUS__HTTP_LINE_TOO_LONG;
        return 0;
    }
    if (bit == SCHEME)
        return 0;
    nexus__buf_slice_append(d->lines, value);
    if (bit == METHOD) {
        d->head->start = at;
        d->head->method_len = (uint32_t)value.n;
    } else if (bit == PATH) {
        d->head->target = at;
        d->path_len = (uint32_t)value.n;
    } else {
        d->authority = at;
        d->authority_len = (uint32_t)value.n;
    }
    return 0;
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

static int add(nexus__h2_head *d, enum nexus__http_name id, nexus_slice name, nexus_slice value)
{
    char *p = nexus__buf_reserve(d->lines, name.n + value.n + 4);
    if (!p || d->head->field_count >= NEXUS__HTTP_FIELDS_MAX) {
        d->error = NEXUS__HTTP_TOO_MANY_FIELDS;
        return 0;
    }
    memcpy(p, name.p, name.n);
    memcpy(p + name.n, ": ", 2);
    if (value.n)
        memcpy(p + name.n + 2, value.p, value.n);
    memcpy(p + name.n + 2 + value.n, "\r\n", 2);
    d->lines->len += name.n + value.n + 4;
    name.p = p;
    value.p = p + name.n + 2;
    if (!nexus__http_head_field(d->head, d->lines->p, name, id, value, value) && !d->error)
        d->error = d->head->error;
    return 0;
}

/* Before the first field, or at the end when there is none: :authority as the Host field that it stands for. */
static int begin_fields(nexus__h2_head *d)
{
    d->plain = true;
    if (!(d->seen & AUTHORITY))
        return 0;
    nexus__buf_reserve(d->lines, d->authority_len + 8u); /* so that what is copied from does not move */
    return add(d, NEXUS__HTTP_HOST, NEXUS_S("host"), (nexus_slice){d->lines->p + d->authority, d->authority_len});
}

static bool well_formed(nexus_slice name, nexus_slice value)
{
    for (size_t i = 0; i < name.n; i++)
        if (!nexus__char_is(name.p[i], NEXUS__CHAR_TOKEN) || (name.p[i] >= 'A' && name.p[i] <= 'Z'))
            return false;
    return name.n && name.n <= UINT16_MAX && nexus__http_is_value(value);
}

/* What only a connection of HTTP/1.1 has (RFC 9113 8.2.2). */
static bool of_connection(enum nexus__http_name id)
{
    switch (id) {
    case NEXUS__HTTP_CONNECTION:
    case NEXUS__HTTP_TRANSFER_ENCODING:
    case NEXUS__HTTP_KEEP_ALIVE:
    case NEXUS__HTTP_PROXY_CONNECTION:
    case NEXUS__HTTP_UPGRADE:
        return true;
    default:
        return false;
    }
}

static void crumb(nexus__h2_head *d, nexus_slice value)
{
    if (d->crumbs->len && value.n)
        nexus__buf_append(d->crumbs, "; ", 2);
    nexus__buf_slice_append(d->crumbs, value);
}

static bool over(nexus__h2_head *d, nexus_slice name, nexus_slice value)
{
    d->bytes += (uint32_t)(name.n + value.n + 4);
    if (++d->fields > d->limits->fields_max)
        d->error = d->error ? d->error : NEXUS__HTTP_TOO_MANY_FIELDS;
    else if (d->bytes > d->limits->head_max)
        d->error = d->error ? d->error : NEXUS__HTTP_HEAD_TOO_BIG;
    return d->error != 0;
}

int nexus__h2_head_field(nexus__h2_head *d, nexus_slice name, nexus_slice value)
{
    if (name.n && name.p[0] == ':')
        return pseudo(d, name, value);
    enum nexus__http_name id = nexus__http_name_find(name);
    if (!well_formed(name, value) || of_connection(id) ||
        (id == NEXUS__HTTP_TE && !nexus__slice_ieq(value, NEXUS_S("trailers"))))
        return NEXUS__H2_HEAD_MALFORMED;
    if (!d->plain)
        begin_fields(d);
    if (over(d, name, value))
        return 0;
    if (id == NEXUS__HTTP_COOKIE) {
        crumb(d, value);
        return 0;
    }
    if (id == NEXUS__HTTP_HOST && d->seen & AUTHORITY) { /* the same, or a way to be two hosts at once */
        nexus_slice authority = {d->lines->p + d->authority, d->authority_len};
        if (!nexus__slice_ieq(value, authority))
            d->error = NEXUS__HTTP_BAD_HOST;
        return 0;
    }
    return add(d, id, name, value);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static bool is_connect(const nexus__h2_head *d)
{
    return nexus__slice_eq((nexus_slice){d->lines->p + d->head->start, d->head->method_len}, NEXUS_S("CONNECT"));
}

static bool whole(const nexus__h2_head *d)
{
    if (!(d->seen & METHOD))
        return false;
    if (is_connect(d))
        return d->seen == (METHOD | AUTHORITY);
    return (d->seen & (PATH | SCHEME)) == (PATH | SCHEME);
}

/* The path as HTTP/2 has it: absolute, or "*" of OPTIONS. No other form of a target. */
static bool target(nexus__h2_head *d)
{
    nexus__http_head *h = d->head;
    nexus_slice method = {d->lines->p + h->start, h->method_len};
    if (!nexus__http_is_token(method))
        return false;
    if (is_connect(d)) {
        h->target = d->authority;
        return nexus__http_head_target(h, d->lines->p, d->authority + d->authority_len);
    }
    char first = d->lines->p[h->target];
    return (first == '/' || (first == '*' && d->path_len == 1)) &&
           nexus__http_head_target(h, d->lines->p, h->target + d->path_len);
}

int nexus__h2_head_end(nexus__h2_head *d, bool end)
{
    nexus__http_head *h = d->head;
    if (d->error != NEXUS__HTTP_LINE_TOO_LONG && (!whole(d) || !target(d)))
        return NEXUS__H2_HEAD_MALFORMED;
    if (!d->plain)
        begin_fields(d);
    if (d->crumbs->len)
        add(d, NEXUS__HTTP_COOKIE, NEXUS_S("cookie"), nexus__buf_slice(d->crumbs));
    nexus__buf_append(d->lines, "\r\n", 2);
    h->bytes = (uint32_t)d->lines->len;
    h->minor = 1;
    h->keep_alive = true;
    h->authority_len = h->form == NEXUS__HTTP_AUTHORITY ? h->authority_len : 0;
    if (!d->error && (d->lines->status || d->crumbs->status))
        d->error = NEXUS__HTTP_HEAD_TOO_BIG;
    if (!d->error && !nexus__http_head_host(h, d->limits, d->lines->p))
        d->error = h->error;
    if (h->framing == NEXUS__HTTP_LENGTH_NONE && !end)
        h->framing = NEXUS__HTTP_LENGTH_CHUNKED; /* of a length that the end will tell */
    return d->error;
}

/* --- fields to send ------------------------------------------------------------------------------------------------ */

static bool stays_here(nexus_slice name)
{
    if (!strchr("cktpuCKTPU", name.p[0]) || name.n > 17)
        return false;
    enum nexus__http_name id = nexus__http_name_find(name);
    return of_connection(id) || id == NEXUS__HTTP_TE;
}

size_t nexus__h2_fields(char *lines, size_t n, nexus__h2_put_fn *put, void *to)
{
    size_t count = 0;
    nexus_slice rest = {lines, n};
    while (rest.n) {
        nexus_slice line = nexus__slice_cut(&rest, '\n');
        size_t colon = nexus__slice_find(line, ':');
        if (colon == 0 || colon >= line.n)
            continue;
        nexus_slice name = {line.p, colon}, value = nexus__slice_trim(nexus__slice_from(line, colon + 1));
        if (value.n && value.p[value.n - 1] == '\r')
            value = nexus__slice_trim((nexus_slice){value.p, value.n - 1});
        if (stays_here(name))
            continue;
        char *p = lines + (name.p - lines);
        for (size_t i = 0; i < name.n; i++)
            p[i] = nexus__ascii_lower(p[i]);
        put(to, name, value);
        count++;
    }
    return count;
}

uint8_t nexus__h2_field_flags(nexus_slice name)
{
    static const char *const apart[] = {"x-request-id", "traceparent", "set-cookie", "idempotency-key"};
    for (size_t i = 0; i < sizeof apart / sizeof apart[0]; i++)
        if (nexus__slice_eq_c(name, apart[i]))
            return NGHTTP2_NV_FLAG_NO_INDEX;
    return NGHTTP2_NV_FLAG_NONE;
}
