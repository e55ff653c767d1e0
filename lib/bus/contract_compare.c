/*
 * Whether one JSON Schema accepts all that another does, as far as structure shows: a walk over both at once, keyword by
 * keyword. Each rule asks "can the reader refuse something here that the writer may have written?"; where nothing can be
 * shown (references, combinations, patterns that differ) the answer is yes, so compatible means compatible.
 *
 * A property that only the reader names counts as never written, although an open schema would let a writer have written
 * anything there: fields may be added.
 */
#include <stdio.h>

#include "base/status.h"
#include "bus/contract_store.h"
#include "json/equal.h"

#define DEPTH_MAX 64

typedef struct walk {
    nexus__json reader, writer;
    nexus__buf path; /* of the data */
    char why[200];
    uint32_t depth;
} walk;

static bool accepts(walk *w, uint32_t r, uint32_t v);

static bool no(walk *w, const char *keyword, const char *why)
{
    if (!w->why[0])
        snprintf(w->why, sizeof w->why, "at \"%.*s\", %s: %s", (int)(w->path.len < 100 ? w->path.len : 100),
                 w->path.len ? w->path.p : "", keyword, why);
    return false;
}

static uint32_t reader_has(const walk *w, uint32_t r, const char *name)
{
    return nexus__json_get(&w->reader, r, name);
}

static uint32_t writer_has(const walk *w, uint32_t v, const char *name)
{
    return nexus__json_get(&w->writer, v, name);
}

static bool equal(const walk *w, uint32_t r, uint32_t v)
{
    return nexus__json_equal(&w->reader, r, &w->writer, v);
}

/* --- types ---- */

static bool names_type(const nexus__json *doc, uint32_t list, nexus_slice name)
{
    if (nexus__json_text_is(doc, list, name))
        return true;
    nexus__json_iter it = nexus__json_each(doc, list);
    while (nexus__json_step(doc, &it))
        if (nexus__json_text_is(doc, it.value, name))
            return true;
    return false;
}

static bool type_rule(walk *w, uint32_t r, uint32_t v)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    uint32_t wants = reader_has(w, r, "type"), wrote = writer_has(w, v, "type");
    if (wants == NEXUS__JSON_NONE)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        nexus_slice name = nexus__slice_c(names[i]);
        bool may = wrote == NEXUS__JSON_NONE || names_type(&w->writer, wrote, name);
        bool reads = names_type(&w->reader, wants, name) ||
                     (strcmp(names[i], "integer") == 0 && names_type(&w->reader, wants, NEXUS_S("number")));
        if (strcmp(names[i], "integer") == 0 && wrote == NEXUS__JSON_NONE)
            reads = true; /* said once, by "number" */
        if (may && !reads)
            return no(w, "type", "it was wider before");
    }
    return true;
}

/* --- values that are listed ---- */

static bool listed(const walk *w, uint32_t list, uint32_t v)
{
    nexus__json_iter it = nexus__json_each(&w->reader, list);
    while (nexus__json_step(&w->reader, &it))
        if (equal(w, it.value, v))
            return true;
    return false;
}

static bool enum_rule(walk *w, uint32_t r, uint32_t v)
{
    uint32_t wants = reader_has(w, r, "enum"), wrote = writer_has(w, v, "enum"), one = writer_has(w, v, "const");
    if (wants == NEXUS__JSON_NONE)
        return true;
    if (one != NEXUS__JSON_NONE)
        return listed(w, wants, one) || no(w, "enum", "a value was taken out");
    if (wrote == NEXUS__JSON_NONE)
        return no(w, "enum", "any value was allowed before");
    nexus__json_iter it = nexus__json_each(&w->writer, wrote);
    while (nexus__json_step(&w->writer, &it))
        if (!listed(w, wants, it.value))
            return no(w, "enum", "a value was taken out");
    return true;
}

/* --- bounds ---- */

