/*
 * A try: a target, a connection, the request's bytes, and what may follow when it is lost.
 *
 * A try may be repeated while the client has nothing of an answer and repeating it does no harm: no connection came about,
 * nothing of the request was taken, or the method (or an Idempotency-Key) says that twice is as good as once; then up to
 * the first byte of an answer, or when the answer is a status that asks for it. Its body must be at hand once more.
 */
#include <nexus/trace.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "gateway/change.h"
#include "gateway/forward.h"
#include "gateway/function.h"
#include "gateway/gateway.h"
#include "gateway/retry.h"
#include "gateway/waiting.h"

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

static int64_t now_of(const nexus__call *call)
{
    return nexus_loop_now_ns(home_of(call)->loop);
}

/* --- what a try teaches ------------------------------------------------------------------------------------------- */

static void breaker_turned(nexus__target *t, int32_t state)
{
    nexus_metric_set(t->metrics.breaker, state == NEXUS_BREAKER_CLOSED ? 0 : 1);
    if (state == NEXUS_BREAKER_OPEN)
        nexus_metric_add(t->metrics.breaker_opened, 1);
}

/* Gives back the pass of the target's breaker. */
static void give_pass(nexus__call *call, nexus__target *t, int32_t outcome, int64_t now)
{
    if (!call->pass)
        return;
    int32_t state =
        nexus__breaker_done(&t->load.breaker, &conf_of(call)->balance.breaker.rule, call->pass, outcome, now);
    call->pass = 0;
    if (state >= 0)
        breaker_turned(t, state);
}

/* A retry is over when it brought an answer: a stream holds no place. After a failure the place goes with the call, or to
 * the next try. */
static void give_budget(nexus__call *call)
{
    if (call->budgeted)
        nexus_retry_budget_put(&call->pool->upstream->budget);
    call->budgeted = false;
}

void nexus__call_judge(nexus__call *call, nexus__target *t, int32_t outcome)
{
    int64_t now = now_of(call);
    call->outcome = outcome;
    if (outcome == NEXUS_BREAKER_OK)
        give_budget(call);
    give_pass(call, t, outcome, now);
    if (outcome != NEXUS_BREAKER_IGNORED)
        nexus__target_learn(t, outcome == NEXUS_BREAKER_FAILED, call->began, now);
}

/* --- the end of all tries ----------------------------------------------------------------------------------------- */

static void count_active(nexus__pool *pool, int by)
{
    uint32_t active = atomic_load_explicit(&pool->shared->shared.active, memory_order_relaxed);
    atomic_store_explicit(&pool->shared->shared.active, active + (uint32_t)by, memory_order_relaxed);
}

void nexus__call_end_try(nexus__call *call, bool reuse)
{
    nexus__uplink *conn = call->conn;
    if (call->pass)
        give_pass(call, conn->at->target, NEXUS_BREAKER_IGNORED, now_of(call));
    nexus__load_end(&conn->at->target->load);
    call->conn = NULL;
    if (reuse && conn->out.len == 0)
        nexus__uplink_release(conn);
    else
        nexus__uplink_close(conn);
}

void nexus__call_leave(nexus__call *call)
{
    if (!call->started)
        return;
    call->started = false;
    nexus__call_unwait(call);
    give_budget(call);
    count_active(call->pool, -1);
    if (conf_of(call)->max_requests)
        nexus_semaphore_put(&call->pool->upstream->requests);
    if (call->route_pass)
        (void)nexus__breaker_done(&call->route->breaker->breaker, &call->route->conf->breaker.rule, call->route_pass,
                                  call->outcome, now_of(call));
}

/* --- after a failure ---------------------------------------------------------------------------------------------- */

static bool replayable(const nexus__call *call)
{
    return call->whole || call->sent == 0;
}

bool nexus__call_is_idempotent(const nexus__call *call)
{
    nexus_slice key;
    return call->method & IDEMPOTENT || nexus_request_header(call->request, "idempotency-key", &key);
}

static uint64_t draw(nexus__gw_loop *home)
{
    home->random = home->random * 6364136223846793005u + 1442695040888963407u;
    return nexus__mix64(home->random);
}

static bool take_budget(nexus__call *call)
{
    nexus__upstream *u = call->pool->upstream;
    give_budget(call);
    if (conf_of(call)->retries.budget_percent == UINT32_MAX)
        return true;
    __atomic_store_n(&u->budget.active, nexus__upstream_active(u), __ATOMIC_RELAXED);
    call->budgeted = nexus_retry_budget_take(&u->budget);
    if (!call->budgeted)
        nexus_metric_add(u->metrics.retries_refused, 1);
    return call->budgeted;
}

/* A request of which nothing was sent may move on to a healthy target without a place of the budget: no upstream has had
 * more for it. */
