/*
 * HTTP/1.1 messages from bytes: strict (RFC 9112), incremental, pure. Requests and responses alike.
 *
 * Two machines. The head parser is given the bytes of a head again and again as they grow, remembers how far it has
 * looked, and yields fields as offsets into them, so that the buffer may move. The body parser cuts the bytes after
 * the head into pieces of body. Nothing is repaired: what RFC 9112 lets a recipient repair is an error here.
 */
#ifndef NEXUS_HTTP_PARSER_H
#define NEXUS_HTTP_PARSER_H

#include "base/buf.h"

enum { NEXUS__HTTP_FIELDS_MAX = 128 };

/* Fields that somebody asks for; a field's id is found once, while it is parsed. */
enum nexus__http_name {
    NEXUS__HTTP_OTHER = 0,
    NEXUS__HTTP_HOST,
    NEXUS__HTTP_CONTENT_LENGTH,
    NEXUS__HTTP_TRANSFER_ENCODING,
    NEXUS__HTTP_CONNECTION,
    NEXUS__HTTP_EXPECT,
    NEXUS__HTTP_UPGRADE,
    NEXUS__HTTP_TE,
    NEXUS__HTTP_TRAILER,
    NEXUS__HTTP_KEEP_ALIVE,
    NEXUS__HTTP_PROXY_CONNECTION,
    NEXUS__HTTP_CONTENT_TYPE,
    NEXUS__HTTP_AUTHORIZATION,
    NEXUS__HTTP_COOKIE,
    NEXUS__HTTP_X_REQUEST_ID,
    NEXUS__HTTP_X_FORWARDED_FOR,
    NEXUS__HTTP_FORWARDED,
    NEXUS__HTTP_DATE,
    NEXUS__HTTP_SERVER,
    NEXUS__HTTP_CDN_LOOP,
    NEXUS__HTTP_NAMES
};

/* The id of a name in any case. */
enum nexus__http_name nexus__http_name_find(nexus_slice name);

typedef struct nexus__http_field { /* offsets into the head */
    uint32_t name, value, value_len;
    uint16_t name_len;
    uint16_t id; /* enum nexus__http_name */
} nexus__http_field;

/* Why a message was refused; nexus__http_error_info has the words and the status for each. */
enum nexus__http_error {
    NEXUS__HTTP_OK = 0,
    NEXUS__HTTP_BAD_LINE,      /* the start line is not METHOD SP target SP HTTP/1.x CRLF, or HTTP/1.x SP 3DIGIT … */
    NEXUS__HTTP_BAD_VERSION,   /* HTTP, but another version: 505 */
    NEXUS__HTTP_BAD_TARGET,    /* the target has a form or a byte that RFC 9112 3.2 does not know */
    NEXUS__HTTP_LINE_TOO_LONG, /* 414 */
    NEXUS__HTTP_BARE_CR_LF,    /* CR without LF or LF without CR */
    NEXUS__HTTP_BAD_FIELD,     /* name or value with a forbidden byte, space before the colon, empty name */
    NEXUS__HTTP_FOLDED,        /* obs-fold */
    NEXUS__HTTP_HEAD_TOO_BIG,  /* 431 */
    NEXUS__HTTP_TOO_MANY_FIELDS,     /* 431 */
    NEXUS__HTTP_BAD_LENGTH,          /* Content-Length is not 1*DIGIT below 2^63 */
    NEXUS__HTTP_TWO_LENGTHS,         /* more than one Content-Length, or a list */
    NEXUS__HTTP_LENGTH_AND_ENCODING, /* both Content-Length and Transfer-Encoding */
    NEXUS__HTTP_BAD_ENCODING,        /* Transfer-Encoding is not exactly "chunked", twice, or in HTTP/1.0 */
    NEXUS__HTTP_UNKNOWN_ENCODING,    /* one well-formed coding that we do not have: 501 */
    NEXUS__HTTP_BAD_HOST,            /* missing, twice, malformed, or not the target's authority */
    NEXUS__HTTP_BAD_CHUNK,           /* size, extension or line end of a chunk */
    NEXUS__HTTP_BAD_TRAILER,         /* malformed or forbidden trailer field, or more than 8 KiB of them */
    NEXUS__HTTP_ERRORS
};

typedef struct nexus__http_error_info {
    const char *code; /* "length-and-encoding": of the problem document and the logs */
    const char *detail;
    uint16_t status; /* to answer a request with; a response that fails is a 502 */
} nexus__http_error_info;
const nexus__http_error_info *nexus__http_error_info_get(enum nexus__http_error error);

enum nexus__http_form { NEXUS__HTTP_ORIGIN, NEXUS__HTTP_ABSOLUTE, NEXUS__HTTP_AUTHORITY, NEXUS__HTTP_ASTERISK };

enum {
    NEXUS__HTTP_LENGTH_NONE = 0, /* no body: a request without both fields */
    NEXUS__HTTP_LENGTH_FIXED,    /* head.length bytes */
    NEXUS__HTTP_LENGTH_CHUNKED,
    NEXUS__HTTP_LENGTH_CLOSE /* a response that ends with its connection */
};

typedef struct nexus__http_limits {
    uint32_t line_max, head_max, fields_max; /* head_max: the fields, without the start line */
    bool host_optional;                      /* a request without Host is fine: for tests */
} nexus__http_limits;

