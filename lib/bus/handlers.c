#include "bus/handlers.h"

#include "base/status.h"
#include "bus/filter.h"

typedef struct row {
    char *types; /* NULL = all */
    nexus_delivery_fn *fn;
    void *user_data;
    uint32_t flags;
} row;

struct nexus__handlers {
    const nexus_alloc *alloc;
    size_t count;
    row rows[];
};

void nexus__handlers_free(nexus__handlers *h)
{
    for (size_t i = 0; h && i < h->count; i++)
        nexus__free(h->alloc, h->rows[i].types);
    if (h)
        nexus__free(h->alloc, h);
}

static nexus_status take(nexus__handlers *h, const nexus_handler *given)
{
    nexus_handler x = NEXUS_HANDLER_INIT;
    memcpy(&x, given, given->size < sizeof x ? given->size : sizeof x);
    nexus_status status = nexus__types_check(nexus__slice_c(x.types));
    if (status != NEXUS_OK)
        return status;
    if (!x.fn)
        return nexus__fail(NEXUS_EINVAL, "handler %zu has no function", h->count);
    row *r = &h->rows[h->count];
    *r = (row){.fn = x.fn, .user_data = x.user_data, .flags = x.flags};
    r->types = x.types ? nexus__strndup(h->alloc, nexus__slice_c(x.types)) : NULL;
    if (x.types && !r->types)
        return nexus__nomem();
    h->count++;
    return NEXUS_OK;
}

nexus_status nexus__handlers_new(nexus__handlers **out, const nexus_alloc *alloc, const nexus_handler *handlers,
                                 size_t n)
{
    if (n == 0 || handlers->size == 0)
        return nexus__fail(NEXUS_EINVAL, "handlers: give at least one, begun with NEXUS_HANDLER_INIT");
    nexus__handlers *h = nexus__calloc(alloc, 1, sizeof *h + n * sizeof h->rows[0]);
    if (!h)
        return nexus__nomem();
    h->alloc = alloc;
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < n && status == NEXUS_OK; i++)
        status = take(h, (const nexus_handler *)(const void *)((const char *)handlers + i * handlers->size));
    if (status != NEXUS_OK) {
        nexus__handlers_free(h);
        return status;
    }
    *out = h;
    return NEXUS_OK;
}

int32_t nexus__handlers_call(nexus_delivery *delivery, void *handlers)
{
    const nexus__handlers *h = handlers;
    nexus_slice type = nexus_delivery_event(delivery)->type;
    bool replay = nexus_delivery_is_replay(delivery);
    int32_t verdict = NEXUS_ACK;
    for (size_t i = 0; i < h->count && verdict == NEXUS_ACK; i++) {
        const row *r = &h->rows[i];
        if (replay && (r->flags & NEXUS_HANDLER_LIVE_ONLY))
            continue;
        if (!r->types || nexus__types_match(nexus__slice_c(r->types), type))
            verdict = r->fn(delivery, r->user_data);
    }
    return verdict;
}

void nexus_handler_init(nexus_handler *handler)
{
    *handler = (nexus_handler)NEXUS_HANDLER_INIT;
}
