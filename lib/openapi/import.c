/*
 * A document becomes operations. A schema that refers to "#/components/schemas/…" is given the schemas that it reaches,
 * and no others, under the same pointer of a text of its own; so each operation stands alone, as those of a route table do.
 */
#include "openapi/import.h"

#include <stdio.h>

#include "base/status.h"
#include "json/write.h"

enum { REF_DEPTH = 8, NEEDED_MAX = 256 };

typedef nexus__openapi_operation operation;

typedef struct import {
    nexus_openapi *api;
    nexus__json doc;
    bool closed;
} import;

static nexus_status wrong(import *m, uint32_t at, const char *what)
{
    uint32_t line = 1, column = 1;
    if (at < m->doc.count)
        nexus__json_position(m->doc.text, m->doc.nodes[at].start, &line, &column);
    return nexus__fail(NEXUS_EINVAL, "%u:%u: %s", line, column, what);
}

/* What a reference within the document leads to; the value itself when it is none. */
static uint32_t resolve(import *m, uint32_t v)
{
    nexus_slice ref;
    for (int i = 0; i < REF_DEPTH && nexus__json_get_text(&m->doc, v, "$ref", &ref); i++) {
        if (!nexus__slice_starts(ref, NEXUS_S("#/")))
            return NEXUS__JSON_NONE;
        v = nexus__json_pointer(&m->doc, 0, nexus__slice_from(ref, 1));
    }
    return v;
}

/* --- schemas ------------------------------------------------------------------------------------------------------ */

typedef struct needed {
    uint32_t keys[NEEDED_MAX], values[NEEDED_MAX]; /* of components/schemas */
    size_t count;
    bool refers;
} needed;

static nexus_status need(import *m, needed *n, nexus_slice name)
{
    uint32_t schemas = nexus__json_pointer(&m->doc, 0, NEXUS_S("/components/schemas"));
    for (nexus__json_iter it = nexus__json_each(&m->doc, schemas); nexus__json_step(&m->doc, &it);) {
        if (!nexus__json_text_is(&m->doc, it.key, name))
            continue;
        for (size_t i = 0; i < n->count; i++)
            if (n->keys[i] == it.key)
                return NEXUS_OK;
        if (n->count == NEEDED_MAX)
            return wrong(m, it.key, "over 256 schemas are reached from one body");
        n->keys[n->count] = it.key;
        n->values[n->count++] = it.value;
        return NEXUS_OK;
    }
    return NEXUS_OK; /* the compiler will say so */
}

/* Notes every component that the value refers to. */
static nexus_status references(import *m, uint32_t v, needed *n)
{
    static const nexus_slice root = {"#/components/schemas/", 21};
    nexus_slice ref;
    nexus_status status = NEXUS_OK;
    for (uint32_t i = v; i + 1 < m->doc.nodes[v].next && !status; i++) {
        if (!nexus__json_text_is(&m->doc, i, NEXUS_S("$ref")) || !nexus__json_text(&m->doc, i + 1, &ref) ||
            !nexus__slice_starts(ref, root))
            continue;
        n->refers = true;
        ref = nexus__slice_from(ref, root.n);
        status = need(m, n, nexus__slice(ref.p, nexus__slice_find(ref, '/')));
    }
    return status;
}

/* The schema as a text that stands alone. */
static nexus_status own_text(import *m, uint32_t v, bool closed, nexus_slice *out)
{
    needed *n = nexus__calloc(m->api->alloc, 1, sizeof *n);
    if (!n)
        return nexus__nomem();
    nexus_status status = references(m, v, n);
    for (size_t i = 0; i < n->count && !status; i++)
        status = references(m, n->values[i], n);
    nexus__buf text;
    nexus__buf_init(&text, m->api->alloc, 0);
    if (!n->refers && !closed) {
        nexus__buf_slice_append(&text, nexus__json_raw(&m->doc, v));
    } else {
        nexus__buf_text(&text, "{\"components\":{\"schemas\":{");
        for (size_t i = 0; i < n->count; i++) {
            nexus__buf_text(&text, i ? "," : "");
            nexus__buf_slice_append(&text, nexus__json_raw(&m->doc, n->keys[i]));
            nexus__buf_char(&text, ':');
            nexus__buf_slice_append(&text, nexus__json_raw(&m->doc, n->values[i]));
        }
        nexus__buf_text(&text, closed ? "}},\"unevaluatedProperties\":false,\"allOf\":[" : "}},\"allOf\":[");
        nexus__buf_slice_append(&text, nexus__json_raw(&m->doc, v));
        nexus__buf_text(&text, "]}");
    }
    *out = nexus__arena_copy(&m->api->arena, nexus__buf_slice(&text));
    if (!status && (text.status || !out->p))
        status = nexus__nomem();
    nexus__buf_free(&text);
    nexus__free(m->api->alloc, n);
    return status;
}

