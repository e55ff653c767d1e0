/*
 * One request through the gateway: route, filters, a target, a connection, the request's bytes. What comes back is
 * reply.c's.
 *
 * A try may be repeated while nothing of the request can have had an effect: no connection came about, or the kept
 * connection turned out closed before the first byte of an answer and the method is idempotent (or nothing was sent).
 */
#include <nexus/trace.h>
#include <sched.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "gateway/filters/cors.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"

enum {
    IDEMPOTENT = NEXUS_METHOD_GET | NEXUS_METHOD_HEAD | NEXUS_METHOD_OPTIONS | NEXUS_METHOD_PUT | NEXUS_METHOD_DELETE
};

static const nexus__gw_upstream_conf *conf_of(const nexus__call *call)
{
    return call->pool->upstream->conf;
}

static nexus__gw_loop *home_of(const nexus__call *call)
{
    return call->pool->home;
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

void nexus__call_count(nexus__call *call, uint16_t status)
{
    unsigned class = status / 100 <= 5 ? status / 100 : 0;
    if (call->route)
        nexus_metric_add(call->route->replies[class], 1);
}

void nexus__call_release(nexus__call *call, bool reuse)
{
    nexus__uplink *conn = call->conn;
    if (conn) {
        nexus__target *t = &call->pool->upstream->targets[conn->target];
        atomic_fetch_sub_explicit(&t->shared.active, 1, memory_order_relaxed);
        call->conn = NULL;
        if (reuse && conn->out.len == 0)
            nexus__uplink_release(conn);
        else
            nexus__uplink_close(conn);
    }
    nexus_principal_free(call->principal);
    call->principal = NULL;
    nexus__view_unref(call->view);
    call->view = NULL;
}

void nexus__call_problem(nexus__call *call, uint16_t status, const char *code, const char *detail)
{
    nexus_request *request = call->request;
    nexus__call_count(call, status);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    nexus_request_problem_text(request, status, code, detail);
}

static void on_client_gone(nexus_request *request, void *user_data)
{
    nexus__call *call = user_data;
    if (call->waiting) {
        call->gone = true;
        return;
    }
    nexus__call_count(call, 0);
    nexus__call_release(call, false);
    nexus__exchange_abort(request);
}

/* --- a try -------------------------------------------------------------------------------------------------------- */

static void try_target(nexus__call *call, uint32_t avoid);

static bool replayable(const nexus__call *call)
{
    return call->whole || call->sent == 0;
}

static bool may_retry(nexus__call *call)
{
    nexus__upstream *u = call->pool->upstream;
    if (call->tries > conf_of(call)->retries || nexus_loop_now_ns(home_of(call)->loop) >= call->deadline)
        return false;
    uint32_t active = 0;
    for (uint32_t i = 0; i < u->count; i++)
        active += atomic_load_explicit(&u->targets[i].shared.active, memory_order_relaxed);
    __atomic_store_n(&u->budget.active, active, __ATOMIC_RELAXED);
    return nexus_retry_budget_take(&u->budget);
}

static void drop_conn(nexus__call *call)
{
    nexus__uplink *conn = call->conn;
    atomic_fetch_sub_explicit(&call->pool->upstream->targets[conn->target].shared.active, 1, memory_order_relaxed);
    call->conn = NULL;
    nexus__uplink_close(conn);
}

static void failed(nexus__call *call, enum nexus__lost how)
{
    if (how == NEXUS__LOST_TIMEOUT)
        nexus__call_problem(call, 504, "upstream-timeout", "The upstream did not answer in time.");
    else if (how == NEXUS__LOST_CONNECT)
        nexus__call_problem(call, 502, "upstream-unreachable", "No connection to the upstream could be made.");
    else
        nexus__call_problem(call, 502, "upstream-closed", "The upstream closed the connection before it answered.");
}

void nexus__call_lost(nexus__uplink *conn, enum nexus__lost how)
{
    nexus__call *call = conn->call;
    nexus__upstream *u = call->pool->upstream;
    int64_t now = nexus_loop_now_ns(home_of(call)->loop);
    uint32_t target = conn->target;
    bool connecting = conn->state == NEXUS__UPLINK_CONNECTING;
    bool stale = conn->used && how == NEXUS__LOST_CLOSED;
    if (call->replied) { /* the client has half an answer: only a broken connection tells it so */
        nexus_request *request = call->request;
        nexus__call_count(call, 0);
        nexus__call_release(call, false);
        nexus_request_on_close(request, NULL, NULL);
        nexus__exchange_abort(request);
        return;
    }
    drop_conn(call);
    if (!stale)
        nexus__upstream_report(u, target, true, now);
    bool safe = connecting || (replayable(call) && call->method & IDEMPOTENT && how == NEXUS__LOST_CLOSED);
    if (safe && stale && now < call->deadline) { /* the kept connection was closed while it rested: no retry of ours */
        call->tries--;
        try_target(call, UINT32_MAX);
        return;
    }
    if (safe && may_retry(call)) {
        try_target(call, target);
        nexus_retry_budget_put(&u->budget);
        return;
    }
    failed(call, connecting && how == NEXUS__LOST_TIMEOUT ? NEXUS__LOST_TIMEOUT
                 : connecting                             ? NEXUS__LOST_CONNECT
                                                          : how);
}

static size_t on_body(nexus_request *request, nexus_slice data, bool end, nexus_status status, void *user_data);

static void limit_time(nexus__call *call, uint32_t ms)
{
    int64_t left = (call->deadline - nexus_loop_now_ns(home_of(call)->loop)) / NEXUS__NS_PER_MS;
    if (left < 1)
        left = 1;
    nexus__timeout_set(&call->conn->timeout, home_of(call)->loop, left < ms ? (uint32_t)left : ms);
}

static void uploaded(nexus__call *call)
{
    call->uploaded = true;
    if (!call->replied)
        limit_time(call, conf_of(call)->first_byte_ms);
}

static nexus_slice role_text(nexus__call *call)
{
    size_t n, total = 0;
    const nexus_slice *roles = nexus_principal_roles(call->principal, &n);
    for (size_t i = 0; i < n; i++)
        total += roles[i].n + 1;
    char *text = nexus_request_alloc(call->request, total + 1), *at = text;
    for (size_t i = 0; text && i < n; i++) {
        if (!nexus__http_is_token(roles[i]))
            continue;
        memcpy(at, roles[i].p, roles[i].n);
        at += roles[i].n;
        *at++ = ',';
    }
    return nexus__slice(text, at > text ? (size_t)(at - text) - 1 : 0);
}

static void trace_of(nexus__call *call, char out[static 56], nexus_slice *text)
{
    nexus_trace trace;
    nexus_slice given;
    const nexus_trace *own = nexus_request_user(call->request, "nexus.trace"); /* the server's span, if it has one */
    if (own)
        trace = *own;
    else if (nexus_request_header(call->request, "traceparent", &given) && nexus_trace_parse(&trace, given) == NEXUS_OK)
        nexus_trace_child(&trace, &trace);
    else
        nexus_trace_start(&trace, true);
    nexus_trace_format(&trace, out);
    *text = nexus__slice(out, NEXUS_TRACEPARENT_LEN);
}

static void write_head(nexus__call *call, nexus__buf *out)
{
    nexus_request *request = call->request;
    const nexus__http_head *head = nexus__exchange_head(request);
    char trace[56];
    nexus__forward f = {.path = call->path,
                        .has_query = head->has_query,
                        .tls = nexus_request_is_tls(request),
                        .upgrade = call->upgrade,
                        .framing = call->whole && call->body.n > 0 ? NEXUS__HTTP_LENGTH_FIXED : head->framing,
                        .length = call->whole && call->body.n > 0 ? call->body.n : head->length,
                        .change = &call->route->conf->request};
    if (call->whole && call->body.n == 0 && head->framing == NEXUS__HTTP_LENGTH_CHUNKED) {
        f.framing = NEXUS__HTTP_LENGTH_FIXED;
        f.length = 0;
    }
    nexus_request_method(request, &f.method);
    nexus_request_query(request, &f.query);
    nexus_request_host(request, &f.host);
    nexus_request_remote_ip(request, &f.client_ip);
    nexus_request_id(request, &f.request_id);
    trace_of(call, trace, &f.traceparent);
    if (call->principal) {
        nexus_principal_subject(call->principal, &f.user);
        if (!nexus__http_is_value(f.user))
            f.user = (nexus_slice){0};
        f.roles = role_text(call);
    }
    nexus__buf_clear(out);
    nexus__forward_request(out, head, nexus__exchange_base(request), &f);
}

static void send_request(nexus__call *call)
{
    nexus__buf *head = &home_of(call)->head;
    write_head(call, head);
    struct iovec iov[2] = {{head->p, head->len}, {(char *)(uintptr_t)call->body.p, call->body.n}};
    if (head->status) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return;
    }
    if (!nexus__uplink_send(call->conn, iov, call->whole && call->body.n > 0 ? 2 : 1)) {
        nexus__call_lost(call->conn, NEXUS__LOST_CLOSED);
        return;
    }
    if (call->whole) {
        call->sent = call->body.n;
        uploaded(call);
        return;
    }
    limit_time(call, conf_of(call)->idle_ms);
    if (call->reading)
        nexus__exchange_read_again(call->request);
    else {
        call->reading = true;
        nexus__exchange_read(call->request, on_body, call);
    }
}

