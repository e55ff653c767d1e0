#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"

void nexus__buf_free(nexus__buf *b)
{
    nexus__free(b->alloc, b->p);
    nexus__buf_init(b, b->alloc, b->max);
}

char *nexus__buf_reserve(nexus__buf *b, size_t n)
{
    if (b->status != NEXUS_OK)
        return NULL;
    size_t need;
    if (__builtin_add_overflow(b->len, n, &need) || (b->max && need > b->max)) {
        b->status = NEXUS_ETOOBIG;
        return NULL;
    }
    if (need <= b->cap)
        return b->p + b->len;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap += cap / 2 + 32;
    char *grown = nexus__realloc(b->alloc, b->p, cap);
    if (!grown) {
        b->status = NEXUS_ENOMEM;
        return NULL;
    }
    b->p = grown;
    b->cap = cap;
    return b->p + b->len;
}

void nexus__buf_append(nexus__buf *b, const void *data, size_t n)
{
    if (n == 0)
        return;
    char *at = nexus__buf_reserve(b, n);
    if (!at)
        return;
    memcpy(at, data, n);
    b->len += n;
}

void nexus__buf_printf(nexus__buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char local[256];
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(local, sizeof local, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof local) {
        nexus__buf_append(b, local, (size_t)n);
    } else if (n >= 0) {
        char *at = nexus__buf_reserve(b, (size_t)n + 1);
        if (at) {
            vsnprintf(at, (size_t)n + 1, format, again);
            b->len += (size_t)n;
        }
    }
    va_end(again);
}

void nexus__buf_u64(nexus__buf *b, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    nexus__buf_append(b, digits + at, sizeof digits - at);
}

void nexus__buf_i64(nexus__buf *b, int64_t value)
{
    if (value < 0)
        nexus__buf_char(b, '-');
    nexus__buf_u64(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void nexus__buf_double(nexus__buf *b, double value)
{
    char text[32];
    nexus__buf_append(b, text, nexus__format_double(value, text));
}

void nexus__buf_consume(nexus__buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}

char *nexus__buf_take(nexus__buf *b, size_t *len)
{
    size_t max = b->max;
    b->max = 0; /* the closing NUL is not content */
    char *end = nexus__buf_reserve(b, 1);
    b->max = max;
    if (!end) {
        nexus__buf_free(b);
        return NULL;
    }
    *end = '\0';
    char *bytes = b->p;
    if (len)
        *len = b->len;
    nexus__buf_init(b, b->alloc, max);
    return bytes;
}

nexus_status nexus__buf_hand_over(nexus__buf *b, char **out, size_t *len)
{
    size_t n;
    char *text = nexus__buf_take(b, &n);
    if (!text)
        return nexus__nomem();
    *out = text;
    if (len)
        *len = n;
    return NEXUS_OK;
}
