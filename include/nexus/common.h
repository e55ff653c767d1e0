/* Vocabulary shared by every public header: export mark, slices, key-value pairs. */
#ifndef NEXUS_COMMON_H
#define NEXUS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NEXUS_API __attribute__((visibility("default")))
#define NEXUS_MUST_CHECK __attribute__((warn_unused_result))
#define NEXUS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define NEXUS_API
#define NEXUS_MUST_CHECK
#define NEXUS_PRINTF(fmt, args)
#endif

/** A run of bytes, not NUL-terminated. p may be NULL when n is 0. Who owns the bytes is said where it is used. */
typedef struct nexus_slice {
    const char *p;
    size_t n; /**< bytes */
} nexus_slice;

/** A slice over a string literal. */
#ifdef __cplusplus
#define NEXUS_S(literal) (nexus_slice{(literal), sizeof(literal) - 1})
#else
#define NEXUS_S(literal) ((nexus_slice){(literal), sizeof(literal) - 1})
#endif

/** Initialises an options struct or a report: its size is set, everything else is the default. Behind every …_INIT. */
#ifdef __cplusplus
#define NEXUS_SIZED(type)                                                                                              \
    ([] {                                                                                                              \
        type sized = type();                                                                                           \
        sized.size = sizeof(type);                                                                                     \
        return sized;                                                                                                  \
    }())
#else
#define NEXUS_SIZED(type)                                                                                              \
    {                                                                                                                  \
        .size = sizeof(type)                                                                                           \
    }
#endif

/** A name and a value, borrowed for the call they are passed to. */
typedef struct nexus_pair {
    nexus_slice name;
    nexus_slice value;
} nexus_pair;

#ifdef __cplusplus
}
#endif

#endif
