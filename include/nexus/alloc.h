/* The allocator an instance uses. */
#ifndef NEXUS_ALLOC_H
#define NEXUS_ALLOC_H

#include <nexus/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Memory functions of one instance, with malloc(3) semantics and a context. They may be called from any thread the
 * instance runs on. Borrowed: the table must outlive every object made with it. Where an options struct has a
 * `const nexus_alloc *alloc`, NULL means the C library's.
 */
typedef struct nexus_alloc {
    void *(*malloc_fn)(size_t size, void *user_data);
    void *(*realloc_fn)(void *ptr, size_t size, void *user_data); /**< ptr may be NULL */
    void (*free_fn)(void *ptr, void *user_data);                  /**< ptr may be NULL */
    void *user_data;
} nexus_alloc;

/** Frees memory that a nexus call handed over as `*out` with the words "free with nexus_free". NULL is fine. */
NEXUS_API void nexus_free(void *ptr);

#ifdef __cplusplus
}
#endif

#endif
