/*
 * After 101 both sides speak bytes. A tunnel has let go of its call and its view: a reload neither ends it nor is held
 * up by it. It keeps its connection, and through it the pool's upstream.
 */
#include "base/codec.h"
#include "crypto/hash.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"

static const nexus__gw_upstream_conf *conf_of(const nexus__uplink *conn)
{
    return conn->pool->upstream->conf;
}

static int64_t now_of(const nexus__uplink *conn)
{
    return nexus_loop_now_ns(conn->pool->home->loop);
}

/* RFC 6455 4.2.2: proof that upstream understood the handshake. */
static bool accept_ok(const nexus__call *call, const nexus__http_head *head, const char *base)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[24 + sizeof magic], space[40];
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_slice key;
    const nexus__http_field *f = nexus__http_find(head, base, NEXUS_S("sec-websocket-accept"));
    if (!f || !nexus_request_header(call->request, "sec-websocket-key", &key) || key.n != 24)
        return false;
    memcpy(text, key.p, 24);
    memcpy(text + 24, magic, sizeof magic - 1);
    if (nexus__hash(NEXUS__SHA1, nexus__slice(text, 24 + sizeof magic - 1), digest))
        return false;
    nexus__buf expected = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus__base64_append(&expected, digest, 20);
    return nexus__slice_eq(nexus__buf_slice(&expected), nexus__http_field_value(f, base));
}

void nexus__tunnel_end(nexus__uplink *conn)
{
    nexus_request *request = conn->tunnel;
    conn->tunnel = NULL;
    nexus__load_end(&conn->at->target->load);
    nexus__uplink_close(conn);
    if (!request)
        return;
    nexus_request_on_close(request, NULL, NULL);
    nexus__exchange_abort(request);
}

static void on_client_gone(nexus_request *request, void *user_data)
{
    (void)request;
    nexus__tunnel_end(user_data);
}

/* From the client. */
static size_t on_bytes(nexus_request *request, nexus_slice data, bool end, nexus_status status, void *user_data)
{
    nexus__uplink *conn = user_data;
    (void)request;
    if (status) {
        nexus__tunnel_end(conn);
        return data.n;
    }
    conn->passing.client_heard = now_of(conn);
    conn->passing.client_pinged = false;
    if (conn->out.len > 0)
        return 0;
    ssize_t n = data.n > 0 ? nexus__uplink_send_some(conn, data) : 0;
    if (n < 0) {
        nexus__tunnel_end(conn);
        return data.n;
    }
    nexus__frames_pass(&conn->passing.to_upstream, data.p, (size_t)n);
    if (end && (size_t)n == data.n)
        nexus__uplink_shut(conn);
    return (size_t)n;
}

void nexus__tunnel_writable(nexus__uplink *conn)
{
    nexus__exchange_read_again(conn->tunnel);
}

void nexus__tunnel_bytes(nexus__uplink *conn, const char *p, size_t n)
{
    struct iovec iov = {(char *)(uintptr_t)p, n};
    conn->passing.upstream_heard = now_of(conn);
    conn->passing.upstream_pinged = false;
    nexus__frames_pass(&conn->passing.to_client, p, n);
    if (nexus__exchange_write(conn->tunnel, &iov, 1, false))
        nexus__tunnel_end(conn);
}

void nexus__tunnel_eof(nexus__uplink *conn)
{
    nexus__tunnel_end(conn); /* what was written before is still sent by the exchange */
}

/* --- silence ------------------------------------------------------------------------------------------------------ */

/* An empty ping frame; a client's is masked (RFC 6455 sections 5.1, 5.5.2). The pong passes to the other side, which takes
 * it for one that nobody asked for (5.5.3). */
/* false: the tunnel is over. */
static bool ping_client(nexus__uplink *conn)
{
    struct iovec iov = {(char *)(uintptr_t) "\x89", 2};
    if (!nexus__frames_between(&conn->passing.to_client))
        return true; /* at the next tick */
    conn->passing.client_pinged = true;
    if (nexus__exchange_write(conn->tunnel, &iov, 1, false) == NEXUS_OK)
        return true;
    nexus__tunnel_end(conn);
    return false;
}

