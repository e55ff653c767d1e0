/* Documents, the resources and anchors in them, and where references lead. */
#include "base/codec.h"
#include "base/status.h"
#include "json/schema/compiled.h"
#include "json/schema/uri.h"

nexus_status nexus__schema_text(nexus__schema_compiler *c, const nexus__json *json, uint32_t v, nexus_slice *out)
{
    nexus_slice raw = nexus__json_raw(json, v);
    char *copy = nexus__arena_get(&c->schema->arena, raw.n);
    if (!copy)
        return nexus__nomem();
    *out = nexus__slice(copy, nexus__json_unescape(nexus__slice(raw.p + 1, raw.n - 2), copy));
    return NEXUS_OK;
}

static nexus_slice joined(nexus__schema_compiler *c, nexus_slice uri, nexus_slice anchor)
{
    char *key = nexus__arena_get(&c->schema->arena, uri.n + anchor.n + 1);
    if (!key)
        return (nexus_slice){NULL, 0};
    if (uri.n)
        memcpy(key, uri.p, uri.n);
    key[uri.n] = '#';
    if (anchor.n)
        memcpy(key + uri.n + 1, anchor.p, anchor.n);
    return nexus__slice(key, uri.n + anchor.n + 1);
}

/* Anchors and resources share one table: "uri#anchor", and "uri#" for the resource itself. */
static nexus_status put_place(nexus__schema_compiler *c, nexus__schema_resource *resource, nexus_slice anchor,
                              uint32_t at)
{
    nexus_slice key = joined(c, resource->uri, anchor);
    nexus__schema_place *place = nexus__arena_get(&c->schema->arena, sizeof *place);
    if (!key.p || !place)
        return nexus__nomem();
    *place = (nexus__schema_place){resource, at};
    if (nexus__map_get(&c->schema->places, key))
        return NEXUS_OK; /* the first of a name stays, as with any duplicate definition */
    return nexus__map_put(&c->schema->places, key, place, NULL);
}

static const nexus__schema_place *get_place(nexus__schema_compiler *c, nexus_slice uri, nexus_slice anchor)
{
    nexus_slice key = joined(c, uri, anchor);
    return key.p ? nexus__map_get(&c->schema->places, key) : NULL;
}

/* "$schema" of a resource: a dialect that the caller gave as a remote may leave vocabularies out. */
static void read_dialect(nexus__schema_compiler *c, nexus__schema_resource *resource)
{
    nexus_slice dialect;
    uint32_t v = nexus__json_get(&resource->doc->json, resource->root, "$schema");
    resource->assert_format = c->opts->assert_format;
    if (!nexus__json_is(&resource->doc->json, v, NEXUS__JSON_STRING) ||
        nexus__schema_text(c, &resource->doc->json, v, &dialect) != NEXUS_OK)
        return;
    for (size_t i = 0; i < c->opts->remote_count; i++) {
        if (!nexus__slice_eq(c->opts->remotes[i].name, dialect))
            continue;
        nexus__json meta;
        nexus__json_init(&meta, c->schema->alloc);
        if (nexus__json_scan(&meta, c->opts->remotes[i].value, NULL) == NEXUS_OK) {
            uint32_t known = nexus__json_get(&meta, 0, "$vocabulary");
            static const char validation[] = "https://json-schema.org/draft/2020-12/vocab/validation";
            static const char assertion[] = "https://json-schema.org/draft/2020-12/vocab/format-assertion";
            resource->no_validation =
                known != NEXUS__JSON_NONE && nexus__json_get(&meta, known, validation) == NEXUS__JSON_NONE;
            resource->assert_format |= nexus__json_get(&meta, known, assertion) != NEXUS__JSON_NONE;
        }
        nexus__json_free(&meta);
    }
}

static nexus_status new_resource(nexus__schema_compiler *c, nexus__schema_document *doc, uint32_t at, nexus_slice uri,
                                 nexus__schema_resource **out)
{
    nexus__schema_resource *resource = nexus__arena_get(&c->schema->arena, sizeof *resource);
    if (!resource)
        return nexus__nomem();
    uri.n = nexus__slice_find(uri, '#');
    *resource = (nexus__schema_resource){.next = c->schema->resources, .uri = uri, .doc = doc, .root = at};
    c->schema->resources = resource;
    read_dialect(c, resource);
    *out = resource;
    return put_place(c, resource, NEXUS_S(""), at);
}

