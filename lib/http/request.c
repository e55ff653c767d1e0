/* Request objects, and what handlers ask them. */
#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "http/exchange.h"
#include "http/forwarded.h"
#include "http/internal.h"

/* --- life -------------------------------------------------------------------------------------------------------- */

nexus_request *nexus__request_take(nexus__shard *shard, nexus__conn *c)
{
    nexus_request *r = shard->free_requests;
    if (r) {
        shard->free_requests = r->next;
        shard->free_request_count--;
    } else {
        r = nexus__calloc(shard->server->alloc, 1, sizeof *r);
        if (!r)
            return NULL;
        r->shard = shard;
        nexus__arena_init(&r->arena, shard->server->alloc, 0);
        nexus__buf_init(&r->body_buf, shard->server->alloc, 0);
        nexus__buf_init(&r->extra, shard->server->alloc, 16384);
        nexus__buf_init(&r->head_out, shard->server->alloc, 0);
        nexus__buf_init(&r->reply_body, shard->server->alloc, 0);
        nexus__buf_init(&r->trailers_in, shard->server->alloc, 0);
        nexus__buf_init(&r->trailers_out, shard->server->alloc, 0);
        nexus__buf_init(&r->h2.lines, shard->server->alloc, 0);
        nexus__buf_init(&r->h2.out, shard->server->alloc, 0);
    }
    shard->requests++;
    nexus__http_head_init(&r->head);
    r->conn = c;
    r->peer = c->peer;
    return r;
}

static void shrink(nexus__buf *b) /* a warm request keeps its buffers, but not those of a rare large body */
{
    if (b->cap > NEXUS__SCRATCH_BYTES || b->status != NEXUS_OK)
        nexus__buf_free(b);
    else
        nexus__buf_clear(b);
}

void nexus__request_free(nexus_request *r)
{
    nexus__arena_free(&r->arena);
    nexus__buf_free(&r->body_buf);
    nexus__buf_free(&r->extra);
    nexus__buf_free(&r->head_out);
    nexus__buf_free(&r->reply_body);
    nexus__buf_free(&r->trailers_in);
    nexus__buf_free(&r->trailers_out);
    nexus__buf_free(&r->h2.lines);
    nexus__buf_free(&r->h2.out);
    nexus__stream_free(r);
    nexus__free(r->shard->server->alloc, r);
}

void nexus__request_release(nexus_request *r)
{
    nexus__shard *shard = r->shard;
    if (r->cert || r->cert_looked)
        nexus__request_drop_cert(r);
    nexus__shard_release_buf(shard, r->kept, r->kept_cap);
    shard->requests--;
    if (shard->free_request_count >= NEXUS__FREE_REQUESTS_MAX || shard->closing ||
        nexus__server_load(shard->server) >= NEXUS__LOAD_CLOSE) {
        nexus__request_free(r);
        nexus__shard_changed(shard);
        return;
    }
    nexus__arena_reset(&r->arena);
    shrink(&r->body_buf);
    shrink(&r->extra);
    shrink(&r->head_out);
    shrink(&r->reply_body);
    nexus__buf_free(&r->trailers_in); /* rare */
    nexus__buf_free(&r->trailers_out);
    if (r->stream.started)
        nexus__stream_reset(r);
    if (r->h2.id) {
        shrink(&r->h2.lines);
        shrink(&r->h2.out);
        r->h2 = (nexus__h2_stream){.lines = r->h2.lines, .out = r->h2.out}; /* the next may come by HTTP/1.1 */
    }
    /* everything between the kept parts, field by field: most of the object is the match and the head */
    r->conn = NULL;
    r->kept = NULL;
    r->phase = NEXUS__PHASE_PARSING;
    r->base = NULL;
    r->method = 0;
    r->path = r->body = (nexus_slice){NULL, 0};
    r->route = NULL;
    r->match.capture_count = 0;
    r->match.methods = 0;
    r->start_ns = 0;
    r->verdict = 0;
    r->verdict_code = r->verdict_detail = NULL;
    r->filter_at = 0;
    atomic_store_explicit(&r->answered, false, memory_order_relaxed);
    r->continued = false;
    memset(&r->reader, 0, sizeof r->reader);
    r->status = 0;
    r->content_type[0] = '\0';
    r->bytes_out = 0;
    r->reply_ended = false;
    r->reply_framing = NEXUS__REPLY_LENGTH;
    r->problem_code = NULL;
    r->close_fn = r->drain_fn = r->exchange_drained_fn = NULL;
    r->tunnel_idle_ms = 0;
    r->id_len = r->ip_len = r->user_count = 0;
    nexus__http_body_init(&r->in_body, NEXUS__HTTP_LENGTH_NONE, 0);
    r->next = shard->free_requests;
    shard->free_requests = r;
    shard->free_request_count++;
    nexus__shard_changed(shard);
}

