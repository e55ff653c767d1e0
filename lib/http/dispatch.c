/*
 * From a head to a handler, the same for HTTP/1.1 and HTTP/2: path, route, filters, handler. What a request waits for is
 * told by its phase; whoever owns its connection looks there.
 */
#include "http/internal.h"

static void verdict(nexus_request *r, uint16_t status, const char *code, const char *detail)
{
    if (r->verdict)
        return;
    r->verdict = status;
    r->verdict_code = code;
    r->verdict_detail = detail;
}

static void find_route(nexus_request *r)
{
    nexus_server *s = r->shard->server;
    nexus_status status =
        nexus_router_find(s->router, (nexus_slice){NULL, 0}, r->path, r->method, NULL, NULL, &r->match);
    if (status == NEXUS_OK) {
        r->route = r->match.value;
        return;
    }
    r->match.capture_count = 0;
    if (status == NEXUS_EPERM && r->method == NEXUS_METHOD_OPTIONS)
        verdict(r, 204, "", "");
    else if (status == NEXUS_EPERM)
        verdict(r, 405, "method-not-allowed",
                "This path does not have this method; the Allow field lists those it has.");
    else if (s->fallback)
        r->route = s->fallback;
    else
        verdict(r, 404, "no-route", "Nothing is at this path.");
}

static void find_path(nexus_request *r)
{
    const nexus__http_head *h = &r->head;
    nexus_server *s = r->shard->server;
    nexus_slice raw = h->path_len ? (nexus_slice){r->base + h->path, h->path_len} : NEXUS_S("/");
    r->path = raw;
    if (h->form == NEXUS__HTTP_ASTERISK) {
        r->match.methods = NEXUS_METHOD_ANY;
        verdict(r, 204, "", "");
        return;
    }
    bool trace = r->method == NEXUS_METHOD_TRACE && !s->fallback; /* a gateway's routes may have it */
    if (h->form == NEXUS__HTTP_AUTHORITY || trace || r->method == NEXUS_METHOD_CONNECT) {
        r->match.methods = NEXUS_METHOD_ANY;
        r->head.keep_alive = false; /* what follows a CONNECT may be meant for the tunnel that it did not get */
        verdict(r, 405, "method-not-allowed", "CONNECT and TRACE are not served here.");
        return;
    }
    char *buf = nexus__arena_get(&r->arena, raw.n);
    nexus_status status = buf ? nexus_path_canonical(raw, 0, buf, &r->path) : NEXUS_ENOMEM;
    if (status == NEXUS_OK) {
        find_route(r);
    } else if (status == NEXUS_EPERM && s->fallback) {
        r->path = raw;
        r->route = s->fallback;
    } else {
        r->path = raw;
        verdict(
            r, 400, status == NEXUS_EPERM ? "ambiguous-path" : "bad-path",
            status == NEXUS_EPERM
                ? "The path has an escaped or plain character that others could take for a separator (; %2F %5C %00 "
                  "%25 %3B %3F %23)."
                : "The path is not a URL path: a broken escape, or escapes that are not UTF-8.");
    }
}

static void check_body(nexus_request *r)
{
    const nexus__http_head *h = &r->head;
    if (h->expect_other)
        verdict(r, 417, "expectation", "The only expectation known here is: 100-continue.");
    if (!r->route)
        return;
    bool some = h->framing == NEXUS__HTTP_LENGTH_CHUNKED || h->length > 0;
    if (some && (r->method & (NEXUS_METHOD_GET | NEXUS_METHOD_HEAD)) && !(r->route->flags & NEXUS_ROUTE_GET_BODY))
        verdict(r, 400, "unexpected-body", "GET and HEAD have no body here.");
    r->body_max = r->route->body_max ? r->route->body_max : r->shard->server->opts.body_max_bytes;
    if (h->framing == NEXUS__HTTP_LENGTH_FIXED && h->length > r->body_max)
        verdict(r, 413, "body-too-large", "The body is larger than this path takes.");
}

/* Better a clear refusal of the next than trouble for those that are under way. */
static void check_load(nexus_request *r)
{
    if (nexus__server_load(r->shard->server) < NEXUS__LOAD_REFUSE || (r->route && r->route->flags & NEXUS_ROUTE_VITAL))
        return;
    verdict(r, 503, "overloaded", "The server is out of memory for more requests; try again.");
}

static void answer_verdict(nexus_request *r)
{
    if (atomic_exchange(&r->answered, true))
        return;
    if (r->verdict == 503) {
        nexus_status status = nexus_request_set_header(r, "Retry-After", NEXUS_S("1"));
        (void)status;
    }
    if (r->verdict == 405 || r->verdict == 204) {
        char allow[160];
        size_t n = nexus_method_allow(r->match.methods, allow, sizeof allow);
        nexus_status status = nexus_request_set_header(r, "Allow", (nexus_slice){allow, n});
        (void)status;
    }
    if (r->verdict == 204)
        nexus__reply_now(r, 204, (nexus_slice){NULL, 0}, (nexus_slice){NULL, 0});
    else
        nexus__reply_refuse(r, r->verdict, r->verdict_code, r->verdict_detail);
}