static nexus_status add_anchors(nexus__schema_compiler *c, nexus__schema_resource *resource, uint32_t at)
{
    const nexus__json *json = &resource->doc->json;
    static const char *const keywords[] = {"$anchor", "$dynamicAnchor"};
    for (int dynamic = 0; dynamic < 2; dynamic++) {
        uint32_t v = nexus__json_get(json, at, keywords[dynamic]);
        nexus_slice name;
        if (!nexus__json_is(json, v, NEXUS__JSON_STRING))
            continue;
        nexus_status status = nexus__schema_text(c, json, v, &name);
        if (status == NEXUS_OK)
            status = put_place(c, resource, name, at);
        if (status != NEXUS_OK)
            return status;
        if (!dynamic)
            continue;
        nexus__schema_anchor *anchor = nexus__arena_get(&c->schema->arena, sizeof *anchor);
        if (!anchor)
            return nexus__nomem();
        *anchor = (nexus__schema_anchor){.next = resource->anchors, .name = name, .at = at};
        resource->anchors = anchor;
    }
    return NEXUS_OK;
}

enum { ONE, LIST, TABLE };

/* Where schemas stand inside a schema. Anything else ("enum", unknown keywords) is data. */
static const struct {
    const char *keyword;
    int shape;
} children[] = {
    {"$defs", TABLE},
    {"additionalProperties", ONE},
    {"allOf", LIST},
    {"anyOf", LIST},
    {"contains", ONE},
    {"contentSchema", ONE},
    {"definitions", TABLE},
    {"dependentSchemas", TABLE},
    {"else", ONE},
    {"if", ONE},
    {"items", ONE},
    {"not", ONE},
    {"oneOf", LIST},
    {"patternProperties", TABLE},
    {"prefixItems", LIST},
    {"properties", TABLE},
    {"propertyNames", ONE},
    {"then", ONE},
    {"unevaluatedItems", ONE},
    {"unevaluatedProperties", ONE},
};

/* As deep as the document, and so bounded by its limit. */
static nexus_status collect(nexus__schema_compiler *c, nexus__schema_document *doc, uint32_t at,
                            nexus__schema_resource *resource)
{
    const nexus__json *json = &doc->json;
    nexus_status status = NEXUS_OK;
    nexus_slice id;
    uint32_t id_at = nexus__json_get(json, at, "$id");
    if (doc->resources[at])
        return NEXUS_OK;
    if (nexus__json_is(json, id_at, NEXUS__JSON_STRING)) {
        status = nexus__schema_text(c, json, id_at, &id);
        if (status == NEXUS_OK &&
            !(id = nexus__uri_resolve(&c->schema->arena, resource ? resource->uri : doc->uri, id)).p)
            status = nexus__nomem();
        if (status == NEXUS_OK)
            status = new_resource(c, doc, at, id, &resource);
    } else if (!resource) {
        status = new_resource(c, doc, at, doc->uri, &resource);
    }
    doc->resources[at] = resource;
    if (status == NEXUS_OK)
        status = add_anchors(c, resource, at);
    for (size_t i = 0; i < sizeof children / sizeof *children && status == NEXUS_OK; i++) {
        uint32_t v = nexus__json_get(json, at, children[i].keyword);
        if (v == NEXUS__JSON_NONE)
            continue;
        if (children[i].shape == ONE)
            status = collect(c, doc, v, resource);
        else
            for (nexus__json_iter it = nexus__json_each(json, v); status == NEXUS_OK && nexus__json_step(json, &it);)
                status = collect(c, doc, it.value, resource);
    }
    return status;
}

nexus_status nexus__schema_document_add(nexus__schema_compiler *c, nexus_slice uri, nexus_slice text,
                                        nexus__schema_document **out)
{
    nexus_schema *schema = c->schema;
    if (text.n > c->bytes_max)
        return nexus__fail(NEXUS_ETOOBIG, "the schema has %zu bytes; schema_bytes_max is %llu", text.n,
                           (unsigned long long)c->bytes_max);
    nexus__schema_document *doc = nexus__arena_get(&schema->arena, sizeof *doc);
    nexus_slice copy = nexus__arena_copy(&schema->arena, text);
    uri = nexus__arena_copy(&schema->arena, uri);
    if (!doc || !copy.p || !uri.p)
        return nexus__nomem();
    *doc = (nexus__schema_document){.next = schema->documents, .uri = uri};
    nexus__json_init(&doc->json, schema->alloc);
    schema->documents = doc;
    nexus_status status = nexus__json_scan(&doc->json, copy, &(nexus__json_limits){.max_depth = schema->depth_max});
    if (status != NEXUS_OK)
        return status;
    size_t bytes = doc->json.count * sizeof(void *);
    doc->resources = nexus__arena_get(&schema->arena, bytes);
    doc->nodes = nexus__arena_get(&schema->arena, bytes);
    if (!doc->resources || !doc->nodes)
        return nexus__nomem();
    memset(doc->resources, 0, bytes);
    memset(doc->nodes, 0, bytes);
    *out = doc;
    return collect(c, doc, 0, NULL);
}

