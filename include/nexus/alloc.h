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

/**
 * Counted memory with a cap: an allocator for the parts of a program that take from it what traffic makes them need, so that
 * overload is refused instead of swapped. Any thread.
 */
typedef struct nexus_memory nexus_memory;

/** cap_bytes: what would go over it is refused (NULL from malloc_fn). Counts what malloc_usable_size says.
 * Returns a nexus_status. */
NEXUS_API int32_t nexus_memory_new(nexus_memory **out, uint64_t cap_bytes);
/** The allocator; borrowed until nexus_memory_free. */
NEXUS_API const nexus_alloc *nexus_memory_alloc(nexus_memory *memory);
NEXUS_API uint64_t nexus_memory_used(const nexus_memory *memory);
NEXUS_API uint64_t nexus_memory_cap(const nexus_memory *memory);
/** After everything that was made with it. NULL is fine. */
NEXUS_API void nexus_memory_free(nexus_memory *memory);

/** Frees memory that a nexus call handed over as `*out` with the words "free with nexus_free". NULL is fine. */
NEXUS_API void nexus_free(void *ptr);

#ifdef __cplusplus
}
#endif

#endif
