#include "gateway/forward.h"

/* Names that a client may not bring, in folded form; a final '*' stands for any rest. */
static const char *const reserved[] = {
    "x-nexus-*",      "x-forwarded-*",     "x-real-ip",      "x-http-method-override",
    "x-http-method",  "x-method-override", "x-original-url", "x-rewrite-url",
    "x-consumer-*",   "x-request-id",      "x-original-uri", "forwarded",
    "proxy*",         "traceparent",       "http2-settings", "true-client-ip",
    "content-length", "transfer-encoding", "client-cert",    "client-cert-chain",
};

static bool folded_matches(nexus_slice name, const char *pattern)
{
    size_t i = 0;
    for (; i < name.n && pattern[i] && pattern[i] != '*'; i++) {
        char c = nexus__ascii_lower(name.p[i]);
        if ((c == '_' ? '-' : c) != pattern[i])
            return false;
    }
    return pattern[i] == '*' || (i == name.n && !pattern[i]);
}

/* Most fields are told apart by their first byte. */
static bool is_reserved(nexus_slice name)
{
    if (!strchr("xfpthc", nexus__ascii_lower(name.p[0])))
        return false;
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (reserved[i][0] == nexus__ascii_lower(name.p[0]) && folded_matches(name, reserved[i]))
            return true;
    return false;
}

static bool hop_by_hop(uint16_t id)
{
    switch (id) {
    case NEXUS__HTTP_CONTENT_LENGTH:
    case NEXUS__HTTP_TRANSFER_ENCODING:
    case NEXUS__HTTP_CONNECTION:
    case NEXUS__HTTP_UPGRADE:
    case NEXUS__HTTP_TE:
    case NEXUS__HTTP_TRAILER:
    case NEXUS__HTTP_KEEP_ALIVE:
    case NEXUS__HTTP_PROXY_CONNECTION:
    case NEXUS__HTTP_X_REQUEST_ID: /* ours */
        return true;
    default:
        return false;
    }
}

bool nexus__forward_is_ours(nexus_slice name)
{
    uint16_t id = nexus__http_name_find(name);
    return hop_by_hop(id) || id == NEXUS__HTTP_HOST || id == NEXUS__HTTP_EXPECT || id == NEXUS__HTTP_FORWARDED ||
           id == NEXUS__HTTP_X_FORWARDED_FOR || is_reserved(name);
}

/* Named in a Connection field, and therefore meant for us alone. */
static bool nominated(const nexus__http_head *head, const char *base, nexus_slice name)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].id == NEXUS__HTTP_CONNECTION &&
            nexus__http_list_has(nexus__http_field_value(&head->fields[i], base), name))
            return true;
    return false;
}

bool nexus__forward_changes(const nexus__gw_headers_conf *change, nexus_slice name)
{
    for (uint32_t i = 0; i < change->set.count; i++)
        if (nexus__slice_ieq(name, change->set.items[i].name))
            return true;
    for (uint32_t i = 0; i < change->remove.count; i++)
        if (nexus__slice_ieq(name, change->remove.items[i]))
            return true;
    return false;
}

static bool folded_eq(nexus_slice a, nexus_slice b)
{
    size_t i = 0;
    while (i < a.n && i < b.n) {
        char x = nexus__ascii_lower(a.p[i]), y = nexus__ascii_lower(b.p[i]);
        if ((x == '_' ? '-' : x) != (y == '_' ? '-' : y))
            return false;
        i++;
    }
    return a.n == b.n;
}

static bool is_added(const nexus__gw_field *fields, nexus_slice name)
{
    for (; fields; fields = fields->next)
        if (folded_eq(fields->name, name))
            return true;
    return false;
}

/* What the route says, and what this call alone says. */
static bool changed(const nexus__gw_headers_conf *change, const nexus__gw_headers_conf *own, nexus_slice name)
{
    if (change->set.count + change->remove.count > 0 && nexus__forward_changes(change, name))
        return true;
    return own && nexus__forward_changes(own, name);
}

static uint32_t line_end(const nexus__http_head *head, uint32_t i)
{
    return i + 1 < head->field_count ? head->fields[i + 1].name : head->bytes - 2;
}

static bool request_keeps(const nexus__http_head *head, const char *base, uint32_t i, const nexus__forward *f)
{
    const nexus__http_field *field = &head->fields[i];
    nexus_slice name = nexus__http_field_name(field, base);
    if (hop_by_hop(field->id) || field->id == NEXUS__HTTP_HOST || field->id == NEXUS__HTTP_EXPECT ||
        field->id == NEXUS__HTTP_X_FORWARDED_FOR || field->id == NEXUS__HTTP_FORWARDED)
        return false;
    if (field->id == NEXUS__HTTP_OTHER && is_reserved(name))
        return false;
    if (head->connection_names && nominated(head, base, name))
        return false;
    if (f->fields && is_added(f->fields, name))
        return false;
    return !changed(f->change, f->own, name);
}

static void line(nexus__buf *out, nexus_slice name_and_colon, nexus_slice value)
{
    char *at = nexus__buf_reserve(out, name_and_colon.n + value.n + 2);
    if (!at)
        return;
    memcpy(at, name_and_colon.p, name_and_colon.n);
    if (value.n > 0)
        memcpy(at + name_and_colon.n, value.p, value.n);
    memcpy(at + name_and_colon.n + value.n, "\r\n", 2);
    out->len += name_and_colon.n + value.n + 2;
}

