/* Copies and checks the tables of a saga. */
#include "saga/table.h"

#include <stdio.h>

#include "base/status.h"
#include "saga/instance.h"

/* The texts of a step, all copied. */
static const size_t step_texts[] = {
    offsetof(nexus_saga_step, name),         offsetof(nexus_saga_step, command),
    offsetof(nexus_saga_step, on_types),     offsetof(nexus_saga_step, fail_when),
    offsetof(nexus_saga_step, undo_command), offsetof(nexus_saga_step, late_command),
};

static const char **text_of(nexus_saga_step *step, size_t k)
{
    return (const char **)(void *)((char *)step + step_texts[k]);
}

static nexus_status check_step(const nexus__saga_type *t, const nexus__saga_table *table, const nexus_saga_step *step)
{
    size_t at = table->step_count;
    if (!step->name || !*step->name || strlen(step->name) > NEXUS__SAGA_STEP_NAME_MAX)
        return nexus__fail(NEXUS_EINVAL, "step %zu of saga %s needs a name of 1 to %d bytes", at, t->name,
                           NEXUS__SAGA_STEP_NAME_MAX);
    for (size_t i = 0; i < at; i++)
        if (strcmp(table->steps[i].name, step->name) == 0)
            return nexus__fail(NEXUS_EINVAL, "saga %s has two steps of the name %s", t->name, step->name);
    if (step->early > NEXUS_SAGA_EARLY_DISCARD)
        return nexus__fail(NEXUS_EINVAL, "step %s of saga %s: early is %u", step->name, t->name, step->early);
    if ((step->timeout_ms || step->judge || step->fail_when) && !step->on_types)
        return nexus__fail(NEXUS_EINVAL, "step %s of saga %s judges or times what it does not wait for: give on_types",
                           step->name, t->name);
    return NEXUS_OK;
}

static nexus_status copy_texts(const nexus_alloc *alloc, nexus_saga_step *to, nexus_saga_step *given)
{
    for (size_t k = 0; k < sizeof step_texts / sizeof step_texts[0]; k++)
        *text_of(to, k) = NULL;
    for (size_t k = 0; k < sizeof step_texts / sizeof step_texts[0]; k++) {
        const char *text = *text_of(given, k);
        if (text && !(*text_of(to, k) = nexus__strndup(alloc, nexus__slice_c(text))))
            return nexus__nomem();
    }
    return NEXUS_OK;
}

static nexus_status copy_steps(const nexus__saga_type *t, nexus__saga_table *table, const nexus_saga_step *steps, size_t n)
{
    if (n == 0 || n > NEXUS__SAGA_STEPS_MAX)
        return nexus__fail(NEXUS_EINVAL, "saga %s has %zu steps; 1 to %d are possible", t->name, n,
                           NEXUS__SAGA_STEPS_MAX);
    table->steps = nexus__calloc(t->alloc, n, sizeof *table->steps);
    if (!table->steps)
        return nexus__nomem();
    while (table->step_count < n) {
        const nexus_saga_step *from = (const void *)((const char *)steps + table->step_count * steps->size);
        nexus_saga_step given = NEXUS_SAGA_STEP_INIT;
        memcpy(&given, from, steps->size < sizeof given ? steps->size : sizeof given);
        nexus_status status = check_step(t, table, &given);
        if (status != NEXUS_OK)
            return status;
        nexus_saga_step *to = &table->steps[table->step_count++];
        *to = given;
        status = copy_texts(t->alloc, to, &given);
        if (status != NEXUS_OK)
            return status;
    }
    return NEXUS_OK;
}

static nexus_status copy_tables(nexus__saga_type *t, const nexus_saga_step *steps, size_t n, const nexus_saga_opts *o)
{
    t->tables = nexus__calloc(t->alloc, 1 + o->older_count, sizeof *t->tables);
    if (!t->tables)
        return nexus__nomem();
    t->table_count = 1;
    t->tables[0].version = o->version ? o->version : 1;
    nexus_status status = copy_steps(t, &t->tables[0], steps, n);
    for (size_t k = 0; k < o->older_count && status == NEXUS_OK; k++) {
        const nexus_saga_table *from = (const void *)((const char *)o->older + k * o->older->size);
        if (!from->version)
            return nexus__fail(NEXUS_EINVAL, "saga %s: older table %zu has no version", t->name, k);
        if (nexus__saga_type_table(t, from->version))
            return nexus__fail(NEXUS_EINVAL, "saga %s has two tables of version %u", t->name, from->version);
        t->tables[t->table_count].version = from->version;
        status = copy_steps(t, &t->tables[t->table_count++], from->steps, from->step_count);
    }
    return status;
}

