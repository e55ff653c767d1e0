/*
 * The filter `auth`: asks the authenticators that the route's expression names, as far as its outcome needs them, and
 * refuses. An answer may come later: what was answered so far is kept with the call.
 */
#include "gateway/auth/authenticator.h"
#include "gateway/config/rows.h"
#include "gateway/resource.h"

/* --- the routes file ----------------------------------------------------------------------------------------------- */

static nexus_status find_terms(nexus__loader *l, uint32_t value, nexus__gw_auth_conf *c)
{
    const char *names[NEXUS__AUTH_TERMS_MAX * 4];
    size_t count = 0;
    for (; nexus__gw_authenticators[count]; count++)
        names[count] = nexus__gw_authenticators[count]->name;
    for (uint8_t i = 0; i < c->expression.term_count; i++) {
        nexus_slice term = c->expression.terms[i];
        size_t k = 0;
        while (k < count && !nexus__slice_eq_c(term, names[k]))
            k++;
        if (k == count)
            return nexus__loader_fail(l, value, "no authenticator \"%.*s\" at %zu; the nearest known one is \"%s\"",
                                      (int)term.n, term.p, (size_t)(term.p - c->text.p) + 1,
                                      nexus__nearest(term, names, count));
        c->terms[i] = nexus__gw_authenticators[k];
    }
    return NEXUS_OK;
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_auth_conf *c = out;
    size_t at;
    const char *why;
    nexus_status status = nexus__loader_text(l, value, &c->text);
    if (status)
        return status;
    if (!nexus__auth_parse(&c->expression, c->text, &at, &why))
        return nexus__loader_fail(l, value, "\"%s\" %s at %zu", c->text.p, why, at + 1);
    return find_terms(l, value, c);
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__gw_auth_conf *c = conf;
    nexus_status status = NEXUS_OK;
    for (uint8_t i = 0; i < c->expression.term_count && !status; i++)
        if (c->terms[i]->check)
            status = c->terms[i]->check(l, nexus__json_get(l->doc, value, "auth"), route);
    return status;
}

static nexus_status open_terms(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    const nexus__gw_auth_conf *c = conf;
    nexus_status status = NEXUS_OK;
    (void)state;
    for (uint8_t i = 0; i < c->expression.term_count && !status; i++)
        if (c->terms[i]->open)
            status = c->terms[i]->open(g, route);
    return status;
}

bool nexus__gw_auth_names(const nexus__gw_route_conf *route, const nexus__gw_authenticator *authenticator)
{
    const nexus__gw_auth_conf *c = nexus__gw_filter_conf(route, &nexus__gw_filter_auth);
    for (uint8_t i = 0; c && i < c->expression.term_count; i++)
        if (c->terms[i] == authenticator)
            return true;
    return false;
}

/* --- a request ------------------------------------------------------------------------------------------------------ */

/* One challenge for each kind of credentials that would do. */
static void set_challenges(nexus__call *call, const nexus__gw_auth_conf *c)
{
    char space[256];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    for (uint8_t i = 0; i < c->expression.term_count; i++) {
        if (!c->terms[i]->challenge)
            continue;
        nexus__buf_text(&text, text.len ? ", " : "");
        nexus__buf_text(&text, c->terms[i]->challenge);
    }
    if (text.len > 0)
        nexus__call_challenge(call, nexus__buf_slice(&text));
}

/* The refusal of the first term that said this. */
static const nexus__gw_refusal *refusal_of(const struct nexus__gw_auth *auth, nexus__auth_answer outcome)
{
    for (uint8_t i = 0; i < NEXUS__AUTH_TERMS_MAX; i++)
        if (auth->answers[i] == outcome && auth->refusals[i])
            return auth->refusals[i];
    return NULL;
}

nexus__gw_verdict nexus__gw_refuse(nexus__call *call, const nexus__gw_refusal *r)
{
    if (r->challenge)
        nexus__call_challenge(call, nexus__slice_c(r->challenge));
    if (r->location)
        (void)nexus_request_set_header(call->request, "Location", nexus__slice_c(r->location));
    if (r->status == 503)
        (void)nexus_request_set_header(call->request, "Retry-After", NEXUS_S("1"));
    nexus__call_problem(call, r->status, r->code, r->detail);
    return NEXUS__GW_ANSWERED;
}

