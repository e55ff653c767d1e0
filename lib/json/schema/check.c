/*
 * Running a compiled schema over a scanned value.
 *
 * A level is one schema applied to one value. With "unevaluated…" about, a level also notes which children of the
 * value some keyword has looked at: one byte a child, in a stack of bytes that grows and shrinks with the levels. A
 * schema applied in place (allOf, $ref …) gets marks of its own, which join its caller's only when it succeeds.
 * Inside anyOf, not, if and contains findings are not reported (quiet), and the first ends the level.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"
#include "base/utf8.h"
#include "json/equal.h"
#include "json/schema/compiled.h"

enum { DEPTH_MAX = 1500, STEPS_MAX = 20000000 };

#define NO_MARKS SIZE_MAX

typedef struct scope { /* the resources entered so far, for "$dynamicRef" */
    const struct scope *outer;
    const nexus__schema_resource *resource;
} scope;

struct nexus__schema_run {
    const nexus_schema *schema;
    const nexus__json *doc;
    nexus_schema_report *report; /* NULL: only the verdict is wanted */
    const scope *scope;
    uint32_t quiet, depth;
    uint64_t steps;
    nexus_status status; /* of what is not the value's fault */
    uint8_t *marks;
    size_t marks_count, marks_cap;
};

struct nexus__schema_level {
    uint32_t v;
    nexus__json_type type;
    size_t marks; /* where its marks begin, or NO_MARKS */
    uint32_t children;
};

typedef nexus__schema_run run;
typedef nexus__schema_level level;
typedef nexus__schema_check check;

static bool broken(run *r, nexus_status status)
{
    if (r->status == NEXUS_OK)
        r->status = status;
    return false;
}

/* Notes a finding; always false. */
NEXUS_PRINTF(5, 6)
static bool refuse(run *r, uint32_t v, nexus_slice child, const char *keyword, const char *format, ...)
{
    if (r->quiet || !r->report)
        return false;
    char detail[512];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    nexus__schema_report_add(r->report, r->doc, v, child, keyword, detail);
    return false;
}

#define HERE ((nexus_slice){NULL, 0})

static bool push_marks(run *r, level *l)
{
    l->marks = r->marks_count;
    size_t need = r->marks_count + l->children;
    if (need > r->marks_cap) {
        size_t cap = need * 2 + 64;
        uint8_t *marks = nexus__realloc(r->schema->alloc, r->marks, cap);
        if (!marks)
            return broken(r, nexus__nomem());
        r->marks = marks;
        r->marks_cap = cap;
    }
    if (l->children)
        memset(r->marks + l->marks, 0, l->children);
    r->marks_count = need;
    return true;
}

static void mark(run *r, const level *l, uint32_t index)
{
    if (l->marks != NO_MARKS)
        r->marks[l->marks + index] = 1;
}

/* Gives the marks up; after a success they count for the caller. */
static void pop_marks(run *r, const level *l, const level *caller, bool success)
{
    if (l->marks == NO_MARKS)
        return;
    if (success && caller && caller->marks != NO_MARKS)
        for (uint32_t i = 0; i < l->children; i++)
            r->marks[caller->marks + i] |= r->marks[l->marks + i];
    r->marks_count = l->marks;
}

static bool run_checks(run *r, const nexus__schema_node *node, level *l)
{
    bool good = true;
    for (const check *c = node->checks; c; c = c->next) {
        if (!(c->types >> l->type & 1))
            continue;
        if (!good && (c->fn == nexus__check_unevaluated_items || c->fn == nexus__check_unevaluated_properties))
            continue; /* what failed left no marks: every child would be called unknown */
        if (!c->fn(r, c, l))
            good = false;
        if (r->status != NEXUS_OK)
            return false;
        if (!good && (r->quiet || !r->report))
            return false;
    }
    return good;
}

