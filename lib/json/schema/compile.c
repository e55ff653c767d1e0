/* From schema text to checks. Each keyword is a row of the table below; the order of checks is the table's. */
#include "base/list.h"
#include "base/status.h"
#include "json/schema/compiled.h"

enum {
    NUMBERS = 1u << NEXUS__JSON_INT | 1u << NEXUS__JSON_REAL,
    STRINGS = 1u << NEXUS__JSON_STRING,
    ARRAYS = 1u << NEXUS__JSON_ARRAY,
    OBJECTS = 1u << NEXUS__JSON_OBJECT,
    ANY = 0xffff,
};

typedef struct keyword keyword;

/* One keyword at one place. */
typedef struct site {
    nexus__schema_compiler *c;
    nexus__schema_node *node;
    const nexus__json *json;
    const keyword *row;
    uint32_t v; /* the keyword's value */
} site;

struct keyword {
    const char *name;
    nexus_status (*compile)(site *s);
    nexus__schema_check_fn *fn;
    uint32_t types;
    bool validation; /* of the validation vocabulary, which a dialect may leave out */
};

static void *get(site *s, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *p = nexus__arena_get(&s->c->schema->arena, bytes ? bytes : 1);
    return p ? memset(p, 0, bytes) : NULL;
}

static nexus_status wrong(site *s, const char *what)
{
    nexus__buf pointer;
    nexus__buf_init(&pointer, s->c->schema->alloc, 0);
    nexus__json_pointer_append(s->json, s->v, &pointer);
    nexus_status status =
        nexus__fail(NEXUS_EINVAL, "schema at \"%.*s\": %s", (int)pointer.len, pointer.p ? pointer.p : "", what);
    nexus__buf_free(&pointer);
    return status;
}

static nexus__schema_check *add(site *s)
{
    nexus__schema_check *check = get(s, 1, sizeof *check);
    if (!check) {
        nexus__nomem();
        return NULL;
    }
    check->fn = s->row->fn;
    check->types = s->row->types;
    check->keyword = s->row->name;
    *s->node->last = check;
    s->node->last = &check->next;
    return check;
}

static nexus_status child(site *s, uint32_t v, const nexus__schema_node **out)
{
    nexus__json_type type = nexus__json_type_of(s->json, v);
    if (type != NEXUS__JSON_OBJECT && type != NEXUS__JSON_TRUE && type != NEXUS__JSON_FALSE) {
        s->v = v;
        return wrong(s, "a schema is an object, true or false");
    }
    *out = nexus__schema_node_at(s->c, s->node->doc, v);
    return *out ? NEXUS_OK : nexus__nomem();
}

static uint32_t sibling(const site *s, const char *name)
{
    return nexus__json_get(s->json, s->node->at, name);
}