/* --- what was asked ---------------------------------------------------------------------------------------------- */

static nexus_slice part(const nexus_request *r, uint32_t offset, uint32_t len)
{
    return r->base ? (nexus_slice){r->base + offset, len} : (nexus_slice){"", 0};
}

void nexus_request_method(const nexus_request *r, nexus_slice *out)
{
    *out = part(r, r->head.start, r->head.method_len);
}

void nexus_request_path(const nexus_request *r, nexus_slice *out)
{
    *out = r->path;
}

void nexus_request_query(const nexus_request *r, nexus_slice *out)
{
    *out = part(r, r->head.query, r->head.query_len);
}

void nexus_request_target(const nexus_request *r, nexus_slice *out)
{
    *out = part(r, r->head.target, r->head.target_len);
}

void nexus_request_host(const nexus_request *r, nexus_slice *out)
{
    const nexus__http_field *f = r->base ? nexus__http_first(&r->head, NEXUS__HTTP_HOST) : NULL;
    *out = f ? nexus__http_field_value(f, r->base) : part(r, r->head.authority, r->head.authority_len);
}

void nexus_request_body(const nexus_request *r, nexus_slice *out)
{
    *out = r->body;
}

bool nexus_request_is_tls(const nexus_request *r)
{
    return r->shard->server->tls != NULL;
}

bool nexus_request_header(const nexus_request *r, const char *name, nexus_slice *out)
{
    const nexus__http_field *f = r->base ? nexus__http_find(&r->head, r->base, nexus__slice_c(name)) : NULL;
    if (!f)
        return false;
    *out = nexus__http_field_value(f, r->base);
    return true;
}

size_t nexus_request_header_count(const nexus_request *r)
{
    return r->base ? r->head.field_count : 0;
}

bool nexus_request_header_at(const nexus_request *r, size_t i, nexus_pair *out)
{
    if (i >= nexus_request_header_count(r))
        return false;
    out->name = nexus__http_field_name(&r->head.fields[i], r->base);
    out->value = nexus__http_field_value(&r->head.fields[i], r->base);
    return true;
}

bool nexus_request_param(const nexus_request *r, const char *name, nexus_slice *out)
{
    for (uint32_t i = 0; i < r->match.capture_count; i++) {
        const nexus_pair *capture = &r->match.captures[i];
        if (!nexus__slice_eq_c(capture->name, name))
            continue;
        *out = capture->value;
        if (!memchr(capture->value.p, '%', capture->value.n))
            return true;
        char *decoded = nexus__arena_get(&((nexus_request *)r)->arena, capture->value.n);
        if (!decoded)
            return false;
        *out = (nexus_slice){decoded, nexus_path_decode(capture->value, decoded)};
        return true;
    }
    return false;
}

static bool find_param(nexus_request *r, nexus_slice form, const char *name, nexus_slice *out)
{
    nexus_slice value;
    if (!nexus__query_find(form, nexus__slice_c(name), &value))
        return false;
    char *decoded = nexus__arena_get(&r->arena, value.n + 1);
    size_t n;
    if (!decoded || !nexus__percent_decode(value, true, decoded, &n))
        return false;
    *out = (nexus_slice){decoded, n};
    return true;
}

bool nexus_request_query_param(nexus_request *r, const char *name, nexus_slice *out)
{
    nexus_slice query;
    nexus_request_query(r, &query);
    return find_param(r, query, name, out);
}