void nexus__call_connected(nexus__uplink *conn)
{
    send_request(conn->call);
}

static void try_target(nexus__call *call, uint32_t avoid)
{
    nexus__gw_loop *home = home_of(call);
    nexus__upstream *u = call->pool->upstream;
    int64_t now = nexus_loop_now_ns(home->loop);
    home->random = home->random * 6364136223846793005u + 1442695040888963407u;
    uint32_t target = nexus__upstream_pick(u, call->pool->wrr, nexus__mix64(home->random), now, avoid);
    call->tries++;
    call->blocked = false;
    nexus__uplink *conn = nexus__uplink_take(call->pool, target);
    bool kept = conn;
    nexus_status status = kept ? NEXUS_OK : nexus__uplink_open(&conn, call->pool, target);
    if (status == NEXUS_ELIMIT) {
        (void)nexus_request_set_header(call->request, "Retry-After", NEXUS_S("1"));
        nexus__call_problem(call, 503, "upstream-busy", "The upstream has as many connections as it may.");
        return;
    }
    if (status) {
        nexus__upstream_report(u, target, true, now);
        failed(call, NEXUS__LOST_CONNECT);
        return;
    }
    atomic_fetch_add_explicit(&u->targets[target].shared.active, 1, memory_order_relaxed);
    conn->call = call;
    call->conn = conn;
    if (kept)
        send_request(call);
}

