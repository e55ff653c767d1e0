/*
 * Reading a scanned document. A value is a node index; 0 is the whole document. A missing value is
 * NEXUS__JSON_NONE, which every function accepts and answers with "no", so look-ups chain without checks.
 */
#ifndef NEXUS_JSON_READ_H
#define NEXUS_JSON_READ_H

#include "base/buf.h"
#include "json/scan.h"

static inline nexus__json_type nexus__json_type_of(const nexus__json *doc, uint32_t v)
{
    return v >= doc->count ? NEXUS__JSON_ABSENT : (nexus__json_type)(doc->nodes[v].info & NEXUS__JSON_TYPE_MASK);
}

static inline bool nexus__json_is(const nexus__json *doc, uint32_t v, nexus__json_type type)
{
    return nexus__json_type_of(doc, v) == type;
}

/* Members of an object, elements of an array, otherwise 0. */
static inline uint32_t nexus__json_count(const nexus__json *doc, uint32_t v)
{
    return v >= doc->count ? 0 : doc->nodes[v].info >> NEXUS__JSON_COUNT_SHIFT;
}

/* The value's own text, as it was written; empty when absent. */
static inline nexus_slice nexus__json_raw(const nexus__json *doc, uint32_t v)
{
    if (v >= doc->count)
        return (nexus_slice){NULL, 0};
    return nexus__slice(doc->text.p + doc->nodes[v].start, doc->nodes[v].end - doc->nodes[v].start);
}

/* for (nexus__json_iter it = nexus__json_each(doc, v); nexus__json_step(doc, &it);) … it.key, it.value.
 * Over what is neither array nor object it takes no step. */
typedef struct nexus__json_iter {
    uint32_t at, end;
    uint32_t key; /* the member's name; NEXUS__JSON_NONE in an array */
    uint32_t value;
    uint32_t index; /* of this step, from 0 */
    bool object;
} nexus__json_iter;

nexus__json_iter nexus__json_each(const nexus__json *doc, uint32_t v);
bool nexus__json_step(const nexus__json *doc, nexus__json_iter *it);

uint32_t nexus__json_member(const nexus__json *doc, uint32_t object, nexus_slice name); /* the first of that name */
uint32_t nexus__json_element(const nexus__json *doc, uint32_t array, uint32_t index);
/* RFC 6901; "" is v itself. */
uint32_t nexus__json_pointer(const nexus__json *doc, uint32_t v, nexus_slice pointer);

bool nexus__json_bool(const nexus__json *doc, uint32_t v, bool *out);
/* Whole numbers in range only; "1.0" and "1e3" count as whole. */
bool nexus__json_i64(const nexus__json *doc, uint32_t v, int64_t *out);
bool nexus__json_u64(const nexus__json *doc, uint32_t v, uint64_t *out);
bool nexus__json_double(const nexus__json *doc, uint32_t v, double *out); /* false on overflow */

/* A string's content. Without escapes it points into the text; else it is decoded into the document, where it
 * stays until the next scan. False: not a string, or out of memory. */
bool nexus__json_text(nexus__json *doc, uint32_t v, nexus_slice *out);
/* Whether v is a string that reads `text`; allocates nothing. */
bool nexus__json_text_is(const nexus__json *doc, uint32_t v, nexus_slice text);
/* A string's content without using the document's own memory: appended to out. False: not a string. */
bool nexus__json_text_append(const nexus__json *doc, uint32_t v, nexus__buf *out);

/* What stands between a string's quotes, decoded. raw must have passed the scanner; writes at most raw.n
 * bytes to out and returns how many. A lone surrogate becomes U+FFFD. */
size_t nexus__json_unescape(nexus_slice raw, char *out);

/* Decodes one unit of such a text at *at (which moves on) into out; returns its bytes. */
size_t nexus__json_unescape_step(nexus_slice raw, size_t *at, char out[static 4]);
/* The RFC 6901 pointer of v from the whole document, appended to out. */
void nexus__json_pointer_append(const nexus__json *doc, uint32_t v, nexus__buf *out);
/* One reference token with its slash: "/" and the name with '~' and '/' escaped. */
void nexus__json_token_append(nexus__buf *out, nexus_slice name);

/* Member look-up and conversion in one step. */
static inline bool nexus__json_get_text(nexus__json *doc, uint32_t object, const char *name, nexus_slice *out)
{
    return nexus__json_text(doc, nexus__json_member(doc, object, nexus__slice_c(name)), out);
}

static inline bool nexus__json_get_i64(const nexus__json *doc, uint32_t object, const char *name, int64_t *out)
{
    return nexus__json_i64(doc, nexus__json_member(doc, object, nexus__slice_c(name)), out);
}

static inline bool nexus__json_get_double(const nexus__json *doc, uint32_t object, const char *name, double *out)
{
    return nexus__json_double(doc, nexus__json_member(doc, object, nexus__slice_c(name)), out);
}

static inline bool nexus__json_get_bool(const nexus__json *doc, uint32_t object, const char *name, bool *out)
{
    return nexus__json_bool(doc, nexus__json_member(doc, object, nexus__slice_c(name)), out);
}

static inline uint32_t nexus__json_get(const nexus__json *doc, uint32_t object, const char *name)
{
    return nexus__json_member(doc, object, nexus__slice_c(name));
}

#endif