typedef struct nexus__http_head {
    /* filled when nexus__http_parse_* returns > 0; offsets are into the bytes of the head */
    uint32_t bytes;                    /* of the whole head, its empty line included */
    uint32_t method_len;               /* request: the method stands at `start` */
    uint32_t start;                    /* of the start line: empty lines before it were skipped */
    uint32_t target, target_len;       /* request */
    uint32_t path, path_len;           /* of the target; for the asterisk form "*" */
    uint32_t query, query_len;         /* without "?"; has_query tells "" from none */
    uint32_t authority, authority_len; /* of an absolute or authority form */
    uint32_t reason, reason_len;       /* response */
    uint16_t status;                   /* response */
    uint8_t minor;                     /* HTTP/1.minor, 0 or 1 */
    uint8_t form;                      /* enum nexus__http_form */
    uint8_t framing;                   /* NEXUS__HTTP_LENGTH_… */
    bool has_query, keep_alive, expect_continue, expect_other, upgrade /* Connection names it, and it is there */;
    bool connection_names; /* Connection lists more than close, keep-alive and upgrade */
    uint64_t length;       /* of the body, when framing is FIXED */
    uint32_t field_count;
    uint16_t first[NEXUS__HTTP_NAMES]; /* 1 + index of the first field with this id; 0 = none */
    uint8_t error;                     /* enum nexus__http_error, when -1 was returned */
    /* private: how far the parser came */
    uint8_t state, says, empty_lines;
    uint32_t at;                                      /* of the line being read */
    uint32_t looked;                                  /* no LF before this */
    uint32_t fields_at;                               /* where the start line ended */
    nexus__http_field fields[NEXUS__HTTP_FIELDS_MAX]; /* last: not cleared */
} nexus__http_head;

/* Ready for a new message; as cheap as it looks (the fields are not cleared). */
void nexus__http_head_init(nexus__http_head *head);

/*
 * Parses a head from all bytes received so far of it. Call again with more (p may have moved) while it returns 0.
 * Returns the bytes of the head, 0 = more are needed, -1 = refused (head->error).
 */
int32_t nexus__http_parse_request(nexus__http_head *head, const nexus__http_limits *limits, const char *p, size_t n);
/* Request to which this is the response decides its framing: HEAD, and CONNECT answered 2xx, have no body. */
int32_t nexus__http_parse_response(nexus__http_head *head, const nexus__http_limits *limits, bool to_head,
                                   const char *p, size_t n);

static inline nexus_slice nexus__http_field_name(const nexus__http_field *f, const char *base)
{
    return (nexus_slice){base + f->name, f->name_len};
}
static inline nexus_slice nexus__http_field_value(const nexus__http_field *f, const char *base)
{
    return (nexus_slice){base + f->value, f->value_len};
}
/* The first field with this id (not NEXUS__HTTP_OTHER); NULL = none. */
static inline const nexus__http_field *nexus__http_first(const nexus__http_head *head, enum nexus__http_name id)
{
    return head->first[id] ? &head->fields[head->first[id] - 1] : NULL;
}
/* The first field of that name, any case. */
const nexus__http_field *nexus__http_find(const nexus__http_head *head, const char *base, nexus_slice name);

/* --- heads that were not lines: HTTP/2 ----------------------------------------------------------------------------- */

/* Of a request whose method stands at head->start and whose target at head->target, until `end`. False: head->error. */
bool nexus__http_head_target(nexus__http_head *head, const char *p, uint32_t end);
/* One more field, well formed, while there is room (NEXUS__HTTP_FIELDS_MAX); id is that of its name, raw all that followed
 * the colon. */
bool nexus__http_head_field(nexus__http_head *head, const char *p, nexus_slice name, enum nexus__http_name id,
                            nexus_slice value, nexus_slice raw);
/* Host is there, a host, and the target's authority. */
bool nexus__http_head_host(nexus__http_head *head, const nexus__http_limits *limits, const char *p);

/* --- bodies ------------------------------------------------------------------------------------------------------ */

typedef struct nexus__http_body {
    uint64_t left;     /* FIXED: bytes to come; CHUNKED: of this chunk */
    uint64_t received; /* bytes of body so far */
    uint32_t extra;    /* CHUNKED: bytes of extensions, then of trailers */
    uint8_t framing, state, digits, name_len;
    uint8_t error; /* enum nexus__http_error */
    bool done;
    char name[32]; /* CHUNKED: lower-case name of the trailer field being read, as far as it matters */
    nexus__buf *trailers; /* CHUNKED: given after init, takes the lines "Name: value\r\n"; NULL = they are dropped */
} nexus__http_body;

void nexus__http_body_init(nexus__http_body *body, uint8_t framing, uint64_t length);

/*
 * Takes the next bytes after the head. *data is the next piece of body inside them (possibly empty); returns how many
 * bytes were used, up to the end of that piece, or -1 = refused (body->error). Call until all are used or body->done;
 * what is left when done belongs to the next message. Trailers are checked.
 */
int64_t nexus__http_body_next(nexus__http_body *body, const char *p, size_t n, nexus_slice *data);

/* --- pieces that others need too --------------------------------------------------------------------------------- */

bool nexus__http_is_token(nexus_slice text);
/* Bytes that a field value may have: no CTL but HTAB, no space at either end. */
bool nexus__http_is_value(nexus_slice text);
/* RFC 3986 host with optional port, as the Host field must have; the empty one is not. */
bool nexus__http_is_authority(nexus_slice text);
/* What decides about framing, routing or who someone is may not come after the decision (RFC 9110 6.5.1). Any case. */
bool nexus__http_is_trailer(nexus_slice name);
/* Whether a comma-separated list has this token, any case. */
bool nexus__http_list_has(nexus_slice list, nexus_slice token);

#endif
