/*
 * The filter `ext`, and the authenticator of the same name: a service outside decides. It is told the method, the host and
 * the path as upstream gets it, who asks, and those fields of the request that the route names; nothing else. 2xx lets
 * in, 401 and other 4xx refuse, anything else, silence included, is a refusal too.
 */
#include "gateway/auth/ext.h"

#include <nexus/client.h>
#include <nexus/version.h>
#include <sched.h>

#include "base/status.h"
#include "gateway/body.h"
#include "gateway/config/rows.h"

enum { PAIRS_MAX = 64, OWN_PAIRS = 8 };

/* What a route keeps in each snapshot: a table for each loop. */
typedef struct ext_state {
    nexus__hash_key keys[2];
    uint32_t count;
    nexus__ext_table tables[];
} ext_state;

/* --- the routes file ----------------------------------------------------------------------------------------------- */

/* Fields of the connection, and those that the gateway itself says. */
static bool is_reserved(nexus_slice name)
{
    static const char *const names[] = {"host",   "connection", "content-length", "transfer-encoding",
                                        "te",     "upgrade",    "trailer",        "keep-alive",
                                        "expect", "forwarded",  "x-request-id"};
    for (size_t i = 0; i < COUNT(names); i++)
        if (nexus__slice_ieq(name, nexus__slice_c(names[i])))
            return true;
    nexus_slice start = nexus__slice(name.p, name.n < 8 ? name.n : 8);
    return nexus__slice_ieq(start, NEXUS_S("x-nexus-")) || nexus__slice_ieq(start, NEXUS_S("x-forwar"));
}

static nexus_status load_names(nexus__loader *l, uint32_t value, void *out)
{
    nexus__text_list *list = out;
    nexus_status status = nexus__loader_texts(l, value, list);
    for (uint32_t i = 0; i < list->count && !status; i++)
        if (!nexus__gw_is_token(list->items[i]) || is_reserved(list->items[i]))
            return nexus__loader_fail(l, value, "\"%s\" is no field that may be passed on", list->items[i].p);
    if (!status && list->count > PAIRS_MAX - OWN_PAIRS)
        return nexus__loader_fail(l, value, "names more than %d fields", PAIRS_MAX - OWN_PAIRS);
    return status;
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"url", NEXUS__LOADER_TEXT, offsetof(nexus__ext_conf, url), 0, 0, NULL, true},
        ROW("timeout_ms", U32, nexus__ext_conf, timeout_ms, 1, 60000),
        ROW("cache_ms", U32, nexus__ext_conf, cache_ms, 0, 3600000),
        ROW("body_max_bytes", U32, nexus__ext_conf, body_max_bytes, 0, 1048576),
        CALL("headers", load_names, nexus__ext_conf, headers),
        CALL("add", load_names, nexus__ext_conf, add),
    };
    nexus__ext_conf *c = out;
    c->timeout_ms = 1000;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (!status && !nexus__slice_starts(c->url, NEXUS_S("http://")) && !nexus__slice_starts(c->url, NEXUS_S("https://")))
        return nexus__loader_fail(l, nexus__json_get(l->doc, value, "url"), "must be http://… or https://…");
    return status;
}

/* A client of its own, opened with the first route that needs it: health checks do not queue behind questions. */
static nexus_status open_client(nexus_gateway *g)
{
    nexus_client_opts opts = NEXUS_CLIENT_OPTS_INIT;
    opts.alloc = g->alloc;
    opts.user_agent = "nexus-gateway/" NEXUS_VERSION;
    opts.host_connections_max = 128;
    return g->authorizer ? NEXUS_OK : nexus_client_open(&g->authorizer, NULL, &opts);
}

static nexus_status open_tables(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    (void)route;
    (void)conf;
    ext_state *s = nexus__calloc(g->alloc, 1, sizeof *s + g->loop_count * sizeof *s->tables);
    if (!s)
        return nexus__nomem();
    s->keys[0] = nexus__hash_key_random();
    s->keys[1] = nexus__hash_key_random();
    s->count = g->loop_count;
    *state = s;
    return open_client(g);
}

