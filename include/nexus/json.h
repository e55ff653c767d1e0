/*
 * JSON text, read and written: a strict scanner that leaves positions instead of a tree, and a writer. For handlers that
 * take a few members out of a body and answer with a few of their own.
 */
#ifndef NEXUS_JSON_H
#define NEXUS_JSON_H

#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- reading -------------------------------------------------------------------------------- */

/** A scanned document. One thread at a time. */
typedef struct nexus_json nexus_json;

/** A value that is not there. Every function accepts it and answers "no", so look-ups chain without checks. */
#define NEXUS_JSON_NONE UINT32_MAX

/** The whole document's own value. */
#define NEXUS_JSON_ROOT 0u

enum {
    NEXUS_JSON_ABSENT = 0,
    NEXUS_JSON_NULL = 1,
    NEXUS_JSON_FALSE = 2,
    NEXUS_JSON_TRUE = 3,
    NEXUS_JSON_INT = 4,  /**< a number without fraction and exponent */
    NEXUS_JSON_REAL = 5, /**< any other number */
    NEXUS_JSON_STRING = 6,
    NEXUS_JSON_ARRAY = 7,
    NEXUS_JSON_OBJECT = 8
};

/**
 * Scans exactly one value (RFC 8259, strict: no duplicate members, no NUL, no lone surrogates, at most 128 deep).
 *
 * @param text  copied.
 * @return NEXUS_OK; NEXUS_EINVAL, and the message begins "line L, column C: "; NEXUS_ETOOBIG over a limit; NEXUS_ENOMEM.
 */
NEXUS_API nexus_status nexus_json_parse(nexus_json **out, nexus_slice text) NEXUS_MUST_CHECK;
NEXUS_API void nexus_json_free(nexus_json *json); /**< NULL is fine */

/** NEXUS_JSON_… of a value. */
NEXUS_API uint32_t nexus_json_type(const nexus_json *json, uint32_t value);
/** Members of an object, elements of an array, otherwise 0. */
NEXUS_API uint32_t nexus_json_count(const nexus_json *json, uint32_t value);
/** The member of that name of an object, or NEXUS_JSON_NONE. */
NEXUS_API uint32_t nexus_json_get(const nexus_json *json, uint32_t object, const char *name);
/** The value a JSON Pointer (RFC 6901) leads to from `value`, or NEXUS_JSON_NONE. */
NEXUS_API uint32_t nexus_json_at(const nexus_json *json, uint32_t value, const char *pointer);

/** A string's content; borrowed until the document is freed. False when it is no string. */
NEXUS_API bool nexus_json_text(nexus_json *json, uint32_t value, nexus_slice *out);
/** A whole number in range ("1.0" counts). */
NEXUS_API bool nexus_json_int(const nexus_json *json, uint32_t value, int64_t *out);
NEXUS_API bool nexus_json_double(const nexus_json *json, uint32_t value, double *out);
NEXUS_API bool nexus_json_bool(const nexus_json *json, uint32_t value, bool *out);
/** The value as it was written; empty when absent. Borrowed until the document is freed. */
NEXUS_API void nexus_json_raw(const nexus_json *json, uint32_t value, nexus_slice *out);

/** A walk over an object's members or an array's elements. Zero it before the first step. */
typedef struct nexus_json_iter {
    uint32_t value;   /**< of this step */
    uint32_t index;   /**< of this step, from 0 */
    nexus_slice name; /**< of an object's member; borrowed until the document is freed */
    uint32_t next;    /**< the walk's own */
} nexus_json_iter;

/** Takes one step; false at the end, and over what is neither array nor object. */
NEXUS_API bool nexus_json_step(nexus_json *json, uint32_t container, nexus_json_iter *iter);

/* --- writing -------------------------------------------------------------------------------- */

/**
 * Writes one document. Commas and escapes are its own; `name` is the member's in an object and NULL in an array or at the
 * top. A failure (memory) is kept and told at the end. One thread at a time.
 */
typedef struct nexus_json_writer nexus_json_writer;

NEXUS_API nexus_status nexus_json_writer_new(nexus_json_writer **out) NEXUS_MUST_CHECK;
NEXUS_API void nexus_json_writer_free(nexus_json_writer *writer); /**< NULL is fine */

NEXUS_API void nexus_json_open_object(nexus_json_writer *writer, const char *name);
NEXUS_API void nexus_json_open_array(nexus_json_writer *writer, const char *name);
/** Closes what was opened last. */
NEXUS_API void nexus_json_close(nexus_json_writer *writer);
/** Text that is not UTF-8 has each bad byte replaced by U+FFFD. */
NEXUS_API void nexus_json_put_text(nexus_json_writer *writer, const char *name, nexus_slice text);
/** NUL-terminated; NULL writes null. */
NEXUS_API void nexus_json_put_text_c(nexus_json_writer *writer, const char *name, const char *text);
NEXUS_API void nexus_json_put_int(nexus_json_writer *writer, const char *name, int64_t value);
NEXUS_API void nexus_json_put_double(nexus_json_writer *writer, const char *name, double value);
NEXUS_API void nexus_json_put_bool(nexus_json_writer *writer, const char *name, bool value);
NEXUS_API void nexus_json_put_null(nexus_json_writer *writer, const char *name);
/** JSON text, as it is: the caller vouches for it. */
NEXUS_API void nexus_json_put_raw(nexus_json_writer *writer, const char *name, nexus_slice json);

/** The text so far; borrowed until the next put or free. NULL when memory ran out or something is still open. */
NEXUS_API const char *nexus_json_writer_text(nexus_json_writer *writer, size_t *len);

#ifdef __cplusplus
}
#endif

#endif
