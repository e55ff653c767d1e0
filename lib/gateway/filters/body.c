/* The filters "request_body" and "response_body": JSON changed on its way up and down. */
#include "gateway/filters/body.h"

#include "gateway/body.h"
#include "gateway/change.h"
#include "gateway/config/rows.h"
#include "gateway/gateway.h"

typedef struct checking {
    nexus__loader *l;
    uint32_t route;
    const nexus__gw_route_conf *conf;
} checking;

static nexus_status check_pattern(const nexus__pattern *pattern, void *context)
{
    const checking *c = context;
    return nexus__gw_check_pattern(c->l, c->route, c->conf, pattern);
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    return nexus__transform_patterns(conf, check_pattern, &(checking){l, value, route});
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    (void)state;
    nexus__json_put_u64(w, "operations", ((const nexus__transform *)conf)->count);
}

/* --- up ----------------------------------------------------------------------------------------------------------- */

static nexus_slice text_of(void *context, const nexus__pattern *pattern)
{
    return nexus__change_text(context, pattern);
}

/* The bytes are not the client's any more. */
static bool forget_digests(nexus__call *call)
{
    static const char *const digests[] = {"Content-Digest", "Repr-Digest", "Digest", "Content-MD5"};
    bool good = true;
    for (size_t i = 0; i < COUNT(digests); i++)
        good &= nexus__change_remove(call, NEXUS__CHANGE_REQUEST, nexus__slice_c(digests[i]));
    return good;
}

static bool replace(nexus__call *call, const nexus__transform *t)
{
    nexus__gw_loop *home = call->view->home;
    nexus__buf_clear(&home->text);
    nexus__transform_apply(t, &home->json, text_of, call, &home->text);
    char *text = home->text.status ? NULL : nexus_request_alloc(call->request, home->text.len + 1);
    if (!text)
        return false;
    memcpy(text, home->text.p, home->text.len);
    call->body = nexus__slice(text, home->text.len);
    return forget_digests(call);
}

static nexus__gw_verdict change(nexus__call *call, const void *conf, void *state)
{
    nexus_slice type;
    (void)state;
    if (!nexus_request_header(call->request, "content-type", &type) ||
        !nexus__slice_ieq(nexus__body_type(type), NEXUS_S("application/json")))
        return NEXUS__GW_NEXT;
    nexus__gw_verdict verdict = nexus__call_collect_open(call);
    if (verdict != NEXUS__GW_NEXT || !call->body.n)
        return verdict;
    nexus__json *doc = &call->view->home->json;
    nexus_status status = nexus__body_scan(doc, call->body);
    bool good = !status && replace(call, conf);
    nexus__body_scanned(doc);
    if (good)
        return NEXUS__GW_NEXT;
    if (status == NEXUS_EINVAL || status == NEXUS_ETOOBIG)
        nexus__call_problem(call, 400, "malformed-json", nexus_error_message());
    else
        nexus__call_problem(call, 500, "out-of-memory", NULL);
    return NEXUS__GW_ANSWERED;
}

const nexus__gw_filter nexus__gw_filter_request_body = {
    .key = "request_body",
    .conf_bytes = sizeof(nexus__transform),
    .load = nexus__transform_load,
    .check = check,
    .request = change,
    .captures = true,
    .explain = explain,
};

/* --- down --------------------------------------------------------------------------------------------------------- */

/* What is changed as a whole is asked for as a whole, and plain. */
static nexus__gw_verdict ask_whole(nexus__call *call, const void *conf, void *state)
{
    (void)conf;
    (void)state;
    if (nexus__change_remove(call, NEXUS__CHANGE_REQUEST, NEXUS_S("Range")) &&
        nexus__change_remove(call, NEXUS__CHANGE_REQUEST, NEXUS_S("If-Range")) &&
        nexus__change_set(call, NEXUS__CHANGE_REQUEST, NEXUS_S("Accept-Encoding"), NEXUS_S("identity")))
        return NEXUS__GW_NEXT;
    nexus__call_problem(call, 500, "out-of-memory", NULL);
    return NEXUS__GW_ANSWERED;
}

const nexus__gw_filter nexus__gw_filter_response_body = {
    .key = "response_body",
    .conf_bytes = sizeof(nexus__transform),
    .load = nexus__transform_load,
    .check = check,
    .request = ask_whole,
    .stage = true,
    .captures = true,
    .explain = explain,
};
