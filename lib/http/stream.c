/*
 * Streamed replies from any thread. Writers put bytes on a queue under the stream's lock; the loop takes the whole queue,
 * frames it as one chunk, and remembers what the socket did not take. r->stream.started and r->conn are the loop's alone.
 */
#include "base/status.h"
#include "http/internal.h"

static void make(nexus_request *r)
{
    nexus__stream *s = &r->stream;
    if (s->made)
        return;
    pthread_mutex_init(&s->lock, NULL);
    nexus__buf_init(&s->locked.queue, r->shard->server->alloc, 0);
    nexus__buf_init(&s->writing, r->shard->server->alloc, 0);
    s->made = true;
}

void nexus__stream_reset(nexus_request *r)
{
    nexus__stream *s = &r->stream;
    nexus__buf_free(&s->locked.queue);
    nexus__buf_free(&s->writing);
    s->locked.posted = s->locked.ended = s->locked.gone = s->locked.hungry = false;
    s->locked.backlog = 0;
    s->started = false;
}

void nexus__stream_free(nexus_request *r)
{
    if (!r->stream.made)
        return;
    nexus__buf_free(&r->stream.locked.queue);
    nexus__buf_free(&r->stream.writing);
    pthread_mutex_destroy(&r->stream.lock);
}

void nexus__stream_gone(nexus_request *r)
{
    pthread_mutex_lock(&r->stream.lock);
    r->stream.locked.gone = true;
    pthread_mutex_unlock(&r->stream.lock);
}

void nexus__stream_drained(nexus_request *r)
{
    nexus__stream *s = &r->stream;
    pthread_mutex_lock(&s->lock);
    s->locked.backlog = nexus__exchange_unsent(r);
    bool tell =
        s->locked.hungry && s->locked.backlog + s->locked.queue.len <= r->shard->server->opts.stream_high_bytes / 2;
    if (tell)
        s->locked.hungry = false;
    pthread_mutex_unlock(&s->lock);
    if (tell && r->drain_fn)
        r->drain_fn(r, r->drain_user_data);
}

static void tell_closed(nexus_request *r)
{
    nexus_handler_fn *fn = r->close_fn;
    r->close_fn = NULL;
    nexus__stream_gone(r);
    if (fn)
        fn(r, r->close_user_data);
}

static void on_pump(nexus__task *task)
{
    nexus_request *r = NEXUS__CONTAINER(task, nexus_request, task);
    nexus__stream *s = &r->stream;
    bool first = !s->started;
    pthread_mutex_lock(&s->lock);
    nexus__buf taken = s->locked.queue;
    s->locked.queue = s->writing;
    s->writing = taken;
    s->locked.posted = false;
    bool ended = s->locked.ended;
    pthread_mutex_unlock(&s->lock);
    s->started = true;
    if (first && r->conn) {
        nexus__reply_head h = {
            .status = s->status, .content_type = nexus__slice_c(r->content_type), .length = NEXUS__LENGTH_UNKNOWN};
        nexus__reply_begin(r, &h);
    }
    nexus__reply_write(r, first, &(struct iovec){s->writing.p, s->writing.len}, 1, ended);
    nexus__buf_clear(&s->writing);
    if (ended) {
        nexus__request_end(r);
        return;
    }
    if (first && !r->conn) {
        tell_closed(r);
        return;
    }
    nexus__stream_drained(r);
}

static void post(nexus_request *r) /* under the lock */
{
    if (r->stream.locked.posted)
        return;
    r->stream.locked.posted = true;
    r->task.fn = on_pump;
    nexus__loop_post_task(r->shard->loop, &r->task);
}

nexus_status nexus_request_stream_start(nexus_request *r, uint16_t status, const char *content_type)
{
    nexus_slice type = nexus__slice_c(content_type);
    if (status < 200 || status > 599 || !nexus__http_is_value(type) || type.n >= NEXUS__CONTENT_TYPE_MAX)
        return nexus__fail(NEXUS_EINVAL, "status %u or content type '%s' cannot be sent", status,
                           content_type ? content_type : "");
    if (atomic_exchange(&r->answered, true))
        return nexus__fail(NEXUS_ECLOSED, "the request has been answered already");
    make(r);
    if (type.n)
        memcpy(r->content_type, type.p, type.n);
    r->content_type[type.n] = '\0';
    r->stream.status = status;
    pthread_mutex_lock(&r->stream.lock);
    post(r);
    pthread_mutex_unlock(&r->stream.lock);
    return NEXUS_OK;
}

