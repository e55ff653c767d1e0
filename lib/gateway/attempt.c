/*
 * A try: a target, a connection, the request's bytes, and what may follow when it is lost.
 *
 * A try may be repeated while nothing of the request can have had an effect: no connection came about, or the kept
 * connection turned out closed before the first byte of an answer and the method is idempotent (or nothing was sent).
 */
#include <nexus/trace.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "gateway/change.h"
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

/* --- a try -------------------------------------------------------------------------------------------------------- */

static void try_target(nexus__call *call, const nexus__target *avoid);

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
    const nexus__target_set *set = call->pool->set;
    for (uint32_t i = 0; i < set->count; i++)
        active += atomic_load_explicit(&set->members[i].target->shared.active, memory_order_relaxed);
    __atomic_store_n(&u->budget.active, active, __ATOMIC_RELAXED);
    return nexus_retry_budget_take(&u->budget);
}

static void drop_conn(nexus__call *call)
{
    nexus__uplink *conn = call->conn;
    atomic_fetch_sub_explicit(&conn->at->target->shared.active, 1, memory_order_relaxed);
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
    nexus__target *target = nexus__target_ref(conn->at->target);
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
        nexus__upstream_report(target, true, now);
    bool safe = connecting || (replayable(call) && call->method & IDEMPOTENT && how == NEXUS__LOST_CLOSED);
    if (safe && stale && now < call->deadline) { /* the kept connection was closed while it rested: no retry of ours */
        call->tries--;
        try_target(call, NULL);
    } else if (safe && may_retry(call)) {
        try_target(call, target);
        nexus_retry_budget_put(&u->budget);
    } else {
        failed(call, connecting && how == NEXUS__LOST_TIMEOUT ? NEXUS__LOST_TIMEOUT
                     : connecting                             ? NEXUS__LOST_CONNECT
                                                              : how);
    }
    nexus__target_unref(target);
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
                        .change = &call->route->conf->request,
                        .fields = call->fields,
                        .own = call->request_own};
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
        nexus__call_uploaded(call);
        return;
    }
    nexus__call_limit_time(call, conf_of(call)->idle_ms);
    nexus__call_upload(call);
}

void nexus__call_connected(nexus__uplink *conn)
{
    send_request(conn->call);
}

static void try_target(nexus__call *call, const nexus__target *avoid)
{
    nexus__gw_loop *home = home_of(call);
    int64_t now = nexus_loop_now_ns(home->loop);
    home->random = home->random * 6364136223846793005u + 1442695040888963407u;
    nexus__pool_target *at = nexus__upstream_pick(call->pool, nexus__mix64(home->random), now, avoid);
    if (!at) {
        nexus__call_problem(call, 503, "no-healthy-upstream", "The upstream has no targets.");
        return;
    }
    call->tries++;
    call->blocked = false;
    nexus__uplink *conn = nexus__uplink_take(call->pool, at);
    bool kept = conn;
    nexus_status status = kept ? NEXUS_OK : nexus__uplink_open(&conn, call->pool, at);
    if (status == NEXUS_ELIMIT) {
        (void)nexus_request_set_header(call->request, "Retry-After", NEXUS_S("1"));
        nexus__call_problem(call, 503, "upstream-busy", "The upstream has as many connections as it may.");
        return;
    }
    if (status) {
        nexus__upstream_report(at->target, true, now);
        failed(call, NEXUS__LOST_CONNECT);
        return;
    }
    atomic_fetch_add_explicit(&at->target->shared.active, 1, memory_order_relaxed);
    conn->call = call;
    call->conn = conn;
    if (kept)
        send_request(call);
}

void nexus__call_start(nexus__call *call)
{
    nexus_request *request = call->request;
    const nexus__http_head *head = nexus__exchange_head(request);
    uint32_t total = call->route->conf->total_ms ? call->route->conf->total_ms : conf_of(call)->total_ms;
    if (head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length > nexus__call_body_max(call)) {
        nexus__call_problem(call, 413, "body-too-big", "The body is over the limit of this route.");
        return;
    }
    if (!nexus__change_fill(call))
        return;
    call->deadline = nexus_loop_now_ns(home_of(call)->loop) + total * NEXUS__NS_PER_MS;
    call->chunked = head->framing == NEXUS__HTTP_LENGTH_CHUNKED;
    call->whole = head->framing == NEXUS__HTTP_LENGTH_NONE || nexus__exchange_body_ready(request, &call->body);
    nexus_request_on_close(request, nexus__call_client_gone, call);
    try_target(call, NULL);
}
