/* Rows of the route table, copied and compiled. */
#include <stdio.h>

#include "base/status.h"
#include "openapi/api.h"
#include "json/read.h"

void nexus_openapi_opts_init(nexus_openapi_opts *opts)
{
    *opts = (nexus_openapi_opts)NEXUS_OPENAPI_OPTS_INIT;
}

static bool copy(nexus_openapi *api, const char *text, nexus_slice *out)
{
    *out = (nexus_slice){NULL, 0};
    if (text)
        *out = nexus__arena_copy(&api->arena, nexus__slice_c(text));
    return !text || out->p;
}

/* Compiles a schema of a row; a mistake is told with the row's name. schema NULL: only to see that it is one. */
nexus_status nexus__openapi_compile(nexus_openapi *api, const nexus__openapi_operation *op, nexus_slice text,
                                    const char *what, nexus_schema **schema)
{
    nexus_schema_opts opts = NEXUS_SCHEMA_OPTS_INIT;
    opts.alloc = api->alloc;
    opts.assert_format = true;
    nexus_schema *made = NULL;
    nexus_status status = nexus_schema_compile(&made, text.p, text.n, &opts);
    if (status != NEXUS_OK) {
        char words[400];
        strncpy(words, nexus_error_message(), sizeof words - 1);
        words[sizeof words - 1] = '\0';
        return nexus__fail(status, "route %.*s: %s: %s", (int)op->key.n, op->key.p, what, words);
    }
    if (schema)
        *schema = made;
    else
        nexus_schema_free(made);
    return NEXUS_OK;
}

/* "type" is a name or an array of names, such as ["integer", "null"]. */
static bool has_type(const nexus__json *doc, uint32_t schema, nexus_slice name)
{
    uint32_t type = nexus__json_get(doc, schema, "type");
    for (nexus__json_iter it = nexus__json_each(doc, type); nexus__json_step(doc, &it);)
        if (nexus__json_text_is(doc, it.value, name))
            return true;
    return nexus__json_text_is(doc, type, name);
}

static nexus__openapi_kind kind_of(const nexus__json *doc, uint32_t schema)
{
    if (has_type(doc, schema, NEXUS_S("integer")) || has_type(doc, schema, NEXUS_S("number")))
        return NEXUS__OPENAPI_NUMBER;
    return has_type(doc, schema, NEXUS_S("boolean")) ? NEXUS__OPENAPI_BOOL : NEXUS__OPENAPI_TEXT;
}

void nexus__openapi_read_kind(const nexus__json *doc, uint32_t schema, nexus__openapi_param *param)
{
    param->list = has_type(doc, schema, NEXUS_S("array"));
    param->kind = kind_of(doc, param->list ? nexus__json_get(doc, schema, "items") : schema);
}

static nexus_status read_kind(nexus_openapi *api, nexus__openapi_param *param)
{
    nexus__json doc;
    nexus__json_init(&doc, api->alloc);
    nexus_status status = nexus__json_scan(&doc, param->schema_text, NULL);
    if (status == NEXUS_OK)
        nexus__openapi_read_kind(&doc, 0, param);
    nexus__json_free(&doc);
    return status;
}

static nexus_status finish_param(nexus_openapi *api, nexus__openapi_operation *op, nexus__openapi_param *param)
{
    char what[160];
    snprintf(what, sizeof what, "schema of parameter \"%.*s\"", (int)(param->name.n < 100 ? param->name.n : 100),
             param->name.p);
    nexus_status status = nexus__openapi_compile(api, op, param->schema_text, what, &param->schema);
    return status == NEXUS_OK ? read_kind(api, param) : status;
}

/* The next "{name:type}" or "{name...}" of a template at *at. */
static bool next_capture(nexus_slice path, size_t *at, nexus_slice *name, nexus_slice *type)
{
    *at += nexus__slice_find(nexus__slice_from(path, *at), '{');
    if (*at >= path.n)
        return false;
    nexus_slice inner = nexus__slice_from(path, *at + 1);
    inner.n = nexus__slice_find(inner, '}');
    *at += inner.n + 2 < path.n - *at ? inner.n + 2 : path.n - *at;
    *type = inner;
    *name = nexus__slice_cut(type, ':');
    if (nexus__slice_ends(*name, NEXUS_S("...")))
        name->n -= 3;
    return true;
}

