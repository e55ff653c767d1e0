/* One request against its row. */
#include <stdarg.h>
#include <stdio.h>

#include "base/codec.h"
#include "base/status.h"
#include "openapi/api.h"
#include "json/read.h"
#include "json/write.h"

enum { ERRORS_MAX = 50 };

struct nexus_openapi_report {
    nexus__arena arena;
    const nexus_alloc *alloc;
    uint16_t status;
    const char *code, *detail;
    nexus_problem_error errors[ERRORS_MAX];
    size_t count;
    bool lost; /* out of memory */
};

typedef struct checking {
    const nexus_openapi *api;
    const nexus__openapi_operation *op;
    const nexus_openapi_input *in;
    nexus_openapi_report *report;
} checking;

static const char *keep(nexus_openapi_report *r, nexus_slice text)
{
    nexus_slice copy = nexus__arena_copy(&r->arena, text);
    r->lost |= !copy.p;
    return copy.p ? copy.p : "";
}

/* A request may be wrong in several ways: the status is that of the gravest, in the order 415, 400, 422. */
static void blame(nexus_openapi_report *r, uint16_t status)
{
    static const struct {
        uint16_t status;
        const char *code, *detail;
    } rows[] = {{422, "invalid-request", "The request does not keep to the API's description; see errors."},
                {400, "malformed-json", "The body is not JSON; see errors."},
                {415, "unsupported-media-type", "The body's Content-Type is not one that is accepted here; see errors."}};
    static const size_t count = sizeof rows / sizeof *rows;
    size_t now = 0, then = 0;
    while (now < count && rows[now].status != status)
        now++;
    while (then < count && rows[then].status != r->status)
        then++;
    if (r->status && then >= now)
        return;
    r->status = status;
    r->code = rows[now].code;
    r->detail = rows[now].detail;
}

static void add(nexus_openapi_report *r, uint16_t status, nexus_slice pointer, nexus_slice code, nexus_slice detail)
{
    blame(r, status);
    if (r->count == ERRORS_MAX)
        return;
    r->errors[r->count++] = (nexus_problem_error){keep(r, pointer), keep(r, code), keep(r, detail)};
}

/* --- parameters ------------------------------------------------------------------------------ */

static void append_scalar(nexus__buf *out, nexus__openapi_kind kind, nexus_slice text)
{
    nexus__json doc;
    nexus__json_init(&doc, out->alloc);
    bool raw = kind == NEXUS__OPENAPI_BOOL && (nexus__slice_eq_c(text, "true") || nexus__slice_eq_c(text, "false"));
    if (kind == NEXUS__OPENAPI_NUMBER && text.n && text.p[text.n - 1] > ' ' && text.p[0] > ' ' &&
        nexus__json_scan(&doc, text, NULL) == NEXUS_OK)
        raw = nexus__json_is(&doc, 0, NEXUS__JSON_INT) || nexus__json_is(&doc, 0, NEXUS__JSON_REAL);
    nexus__json_writer w = nexus__json_writer_on(out);
    if (raw)
        nexus__json_raw_value(&w, text);
    else
        nexus__json_text_value(&w, text);
    nexus__json_free(&doc);
}

/* The text of a parameter as the JSON value that its schema is about. */
static void append_value(nexus__buf *out, const nexus__openapi_param *p, nexus_slice text)
{
    if (!p->list) {
        append_scalar(out, p->kind, text);
        return;
    }
    nexus__buf_char(out, '[');
    for (bool first = true; text.n; first = false) {
        if (!first)
            nexus__buf_char(out, ',');
        append_scalar(out, p->kind, nexus__slice_cut(&text, ','));
    }
    nexus__buf_char(out, ']');
}

static void add_param_error(checking *c, const nexus__openapi_param *p, nexus_slice code, const char *format, ...)
    NEXUS_PRINTF(4, 5);

static void add_param_error(checking *c, const nexus__openapi_param *p, nexus_slice code, const char *format, ...)
{
    char where[200], words[400], detail[700];
    int name = (int)(p->name.n < 100 ? p->name.n : 100);
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    snprintf(where, sizeof where, "%.*s/%.*s", (int)p->in.n, p->in.p, name, p->name.p);
    snprintf(detail, sizeof detail, "%.*s parameter \"%.*s\" %s", (int)p->in.n, p->in.p, name, p->name.p, words);
    add(c->report, 422, nexus__slice_c(where), code, nexus__slice_c(detail));
}

