/*
 * The filter "validate": requests that do not keep to a JSON Schema or an OpenAPI document are refused before upstream
 * sees them. 400: what is no JSON; 415: another media type; 422: JSON (or a parameter) that is not as described.
 */
#include <errno.h>
#include <fcntl.h>
#include <nexus/schema.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/body.h"
#include "gateway/config/rows.h"
#include "gateway/filters/body.h"
#include "gateway/gateway.h"
#include "openapi/import.h"

enum { DOCUMENT_MAX = 16 * 1024 * 1024, ERRORS_MAX = 50, HAS_BODY = NEXUS_METHOD_POST | NEXUS_METHOD_PUT | NEXUS_METHOD_PATCH };

typedef struct validate_conf {
    nexus_slice body;             /* a schema; empty = none */
    nexus_slice openapi, document; /* the file's name, and what was in it */
    bool closed;                  /* unknown fields are refused */
} validate_conf;

typedef struct validate_state {
    nexus_schema *body;
    nexus_openapi *api;
    nexus_router *router; /* over api's paths, to its operations */
} validate_state;

/* --- making the checks -------------------------------------------------------------------------------------------- */

static nexus_status compile(nexus_schema **out, const validate_conf *c, const nexus_alloc *alloc)
{
    static const char wrapper[] = "{\"$ref\":\"nexus:body\",\"unevaluatedProperties\":false}";
    nexus_pair remote = {NEXUS_S("nexus:body"), c->body};
    nexus_schema_opts opts = NEXUS_SCHEMA_OPTS_INIT;
    opts.alloc = alloc;
    opts.assert_format = true;
    if (!c->closed)
        return nexus_schema_compile(out, c->body.p, c->body.n, &opts);
    opts.remotes = &remote;
    opts.remote_count = 1;
    return nexus_schema_compile(out, wrapper, sizeof wrapper - 1, &opts);
}

static nexus_status add_rules(validate_state *s)
{
    nexus_status status = NEXUS_OK;
    for (nexus__openapi_operation *op = s->api->first; op && !status; op = op->next) {
        nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
        rule.id = op->key.p;
        rule.path = op->path.p;
        rule.methods = nexus_method_parse(op->method);
        rule.value = op;
        status = nexus_router_add(s->router, &rule);
    }
    return status;
}

static void close_state(void *state, const nexus_alloc *alloc)
{
    validate_state *s = state;
    nexus_schema_free(s->body);
    nexus_openapi_close(s->api);
    nexus_router_free(s->router);
    nexus__free(alloc, s);
}

static nexus_status make(validate_state **out, const validate_conf *c, const nexus_alloc *alloc)
{
    validate_state *s = nexus__calloc(alloc, 1, sizeof *s);
    nexus_status status = s ? NEXUS_OK : nexus__nomem();
    if (!status && c->body.n)
        status = compile(&s->body, c, alloc);
    if (!status && c->document.n)
        status = nexus__openapi_import(&s->api, c->document, c->closed, alloc);
    if (!status && s->api)
        status = nexus_router_new(&s->router, alloc);
    if (!status && s->api)
        status = add_rules(s);
    if (!status)
        *out = s;
    else if (s)
        close_state(s, alloc);
    return status;
}

