/* A saga's table as JSON: the members of structs by their names, walked by tables. */
#include <stdio.h>

#include "base/arena.h"
#include "base/status.h"
#include "saga/instance.h"

typedef enum member_kind { TEXT, NUMBER, FLAG, EARLY, STEPS, OLDER } member_kind;

typedef struct row {
    const char *name;
    size_t at;
    member_kind kind;
} row;

#define STEP(name, kind) {#name, offsetof(nexus_saga_step, name), kind}
#define OPT(name, kind) {#name, offsetof(nexus_saga_opts, name), kind}

static const row step_rows[] = {
    STEP(name, TEXT),           STEP(command, TEXT),         STEP(on_types, TEXT),       STEP(fail_when, TEXT),
    STEP(undo_command, TEXT),   STEP(late_command, TEXT),    STEP(timeout_ms, NUMBER),   STEP(attempts, NUMBER),
    STEP(optional, FLAG),       STEP(pivot, FLAG),           STEP(early, EARLY),         STEP(undo_attempts, NUMBER),
    STEP(backoff_ms, NUMBER),   STEP(backoff_cap_ms, NUMBER), {NULL, 0, TEXT},
};
static const row opts_rows[] = {
    OPT(version, NUMBER),          OPT(start_types, TEXT), OPT(key, TEXT),   OPT(done_type, TEXT),
    OPT(failed_type, TEXT),        OPT(timeout_ms, NUMBER), OPT(early, EARLY), OPT(early_attempts, NUMBER),
    OPT(early_backoff_ms, NUMBER), {"name", 0, STEPS},     {"steps", 0, STEPS}, {"older", 0, OLDER},
    {NULL, 0, TEXT},
};
static const row table_rows[] = {
    {"version", offsetof(nexus_saga_table, version), NUMBER}, {"steps", 0, STEPS}, {NULL, 0, TEXT}};

static const char *const early_names[] = {"default", "retry", "start", "dead", "discard"};

typedef struct reading {
    nexus__json doc;
    nexus__arena texts;
} reading;

static nexus_status wrong(reading *r, uint32_t value, const char *what)
{
    nexus__buf at;
    nexus__buf_init(&at, r->doc.alloc, 0);
    nexus__json_pointer_append(&r->doc, value, &at);
    nexus_status status = nexus__fail(NEXUS_EINVAL, "saga table, \"%.*s\": %s", (int)at.len, at.p ? at.p : "", what);
    nexus__buf_free(&at);
    return status;
}

/* A NUL-terminated copy that lives as long as the reading. */
static const char *keep(reading *r, nexus_slice text)
{
    char *copy = nexus__arena_get(&r->texts, text.n + 1);
    if (copy) {
        memcpy(copy, text.p ? text.p : "", text.n);
        copy[text.n] = '\0';
    }
    return copy;
}

static nexus_status read_text(reading *r, uint32_t v, const char **out)
{
    nexus_slice text;
    if (!nexus__json_text(&r->doc, v, &text) || memchr(text.p ? text.p : "", '\0', text.n))
        return wrong(r, v, "a text is wanted");
    *out = keep(r, text);
    return *out ? NEXUS_OK : nexus__nomem();
}

static nexus_status read_early(reading *r, uint32_t v, uint32_t *out)
{
    for (uint32_t k = 0; k < sizeof early_names / sizeof early_names[0]; k++)
        if (nexus__json_text_is(&r->doc, v, nexus__slice_c(early_names[k]))) {
            *out = k;
            return NEXUS_OK;
        }
    return wrong(r, v, "one of default, retry, start, dead, discard is wanted");
}

static nexus_status read_value(reading *r, uint32_t v, member_kind kind, void *at)
{
    uint64_t number;
    switch (kind) {
    case TEXT:
        return read_text(r, v, at);
    case NUMBER:
        if (!nexus__json_u64(&r->doc, v, &number) || number > UINT32_MAX)
            return wrong(r, v, "a whole number from 0 to 4294967295 is wanted");
        *(uint32_t *)at = (uint32_t)number;
        return NEXUS_OK;
    case FLAG:
        return nexus__json_bool(&r->doc, v, at) ? NEXUS_OK : wrong(r, v, "true or false is wanted");
    case EARLY:
        return read_early(r, v, at);
    default:
        return NEXUS_OK; /* read by itself */
    }
}