static nexus_status type_bits(site *s, uint32_t v, uint32_t *mask)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } rows[] = {{"null", 1u << NEXUS__JSON_NULL},
                {"boolean", 1u << NEXUS__JSON_TRUE | 1u << NEXUS__JSON_FALSE},
                {"object", OBJECTS},
                {"array", ARRAYS},
                {"string", STRINGS},
                {"number", NUMBERS},
                {"integer", 1u << NEXUS__JSON_INT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (nexus__json_text_is(s->json, v, nexus__slice_c(rows[i].name))) {
            *mask |= rows[i].bits;
            return NEXUS_OK;
        }
    return wrong(s, "\"type\" is one of null, boolean, object, array, string, number, integer, or a list of them");
}

static nexus_status compile_type(site *s)
{
    uint32_t mask = 0;
    nexus_status status = NEXUS_OK;
    nexus__json_iter it = nexus__json_each(s->json, s->v);
    if (!nexus__json_is(s->json, s->v, NEXUS__JSON_ARRAY))
        status = type_bits(s, s->v, &mask);
    else
        while (status == NEXUS_OK && nexus__json_step(s->json, &it))
            status = type_bits(s, it.value, &mask);
    nexus__schema_check *check = status == NEXUS_OK ? add(s) : NULL;
    if (!check)
        return status == NEXUS_OK ? NEXUS_ENOMEM : status;
    check->mask = mask;
    return NEXUS_OK;
}

static nexus_status compile_value(site *s) /* const, enum */
{
    if (s->row->fn == nexus__check_enum && !nexus__json_is(s->json, s->v, NEXUS__JSON_ARRAY))
        return wrong(s, "\"enum\" is a list of values");
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    check->value.doc = s->node->doc;
    check->value.at = s->v;
    return NEXUS_OK;
}

static nexus_status compile_number(site *s)
{
    nexus__json_type type = nexus__json_type_of(s->json, s->v);
    if (type != NEXUS__JSON_INT && type != NEXUS__JSON_REAL)
        return wrong(s, "this keyword needs a number");
    nexus__decimal value = nexus__decimal_of(nexus__json_raw(s->json, s->v));
    if (s->row->fn == nexus__check_multiple_of && (!value.count || value.negative))
        return wrong(s, "\"multipleOf\" needs a number above 0");
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    check->number.value = value;
    check->number.text = nexus__json_raw(s->json, s->v);
    return NEXUS_OK;
}

static nexus_status count_of(site *s, uint32_t v, uint64_t *out)
{
    if (nexus__json_u64(s->json, v, out))
        return NEXUS_OK;
    s->v = v;
    return wrong(s, "this keyword needs a whole number from 0 on");
}

static nexus_status compile_limit(site *s)
{
    uint64_t limit;
    nexus_status status = count_of(s, s->v, &limit);
    if (status != NEXUS_OK)
        return status;
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    check->limit = limit;
    return NEXUS_OK;
}

static nexus_status regex_of(site *s, uint32_t v, nexus__schema_pattern *out)
{
    nexus_schema *schema = s->c->schema;
    nexus__schema_regex *keep = get(s, 1, sizeof *keep);
    nexus_status status = keep ? nexus__schema_text(s->c, s->json, v, &out->text) : nexus__nomem();
    if (status != NEXUS_OK)
        return status;
    status = nexus__regex_compile(&keep->regex, out->text, schema->alloc);
    if (status != NEXUS_OK)
        return status;
    keep->next = schema->regexes;
    schema->regexes = keep;
    out->regex = keep->regex;
    return NEXUS_OK;
}

static nexus_status compile_pattern(site *s)
{
    if (!nexus__json_is(s->json, s->v, NEXUS__JSON_STRING))
        return wrong(s, "\"pattern\" is a string");
    nexus__schema_pattern pattern = {0};
    nexus_status status = regex_of(s, s->v, &pattern);
    if (status != NEXUS_OK)
        return status;
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    check->pattern = pattern;
    return NEXUS_OK;
}

static nexus_status compile_format(site *s)
{
    nexus_slice name;
    if (!s->node->resource->assert_format || !nexus__json_is(s->json, s->v, NEXUS__JSON_STRING))
        return NEXUS_OK;
    nexus_status status = nexus__schema_text(s->c, s->json, s->v, &name);
    nexus__format_fn *fn = status == NEXUS_OK ? nexus__format_find(name) : NULL;
    if (!fn)
        return status;
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    check->format.fn = fn;
    check->format.name = name;
    return NEXUS_OK;
}

static nexus_status compile_flag(site *s) /* uniqueItems */
{
    bool on;
    if (!nexus__json_bool(s->json, s->v, &on))
        return wrong(s, "this keyword is true or false");
    return !on || add(s) ? NEXUS_OK : NEXUS_ENOMEM;
}

static nexus_status names_of(site *s, uint32_t v, const nexus_slice **out, uint32_t *count)
{
    if (!nexus__json_is(s->json, v, NEXUS__JSON_ARRAY))
        return wrong(s, "a list of member names is expected");
    nexus_slice *names = get(s, nexus__json_count(s->json, v), sizeof *names);
    if (!names)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(s->json, v); nexus__json_step(s->json, &it);) {
        if (!nexus__json_is(s->json, it.value, NEXUS__JSON_STRING))
            return wrong(s, "a list of member names is expected");
        nexus_status status = nexus__schema_text(s->c, s->json, it.value, &names[it.index]);
        if (status != NEXUS_OK)
            return status;
    }
    *out = names;
    *count = nexus__json_count(s->json, v);
    return NEXUS_OK;
}

