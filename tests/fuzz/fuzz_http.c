/*
 * The HTTP/1.1 parser, on requests and responses: whatever the bytes, and however they are cut, it must not read outside
 * them, must come to the same verdict as on the whole, and must yield only fields that HTTP allows.
 */
#include <assert.h>
#include <stdlib.h>

#include "http/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const nexus__http_limits limits = {1024, 4096, 32, false};

/* A copy of its own size, so that a read past it is seen. */
static char *exact(const char *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    memcpy(copy, p, n);
    return copy;
}

static int32_t parse(nexus__http_head *h, bool response, const char *p, size_t n)
{
    return response ? nexus__http_parse_response(h, &limits, false, p, n) : nexus__http_parse_request(h, &limits, p, n);
}

static void check_head(const nexus__http_head *h, const char *p, bool response)
{
    for (uint32_t i = 0; i < h->field_count; i++) {
        assert(h->fields[i].value + h->fields[i].value_len <= h->bytes);
        assert(nexus__http_is_token(nexus__http_field_name(&h->fields[i], p)));
        assert(nexus__http_is_value(nexus__http_field_value(&h->fields[i], p)));
    }
    assert(response || h->target + h->target_len <= h->bytes);
    assert(response || h->path + h->path_len <= h->target + h->target_len);
    assert(!(h->first[NEXUS__HTTP_CONTENT_LENGTH] && h->first[NEXUS__HTTP_TRANSFER_ENCODING]));
}

/* Bytes of body; *used = bytes of the message. */
static uint64_t body(const nexus__http_head *h, const char *p, size_t n, size_t step, size_t *used, bool *bad)
{
    nexus__http_body b;
    nexus__http_body_init(&b, h->framing, h->length);
    uint64_t sum = 0;
    size_t at = 0;
    *bad = false;
    while (!b.done && at < n) {
        size_t len = step && step < n - at ? step : n - at;
        nexus_slice piece;
        int64_t k = nexus__http_body_next(&b, p + at, len, &piece);
        *bad = k < 0;
        if (k <= 0)
            break;
        assert((size_t)k <= len && (piece.n == 0 || (piece.p >= p + at && piece.p + piece.n <= p + at + len)));
        sum += piece.n;
        at += (size_t)k;
    }
    assert(sum == b.received);
    *used = at;
    return sum;
}

static void one(bool response, const char *p, size_t n)
{
    nexus__http_head whole, pieces;
    nexus__http_head_init(&whole);
    nexus__http_head_init(&pieces);
    int32_t a = parse(&whole, response, p, n), b = 0;
    for (size_t i = 1; i <= n && b == 0; i++) {
        char *copy = exact(p, i);
        b = parse(&pieces, response, copy, i);
        free(copy);
    }
    assert((a < 0) == (b < 0) && (a <= 0 || a == b));
    if (a <= 0)
        return;
    check_head(&whole, p, response);
    assert(whole.framing == pieces.framing && whole.length == pieces.length && whole.keep_alive == pieces.keep_alive);
    size_t used, used_bytes;
    bool bad, bad_bytes;
    uint64_t sum = body(&whole, p + a, n - (size_t)a, 0, &used, &bad);
    uint64_t sum_bytes = body(&whole, p + a, n - (size_t)a, 1, &used_bytes, &bad_bytes);
    assert(bad == bad_bytes && (bad || (sum == sum_bytes && used == used_bytes)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 8192)
        return 0;
    char *copy = exact((const char *)data, size);
    one(false, copy, size);
    one(true, copy, size);
    free(copy);
    return 0;
}
