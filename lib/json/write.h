/*
 * Writing JSON onto a buffer: commas and escapes are the writer's, nesting is the caller's. Failures are the
 * buffer's (out->status), checked once at the end. Text that is not UTF-8 has each bad byte replaced by
 * U+FFFD.
 *
 *     nexus__json_writer w = nexus__json_writer_on(&buf);
 *     nexus__json_open(&w, '{');
 *     nexus__json_put_text(&w, "id", id);
 *     nexus__json_key(&w, "items");
 *     nexus__json_open(&w, '[');
 *     nexus__json_i64_value(&w, 1);
 *     nexus__json_close(&w, ']');
 *     nexus__json_close(&w, '}');
 */
#ifndef NEXUS_JSON_WRITE_H
#define NEXUS_JSON_WRITE_H

#include "base/buf.h"

typedef struct nexus__json_writer {
    nexus__buf *out;
    bool comma; /* the next name or value is not the first of its container */
} nexus__json_writer;

static inline nexus__json_writer nexus__json_writer_on(nexus__buf *out)
{
    return (nexus__json_writer){.out = out};
}

void nexus__json_open(nexus__json_writer *w, char bracket);  /* '{' or '[' */
void nexus__json_close(nexus__json_writer *w, char bracket); /* '}' or ']' */
void nexus__json_key(nexus__json_writer *w, const char *name);
void nexus__json_key_slice(nexus__json_writer *w, nexus_slice name);

void nexus__json_text_value(nexus__json_writer *w, nexus_slice text);   /* .p NULL writes "" */
void nexus__json_text_c_value(nexus__json_writer *w, const char *text); /* NULL writes null */
void nexus__json_i64_value(nexus__json_writer *w, int64_t value);
void nexus__json_u64_value(nexus__json_writer *w, uint64_t value);
void nexus__json_double_value(nexus__json_writer *w, double value); /* not finite: null */
void nexus__json_bool_value(nexus__json_writer *w, bool value);
void nexus__json_null_value(nexus__json_writer *w);
void nexus__json_raw_value(nexus__json_writer *w, nexus_slice json); /* JSON text, as it is */

/* A member of the open object: name and value. */
void nexus__json_put_text(nexus__json_writer *w, const char *name, nexus_slice text);
void nexus__json_put_text_c(nexus__json_writer *w, const char *name, const char *text); /* NULL writes null */
void nexus__json_put_i64(nexus__json_writer *w, const char *name, int64_t value);
void nexus__json_put_u64(nexus__json_writer *w, const char *name, uint64_t value);
void nexus__json_put_double(nexus__json_writer *w, const char *name, double value);
void nexus__json_put_bool(nexus__json_writer *w, const char *name, bool value);
void nexus__json_put_null(nexus__json_writer *w, const char *name);
void nexus__json_put_raw(nexus__json_writer *w, const char *name, nexus_slice json);

/* The text's content with JSON escapes and without quotes, for other encoders (logs, templates). */
void nexus__json_escape_append(nexus__buf *out, nexus_slice text);

#endif