static nexus_status compile_required(site *s)
{
    const nexus_slice *names;
    uint32_t count;
    nexus_status status = names_of(s, s->v, &names, &count);
    if (status != NEXUS_OK)
        return status;
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    check->required.names = names;
    check->required.count = count;
    return NEXUS_OK;
}

static nexus_status compile_dependent(site *s) /* dependentRequired, dependentSchemas */
{
    if (!nexus__json_is(s->json, s->v, NEXUS__JSON_OBJECT))
        return wrong(s, "this keyword is an object");
    nexus__schema_name *rows = get(s, nexus__json_count(s->json, s->v), sizeof *rows);
    nexus_status status = rows ? NEXUS_OK : nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(s->json, s->v); status == NEXUS_OK && nexus__json_step(s->json, &it);) {
        nexus__schema_name *row = &rows[it.index];
        status = nexus__schema_text(s->c, s->json, it.key, &row->name);
        if (status == NEXUS_OK && s->row->fn == nexus__check_dependent_schemas)
            status = child(s, it.value, &row->schema);
        else if (status == NEXUS_OK)
            status = names_of(s, it.value, &row->names, &row->name_count);
    }
    nexus__schema_check *check = status == NEXUS_OK ? add(s) : NULL;
    if (!check)
        return status == NEXUS_OK ? NEXUS_ENOMEM : status;
    check->dependent.rows = rows;
    check->dependent.count = nexus__json_count(s->json, s->v);
    return NEXUS_OK;
}

static nexus_status compile_properties(site *s, uint32_t v, nexus__map **out)
{
    if (!nexus__json_is(s->json, v, NEXUS__JSON_OBJECT))
        return wrong(s, "\"properties\" is an object of schemas");
    nexus__schema_map *map = get(s, 1, sizeof *map);
    nexus__schema_name *rows = get(s, nexus__json_count(s->json, v), sizeof *rows);
    if (!map || !rows)
        return nexus__nomem();
    nexus__map_init(&map->map, s->c->schema->alloc);
    map->next = s->c->schema->maps;
    s->c->schema->maps = map;
    nexus_status status = NEXUS_OK;
    for (nexus__json_iter it = nexus__json_each(s->json, v); status == NEXUS_OK && nexus__json_step(s->json, &it);) {
        nexus__schema_name *row = &rows[it.index];
        status = nexus__schema_text(s->c, s->json, it.key, &row->name);
        if (status == NEXUS_OK)
            status = child(s, it.value, &row->schema);
        if (status == NEXUS_OK)
            status = nexus__map_put(&map->map, row->name, row, NULL);
    }
    *out = &map->map;
    return status;
}

static nexus_status compile_patterns(site *s, uint32_t v, const nexus__schema_pattern **out, uint32_t *count)
{
    if (!nexus__json_is(s->json, v, NEXUS__JSON_OBJECT))
        return wrong(s, "\"patternProperties\" is an object of schemas");
    nexus__schema_pattern *patterns = get(s, nexus__json_count(s->json, v), sizeof *patterns);
    nexus_status status = patterns ? NEXUS_OK : nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(s->json, v); status == NEXUS_OK && nexus__json_step(s->json, &it);) {
        status = regex_of(s, it.key, &patterns[it.index]);
        if (status == NEXUS_OK)
            status = child(s, it.value, &patterns[it.index].schema);
    }
    *out = patterns;
    *count = nexus__json_count(s->json, v);
    return status;
}

/* properties, patternProperties and additionalProperties look at the same members: one check does all three, and is
 * made at the first of them that is there. */
static nexus_status compile_members(site *s)
{
    uint32_t properties = sibling(s, "properties"), patterns = sibling(s, "patternProperties");
    uint32_t additional = sibling(s, "additionalProperties");
    uint32_t first = properties != NEXUS__JSON_NONE ? properties : patterns != NEXUS__JSON_NONE ? patterns : additional;
    if (s->v != first)
        return NEXUS_OK;
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    nexus_status status = NEXUS_OK;
    if (properties != NEXUS__JSON_NONE)
        status = compile_properties(s, properties, &check->members.names);
    if (status == NEXUS_OK && patterns != NEXUS__JSON_NONE)
        status = compile_patterns(s, patterns, &check->members.patterns, &check->members.pattern_count);
    if (status == NEXUS_OK && additional != NEXUS__JSON_NONE)
        status = child(s, additional, &check->members.additional);
    return status;
}

