/* What is known about messages: names of fields, errors, small grammars. */
#include "http/chars.h"
#include "http/parser.h"

static uint64_t folded_word(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word | UINT64_C(0x2020202020202020);
}

/* Of the same length; "-" | 0x20 is "-", and "\r" is no token. */
static bool same_name(const char *a, const char *b, size_t n)
{
    size_t k = 0;
    for (; n - k >= 8; k += 8)
        if (folded_word(a + k) != folded_word(b + k))
            return false;
    for (; k < n; k++)
        if ((a[k] | 0x20) != (b[k] | 0x20))
            return false;
    return true;
}

enum nexus__http_name nexus__http_name_find(nexus_slice name)
{
    static const struct {
        const char *text;
        uint8_t len, id;
    } rows[] = {{"te", 2, NEXUS__HTTP_TE},
                {"host", 4, NEXUS__HTTP_HOST},
                {"date", 4, NEXUS__HTTP_DATE},
                {"expect", 6, NEXUS__HTTP_EXPECT},
                {"cookie", 6, NEXUS__HTTP_COOKIE},
                {"server", 6, NEXUS__HTTP_SERVER},
                {"upgrade", 7, NEXUS__HTTP_UPGRADE},
                {"trailer", 7, NEXUS__HTTP_TRAILER},
                {"cdn-loop", 8, NEXUS__HTTP_CDN_LOOP},
                {"forwarded", 9, NEXUS__HTTP_FORWARDED},
                {"connection", 10, NEXUS__HTTP_CONNECTION},
                {"keep-alive", 10, NEXUS__HTTP_KEEP_ALIVE},
                {"content-type", 12, NEXUS__HTTP_CONTENT_TYPE},
                {"x-request-id", 12, NEXUS__HTTP_X_REQUEST_ID},
                {"authorization", 13, NEXUS__HTTP_AUTHORIZATION},
                {"content-length", 14, NEXUS__HTTP_CONTENT_LENGTH},
                {"x-forwarded-for", 15, NEXUS__HTTP_X_FORWARDED_FOR},
                {"proxy-connection", 16, NEXUS__HTTP_PROXY_CONNECTION},
                {"transfer-encoding", 17, NEXUS__HTTP_TRANSFER_ENCODING}};
    /* where in the rows names of this length begin; 0xff = none */
    static const uint8_t start[18] = {0xff, 0xff, 0, 0xff, 1, 0xff, 3, 6, 8, 9, 10, 0xff, 12, 14, 15, 16, 17, 18};
    if (name.n >= sizeof start || start[name.n] == 0xff)
        return NEXUS__HTTP_OTHER;
    for (size_t i = start[name.n]; i < sizeof rows / sizeof rows[0] && rows[i].len == name.n; i++) {
        if (same_name(name.p, rows[i].text, name.n))
            return (enum nexus__http_name)rows[i].id;
    }
    return NEXUS__HTTP_OTHER;
}

const nexus__http_field *nexus__http_find(const nexus__http_head *h, const char *base, nexus_slice name)
{
    enum nexus__http_name id = nexus__http_name_find(name);
    if (id)
        return nexus__http_first(h, id);
    for (uint32_t i = 0; i < h->field_count; i++)
        if (h->fields[i].name_len == name.n && nexus__slice_ieq(nexus__http_field_name(&h->fields[i], base), name))
            return &h->fields[i];
    return NULL;
}