static bool ping_upstream(nexus__uplink *conn)
{
    char frame[6] = "\x89\x80";
    uint64_t mask = nexus__mix64(conn->pool->home->random += 0x9e3779b97f4a7c15u);
    struct iovec iov = {frame, sizeof frame};
    if (!nexus__frames_between(&conn->passing.to_upstream) || conn->out.len > 0)
        return true;
    memcpy(frame + 2, &mask, 4);
    conn->passing.upstream_pinged = true;
    if (nexus__uplink_send(conn, &iov, 1))
        return true;
    nexus__tunnel_end(conn);
    return false;
}

static uint32_t tick_ms(const nexus__uplink *conn)
{
    uint32_t ping = conf_of(conn)->timeouts.ping_ms, idle = conf_of(conn)->timeouts.idle_ms;
    uint32_t least = ping && ping < idle ? ping : idle;
    return least < 40 ? 10 : least / 4;
}

void nexus__tunnel_tick(nexus__uplink *conn)
{
    const nexus__gw_upstream_conf *conf = conf_of(conn);
    nexus__gw_loop *home = conn->pool->home;
    int64_t now = now_of(conn), ping = conf->timeouts.ping_ms * NEXUS__NS_PER_MS;
    int64_t client = now - conn->passing.client_heard, upstream = now - conn->passing.upstream_heard;
    int64_t silence = ping ? (client > upstream ? client : upstream) : (client < upstream ? client : upstream);
    if (silence >= conf->timeouts.idle_ms * NEXUS__NS_PER_MS) { /* who was asked and did not answer, or both have nothing to say */
        nexus__tunnel_end(conn);
        return;
    }
    nexus__timeout_set(&conn->timeout, home->loop, tick_ms(conn));
    if (ping && client >= ping && !conn->passing.client_pinged && !ping_client(conn))
        return;
    if (ping && upstream >= ping && !conn->passing.upstream_pinged)
        (void)ping_upstream(conn);
}

void nexus__tunnel_start(nexus__call *call, const nexus__http_head *head, const char *base, nexus_slice rest)
{
    struct iovec fields[NEXUS__FORWARD_IOVS + 1];
    bool has_date;
    nexus__uplink *conn = call->conn;
    nexus_request *request = call->request;
    if (!call->upgrade || !accept_ok(call, head, base)) {
        nexus__call_problem(call, 502, "upstream-protocol", "The upstream switched protocols without being asked.");
        return;
    }
    nexus__buf *space = &conn->pool->home->head;
    nexus__buf_clear(space);
    size_t n = nexus__forward_reply(fields, space, head, base, &call->route->conf->response, call->reply_own, &has_date);
    fields[n++] = (struct iovec){(char *)(uintptr_t) "Upgrade: websocket\r\n", 20};
    nexus__seen_answer(call, 101);
    nexus__call_count(call, 101);
    nexus__call_judge(call, conn->at->target, NEXUS_BREAKER_OK);
    conn->state = NEXUS__UPLINK_TUNNEL;
    conn->tunnel = request;
    conn->call = NULL;
    call->conn = NULL;
    nexus__call_release(call, false); /* the view goes, the conn stays */
    nexus_request_on_close(request, on_client_gone, conn);
    conn->passing.client_heard = conn->passing.upstream_heard = now_of(conn);
    nexus__timeout_set(&conn->timeout, conn->pool->home->loop, tick_ms(conn));
    if (nexus__exchange_tunnel(request, 101, fields, n)) {
        nexus__tunnel_end(conn);
        return;
    }
    nexus__gw_loop *home = conn->pool->home;
    if (rest.n > 0)
        nexus__tunnel_bytes(conn, rest.p, rest.n);
    if (home->live == conn)
        nexus__exchange_read(request, on_bytes, conn);
}
