#include "gateway/function.h"

#include "base/status.h"
#include "gateway/config/rows.h"

typedef struct nexus__gw_function {
    struct nexus__gw_function *next;
    char *name;
    nexus_route route; /* as which it is served */
} nexus__gw_function;

nexus_status nexus_gateway_function(nexus_gateway *g, const char *name, uint32_t flags, nexus_handler_fn *handler,
                                    void *user_data)
{
    nexus_slice text = nexus__slice_c(name);
    if (!nexus__gw_is_token(text) || text.n == 0 || !handler)
        return nexus__fail(NEXUS_EINVAL, "gateway: a function needs a name that is a token, and a handler");
    if (flags & ~(uint32_t)NEXUS_ROUTE_ON_LOOP)
        return nexus__fail(NEXUS_EINVAL, "gateway: of the flags a function may have NEXUS_ROUTE_ON_LOOP alone");
    if (nexus__function_find(g, text))
        return nexus__fail(NEXUS_ECONFLICT, "gateway: there is a function %s already", name);
    nexus__gw_function *f = nexus__calloc(g->alloc, 1, sizeof *f);
    char *copy = f ? nexus__strndup(g->alloc, text) : NULL;
    if (!copy) {
        nexus__free(g->alloc, f);
        return nexus__nomem();
    }
    f->name = copy;
    f->route = (nexus_route)NEXUS_ROUTE_INIT;
    f->route.handler = handler;
    f->route.user_data = user_data;
    f->route.flags = flags;
    pthread_mutex_lock(&g->locked.mutex);
    f->next = g->locked.functions;
    g->locked.functions = f;
    pthread_mutex_unlock(&g->locked.mutex);
    return NEXUS_OK;
}

const nexus__gw_function *nexus__function_find(nexus_gateway *g, nexus_slice name)
{
    pthread_mutex_lock(&g->locked.mutex);
    const nexus__gw_function *f = g->locked.functions;
    while (f && !nexus__slice_eq_c(name, f->name))
        f = f->next;
    pthread_mutex_unlock(&g->locked.mutex);
    return f;
}

void nexus__functions_free(nexus_gateway *g)
{
    for (nexus__gw_function *f = g->locked.functions, *next; f; f = next) {
        next = f->next;
        nexus__free(g->alloc, f->name);
        nexus__free(g->alloc, f);
    }
}

/* --- a call ------------------------------------------------------------------------------------------------------- */

/* What the route and its filters would do to an upstream's answer they do to the function's, as far as it needs no head. */
static void set_fields(nexus__call *call)
{
    const nexus__gw_route *route = call->route;
    nexus__http_head *head = &call->pool->home->response;
    nexus__http_head_init(head);
    head->status = 200;
    head->field_count = 0;
    for (uint32_t i = 0; i < route->conf->filters.count; i++) {
        const nexus__gw_filter_use *use = &route->conf->filters.items[i];
        if (use->filter->reply)
            use->filter->reply(call, use->conf, route->states[i], head, "");
    }
    const nexus__pair_list *lists[] = {&route->conf->response.set, &route->conf->response.add};
    for (size_t k = 0; k < 2; k++)
        for (uint32_t i = 0; i < lists[k]->count; i++)
            (void)nexus_request_set_header(call->request, lists[k]->items[i].name.p, lists[k]->items[i].value);
}

static void on_ended(nexus_request *request, void *user_data)
{
    nexus__call *call = user_data;
    nexus__call_count(call, nexus_request_status(request));
    nexus__call_release(call, false);
}

void nexus__function_call(nexus__call *call, const nexus__gw_function *function)
{
    nexus_request_on_close(call->request, NULL, NULL);
    set_fields(call);
    nexus__exchange_serve(call->request, &function->route, call->path, on_ended, call);
}
