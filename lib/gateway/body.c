#include "gateway/body.h"

#include "base/status.h"
#include "gateway/change.h"
#include "gateway/coding.h"
#include "gateway/gateway.h"

enum {
    FIRST = 16384,            /* of a body whose length nobody said */
    MEMBERS_MAX = 65536,      /* of one object */
    NODES_KEPT = 32768        /* by a loop, between two bodies */
};

typedef struct collecting {
    nexus__call *call;
    char *space;
    size_t len, cap, max;
} collecting;

static size_t max_of(const nexus__call *call)
{
    return call->route->conf->body_max_bytes ? call->route->conf->body_max_bytes : NEXUS__BODY_MAX;
}

static nexus__gw_verdict refuse(nexus__call *call, uint16_t status, const char *code, const char *detail)
{
    nexus__call_problem(call, status, code, detail);
    return NEXUS__GW_ANSWERED;
}

static nexus__gw_verdict too_big(nexus__call *call)
{
    return refuse(call, 413, "body-too-big", "The body is over the limit of this route.");
}

/* --- collecting --------------------------------------------------------------------------------------------------- */

static void cut_off(nexus__call *call, nexus_status status)
{
    if (status == NEXUS_ETOOBIG)
        (void)too_big(call);
    else if (status == NEXUS_ETIMEDOUT)
        nexus__call_problem(call, 408, "body-timeout", "The body came too slowly.");
    else
        nexus__call_problem(call, 400, "body-broken", "The body ended early or is malformed.");
}

/* Doubles: what was there before stays in the request's memory until it ends. */
static bool make_room(collecting *c, size_t n)
{
    if (c->len + n <= c->cap)
        return true;
    size_t cap = c->cap ? c->cap : FIRST;
    while (cap < c->len + n)
        cap *= 2;
    char *space = nexus_request_alloc(c->call->request, cap);
    if (!space)
        return false;
    if (c->len)
        memcpy(space, c->space, c->len);
    c->space = space;
    c->cap = cap;
    return true;
}

static void collected(nexus__call *call, nexus_slice body)
{
    call->body = body;
    call->collected = true;
}

static size_t on_piece(nexus_request *request, nexus_slice data, bool end, nexus_status status, void *user_data)
{
    collecting *c = user_data;
    nexus__call *call = c->call;
    (void)request;
    if (status || data.n > c->max - c->len) {
        cut_off(call, status ? status : NEXUS_ETOOBIG);
        return data.n;
    }
    if (!make_room(c, data.n)) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return data.n;
    }
    if (data.n)
        memcpy(c->space + c->len, data.p, data.n);
    c->len += data.n;
    if (end) {
        collected(call, nexus__slice(c->space, c->len));
        call->filter_at--; /* the filter that asked */
        nexus__call_go_on(call, NEXUS__GW_NEXT);
    }
    return data.n;
}

nexus__gw_verdict nexus__call_collect(nexus__call *call)
{
    const nexus__http_head *head = nexus__exchange_head(call->request);
    nexus_slice body;
    size_t max = max_of(call);
    if (call->collected)
        return NEXUS__GW_NEXT;
    if (head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length > max)
        return too_big(call);
    if (head->framing == NEXUS__HTTP_LENGTH_NONE || nexus__exchange_body_ready(call->request, &body)) {
        collected(call, head->framing == NEXUS__HTTP_LENGTH_NONE ? NEXUS_S("") : body);
        return NEXUS__GW_NEXT;
    }
    collecting *c = nexus_request_alloc(call->request, sizeof *c);
    size_t known = head->framing == NEXUS__HTTP_LENGTH_FIXED ? (size_t)head->length : 0;
    if (!c)
        return refuse(call, 500, "out-of-memory", NULL);
    *c = (collecting){.call = call, .max = max};
    if (!make_room(c, known))
        return refuse(call, 500, "out-of-memory", NULL);
    nexus_request_on_close(call->request, nexus__call_client_gone, call);
    nexus__exchange_read(call->request, on_piece, c);
    return NEXUS__GW_LATER;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

nexus_slice nexus__body_type(nexus_slice content_type)
{
    return nexus__slice_trim(nexus__slice_cut(&content_type, ';'));
}

static nexus__gw_verdict open_body(nexus__call *call)
{
    nexus__buf out;
    nexus__buf_init(&out, call->view->snapshot->alloc, 0);
    nexus_status status = nexus__coding_open(&out, call->body, max_of(call));
    char *text = status ? NULL : nexus_request_alloc(call->request, out.len + 1);
    if (text) {
        memcpy(text, out.p, out.len);
        call->body = nexus__slice(text, out.len);
    }
    nexus__buf_free(&out);
    if (status == NEXUS_ETOOBIG)
        return too_big(call);
    if (status == NEXUS_EINVAL)
        return refuse(call, 400, "bad-content-encoding", "The body is not in the coding that Content-Encoding names.");
    if (!text || !nexus__change_remove(call, NEXUS__CHANGE_REQUEST, NEXUS_S("Content-Encoding")) ||
        !nexus__change_remove(call, NEXUS__CHANGE_REQUEST, NEXUS_S("Content-Digest")))
        return refuse(call, 500, "out-of-memory", NULL);
    return NEXUS__GW_NEXT;
}

nexus__gw_verdict nexus__call_collect_open(nexus__call *call)
{
    nexus_slice coding;
    if (!call->opened && nexus_request_header(call->request, "content-encoding", &coding) &&
        nexus__coding_of(coding) == NEXUS__CODING_UNKNOWN) {
        (void)nexus_request_set_header(call->request, "Accept-Encoding", NEXUS_S("gzip, deflate, identity"));
        return refuse(call, 415, "unsupported-encoding", "The body's Content-Encoding cannot be opened here.");
    }
    nexus__gw_verdict verdict = nexus__call_collect(call);
    if (verdict != NEXUS__GW_NEXT || call->opened)
        return verdict;
    call->opened = true;
    if (!call->body.n || !nexus_request_header(call->request, "content-encoding", &coding) ||
        nexus__coding_of(coding) != NEXUS__CODING_GZIP)
        return NEXUS__GW_NEXT;
    return open_body(call);
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

/* Most numbers tell by their length that they are in range. */
static bool in_range(const nexus__json *doc, uint32_t v)
{
    nexus_slice raw = nexus__json_raw(doc, v);
    double number;
    if (raw.n < 300 && nexus__slice_find(raw, 'e') == raw.n && nexus__slice_find(raw, 'E') == raw.n)
        return true;
    return nexus__json_double(doc, v, &number);
}

nexus_status nexus__body_scan(nexus__json *doc, nexus_slice text)
{
    static const nexus__json_limits limits = {.max_members = MEMBERS_MAX};
    nexus_status status = nexus__json_scan(doc, text, &limits);
    for (uint32_t i = 0; i < doc->count && !status; i++) {
        nexus__json_type type = nexus__json_type_of(doc, i);
        if ((type == NEXUS__JSON_REAL || type == NEXUS__JSON_INT) && !in_range(doc, i))
            status = nexus__fail(NEXUS_EINVAL, "a number is beyond what a double holds");
    }
    return status;
}

void nexus__body_scanned(nexus__json *doc)
{
    if (doc->cap > NODES_KEPT)
        nexus__json_free(doc);
}