static nexus__openapi_param *find_param(nexus__openapi_operation *op, nexus_slice in, nexus_slice name)
{
    for (size_t i = 0; i < op->param_count; i++)
        if (nexus__slice_eq(op->params[i].in, in) && nexus__slice_eq(op->params[i].name, name))
            return &op->params[i];
    return NULL;
}

/* Path parameters that the row does not describe are described by their place in the template. */
static void add_captures(nexus__openapi_operation *op)
{
    nexus_slice name, type;
    for (size_t at = 0; next_capture(op->path, &at, &name, &type);) {
        nexus__openapi_param *param = find_param(op, NEXUS_S("path"), name);
        if (!param) {
            param = &op->params[op->param_count++];
            *param = (nexus__openapi_param){.name = name, .in = NEXUS_S("path")};
            param->schema_text = nexus__slice_eq_c(type, "int") ? NEXUS_S("{\"type\":\"integer\"}")
                                 : nexus__slice_eq_c(type, "uuid")
                                     ? NEXUS_S("{\"type\":\"string\",\"format\":\"uuid\"}")
                                     : NEXUS_S("{\"type\":\"string\"}");
        }
        param->required = true;
    }
}

static nexus_status copy_params(nexus_openapi *api, nexus__openapi_operation *op, const nexus_route *row)
{
    size_t captures = 0, at = 0;
    nexus_slice name, type;
    while (next_capture(op->path, &at, &name, &type))
        captures++;
    op->params = nexus__arena_get(&api->arena, (row->param_count + captures + 1) * sizeof *op->params);
    if (!op->params)
        return nexus__nomem();
    for (size_t i = 0; i < row->param_count; i++) {
        const nexus_param *from = &row->params[i];
        nexus__openapi_param *to = &op->params[op->param_count++];
        *to = (nexus__openapi_param){.required = from->required};
        if (!copy(api, from->name, &to->name) || !copy(api, from->in ? from->in : "query", &to->in) ||
            !copy(api, from->description, &to->description) ||
            !copy(api, from->schema ? from->schema : "{\"type\":\"string\"}", &to->schema_text))
            return nexus__nomem();
    }
    add_captures(op);
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < op->param_count && status == NEXUS_OK; i++)
        status = finish_param(api, op, &op->params[i]);
    return status;
}