static nexus_status compile_one(site *s)
{
    const nexus__schema_node *schema;
    nexus_status status = child(s, s->v, &schema);
    if (status != NEXUS_OK)
        return status;
    nexus__schema_check *check = add(s);
    if (!check)
        return NEXUS_ENOMEM;
    check->one.schema = schema;
    s->node->unevaluated |=
        s->row->fn == nexus__check_unevaluated_items || s->row->fn == nexus__check_unevaluated_properties;
    if (s->row->fn == nexus__check_items)
        check->one.from = nexus__json_count(s->json, sibling(s, "prefixItems"));
    return NEXUS_OK;
}

static nexus_status compile_contains(site *s)
{
    uint64_t min = 1, max = UINT64_MAX;
    uint32_t at_least = sibling(s, "minContains"), at_most = sibling(s, "maxContains");
    nexus_status status = NEXUS_OK;
    if (at_least != NEXUS__JSON_NONE && !s->node->resource->no_validation)
        status = count_of(s, at_least, &min);
    if (status == NEXUS_OK && at_most != NEXUS__JSON_NONE && !s->node->resource->no_validation)
        status = count_of(s, at_most, &max);
    if (status == NEXUS_OK)
        status = compile_one(s);
    if (status != NEXUS_OK)
        return status;
    nexus__schema_check *check = NEXUS__CONTAINER(s->node->last, nexus__schema_check, next);
    check->one.min = min;
    check->one.max = max;
    return NEXUS_OK;
}

static nexus_status compile_if(site *s)
{
    static const char *const names[] = {"then", "else"};
    const nexus__schema_node *branches[2] = {NULL, NULL};
    nexus_status status = NEXUS_OK;
    for (int i = 0; i < 2 && status == NEXUS_OK; i++)
        if (sibling(s, names[i]) != NEXUS__JSON_NONE)
            status = child(s, sibling(s, names[i]), &branches[i]);
    if (status == NEXUS_OK)
        status = compile_one(s);
    if (status != NEXUS_OK)
        return status;
    nexus__schema_check *check = NEXUS__CONTAINER(s->node->last, nexus__schema_check, next);
    check->one.then = branches[0];
    check->one.otherwise = branches[1];
    return NEXUS_OK;
}

static nexus_status compile_list(site *s) /* allOf, anyOf, oneOf, prefixItems */
{
    uint32_t count = nexus__json_count(s->json, s->v);
    if (!nexus__json_is(s->json, s->v, NEXUS__JSON_ARRAY))
        return wrong(s, "this keyword is a list of schemas");
    const nexus__schema_node **schemas = get(s, count, sizeof *schemas);
    nexus_status status = schemas ? NEXUS_OK : nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(s->json, s->v); status == NEXUS_OK && nexus__json_step(s->json, &it);)
        status = child(s, it.value, &schemas[it.index]);
    nexus__schema_check *check = status == NEXUS_OK ? add(s) : NULL;
    if (!check)
        return status == NEXUS_OK ? NEXUS_ENOMEM : status;
    check->list.schemas = schemas;
    check->list.count = count;
    return NEXUS_OK;
}

static nexus_status compile_ref(site *s)
{
    nexus_slice reference;
    nexus__schema_place place;
    if (!nexus__json_is(s->json, s->v, NEXUS__JSON_STRING))
        return wrong(s, "a reference is a string");
    nexus_status status = nexus__schema_text(s->c, s->json, s->v, &reference);
    if (status == NEXUS_OK)
        status = nexus__schema_resolve(s->c, s->node->resource, reference, &place);
    if (status != NEXUS_OK)
        return status;
    nexus__json_type type = nexus__json_type_of(&place.resource->doc->json, place.at);
    if (type != NEXUS__JSON_OBJECT && type != NEXUS__JSON_TRUE && type != NEXUS__JSON_FALSE)
        return wrong(s, "the reference leads to something that is no schema");
    nexus__schema_node *target = nexus__schema_node_at(s->c, place.resource->doc, place.at);
    nexus__schema_check *check = target ? add(s) : NULL;
    if (!check)
        return nexus__nomem();
    check->dynamic.schema = target;
    /* "$dynamicRef" is dynamic only when it leads, by name, to a "$dynamicAnchor" */
    reference = nexus__slice_from(reference, nexus__slice_find(reference, '#'));
    if (s->row->fn == nexus__check_dynamic_ref && reference.n > 1 && reference.p[1] != '/')
        for (nexus__schema_anchor *a = place.resource->anchors; a; a = a->next)
            if (a->at == place.at && nexus__slice_eq(a->name, nexus__slice_from(reference, 1)))
                check->dynamic.anchor = a->name;
    return NEXUS_OK;
}