static void run_handler_here(nexus_request *r)
{
    const nexus_route *route = r->route;
    if (!(route->flags & NEXUS_ROUTE_STREAM_BODY)) {
        const nexus_server *s = r->shard->server;
        for (size_t i = 0; i < s->body_filter_count; i++)
            if (s->body_filters[i].fn(r, s->body_filters[i].user_data) != NEXUS_FILTER_NEXT)
                return;
    }
    route->handler(r, route->user_data);
}

static void on_worker(void *arg)
{
    nexus_request *r = arg;
    nexus_server *s = r->shard->server; /* the request may be gone when its handler returns */
    run_handler_here(r);
    nexus__server_working(s, -1);
}

void nexus__request_handle(nexus_request *r)
{
    nexus_server *s = r->shard->server;
    r->phase = NEXUS__PHASE_HANDLER;
    if (r->route->flags & NEXUS_ROUTE_ON_LOOP) {
        run_handler_here(r);
        return;
    }
    nexus__server_working(s, 1);
    if (nexus_runtime_submit(s->runtime, on_worker, r) == NEXUS_OK)
        return;
    nexus__server_working(s, -1);
    nexus_status status = nexus_request_set_header(r, "Retry-After", NEXUS_S("1"));
    (void)status;
    atomic_store(&r->answered, true);
    nexus__reply_refuse(r, 503, "overloaded", "All workers are busy and their queue is full; try again in a second.");
}

/* After the last filter. */
static void dispatch(nexus_request *r)
{
    if (r->verdict) {
        r->phase = NEXUS__PHASE_HANDLER;
        answer_verdict(r);
    } else if ((r->in_body.done && !r->in_body.received) || (r->route->flags & NEXUS_ROUTE_STREAM_BODY)) {
        nexus__request_handle(r);
    } else {
        r->phase = NEXUS__PHASE_BODY;
    }
}

/* Runs filters from r->filter_at on. Without filters the loop body is never entered. */
static void run_filters(nexus_request *r)
{
    nexus_server *s = r->shard->server;
    r->phase = NEXUS__PHASE_FILTER;
    while (r->filter_at < s->filter_count) {
        nexus__filter *f = &s->filters[r->filter_at++];
        atomic_store(&r->filter_state, NEXUS__FILTER_RUNNING);
        int32_t result = f->fn(r, f->user_data);
        if (!r->conn || r->phase == NEXUS__PHASE_DONE)
            return;
        if (result == NEXUS_FILTER_DONE) {
            if (r->phase == NEXUS__PHASE_FILTER)
                r->phase = NEXUS__PHASE_HANDLER; /* it will answer */
            return;
        }
        int expected = NEXUS__FILTER_RUNNING;
        if (result == NEXUS_FILTER_SUSPEND &&
            atomic_compare_exchange_strong(&r->filter_state, &expected, NEXUS__FILTER_SUSPENDED))
            return;
    }
    dispatch(r);
}

static void on_resumed(nexus__task *task)
{
    nexus_request *r = NEXUS__CONTAINER(task, nexus_request, task);
    nexus__conn *c = r->conn;
    if (!c) {
        nexus__request_end(r);
        return;
    }
    c->running = true;
    run_filters(r);
    if (r->h2.id)
        nexus__h2_feed(r);
    c->running = false;
    nexus__conn_run(c);
}

void nexus_request_resume(nexus_request *r)
{
    if (atomic_exchange(&r->filter_state, NEXUS__FILTER_RESUMED) != NEXUS__FILTER_SUSPENDED)
        return; /* the filter has not returned yet: its caller will see it */
    r->task.fn = on_resumed;
    nexus__loop_post_task(r->shard->loop, &r->task);
}

/* Where certificates decide, a connection is for the one server name whose rules it was made under. */
static void check_name(nexus_request *r)
{
    nexus_slice name, host;
    nexus__request_keep_cert(r);
    if (!nexus__tls_is_strict(r->conn->tls, &name))
        return;
    nexus_request_host(r, &host);
    if (!nexus__tls_name_is_host(name, host))
        verdict(r, 421, "misdirected-request", "This connection is for another host; open one for this.");
}

void nexus__request_start(nexus_request *r)
{
    r->start_ns = nexus_loop_now_ns(r->shard->loop);
    r->method = nexus_method_parse((nexus_slice){r->base + r->head.start, r->head.method_len});
    r->body_max = UINT64_MAX;
    if (r->conn->tls)
        check_name(r);
    find_path(r);
    check_body(r);
    check_load(r);
    run_filters(r);
}