static nexus__gw_verdict refuse(nexus__call *call, nexus__auth_answer outcome)
{
    static const nexus__gw_refusal missing = {401, "unauthorized", "This needs credentials; see WWW-Authenticate.",
                                              NULL};
    static const nexus__gw_refusal denied = {403, "forbidden", "This is not for you.", NULL};
    static const nexus__gw_refusal failed = {503, "auth-unavailable", "Who asks cannot be checked now; try again.",
                                             NULL};
    const nexus__gw_refusal *r = refusal_of(call->auth, outcome);
    if (!r)
        r = outcome == NEXUS__AUTH_NONE ? &missing : outcome == NEXUS__AUTH_FAILED ? &failed : &denied;
    if (r == &missing)
        set_challenges(call, call->auth->conf);
    return nexus__gw_refuse(call, r);
}

/* The principal of the first term that let the caller in and knows who it is. */
static nexus__gw_verdict let_in(nexus__call *call)
{
    struct nexus__gw_auth *auth = call->auth;
    uint32_t witnesses = nexus__auth_witnesses(&auth->conf->expression, auth->answers);
    for (uint8_t i = 0; i < NEXUS__AUTH_TERMS_MAX && !call->principal; i++)
        if (witnesses >> i & 1 && auth->principals[i])
            call->principal = nexus_principal_ref(auth->principals[i]);
    return NEXUS__GW_NEXT;
}

static nexus__gw_verdict go_on(nexus__call *call)
{
    struct nexus__gw_auth *auth = call->auth;
    nexus__auth_answer outcome;
    while ((outcome = nexus__auth_decide(&auth->conf->expression, auth->answers, &auth->asking)) == NEXUS__AUTH_UNASKED) {
        uint8_t i = auth->asking;
        nexus__auth_answer answer = auth->conf->terms[i]->ask(call, &auth->principals[i], &auth->refusals[i]);
        if (answer == NEXUS__AUTH_LATER)
            return NEXUS__GW_LATER;
        auth->answers[i] = answer;
    }
    return outcome == NEXUS__AUTH_YES ? let_in(call) : refuse(call, outcome);
}

void nexus__auth_answered(nexus__call *call, nexus__auth_answer answer, nexus_principal *principal,
                          const nexus__gw_refusal *refusal)
{
    struct nexus__gw_auth *auth = call->auth;
    auth->answers[auth->asking] = answer;
    auth->principals[auth->asking] = principal;
    auth->refusals[auth->asking] = refusal;
    nexus__call_go_on(call, go_on(call));
}

void nexus__auth_ask_again(nexus__call *call)
{
    nexus__call_go_on(call, go_on(call));
}

void nexus__auth_release(struct nexus__gw_auth *auth)
{
    for (uint8_t i = 0; auth && i < NEXUS__AUTH_TERMS_MAX; i++) {
        nexus_principal_free(auth->principals[i]);
        auth->principals[i] = NULL;
    }
}

static nexus__gw_verdict request(nexus__call *call, const void *conf, void *state)
{
    (void)state;
    if (call->auth) /* once more: an authenticator had to wait for the body */
        return go_on(call);
    call->auth = nexus_request_alloc(call->request, sizeof *call->auth);
    if (!call->auth) {
        nexus__call_problem(call, 500, "out-of-memory", NULL);
        return NEXUS__GW_ANSWERED;
    }
    *call->auth = (struct nexus__gw_auth){.conf = conf};
    return go_on(call);
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    (void)state;
    nexus__json_put_text(w, "expression", ((const nexus__gw_auth_conf *)conf)->text);
}

const nexus__gw_filter nexus__gw_filter_auth = {
    .key = "auth",
    .conf_bytes = sizeof(nexus__gw_auth_conf),
    .load = load,
    .check = check,
    .open = open_terms,
    .request = request,
    .explain = explain,
};