/* --- parameters --------------------------------------------------------------------------------------------------- */

static nexus_status text_of(import *m, uint32_t object, const char *name, nexus_slice *out)
{
    nexus_slice text;
    if (!nexus__json_get_text(&m->doc, object, name, &text))
        return wrong(m, object, "a name, place or type is missing here");
    *out = nexus__arena_copy(&m->api->arena, text);
    return out->p ? NEXUS_OK : nexus__nomem();
}

static bool known(const operation *op, const nexus__openapi_param *param)
{
    for (size_t i = 0; i < op->param_count; i++)
        if (nexus__slice_eq(op->params[i].name, param->name) && nexus__slice_eq(op->params[i].in, param->in))
            return true;
    return false;
}

static nexus_status add_param(import *m, operation *op, uint32_t v)
{
    nexus__openapi_param param = {.schema_text = NEXUS_S("true")};
    v = resolve(m, v);
    nexus_status status = text_of(m, v, "name", &param.name);
    if (!status)
        status = text_of(m, v, "in", &param.in);
    if (status || known(op, &param) || nexus__slice_eq_c(param.in, "cookie"))
        return status;
    (void)nexus__json_get_bool(&m->doc, v, "required", &param.required);
    uint32_t schema = nexus__json_get(&m->doc, v, "schema");
    if (schema != NEXUS__JSON_NONE) {
        status = own_text(m, schema, false, &param.schema_text);
        nexus__openapi_read_kind(&m->doc, resolve(m, schema), &param);
    }
    if (!status)
        status = nexus__openapi_compile(m->api, op, param.schema_text, "schema of a parameter", &param.schema);
    if (!status)
        op->params[op->param_count++] = param;
    return status;
}

/* The operation's own first: they stand in for those of its path. */
static nexus_status add_params(import *m, operation *op, uint32_t own, uint32_t shared)
{
    nexus_status status = NEXUS_OK;
    size_t max = nexus__json_count(&m->doc, own) + nexus__json_count(&m->doc, shared) + 1;
    op->params = nexus__arena_get(&m->api->arena, max * sizeof *op->params);
    if (!op->params)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(&m->doc, own); !status && nexus__json_step(&m->doc, &it);)
        status = add_param(m, op, it.value);
    for (nexus__json_iter it = nexus__json_each(&m->doc, shared); !status && nexus__json_step(&m->doc, &it);)
        status = add_param(m, op, it.value);
    return status;
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static bool is_json(nexus_slice type)
{
    type = nexus__slice_trim(nexus__slice_cut(&type, ';'));
    return nexus__slice_ieq(type, NEXUS_S("application/json")) || nexus__slice_ends(type, NEXUS_S("+json"));
}