static bool moves_on(nexus__call *call)
{
    nexus__balance_ask ask = {.now = now_of(call), .random = draw(home_of(call)), .tried = call->tried};
    return nexus__balance_has_other(&call->pool->set->balance, &ask);
}

/* Whether rule and budget allow another try, and in how many ms. after_ns: what upstream asked for, 0 = nothing. */
static bool may_retry(nexus__call *call, bool unsent, int64_t after_ns, uint32_t *ms)
{
    const nexus__gw_retries *rule = &conf_of(call)->retries;
    uint32_t own = call->route->conf->retries;
    nexus__retry_ask ask = {.tries = call->tries,
                            .max = own == UINT32_MAX ? rule->max : own,
                            .now = now_of(call),
                            .deadline = call->deadline,
                            .after_ns = after_ns,
                            .random = draw(home_of(call))};
    int64_t wait = nexus__retry_wait_ms(rule, &ask);
    if (wait < 0 || !((unsent && moves_on(call)) || take_budget(call)))
        return false;
    nexus_metric_add(call->pool->upstream->metrics.retries, 1);
    *ms = (uint32_t)wait;
    return true;
}

static void failed(nexus__call *call, enum nexus__lost how)
{
    static const struct {
        uint16_t status;
        const char *code, *detail;
    } rows[] = {
        [NEXUS__LOST_CONNECT] = {502, "upstream-unreachable", "No connection to the upstream could be made."},
        [NEXUS__LOST_TLS] = {502, "upstream-tls", "The TLS handshake with the upstream failed."},
        [NEXUS__LOST_CERTIFICATE] = {502, "upstream-certificate", "The upstream did not prove who it is."},
        [NEXUS__LOST_CLOSED] = {502, "upstream-closed", "The upstream closed the connection before it answered."},
        [NEXUS__LOST_UNSENT] = {502, "upstream-closed", "The upstream closed the connection before it answered."},
        [NEXUS__LOST_REFUSED] = {502, "upstream-refused", "The upstream did not begin with the request."},
        [NEXUS__LOST_INVALID] = {502, "upstream-protocol", "The upstream's answer is not valid."},
        [NEXUS__LOST_TIMEOUT] = {504, "upstream-timeout", "The upstream did not answer in time."},
    };
    nexus__call_problem(call, rows[how].status, rows[how].code, rows[how].detail);
}

/* The client has half an answer: only a broken connection tells it so. */
static void break_off(nexus__call *call)
{
    nexus_request *request = call->request;
    nexus__call_count(call, 0);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    nexus__exchange_abort(request);
}

void nexus__call_lost(nexus__uplink *conn, enum nexus__lost how)
{
    nexus__call *call = conn->call;
    nexus__seen_lost(call, how);
    if (call->replied) {
        call->broke_off = true;
        break_off(call);
        return;
    }
    bool connecting = conn->state == NEXUS__UPLINK_CONNECTING;
    bool answered = conn->in.len > 0 || call->interims > 0 || call->stage || how == NEXUS__LOST_INVALID;
    bool stale = conn->used && how != NEXUS__LOST_TIMEOUT && !answered;
    bool unsent = connecting || how == NEXUS__LOST_UNSENT || how == NEXUS__LOST_REFUSED;
    if (!stale)
        nexus__call_judge(call, conn->at->target, NEXUS_BREAKER_FAILED);
    nexus__call_end_try(call, false);
    bool safe = replayable(call) && !answered && (unsent || nexus__call_is_idempotent(call));
    uint32_t ms;
    if (safe && stale && !call->fresh) { /* closed while it rested: once on a fresh one, which is no retry */
        call->fresh = true;
        call->tries--;
        nexus__call_try(call);
    } else if (safe && may_retry(call, unsent, 0, &ms)) {
        nexus__call_sleep(call, ms);
    } else {
        failed(call, connecting && (how == NEXUS__LOST_CLOSED || how == NEXUS__LOST_UNSENT) ? NEXUS__LOST_CONNECT : how);
    }
}

bool nexus__call_retry_status(nexus__call *call, const nexus__http_head *head, const char *base, bool whole)
{
    uint32_t ms;
    if (!nexus__retry_status(&conf_of(call)->retries, head->status) || !replayable(call) || call->interims > 0 ||
        !nexus__call_is_idempotent(call))
        return false;
    const nexus__http_field *f = nexus__http_find(head, base, NEXUS_S("retry-after"));
    int64_t after = f ? nexus__retry_after_ns(nexus__http_field_value(f, base), nexus__real_ns()) : 0;
    if (!may_retry(call, false, after, &ms))
        return false;
    nexus__seen_answer(call, head->status);
    nexus__seen_end_try(call);
    nexus__call_judge(call, call->conn->at->target, NEXUS_BREAKER_FAILED);
    nexus__call_end_try(call, whole && head->keep_alive && call->uploaded);
    nexus__call_sleep(call, ms);
    return true;
}