static nexus_status read_object(reading *r, uint32_t object, const row *rows, void *out)
{
    if (!nexus__json_is(&r->doc, object, NEXUS__JSON_OBJECT))
        return wrong(r, object, "an object is wanted");
    nexus__json_iter it = nexus__json_each(&r->doc, object);
    nexus_status status = NEXUS_OK;
    while (status == NEXUS_OK && nexus__json_step(&r->doc, &it)) {
        const row *found = rows;
        while (found->name && !nexus__json_text_is(&r->doc, it.key, nexus__slice_c(found->name)))
            found++;
        status = found->name ? read_value(r, it.value, found->kind, (char *)out + found->at)
                             : wrong(r, it.value, "there is no such member");
    }
    return status;
}

static nexus_status read_steps(reading *r, uint32_t object, const nexus_saga_step **out, size_t *n)
{
    uint32_t array = nexus__json_get(&r->doc, object, "steps");
    if (!nexus__json_is(&r->doc, array, NEXUS__JSON_ARRAY))
        return wrong(r, object, "\"steps\", an array, is missing");
    *n = nexus__json_count(&r->doc, array);
    nexus_saga_step *steps = nexus__arena_get(&r->texts, (*n + 1) * sizeof *steps);
    if (!steps)
        return nexus__nomem();
    nexus_status status = NEXUS_OK;
    nexus__json_iter it = nexus__json_each(&r->doc, array);
    for (size_t k = 0; status == NEXUS_OK && nexus__json_step(&r->doc, &it); k++) {
        steps[k] = (nexus_saga_step)NEXUS_SAGA_STEP_INIT;
        status = read_object(r, it.value, step_rows, &steps[k]);
    }
    *out = steps;
    return status;
}

static nexus_status read_older(reading *r, nexus_saga_opts *o)
{
    uint32_t array = nexus__json_get(&r->doc, 0, "older");
    if (array == NEXUS__JSON_NONE)
        return NEXUS_OK;
    if (!nexus__json_is(&r->doc, array, NEXUS__JSON_ARRAY))
        return wrong(r, array, "an array of tables is wanted");
    size_t n = nexus__json_count(&r->doc, array);
    nexus_saga_table *tables = nexus__arena_get(&r->texts, (n + 1) * sizeof *tables);
    if (!tables)
        return nexus__nomem();
    nexus_status status = NEXUS_OK;
    nexus__json_iter it = nexus__json_each(&r->doc, array);
    for (size_t k = 0; status == NEXUS_OK && nexus__json_step(&r->doc, &it); k++) {
        tables[k] = (nexus_saga_table)NEXUS_SAGA_TABLE_INIT;
        status = read_object(r, it.value, table_rows, &tables[k]);
        if (status == NEXUS_OK)
            status = read_steps(r, it.value, &tables[k].steps, &tables[k].step_count);
    }
    o->older = tables;
    o->older_count = n;
    return status;
}

static nexus_status open_read(reading *r, nexus_saga **out, nexus_bus *bus)
{
    nexus_saga_opts o = NEXUS_SAGA_OPTS_INIT;
    const nexus_saga_step *steps;
    const char *name;
    size_t n;
    nexus_status status = read_object(r, 0, opts_rows, &o);
    uint32_t named = nexus__json_get(&r->doc, 0, "name");
    if (status == NEXUS_OK)
        status = named == NEXUS__JSON_NONE ? wrong(r, 0, "\"name\", a text, is missing") : read_text(r, named, &name);
    if (status == NEXUS_OK)
        status = read_steps(r, 0, &steps, &n);
    if (status == NEXUS_OK)
        status = read_older(r, &o);
    return status == NEXUS_OK ? nexus_saga_open(out, bus, name, steps, n, &o) : status;
}

nexus_status nexus_saga_open_json(nexus_saga **out, nexus_bus *bus, const char *json, size_t n)
{
    reading r;
    nexus__json_init(&r.doc, NULL);
    nexus__arena_init(&r.texts, NULL, 4096);
    nexus_status status = nexus__json_scan(&r.doc, nexus__slice(json, n), NULL);
    if (status == NEXUS_OK)
        status = open_read(&r, out, bus);
    nexus__json_free(&r.doc);
    nexus__arena_free(&r.texts);
    return status;
}
