/* The body of a message, cut out of its framing. Chunked coding byte by byte between the runs of data. */
#include "base/codec.h"
#include "http/chars.h"
#include "http/parser.h"

enum { EXTENSIONS_MAX = 4096, TRAILERS_MAX = 8192, SIZE_DIGITS_MAX = 16 };

enum {
    SIZE = 0,
    SIZE_MORE,   /* after at least one digit */
    EXT_NAME,    /* first byte of a name */
    EXT_NAME_IN, /* inside it */
    EXT_VALUE,   /* first byte of a value */
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPED, /* after "\" in a quoted value */
    EXT_CLOSED,  /* after the closing quote */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE,      /* first byte of a trailer line */
    LINE_NAME, /* inside its name */
    LINE_VALUE,
    LINE_LF,
    LAST_LF
};

void nexus__http_body_init(nexus__http_body *b, uint8_t framing, uint64_t length)
{
    *b = (nexus__http_body){.left = framing == NEXUS__HTTP_LENGTH_FIXED ? length : 0, .framing = framing};
    b->done = framing == NEXUS__HTTP_LENGTH_NONE || (framing == NEXUS__HTTP_LENGTH_FIXED && length == 0);
}

bool nexus__http_is_trailer(nexus_slice name)
{
    static const char *const names[] = {"age",
                                        "authorization",
                                        "cache-control",
                                        "connection",
                                        "content-encoding",
                                        "content-length",
                                        "content-range",
                                        "cookie",
                                        "expect",
                                        "forwarded",
                                        "host",
                                        "keep-alive",
                                        "max-forwards",
                                        "proxy-authenticate",
                                        "proxy-authorization",
                                        "proxy-connection",
                                        "range",
                                        "set-cookie",
                                        "te",
                                        "trailer",
                                        "transfer-encoding",
                                        "upgrade",
                                        "www-authenticate",
                                        "x-forwarded-for",
                                        "x-forwarded-host",
                                        "x-forwarded-proto",
                                        "x-real-ip"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (nexus__slice_ieq(name, nexus__slice_c(names[i])))
            return false;
    return true;
}

static int size_byte(nexus__http_body *b, char c)
{
    int digit = nexus__hex_digit(c);
    if (digit >= 0) {
        if (++b->digits > SIZE_DIGITS_MAX || b->left > (uint64_t)INT64_MAX >> 4)
            return -1;
        b->left = b->left << 4 | (uint64_t)digit;
        return SIZE_MORE;
    }
    if (b->state == SIZE)
        return -1;
    return c == '\r' ? SIZE_LF : c == ';' ? EXT_NAME : -1;
}

/* After a name, a token or a quoted value. */
static int extension_end(char c)
{
    return c == '\r' ? SIZE_LF : c == ';' ? EXT_NAME : -1;
}

static int extension_byte(nexus__http_body *b, char c)
{
    if (++b->extra > EXTENSIONS_MAX)
        return -1;
    switch (b->state) {
    case EXT_NAME:
        return nexus__char_is(c, NEXUS__CHAR_TOKEN) ? EXT_NAME_IN : -1;
    case EXT_NAME_IN:
        return nexus__char_is(c, NEXUS__CHAR_TOKEN) ? EXT_NAME_IN : c == '=' ? EXT_VALUE : extension_end(c);
    case EXT_VALUE:
        return c == '"' ? EXT_QUOTED : nexus__char_is(c, NEXUS__CHAR_TOKEN) ? EXT_TOKEN : -1;
    case EXT_TOKEN:
        return nexus__char_is(c, NEXUS__CHAR_TOKEN) ? EXT_TOKEN : extension_end(c);
    case EXT_QUOTED:
        return c == '"'                                ? EXT_CLOSED
               : c == '\\'                             ? EXT_ESCAPED
               : nexus__char_is(c, NEXUS__CHAR_QUOTED) ? EXT_QUOTED
                                                       : -1;
    case EXT_ESCAPED:
        return nexus__char_is(c, NEXUS__CHAR_VALUE) ? EXT_QUOTED : -1;
    default:
        return extension_end(c);
    }
}

static int after_size(nexus__http_body *b, char c)
{
    if (c != '\n')
        return -1;
    b->digits = 0;
    if (b->left)
        return DATA;
    b->extra = 0; /* counts the trailers from here */
    return LINE;
}

static int trailer_byte(nexus__http_body *b, char c)
{
    if (++b->extra > TRAILERS_MAX)
        return -1;
    if (b->state == LINE) {
        if (c == '\r')
            return LAST_LF;
        b->name_len = 0;
    }
    if (b->trailers)
        nexus__buf_char(b->trailers, c);
    if (b->state == LINE || b->state == LINE_NAME) {
        if (c == ':' && b->name_len)
            return nexus__http_is_trailer((nexus_slice){b->name, b->name_len}) ? LINE_VALUE : -1;
        if (!nexus__char_is(c, NEXUS__CHAR_TOKEN))
            return -1;
        if (b->name_len < sizeof b->name)
            b->name[b->name_len++] = nexus__ascii_lower(c);
        return LINE_NAME;
    }
    return c == '\r' ? LINE_LF : nexus__char_is(c, NEXUS__CHAR_VALUE) ? LINE_VALUE : -1;
}

static int chunk_byte(nexus__http_body *b, char c)
{
    switch (b->state) {
    case SIZE:
    case SIZE_MORE:
        return size_byte(b, c);
    case SIZE_LF:
        return after_size(b, c);
    case DATA_CR:
        return c == '\r' ? DATA_LF : -1;
    case DATA_LF:
        return c == '\n' ? SIZE : -1;
    case LINE:
    case LINE_NAME:
    case LINE_VALUE:
        return trailer_byte(b, c);
    case LINE_LF:
        if (b->trailers)
            nexus__buf_char(b->trailers, c);
        return c == '\n' ? LINE : -1;
    case LAST_LF:
        b->done = c == '\n';
        return c == '\n' ? LAST_LF : -1;
    default:
        return extension_byte(b, c);
    }
}

static size_t take(nexus__http_body *b, const char *p, size_t n, nexus_slice *data)
{
    if (n > b->left)
        n = (size_t)b->left;
    *data = (nexus_slice){p, n};
    b->left -= n;
    b->received += n;
    return n;
}

static int64_t chunked(nexus__http_body *b, const char *p, size_t n, nexus_slice *data)
{
    size_t i = 0;
    while (i < n && !b->done) {
        if (b->state == DATA) {
            i += take(b, p + i, n - i, data);
            if (b->left == 0)
                b->state = DATA_CR;
            return (int64_t)i;
        }
        int next = chunk_byte(b, p[i]);
        if (next < 0) {
            b->error = b->state >= LINE ? NEXUS__HTTP_BAD_TRAILER : NEXUS__HTTP_BAD_CHUNK;
            return -1;
        }
        b->state = (uint8_t)next;
        i++;
    }
    return (int64_t)i;
}

int64_t nexus__http_body_next(nexus__http_body *b, const char *p, size_t n, nexus_slice *data)
{
    *data = (nexus_slice){p, 0};
    if (b->error)
        return -1;
    if (b->done || n == 0)
        return 0;
    if (b->framing == NEXUS__HTTP_LENGTH_CHUNKED)
        return chunked(b, p, n, data);
    if (b->framing == NEXUS__HTTP_LENGTH_CLOSE) {
        b->left = n;
        return (int64_t)take(b, p, n, data);
    }
    size_t used = take(b, p, n, data);
    b->done = b->left == 0;
    return (int64_t)used;
}