static nexus_status check_value(checking *c, const nexus__openapi_param *p, nexus_slice text)
{
    nexus__buf json;
    nexus__buf_init(&json, c->api->alloc, 0);
    append_value(&json, p, text);
    nexus_schema_report *found = NULL;
    nexus_status status =
        json.status == NEXUS_OK ? nexus_schema_check(p->schema, json.p, json.len, &found) : nexus__nomem();
    nexus_schema_error e = {sizeof e};
    for (size_t i = 0; nexus_schema_report_at(found, i, &e); i++)
        add_param_error(c, p, e.keyword, "%.*s", (int)e.detail.n, e.detail.p);
    nexus_schema_report_free(found);
    nexus__buf_free(&json);
    return status == NEXUS_EINVAL || status == NEXUS_EPROTO ? NEXUS_OK : status;
}

static bool find_pair(const nexus_pair *pairs, size_t n, nexus_slice name, bool any_case, nexus_slice *out)
{
    for (size_t i = 0; i < n; i++)
        if (any_case ? nexus__slice_ieq(pairs[i].name, name) : nexus__slice_eq(pairs[i].name, name)) {
            *out = pairs[i].value;
            return true;
        }
    return false;
}

static nexus_status check_query(checking *c, const nexus__openapi_param *p)
{
    nexus_slice encoded;
    if (!nexus__query_find(c->in->query, p->name, &encoded)) {
        if (p->required)
            add_param_error(c, p, NEXUS_S("required"), "is missing: add it");
        return NEXUS_OK;
    }
    char *text = nexus__malloc(c->api->alloc, encoded.n + 1);
    size_t n = 0;
    nexus_status status = NEXUS_OK;
    if (!text)
        return nexus__nomem();
    if (nexus__percent_decode(encoded, true, text, &n))
        status = check_value(c, p, nexus__slice(text, n));
    else
        add_param_error(c, p, NEXUS_S("encoding"), "has a broken percent escape");
    nexus__free(c->api->alloc, text);
    return status;
}

static nexus_status check_param(checking *c, const nexus__openapi_param *p)
{
    nexus_slice text;
    bool header = nexus__slice_eq_c(p->in, "header"), path = nexus__slice_eq_c(p->in, "path");
    if (!header && !path)
        return check_query(c, p);
    bool found = header ? find_pair(c->in->headers, c->in->header_count, p->name, true, &text)
                        : find_pair(c->in->path_params, c->in->path_param_count, p->name, false, &text);
    if (found)
        return check_value(c, p, text);
    if (p->required)
        add_param_error(c, p, NEXUS_S("required"), "is missing: add it");
    return NEXUS_OK;
}

/* --- the body -------------------------------------------------------------------------------- */

static bool accepted(nexus_slice list, nexus_slice type)
{
    while (list.n) {
        nexus_slice one = nexus__slice_trim(nexus__slice_cut(&list, ','));
        if (nexus__slice_eq_c(one, "*/*") || nexus__slice_ieq(one, type))
            return true;
        if (nexus__slice_ends(one, NEXUS_S("/*")) && type.n > one.n - 1 &&
            nexus__slice_ieq(nexus__slice(one.p, one.n - 1), nexus__slice(type.p, one.n - 1)))
            return true;
    }
    return false;
}

static bool is_json(nexus_slice type)
{
    return nexus__slice_ieq(type, NEXUS_S("application/json")) ||
           (type.n > 5 && nexus__slice_ieq(nexus__slice_from(type, type.n - 5), NEXUS_S("+json")));
}

static nexus_status check_json(checking *c)
{
    nexus_schema_report *found = NULL;
    nexus_status status = nexus_schema_check(c->op->body, c->in->body.p, c->in->body.n, &found);
    nexus_schema_error e = {sizeof e};
    for (size_t i = 0; nexus_schema_report_at(found, i, &e); i++)
        add(c->report, status == NEXUS_EPROTO ? 400 : 422, e.pointer, e.keyword, e.detail);
    nexus_schema_report_free(found);
    if (status == NEXUS_ETOOBIG) { /* nested too deep, or too much work */
        add(c->report, 400, NEXUS_S(""), NEXUS_S("json"), nexus__slice_c(nexus_error_message()));
        return NEXUS_OK;
    }
    return status == NEXUS_EINVAL || status == NEXUS_EPROTO ? NEXUS_OK : status;
}

