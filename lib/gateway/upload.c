/* The request's body on its way up: piece by piece, as fast as upstream takes it. */
#include <stdio.h>

#include "gateway/forward.h"
#include "gateway/gateway.h"
#include "gateway/lane.h"

enum { KEEP_MAX = 65536 };

static const nexus__gw_upstream_conf *conf_of(const nexus__call *call)
{
    return call->pool->upstream->conf;
}

static nexus__gw_loop *home_of(const nexus__call *call)
{
    return call->pool->home;
}

int64_t nexus__call_total_ns(const nexus__call *call)
{
    uint32_t own = call->route->conf->total_ms;
    return (own ? own : conf_of(call)->timeouts.total_ms) * NEXUS__NS_PER_MS;
}

void nexus__call_limit_time(nexus__call *call, uint32_t ms)
{
    int64_t until = call->deadline < call->try_until ? call->deadline : call->try_until;
    int64_t left = (until - nexus_loop_now_ns(home_of(call)->loop)) / NEXUS__NS_PER_MS;
    if (left < 1)
        left = 1;
    nexus__timeout_set(&call->conn->timeout, home_of(call)->loop, left < ms ? (uint32_t)left : ms);
}

/* While a body is streamed up its pace is the client's, and only silence counts; from its end on, the clocks run anew. */
static void restart_clocks(nexus__call *call)
{
    int64_t now = nexus_loop_now_ns(home_of(call)->loop);
    call->deadline = now + nexus__call_total_ns(call);
    call->try_until = now + conf_of(call)->timeouts.try_ms * NEXUS__NS_PER_MS;
}

void nexus__call_uploaded(nexus__call *call)
{
    call->uploaded = true;
    if (!call->whole)
        restart_clocks(call);
    if (!call->replied)
        nexus__call_limit_time(call, conf_of(call)->timeouts.first_byte_ms);
}

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

uint64_t nexus__call_body_max(const nexus__call *call)
{
    return call->route->conf->body_max_bytes ? call->route->conf->body_max_bytes : UINT64_MAX;
}

static int last_chunk(nexus__call *call, struct iovec iov[static 3])
{
    nexus__buf *trailers = &home_of(call)->head;
    nexus__buf_clear(trailers);
    nexus__forward_trailers(trailers, nexus__exchange_trailers(call->request));
    iov[0] = (struct iovec){(char *)(uintptr_t) "0\r\n", 3};
    iov[1] = (struct iovec){trailers->p, trailers->len};
    iov[2] = (struct iovec){(char *)(uintptr_t) "\r\n", 2};
    return 3;
}

/* Returns how much was taken; less than all means: not now. */
static size_t send_chunk(nexus__call *call, nexus_slice data, bool end)
{
    char size[20];
    struct iovec iov[6];
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
        n += last_chunk(call, iov + n);
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

static void end_lane(nexus__call *call)
{
    nexus__buf *trailers = &home_of(call)->head;
    nexus__buf_clear(trailers);
    nexus__forward_trailers(trailers, nexus__exchange_trailers(call->request));
    nexus__lane_end(call->conn, nexus__buf_slice(trailers));
}

/* A short body that may have to be sent again is kept while it passes; *kept stays NULL for others. */
static void keep(nexus__call *call, nexus_slice data)
{
    const nexus__http_head *head = nexus__exchange_head(call->request);
    if (call->sent == 0 && !call->kept && head->framing == NEXUS__HTTP_LENGTH_FIXED && head->length <= KEEP_MAX &&
        nexus__call_is_idempotent(call))
        call->kept = nexus_request_alloc(call->request, head->length);
    if (call->kept && data.n > 0)
        memcpy(call->kept + call->sent, data.p, data.n);
}

/* All of it was sent: from now on it is at hand as if it had come at once. */
static void keep_whole(nexus__call *call)
{
    if (!call->kept)
        return;
    call->whole = true;
    call->body = nexus__slice(call->kept, call->sent);
}

static size_t on_body(nexus_request *request, nexus_slice data, bool end, nexus_status status, void *user_data)
{
    nexus__call *call = user_data;
    (void)request;
    if (status || call->sent + data.n > nexus__call_body_max(call)) {
        upload_failed(call, status ? status : NEXUS_ETOOBIG);
        return data.n;
    }
    if (!call->conn)
        return 0; /* between two tries: later */
    bool lane = call->conn->carrier; /* has frames in place of chunks */
    size_t taken = call->chunked && !lane ? send_chunk(call, data, end) : send_plain(call, data);
    keep(call, nexus__slice(data.p, taken));
    call->sent += taken;
    if (taken == data.n && end && lane)
        end_lane(call);
    if (taken == data.n && end) {
        nexus__call_uploaded(call);
        keep_whole(call);
    } else {
        nexus__timeout_set(&call->conn->timeout, home_of(call)->loop, conf_of(call)->timeouts.idle_ms);
    }
    return taken;
}

void nexus__call_upload(nexus__call *call)
{
    if (call->reading) {
        nexus__exchange_read_again(call->request);
    } else {
        call->reading = true;
        nexus__exchange_read(call->request, on_body, call);
    }
}

void nexus__call_writable(nexus__uplink *conn)
{
    nexus__call *call = conn->call;
    if (!call->blocked)
        return;
    call->blocked = false;
    nexus__exchange_read_again(call->request);
}