/* After the last view of every loop: nobody waits any more. */
static void close_tables(void *state, const nexus_alloc *alloc)
{
    ext_state *s = state;
    for (uint32_t i = 0; i < s->count; i++)
        for (uint32_t k = 0; k < NEXUS__EXT_SLOTS; k++)
            nexus__ext_unref(s->tables[i].slots[k]);
    nexus__free(alloc, s);
}

/* --- what the service is told ---------------------------------------------------------------------------------------- */

typedef struct question {
    nexus_pair pairs[PAIRS_MAX];
    size_t count;
} question;

static void put(question *q, const char *name, nexus_slice value)
{
    if (q->count < PAIRS_MAX && value.n > 0)
        q->pairs[q->count++] = (nexus_pair){nexus__slice_c(name), value};
}

static void put_listed(question *q, const nexus__call *call, const nexus__ext_conf *conf)
{
    nexus_pair field;
    for (size_t i = 0; nexus_request_header_at(call->request, i, &field); i++)
        for (uint32_t k = 0; k < conf->headers.count; k++)
            if (nexus__slice_ieq(field.name, conf->headers.items[k]))
                put(q, conf->headers.items[k].p, field.value);
}

/* The path as upstream gets it, and the query. */
static nexus_slice uri_of(const nexus__call *call)
{
    nexus_slice query;
    nexus_request_query(call->request, &query);
    if (!nexus__exchange_head(call->request)->has_query)
        return call->path;
    char *text = nexus_request_alloc(call->request, call->path.n + 1 + query.n);
    if (!text)
        return (nexus_slice){0};
    memcpy(text, call->path.p, call->path.n);
    text[call->path.n] = '?';
    memcpy(text + call->path.n + 1, query.p, query.n);
    return nexus__slice(text, call->path.n + 1 + query.n);
}

/* False: out of memory. */
static bool write_question(question *q, const nexus__call *call, const nexus__ext_conf *conf)
{
    nexus_slice value, uri = uri_of(call);
    nexus_request *request = call->request;
    q->count = 0;
    nexus_request_method(request, &value);
    put(q, "X-Forwarded-Method", value);
    nexus_request_host(request, &value);
    put(q, "X-Forwarded-Host", value);
    put(q, "X-Forwarded-Uri", uri);
    put(q, "X-Forwarded-Proto", nexus_request_is_tls(request) ? NEXUS_S("https") : NEXUS_S("http"));
    nexus_request_remote_ip(request, &value);
    put(q, "X-Forwarded-For", value);
    if (call->principal) {
        nexus_principal_subject(call->principal, &value);
        if (nexus__http_is_value(value))
            put(q, "X-Nexus-User", value);
    }
    put_listed(q, call, conf);
    if (conf->body_max_bytes && call->body.n > 0 && nexus_request_header(request, "content-type", &value))
        put(q, "Content-Type", value);
    return uri.n > 0;
}

/* Everything that the service can see decides; the request's id, which comes after this, does not. */
static nexus__ext_key key_of(const question *q, nexus_slice body, const ext_state *s)
{
    nexus__ext_key key = {
        {nexus__siphash(s->keys[0], body.p, body.n), nexus__siphash(s->keys[1], body.p, body.n)}};
    for (size_t i = 0; i < q->count; i++)
        for (int k = 0; k < 2; k++) {
            uint64_t words[3] = {key.words[k], nexus__siphash(s->keys[k], q->pairs[i].name.p, q->pairs[i].name.n),
                                 nexus__siphash(s->keys[k], q->pairs[i].value.p, q->pairs[i].value.n)};
            key.words[k] = nexus__siphash(s->keys[k], words, sizeof words);
        }
    return key;
}

/* NEXT: the body is here, or not asked for. The filter that asks is called again when it comes later. */
static nexus__gw_verdict take_body(nexus__call *call, const nexus__ext_conf *conf)
{
    const nexus__http_head *head = nexus__exchange_head(call->request);
    if (!conf->body_max_bytes)
        return NEXUS__GW_NEXT;
    bool fits = head->framing != NEXUS__HTTP_LENGTH_FIXED || head->length <= conf->body_max_bytes;
    nexus__gw_verdict verdict = fits ? nexus__call_collect(call) : NEXUS__GW_NEXT;
    if (fits && (verdict != NEXUS__GW_NEXT || call->body.n <= conf->body_max_bytes))
        return verdict;
    nexus__call_problem(call, 413, "body-too-big", "The body is over what the authorization service looks at.");
    return NEXUS__GW_ANSWERED;
}