/* --- the body, streamed up ---------------------------------------------------------------------------------------- */

static void upload_failed(nexus__call *call, nexus_status status)
{
    nexus_request *request = call->request;
    if (call->replied) {
        nexus__call_count(call, 0);
        nexus__call_release(call, false);
        nexus_request_on_close(request, NULL, NULL);
        nexus__exchange_abort(request);
    } else if (status == NEXUS_ETOOBIG) {
        nexus__call_problem(call, 413, "body-too-big", "The body is over the limit of this route.");
    } else if (status == NEXUS_ETIMEDOUT) {
        nexus__call_problem(call, 408, "body-timeout", "The body came too slowly.");
    } else {
        nexus__call_problem(call, 400, "body-broken", "The body ended early or is malformed.");
    }
}

static uint64_t body_max(const nexus__call *call)
{
    return call->route->conf->body_max_bytes ? call->route->conf->body_max_bytes : UINT64_MAX;
}

/* Returns how much was taken; less than all means: not now. */
static size_t send_chunk(nexus__call *call, nexus_slice data, bool end)
{
    char size[20];
    struct iovec iov[4];
    int n = 0;
    if (call->conn->out.len > 0 && data.n > 0) {
        call->blocked = true;
        return 0;
    }
    if (data.n > 0) {
        iov[n++] = (struct iovec){size, (size_t)snprintf(size, sizeof size, "%zx\r\n", data.n)};
        iov[n++] = (struct iovec){(char *)(uintptr_t)data.p, data.n};
        iov[n++] = (struct iovec){(char *)(uintptr_t) "\r\n", 2};
    }
    if (end)
        iov[n++] = (struct iovec){(char *)(uintptr_t) "0\r\n\r\n", 5};
    if (n > 0 && !nexus__uplink_send(call->conn, iov, n))
        nexus__buf_clear(&call->conn->out); /* broken: what upstream has said, or its end, is about to be read */
    return data.n;
}