static bool bound_rules(walk *w, uint32_t r, uint32_t v)
{
    static const struct {
        const char *name;
        bool upper;
    } bounds[] = {
        {"minimum", false},       {"exclusiveMinimum", false}, {"minLength", false},       {"minItems", false},
        {"minProperties", false}, {"maximum", true},           {"exclusiveMaximum", true}, {"maxLength", true},
        {"maxItems", true},       {"maxProperties", true},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        uint32_t wants = reader_has(w, r, bounds[i].name), wrote = writer_has(w, v, bounds[i].name);
        double a, b;
        if (wants == NEXUS__JSON_NONE || equal(w, wants, wrote))
            continue;
        if (!nexus__json_double(&w->reader, wants, &a) || !nexus__json_double(&w->writer, wrote, &b) ||
            (bounds[i].upper ? a < b : a > b))
            return no(w, bounds[i].name, "it is stricter than before");
    }
    return true;
}

/* Keywords about which nothing is shown but that they are the same. */
static bool same_rules(walk *w, uint32_t r, uint32_t v)
{
    static const char *const names[] = {"const",
                                        "pattern",
                                        "multipleOf",
                                        "prefixItems",
                                        "contains",
                                        "minContains",
                                        "maxContains",
                                        "patternProperties",
                                        "propertyNames",
                                        "dependentRequired",
                                        "dependentSchemas",
                                        "$ref",
                                        "$dynamicRef",
                                        "allOf",
                                        "anyOf",
                                        "oneOf",
                                        "not",
                                        "if",
                                        "then",
                                        "else",
                                        "unevaluatedItems",
                                        "unevaluatedProperties"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint32_t wants = reader_has(w, r, names[i]);
        if (wants != NEXUS__JSON_NONE && !equal(w, wants, writer_has(w, v, names[i])))
            return no(w, names[i], "it changed, and what that means cannot be shown");
    }
    bool refers = reader_has(w, r, "$ref") != NEXUS__JSON_NONE || reader_has(w, r, "$dynamicRef") != NEXUS__JSON_NONE;
    if (refers && !equal(w, nexus__json_get(&w->reader, 0, "$defs"), nexus__json_get(&w->writer, 0, "$defs")))
        return no(w, "$defs", "it changed, and what that means cannot be shown");
    bool unique;
    if (nexus__json_bool(&w->reader, reader_has(w, r, "uniqueItems"), &unique) && unique &&
        !(nexus__json_bool(&w->writer, writer_has(w, v, "uniqueItems"), &unique) && unique))
        return no(w, "uniqueItems", "it is stricter than before");
    return true;
}

/* --- members and elements ---- */

static bool below(walk *w, nexus_slice name, uint32_t r, uint32_t v)
{
    size_t was = w->path.len;
    nexus__json_token_append(&w->path, name);
    bool fine = accepts(w, r, v);
    w->path.len = was;
    return fine;
}

static bool always_there(const walk *w, uint32_t v, nexus_slice name)
{
    uint32_t list = writer_has(w, v, "required");
    nexus__json_iter it = nexus__json_each(&w->writer, list);
    while (nexus__json_step(&w->writer, &it))
        if (nexus__json_text_is(&w->writer, it.value, name))
            return true;
    return false;
}

static bool required_rule(walk *w, uint32_t r, uint32_t v)
{
    nexus__json_iter it = nexus__json_each(&w->reader, reader_has(w, r, "required"));
    while (nexus__json_step(&w->reader, &it)) {
        nexus_slice name;
        char why[120];
        if (!nexus__json_text(&w->reader, it.value, &name) || always_there(w, v, name))
            continue;
        snprintf(why, sizeof why, "\"%.*s\" was not required before", (int)(name.n < 60 ? name.n : 60), name.p);
        return no(w, "required", why);
    }
    return true;
}

static bool closed(const nexus__json *doc, uint32_t schema, const char *name)
{
    return nexus__json_is(doc, nexus__json_get(doc, schema, name), NEXUS__JSON_FALSE);
}

