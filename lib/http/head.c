/*
 * The head of a message, line by line: a line is looked at once, when its LF has come. What can be seen to be wrong in a
 * line that is not complete (a CR inside it, a space at its start, its length) is refused at once.
 */
#include "http/chars.h"
#include "http/parser.h"

enum { AT_START = 0, AT_FIELDS };
enum { SAYS_CLOSE = 1, SAYS_KEEP_ALIVE = 2, SAYS_UPGRADE = 4 }; /* Connection */
enum { EMPTY_LINES_MAX = 4, METHOD_MAX = 32, VERSION_LEN = 8 };

void nexus__http_head_init(nexus__http_head *h)
{
    memset(h, 0, offsetof(nexus__http_head, fields));
}

static bool refuse(nexus__http_head *h, enum nexus__http_error error)
{
    h->error = (uint8_t)error;
    return false;
}

/* --- start lines ------------------------------------------------------------------------------------------------- */

/* "HTTP/1.0" or "HTTP/1.1" at p. */
static bool version(nexus__http_head *h, const char *p, size_t n)
{
    if (n == VERSION_LEN && memcmp(p, "HTTP/1.", 7) == 0 && (p[7] == '0' || p[7] == '1')) {
        h->minor = (uint8_t)(p[7] - '0');
        return true;
    }
    bool other = n == VERSION_LEN && memcmp(p, "HTTP/", 5) == 0 && p[5] >= '0' && p[5] <= '9' && p[6] == '.' &&
                 p[7] >= '0' && p[7] <= '9';
    return refuse(h, other ? NEXUS__HTTP_BAD_VERSION : NEXUS__HTTP_BAD_LINE);
}

/* path ["?" query] at offset `from`; may be empty. */
static bool path_and_query(nexus__http_head *h, const char *p, uint32_t from, uint32_t end)
{
    h->path = from;
    h->path_len = (uint32_t)nexus__chars_span(p + from, end - from, NEXUS__CHAR_PATH);
    uint32_t at = from + h->path_len;
    if (at == end)
        return true;
    if (p[at] != '?')
        return refuse(h, NEXUS__HTTP_BAD_TARGET);
    h->has_query = true;
    h->query = at + 1;
    h->query_len = end - h->query;
    if (nexus__chars_span(p + h->query, h->query_len, NEXUS__CHAR_QUERY) != h->query_len)
        return refuse(h, NEXUS__HTTP_BAD_TARGET);
    return true;
}

static bool absolute_form(nexus__http_head *h, const char *p, uint32_t end)
{
    nexus_slice target = {p + h->target, end - h->target};
    size_t scheme = nexus__slice_ieq((nexus_slice){target.p, target.n < 7 ? target.n : 7}, NEXUS_S("http://"))    ? 7
                    : nexus__slice_ieq((nexus_slice){target.p, target.n < 8 ? target.n : 8}, NEXUS_S("https://")) ? 8
                                                                                                                  : 0;
    if (!scheme)
        return refuse(h, NEXUS__HTTP_BAD_TARGET);
    h->form = NEXUS__HTTP_ABSOLUTE;
    h->authority = h->target + (uint32_t)scheme;
    uint32_t at = h->authority;
    while (at < end && p[at] != '/' && p[at] != '?')
        at++;
    h->authority_len = at - h->authority;
    if (!nexus__http_is_authority((nexus_slice){p + h->authority, h->authority_len}))
        return refuse(h, NEXUS__HTTP_BAD_TARGET);
    return path_and_query(h, p, at, end);
}

static bool authority_form(nexus__http_head *h, const char *p, uint32_t end)
{
    h->form = NEXUS__HTTP_AUTHORITY;
    h->authority = h->target;
    h->authority_len = end - h->target;
    nexus_slice a = {p + h->authority, h->authority_len};
    size_t colon = a.n;
    while (colon > 0 && a.p[colon - 1] != ':' && a.p[colon - 1] != ']')
        colon--;
    if (colon == 0 || a.p[colon - 1] != ':' || colon == a.n || !nexus__http_is_authority(a))
        return refuse(h, NEXUS__HTTP_BAD_TARGET); /* CONNECT names a port */
    return true;
}

bool nexus__http_head_target(nexus__http_head *h, const char *p, uint32_t end)
{
    h->target_len = end - h->target;
    nexus_slice method = {p + h->start, h->method_len};
    if (nexus__slice_eq(method, NEXUS_S("CONNECT")))
        return authority_form(h, p, end);
    if (p[h->target] == '/') {
        h->form = NEXUS__HTTP_ORIGIN;
        return path_and_query(h, p, h->target, end);
    }
    if (h->target_len == 1 && p[h->target] == '*' && nexus__slice_eq(method, NEXUS_S("OPTIONS"))) {
        h->form = NEXUS__HTTP_ASTERISK;
        h->path = h->target;
        h->path_len = 1;
        return true;
    }
    return absolute_form(h, p, end);
}