static size_t send_plain(nexus__call *call, nexus_slice data)
{
    if (call->conn->out.len > 0) {
        call->blocked = data.n > 0;
        return 0;
    }
    ssize_t n = data.n > 0 ? nexus__uplink_send_some(call->conn, data) : 0;
    if (n < 0)
        return data.n;
    call->blocked = (size_t)n < data.n;
    return (size_t)n;
}

static size_t on_body(nexus_request *request, nexus_slice data, bool end, nexus_status status, void *user_data)
{
    nexus__call *call = user_data;
    (void)request;
    if (status || call->sent + data.n > body_max(call)) {
        upload_failed(call, status ? status : NEXUS_ETOOBIG);
        return data.n;
    }
    if (!call->conn)
        return 0; /* between two tries: later */
    size_t taken = call->chunked ? send_chunk(call, data, end) : send_plain(call, data);
    call->sent += taken;
    if (taken == data.n && end)
        uploaded(call);
    else
        limit_time(call, conf_of(call)->idle_ms);
    return taken;
}

void nexus__call_writable(nexus__uplink *conn)
{
    nexus__call *call = conn->call;
    if (!call->blocked)
        return;
    call->blocked = false;
    nexus__exchange_read_again(call->request);
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

static void start(nexus__call *call)
{
    nexus_request *request = call->request;
    const nexus__http_head *head = nexus__exchange_head(request);
    uint32_t total = call->route->conf->total_ms ? call->route->conf->total_ms : conf_of(call)->total_ms;
    if (head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length > body_max(call)) {
        nexus__call_problem(call, 413, "body-too-big", "The body is over the limit of this route.");
        return;
    }
    call->deadline = nexus_loop_now_ns(home_of(call)->loop) + total * NEXUS__NS_PER_MS;
    call->chunked = head->framing == NEXUS__HTTP_LENGTH_CHUNKED;
    call->whole = head->framing == NEXUS__HTTP_LENGTH_NONE || nexus__exchange_body_ready(request, &call->body);
    nexus_request_on_close(request, on_client_gone, call);
    try_target(call, UINT32_MAX);
}

static void refuse_limit(nexus__call *call, const nexus__limit_outcome *o)
{
    nexus_request *request = call->request;
    char retry[16], body[512];
    nexus_slice id;
    nexus_request_id(request, &id);
    int n = snprintf(retry, sizeof retry, "%u", nexus__limits_retry_after_s(o));
    (void)nexus_request_set_header(request, "Retry-After", nexus__slice(retry, (size_t)n));
    n = snprintf(body, sizeof body,
                 "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\"title\":\"Too Many "
                 "Requests\",\"status\":429,\"detail\":\"Try again in %s s.\",\"instance\":\"urn:uuid:%.*s\","
                 "\"code\":\"rate-limited\",\"violated-policies\":[\"%.*s\"]}",
                 retry, id.n > 64 ? 64 : (int)id.n, id.p, o->strictest->name.n > 64 ? 64 : (int)o->strictest->name.n,
                 o->strictest->name.p);
    nexus__call_count(call, 429);
    nexus__call_release(call, false);
    nexus_request_reply(request, 429, "application/problem+json",
                        nexus__slice(body, (size_t)n < sizeof body ? (size_t)n : sizeof body - 1));
}

static void pass_limits(nexus__call *call)
{
    const nexus__gw_route_conf *conf = call->route->conf;
    nexus_gateway *g = home_of(call)->gateway;
    nexus__limit_subject subject = {.route = conf->id};
    nexus__limit_outcome outcome;
    char space[1024];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    if (conf->limits.count == 0) {
        start(call);
        return;
    }
    nexus_request_remote_ip(call->request, &subject.ip);
    if (call->principal)
        nexus_principal_subject(call->principal, &subject.principal);
    nexus__limits_take(g->limits, conf->limits.items, call->route->rates, conf->limits.count, &subject,
                       nexus_loop_now_ns(home_of(call)->loop), &outcome);
    if (outcome.strictest) {
        nexus__limits_policy_text(conf->limits.items, conf->limits.count, &text);
        (void)nexus_request_set_header(call->request, "RateLimit-Policy", nexus__buf_slice(&text));
        nexus__buf_clear(&text);
        nexus__limits_state_text(&outcome, &text);
        (void)nexus_request_set_header(call->request, "RateLimit", nexus__buf_slice(&text));
    }
    if (outcome.allowed)
        start(call);
    else
        refuse_limit(call, &outcome);
}

static void unauthorized(nexus__call *call, const char *challenge, const char *detail)
{
    (void)nexus_request_set_header(call->request, "WWW-Authenticate", nexus__slice_c(challenge));
    nexus__call_problem(call, 401, "unauthorized", detail);
}

static void pass_token(nexus__call *call);

static void keys_are_there(void *user_data)
{
    nexus__call *call = user_data;
    call->waiting = false;
    if (call->gone) {
        nexus_request *request = call->request;
        nexus__call_release(call, false);
        nexus__exchange_abort(request);
        return;
    }
    pass_token(call);
}

/* On the client's thread. */
static void on_keys(nexus_status status, void *user_data)
{
    nexus__call *call = user_data;
    (void)status;
    while (nexus_loop_post(call->pool->home->loop, keys_are_there, call) == NEXUS_EAGAIN)
        sched_yield();
}

static void wait_for_keys(nexus__call *call)
{
    nexus_gateway *g = home_of(call)->gateway;
    if (call->interims++ == 0) { /* once: keys that did not come are no reason to wait again */
        call->waiting = true;
        nexus_request_on_close(call->request, on_client_gone, call);
        nexus_status status = nexus_verifier_wait_async(g->opts.verifier, on_keys, call);
        if (status == NEXUS_OK)
            return;
        call->waiting = false;
        if (status == NEXUS_EDONE) {
            pass_token(call);
            return;
        }
    }
    (void)nexus_request_set_header(call->request, "Retry-After", NEXUS_S("1"));
    nexus__call_problem(call, 503, "keys-unavailable", "The keys to check tokens with are not there yet.");
}

static bool has_role(const nexus__call *call)
{
    const nexus__text_list *roles = &call->route->conf->token.roles;
    for (uint32_t i = 0; i < roles->count; i++)
        if (nexus_principal_has_role(call->principal, roles->items[i].p))
            return true;
    return roles->count == 0;
}

static void pass_token(nexus__call *call)
{
    nexus_gateway *g = home_of(call)->gateway;
    nexus_slice value, scheme = NEXUS_S("Bearer ");
    if (!call->route->conf->token.on) {
        pass_limits(call);
        return;
    }
    if (!nexus_request_header(call->request, "authorization", &value) || value.n <= scheme.n ||
        !nexus__slice_ieq(nexus__slice(value.p, scheme.n), scheme)) {
        unauthorized(call, "Bearer", "This needs a bearer token.");
        return;
    }
    nexus_status status =
        nexus_verifier_check(g->opts.verifier, value.p + scheme.n, value.n - scheme.n, &call->principal);
    if (status == NEXUS_EAGAIN) {
        wait_for_keys(call);
        return;
    }
    call->interims = 0;
    if (status)
        unauthorized(call, "Bearer error=\"invalid_token\"", "The token is not valid.");
    else if (!has_role(call))
        nexus__call_problem(call, 403, "forbidden", "The token's roles do not allow this.");
    else
        pass_limits(call);
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

/* Prefix changes; the result is brought into canonical form again before anything uses it. */
static bool rewrite(nexus__call *call)
{
    const nexus__gw_route_conf *conf = call->route->conf;
    nexus_slice strip = conf->strip_prefix, add = conf->add_prefix, rest = call->path, out;
    if (!strip.n && !add.n)
        return true;
    if (nexus__slice_ends(strip, NEXUS_S("/")))
        strip.n--;
    if (nexus__slice_starts(rest, strip) && (rest.n == strip.n || rest.p[strip.n] == '/'))
        rest = nexus__slice_from(rest, strip.n);
    char *text = nexus_request_alloc(call->request, add.n + rest.n + 1);
    if (!text)
        return false;
    memcpy(text, add.p ? add.p : "", add.n);
    memcpy(text + add.n, rest.p, rest.n);
    size_t n = add.n + rest.n;
    if (n == 0)
        text[n++] = '/';
    if (nexus_path_canonical(nexus__slice(text, n), NEXUS_PATH_AMBIGUOUS_PASS, text, &out))
        return false;
    call->path = out;
    return true;
}

/* Only to WebSocket, and only from pages of this origin or of one that CORS allows. */
static bool check_upgrade(nexus__call *call)
{
    nexus_slice value, host;
    const nexus__http_head *head = nexus__exchange_head(call->request);
    if (!head->upgrade || call->method != NEXUS_METHOD_GET || !nexus_request_header(call->request, "upgrade", &value) ||
        !nexus__slice_ieq(value, NEXUS_S("websocket")))
        return true; /* an offer of anything else is left out */
    if (!nexus_request_header(call->request, "sec-websocket-version", &value) || !nexus__slice_eq_c(value, "13")) {
        (void)nexus_request_set_header(call->request, "Sec-WebSocket-Version", NEXUS_S("13"));
        nexus__call_problem(call, 426, "websocket-version", "Only WebSocket version 13 is known here.");
        return false;
    }
    if (!nexus_request_header(call->request, "sec-websocket-key", &value) || value.n != 24) {
        nexus__call_problem(call, 400, "websocket-key", "Sec-WebSocket-Key is missing or malformed.");
        return false;
    }
    nexus_request_host(call->request, &host);
    if (nexus_request_header(call->request, "origin", &value) && !nexus__cors_same_origin(value, host) &&
        !nexus__cors_allows(&call->route->conf->cors, value)) {
        nexus__call_problem(call, 403, "foreign-origin", "Pages of this origin may not open WebSockets here.");
        return false;
    }
    call->upgrade = true;
    return true;
}

/* false: answered. `asked` is the method that the route was looked up for. */
static bool preflight(nexus__call *call, const nexus__gw_route *route, uint32_t methods)
{
    char allow[96];
    nexus_slice origin;
    nexus_request *request = call->request;
    if (nexus_request_header(request, "origin", &origin) && route && nexus__cors_allows(&route->conf->cors, origin)) {
        nexus__cors_preflight(request, &route->conf->cors, origin);
    } else {
        size_t n = nexus_method_allow(methods, allow, sizeof allow);
        (void)nexus_request_set_header(request, "Allow", nexus__slice(allow, n));
    }
    nexus__call_release(call, false);
    nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    return false;
}

static void no_route(nexus__call *call, nexus_status status, const nexus_router_match *m)
{
    char allow[96];
    if (status == NEXUS_EPERM) {
        size_t n = nexus_method_allow(m->methods, allow, sizeof allow);
        (void)nexus_request_set_header(call->request, "Allow", nexus__slice(allow, n));
        nexus__call_problem(call, 405, "method-not-allowed", "This path has other methods; see Allow.");
    } else {
        nexus__call_problem(call, 404, "no-route", "Nothing is routed at this path.");
    }
}

static void route(nexus__call *call, bool ambiguous)
{
    nexus_request *request = call->request;
    const nexus__snapshot *s = call->view->snapshot;
    nexus_router_match m;
    nexus_slice host, asked, origin;
    nexus_request_host(request, &host);
    nexus_status status = nexus_router_find(s->router, host, call->path, call->method, NULL, NULL, &m);
    nexus__gw_route *found = m.value;
    if (ambiguous && (status || !found->conf->ambiguous_pass)) {
        nexus__call_problem(call, 400, "ambiguous-path", "The path holds an escape that servers read differently.");
        return;
    }
    if (call->method == NEXUS_METHOD_OPTIONS && nexus_request_header(request, "access-control-request-method", &asked)) {
        nexus_router_match wanted;
        if (nexus_router_find(s->router, host, call->path, nexus_method_parse(asked), NULL, NULL, &wanted) == NEXUS_OK &&
            ((nexus__gw_route *)wanted.value)->conf->cors.on) {
            (void)preflight(call, wanted.value, m.methods);
            return;
        }
    }
    if (status == NEXUS_EPERM && call->method == NEXUS_METHOD_OPTIONS) {
        (void)preflight(call, NULL, m.methods);
        return;
    }
    if (status) {
        no_route(call, status, &m);
        return;
    }
    call->route = found;
    call->pool = call->view->pools[found->upstream];
    if (!rewrite(call)) {
        nexus__call_problem(call, 500, "rewrite", "The rewritten path is not valid.");
        return;
    }
    if (found->conf->cors.on && nexus_request_header(request, "origin", &origin))
        nexus__cors_mark(request, &found->conf->cors, origin);
    if (nexus__exchange_head(request)->upgrade && !check_upgrade(call))
        return;
    pass_token(call);
}

void nexus__call_handle(nexus_request *request, void *user_data)
{
    nexus_gateway *g = user_data;
    nexus__gw_loop *home = &g->loops[nexus__loop_index(nexus__exchange_loop(request))];
    nexus_slice raw;
    if (!home->view)
        nexus__view_swap(home);
    if (!home->view) {
        nexus_request_problem_text(request, 404, "no-route", "This gateway has no routes yet.");
        return;
    }
    nexus_request_path(request, &raw);
    nexus__call *call = nexus_request_alloc(request, sizeof *call);
    char *space = call ? nexus_request_alloc(request, raw.n + 1) : NULL;
    if (!space) {
        nexus_request_problem_text(request, 500, "out-of-memory", NULL);
        return;
    }
    *call = (nexus__call){.request = request, .view = home->view, .method = nexus__exchange_method(request)};
    call->view->refs++;
    nexus_status status = nexus_path_canonical(raw, 0, space, &call->path);
    bool ambiguous = status == NEXUS_EPERM;
    if (ambiguous)
        status = nexus_path_canonical(raw, NEXUS_PATH_AMBIGUOUS_PASS, space, &call->path);
    if (status)
        nexus__call_problem(call, 400, "bad-path", "The path is not valid.");
    else
        route(call, ambiguous);
}