/* caller: the level this schema is applied in place of, or NULL when v is a child. */
static bool apply(run *r, const nexus__schema_node *node, uint32_t v, const level *caller)
{
    if (node->always)
        return true;
    if (node->never)
        return refuse(r, v, HERE, "false", "nothing is accepted here: remove this value");
    if (r->depth == DEPTH_MAX)
        return broken(r, nexus__fail(NEXUS_ETOOBIG, "the schema's references go round without end, or too deep"));
    if (++r->steps > STEPS_MAX)
        return broken(r, nexus__fail(NEXUS_ETOOBIG, "checking takes too many steps: the schema branches too much"));
    level l = {
        .v = v, .type = nexus__json_type_of(r->doc, v), .marks = NO_MARKS, .children = nexus__json_count(r->doc, v)};
    if (((caller && caller->marks != NO_MARKS) || node->unevaluated) && !push_marks(r, &l))
        return false;
    scope inner = {r->scope, node->resource};
    const scope *outer = r->scope;
    if (!outer || outer->resource != node->resource)
        r->scope = &inner;
    r->depth++;
    bool good = run_checks(r, node, &l);
    r->depth--;
    r->scope = outer;
    pop_marks(r, &l, caller, good);
    return good;
}

/* Whether it would pass, without a word about why not. */
static bool passes(run *r, const nexus__schema_node *node, uint32_t v, const level *caller)
{
    r->quiet++;
    bool good = apply(r, node, v, caller);
    r->quiet--;
    return good;
}

static const char *type_name(nexus__json_type type)
{
    static const char *const names[] = {"nothing",  "null",     "false",    "true",     "a number",
                                        "a number", "a string", "an array", "an object"};
    return names[type];
}

static nexus__decimal decimal_at(const run *r, const level *l)
{
    return nexus__decimal_of(nexus__json_raw(r->doc, l->v));
}

bool nexus__check_type(run *r, const check *c, level *l)
{
    if (c->mask >> l->type & 1)
        return true;
    nexus__decimal d;
    if (l->type == NEXUS__JSON_REAL && (c->mask >> NEXUS__JSON_INT & 1) &&
        (d = decimal_at(r, l), nexus__decimal_whole(&d)))
        return true;
    static const struct {
        nexus__json_type type;
        const char *name;
    } rows[] = {{NEXUS__JSON_STRING, "a string"},    {NEXUS__JSON_REAL, "a number"},
                {NEXUS__JSON_INT, "a whole number"}, {NEXUS__JSON_TRUE, "true or false"},
                {NEXUS__JSON_OBJECT, "an object"},   {NEXUS__JSON_ARRAY, "an array"},
                {NEXUS__JSON_NULL, "null"}};
    char wanted[128] = "";
    size_t at = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!(c->mask >> rows[i].type & 1) || (rows[i].type == NEXUS__JSON_INT && (c->mask >> NEXUS__JSON_REAL & 1)))
            continue;
        at += (size_t)snprintf(wanted + at, sizeof wanted - at, "%s%s", at ? " or " : "", rows[i].name);
    }
    return refuse(r, l->v, HERE, c->keyword, "must be %s, not %s", wanted, type_name(l->type));
}

/* A value as the schema's author wrote it, cut to what a message can hold. */
static nexus_slice shown(const nexus__schema_document *doc, uint32_t at)
{
    nexus_slice raw = nexus__json_raw(&doc->json, at);
    while (raw.n > 200 || (raw.n && raw.n == 200 && ((uint8_t)raw.p[raw.n] & 0xc0) == 0x80))
        raw.n = raw.n > 200 ? 200 : raw.n - 1;
    return raw;
}

bool nexus__check_const(run *r, const check *c, level *l)
{
    if (nexus__json_equal(&c->value.doc->json, c->value.at, r->doc, l->v))
        return true;
    nexus_slice raw = shown(c->value.doc, c->value.at);
    return refuse(r, l->v, HERE, c->keyword, "must be %.*s", (int)raw.n, raw.p);
}