/* The order is the order of checking: cheap ones first, "unevaluated…" after all others. */
static const keyword keywords[] = {
    {"type", compile_type, nexus__check_type, ANY, true},
    {"const", compile_value, nexus__check_const, ANY, true},
    {"enum", compile_value, nexus__check_enum, ANY, true},
    {"minimum", compile_number, nexus__check_minimum, NUMBERS, true},
    {"maximum", compile_number, nexus__check_maximum, NUMBERS, true},
    {"exclusiveMinimum", compile_number, nexus__check_exclusive_minimum, NUMBERS, true},
    {"exclusiveMaximum", compile_number, nexus__check_exclusive_maximum, NUMBERS, true},
    {"multipleOf", compile_number, nexus__check_multiple_of, NUMBERS, true},
    {"minLength", compile_limit, nexus__check_min_length, STRINGS, true},
    {"maxLength", compile_limit, nexus__check_max_length, STRINGS, true},
    {"pattern", compile_pattern, nexus__check_pattern, STRINGS, true},
    {"format", compile_format, nexus__check_format, STRINGS, false},
    {"minItems", compile_limit, nexus__check_min_items, ARRAYS, true},
    {"maxItems", compile_limit, nexus__check_max_items, ARRAYS, true},
    {"uniqueItems", compile_flag, nexus__check_unique_items, ARRAYS, true},
    {"minProperties", compile_limit, nexus__check_min_properties, OBJECTS, true},
    {"maxProperties", compile_limit, nexus__check_max_properties, OBJECTS, true},
    {"required", compile_required, nexus__check_required, OBJECTS, true},
    {"dependentRequired", compile_dependent, nexus__check_dependent_required, OBJECTS, true},
    {"properties", compile_members, nexus__check_members, OBJECTS, false},
    {"patternProperties", compile_members, nexus__check_members, OBJECTS, false},
    {"additionalProperties", compile_members, nexus__check_members, OBJECTS, false},
    {"propertyNames", compile_one, nexus__check_property_names, OBJECTS, false},
    {"dependentSchemas", compile_dependent, nexus__check_dependent_schemas, OBJECTS, false},
    {"prefixItems", compile_list, nexus__check_prefix_items, ARRAYS, false},
    {"items", compile_one, nexus__check_items, ARRAYS, false},
    {"contains", compile_contains, nexus__check_contains, ARRAYS, false},
    {"allOf", compile_list, nexus__check_all_of, ANY, false},
    {"anyOf", compile_list, nexus__check_any_of, ANY, false},
    {"oneOf", compile_list, nexus__check_one_of, ANY, false},
    {"not", compile_one, nexus__check_not, ANY, false},
    {"if", compile_if, nexus__check_if, ANY, false},
    {"$ref", compile_ref, nexus__check_ref, ANY, false},
    {"$dynamicRef", compile_ref, nexus__check_dynamic_ref, ANY, false},
    {"unevaluatedItems", compile_one, nexus__check_unevaluated_items, ARRAYS, false},
    {"unevaluatedProperties", compile_one, nexus__check_unevaluated_properties, OBJECTS, false},
};

nexus__schema_node *nexus__schema_node_at(nexus__schema_compiler *c, nexus__schema_document *doc, uint32_t at)
{
    if (doc->nodes[at])
        return doc->nodes[at];
    nexus__schema_node *node = nexus__arena_get(&c->schema->arena, sizeof *node);
    if (!node)
        return NULL;
    *node = (nexus__schema_node){.doc = doc, .resource = doc->resources[at], .at = at};
    node->last = &node->checks;
    doc->nodes[at] = node;
    *c->work_last = node;
    c->work_last = &node->next;
    return node;
}