static void pair_line(nexus__buf *out, const nexus_pair *pair)
{
    nexus__buf_slice_append(out, pair->name);
    line(out, NEXUS_S(": "), pair->value);
}

static void change_lines(nexus__buf *out, const nexus__gw_headers_conf *change)
{
    for (uint32_t i = 0; i < change->set.count; i++)
        pair_line(out, &change->set.items[i]);
    for (uint32_t i = 0; i < change->add.count; i++)
        pair_line(out, &change->add.items[i]);
}

static void request_line(nexus__buf *out, const nexus__forward *f)
{
    nexus__buf_slice_append(out, f->method);
    nexus__buf_char(out, ' ');
    nexus__buf_slice_append(out, f->path);
    if (f->has_query) {
        nexus__buf_char(out, '?');
        nexus__buf_slice_append(out, f->query);
    }
    line(out, NEXUS_S(" HTTP/1.1\r\nHost: "), f->host);
}

static void framing(nexus__buf *out, const nexus__forward *f)
{
    if (f->upgrade)
        nexus__buf_text(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    if (f->te)
        nexus__buf_text(out, "TE: trailers\r\n");
    if (f->framing == NEXUS__HTTP_LENGTH_CHUNKED)
        nexus__buf_text(out, "Transfer-Encoding: chunked\r\n");
    if (f->framing != NEXUS__HTTP_LENGTH_FIXED)
        return;
    nexus__buf_text(out, "Content-Length: ");
    nexus__buf_u64(out, f->length);
    nexus__buf_append(out, "\r\n", 2);
}

void nexus__forward_request(nexus__buf *out, const nexus__http_head *head, const char *base, const nexus__forward *f)
{
    request_line(out, f);
    for (uint32_t i = 0; i < head->field_count;) { /* runs of kept lines are copied at once */
        if (!request_keeps(head, base, i, f)) {
            i++;
            continue;
        }
        uint32_t start = head->fields[i].name;
        while (++i < head->field_count && request_keeps(head, base, i, f))
            ;
        nexus__buf_append(out, base + start, line_end(head, i - 1) - start);
    }
    line(out, NEXUS_S("X-Forwarded-For: "), f->client_ip);
    line(out, NEXUS_S("X-Forwarded-Proto: "), f->tls ? NEXUS_S("https") : NEXUS_S("http"));
    line(out, NEXUS_S("X-Forwarded-Host: "), f->host);
    line(out, NEXUS_S("X-Request-Id: "), f->request_id);
    line(out, NEXUS_S("traceparent: "), f->traceparent);
    if (f->loop_id.n > 0)
        line(out, NEXUS_S("CDN-Loop: "), f->loop_id);
    if (f->user.n > 0) {
        line(out, NEXUS_S("X-Nexus-User: "), f->user);
        line(out, NEXUS_S("X-Nexus-Roles: "), f->roles);
    }
    change_lines(out, f->change);
    if (f->own)
        change_lines(out, f->own);
    for (const nexus__gw_field *field = f->fields; field; field = field->next)
        if (field->value.p)
            pair_line(out, &(nexus_pair){field->name, field->value});
    framing(out, f);
    nexus__buf_append(out, "\r\n", 2);
}

bool nexus__forward_loops(const nexus__http_head *head, const char *base, nexus_slice loop_id)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != NEXUS__HTTP_CDN_LOOP)
            continue;
        nexus_slice list = nexus__http_field_value(&head->fields[i], base);
        while (list.n > 0) {
            nexus_slice info = nexus__slice_cut(&list, ',');
            if (nexus__slice_ieq(nexus__slice_trim(nexus__slice_cut(&info, ';')), loop_id))
                return true;
        }
    }
    return false;
}

void nexus__forward_trailers(nexus__buf *out, nexus_slice lines)
{
    while (lines.n) {
        nexus_slice line = nexus__slice_cut(&lines, '\n');
        if (!is_reserved((nexus_slice){line.p, nexus__slice_find(line, ':')}))
            nexus__buf_append(out, line.p, line.n + 1);
    }
}

static bool reply_keeps(const nexus__http_head *head, const char *base, uint32_t i, const nexus__gw_headers_conf *change,
                        const nexus__gw_headers_conf *own)
{
    const nexus__http_field *field = &head->fields[i];
    if (hop_by_hop(field->id) || field->id == NEXUS__HTTP_SERVER)
        return false;
    if (head->connection_names && nominated(head, base, nexus__http_field_name(field, base)))
        return false;
    return !changed(change, own, nexus__http_field_name(field, base));
}

size_t nexus__forward_reply(struct iovec iov[static NEXUS__FORWARD_IOVS], nexus__buf *space,
                            const nexus__http_head *head, const char *base, const nexus__gw_headers_conf *change,
                            const nexus__gw_headers_conf *own, bool *has_date)
{
    size_t n = 0;
    *has_date = false;
    for (uint32_t i = 0; i < head->field_count;) {
        if (!reply_keeps(head, base, i, change, own)) {
            i++;
            continue;
        }
        uint32_t start = head->fields[i].name;
        do
            *has_date |= head->fields[i].id == NEXUS__HTTP_DATE;
        while (++i < head->field_count && reply_keeps(head, base, i, change, own));
        iov[n++] = (struct iovec){(char *)(uintptr_t)base + start, line_end(head, i - 1) - start};
    }
    size_t before = space->len;
    change_lines(space, change);
    if (own)
        change_lines(space, own);
    if (space->len > before)
        iov[n++] = (struct iovec){space->p + before, space->len - before};
    return n;
}