bool nexus__check_enum(run *r, const check *c, level *l)
{
    const nexus__json *schema = &c->value.doc->json;
    for (nexus__json_iter it = nexus__json_each(schema, c->value.at); nexus__json_step(schema, &it);)
        if (nexus__json_equal(schema, it.value, r->doc, l->v))
            return true;
    nexus_slice raw = shown(c->value.doc, c->value.at);
    return refuse(r, l->v, HERE, c->keyword, "must be one of %.*s", (int)raw.n, raw.p);
}

static int compare(const run *r, const check *c, const level *l)
{
    nexus__decimal d = decimal_at(r, l);
    return nexus__decimal_cmp(&d, &c->number.value);
}

static bool refuse_number(run *r, const check *c, const level *l, const char *words)
{
    return refuse(r, l->v, HERE, c->keyword, "must be %s %.*s", words, (int)c->number.text.n, c->number.text.p);
}

bool nexus__check_minimum(run *r, const check *c, level *l)
{
    return compare(r, c, l) >= 0 || refuse_number(r, c, l, "at least");
}

bool nexus__check_maximum(run *r, const check *c, level *l)
{
    return compare(r, c, l) <= 0 || refuse_number(r, c, l, "at most");
}

bool nexus__check_exclusive_minimum(run *r, const check *c, level *l)
{
    return compare(r, c, l) > 0 || refuse_number(r, c, l, "more than");
}

bool nexus__check_exclusive_maximum(run *r, const check *c, level *l)
{
    return compare(r, c, l) < 0 || refuse_number(r, c, l, "less than");
}

bool nexus__check_multiple_of(run *r, const check *c, level *l)
{
    nexus__decimal d = decimal_at(r, l);
    return nexus__decimal_multiple(&d, &c->number.value, nexus__json_raw(r->doc, l->v), c->number.text) ||
           refuse_number(r, c, l, "a multiple of");
}

/* The string's content; escapes are decoded into *memory, which the caller frees. */
static bool content(run *r, uint32_t v, nexus__buf *memory, nexus_slice *out)
{
    nexus__buf_init(memory, r->schema->alloc, 0);
    nexus_slice raw = nexus__json_raw(r->doc, v);
    *out = nexus__slice(raw.p + 1, raw.n - 2);
    if (!(r->doc->nodes[v].info & NEXUS__JSON_ESCAPED))
        return true;
    nexus__json_text_append(r->doc, v, memory);
    *out = nexus__buf_slice(memory);
    return memory->status == NEXUS_OK || broken(r, nexus__nomem());
}

static uint64_t length(run *r, const level *l)
{
    nexus__buf memory;
    nexus_slice text;
    uint64_t n = content(r, l->v, &memory, &text) ? nexus__utf8_count(text) : 0;
    nexus__buf_free(&memory);
    return n;
}

static bool refuse_count(run *r, const check *c, const level *l, const char *words, uint64_t have, const char *unit)
{
    return refuse(r, l->v, HERE, c->keyword, "must have %s %llu %s%s, not %llu", words, (unsigned long long)c->limit,
                  unit, c->limit == 1 ? "" : "s", (unsigned long long)have);
}

bool nexus__check_min_length(run *r, const check *c, level *l)
{
    uint64_t n = length(r, l);
    return n >= c->limit || refuse_count(r, c, l, "at least", n, "character");
}

bool nexus__check_max_length(run *r, const check *c, level *l)
{
    uint64_t n = length(r, l);
    return n <= c->limit || refuse_count(r, c, l, "at most", n, "character");
}

bool nexus__check_min_items(run *r, const check *c, level *l)
{
    return l->children >= c->limit || refuse_count(r, c, l, "at least", l->children, "element");
}

bool nexus__check_max_items(run *r, const check *c, level *l)
{
    return l->children <= c->limit || refuse_count(r, c, l, "at most", l->children, "element");
}

bool nexus__check_min_properties(run *r, const check *c, level *l)
{
    return l->children >= c->limit || refuse_count(r, c, l, "at least", l->children, "member");
}