static nexus_status compile_node(nexus__schema_compiler *c, nexus__schema_node *node)
{
    nexus__json_type type = nexus__json_type_of(&node->doc->json, node->at);
    node->always = type == NEXUS__JSON_TRUE;
    node->never = type == NEXUS__JSON_FALSE;
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords && status == NEXUS_OK; i++) {
        site s = {.c = c, .node = node, .json = &node->doc->json, .row = &keywords[i]};
        s.v = nexus__json_get(s.json, node->at, s.row->name);
        if (s.v != NEXUS__JSON_NONE && !(s.row->validation && node->resource->no_validation))
            status = s.row->compile(&s);
    }
    return status;
}

/* Any dynamic anchor may be reached at run time, wherever the way there leads. */
static nexus_status compile_anchors(nexus__schema_compiler *c)
{
    for (nexus__schema_resource *r = c->schema->resources; r; r = r->next)
        for (nexus__schema_anchor *a = r->anchors; a; a = a->next)
            if (!a->target && !(a->target = nexus__schema_node_at(c, r->doc, a->at)))
                return nexus__nomem();
    return NEXUS_OK;
}

static nexus_status compile_all(nexus__schema_compiler *c, nexus_slice text)
{
    nexus__schema_document *doc;
    nexus_status status = nexus__schema_document_add(c, nexus__slice_c(c->opts->base_uri), text, &doc);
    if (status != NEXUS_OK)
        return status;
    nexus__json_type type = nexus__json_type_of(&doc->json, 0);
    if (type != NEXUS__JSON_OBJECT && type != NEXUS__JSON_TRUE && type != NEXUS__JSON_FALSE)
        return nexus__fail(NEXUS_EINVAL, "a schema is an object, true or false");
    c->schema->root = nexus__schema_node_at(c, doc, 0);
    if (!c->schema->root)
        return nexus__nomem();
    while (c->work && status == NEXUS_OK) {
        nexus__schema_node *node = c->work;
        c->work = node->next;
        if (!c->work)
            c->work_last = &c->work;
        status = compile_node(c, node);
        if (status == NEXUS_OK && !c->work)
            status = compile_anchors(c);
    }
    return status;
}

void nexus_schema_opts_init(nexus_schema_opts *opts)
{
    *opts = (nexus_schema_opts)NEXUS_SCHEMA_OPTS_INIT;
}

nexus_status nexus_schema_compile(nexus_schema **out, const char *text, size_t text_bytes,
                                  const nexus_schema_opts *given)
{
    nexus_schema_opts opts = NEXUS_SCHEMA_OPTS_INIT;
    if (given)
        memcpy(&opts, given, given->size < sizeof opts ? given->size : sizeof opts);
    nexus_schema *schema = nexus__calloc(opts.alloc, 1, sizeof *schema);
    if (!schema)
        return nexus__nomem();
    schema->alloc = opts.alloc;
    schema->errors_max = opts.errors_max ? opts.errors_max : 20;
    schema->depth_max = opts.depth_max ? opts.depth_max : 128;
    if (schema->depth_max > 512)
        schema->depth_max = 512; /* collecting and comparing recurse this deep */
    nexus__arena_init(&schema->arena, opts.alloc, 0);
    nexus__map_init(&schema->places, opts.alloc);
    nexus__schema_compiler c = {
        .schema = schema, .opts = &opts, .bytes_max = opts.schema_bytes_max ? opts.schema_bytes_max : 1 << 20};
    c.work_last = &c.work;
    nexus_status status = compile_all(&c, nexus__slice(text, text_bytes));
    if (status == NEXUS_OK)
        *out = schema;
    else
        nexus_schema_free(schema);
    return status;
}

void nexus_schema_free(nexus_schema *schema)
{
    if (!schema)
        return;
    for (nexus__schema_document *d = schema->documents; d; d = d->next)
        nexus__json_free(&d->json);
    for (nexus__schema_regex *r = schema->regexes; r; r = r->next)
        nexus__regex_free(r->regex);
    for (nexus__schema_map *m = schema->maps; m; m = m->next)
        nexus__map_free(&m->map);
    nexus__map_free(&schema->places);
    nexus__arena_free(&schema->arena);
    nexus__free(schema->alloc, schema);
}
