/*
 * What an HTTP/2 server may send to us: whatever the bytes, and however they are cut, every request is told at most one
 * end, nothing after it, and only heads that a parser of HTTP/1.1 can be given.
 */
#include <assert.h>
#include <stdlib.h>

#include "http/h2_client.h"
#include "http/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct asked {
    nexus__h2c_stream stream;
    bool over;
} asked;

static nexus__h2c *session;

static void read_heads(nexus_slice text)
{
    static const nexus__http_limits limits = {.line_max = 8192, .head_max = 65536, .fields_max = NEXUS__HTTP_FIELDS_MAX};
    nexus__http_head head;
    while (text.n > 0) {
        nexus__http_head_init(&head);
        int32_t n = nexus__http_parse_response(&head, &limits, false, text.p, text.n);
        if (n <= 0)
            return;
        text = nexus__slice_from(text, (size_t)n);
    }
}

static void on_news(nexus__h2c_stream *stream, const nexus__h2c_news *news)
{
    asked *a = NEXUS__CONTAINER(stream, asked, stream);
    volatile char sum = 0;
    assert(!a->over);
    read_heads(news->head);
    for (size_t i = 0; i < news->piece_count; i++)
        for (size_t k = 0; k < news->pieces[i].iov_len; k++)
            sum = (char)(sum + ((const char *)news->pieces[i].iov_base)[k]);
    nexus__h2c_taken(stream);
    if (!news->end)
        return;
    a->over = true;
    nexus__h2c_stream_close(session, stream);
}

static void on_lost(nexus__h2c_stream *stream, enum nexus__h2c_loss how)
{
    asked *a = NEXUS__CONTAINER(stream, asked, stream);
    (void)how;
    assert(!a->over);
    a->over = true;
    nexus__h2c_stream_close(session, stream);
}

static void on_writable(nexus__h2c_stream *stream)
{
    (void)stream;
}

static void run(const uint8_t *data, size_t size, size_t step)
{
    static const nexus__h2c_ops ops = {on_news, on_lost, on_writable};
    asked all[3] = {0};
    if (nexus__h2c_new(&session, NULL, &ops, false))
        abort();
    for (int i = 0; i < 3; i++) {
        char head[] = "POST /a HTTP/1.1\r\nHost: a\r\n\r\n";
        nexus__h2c_stream_init(&all[i].stream, NULL);
        if (nexus__h2c_request(session, &all[i].stream, head, sizeof head - 1, i != 1))
            abort();
    }
    nexus__h2c_write(&all[1].stream, "some of a body", 14);
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        char *copy = malloc(n); /* of its own size, so that a read past it is seen */
        if (!copy)
            abort();
        memcpy(copy, data + at, n);
        bool on = nexus__h2c_receive(session, copy, n);
        free(copy);
        nexus__buf_clear(nexus__h2c_output(session));
        if (!on)
            break;
    }
    nexus__h2c_fail(session);
    for (int i = 0; i < 3; i++) {
        assert(all[i].over || all[i].stream.ended);
        nexus__h2c_stream_close(session, &all[i].stream);
        nexus__h2c_stream_free(&all[i].stream);
    }
    nexus__h2c_free(session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    run(data, size, size ? size : 1);
    run(data, size, 7);
    return 0;
}