static bool request_line(nexus__http_head *h, const char *p, uint32_t from, uint32_t end)
{
    h->start = from;
    size_t n = end - from;
    h->method_len = (uint32_t)nexus__chars_span(p + from, n < METHOD_MAX ? n : METHOD_MAX, NEXUS__CHAR_TOKEN);
    h->target = from + h->method_len + 1;
    /* method SP target SP version: the shortest target is one byte */
    if (!h->method_len || end < h->target + 2 + VERSION_LEN || p[h->target - 1] != ' ')
        return refuse(h, NEXUS__HTTP_BAD_LINE);
    uint32_t target_end = end - VERSION_LEN - 1;
    if (p[target_end] != ' ' || memchr(p + h->target, ' ', target_end - h->target))
        return refuse(h, NEXUS__HTTP_BAD_LINE);
    return version(h, p + target_end + 1, VERSION_LEN) && nexus__http_head_target(h, p, target_end);
}

static bool status_line(nexus__http_head *h, const char *p, uint32_t from, uint32_t end)
{
    h->start = from;
    /* version SP 3DIGIT SP [reason]; the last space is not optional (RFC 9112 4), but so often left out … */
    if (end < from + 12 || p[from + 8] != ' ')
        return refuse(h, NEXUS__HTTP_BAD_LINE);
    if (!version(h, p + from, VERSION_LEN))
        return false;
    const char *d = p + from + 9;
    for (int i = 0; i < 3; i++)
        if (d[i] < '0' || d[i] > '9')
            return refuse(h, NEXUS__HTTP_BAD_LINE);
    h->status = (uint16_t)((d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0'));
    h->reason = from + 12;
    if (h->status < 100 || (end > h->reason && p[h->reason] != ' '))
        return refuse(h, NEXUS__HTTP_BAD_LINE);
    if (end > h->reason)
        h->reason++; /* … that it may be missing when the reason is */
    h->reason_len = end - h->reason;
    if (nexus__chars_value_span(p + h->reason, h->reason_len) != h->reason_len)
        return refuse(h, NEXUS__HTTP_BAD_LINE);
    return true;
}

/* --- fields ------------------------------------------------------------------------------------------------------ */

static bool content_length(nexus__http_head *h, nexus_slice v)
{
    if (h->first[NEXUS__HTTP_CONTENT_LENGTH] || memchr(v.p, ',', v.n))
        return refuse(h, NEXUS__HTTP_TWO_LENGTHS);
    uint64_t length = 0;
    if (!nexus__parse_u64(v, &length) || length > INT64_MAX)
        return refuse(h, NEXUS__HTTP_BAD_LENGTH);
    h->length = length;
    h->framing = NEXUS__HTTP_LENGTH_FIXED;
    return true;
}

/* Exactly "chunked" is understood. A well-formed list of other codings that ends with it is merely unknown. `raw` is all
 * that follows the colon: white space other than leading spaces is a way to hide it from another parser. */
static bool transfer_encoding(nexus__http_head *h, nexus_slice raw)
{
    while (raw.n && raw.p[0] == ' ')
        raw = nexus__slice_from(raw, 1);
    if (h->first[NEXUS__HTTP_TRANSFER_ENCODING])
        return refuse(h, NEXUS__HTTP_BAD_ENCODING);
    if (nexus__slice_ieq(raw, NEXUS_S("chunked"))) {
        h->framing = NEXUS__HTTP_LENGTH_CHUNKED;
        return true;
    }
    nexus_slice rest = raw, last = {NULL, 0};
    while (rest.n) {
        nexus_slice item = nexus__slice_cut(&rest, ',');
        while (item.n && item.p[0] == ' ' && last.n)
            item = nexus__slice_from(item, 1);
        if (!nexus__http_is_token(item) || nexus__slice_ieq(last, NEXUS_S("chunked")))
            return refuse(h, NEXUS__HTTP_BAD_ENCODING);
        last = item;
    }
    bool well_formed = raw.n && raw.p[raw.n - 1] != ',' && nexus__slice_ieq(last, NEXUS_S("chunked"));
    return refuse(h, well_formed ? NEXUS__HTTP_UNKNOWN_ENCODING : NEXUS__HTTP_BAD_ENCODING);
}

static void connection(nexus__http_head *h, nexus_slice list)
{
    while (list.n) {
        nexus_slice item = nexus__slice_trim(nexus__slice_cut(&list, ','));
        if (nexus__slice_ieq(item, NEXUS_S("close")))
            h->says |= SAYS_CLOSE;
        else if (nexus__slice_ieq(item, NEXUS_S("keep-alive")))
            h->says |= SAYS_KEEP_ALIVE;
        else if (nexus__slice_ieq(item, NEXUS_S("upgrade")))
            h->says |= SAYS_UPGRADE;
        else if (item.n)
            h->connection_names = true;
    }
}

static bool known_field(nexus__http_head *h, enum nexus__http_name id, nexus_slice value, nexus_slice raw)
{
    switch (id) {
    case NEXUS__HTTP_CONTENT_LENGTH:
        if (h->first[NEXUS__HTTP_TRANSFER_ENCODING])
            return refuse(h, NEXUS__HTTP_LENGTH_AND_ENCODING);
        return content_length(h, value);
    case NEXUS__HTTP_TRANSFER_ENCODING:
        if (h->first[NEXUS__HTTP_CONTENT_LENGTH])
            return refuse(h, NEXUS__HTTP_LENGTH_AND_ENCODING);
        return transfer_encoding(h, raw);
    case NEXUS__HTTP_HOST:
        return !h->first[id] || refuse(h, NEXUS__HTTP_BAD_HOST);
    case NEXUS__HTTP_CONNECTION:
        connection(h, value);
        return true;
    case NEXUS__HTTP_EXPECT:
        if (nexus__slice_ieq(value, NEXUS_S("100-continue")) && !h->first[id])
            h->expect_continue = true;
        else
            h->expect_other = true;
        return true;
    default:
        return true;
    }
}

bool nexus__http_head_field(nexus__http_head *h, const char *p, nexus_slice name, enum nexus__http_name id,
                            nexus_slice value, nexus_slice raw)
{
    if (id && !known_field(h, id, value, raw))
        return false;
    h->fields[h->field_count++] = (nexus__http_field){.name = (uint32_t)(name.p - p),
                                                      .name_len = (uint16_t)name.n,
                                                      .value = (uint32_t)(value.p - p),
                                                      .value_len = (uint32_t)value.n,
                                                      .id = (uint16_t)id};
    if (id && !h->first[id])
        h->first[id] = (uint16_t)h->field_count;
    return true;
}

static bool field_line(nexus__http_head *h, const nexus__http_limits *limits, const char *p, uint32_t from, uint32_t end)
{
    if (p[from] == ' ' || p[from] == '\t')
        return refuse(h, NEXUS__HTTP_FOLDED);
    if (h->field_count >= limits->fields_max || h->field_count >= NEXUS__HTTP_FIELDS_MAX)
        return refuse(h, NEXUS__HTTP_TOO_MANY_FIELDS);
    size_t name_len = nexus__chars_span(p + from, end - from, NEXUS__CHAR_TOKEN);
    uint32_t at = from + (uint32_t)name_len;
    if (!name_len || name_len > UINT16_MAX || at == end || p[at] != ':')
        return refuse(h, at < end && p[at] == '\r' ? NEXUS__HTTP_BARE_CR_LF : NEXUS__HTTP_BAD_FIELD);
    at++;
    nexus_slice raw = {p + at, end - at};
    size_t good = nexus__chars_value_span(raw.p, raw.n);
    if (good != raw.n)
        return refuse(h, raw.p[good] == '\r' ? NEXUS__HTTP_BARE_CR_LF : NEXUS__HTTP_BAD_FIELD);
    nexus_slice name = {p + from, name_len};
    return nexus__http_head_field(h, p, name, nexus__http_name_find(name), nexus__slice_trim(raw), raw);
}

/* --- the end of the head ----------------------------------------------------------------------------------------- */

static void keep_alive(nexus__http_head *h)
{
    h->keep_alive = !(h->says & SAYS_CLOSE) && (h->minor == 1 || (h->says & SAYS_KEEP_ALIVE));
    h->upgrade = (h->says & SAYS_UPGRADE) && h->first[NEXUS__HTTP_UPGRADE] && h->minor == 1;
}

bool nexus__http_head_host(nexus__http_head *h, const nexus__http_limits *limits, const char *p)
{
    const nexus__http_field *f = nexus__http_first(h, NEXUS__HTTP_HOST);
    if (!f)
        return limits->host_optional || h->minor == 0 || refuse(h, NEXUS__HTTP_BAD_HOST);
    nexus_slice host = nexus__http_field_value(f, p);
    if (!nexus__http_is_authority(host))
        return refuse(h, NEXUS__HTTP_BAD_HOST);
    if (h->authority_len && !nexus__slice_ieq(host, (nexus_slice){p + h->authority, h->authority_len}))
        return refuse(h, NEXUS__HTTP_BAD_HOST);
    return true;
}

static bool end_of_request(nexus__http_head *h, const nexus__http_limits *limits, const char *p)
{
    keep_alive(h);
    if (h->first[NEXUS__HTTP_TRANSFER_ENCODING] && h->minor == 0)
        return refuse(h, NEXUS__HTTP_BAD_ENCODING);
    if (h->minor == 0)
        h->expect_continue = h->expect_other = false;
    return nexus__http_head_host(h, limits, p);
}

static bool end_of_response(nexus__http_head *h, bool to_head)
{
    keep_alive(h);
    if (h->first[NEXUS__HTTP_TRANSFER_ENCODING] && h->minor == 0)
        return refuse(h, NEXUS__HTTP_BAD_ENCODING);
    if (to_head || h->status < 200 || h->status == 204 || h->status == 304) {
        h->framing = NEXUS__HTTP_LENGTH_NONE; /* h->length stays: it is what a GET would have */
    } else if (h->framing == NEXUS__HTTP_LENGTH_NONE) {
        h->framing = NEXUS__HTTP_LENGTH_CLOSE;
        h->keep_alive = false;
    }
    return true;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

enum line { LINE_MORE, LINE_WHOLE, LINE_BAD };

/* The line that begins at h->at: LINE_WHOLE sets *end to where its CRLF begins. */
static enum line next_line(nexus__http_head *h, const nexus__http_limits *limits, const char *p, uint32_t n,
                           uint32_t *end)
{
    bool start = h->state == AT_START;
    uint32_t base = start ? h->at : h->fields_at, max = start ? limits->line_max : limits->head_max;
    enum nexus__http_error over = start ? NEXUS__HTTP_LINE_TOO_LONG : NEXUS__HTTP_HEAD_TOO_BIG;
    const char *lf = n > h->looked ? memchr(p + h->looked, '\n', n - h->looked) : NULL;
    if (lf) {
        uint32_t at = (uint32_t)(lf - p);
        if (at - base > (uint64_t)max + 1) {
            refuse(h, over);
            return LINE_BAD;
        }
        if (at == h->at || p[at - 1] != '\r') {
            refuse(h, NEXUS__HTTP_BARE_CR_LF);
            return LINE_BAD;
        }
        *end = at - 1;
        return LINE_WHOLE;
    }
    const char *cr = n > h->looked ? memchr(p + h->looked, '\r', n - h->looked) : NULL;
    if (n - base > (uint64_t)max + 1)
        refuse(h, over);
    else if (cr && cr < p + n - 1)
        refuse(h, NEXUS__HTTP_BARE_CR_LF);
    else if (n > h->at && (p[h->at] == ' ' || p[h->at] == '\t'))
        refuse(h, start ? NEXUS__HTTP_BAD_LINE : NEXUS__HTTP_FOLDED);
    if (h->error)
        return LINE_BAD;
    h->looked = cr ? n - 1 : n;
    return LINE_MORE;
}

typedef bool start_line_fn(nexus__http_head *h, const char *p, uint32_t from, uint32_t end);

static int32_t parse(nexus__http_head *h, const nexus__http_limits *limits, start_line_fn *start_line, bool request,
                     bool to_head, const char *p, size_t size)
{
    if (h->error)
        return -1;
    uint32_t n = size > INT32_MAX ? INT32_MAX : (uint32_t)size, end;
    for (;;) {
        enum line line = next_line(h, limits, p, n, &end);
        if (line == LINE_MORE)
            return 0;
        if (line == LINE_BAD)
            return -1;
        uint32_t from = h->at;
        h->at = h->looked = end + 2;
        if (h->state == AT_START) {
            if (end == from) { /* RFC 9112 2.2: an empty line before a request is skipped */
                if (request && ++h->empty_lines <= EMPTY_LINES_MAX)
                    continue;
                refuse(h, NEXUS__HTTP_BAD_LINE);
                return -1;
            }
            if (!start_line(h, p, from, end))
                return -1;
            h->state = AT_FIELDS;
            h->fields_at = h->at;
        } else if (end != from) {
            if (!field_line(h, limits, p, from, end))
                return -1;
        } else {
            bool good = request ? end_of_request(h, limits, p) : end_of_response(h, to_head);
            h->bytes = h->at;
            return good ? (int32_t)h->bytes : -1;
        }
    }
}

int32_t nexus__http_parse_request(nexus__http_head *h, const nexus__http_limits *limits, const char *p, size_t n)
{
    return parse(h, limits, request_line, true, false, p, n);
}

int32_t nexus__http_parse_response(nexus__http_head *h, const nexus__http_limits *limits, bool to_head, const char *p,
                                   size_t n)
{
    return parse(h, limits, status_line, false, to_head, p, n);
}