static bool property_rules(walk *w, uint32_t r, uint32_t v)
{
    uint32_t wants = reader_has(w, r, "properties"), wrote = writer_has(w, v, "properties");
    uint32_t more = reader_has(w, r, "additionalProperties"), wrote_more = writer_has(w, v, "additionalProperties");
    nexus__json_iter it = nexus__json_each(&w->writer, wrote);
    while (nexus__json_step(&w->writer, &it)) {
        nexus_slice name;
        if (!nexus__json_text(&w->writer, it.key, &name))
            return no(w, "properties", "no memory");
        uint32_t same = nexus__json_member(&w->reader, wants, name);
        if (same == NEXUS__JSON_NONE)
            same = more;
        if (same != NEXUS__JSON_NONE && !below(w, name, same, it.value))
            return false;
    }
    if (more == NEXUS__JSON_NONE || nexus__json_is(&w->reader, more, NEXUS__JSON_TRUE) ||
        closed(&w->writer, v, "additionalProperties"))
        return true;
    if (wrote_more == NEXUS__JSON_NONE)
        return no(w, "additionalProperties", "further properties were allowed before");
    return below(w, NEXUS_S("*"), more, wrote_more);
}

static bool item_rules(walk *w, uint32_t r, uint32_t v)
{
    uint32_t wants = reader_has(w, r, "items"), wrote = writer_has(w, v, "items");
    if (wants == NEXUS__JSON_NONE || nexus__json_is(&w->reader, wants, NEXUS__JSON_TRUE))
        return true;
    if (wrote == NEXUS__JSON_NONE)
        return no(w, "items", "any elements were allowed before");
    return below(w, NEXUS_S("*"), wants, wrote);
}

static bool accepts(walk *w, uint32_t r, uint32_t v)
{
    static bool (*const rules[])(walk *, uint32_t, uint32_t) = {type_rule,     enum_rule,      bound_rules, same_rules,
                                                                required_rule, property_rules, item_rules};
    if (nexus__json_is(&w->reader, r, NEXUS__JSON_TRUE) || nexus__json_is(&w->writer, v, NEXUS__JSON_FALSE))
        return true;
    if (nexus__json_is(&w->reader, r, NEXUS__JSON_FALSE))
        return no(w, "false", "it was allowed before");
    if (w->depth == DEPTH_MAX)
        return no(w, "depth", "the schemas are nested too deep to be compared");
    w->depth++;
    bool fine = true;
    for (size_t i = 0; fine && i < sizeof rules / sizeof rules[0]; i++)
        fine = rules[i](w, r, v);
    w->depth--;
    return fine;
}

nexus_status nexus_contract_compare(nexus_slice reader, nexus_slice writer)
{
    walk w = {.depth = 0};
    nexus__json_init(&w.reader, NULL);
    nexus__json_init(&w.writer, NULL);
    nexus__buf_init(&w.path, NULL, 0);
    nexus_status status = nexus__json_scan(&w.reader, reader, NULL);
    if (status == NEXUS_OK)
        status = nexus__json_scan(&w.writer, writer, NULL);
    if (status == NEXUS_OK && !accepts(&w, 0, 0))
        status = nexus__fail(NEXUS_ECONFLICT, "%s", w.why);
    nexus__buf_free(&w.path);
    nexus__json_free(&w.reader);
    nexus__json_free(&w.writer);
    return status;
}

bool nexus__contract_same(nexus_slice a, nexus_slice b)
{
    nexus__json left, right;
    if (!a.n || !b.n)
        return a.n == b.n;
    nexus__json_init(&left, NULL);
    nexus__json_init(&right, NULL);
    bool same = nexus__json_scan(&left, a, NULL) == NEXUS_OK && nexus__json_scan(&right, b, NULL) == NEXUS_OK &&
                nexus__json_equal(&left, 0, &right, 0);
    nexus__json_free(&left);
    nexus__json_free(&right);
    return same;
}
