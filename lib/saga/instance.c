#include "saga/instance.h"

#include "base/status.h"
#include "base/time.h"
#include "json/write.h"

static const char *const status_names[] = {"running", "compensating", "done", "failed", "stuck"};

const char *nexus__saga_status_name(nexus__saga_status status)
{
    return status_names[status];
}

nexus_status nexus__saga_set(const nexus_alloc *alloc, char **slot, nexus_slice text)
{
    char *copy = NULL;
    if (text.n && !(copy = nexus__strndup(alloc, text)))
        return nexus__nomem();
    nexus__free(alloc, *slot);
    *slot = copy;
    return NEXUS_OK;
}

nexus_status nexus__saga_instance_new(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice id)
{
    nexus__saga_instance *i = nexus__calloc(alloc, 1, sizeof *i);
    if (!i)
        return nexus__nomem();
    i->alloc = alloc;
    i->failed_step = -1;
    i->version = 1;
    nexus__list_init(&i->node);
    nexus__buf_init(&i->state, alloc, NEXUS__SAGA_STATE_MAX);
    nexus_status status = nexus__saga_set(alloc, &i->id, id);
    if (status != NEXUS_OK) {
        nexus__saga_instance_free(i);
        return status;
    }
    *out = i;
    return NEXUS_OK;
}

void nexus__saga_instance_free(nexus__saga_instance *i)
{
    if (!i)
        return;
    char *texts[] = {i->id, i->reason, i->subject, i->traceparent, i->tracestate, i->correlation};
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
        nexus__free(i->alloc, texts[k]);
    for (size_t k = 0; k < NEXUS__SAGA_SEEN; k++)
        nexus__free(i->alloc, i->seen[k]);
    nexus__buf_free(&i->state);
    nexus__free(i->alloc, i);
}

bool nexus__saga_has_seen(const nexus__saga_instance *i, nexus_slice event_id)
{
    for (size_t k = 0; k < NEXUS__SAGA_SEEN; k++)
        if (i->seen[k] && nexus__slice_eq_c(event_id, i->seen[k]))
            return true;
    return false;
}

nexus_status nexus__saga_see(nexus__saga_instance *i, nexus_slice event_id)
{
    char *copy = nexus__strndup(i->alloc, event_id);
    if (!copy)
        return nexus__nomem();
    nexus__free(i->alloc, i->seen[0]);
    memmove(&i->seen[0], &i->seen[1], (NEXUS__SAGA_SEEN - 1) * sizeof i->seen[0]);
    i->seen[NEXUS__SAGA_SEEN - 1] = copy;
    return NEXUS_OK;
}

void nexus__saga_instance_write(nexus__buf *out, const nexus__saga_instance *i, const char *saga, const char *step_name)
{
    char at[32];
    nexus__json_writer w = nexus__json_writer_on(out);
    nexus__format_rfc3339(i->at_ns, at);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "saga", saga);
    nexus__json_put_text_c(&w, "id", i->id);
    nexus__json_put_u64(&w, "version", i->version);
    nexus__json_put_u64(&w, "seq", i->seq);
    nexus__json_put_text_c(&w, "status", nexus__saga_status_name(i->status));
    nexus__json_put_text_c(&w, "step", step_name);
    nexus__json_put_text_c(&w, "reason", i->reason);
    nexus__json_put_text_c(&w, "at", at);
    nexus__json_put_i64(&w, "at_ns", i->at_ns);
    nexus__json_put_u64(&w, "step_index", i->step);
    nexus__json_put_u64(&w, "done", i->done);
    nexus__json_put_i64(&w, "failed_step", i->failed_step);
    nexus__json_put_bool(&w, "late_told", i->late_told);
    nexus__json_put_u64(&w, "attempt", i->attempt);
    nexus__json_put_i64(&w, "due_ns", i->due_ns);
    nexus__json_put_text_c(&w, "subject", i->subject);
    nexus__json_put_text_c(&w, "traceparent", i->traceparent);
    nexus__json_put_text_c(&w, "tracestate", i->tracestate);
    nexus__json_put_text_c(&w, "correlation", i->correlation);
    nexus__json_key(&w, "seen");
    nexus__json_open(&w, '[');
    for (size_t k = 0; k < NEXUS__SAGA_SEEN; k++)
        if (i->seen[k])
            nexus__json_text_c_value(&w, i->seen[k]);
    nexus__json_close(&w, ']');
    nexus__json_put_raw(&w, "state", i->state.len ? nexus__buf_slice(&i->state) : NEXUS_S("{}"));
    nexus__json_close(&w, '}');
}

