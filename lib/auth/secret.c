/*
 * A secret in memory. Readers take no lock: they are counted while they use it. Who replaces the bytes swaps the pointer and
 * puts the old ones on a list, which is wiped when the count is seen at zero after that: whoever comes later reads the new
 * pointer.
 */
#include <nexus/secret.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/status.h"
#include "crypto/wipe.h"

typedef struct content {
    struct content *older; /* of those that are replaced */
    size_t n, mapped;
    char bytes[]; /* and a NUL */
} content;

struct nexus_secret {
    nexus_secret *self; /* what a const secret may change: the count, and what is left of replaced bytes */
    content *_Atomic current;
    atomic_uint readers;
    content *_Atomic replaced; /* pushed under the lock */
    pthread_mutex_t lock;
};

/* Pages of their own that stay in memory, as far as the limits of the process let them, and out of core dumps. */
static content *content_new(nexus_slice bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes.n > SIZE_MAX / 2)
        return NULL;
    size_t mapped = (sizeof(content) + bytes.n + 1 + page - 1) / page * page;
    content *c = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c == MAP_FAILED)
        return NULL;
    (void)mlock(c, mapped);
    (void)madvise(c, mapped, MADV_DONTDUMP);
    c->mapped = mapped;
    c->n = bytes.n;
    if (bytes.n)
        memcpy(c->bytes, bytes.p, bytes.n);
    return c;
}

static void content_free(content *c)
{
    while (c) {
        content *older = c->older;
        size_t mapped = c->mapped;
        nexus__wipe(c, mapped);
        munmap(c, mapped);
        c = older;
    }
}

nexus_status nexus_secret_new(nexus_secret **out, nexus_slice bytes)
{
    nexus_secret *s = calloc(1, sizeof *s);
    content *c = s ? content_new(bytes) : NULL;
    if (!c) {
        free(s);
        return nexus__nomem();
    }
    s->self = s;
    atomic_init(&s->current, c);
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return NEXUS_OK;
}

static void forget_replaced(nexus_secret *s)
{
    content *none = NULL;
    pthread_mutex_lock(&s->lock);
    content *old = atomic_load(&s->readers) == 0 ? atomic_exchange(&s->replaced, none) : NULL;
    pthread_mutex_unlock(&s->lock);
    content_free(old);
}

nexus_status nexus_secret_set(nexus_secret *s, nexus_slice bytes)
{
    content *fresh = content_new(bytes);
    if (!fresh)
        return nexus__nomem();
    pthread_mutex_lock(&s->lock);
    content *old = atomic_exchange(&s->current, fresh);
    old->older = atomic_load(&s->replaced);
    atomic_store(&s->replaced, old);
    pthread_mutex_unlock(&s->lock);
    forget_replaced(s);
    return NEXUS_OK;
}

static const content *enter(nexus_secret *s)
{
    atomic_fetch_add(&s->readers, 1);
    return atomic_load(&s->current);
}

static void leave(nexus_secret *s)
{
    if (atomic_fetch_sub(&s->readers, 1) == 1 && atomic_load(&s->replaced))
        forget_replaced(s);
}

nexus_status nexus_secret_use(const nexus_secret *s, nexus_secret_use_fn *fn, void *user_data)
{
    if (!s)
        return fn((nexus_slice){"", 0}, user_data);
    const content *c = enter(s->self);
    nexus_status status = fn(nexus__slice(c->bytes, c->n), user_data);
    leave(s->self);
    return status;
}

bool nexus_secret_equal(const nexus_secret *s, nexus_slice bytes)
{
    if (!s)
        return false;
    const content *c = enter(s->self);
    bool equal = c->n > 0 && nexus__slice_eq_ct(nexus__slice(c->bytes, c->n), bytes);
    leave(s->self);
    return equal;
}

void nexus_secret_free(nexus_secret *s)
{
    if (!s)
        return;
    content_free(atomic_load(&s->current));
    content_free(atomic_load(&s->replaced));
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void nexus_free_wiped(char *text, size_t n)
{
    if (text)
        nexus__wipe(text, n);
    free(text);
}
