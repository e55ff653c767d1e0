#include "gateway/middleware.h"

#include "base/status.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"

enum { RUNNING, SUSPENDED, RESUMED };

static const struct {
    const char *name;
    size_t offset;
} phases[NEXUS__MW_PHASES] = {
    [NEXUS__MW_REQUEST] = {"on_request", offsetof(nexus_middleware, on_request)},
    [NEXUS__MW_ROUTE] = {"on_route", offsetof(nexus_middleware, on_route)},
    [NEXUS__MW_AUTH] = {"on_auth", offsetof(nexus_middleware, on_auth)},
    [NEXUS__MW_UPSTREAM] = {"on_upstream", offsetof(nexus_middleware, on_upstream)},
    [NEXUS__MW_RESPONSE] = {"on_response", offsetof(nexus_middleware, on_response)},
};

static nexus_middleware_fn *phase_of(const nexus_middleware *m, nexus__mw_phase phase)
{
    nexus_middleware_fn *fn;
    memcpy(&fn, (const char *)m + phases[phase].offset, sizeof fn);
    return fn;
}

/* --- who is there --------------------------------------------------------------------------------------------------- */

void nexus_middleware_init(nexus_middleware *middleware)
{
    *middleware = (nexus_middleware)NEXUS_MIDDLEWARE_INIT;
}

static nexus_status check(const nexus_gateway *g, const nexus_middleware *m)
{
    if (g->mounted)
        return nexus__fail(NEXUS_ECONFLICT, "middleware: add it before the gateway is mounted");
    if (!m->name || !*m->name || m->slot_bytes > 65536)
        return nexus__fail(NEXUS_EINVAL, "middleware: needs a name, and at most 65536 bytes of memory");
    if (g->middlewares && g->middlewares->count == NEXUS__MW_MAX)
        return nexus__fail(NEXUS_ELIMIT, "middleware: a gateway has at most %d", NEXUS__MW_MAX);
    for (uint32_t i = 0; g->middlewares && i < g->middlewares->count; i++)
        if (strcmp(g->middlewares->items[i].name, m->name) == 0)
            return nexus__fail(NEXUS_ECONFLICT, "middleware: \"%s\" is there already", m->name);
    return NEXUS_OK;
}

static void insert(nexus__gw_middlewares *all, const nexus_middleware *m)
{
    uint32_t i = all->count++;
    for (; i > 0 && all->items[i - 1].order > m->order; i--)
        all->items[i] = all->items[i - 1];
    all->items[i] = *m;
    all->slots_bytes = 0;
    for (i = 0; i < all->count; i++) {
        all->slots[i] = all->slots_bytes;
        all->slots_bytes += (all->items[i].slot_bytes + 15) & ~15u;
    }
}

nexus_status nexus_gateway_use(nexus_gateway *g, const nexus_middleware *middleware)
{
    nexus_middleware m = NEXUS_MIDDLEWARE_INIT;
    memcpy(&m, middleware, middleware->size < sizeof m ? middleware->size : sizeof m);
    nexus_status status = check(g, &m);
    if (status)
        return status;
    if (!g->middlewares)
        g->middlewares = nexus__calloc(g->alloc, 1, sizeof *g->middlewares);
    m.name = g->middlewares ? nexus__strndup(g->alloc, nexus__slice_c(m.name)) : NULL;
    if (!m.name)
        return nexus__nomem();
    insert(g->middlewares, &m);
    return NEXUS_OK;
}

void nexus__mw_free(nexus__gw_middlewares *all, const nexus_alloc *alloc)
{
    for (uint32_t i = 0; all && i < all->count; i++)
        nexus__free(alloc, (char *)(uintptr_t)all->items[i].name);
    nexus__free(alloc, all);
}

