/*
 * Idle OpenSSL contexts of one handle. Making a context and fetching its algorithm costs several times what a
 * short HMAC does, and a context serves one thread at a time: each call takes an idle one and puts it back.
 */
#ifndef NEXUS_CRYPTO_POOL_H
#define NEXUS_CRYPTO_POOL_H

#include <stdatomic.h>
#include <stddef.h>

#define NEXUS__POOL_SLOTS 8

typedef struct nexus__pool {
    _Atomic(void *) slots[NEXUS__POOL_SLOTS];
} nexus__pool;

/* An idle context, or NULL: make one. */
static inline void *nexus__pool_take(nexus__pool *pool)
{
    for (size_t i = 0; i < NEXUS__POOL_SLOTS; i++) {
        if (!atomic_load_explicit(&pool->slots[i], memory_order_relaxed))
            continue;
        void *ctx = atomic_exchange_explicit(&pool->slots[i], NULL, memory_order_acquire);
        if (ctx)
            return ctx;
    }
    return NULL;
}

/* Puts it back; NULL, or the context itself when every slot is taken: free it. */
static inline void *nexus__pool_put(nexus__pool *pool, void *ctx)
{
    for (size_t i = 0; i < NEXUS__POOL_SLOTS; i++) {
        void *empty = NULL;
        if (atomic_load_explicit(&pool->slots[i], memory_order_relaxed))
            continue;
        if (atomic_compare_exchange_strong_explicit(&pool->slots[i], &empty, ctx, memory_order_release,
                                                    memory_order_relaxed))
            return NULL;
    }
    return ctx;
}

#endif