bool nexus__check_max_properties(run *r, const check *c, level *l)
{
    return l->children <= c->limit || refuse_count(r, c, l, "at most", l->children, "member");
}

static bool found(run *r, const nexus__regex *regex, nexus_slice text)
{
    bool matched = false;
    nexus_status status = nexus__regex_search(regex, text, &matched);
    return status == NEXUS_OK ? matched : broken(r, status);
}

bool nexus__check_pattern(run *r, const check *c, level *l)
{
    nexus__buf memory;
    nexus_slice text;
    bool good = content(r, l->v, &memory, &text) && found(r, c->pattern.regex, text);
    nexus__buf_free(&memory);
    return good ||
           refuse(r, l->v, HERE, c->keyword, "must match the pattern %.*s", (int)c->pattern.text.n, c->pattern.text.p);
}

bool nexus__check_format(run *r, const check *c, level *l)
{
    nexus__buf memory;
    nexus_slice text;
    bool good = content(r, l->v, &memory, &text) && c->format.fn(text);
    nexus__buf_free(&memory);
    return good ||
           refuse(r, l->v, HERE, c->keyword, "must be in the format \"%.*s\"", (int)c->format.name.n, c->format.name.p);
}

bool nexus__check_unique_items(run *r, const check *c, level *l)
{
    uint32_t second;
    nexus_status status = nexus__json_twins(r->doc, l->v, r->schema->alloc, &second);
    if (status != NEXUS_OK)
        return broken(r, status);
    return second == NEXUS__JSON_NONE ||
           refuse(r, second, HERE, c->keyword, "this element stands in its array twice: remove one");
}

bool nexus__check_required(run *r, const check *c, level *l)
{
    bool good = true;
    for (uint32_t i = 0; i < c->required.count; i++) {
        nexus_slice name = c->required.names[i];
        if (nexus__json_member(r->doc, l->v, name) == NEXUS__JSON_NONE)
            good = refuse(r, l->v, name, c->keyword, "\"%.*s\" is missing: add it", (int)name.n, name.p);
    }
    return good;
}

bool nexus__check_dependent_required(run *r, const check *c, level *l)
{
    bool good = true;
    for (uint32_t i = 0; i < c->dependent.count; i++) {
        const nexus__schema_name *row = &c->dependent.rows[i];
        if (nexus__json_member(r->doc, l->v, row->name) == NEXUS__JSON_NONE)
            continue;
        for (uint32_t k = 0; k < row->name_count; k++) {
            nexus_slice name = row->names[k];
            if (nexus__json_member(r->doc, l->v, name) == NEXUS__JSON_NONE)
                good = refuse(r, l->v, name, c->keyword, "\"%.*s\" is missing: \"%.*s\" needs it", (int)name.n, name.p,
                              (int)row->name.n, row->name.p);
        }
    }
    return good;
}

bool nexus__check_dependent_schemas(run *r, const check *c, level *l)
{
    bool good = true;
    for (uint32_t i = 0; i < c->dependent.count; i++)
        if (nexus__json_member(r->doc, l->v, c->dependent.rows[i].name) != NEXUS__JSON_NONE)
            good &= apply(r, c->dependent.rows[i].schema, l->v, l);
    return good;
}

/* One member against properties, patternProperties, additionalProperties. */
static bool check_member(run *r, const check *c, const level *l, const nexus__json_iter *it, nexus_slice name)
{
    bool good = true, known = false;
    const nexus__schema_name *row = c->members.names ? nexus__map_get(c->members.names, name) : NULL;
    if (row) {
        known = true;
        good &= apply(r, row->schema, it->value, NULL);
    }
    for (uint32_t i = 0; i < c->members.pattern_count && r->status == NEXUS_OK; i++)
        if (found(r, c->members.patterns[i].regex, name)) {
            known = true;
            good &= apply(r, c->members.patterns[i].schema, it->value, NULL);
        }
    if (!known && c->members.additional) {
        known = true;
        if (c->members.additional->never)
            good = refuse(r, it->value, HERE, "additionalProperties", "\"%.*s\" is not known here: remove it",
                          name.n < 200 ? (int)name.n : 200, name.p);
        else
            good &= apply(r, c->members.additional, it->value, NULL);
    }
    if (known)
        mark(r, l, it->index);
    return good;
}