static nexus_status copy_replies(nexus_openapi *api, nexus__openapi_operation *op, const nexus_route *row)
{
    op->replies = nexus__arena_get(&api->arena, (row->reply_count + 1) * sizeof *op->replies);
    if (!op->replies)
        return nexus__nomem();
    for (size_t i = 0; i < row->reply_count; i++) {
        nexus__openapi_reply *to = &op->replies[op->reply_count++];
        to->status = row->replies[i].status;
        if (!copy(api, row->replies[i].description, &to->description) ||
            !copy(api, row->replies[i].schema, &to->schema_text))
            return nexus__nomem();
        if (!to->schema_text.p)
            continue;
        nexus_status status = nexus__openapi_compile(api, op, to->schema_text, "schema of a reply", NULL);
        if (status != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

/* "/orders/{id:int}" as "/orders/{id}" */
static bool plain_template(nexus_openapi *api, nexus__openapi_operation *op)
{
    char *text = nexus__arena_get(&api->arena, op->path.n + 1);
    if (!text)
        return false;
    size_t n = 0;
    bool type = false;
    for (size_t i = 0; i < op->path.n; i++) {
        char c = op->path.p[i];
        type = c == '}' ? false
                        : type || c == ':' ||
                              (c == '.' && nexus__slice_starts(nexus__slice_from(op->path, i), NEXUS_S("...}")));
        if (!type)
            text[n++] = c;
    }
    op->template = nexus__slice(text, n);
    return true;
}

static bool make_key(nexus_openapi *api, nexus__openapi_operation *op)
{
    char *key = nexus__arena_get(&api->arena, op->method.n + op->path.n + 1);
    if (!key)
        return false;
    memcpy(key, op->method.p, op->method.n);
    key[op->method.n] = ' ';
    memcpy(key + op->method.n + 1, op->path.p, op->path.n);
    op->key = nexus__slice(key, op->method.n + op->path.n + 1);
    return true;
}

static nexus_status enlist(nexus_openapi *api, nexus__openapi_operation *op)
{
    nexus__openapi_operation *before = NULL;
    for (nexus__openapi_operation *o = api->first; o; o = o->next) {
        if (nexus__slice_eq(o->id, op->id))
            return nexus__fail(NEXUS_EINVAL, "operation_id \"%.*s\" stands at %.*s and at %.*s: rename one",
                               (int)op->id.n, op->id.p, (int)o->key.n, o->key.p, (int)op->key.n, op->key.p);
        if (!o->same_path && !before && nexus__slice_eq(o->template, op->template))
            before = o;
    }
    if (before)
        before->same_path = op;
    return NEXUS_OK;
}

static nexus_status add_row(nexus_openapi *api, const nexus_route *given)
{
    nexus_route row = NEXUS_ROUTE_INIT;
    memcpy(&row, given, given->size < sizeof row ? given->size : sizeof row);
    if (!row.operation_id || !row.method || strcmp(row.method, "*") == 0 || (row.flags & NEXUS_ROUTE_FALLBACK))
        return NEXUS_OK;
    nexus__openapi_operation *op = nexus__arena_get(&api->arena, sizeof *op);
    if (!op)
        return nexus__nomem();
    *op = (nexus__openapi_operation){.takes_body = row.body_schema || row.body_types};
    if (!copy(api, row.method, &op->method) || !copy(api, row.path, &op->path) || !copy(api, row.operation_id, &op->id) ||
        !copy(api, row.summary, &op->summary) || !copy(api, row.tag, &op->tag) || !copy(api, row.roles, &op->roles) ||
        !copy(api, row.permission, &op->permission) || !copy(api, row.body_schema, &op->body_text) ||
        !copy(api, row.body_types ? row.body_types : "application/json", &op->body_types) || !make_key(api, op) ||
        !plain_template(api, op))
        return nexus__nomem();
    nexus_status status = enlist(api, op);
    if (status != NEXUS_OK)
        return status;
    *api->last = op;
    api->last = &op->next;
    api->count++;
    if (op->body_text.p)
        status = nexus__openapi_compile(api, op, op->body_text, "body_schema", &op->body);
    if (status == NEXUS_OK)
        status = copy_params(api, op, &row);
    if (status == NEXUS_OK)
        status = copy_replies(api, op, &row);
    return status == NEXUS_OK ? nexus__map_put(&api->operations, op->key, op, NULL) : status;
}

nexus_status nexus_openapi_open(nexus_openapi **out, const nexus_route *routes, size_t n,
                                const nexus_openapi_opts *given)
{
    nexus_openapi_opts opts = NEXUS_OPENAPI_OPTS_INIT;
    if (given)
        memcpy(&opts, given, given->size < sizeof opts ? given->size : sizeof opts);
    nexus_openapi *api = nexus__calloc(opts.alloc, 1, sizeof *api);
    if (!api)
        return nexus__nomem();
    api->alloc = opts.alloc;
    api->last = &api->first;
    nexus__arena_init(&api->arena, opts.alloc, 0);
    nexus__map_init(&api->operations, opts.alloc);
    nexus_status status = NEXUS_OK;
    const char *row = (const char *)routes; /* rows of another version have another size */
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        status = add_row(api, (const nexus_route *)(const void *)row);
        row += ((const nexus_route *)(const void *)row)->size;
    }
    if (status == NEXUS_OK)
        status = nexus__openapi_write(api, &opts);
    if (status == NEXUS_OK)
        *out = api;
    else
        nexus_openapi_close(api);
    return status;
}

void nexus_openapi_close(nexus_openapi *api)
{
    if (!api)
        return;
    for (nexus__openapi_operation *op = api->first; op; op = op->next) {
        nexus_schema_free(op->body);
        for (size_t i = 0; i < op->param_count; i++)
            nexus_schema_free(op->params[i].schema);
    }
    nexus__map_free(&api->operations);
    nexus__arena_free(&api->arena);
    nexus__free(api->alloc, api);
}

void nexus_openapi_document(const nexus_openapi *api, nexus_slice *out)
{
    *out = api->document;
}

size_t nexus_openapi_operations(const nexus_openapi *api)
{
    return api->count;
}
