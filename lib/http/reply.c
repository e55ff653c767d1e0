/* Replies: heads, framing, whole answers from any thread, problem documents (RFC 9457). */
#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"
#include "http/internal.h"
#include "json/write.h"

enum { DETAIL_MAX = 1024 };

/* --- heads ------------------------------------------------------------------------------------------------------- */

nexus_slice nexus__reason(uint16_t status)
{
    static const struct {
        uint16_t status;
        const char *text;
    } rows[] = {{200, "OK"},
                {201, "Created"},
                {202, "Accepted"},
                {203, "Non-Authoritative Information"},
                {204, "No Content"},
                {205, "Reset Content"},
                {206, "Partial Content"},
                {207, "Multi-Status"},
                {100, "Continue"},
                {101, "Switching Protocols"},
                {103, "Early Hints"},
                {300, "Multiple Choices"},
                {301, "Moved Permanently"},
                {302, "Found"},
                {303, "See Other"},
                {304, "Not Modified"},
                {307, "Temporary Redirect"},
                {308, "Permanent Redirect"},
                {400, "Bad Request"},
                {401, "Unauthorized"},
                {402, "Payment Required"},
                {403, "Forbidden"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {406, "Not Acceptable"},
                {407, "Proxy Authentication Required"},
                {408, "Request Timeout"},
                {409, "Conflict"},
                {410, "Gone"},
                {411, "Length Required"},
                {412, "Precondition Failed"},
                {413, "Content Too Large"},
                {414, "URI Too Long"},
                {415, "Unsupported Media Type"},
                {416, "Range Not Satisfiable"},
                {417, "Expectation Failed"},
                {421, "Misdirected Request"},
                {422, "Unprocessable Content"},
                {423, "Locked"},
                {424, "Failed Dependency"},
                {425, "Too Early"},
                {426, "Upgrade Required"},
                {428, "Precondition Required"},
                {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"},
                {451, "Unavailable For Legal Reasons"},
                {500, "Internal Server Error"},
                {501, "Not Implemented"},
                {502, "Bad Gateway"},
                {503, "Service Unavailable"},
                {504, "Gateway Timeout"},
                {505, "HTTP Version Not Supported"},
                {507, "Insufficient Storage"},
                {508, "Loop Detected"},
                {511, "Network Authentication Required"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            return nexus__slice_c(rows[i].text);
    return NEXUS_S("Status");
}

static nexus_slice date_line(nexus__shard *shard)
{
    int64_t now = nexus_loop_now_ns(shard->loop);
    if (now >= shard->date_until_ns) {
        int64_t real = nexus__real_ns();
        char date[32];
        nexus__format_http_date(real, date);
        shard->date_len = (uint8_t)snprintf(shard->date_line, sizeof shard->date_line, "Date: %s\r\n", date);
        shard->date_until_ns = now + NEXUS__NS_PER_S - real % NEXUS__NS_PER_S;
    }
    return (nexus_slice){shard->date_line, shard->date_len};
}

static bool bodiless(uint16_t status)
{
    return status < 200 || status == 204 || status == 304;
}

/* Whether what is left of the request's body will be read, so that the next request can be found behind it. */
static bool body_will_end(const nexus_request *r)
{
    const nexus__conn *c = r->conn;
    if (r->in_body.done)
        return true;
    if (r->head.expect_continue && !r->continued)
        return false;
    if (r->route && (r->route->flags & NEXUS_ROUTE_STREAM_BODY) && !r->reader.ended)
        return true; /* its reader will; should it not, the rest is discarded up to a limit */
    return r->in_body.framing == NEXUS__HTTP_LENGTH_FIXED &&
           (r->in_body.left <= r->shard->server->opts.drain_max_bytes || r->in_body.left <= c->in_len - c->in_body);
}

static void decide_framing(nexus_request *r, const nexus__reply_head *h)
{
    if (h->tunnel)
        r->reply_framing = NEXUS__REPLY_TUNNEL;
    else if (bodiless(h->status) || r->method == NEXUS_METHOD_HEAD)
        r->reply_framing = NEXUS__REPLY_NONE;
    else if (h->length != NEXUS__LENGTH_UNKNOWN)
        r->reply_framing = NEXUS__REPLY_LENGTH;
    else
        r->reply_framing = r->head.minor == 1 ? NEXUS__REPLY_CHUNKED : NEXUS__REPLY_CLOSE;
    r->reply_left = r->reply_framing == NEXUS__REPLY_LENGTH ? h->length : 0;
}

/* A body that was refused unread is not worth the doubt whether both sides agree where it ends. */
static bool refuses_body(const nexus_request *r, uint16_t status)
{
    return (status == 400 || status == 408 || status == 413) && !r->in_body.done;
}

static bool decide_close(nexus_request *r, const nexus__reply_head *h)
{
    if (!r->conn || h->tunnel || r->h2.id)
        return false;
    bool close = h->close || r->conn->close || !r->head.keep_alive || r->reply_framing == NEXUS__REPLY_CLOSE ||
                 atomic_load_explicit(&r->shard->server->draining, memory_order_relaxed) || !body_will_end(r) ||
                 refuses_body(r, h->status) || nexus__server_load(r->shard->server) >= NEXUS__LOAD_CLOSE;
    if (close)
        r->conn->close = true;
    return close;
}

static char *put(char *at, nexus_slice s)
{
    if (s.n)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *put_u64(char *at, uint64_t v)
{
    char digits[20];
    size_t n = sizeof digits;
    do
        digits[--n] = (char)('0' + v % 10);
    while (v /= 10);
    memcpy(at, digits + n, sizeof digits - n);
    return at + sizeof digits - n;
}

bool nexus__reply_has_line(nexus_slice lines, nexus_slice name)
{
    while (lines.n) {
        nexus_slice line = nexus__slice_cut(&lines, '\n');
        if (line.n > name.n && line.p[name.n] == ':' && nexus__slice_ieq((nexus_slice){line.p, name.n}, name))
            return true;
    }
    return false;
}

/* The server's own header lines, but for those that set_header replaced. */
static char *put_defaults(char *at, nexus_slice lines, nexus_slice extra)
{
    if (!extra.n)
        return put(at, lines);
    while (lines.n) {
        nexus_slice line = nexus__slice_cut(&lines, '\n'), name = {line.p, nexus__slice_find(line, ':')};
        if (!nexus__reply_has_line(extra, name))
            at = put(at, (nexus_slice){line.p, line.n + 1});
    }
    return at;
}

static char *put_status(char *at, uint16_t status, nexus_slice reason)
{
    at = put(at, NEXUS_S("HTTP/1.1 "));
    *at++ = (char)('0' + status / 100 % 10);
    *at++ = (char)('0' + status / 10 % 10);
    *at++ = (char)('0' + status % 10);
    *at++ = ' ';
    return put(put(at, reason), NEXUS_S("\r\n"));
}

void nexus__reply_begin(nexus_request *r, const nexus__reply_head *h)
{
    nexus_server *s = r->shard->server;
    decide_framing(r, h);
    bool close = decide_close(r, h);
    r->status = h->status;
    r->phase = NEXUS__PHASE_REPLY;
    nexus_slice reason = h->reason.n ? h->reason : nexus__reason(h->status), extra = nexus__buf_slice(&r->extra);
    size_t fields = 0;
    for (size_t i = 0; i < h->field_iovs; i++)
        fields += h->fields[i].iov_len;
    nexus__buf_clear(&r->head_out);
    char *start =
        nexus__buf_reserve(&r->head_out, 320 + reason.n + s->header_lines.n + extra.n + h->content_type.n + fields);
    if (!start) {
        if (r->conn)
            nexus__conn_break(r->conn);
        return;
    }
    char *at = r->h2.id ? start : put_status(start, h->status, reason);
    if (!h->has_date)
        at = put(at, date_line(r->shard));
    if (h->content_type.n)
        at = put(put(put(at, NEXUS_S("Content-Type: ")), h->content_type), NEXUS_S("\r\n"));
    for (size_t i = 0; i < h->field_iovs; i++)
        at = put(at, (nexus_slice){h->fields[i].iov_base, h->fields[i].iov_len});
    if (s->header_lines.n && !h->passed)
        at = put_defaults(at, s->header_lines, extra);
    at = put(at, extra);
    if (r->id_len)
        at = put(put(put(at, NEXUS_S("X-Request-Id: ")), (nexus_slice){r->id, r->id_len}), NEXUS_S("\r\n"));
    if (r->reply_framing == NEXUS__REPLY_CHUNKED && !r->h2.id)
        at = put(at, NEXUS_S("Transfer-Encoding: chunked\r\n"));
    else if (h->length != NEXUS__LENGTH_UNKNOWN && !bodiless(h->status))
        at = put(put_u64(put(at, NEXUS_S("Content-Length: ")), h->length), NEXUS_S("\r\n"));
    if (r->h2.id) {
        r->head_out.len = (size_t)(at - start);
        return;
    }
    if (h->tunnel)
        at = put(at, h->status == 101 ? NEXUS_S("Connection: Upgrade\r\n") : NEXUS_S(""));
    else if (close)
        at = put(at, NEXUS_S("Connection: close\r\n"));
    else if (r->head.minor == 0)
        at = put(at, NEXUS_S("Connection: keep-alive\r\n"));
    at = put(at, NEXUS_S("\r\n"));
    r->head_out.len = (size_t)(at - start);
}

/* --- bodies ------------------------------------------------------------------------------------------------------ */

/* What may go out of what was given; a reply that does not keep to its length ends the connection. */
static size_t allowed(nexus_request *r, size_t total, bool end)
{
    if (r->reply_framing == NEXUS__REPLY_NONE)
        return 0;
    if (r->reply_framing != NEXUS__REPLY_LENGTH)
        return total;
    size_t n = total < r->reply_left ? total : (size_t)r->reply_left;
    r->reply_left -= n;
    bool broken = n < total || (end && r->reply_left);
    if (broken && r->h2.id)
        r->h2.broken = true;
    else if (broken && r->conn)
        r->conn->close = true;
    return n;
}

void nexus__reply_write(nexus_request *r, bool first, const struct iovec *body, size_t n, bool end)
{
    enum { PIECES = 64 };
    struct iovec out[PIECES + 5];
    size_t k = 0, total = 0;
    char size[24];
    for (size_t i = 0; i < n; i++)
        total += body[i].iov_len;
    size_t left = allowed(r, total, end);
    r->bytes_out += left;
    nexus__conn *c = r->conn;
    if (!c)
        return;
    if (r->h2.id) {
        nexus__h2_write(r, first, body, n, left, end);
        return;
    }
    if (first)
        out[k++] = (struct iovec){r->head_out.p, r->head_out.len};
    bool chunked = r->reply_framing == NEXUS__REPLY_CHUNKED;
    if (chunked && left)
        out[k++] = (struct iovec){size, (size_t)snprintf(size, sizeof size, "%zx\r\n", left)};
    for (size_t i = 0; i < n && left; i++) {
        if (k == PIECES) {
            nexus__conn_write(c, out, k);
            k = 0;
        }
        size_t len = body[i].iov_len < left ? body[i].iov_len : left;
        out[k++] = (struct iovec){body[i].iov_base, len};
        left -= len;
    }
    static const char crlf_last[] = "\r\n0\r\n\r\n";
    nexus_slice trailers = chunked && end ? nexus__buf_slice(&r->trailers_out) : (nexus_slice){NULL, 0};
    size_t last = !end ? 0 : trailers.n ? 3 : 5; /* the lines come before the empty one */
    if (chunked && total)
        out[k++] = (struct iovec){(void *)(uintptr_t)crlf_last, 2 + last};
    else if (chunked && end)
        out[k++] = (struct iovec){(void *)(uintptr_t)(crlf_last + 2), last};
    if (trailers.n) {
        out[k++] = (struct iovec){(void *)(uintptr_t)trailers.p, trailers.n};
        out[k++] = (struct iovec){(void *)(uintptr_t)crlf_last, 2};
    }
    nexus__conn_write(c, out, k);
}

void nexus__reply_now(nexus_request *r, uint16_t status, nexus_slice content_type, nexus_slice body)
{
    nexus__reply_head h = {.status = status, .content_type = content_type, .length = body.n};
    if (r->conn) {
        nexus__reply_begin(r, &h);
        nexus__reply_write(r, true, &(struct iovec){(void *)(uintptr_t)body.p, body.n}, 1, true);
    } else {
        r->status = 0; /* nobody was told */
    }
    nexus__request_end(r);
}

/* --- whole answers, from any thread ------------------------------------------------------------------------------ */

static void on_answer(nexus__task *task)
{
    nexus_request *r = NEXUS__CONTAINER(task, nexus_request, task);
    nexus__reply_now(r, r->status, nexus__slice_c(r->content_type), nexus__buf_slice(&r->reply_body));
}

static bool unsendable(uint16_t status, nexus_slice content_type)
{
    return status < 200 || status > 599 || !nexus__http_is_value(content_type) ||
           content_type.n >= NEXUS__CONTENT_TYPE_MAX;
}

/* The body stands in reply_body (own) or is the caller's. */
static void answer(nexus_request *r, uint16_t status, nexus_slice content_type, nexus_slice body)
{
    if (unsendable(status, content_type)) { /* a handler's mistake, not the client's */
        status = 500;
        content_type = body = (nexus_slice){NULL, 0};
    }
    if (nexus_loop_is_current(r->shard->loop)) {
        nexus__reply_now(r, status, content_type, body);
        return;
    }
    if (body.p != r->reply_body.p) {
        nexus__buf_clear(&r->reply_body);
        nexus__buf_append(&r->reply_body, body.p, body.n);
    }
    r->status = r->reply_body.status == NEXUS_OK ? status : 500;
    if (content_type.n)
        memcpy(r->content_type, content_type.p, content_type.n);
    r->content_type[content_type.n] = '\0';
    r->task.fn = on_answer;
    nexus__loop_post_task(r->shard->loop, &r->task);
}

void nexus_request_reply(nexus_request *r, uint16_t status, const char *content_type, nexus_slice body)
{
    if (!atomic_exchange(&r->answered, true))
        answer(r, status, nexus__slice_c(content_type), body);
}

/* --- problems ---------------------------------------------------------------------------------------------------- */

static void write_problem(nexus_request *r, uint16_t status, const char *code, const char *detail,
                          const nexus_problem_error *errors, size_t n)
{
    nexus_slice id;
    char instance[NEXUS__ID_MAX + 16];
    nexus_request_id(r, &id);
    snprintf(instance, sizeof instance, id.n == 36 ? "urn:uuid:%s" : "%s", id.p);
    nexus__buf_clear(&r->reply_body);
    nexus__json_writer w = nexus__json_writer_on(&r->reply_body);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "type", NEXUS_S("about:blank"));
    nexus__json_put_text(&w, "title", nexus__reason(status));
    nexus__json_put_u64(&w, "status", status);
    if (detail && detail[0])
        nexus__json_put_text_c(&w, "detail", detail);
    nexus__json_put_text_c(&w, "instance", instance);
    nexus__json_put_text_c(&w, "code", code ? code : "");
    if (n) {
        nexus__json_key(&w, "errors");
        nexus__json_open(&w, '[');
        for (size_t i = 0; i < n; i++) {
            nexus__json_open(&w, '{');
            nexus__json_put_text_c(&w, "pointer", errors[i].pointer);
            nexus__json_put_text_c(&w, "code", errors[i].code);
            nexus__json_put_text_c(&w, "detail", errors[i].detail);
            nexus__json_close(&w, '}');
        }
        nexus__json_close(&w, ']');
    }
    nexus__json_close(&w, '}');
}

static void keep_code(nexus_request *r, const char *code)
{
    nexus_slice copy = nexus__arena_copy(&r->arena, nexus__slice_c(code));
    r->problem_code = copy.p;
}

void nexus__exchange_page(nexus_request *r, uint16_t status, const char *code, const char *content_type,
                          nexus_slice body)
{
    if (atomic_exchange(&r->answered, true))
        return;
    keep_code(r, code);
    answer(r, status, nexus__slice_c(content_type), body);
}

static void answer_problem(nexus_request *r, uint16_t status, const char *code, const char *detail,
                           const nexus_problem_error *errors, size_t n)
{
    keep_code(r, code);
    write_problem(r, status, code, detail, errors, n);
    answer(r, status, NEXUS_S("application/problem+json"), nexus__buf_slice(&r->reply_body));
}

void nexus__reply_refuse(nexus_request *r, uint16_t status, const char *code, const char *detail)
{
    answer_problem(r, status, code, detail, NULL, 0);
}

void nexus_request_problem_errors(nexus_request *r, uint16_t status, const char *code, const char *detail,
                                  const nexus_problem_error *errors, size_t n)
{
    if (!atomic_exchange(&r->answered, true))
        answer_problem(r, status, code, detail, errors, n);
}

void nexus_request_problem_text(nexus_request *r, uint16_t status, const char *code, const char *detail)
{
    nexus_request_problem_errors(r, status, code, detail, NULL, 0);
}

void nexus_request_problem(nexus_request *r, uint16_t status, const char *code, const char *format, ...)
{
    char detail[DETAIL_MAX];
    va_list args;
    va_start(args, format);
    detail[0] = '\0';
    if (format)
        vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    nexus_request_problem_errors(r, status, code, detail, NULL, 0);
}

/* --- fields of the reply ----------------------------------------------------------------------------------------- */

static bool ours(nexus_slice name)
{
    static const char *const names[] = {
        "connection", "content-length", "content-type",      "date",    "keep-alive",
        "te",         "trailer",        "transfer-encoding", "upgrade", "proxy-connection"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (nexus__slice_ieq(name, nexus__slice_c(names[i])))
            return true;
    return false;
}

static void drop_line(nexus__buf *lines, nexus_slice name)
{
    for (size_t at = 0; at < lines->len;) {
        const char *lf = memchr(lines->p + at, '\n', lines->len - at);
        size_t next = (size_t)(lf - lines->p) + 1;
        if (next - at > name.n && lines->p[at + name.n] == ':' &&
            nexus__slice_ieq((nexus_slice){lines->p + at, name.n}, name)) {
            memmove(lines->p + at, lines->p + next, lines->len - next);
            lines->len -= next - at;
        } else {
            at = next;
        }
    }
}

nexus_status nexus_request_set_header(nexus_request *r, const char *name_text, nexus_slice value)
{
    nexus_slice name = nexus__slice_c(name_text);
    if (!nexus__http_is_token(name) || !nexus__http_is_value(value))
        return nexus__fail(NEXUS_EINVAL,
                           "'%s' is not a header field that HTTP allows: no control characters, no space at "
                           "either end",
                           name_text);
    if (ours(name))
        return nexus__fail(NEXUS_EINVAL, "the field %s is set by the server itself", name_text);
    if (!nexus__slice_ieq(name, NEXUS_S("Set-Cookie")) && !nexus__slice_ieq(name, NEXUS_S("Vary")))
        drop_line(&r->extra, name);
    size_t before = r->extra.len;
    nexus__buf_slice_append(&r->extra, name);
    nexus__buf_append(&r->extra, ": ", 2);
    nexus__buf_slice_append(&r->extra, value);
    nexus__buf_append(&r->extra, "\r\n", 2);
    if (r->extra.status == NEXUS_OK)
        return NEXUS_OK;
    nexus_status status = r->extra.status;
    r->extra.len = before;
    r->extra.status = NEXUS_OK;
    return nexus__fail(status, "the header fields of one reply may have 16 KiB together");
}