bool nexus__check_members(run *r, const check *c, level *l)
{
    bool good = true;
    for (nexus__json_iter it = nexus__json_each(r->doc, l->v); r->status == NEXUS_OK && nexus__json_step(r->doc, &it);) {
        nexus__buf memory;
        nexus_slice name;
        good &= content(r, it.key, &memory, &name) && check_member(r, c, l, &it, name);
        nexus__buf_free(&memory);
        if (!good && r->quiet)
            break;
    }
    return good && r->status == NEXUS_OK;
}

bool nexus__check_property_names(run *r, const check *c, level *l)
{
    bool good = true;
    for (nexus__json_iter it = nexus__json_each(r->doc, l->v); nexus__json_step(r->doc, &it);)
        if (!passes(r, c->one.schema, it.key, NULL))
            good = refuse(r, it.value, HERE, c->keyword, "a member of this name is not accepted: rename or remove it");
    return good;
}

bool nexus__check_prefix_items(run *r, const check *c, level *l)
{
    bool good = true;
    nexus__json_iter it = nexus__json_each(r->doc, l->v);
    for (uint32_t i = 0; i < c->list.count && nexus__json_step(r->doc, &it); i++) {
        good &= apply(r, c->list.schemas[i], it.value, NULL);
        mark(r, l, i);
    }
    return good;
}

bool nexus__check_items(run *r, const check *c, level *l)
{
    bool good = true;
    for (nexus__json_iter it = nexus__json_each(r->doc, l->v); r->status == NEXUS_OK && nexus__json_step(r->doc, &it);) {
        if (it.index < c->one.from)
            continue;
        if (c->one.schema->never)
            return refuse(r, it.value, HERE, c->keyword, "more elements than the %u accepted: remove this one",
                          c->one.from);
        good &= apply(r, c->one.schema, it.value, NULL);
        mark(r, l, it.index);
        if (!good && r->quiet)
            break;
    }
    return good;
}

bool nexus__check_contains(run *r, const check *c, level *l)
{
    uint64_t n = 0;
    for (nexus__json_iter it = nexus__json_each(r->doc, l->v); r->status == NEXUS_OK && nexus__json_step(r->doc, &it);)
        if (passes(r, c->one.schema, it.value, NULL)) {
            n++;
            mark(r, l, it.index);
        }
    if (n >= c->one.min && n <= c->one.max)
        return true;
    bool few = n < c->one.min;
    return refuse(r, l->v, HERE, few ? c->keyword : "maxContains",
                  "must contain %s %llu of the elements asked for, not %llu", few ? "at least" : "at most",
                  (unsigned long long)(few ? c->one.min : c->one.max), (unsigned long long)n);
}

bool nexus__check_all_of(run *r, const check *c, level *l)
{
    bool good = true;
    for (uint32_t i = 0; i < c->list.count && r->status == NEXUS_OK; i++)
        good &= apply(r, c->list.schemas[i], l->v, l);
    return good;
}

static uint32_t count_passing(run *r, const check *c, level *l, uint32_t enough)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->list.count && n < enough && r->status == NEXUS_OK; i++)
        n += passes(r, c->list.schemas[i], l->v, l);
    return n;
}

bool nexus__check_any_of(run *r, const check *c, level *l)
{
    /* all of them when marks are kept: each that passes has its own to add */
    if (count_passing(r, c, l, l->marks == NO_MARKS ? 1 : UINT32_MAX))
        return true;
    return refuse(r, l->v, HERE, c->keyword, "fits none of the %u forms accepted here", c->list.count);
}