nexus_status nexus__saga_name_check(const char *name)
{
    size_t n = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;
    if (n == 0 || n > NEXUS__SAGA_NAME_MAX || name[n])
        return nexus__fail(NEXUS_EINVAL, "a saga's name is 1 to %d of a-z, 0-9 and _, not \"%.60s\"",
                           NEXUS__SAGA_NAME_MAX, name ? name : "");
    return NEXUS_OK;
}

nexus_status nexus__saga_type_init(nexus__saga_type *t, const char *name, const nexus_saga_step *steps,
                                   size_t step_count, const nexus_saga_opts *o)
{
    *t = (nexus__saga_type){.alloc = o->alloc,
                            .user_data = o->user_data,
                            .timeout_ms = o->timeout_ms,
                            .early = o->early ? o->early : NEXUS_SAGA_EARLY_RETRY,
                            .early_attempts = o->early_attempts ? o->early_attempts : 8,
                            .early_backoff_ms = o->early_backoff_ms ? o->early_backoff_ms : 500};
    nexus_status status = nexus__saga_name_check(name);
    if (status != NEXUS_OK)
        return status;
    if (t->early > NEXUS_SAGA_EARLY_DISCARD)
        return nexus__fail(NEXUS_EINVAL, "saga %s: early is %u", name, t->early);
    snprintf(t->control_type, sizeof t->control_type, "saga.%s.control", name);
    snprintf(t->stuck_type, sizeof t->stuck_type, "saga.%s.stuck", name);
    const char *const from[] = {name, o->start_types, o->key, o->done_type, o->failed_type};
    char **to[] = {&t->name, &t->start_types, &t->key, &t->done_type, &t->failed_type};
    for (size_t k = 0; status == NEXUS_OK && k < sizeof from / sizeof from[0]; k++)
        status = nexus__saga_set(t->alloc, to[k], nexus__slice_c(from[k]));
    return status == NEXUS_OK ? copy_tables(t, steps, step_count, o) : status;
}

void nexus__saga_type_free(nexus__saga_type *t)
{
    for (size_t v = 0; v < t->table_count; v++) {
        for (size_t i = 0; i < t->tables[v].step_count; i++)
            for (size_t k = 0; k < sizeof step_texts / sizeof step_texts[0]; k++)
                nexus__free(t->alloc, (char *)(uintptr_t)*text_of(&t->tables[v].steps[i], k));
        nexus__free(t->alloc, t->tables[v].steps);
    }
    char *texts[] = {t->name, t->start_types, t->key, t->done_type, t->failed_type};
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
        nexus__free(t->alloc, texts[k]);
    nexus__free(t->alloc, t->tables);
}

const nexus__saga_table *nexus__saga_type_table(const nexus__saga_type *t, uint32_t version)
{
    for (size_t v = 0; v < t->table_count; v++)
        if (t->tables[v].version == version)
            return &t->tables[v];
    return NULL;
}

bool nexus__saga_listed(const char *patterns, nexus_slice type)
{
    nexus_slice rest = nexus__slice_c(patterns);
    while (rest.n)
        if (nexus_event_type_matches(nexus__slice_trim(nexus__slice_cut(&rest, ',')), type))
            return true;
    return false;
}

void nexus__saga_type_patterns(const nexus__saga_type *t, nexus__buf *out)
{
    nexus__buf_printf(out, "%s,%s", t->control_type, t->stuck_type);
    if (t->start_types)
        nexus__buf_printf(out, ",%s", t->start_types);
    for (size_t v = 0; v < t->table_count; v++)
        for (size_t i = 0; i < t->tables[v].step_count; i++)
            if (t->tables[v].steps[i].on_types)
                nexus__buf_printf(out, ",%s", t->tables[v].steps[i].on_types);
    nexus__buf_char(out, '\0');
}

uint32_t nexus__saga_early(const nexus__saga_type *t, nexus_slice event_type)
{
    for (size_t v = 0; v < t->table_count; v++)
        for (size_t i = 0; i < t->tables[v].step_count; i++) {
            const nexus_saga_step *step = &t->tables[v].steps[i];
            if (step->early && nexus__saga_listed(step->on_types, event_type))
                return step->early;
        }
    return t->early;
}