/* --- asking --------------------------------------------------------------------------------------------------------- */

static void *state_of(const nexus__call *call)
{
    for (uint32_t i = 0; i < call->route->conf->filters.count; i++)
        if (call->route->conf->filters.items[i].filter == &nexus__gw_filter_ext)
            return call->route->states[i];
    return NULL;
}

/* What upstream learns of a YES. False: out of memory. */
static bool add_fields(nexus__call *call, const nexus__ext_conf *conf, const nexus__ext_decision *d)
{
    for (uint32_t i = 0; i < conf->add.count; i++)
        if (!nexus__call_add_field(call, d->fields[i].name, d->fields[i].value))
            return false;
    return true;
}

/* The decision may be gone before the call is: what is said of it is copied. */
static nexus__auth_answer apply(nexus__call *call, const nexus__ext_conf *conf, const nexus__ext_decision *d,
                                const nexus__gw_refusal **refusal)
{
    if (d->answer == NEXUS__AUTH_YES)
        return add_fields(call, conf, d) ? NEXUS__AUTH_YES : NEXUS__AUTH_FAILED;
    size_t n = d->refusal.challenge ? strlen(d->challenge) + 1 : 0;
    nexus__gw_refusal *copy = nexus_request_alloc(call->request, sizeof *copy + n);
    if (!copy)
        return NEXUS__AUTH_FAILED;
    *copy = d->refusal;
    if (n > 0)
        copy->challenge = memcpy(copy + 1, d->challenge, n);
    *refusal = copy;
    return d->answer;
}

static nexus__gw_verdict end_alone(nexus__call *call, nexus__auth_answer answer, const nexus__gw_refusal *refusal)
{
    static const nexus__gw_refusal failed = {503, "authorization-unavailable",
                                             "Whether this is allowed cannot be found out now; try again.", NULL};
    if (answer == NEXUS__AUTH_YES)
        return NEXUS__GW_NEXT;
    return nexus__gw_refuse(call, refusal ? refusal : &failed);
}

static void wake(nexus__call *call, const nexus__ext_decision *d)
{
    const nexus__gw_refusal *refusal = NULL;
    if (!nexus__call_woken(call))
        return;
    nexus__auth_answer answer = apply(call, d->conf, d, &refusal);
    if (nexus__gw_auth_names(call->route->conf, &nexus__gw_auth_ext))
        nexus__auth_answered(call, answer, NULL, refusal);
    else
        nexus__call_go_on(call, end_alone(call, answer, refusal));
}

/* Back on the loop. The last waiter may take the snapshot with it, and with that the table; the decision stays. */
static void decided(void *user_data)
{
    nexus__ext_decision *d = user_data;
    nexus__ext_judge(d, d->conf, d->sent, d->reply, nexus_loop_now_ns(d->home->loop));
    nexus_reply_free(d->reply);
    d->reply = NULL;
    for (nexus__ext_waiter *w = d->waiters, *next; w; w = next) {
        next = w->next;
        wake(w->call, d);
    }
    nexus__ext_unref(d);
}

/* On the client's thread. */
static void on_reply(nexus_status status, nexus_reply *reply, void *user_data)
{
    nexus__ext_decision *d = user_data;
    d->sent = status;
    d->reply = reply;
    while (nexus_loop_post(d->home->loop, decided, d) == NEXUS_EAGAIN)
        sched_yield();
}

static bool wait_for(nexus__call *call, nexus__ext_decision *d)
{
    nexus__ext_waiter *w = nexus_request_alloc(call->request, sizeof *w);
    if (!w)
        return false;
    *w = (nexus__ext_waiter){d->waiters, call};
    d->waiters = w;
    nexus__call_wait(call);
    return true;
}