nexus_status nexus_request_stream_write(nexus_request *r, nexus_slice data)
{
    nexus__stream *s = &r->stream;
    uint32_t high = r->shard->server->opts.stream_high_bytes;
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&s->lock);
    if (s->locked.gone) {
        status = NEXUS_ECLOSED;
    } else if (s->locked.queue.len + s->locked.backlog >= high) {
        s->locked.hungry = true;
        status = NEXUS_EAGAIN;
    } else if (data.n) {
        nexus__buf_append(&s->locked.queue, data.p, data.n);
        status = s->locked.queue.status;
        s->locked.queue.status = NEXUS_OK;
        post(r);
    }
    pthread_mutex_unlock(&s->lock);
    if (status == NEXUS_ECLOSED)
        return nexus__fail(status, "the peer of this stream has gone");
    if (status == NEXUS_EAGAIN)
        return nexus__fail(status, "%u bytes of this stream are unsent: write on when it has drained", high);
    return status ? nexus__nomem() : NEXUS_OK;
}

void nexus_request_stream_end(nexus_request *r)
{
    pthread_mutex_lock(&r->stream.lock);
    if (!r->stream.locked.ended) {
        r->stream.locked.ended = true;
        post(r);
    }
    pthread_mutex_unlock(&r->stream.lock);
}

void nexus_request_on_close(nexus_request *r, nexus_handler_fn *fn, void *user_data)
{
    r->close_fn = fn;
    r->close_user_data = user_data;
}

void nexus_request_on_drain(nexus_request *r, nexus_handler_fn *fn, void *user_data)
{
    r->drain_fn = fn;
    r->drain_user_data = user_data;
}

/* --- server-sent events ------------------------------------------------------------------------------------------ */

nexus_status nexus_sse_start(nexus_request *r)
{
    nexus_status status = nexus_request_set_header(r, "Cache-Control", NEXUS_S("no-store"));
    return status ? status : nexus_request_stream_start(r, 200, "text/event-stream");
}

static void field(nexus__buf *out, const char *name, nexus_slice value)
{
    nexus__buf_text(out, name);
    nexus__buf_slice_append(out, value);
    nexus__buf_char(out, '\n');
}

static bool one_line(const char *text)
{
    return !text || (!strchr(text, '\n') && !strchr(text, '\r'));
}

nexus_status nexus_sse_send(nexus_request *r, const char *event, const char *id, nexus_slice data)
{
    if (!one_line(event) || !one_line(id))
        return nexus__fail(NEXUS_EINVAL, "the name and the id of an event are one line each");
    nexus__buf out;
    nexus__buf_init(&out, r->shard->server->alloc, 0);
    if (id)
        field(&out, "id: ", nexus__slice_c(id));
    if (event)
        field(&out, "event: ", nexus__slice_c(event));
    do { /* CR LF, LF and CR all end a line for the reader */
        size_t n = 0;
        while (n < data.n && data.p[n] != '\n' && data.p[n] != '\r')
            n++;
        field(&out, "data: ", (nexus_slice){data.p, n});
        bool crlf = n + 1 < data.n && data.p[n] == '\r' && data.p[n + 1] == '\n';
        data = nexus__slice_from(data, n < data.n ? n + 1 + crlf : n);
    } while (data.n);
    nexus__buf_char(&out, '\n');
    nexus_status status = out.status ? nexus__nomem() : nexus_request_stream_write(r, nexus__buf_slice(&out));
    nexus__buf_free(&out);
    return status;
}

nexus_status nexus_sse_ping(nexus_request *r)
{
    return nexus_request_stream_write(r, NEXUS_S(":\n\n"));
}