void nexus__mw_explain(const nexus__gw_middlewares *all, nexus__json_writer *w)
{
    nexus__json_key(w, "middleware");
    nexus__json_open(w, '[');
    for (uint32_t i = 0; all && i < all->count; i++) {
        nexus__json_open(w, '{');
        nexus__json_put_text_c(w, "name", all->items[i].name);
        nexus__json_put_i64(w, "order", all->items[i].order);
        nexus__json_key(w, "phases");
        nexus__json_open(w, '[');
        if (all->items[i].on_conn)
            nexus__json_text_c_value(w, "on_conn");
        for (int p = 0; p < NEXUS__MW_PHASES; p++) {
            if (p == NEXUS__MW_RESPONSE && all->items[i].around)
                nexus__json_text_c_value(w, "around");
            if (phase_of(&all->items[i], (nexus__mw_phase)p))
                nexus__json_text_c_value(w, phases[p].name);
        }
        if (all->items[i].on_log)
            nexus__json_text_c_value(w, "on_log");
        nexus__json_close(w, ']');
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

static bool on_conn(nexus_slice peer, void *user_data)
{
    const nexus__gw_middlewares *all = user_data;
    for (uint32_t i = 0; i < all->count; i++)
        if (all->items[i].on_conn && all->items[i].on_conn(peer, all->items[i].user_data) != NEXUS_MIDDLEWARE_CONTINUE)
            return false;
    return true;
}

nexus_status nexus__mw_mount(nexus__gw_middlewares *all, nexus_server *server)
{
    bool wanted = false;
    for (uint32_t i = 0; all && i < all->count; i++)
        wanted |= all->items[i].on_conn != NULL;
    return wanted ? nexus_server_on_conn(server, on_conn, all) : NEXUS_OK;
}

/* --- a call ----------------------------------------------------------------------------------------------------------- */

bool nexus__mw_begin(nexus__call *call)
{
    const nexus__gw_middlewares *all = call->view->home->gateway->middlewares;
    size_t own = (sizeof(nexus__gw_mw) + 15) & ~(size_t)15;
    call->mw = nexus_request_alloc(call->request, own + all->slots_bytes);
    if (!call->mw)
        return false;
    memset(call->mw, 0, own + all->slots_bytes);
    call->mw->call = call;
    call->mw->all = all;
    call->mw->slots = (char *)call->mw + own;
    return true;
}

static void *slot_of(const nexus__gw_mw *mw, uint32_t i)
{
    return mw->all->items[i].slot_bytes ? mw->slots + mw->all->slots[i] : NULL;
}

/* Sends what nexus_gateway_call_respond said. */
static void answer(nexus__call *call)
{
    nexus_request *request = call->request;
    const nexus__gw_answer *a = call->mw->answer;
    if (!a) {
        nexus__call_problem(call, 500, "middleware", "A middleware ended the request without an answer.");
        return;
    }
    nexus__call_count(call, a->status);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    nexus_request_reply(request, a->status, a->content_type, a->body);
}

/* --- phases ------------------------------------------------------------------------------------------------------------ */

/* true: it was resumed before it returned. */
static bool resumed_already(nexus__gw_mw *mw)
{
    int expected = RUNNING;
    return !atomic_compare_exchange_strong(&mw->state, &expected, SUSPENDED);
}

static bool run_phase(nexus__call *call)
{
    nexus__gw_mw *mw = call->mw;
    while (mw->at < mw->all->count) {
        uint32_t i = mw->at++;
        nexus_middleware_fn *fn = phase_of(&mw->all->items[i], mw->phase);
        if (!fn)
            continue;
        atomic_store(&mw->state, RUNNING);
        int32_t verdict = fn(call, slot_of(mw, i), mw->all->items[i].user_data);
        if (verdict == NEXUS_MIDDLEWARE_SUSPEND && mw->phase != NEXUS__MW_RESPONSE) {
            nexus__call_wait(call);
            if (!resumed_already(mw))
                return false;
            call->waiting = false;
            verdict = mw->verdict;
        }
        if (verdict == NEXUS_MIDDLEWARE_CONTINUE)
            continue;
        answer(call);
        return false;
    }
    return true;
}

bool nexus__mw_pass(nexus__call *call, nexus__mw_phase phase)
{
    call->mw->phase = phase;
    call->mw->at = 0;
    return run_phase(call);
}

static void resume_on_loop(nexus__task *task)
{
    nexus__gw_mw *mw = NEXUS__CONTAINER(task, nexus__gw_mw, task);
    nexus__call *call = mw->call;
    if (!nexus__call_woken(call))
        return;
    if (mw->verdict != NEXUS_MIDDLEWARE_CONTINUE)
        answer(call);
    else if (run_phase(call))
        nexus__call_passed(call, mw->phase);
}

void nexus_gateway_call_resume(nexus_gateway_call *call, int32_t verdict)
{
    nexus__gw_mw *mw = call->mw;
    mw->verdict = verdict;
    mw->task.fn = resume_on_loop;
    if (atomic_exchange(&mw->state, RESUMED) == SUSPENDED)
        nexus__loop_post_task(call->view->home->loop, &mw->task);
}

bool nexus__mw_response(nexus__call *call, const nexus__http_head *head, const char *base)
{
    nexus__gw_mw *mw = call->mw;
    call->status = head->status;
    for (; mw->frame; mw->frame = mw->frame->outer)
        if (mw->frame->done)
            mw->frame->done(call, head->status, mw->frame->user_data);
    mw->head = head;
    mw->base = base;
    bool goes_on = nexus__mw_pass(call, NEXUS__MW_RESPONSE);
    mw->head = NULL;
    return goes_on;
}

void nexus__mw_end(nexus__call *call, uint16_t status)
{
    nexus__gw_mw *mw = call->mw;
    for (; mw->frame; mw->frame = mw->frame->outer)
        if (mw->frame->used && mw->frame->done)
            mw->frame->done(call, status, mw->frame->user_data);
    for (uint32_t i = 0; i < mw->all->count; i++)
        if (mw->all->items[i].on_log)
            mw->all->items[i].on_log(call, status, slot_of(mw, i), mw->all->items[i].user_data);
}

/* --- around ------------------------------------------------------------------------------------------------------------- */

static nexus__gw_frame *open_frame(nexus__call *call, uint32_t index)
{
    nexus__gw_frame *frame = nexus_request_alloc(call->request, sizeof *frame);
    if (frame) {
        *frame = (nexus__gw_frame){.call = call, .index = index, .outer = call->mw->frame};
        call->mw->frame = frame;
    }
    return frame;
}

/* From the middleware `i` on. */
static void go_inwards(nexus__call *call, uint32_t i)
{
    nexus__gw_mw *mw = call->mw;
    while (i < mw->all->count && !mw->all->items[i].around)
        i++;
    if (i == mw->all->count) {
        nexus__call_start(call);
        return;
    }
    nexus__gw_frame *frame = open_frame(call, i);
    if (!frame) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return;
    }
    bool went_on = false;
    frame->went_on = &went_on;
    nexus__call_wait(call);
    mw->all->items[i].around(call, frame, slot_of(mw, i), mw->all->items[i].user_data);
    if (went_on)
        return; /* the call may be over, and its memory another's */
    frame->went_on = NULL;
    if (mw->answer)
        nexus_gateway_next(frame, NULL, NULL);
}

void nexus__mw_around(nexus__call *call)
{
    go_inwards(call, 0);
}

void nexus_gateway_next(nexus_gateway_frame *frame, nexus_gateway_done_fn *done, void *user_data)
{
    nexus__call *call = frame->call;
    if (frame->used)
        return;
    frame->used = true;
    frame->done = done;
    frame->user_data = user_data;
    if (frame->went_on)
        *frame->went_on = true;
    if (!nexus__call_woken(call))
        return;
    if (call->mw->answer)
        answer(call);
    else
        go_inwards(call, frame->index + 1);
}

/* --- what a middleware asks and says --------------------------------------------------------------------------------------- */

nexus_request *nexus_gateway_call_request(nexus_gateway_call *call)
{
    return call->request;
}

void nexus_gateway_call_path(const nexus_gateway_call *call, nexus_slice *out)
{
    *out = call->path;
}

bool nexus_gateway_call_route(const nexus_gateway_call *call, nexus_slice *id, nexus_slice *upstream)
{
    if (!call->route)
        return false;
    *id = call->route->conf->id;
    if (upstream)
        *upstream = call->route->conf->upstream;
    return true;
}

const struct nexus_principal *nexus_gateway_call_principal(const nexus_gateway_call *call)
{
    return call->principal;
}

uint16_t nexus_gateway_call_status(const nexus_gateway_call *call)
{
    return call->status;
}

bool nexus_gateway_call_reply_header(const nexus_gateway_call *call, const char *name, nexus_slice *out)
{
    const nexus__gw_mw *mw = call->mw;
    const nexus__http_field *f = mw->head ? nexus__http_find(mw->head, mw->base, nexus__slice_c(name)) : NULL;
    if (!f)
        return false;
    *out = nexus__http_field_value(f, mw->base);
    return true;
}

nexus_status nexus_gateway_call_set_upstream_header(nexus_gateway_call *call, const char *name, nexus_slice value)
{
    nexus_slice n = nexus__slice_c(name);
    if (!nexus__http_is_token(n) || !nexus__http_is_value(value) || nexus__forward_is_ours(n))
        return nexus__fail(NEXUS_EINVAL, "'%s' is no field that can be set for upstream", name);
    return nexus__call_add_field(call, n, value) ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus_gateway_call_respond(nexus_gateway_call *call, uint16_t status, const char *content_type,
                                        nexus_slice body)
{
    nexus_slice type = nexus__slice_c(content_type);
    if (call->mw->answer)
        return nexus__fail(NEXUS_ECONFLICT, "middleware: the answer was given before");
    if (status < 200 || status > 599 || !nexus__http_is_value(type))
        return nexus__fail(NEXUS_EINVAL, "middleware: an answer has a status from 200 to 599 and a valid Content-Type");
    nexus__gw_answer *a = nexus_request_alloc(call->request, sizeof *a + type.n + 1 + body.n);
    if (!a)
        return nexus__nomem();
    char *text = memcpy((char *)(a + 1), type.p ? type.p : "", type.n);
    text[type.n] = 0;
    if (body.n > 0)
        memcpy(text + type.n + 1, body.p, body.n);
    *a = (nexus__gw_answer){status, content_type ? text : NULL, nexus__slice(text + type.n + 1, body.n)};
    call->mw->answer = a;
    return NEXUS_OK;
}