bool nexus_request_form_param(nexus_request *r, const char *name, nexus_slice *out)
{
    nexus_slice body;
    nexus_request_body(r, &body);
    return find_param(r, body, name, out);
}

const nexus_route *nexus_request_route(const nexus_request *r)
{
    return r->route;
}

/* --- who asked --------------------------------------------------------------------------------------------------- */

bool nexus__server_trusts(const void *server, const nexus__ip *ip)
{
    const nexus_server *s = server;
    for (size_t i = 0; i < s->trusted_count; i++)
        if (nexus__ip_block_has(&s->trusted[i], ip))
            return true;
    return false;
}

bool nexus__exchange_trusted(const nexus_request *r)
{
    return nexus__server_trusts(r->shard->server, &r->peer);
}

void nexus_request_remote_ip(const nexus_request *request, nexus_slice *out)
{
    nexus_request *r = (nexus_request *)request;
    if (!r->ip_len) {
        nexus__ip ip = r->peer;
        bool told = r->base && (r->head.first[NEXUS__HTTP_X_FORWARDED_FOR] || r->head.first[NEXUS__HTTP_FORWARDED]);
        if (told && nexus__server_trusts(r->shard->server, &ip))
            nexus__forwarded_resolve(&r->head, r->base, nexus__server_trusts, r->shard->server, &ip);
        r->ip_len = (uint8_t)nexus__ip_format(&ip, r->ip);
    }
    *out = (nexus_slice){r->ip, r->ip_len};
}

static bool is_id(nexus_slice text)
{
    if (text.n < 8 || text.n > NEXUS__ID_MAX)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i], lower = nexus__ascii_lower(c);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return true;
}

void nexus_request_id(const nexus_request *request, nexus_slice *out)
{
    nexus_request *r = (nexus_request *)request;
    if (!r->id_len) {
        const nexus__http_field *f = r->base ? nexus__http_first(&r->head, NEXUS__HTTP_X_REQUEST_ID) : NULL;
        nexus_slice given = f ? nexus__http_field_value(f, r->base) : (nexus_slice){NULL, 0};
        if (is_id(given) && nexus__server_trusts(r->shard->server, &r->peer)) {
            memcpy(r->id, given.p, given.n);
            r->id_len = (uint8_t)given.n;
        } else {
            nexus__uuid7(r->id);
            r->id_len = NEXUS__UUID_LEN;
        }
        r->id[r->id_len] = '\0';
    }
    *out = (nexus_slice){r->id, r->id_len};
}

/* --- what is kept with it ---------------------------------------------------------------------------------------- */

nexus_status nexus_request_set_user(nexus_request *r, const char *key, void *value)
{
    for (uint8_t i = 0; i < r->user_count; i++)
        if (strcmp(r->users[i].key, key) == 0) {
            r->users[i].value = value;
            return NEXUS_OK;
        }
    if (r->user_count == NEXUS__USERS_MAX)
        return nexus__fail(NEXUS_ELIMIT, "a request keeps at most %d pointers; '%s' is one too many", NEXUS__USERS_MAX,
                           key);
    r->users[r->user_count].key = key;
    r->users[r->user_count++].value = value;
    return NEXUS_OK;
}

void *nexus_request_user(const nexus_request *r, const char *key)
{
    for (uint8_t i = 0; i < r->user_count; i++) /* most ask with the very text they put in with */
        if (r->users[i].key == key)
            return r->users[i].value;
    for (uint8_t i = 0; i < r->user_count; i++)
        if (strcmp(r->users[i].key, key) == 0)
            return r->users[i].value;
    return NULL;
}

void *nexus_request_alloc(nexus_request *r, size_t bytes)
{
    return nexus__arena_get(&r->arena, bytes);
}

uint16_t nexus_request_status(const nexus_request *r)
{
    return r->status;
}

const char *nexus_request_problem_code(const nexus_request *r)
{
    return r->problem_code ? r->problem_code : "";
}

uint64_t nexus_request_bytes_out(const nexus_request *r)
{
    return r->bytes_out;
}

int64_t nexus_request_start_ns(const nexus_request *r)
{
    return r->start_ns;
}