/* The text members of an instance, by their names in the transition. */
static nexus_status read_texts(nexus__saga_instance *i, nexus__json *doc)
{
    struct {
        const char *name;
        char **slot;
    } rows[] = {{"reason", &i->reason},
                {"subject", &i->subject},
                {"traceparent", &i->traceparent},
                {"tracestate", &i->tracestate},
                {"correlation", &i->correlation}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        nexus_slice text = {NULL, 0};
        if (!nexus__json_get_text(doc, 0, rows[k].name, &text))
            continue;
        nexus_status status = nexus__saga_set(i->alloc, rows[k].slot, text);
        if (status != NEXUS_OK)
            return status;
    }
    nexus__json_iter it = nexus__json_each(doc, nexus__json_get(doc, 0, "seen"));
    while (nexus__json_step(doc, &it)) {
        nexus_slice id;
        if (nexus__json_text(doc, it.value, &id) && nexus__saga_see(i, id) != NEXUS_OK)
            return NEXUS_ENOMEM;
    }
    return NEXUS_OK;
}

static void read_numbers(nexus__saga_instance *i, nexus__json *doc)
{
    int64_t version = 1, step = 0, failed = -1, attempt = 1;
    nexus__json_get_i64(doc, 0, "version", &version);
    nexus__json_get_i64(doc, 0, "step_index", &step);
    nexus__json_get_i64(doc, 0, "failed_step", &failed);
    nexus__json_get_i64(doc, 0, "attempt", &attempt);
    nexus__json_get_i64(doc, 0, "due_ns", &i->due_ns);
    nexus__json_get_i64(doc, 0, "at_ns", &i->at_ns);
    nexus__json_u64(doc, nexus__json_get(doc, 0, "seq"), &i->seq);
    nexus__json_u64(doc, nexus__json_get(doc, 0, "done"), &i->done);
    nexus__json_get_bool(doc, 0, "late_told", &i->late_told);
    i->version = (uint32_t)version;
    i->step = (uint32_t)step;
    i->failed_step = (int32_t)failed;
    i->attempt = (uint32_t)attempt;
    nexus_slice name;
    if (nexus__json_get_text(doc, 0, "status", &name))
        for (uint32_t s = 0; s < sizeof status_names / sizeof status_names[0]; s++)
            if (nexus__slice_eq_c(name, status_names[s]))
                i->status = (nexus__saga_status)s;
    i->seq++; /* of the next transition */
}

nexus_status nexus__saga_instance_read(nexus__saga_instance **out, const nexus_alloc *alloc, nexus_slice data)
{
    nexus__json doc;
    nexus_slice id;
    nexus__saga_instance *i = NULL;
    nexus__json_init(&doc, alloc);
    nexus_status status = nexus__json_scan(&doc, data, NULL);
    if (status == NEXUS_OK && !nexus__json_get_text(&doc, 0, "id", &id))
        status = nexus__fail(NEXUS_ECORRUPT, "a saga transition has no id");
    if (status == NEXUS_OK)
        status = nexus__saga_instance_new(&i, alloc, id);
    if (status == NEXUS_OK)
        status = read_texts(i, &doc);
    if (status == NEXUS_OK) {
        read_numbers(i, &doc);
        nexus__buf_slice_append(&i->state, nexus__json_raw(&doc, nexus__json_get(&doc, 0, "state")));
        status = i->state.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
    }
    nexus__json_free(&doc);
    if (status != NEXUS_OK) {
        nexus__saga_instance_free(i);
        return status;
    }
    *out = i;
    return NEXUS_OK;
}

nexus_status nexus__saga_instance_copy(nexus__saga_instance **out, const nexus__saga_instance *from)
{
    nexus__saga_instance *i = NULL;
    nexus_status status = nexus__saga_instance_new(&i, from->alloc, nexus__slice_c(from->id));
    if (status != NEXUS_OK)
        return status;
    i->version = from->version;
    i->seq = from->seq;
    i->status = from->status;
    i->step = from->step;
    i->done = from->done;
    i->failed_step = from->failed_step;
    i->late_told = from->late_told;
    i->attempt = from->attempt;
    i->due_ns = from->due_ns;
    i->at_ns = from->at_ns;
    const char *const texts[] = {from->reason, from->subject, from->traceparent, from->tracestate, from->correlation};
    char **slots[] = {&i->reason, &i->subject, &i->traceparent, &i->tracestate, &i->correlation};
    for (size_t k = 0; status == NEXUS_OK && k < sizeof texts / sizeof texts[0]; k++)
        status = nexus__saga_set(i->alloc, slots[k], nexus__slice_c(texts[k]));
    for (size_t k = 0; status == NEXUS_OK && k < NEXUS__SAGA_SEEN; k++)
        status = nexus__saga_set(i->alloc, &i->seen[k], nexus__slice_c(from->seen[k]));
    nexus__buf_slice_append(&i->state, nexus__buf_slice(&from->state));
    if (status == NEXUS_OK && i->state.status != NEXUS_OK)
        status = nexus__nomem();
    if (status != NEXUS_OK) {
        nexus__saga_instance_free(i);
        return status;
    }
    *out = i;
    return NEXUS_OK;
}