/* LATER, or FAILED. */
static nexus__auth_answer send_question(nexus__call *call, const nexus__ext_conf *conf, question *q,
                                        nexus__ext_decision *d)
{
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    nexus_slice id;
    d->home = call->view->home;
    d->conf = conf;
    nexus_request_id(call->request, &id);
    put(q, "X-Request-Id", id);
    fetch.url = conf->url;
    fetch.body = conf->body_max_bytes ? call->body : (nexus_slice){0};
    fetch.headers = q->pairs;
    fetch.header_count = q->count;
    fetch.timeout_ms = conf->timeout_ms;
    fetch.connect_timeout_ms = conf->timeout_ms;
    fetch.reply_max_bytes = 65536;
    if (wait_for(call, d)) {
        if (nexus_client_fetch_async(d->home->gateway->authorizer, &fetch, on_reply, d) == NEXUS_OK)
            return NEXUS__AUTH_LATER;
        call->waiting = false;
        d->waiters = NULL;
    }
    nexus__ext_judge(d, conf, NEXUS_EAGAIN, NULL, nexus_loop_now_ns(d->home->loop));
    nexus__ext_unref(d);
    return NEXUS__AUTH_FAILED;
}

static nexus__auth_answer ask_service(nexus__call *call, const nexus__ext_conf *conf, ext_state *s,
                                      const nexus__gw_refusal **refusal)
{
    nexus__gw_loop *home = call->view->home;
    nexus__ext_table *table = &s->tables[home - home->gateway->loops];
    int64_t now = nexus_loop_now_ns(home->loop);
    question q;
    if (!write_question(&q, call, conf))
        return NEXUS__AUTH_FAILED;
    nexus__ext_key key = key_of(&q, conf->body_max_bytes ? call->body : (nexus_slice){0}, s);
    nexus__ext_decision *d = nexus__ext_find(table, key, now);
    if (d && d->known)
        return apply(call, conf, d, refusal);
    if (d)
        return wait_for(call, d) ? NEXUS__AUTH_LATER : NEXUS__AUTH_FAILED;
    d = nexus__ext_new(table, key, now, home->gateway->alloc);
    return d ? send_question(call, conf, &q, d) : NEXUS__AUTH_FAILED;
}

/* --- as a filter, and in an expression ---------------------------------------------------------------------------------- */

static nexus__gw_verdict request(nexus__call *call, const void *conf, void *state)
{
    const nexus__gw_refusal *refusal = NULL;
    if (nexus__gw_auth_names(call->route->conf, &nexus__gw_auth_ext))
        return NEXUS__GW_NEXT;
    nexus__gw_verdict body = take_body(call, conf);
    if (body != NEXUS__GW_NEXT)
        return body;
    nexus__auth_answer answer = ask_service(call, conf, state, &refusal);
    return answer == NEXUS__AUTH_LATER ? NEXUS__GW_LATER : end_alone(call, answer, refusal);
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const nexus__ext_conf *c = conf;
    (void)state;
    nexus__json_put_text(w, "url", c->url);
    nexus__json_put_u64(w, "timeout_ms", c->timeout_ms);
    nexus__json_put_u64(w, "cache_ms", c->cache_ms);
}

const nexus__gw_filter nexus__gw_filter_ext = {
    .key = "ext",
    .conf_bytes = sizeof(nexus__ext_conf),
    .load = load,
    .open = open_tables,
    .close = close_tables,
    .request = request,
    .explain = explain,
};

static nexus_status needs_conf(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route)
{
    if (nexus__gw_filter_conf(route, &nexus__gw_filter_ext))
        return NEXUS_OK;
    return nexus__loader_fail(l, value, "names ext, which needs \"ext\" on the same route");
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    const nexus__ext_conf *conf = nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_ext);
    (void)principal;
    if (take_body(call, conf) != NEXUS__GW_NEXT)
        return NEXUS__AUTH_LATER; /* the filter `auth` is called again, or the call is over */
    return ask_service(call, conf, state_of(call), refusal);
}

const nexus__gw_authenticator nexus__gw_auth_ext = {
    .name = "ext",
    .check = needs_conf,
    .ask = ask,
};