static nexus_status open_checks(void **state, nexus_gateway *g, const nexus__gw_route_conf *route, const void *conf)
{
    validate_state *s;
    (void)route;
    nexus_status status = make(&s, conf, g->alloc);
    if (!status)
        *state = s;
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static nexus_status load_body(nexus__loader *l, uint32_t value, void *out)
{
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be a JSON Schema");
    *(nexus_slice *)out = nexus__arena_copy(l->arena, nexus__json_raw(l->doc, value));
    return ((nexus_slice *)out)->p ? NEXUS_OK : nexus__nomem();
}

static nexus_status load_unknown(nexus__loader *l, uint32_t value, void *out)
{
    bool refuse = nexus__json_text_is(l->doc, value, NEXUS_S("refuse"));
    if (!refuse && !nexus__json_text_is(l->doc, value, NEXUS_S("allow")))
        return nexus__loader_fail(l, value, "must be \"allow\" or \"refuse\"");
    *(bool *)out = refuse;
    return NEXUS_OK;
}

/* A relative name is looked for beside the routes file. */
static nexus_status read_document(nexus__loader *l, uint32_t value, validate_conf *c)
{
    const char *slash = c->openapi.p[0] == '/' ? NULL : strrchr(l->file, '/');
    char path[4096];
    nexus__buf text;
    nexus__buf_init(&text, l->arena->alloc, DOCUMENT_MAX);
    snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash - l->file + 1) : 0, l->file, c->openapi.p);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return nexus__loader_fail(l, value, "%s: %s", path, strerror(errno));
    for (char *at; (at = nexus__buf_reserve(&text, 65536));) {
        ssize_t n = read(fd, at, 65536);
        if (n <= 0)
            break;
        text.len += (size_t)n;
    }
    close(fd);
    c->document = text.status ? (nexus_slice){0} : nexus__arena_copy(l->arena, nexus__buf_slice(&text));
    nexus__buf_free(&text);
    return c->document.n ? NEXUS_OK : nexus__loader_fail(l, value, "%s: empty, or over 16 MiB", path);
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("body", load_body, validate_conf, body),
        ROW("openapi", TEXT, validate_conf, openapi, 0, 0),
        CALL("unknown_fields", load_unknown, validate_conf, closed),
    };
    validate_conf *c = out;
    validate_state *s;
    char why[400];
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (!status && !c->body.n == !c->openapi.n)
        return nexus__loader_fail(l, value, "needs either \"body\" or \"openapi\"");
    if (!status && c->openapi.n)
        status = read_document(l, value, c);
    if (status)
        return status;
    status = make(&s, c, l->arena->alloc);
    if (!status)
        close_state(s, l->arena->alloc);
    if (!status || status == NEXUS_ENOMEM)
        return status;
    snprintf(why, sizeof why, "%s", nexus_error_message());
    return nexus__loader_fail(l, value, "%s%s%s", c->openapi.n ? c->openapi.p : "", c->openapi.n ? ": " : "", why);
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const validate_conf *c = conf;
    (void)state;
    nexus__json_put_text_c(w, "against", c->openapi.n ? c->openapi.p : "body schema");
    nexus__json_put_text_c(w, "unknown_fields", c->closed ? "refuse" : "allow");
}

/* --- refusing ----------------------------------------------------------------------------------------------------- */

static const char *keep(nexus__call *call, nexus_slice text)
{
    char *copy = nexus_request_alloc(call->request, text.n + 1);
    if (!copy)
        return "";
    memcpy(copy, text.p ? text.p : "", text.n);
    copy[text.n] = 0;
    return copy;
}

static nexus__gw_verdict refuse_schema(nexus__call *call, nexus_status status, nexus_schema_report *report)
{
    nexus_problem_error errors[ERRORS_MAX];
    nexus_schema_error e = {sizeof e};
    size_t n = 0;
    while (n < ERRORS_MAX && nexus_schema_report_at(report, n, &e)) {
        errors[n] = (nexus_problem_error){keep(call, e.pointer), keep(call, e.keyword), keep(call, e.detail)};
        n++;
    }
    nexus_schema_report_free(report);
    if (status == NEXUS_EINVAL)
        nexus__call_problem_errors(call, 422, "invalid-request", "The body is not as this route wants it; see errors.",
                                   errors, n);
    else if (status == NEXUS_EPROTO || status == NEXUS_ETOOBIG)
        nexus__call_problem_errors(call, 400, "malformed-json", "The body is not JSON that can be read; see errors.",
                                   errors, n);
    else
        nexus__call_problem(call, 503, "out-of-memory", "The request could not be checked; try again.");
    return NEXUS__GW_ANSWERED;
}

static nexus__gw_verdict refuse(nexus__call *call, uint16_t status, const char *code, const char *detail)
{
    nexus__call_problem(call, status, code, detail);
    return NEXUS__GW_ANSWERED;
}

/* --- a request ---------------------------------------------------------------------------------------------------- */

static bool is_json(nexus__call *call)
{
    nexus_slice type;
    if (!nexus_request_header(call->request, "content-type", &type))
        return false;
    type = nexus__body_type(type);
    return nexus__slice_ieq(type, NEXUS_S("application/json")) ||
           (type.n > 5 && nexus__slice_ieq(nexus__slice_from(type, type.n - 5), NEXUS_S("+json")));
}

/* Attack 36 before anything looks closer. */
static bool readable(nexus__call *call)
{
    nexus__json *doc = &call->view->home->json;
    nexus_status status = nexus__body_scan(doc, call->body);
    nexus_problem_error error = {"", "json", nexus_error_message()};
    nexus__body_scanned(doc);
    if (!status)
        return true;
    error.detail = keep(call, nexus__slice_c(error.detail));
    nexus__call_problem_errors(call, 400, "malformed-json", "The body is not JSON that can be read; see errors.", &error, 1);
    return false;
}