/* The resource of a URI, from a remote or the standard when it is not known yet. */
static nexus_status find_resource(nexus__schema_compiler *c, nexus_slice uri, const nexus__schema_place **out)
{
    *out = get_place(c, uri, NEXUS_S(""));
    if (*out)
        return NEXUS_OK;
    nexus_slice text = {NULL, 0};
    for (size_t i = 0; i < c->opts->remote_count && !text.p; i++)
        if (nexus__slice_eq(c->opts->remotes[i].name, uri))
            text = c->opts->remotes[i].value;
    if (!text.p && !nexus__schema_meta(uri, &text))
        return nexus__fail(NEXUS_ENOTFOUND, "\"$ref\" to %.*s: no such schema; give it in remotes", (int)uri.n, uri.p);
    nexus__schema_document *doc;
    nexus_status status = nexus__schema_document_add(c, uri, text, &doc);
    if (status != NEXUS_OK)
        return status;
    *out = get_place(c, uri, NEXUS_S(""));
    if (*out)
        return NEXUS_OK;
    /* its "$id" says another name than the one it was asked by: it is known by both */
    nexus__schema_place *place = nexus__arena_get(&c->schema->arena, sizeof *place);
    nexus_slice key = joined(c, uri, NEXUS_S(""));
    if (!place || !key.p)
        return nexus__nomem();
    *place = (nexus__schema_place){doc->resources[0], 0};
    *out = place;
    return nexus__map_put(&c->schema->places, key, place, NULL);
}

/* Follows a pointer, noting the resource it passes into; what was never seen as a schema is collected as one now. */
static nexus_status follow(nexus__schema_compiler *c, nexus__schema_resource *resource, uint32_t at,
                           nexus_slice pointer, nexus__schema_place *out)
{
    nexus__schema_document *doc = resource->doc;
    for (size_t end = 0; end < pointer.n && at != NEXUS__JSON_NONE; pointer = nexus__slice_from(pointer, end), end = 0) {
        do
            end++;
        while (end < pointer.n && pointer.p[end] != '/');
        at = nexus__json_pointer(&doc->json, at, nexus__slice(pointer.p, end));
        if (at != NEXUS__JSON_NONE && doc->resources[at])
            resource = doc->resources[at];
    }
    if (at == NEXUS__JSON_NONE)
        return NEXUS_ENOTFOUND;
    *out = (nexus__schema_place){resource, at};
    nexus_status status = doc->resources[at] ? NEXUS_OK : collect(c, doc, at, resource);
    out->resource = doc->resources[at];
    return status;
}

nexus_status nexus__schema_resolve(nexus__schema_compiler *c, const nexus__schema_resource *from, nexus_slice reference,
                                   nexus__schema_place *out)
{
    nexus_slice uri = nexus__uri_resolve(&c->schema->arena, from->uri, reference);
    if (!uri.p)
        return nexus__nomem();
    size_t hash = nexus__slice_find(uri, '#'), n = 0;
    nexus_slice encoded = nexus__slice_from(uri, hash < uri.n ? hash + 1 : hash);
    uri.n = hash;
    char *fragment = nexus__arena_get(&c->schema->arena, encoded.n);
    if (!fragment)
        return nexus__nomem();
    const nexus__schema_place *place;
    nexus_status status = find_resource(c, uri, &place);
    if (status != NEXUS_OK)
        return status;
    if (!nexus__percent_decode(encoded, false, fragment, &n))
        return nexus__fail(NEXUS_EINVAL, "\"$ref\": %.*s: a broken percent escape", (int)reference.n, reference.p);
    nexus_slice inside = nexus__slice(fragment, n);
    status = NEXUS_ENOTFOUND;
    if (!inside.n || inside.p[0] == '/')
        status = follow(c, place->resource, place->at, inside, out);
    else if ((place = get_place(c, place->resource->uri, inside)))
        status = follow(c, place->resource, place->at, NEXUS_S(""), out);
    if (status == NEXUS_ENOTFOUND)
        nexus__fail(status, "\"$ref\": %.*s: nothing stands at that place", (int)reference.n, reference.p);
    return status;
}