/* --- what is sent ------------------------------------------------------------------------------------------------- */

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

/* gRPC servers refuse a client that does not say so. */
static bool understands_trailers(const nexus__call *call, const nexus__http_head *head)
{
    const nexus__http_field *te = call->conn->carrier ? nexus__http_first(head, NEXUS__HTTP_TE) : NULL;
    return te &&
           nexus__http_list_has(nexus__http_field_value(te, nexus__exchange_base(call->request)), NEXUS_S("trailers"));
}

static void write_head(nexus__call *call, nexus__buf *out)
{
    nexus_request *request = call->request;
    const nexus__http_head *head = nexus__exchange_head(request);
    nexus_trace trace;
    char traceparent[NEXUS_TRACEPARENT_LEN + 1];
    nexus__forward f = {.path = call->path,
                        .has_query = head->has_query,
                        .tls = nexus_request_is_tls(request),
                        .upgrade = call->upgrade,
                        .te = understands_trailers(call, head),
                        .loop_id = nexus__slice(home_of(call)->gateway->loop_id, NEXUS__GW_LOOP_ID),
                        .framing = call->whole && call->body.n > 0 ? NEXUS__HTTP_LENGTH_FIXED : head->framing,
                        .length = call->whole && call->body.n > 0 ? call->body.n : head->length,
                        .change = &call->route->conf->request,
                        .fields = call->fields,
                        .own = call->request_own};
    if (call->whole && call->body.n == 0 && head->framing != NEXUS__HTTP_LENGTH_NONE) {
        f.framing = NEXUS__HTTP_LENGTH_FIXED;
        f.length = 0;
    }
    nexus_request_method(request, &f.method);
    nexus_request_query(request, &f.query);
    nexus_request_host(request, &f.host);
    nexus_request_remote_ip(request, &f.client_ip);
    nexus_request_id(request, &f.request_id);
    nexus__seen_trace(call, &trace);
    nexus_trace_format(&trace, traceparent);
    f.traceparent = nexus__slice(traceparent, NEXUS_TRACEPARENT_LEN);
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
        nexus__call_lost(call->conn, NEXUS__LOST_UNSENT);
        return;
    }
    if (call->whole) {
        call->sent = call->body.n;
        nexus__call_uploaded(call);
        return;
    }
    nexus__timeout_set(&call->conn->timeout, home_of(call)->loop, conf_of(call)->timeouts.idle_ms);
    nexus__call_upload(call);
}

void nexus__call_connected(nexus__uplink *conn)
{
    send_request(conn->call);
}

/* --- a try -------------------------------------------------------------------------------------------------------- */

static void circuit_open(nexus__call *call, int64_t wait_ns)
{
    char text[24];
    int64_t s = (wait_ns + NEXUS__NS_PER_S - 1) / NEXUS__NS_PER_S;
    size_t n = (size_t)snprintf(text, sizeof text, "%lld", (long long)(s < 1 ? 1 : s));
    (void)nexus_request_set_header(call->request, "Retry-After", nexus__slice(text, n));
    nexus__call_problem(call, 503, "circuit-open", "Too many requests to this upstream failed; it rests.");
}

/* Nobody may have it: every circuit is open, or there is nobody. */
static void refuse(nexus__call *call)
{
    const nexus__target_set *set = call->pool->set;
    int64_t least = INT64_MAX;
    for (uint32_t i = 0; i < set->count; i++) {
        int64_t wait = set->hosts[i].weight ? nexus__breaker_retry_after_ns(&set->hosts[i].load->breaker, now_of(call))
                                            : INT64_MAX;
        least = wait < least ? wait : least;
    }
    if (least == INT64_MAX)
        nexus__call_problem(call, 503, "no-healthy-upstream", "The upstream has no target that takes requests.");
    else
        circuit_open(call, least);
}

/* The try has its target and, unless status says why not, its connection. */
static void begin_try(nexus__call *call, nexus__pool_target *at, nexus__uplink *conn, int64_t now)
{
    nexus__load_begin(&at->target->load);
    call->tries++;
    nexus__seen_try(call, at->target);
    call->tried |= at->bit;
    call->began = now;
    call->try_until = now + conf_of(call)->timeouts.try_ms * NEXUS__NS_PER_MS;
    call->blocked = call->uploaded = false;
    call->fault = 0;
    call->conn = conn;
    if (conn)
        conn->call = call;
    if (call->wait)
        nexus__call_unwait(call);
}

/* NEXUS_OK: under way. NEXUS_ELIMIT: the target has all connections it may have, NEXUS_EAGAIN: its circuit is open; nothing
 * happened. Else the try is over. */
