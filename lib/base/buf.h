/*
 * A growable run of bytes. A failed append (out of memory, over the limit) is remembered, later appends do nothing,
 * and one check at the end tells: code that writes many pieces stays straight.
 */
#ifndef NEXUS_BASE_BUF_H
#define NEXUS_BASE_BUF_H

#include "base/str.h"

typedef struct nexus__buf {
    char *p;
    size_t len, cap;
    size_t max; /* bytes it may hold; 0 = no limit */
    const nexus_alloc *alloc;
    nexus_status status; /* NEXUS_OK, NEXUS_ENOMEM or NEXUS_ETOOBIG: the first failure */
} nexus__buf;

static inline void nexus__buf_init(nexus__buf *b, const nexus_alloc *alloc, size_t max)
{
    *b = (nexus__buf){.alloc = alloc, .max = max};
}

void nexus__buf_free(nexus__buf *b); /* back to empty; the buffer can be used again */

static inline void nexus__buf_clear(nexus__buf *b) /* keeps the memory */
{
    b->len = 0;
    b->status = NEXUS_OK;
}

static inline nexus_slice nexus__buf_slice(const nexus__buf *b)
{
    return nexus__slice(b->p, b->len);
}

/* Room for n more bytes; returns where they go, or NULL. Advance with b->len += what was written. */
char *nexus__buf_reserve(nexus__buf *b, size_t n);
void nexus__buf_append(nexus__buf *b, const void *data, size_t n);
void nexus__buf_printf(nexus__buf *b, const char *format, ...) NEXUS_PRINTF(2, 3);
void nexus__buf_u64(nexus__buf *b, uint64_t value); /* decimal */
void nexus__buf_i64(nexus__buf *b, int64_t value);
void nexus__buf_double(nexus__buf *b, double value);
void nexus__buf_consume(nexus__buf *b, size_t n); /* drops the first n bytes */

static inline void nexus__buf_slice_append(nexus__buf *b, nexus_slice s)
{
    nexus__buf_append(b, s.p, s.n);
}

static inline void nexus__buf_text(nexus__buf *b, const char *text)
{
    nexus__buf_append(b, text, strlen(text));
}

static inline void nexus__buf_char(nexus__buf *b, char c)
{
    nexus__buf_append(b, &c, 1);
}

/* Hands the bytes over, NUL-terminated (the NUL is not counted); NULL when the buffer had failed. Free them with
 * nexus__free of the same allocator. */
char *nexus__buf_take(nexus__buf *b, size_t *len);
/* The same with a status: *out and *len (which may be NULL) are written on NEXUS_OK only. */
nexus_status nexus__buf_hand_over(nexus__buf *b, char **out, size_t *len) NEXUS_MUST_CHECK;

#endif