bool nexus__check_one_of(run *r, const check *c, level *l)
{
    uint32_t n = count_passing(r, c, l, 2);
    if (n == 1)
        return true;
    return refuse(r, l->v, HERE, c->keyword,
                  n ? "fits more than one of the %u forms accepted here; it must fit exactly one"
                    : "fits none of the %u forms accepted here",
                  c->list.count);
}

bool nexus__check_not(run *r, const check *c, level *l)
{
    return !passes(r, c->one.schema, l->v, NULL) ||
           refuse(r, l->v, HERE, c->keyword, "has the form that is excluded here");
}

bool nexus__check_if(run *r, const check *c, level *l)
{
    const nexus__schema_node *branch = passes(r, c->one.schema, l->v, l) ? c->one.then : c->one.otherwise;
    return !branch || apply(r, branch, l->v, l);
}

bool nexus__check_ref(run *r, const check *c, level *l)
{
    return apply(r, c->dynamic.schema, l->v, l);
}

static const nexus__schema_node *anchor_in(const nexus__schema_resource *resource, nexus_slice name)
{
    for (const nexus__schema_anchor *a = resource->anchors; a; a = a->next)
        if (nexus__slice_eq(a->name, name))
            return a->target;
    return NULL;
}

bool nexus__check_dynamic_ref(run *r, const check *c, level *l)
{
    const nexus__schema_node *target = c->dynamic.schema;
    if (c->dynamic.anchor.n) /* the outermost resource with that anchor wins */
        for (const scope *s = r->scope; s; s = s->outer) {
            const nexus__schema_node *outer = anchor_in(s->resource, c->dynamic.anchor);
            target = outer ? outer : target;
        }
    return apply(r, target, l->v, l);
}

static bool check_unmarked(run *r, const check *c, level *l)
{
    bool good = true;
    for (nexus__json_iter it = nexus__json_each(r->doc, l->v); r->status == NEXUS_OK && nexus__json_step(r->doc, &it);) {
        if (r->marks[l->marks + it.index])
            continue;
        if (c->one.schema->never)
            good = refuse(r, it.value, HERE, c->keyword, "is not known here: remove it");
        else
            good &= apply(r, c->one.schema, it.value, NULL);
        mark(r, l, it.index);
    }
    return good;
}

bool nexus__check_unevaluated_items(run *r, const check *c, level *l)
{
    return check_unmarked(r, c, l);
}

bool nexus__check_unevaluated_properties(run *r, const check *c, level *l)
{
    return check_unmarked(r, c, l);
}

nexus_status nexus__schema_check_value(const nexus_schema *schema, const nexus__json *doc, uint32_t v,
                                       nexus_schema_report **report)
{
    run r = {.schema = schema, .doc = doc};
    if (report) {
        *report = NULL;
        nexus_status status = nexus__schema_report_new(&r.report, schema->alloc, schema->errors_max);
        if (status != NEXUS_OK)
            return status;
    }
    bool good = apply(&r, schema->root, v, NULL);
    nexus__free(schema->alloc, r.marks);
    nexus_status status = r.status;
    if (status == NEXUS_OK && !good)
        status = nexus__schema_report_fail(r.report);
    if (report && status == NEXUS_EINVAL)
        *report = r.report;
    else
        nexus_schema_report_free(r.report);
    return status;
}

nexus_status nexus_schema_check(const nexus_schema *schema, const char *json, size_t json_bytes,
                                nexus_schema_report **report)
{
    nexus__json doc;
    nexus__json_init(&doc, schema->alloc);
    if (report)
        *report = NULL;
    nexus_status status =
        nexus__json_scan(&doc, nexus__slice(json, json_bytes), &(nexus__json_limits){.max_depth = schema->depth_max});
    if (status == NEXUS_OK)
        status = nexus__schema_check_value(schema, &doc, 0, report);
    else if (status == NEXUS_EINVAL)
        status = nexus__schema_report_syntax(&doc, schema->alloc, report);
    nexus__json_free(&doc);
    return status;
}