static nexus_status check_body(checking *c)
{
    nexus_slice type = {NULL, 0};
    if (!c->op->takes_body)
        return NEXUS_OK;
    find_pair(c->in->headers, c->in->header_count, NEXUS_S("content-type"), true, &type);
    type = nexus__slice_trim(nexus__slice_cut(&type, ';'));
    if (!c->in->body.n && !type.n) {
        if (c->op->body && !c->op->body_optional)
            add(c->report, 400, NEXUS_S(""), NEXUS_S("required"), NEXUS_S("the body is empty: send JSON"));
        return NEXUS_OK;
    }
    if (!accepted(c->op->body_types, type)) {
        char detail[400];
        snprintf(detail, sizeof detail, "Content-Type is \"%.*s\": send %.*s", (int)(type.n < 100 ? type.n : 100),
                 type.p ? type.p : "", (int)(c->op->body_types.n < 200 ? c->op->body_types.n : 200),
                 c->op->body_types.p);
        add(c->report, 415, NEXUS_S("header/content-type"), NEXUS_S("media-type"), nexus__slice_c(detail));
        return NEXUS_OK;
    }
    return c->op->body && is_json(type) ? check_json(c) : NEXUS_OK;
}

/* --- the report ------------------------------------------------------------------------------ */

void nexus_openapi_input_init(nexus_openapi_input *input)
{
    *input = (nexus_openapi_input)NEXUS_OPENAPI_INPUT_INIT;
}

static const nexus__openapi_operation *find_operation(const nexus_openapi *api, const nexus_openapi_input *in)
{
    char key[1024];
    int n = snprintf(key, sizeof key, "%s %s", in->method ? in->method : "", in->path ? in->path : "");
    return n > 0 && (size_t)n < sizeof key ? nexus__map_get(&api->operations, nexus__slice(key, (size_t)n)) : NULL;
}

static nexus_status check_all(checking *c)
{
    nexus_status status = check_body(c);
    for (size_t i = 0; i < c->op->param_count && status == NEXUS_OK; i++)
        status = check_param(c, &c->op->params[i]);
    if (status == NEXUS_OK && c->report->lost)
        status = nexus__nomem();
    if (status != NEXUS_OK || !c->report->status)
        return status;
    return nexus__fail(NEXUS_EINVAL, "%.*s: %s", (int)c->op->key.n, c->op->key.p, c->report->errors[0].detail);
}

nexus_status nexus_openapi_check(const nexus_openapi *api, const nexus_openapi_input *given,
                                 nexus_openapi_report **report)
{
    nexus_openapi_input in = NEXUS_OPENAPI_INPUT_INIT;
    memcpy(&in, given, given->size < sizeof in ? given->size : sizeof in);
    if (report)
        *report = NULL;
    checking c = {.api = api, .in = &in, .op = find_operation(api, &in)};
    if (!c.op)
        return nexus__fail(NEXUS_ENOTFOUND, "%s %s is no operation of this API", in.method ? in.method : "",
                           in.path ? in.path : "");
    c.report = nexus__calloc(api->alloc, 1, sizeof *c.report);
    if (!c.report)
        return nexus__nomem();
    c.report->alloc = api->alloc;
    nexus__arena_init(&c.report->arena, api->alloc, 2048);
    nexus_status status = check_all(&c);
    if (status == NEXUS_EINVAL && report)
        *report = c.report;
    else
        nexus_openapi_report_free(c.report);
    return status;
}

uint16_t nexus_openapi_report_status(const nexus_openapi_report *report)
{
    return report->status;
}

const char *nexus_openapi_report_code(const nexus_openapi_report *report)
{
    return report->code;
}

const char *nexus_openapi_report_detail(const nexus_openapi_report *report)
{
    return report->detail;
}

const nexus_problem_error *nexus_openapi_report_errors(const nexus_openapi_report *report, size_t *n)
{
    *n = report->count;
    return report->errors;
}

void nexus_openapi_report_free(nexus_openapi_report *report)
{
    if (!report)
        return;
    nexus__arena_free(&report->arena);
    nexus__free(report->alloc, report);
}