static nexus__gw_verdict check_body(nexus__call *call, const validate_state *s)
{
    nexus_schema_report *report = NULL;
    nexus__gw_verdict verdict = nexus__call_collect_open(call);
    if (verdict != NEXUS__GW_NEXT)
        return verdict;
    if (!call->body.n && !(call->method & HAS_BODY))
        return NEXUS__GW_NEXT;
    if (!call->body.n)
        return refuse(call, 400, "body-missing", "The body is empty: send JSON.");
    if (!is_json(call))
        return refuse(call, 415, "unsupported-media-type", "The body must be application/json.");
    if (!readable(call))
        return NEXUS__GW_ANSWERED;
    nexus_status status = nexus_schema_check(s->body, call->body.p, call->body.n, &report);
    return status ? refuse_schema(call, status, report) : NEXUS__GW_NEXT;
}

static size_t decode(nexus__call *call, const nexus_router_match *m, nexus_pair out[static NEXUS_ROUTER_CAPTURES_MAX])
{
    size_t n = 0;
    for (uint32_t i = 0; i < m->capture_count; i++) {
        char *text = nexus_request_alloc(call->request, m->captures[i].value.n + 1);
        if (!text)
            continue;
        out[n++] = (nexus_pair){m->captures[i].name,
                                nexus__slice(text, nexus_path_decode(m->captures[i].value, text))};
    }
    return n;
}

static nexus__gw_verdict refuse_report(nexus__call *call, nexus_openapi_report *report)
{
    size_t n;
    const nexus_problem_error *found = nexus_openapi_report_errors(report, &n);
    nexus_problem_error errors[ERRORS_MAX];
    n = n < ERRORS_MAX ? n : ERRORS_MAX;
    for (size_t i = 0; i < n; i++)
        errors[i] = (nexus_problem_error){keep(call, nexus__slice_c(found[i].pointer)),
                                          keep(call, nexus__slice_c(found[i].code)),
                                          keep(call, nexus__slice_c(found[i].detail))};
    uint16_t status = nexus_openapi_report_status(report);
    const char *code = keep(call, nexus__slice_c(nexus_openapi_report_code(report)));
    const char *detail = keep(call, nexus__slice_c(nexus_openapi_report_detail(report)));
    nexus_openapi_report_free(report);
    nexus__call_problem_errors(call, status, code, detail, errors, n);
    return NEXUS__GW_ANSWERED;
}

static nexus__gw_verdict check_operation(nexus__call *call, const validate_state *s)
{
    nexus_router_match m;
    nexus_pair captures[NEXUS_ROUTER_CAPTURES_MAX];
    nexus_openapi_report *report = NULL;
    if (nexus_router_find(s->router, (nexus_slice){0}, call->path, call->method, NULL, NULL, &m))
        return NEXUS__GW_NEXT; /* the document says nothing about it */
    const nexus__openapi_operation *op = m.value;
    nexus__gw_verdict verdict = op->takes_body ? nexus__call_collect_open(call) : NEXUS__GW_NEXT;
    if (verdict != NEXUS__GW_NEXT)
        return verdict;
    if (op->takes_body && call->body.n && is_json(call) && !readable(call))
        return NEXUS__GW_ANSWERED;
    nexus_openapi_input in = NEXUS_OPENAPI_INPUT_INIT;
    char method[16];
    snprintf(method, sizeof method, "%.*s", (int)op->method.n, op->method.p);
    in.method = method;
    in.path = op->path.p;
    in.path_params = captures;
    in.path_param_count = decode(call, &m, captures);
    nexus_request_query(call->request, &in.query);
    in.body = op->takes_body ? call->body : (nexus_slice){0};
    in.header_count = nexus_request_header_count(call->request);
    nexus_pair *headers = nexus_request_alloc(call->request, (in.header_count + 1) * sizeof *headers);
    for (size_t i = 0; headers && i < in.header_count; i++)
        (void)nexus_request_header_at(call->request, i, &headers[i]);
    in.headers = headers;
    nexus_status status = headers ? nexus_openapi_check(s->api, &in, &report) : NEXUS_ENOMEM;
    if (report)
        return refuse_report(call, report);
    return status ? refuse(call, 503, "out-of-memory", "The request could not be checked; try again.") : NEXUS__GW_NEXT;
}

static nexus__gw_verdict check(nexus__call *call, const void *conf, void *state)
{
    const validate_state *s = state;
    (void)conf;
    return s->api ? check_operation(call, s) : check_body(call, s);
}

const nexus__gw_filter nexus__gw_filter_validate = {
    .key = "validate",
    .conf_bytes = sizeof(validate_conf),
    .load = load,
    .open = open_checks,
    .close = close_state,
    .request = check,
    .explain = explain,
};