static nexus_status add_body(import *m, operation *op, uint32_t body)
{
    bool required = false;
    nexus__buf types;
    nexus_status status = NEXUS_OK;
    body = resolve(m, body);
    if (body == NEXUS__JSON_NONE)
        return NEXUS_OK;
    (void)nexus__json_get_bool(&m->doc, body, "required", &required);
    op->takes_body = true;
    op->body_optional = !required;
    nexus__buf_init(&types, m->api->alloc, 0);
    uint32_t content = nexus__json_get(&m->doc, body, "content");
    for (nexus__json_iter it = nexus__json_each(&m->doc, content); !status && nexus__json_step(&m->doc, &it);) {
        nexus_slice type;
        uint32_t schema = nexus__json_get(&m->doc, it.value, "schema");
        if (!nexus__json_text(&m->doc, it.key, &type))
            break;
        nexus__buf_text(&types, it.index ? "," : "");
        nexus__buf_slice_append(&types, type);
        if (!is_json(type) || op->body_text.p || schema == NEXUS__JSON_NONE)
            continue;
        status = own_text(m, schema, m->closed, &op->body_text);
        if (!status)
            status = nexus__openapi_compile(m->api, op, op->body_text, "schema of the body", &op->body);
    }
    op->body_types = nexus__arena_copy(&m->api->arena, types.len ? nexus__buf_slice(&types) : NEXUS_S("*/*"));
    nexus__buf_free(&types);
    return status || op->body_types.p ? status : nexus__nomem();
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static nexus_status name_operation(import *m, operation *op, const char *method, nexus_slice path)
{
    size_t n = strlen(method) + 1 + path.n;
    char *key = nexus__arena_get(&m->api->arena, n + 1);
    if (!key)
        return nexus__nomem();
    snprintf(key, n + 1, "%s %.*s", method, (int)path.n, path.p);
    op->key = nexus__slice(key, n);
    op->method = nexus__slice(key, strlen(method));
    op->path = op->template = nexus__slice(key + strlen(method) + 1, path.n);
    op->id = op->key;
    return NEXUS_OK;
}

static nexus_status add_operation(import *m, const char *method, nexus_slice path, uint32_t v, uint32_t item)
{
    operation *op = nexus__arena_get(&m->api->arena, sizeof *op);
    if (!op)
        return nexus__nomem();
    *op = (operation){0};
    nexus_status status = name_operation(m, op, method, path);
    if (status)
        return status;
    *m->api->last = op;
    m->api->last = &op->next;
    m->api->count++;
    status = add_body(m, op, nexus__json_get(&m->doc, v, "requestBody"));
    if (!status)
        status = add_params(m, op, nexus__json_get(&m->doc, v, "parameters"), nexus__json_get(&m->doc, item, "parameters"));
    return status ? status : nexus__map_put(&m->api->operations, op->key, op, NULL);
}

static nexus_status add_paths(import *m)
{
    static const char *const methods[][2] = {{"get", "GET"},       {"put", "PUT"},   {"post", "POST"},
                                             {"delete", "DELETE"}, {"patch", "PATCH"}, {"head", "HEAD"},
                                             {"options", "OPTIONS"}};
    uint32_t paths = nexus__json_get(&m->doc, 0, "paths");
    nexus_status status = NEXUS_OK;
    for (nexus__json_iter it = nexus__json_each(&m->doc, paths); !status && nexus__json_step(&m->doc, &it);) {
        nexus_slice path;
        uint32_t item = resolve(m, it.value);
        if (!nexus__json_text(&m->doc, it.key, &path) || !path.n || path.p[0] != '/')
            return wrong(m, it.key, "a path begins with \"/\"");
        for (size_t i = 0; i < sizeof methods / sizeof *methods && !status; i++) {
            uint32_t v = nexus__json_get(&m->doc, item, methods[i][0]);
            if (v != NEXUS__JSON_NONE)
                status = add_operation(m, methods[i][1], path, v, item);
        }
    }
    return status;
}

static nexus_status read_document(import *m, nexus_slice document)
{
    nexus_slice version;
    nexus_status status = nexus__json_scan(&m->doc, document, NULL);
    if (status)
        return status;
    if (!nexus__json_get_text(&m->doc, 0, "openapi", &version) || !nexus__slice_starts(version, NEXUS_S("3.")))
        return wrong(m, 0, "this is no OpenAPI 3 document: \"openapi\" is not \"3.…\"");
    return add_paths(m);
}

nexus_status nexus__openapi_import(nexus_openapi **out, nexus_slice document, bool closed, const nexus_alloc *alloc)
{
    nexus_openapi *api = nexus__calloc(alloc, 1, sizeof *api);
    if (!api)
        return nexus__nomem();
    api->alloc = alloc;
    api->last = &api->first;
    nexus__arena_init(&api->arena, alloc, 0);
    nexus__map_init(&api->operations, alloc);
    import m = {.api = api, .closed = closed};
    nexus__json_init(&m.doc, alloc);
    nexus_status status = read_document(&m, document);
    nexus__json_free(&m.doc);
    if (status)
        nexus_openapi_close(api);
    else
        *out = api;
    return status;
}
