/* One request through the gateway: its beginning, its route, its filters, its end. */
#include "base/status.h"
#include "gateway/canary.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"
#include "gateway/problem.h"
#include "gateway/resource.h"

/* --- ending ------------------------------------------------------------------------------------------------------- */

void nexus__call_count(nexus__call *call, uint16_t status)
{
    nexus__seen_end(call, status);
    if (call->canary && (status || call->broke_off))
        nexus__canary_report(call->canary, call->canary_conf, call->arm, status >= 500 || call->broke_off);
    if (call->mw)
        nexus__mw_end(call, status);
}

void nexus__call_release(nexus__call *call, bool reuse)
{
    if (call->conn)
        nexus__call_end_try(call, reuse);
    nexus__call_leave(call);
    nexus__stage_close(call->stage);
    call->stage = NULL;
    nexus__auth_release(call->auth);
    nexus_principal_free(call->principal);
    call->principal = NULL;
    nexus__view_unref(call->view);
    call->view = NULL;
}

void nexus__call_problem(nexus__call *call, uint16_t status, const char *code, const char *detail)
{
    nexus_request *request = call->request;
    int fault = call->fault;
    nexus__seen_problem(call, code);
    nexus__call_count(call, status);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    nexus__problem_reply(request, status, code, detail, fault);
}

void nexus__call_problem_errors(nexus__call *call, uint16_t status, const char *code, const char *detail,
                                const nexus_problem_error *errors, size_t n)
{
    nexus_request *request = call->request;
    nexus__call_count(call, status);
    nexus__call_release(call, false);
    nexus_request_on_close(request, NULL, NULL);
    nexus_request_problem_errors(request, status, code, detail, errors, n);
}

bool nexus__call_add_field(nexus__call *call, nexus_slice name, nexus_slice value)
{
    nexus__gw_field *field = nexus_request_alloc(call->request, sizeof *field + name.n + value.n);
    if (!field)
        return false;
    char *text = (char *)(field + 1);
    bool good = value.p && nexus__http_is_value(value);
    memcpy(text, name.p, name.n);
    if (good)
        memcpy(text + name.n, value.p, value.n);
    *field = (nexus__gw_field){.next = call->fields,
                               .name = nexus__slice(text, name.n),
                               .value = good ? nexus__slice(text + name.n, value.n) : (nexus_slice){0}};
    call->fields = field;
    return true;
}

void nexus__call_client_gone(nexus_request *request, void *user_data)
{
    nexus__call *call = user_data;
    if (call->waiting) {
        call->gone = true;
        return;
    }
    nexus__call_count(call, 0);
    nexus__call_release(call, false);
    nexus__exchange_abort(request);
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

static void start(nexus__call *call)
{
    if (call->deprecation && !nexus__call_check_age(call))
        return;
    if (!call->mw)
        nexus__call_start(call);
    else if (nexus__mw_pass(call, NEXUS__MW_UPSTREAM))
        nexus__mw_around(call);
}

/* Before the first filter behind those that say who may pass. */
static bool pass_on_auth(nexus__call *call, const nexus__gw_filter *next)
{
    if (!call->mw || call->mw->auth_passed || (next && nexus__gw_filter_is_access(next)))
        return true;
    call->mw->auth_passed = true;
    return nexus__mw_pass(call, NEXUS__MW_AUTH);
}

static void run_filters(nexus__call *call)
{
    const nexus__gw_route *route = call->route;
    while (call->filter_at < route->conf->filters.count) {
        uint32_t i = call->filter_at;
        const nexus__gw_filter_use *use = &route->conf->filters.items[i];
        if (!pass_on_auth(call, use->filter))
            return;
        call->filter_at++;
        if (use->filter->request && use->filter->request(call, use->conf, route->states[i]) != NEXUS__GW_NEXT)
            return;
    }
    if (pass_on_auth(call, NULL))
        start(call);
}

void nexus__call_go_on(nexus__call *call, nexus__gw_verdict verdict)
{
    if (verdict == NEXUS__GW_NEXT)
        run_filters(call);
}

void nexus__call_wait(nexus__call *call)
{
    call->waiting = true;
    nexus_request_on_close(call->request, nexus__call_client_gone, call);
}

bool nexus__call_woken(nexus__call *call)
{
    nexus_request *request = call->request;
    call->waiting = false;
    if (!call->gone)
        return true;
    nexus__call_count(call, 0);
    nexus__call_release(call, false);
    nexus__exchange_abort(request);
    return false;
}

/* --- the beginning ------------------------------------------------------------------------------------------------ */

static void route(nexus__call *call)
{
    if (nexus__resource_answers(call))
        return;
    if (nexus__call_route(call) && (!call->mw || nexus__mw_pass(call, NEXUS__MW_ROUTE)))
        run_filters(call);
}

void nexus__call_passed(nexus__call *call, nexus__mw_phase phase)
{
    switch (phase) {
    case NEXUS__MW_REQUEST:
        route(call);
        break;
    case NEXUS__MW_ROUTE:
    case NEXUS__MW_AUTH:
        run_filters(call);
        break;
    default: /* the only other one that suspends: on_upstream */
        nexus__mw_around(call);
        break;
    }
}

void nexus__call_handle(nexus_request *request, void *user_data)
{
    nexus_gateway *g = user_data;
    nexus__gw_loop *home = &g->loops[nexus__loop_index(nexus__exchange_loop(request))];
    nexus_slice raw;
    if (!home->view)
        nexus__view_swap(home);
    if (!home->view) {
        nexus_request_problem_text(request, 404, "no-route", "This gateway has no routes yet.");
        return;
    }
    nexus_request_path(request, &raw);
    nexus__call *call = nexus_request_alloc(request, sizeof *call);
    char *space = call ? nexus_request_alloc(request, raw.n + 1) : NULL;
    if (!space) {
        nexus_request_problem_text(request, 500, "out-of-memory", NULL);
        return;
    }
    *call = (nexus__call){.request = request, .view = home->view, .method = nexus__exchange_method(request)};
    call->view->refs++;
    nexus__seen_begin(call);
    const nexus__http_head *head = nexus__exchange_head(request);
    bool loops = head->first[NEXUS__HTTP_CDN_LOOP] &&
                 nexus__forward_loops(head, nexus__exchange_base(request), nexus__slice(g->loop_id, NEXUS__GW_LOOP_ID));
    nexus_status status = nexus_path_canonical(raw, 0, space, &call->path);
    call->ambiguous = status == NEXUS_EPERM;
    if (call->ambiguous)
        status = nexus_path_canonical(raw, NEXUS_PATH_AMBIGUOUS_PASS, space, &call->path);
    if (g->middlewares && !nexus__mw_begin(call))
        nexus__call_problem(call, 500, "out-of-memory", NULL);
    else if (loops)
        nexus__call_problem(call, 508, "loop-detected", "This request has been through this gateway before.");
    else if (status)
        nexus__call_problem(call, 400, "bad-path", "The path is not valid.");
    else if (!call->mw || nexus__mw_pass(call, NEXUS__MW_REQUEST))
        route(call);
}