static nexus_status connect_to(nexus__call *call, nexus__pool_target *at, int64_t now)
{
    const nexus__breaker_conf *breaker = &conf_of(call)->balance.breaker;
    nexus__target *t = at->target;
    int64_t wait;
    uint32_t pass = breaker->on ? nexus__breaker_enter(&t->load.breaker, &breaker->rule, now, &wait) : 0;
    if (breaker->on && !pass)
        return NEXUS_EAGAIN;
    nexus__uplink *conn = call->fresh ? NULL : nexus__uplink_take(call->pool, at, call->upgrade);
    bool kept = conn;
    nexus_status status = kept ? NEXUS_OK : nexus__uplink_open(&conn, call->pool, at, call->upgrade);
    call->pass = pass;
    if (status == NEXUS_ELIMIT) {
        give_pass(call, t, NEXUS_BREAKER_IGNORED, now);
        return status;
    }
    begin_try(call, at, conn, now);
    if (status) {
        nexus__seen_lost(call, NEXUS__LOST_CONNECT);
        nexus__call_judge(call, t, status == NEXUS_EUNREACH ? NEXUS_BREAKER_FAILED : NEXUS_BREAKER_IGNORED);
        nexus__load_end(&t->load);
    } else if (kept) {
        send_request(call);
    } else {
        nexus__call_limit_time(call, conf_of(call)->timeouts.connect_ms);
    }
    return status;
}

/* No connection could even be begun. */
static void not_connected(nexus__call *call, nexus_status status)
{
    uint32_t ms;
    if (status != NEXUS_EUNREACH)
        nexus__call_busy(call, "The gateway has no room for another connection.");
    else if (replayable(call) && may_retry(call, true, 0, &ms))
        nexus__call_sleep(call, ms);
    else
        failed(call, NEXUS__LOST_CONNECT);
}

static nexus__balance_ask ask_of(nexus__call *call, int64_t now)
{
    if (conf_of(call)->balance.balancer->keyed && !call->hash_done)
        nexus__call_hash(call);
    return (nexus__balance_ask){
        .now = now, .random = draw(home_of(call)), .keyed = call->hashed, .key = call->hash, .tried = call->tried};
}

void nexus__call_try(nexus__call *call)
{
    nexus__pool *pool = call->pool;
    int64_t now = now_of(call);
    bool full = false;
    if (!nexus__list_empty(&pool->queue) && !nexus__call_is_queued(call)) {
        nexus__call_queue(call); /* behind those that wait */
        return;
    }
    nexus__balance_ask ask = ask_of(call, now);
    for (uint64_t looked = 0;;) {
        nexus__pool_target *at = nexus__upstream_pick(pool, ask);
        if (!at || looked & at->bit)
            break;
        if (at->target->function) {
            nexus__function_call(call, at->target->function);
            return;
        }
        nexus_status status = connect_to(call, at, now);
        if (!status)
            return;
        if (status != NEXUS_ELIMIT && status != NEXUS_EAGAIN) {
            not_connected(call, status);
            return;
        }
        full |= status == NEXUS_ELIMIT;
        looked |= at->bit;
        ask.tried |= at->bit;
    }
    if (full)
        nexus__call_queue(call);
    else
        refuse(call);
}

/* false: answered. */
static bool enter(nexus__call *call)
{
    int64_t wait;
    if (conf_of(call)->max_requests && !nexus_semaphore_take(&call->pool->upstream->requests)) {
        nexus__call_busy(call, "The upstream has as many requests as it may.");
        return false;
    }
    call->started = true;
    call->outcome = NEXUS_BREAKER_IGNORED;
    count_active(call->pool, 1);
    if (!call->route->breaker)
        return true;
    call->route_pass =
        nexus__breaker_enter(&call->route->breaker->breaker, &call->route->conf->breaker.rule, now_of(call), &wait);
    if (!call->route_pass)
        circuit_open(call, wait);
    return call->route_pass;
}

void nexus__call_start(nexus__call *call)
{
    nexus_request *request = call->request;
    const nexus__http_head *head = nexus__exchange_head(request);
    if (!call->collected && head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length > nexus__call_body_max(call)) {
        nexus__call_problem(call, 413, "body-too-big", "The body is over the limit of this route.");
        return;
    }
    if (!nexus__change_fill(call) || !enter(call))
        return;
    call->deadline = now_of(call) + nexus__call_total_ns(call);
    call->chunked = head->framing == NEXUS__HTTP_LENGTH_CHUNKED;
    call->whole =
        call->collected || head->framing == NEXUS__HTTP_LENGTH_NONE || nexus__exchange_body_ready(request, &call->body);
    nexus_request_on_close(request, nexus__call_client_gone, call);
    nexus__call_try(call);
}