const nexus__http_error_info *nexus__http_error_info_get(enum nexus__http_error error)
{
    static const nexus__http_error_info rows[NEXUS__HTTP_ERRORS] = {
        [NEXUS__HTTP_OK] = {"", "", 0},
        [NEXUS__HTTP_BAD_LINE] = {"bad-request-line",
                                  "The request line is not: method, one space, target, one space, HTTP/1.1.", 400},
        [NEXUS__HTTP_BAD_VERSION] = {"http-version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.", 505},
        [NEXUS__HTTP_BAD_TARGET] =
            {"bad-target", "The request target has a form or a character that a URL may not have; escape it as %XX.",
             400},
        [NEXUS__HTTP_LINE_TOO_LONG] = {"target-too-long", "The request line is too long.", 414},
        [NEXUS__HTTP_BARE_CR_LF] = {"bare-line-break",
                                    "A line of the head ends, or is broken, by CR or LF alone; lines end with CR LF.",
                                    400},
        [NEXUS__HTTP_BAD_FIELD] = {"bad-header",
                                   "A header field is not: name, colon at once, value without control characters.", 400},
        [NEXUS__HTTP_FOLDED] = {"folded-header", "A header field is continued on a second line.", 400},
        [NEXUS__HTTP_HEAD_TOO_BIG] = {"headers-too-large", "The header fields are too large.", 431},
        [NEXUS__HTTP_TOO_MANY_FIELDS] = {"too-many-headers", "There are too many header fields.", 431},
        [NEXUS__HTTP_BAD_LENGTH] = {"bad-content-length", "Content-Length is not a plain decimal number.", 400},
        [NEXUS__HTTP_TWO_LENGTHS] = {"two-content-lengths", "Content-Length is given more than once.", 400},
        [NEXUS__HTTP_LENGTH_AND_ENCODING] = {"length-and-encoding",
                                             "Content-Length and Transfer-Encoding are given together.", 400},
        [NEXUS__HTTP_BAD_ENCODING] = {"bad-transfer-encoding", "Transfer-Encoding is not exactly: chunked.", 400},
        [NEXUS__HTTP_UNKNOWN_ENCODING] = {"unknown-transfer-encoding",
                                          "The only transfer coding spoken here is chunked.", 501},
        [NEXUS__HTTP_BAD_HOST] = {"bad-host",
                                  "Host is missing, given twice, malformed, or not the authority of the target.", 400},
        [NEXUS__HTTP_BAD_CHUNK] = {"bad-chunk", "The size, an extension or the end of a chunk is malformed.", 400},
        [NEXUS__HTTP_BAD_TRAILER] = {"bad-trailer",
                                     "A trailer field is malformed, too large, or may not come as a trailer.", 400},
    };
    return &rows[error < NEXUS__HTTP_ERRORS ? error : NEXUS__HTTP_OK];
}

bool nexus__http_is_token(nexus_slice text)
{
    return text.n && nexus__chars_span(text.p, text.n, NEXUS__CHAR_TOKEN) == text.n;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

bool nexus__http_is_value(nexus_slice text)
{
    if (text.n && (is_space(text.p[0]) || is_space(text.p[text.n - 1])))
        return false;
    return nexus__chars_value_span(text.p, text.n) == text.n;
}

static bool is_port(nexus_slice digits)
{
    uint64_t port;
    return digits.n <= 5 && nexus__parse_u64(digits, &port) && port <= 65535;
}

bool nexus__http_is_authority(nexus_slice text)
{
    if (!text.n)
        return false;
    size_t host;
    if (text.p[0] == '[') { /* IPv6: hex digits, colons and dots; the resolver will know the rest */
        host = 1;
        while (host < text.n &&
               (nexus__char_is(text.p[host], NEXUS__CHAR_HEX) || text.p[host] == ':' || text.p[host] == '.'))
            host++;
        if (host < 4 || host == text.n || text.p[host] != ']')
            return false;
        host++;
    } else {
        host = nexus__chars_span(text.p, text.n, NEXUS__CHAR_HOST);
        for (size_t i = 0; i < host; i++)
            if (text.p[i] == '%' && (i + 2 >= host || !nexus__char_is(text.p[i + 1], NEXUS__CHAR_HEX) ||
                                     !nexus__char_is(text.p[i + 2], NEXUS__CHAR_HEX)))
                return false;
        if (!host)
            return false;
    }
    if (host == text.n)
        return true;
    return text.p[host] == ':' && is_port(nexus__slice_from(text, host + 1));
}

bool nexus__http_list_has(nexus_slice list, nexus_slice token)
{
    while (list.n)
        if (nexus__slice_ieq(nexus__slice_trim(nexus__slice_cut(&list, ',')), token))
            return true;
    return false;
}
