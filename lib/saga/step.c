/*
 * Transitions of one instance: decisions over the table, the instance, an event and `now`. They touch no bus and no clock;
 * what is to be published is gathered in the context and leaves with the transition itself, in one append.
 */
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "saga/instance.h"
#include "json/write.h"

void nexus__saga_ctx_open(nexus_saga_ctx *ctx, const nexus__saga_type *type, nexus__saga_instance *instance,
                          const nexus_event *event)
{
    *ctx = (nexus_saga_ctx){.type = type, .instance = instance, .event = event};
    nexus__list_init(&ctx->out);
}

void nexus__saga_ctx_close(nexus_saga_ctx *ctx)
{
    while (!nexus__list_empty(&ctx->out)) {
        nexus__saga_out *out = NEXUS__CONTAINER(ctx->out.next, nexus__saga_out, node);
        nexus__list_remove(&out->node);
        nexus__free(ctx->type->alloc, out->bytes);
        nexus__free(ctx->type->alloc, out);
    }
}

bool nexus__saga_listed(const char *patterns, nexus_slice type)
{
    nexus_slice rest = nexus__slice_c(patterns);
    while (rest.n)
        if (nexus_event_type_matches(nexus__slice_trim(nexus__slice_cut(&rest, ',')), type))
            return true;
    return false;
}

/* --- what callbacks may call ----------------------------------------------------------------------------------- */

void nexus_saga_id(const nexus_saga_ctx *ctx, nexus_slice *out)
{
    *out = nexus__slice_c(ctx->instance->id);
}

void nexus_saga_state(const nexus_saga_ctx *ctx, nexus_slice *out)
{
    *out = ctx->instance->state.len ? nexus__buf_slice(&ctx->instance->state) : NEXUS_S("{}");
}

static nexus_status check_object(const nexus_alloc *alloc, nexus_slice text)
{
    nexus__json doc;
    nexus__json_init(&doc, alloc);
    nexus_status status = nexus__json_scan(&doc, text, NULL);
    if (status == NEXUS_OK && !nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT))
        status = nexus__fail(NEXUS_EINVAL, "the state of a saga must be a JSON object");
    nexus__json_free(&doc);
    return status;
}

nexus_status nexus_saga_set_state(nexus_saga_ctx *ctx, nexus_slice state)
{
    nexus__saga_instance *i = ctx->instance;
    if (state.n > NEXUS__SAGA_STATE_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "the state of saga %s is over %d bytes", i->id, NEXUS__SAGA_STATE_MAX);
    nexus_status status = check_object(i->alloc, state);
    if (status != NEXUS_OK)
        return status;
    nexus__buf fresh;
    nexus__buf_init(&fresh, i->alloc, NEXUS__SAGA_STATE_MAX);
    nexus__buf_slice_append(&fresh, state); /* state may point into the present one */
    if (fresh.status != NEXUS_OK) {
        nexus__buf_free(&fresh);
        return nexus__nomem();
    }
    nexus__buf_free(&i->state);
    i->state = fresh;
    return NEXUS_OK;
}

const nexus_event *nexus_saga_event(const nexus_saga_ctx *ctx)
{
    return ctx->event;
}

void nexus_saga_set_reason(nexus_saga_ctx *ctx, const char *reason)
{
    nexus_slice text = nexus__slice_c(reason);
    if (text.n > 255)
        text.n = 255;
    (void)!nexus__saga_set(ctx->instance->alloc, &ctx->instance->reason, text);
}

const char *nexus_saga_reason(const nexus_saga_ctx *ctx)
{
    return ctx->instance->reason ? ctx->instance->reason : "";
}

/* Appends a NUL-terminated copy and remembers where it begins. */
static void keep(nexus__buf *b, nexus_slice text, size_t *at)
{
    *at = b->len;
    nexus__buf_slice_append(b, text);
    nexus__buf_char(b, '\0');
}

nexus_status nexus_saga_emit(nexus_saga_ctx *ctx, const nexus_event *given)
{
    const nexus__saga_instance *i = ctx->instance;
    const nexus_alloc *alloc = ctx->type->alloc;
    char id[512], source[80], subject[300];
    nexus_event e = NEXUS_EVENT_INIT;
    memcpy(&e, given, given->size < sizeof e ? given->size : sizeof e);
    if (e.ext_count)
        return nexus__fail(NEXUS_ENOTSUP, "saga: an emitted event may not have extensions of its own");
    /* The same id whenever this step is run again: repetitions are one event. */
    snprintf(id, sizeof id, "saga/%s/%s/%s/%.*s/%u", ctx->type->name, i->id, ctx->step ? ctx->step : "",
             (int)(e.type.n < 120 ? e.type.n : 120), e.type.p, ctx->emitted++);
    snprintf(source, sizeof source, "/saga/%s", ctx->type->name);
    snprintf(subject, sizeof subject, "%s-%s", ctx->type->name, i->id);
    e.size = sizeof e;
    e.id = nexus__slice_c(id);
    if (!e.source.n)
        e.source = nexus__slice_c(source);
    if (!e.subject.n)
        e.subject = i->subject ? nexus__slice_c(i->subject) : nexus__slice_c(subject);
    if (!e.traceparent.n) {
        e.traceparent = nexus__slice_c(i->traceparent);
        e.tracestate = nexus__slice_c(i->tracestate);
    }
    if (!e.correlationid.n)
        e.correlationid = nexus__slice_c(i->correlation);
    if (!e.causationid.n && ctx->event)
        e.causationid = ctx->event->id;
    nexus_slice *parts[] = {&e.id,          &e.source,      &e.type,       &e.subject,      &e.datacontenttype,
                            &e.dataschema,  &e.traceparent, &e.tracestate, &e.partitionkey, &e.correlationid,
                            &e.causationid, &e.data};
    enum { PARTS = sizeof parts / sizeof parts[0] };
    size_t at[PARTS];
    nexus__buf bytes;
    nexus__buf_init(&bytes, alloc, 0);
    for (size_t k = 0; k < PARTS; k++)
        keep(&bytes, *parts[k], &at[k]);
    nexus__saga_out *out = nexus__calloc(alloc, 1, sizeof *out);
    if (!out || bytes.status != NEXUS_OK) {
        nexus__free(alloc, out);
        nexus__buf_free(&bytes);
        return nexus__nomem();
    }
    for (size_t k = 0; k < PARTS; k++)
        parts[k]->p = bytes.p + at[k];
    out->event = e;
    out->bytes = bytes.p;
    nexus__list_push(&ctx->out, &out->node);
    return NEXUS_OK;
}

/* --- publishing without functions ------------------------------------------------------------------------------ */

/* The state as data, with "saga", "saga_id" and, on the way back, "reason" in it. */
static nexus_status emit_type(nexus_saga_ctx *ctx, const char *type, bool with_reason)
{
    const nexus__saga_instance *i = ctx->instance;
    nexus__json doc;
    nexus__buf data;
    nexus_slice state;
    nexus_saga_state(ctx, &state);
    nexus__json_init(&doc, i->alloc);
    nexus__buf_init(&data, i->alloc, 0);
    nexus_status status = nexus__json_scan(&doc, state, NULL);
    if (status == NEXUS_OK) {
        nexus__json_writer w = nexus__json_writer_on(&data);
        nexus__json_open(&w, '{');
        nexus__json_iter it = nexus__json_each(&doc, 0);
        while (nexus__json_step(&doc, &it)) {
            nexus_slice name;
            if (nexus__json_text(&doc, it.key, &name) && !nexus__slice_eq_c(name, "saga") &&
                !nexus__slice_eq_c(name, "saga_id") && !(with_reason && nexus__slice_eq_c(name, "reason"))) {
                nexus__json_key_slice(&w, name);
                nexus__json_raw_value(&w, nexus__json_raw(&doc, it.value));
            }
        }
        nexus__json_put_text_c(&w, "saga", ctx->type->name);
        nexus__json_put_text_c(&w, "saga_id", i->id);
        if (with_reason)
            nexus__json_put_text_c(&w, "reason", nexus_saga_reason(ctx));
        nexus__json_close(&w, '}');
        nexus_event e = NEXUS_EVENT_INIT;
        e.type = nexus__slice_c(type);
        e.data = nexus__buf_slice(&data);
        status = data.status == NEXUS_OK ? nexus_saga_emit(ctx, &e) : nexus__nomem();
    }
    nexus__buf_free(&data);
    nexus__json_free(&doc);
    return status;
}

/* --- steps ----------------------------------------------------------------------------------------------------- */

static nexus_status run(nexus_saga_ctx *ctx, const nexus_saga_step *step, nexus_saga_fn *fn, const char *command,
                        bool back)
{
    ctx->step = step->name;
    ctx->emitted = back ? 1000 : 0; /* ids of the way back never meet those of the way there */
    if (fn)
        return fn(ctx, ctx->type->user_data);
    return command ? emit_type(ctx, command, back) : NEXUS_OK;
}

/* Undoes what is done, last first. A failure throws the transition away; it is tried again. */
static nexus_status compensate(nexus_saga_ctx *ctx)
{
    nexus__saga_instance *i = ctx->instance;
    const nexus__saga_type *t = ctx->type;
    for (size_t k = t->step_count; k-- > 0;) {
        if (!(i->done >> k & 1))
            continue;
        if (t->steps[k].pivot) {
            i->status = NEXUS__SAGA_STUCK;
            i->due_ns = 0;
            return NEXUS_OK;
        }
        nexus_status status = run(ctx, &t->steps[k], t->steps[k].undo, t->steps[k].undo_command, true);
        if (status != NEXUS_OK)
            return status;
        i->done &= ~(UINT64_C(1) << k);
    }
    i->status = NEXUS__SAGA_FAILED;
    i->due_ns = 0;
    ctx->step = "end";
    ctx->emitted = 0;
    return t->failed_type ? emit_type(ctx, t->failed_type, true) : NEXUS_OK;
}

/* Runs steps from i->step on until one waits or the table ends. */
static nexus_status advance(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    const nexus__saga_type *t = ctx->type;
    for (; i->step < t->step_count; i->step++) {
        const nexus_saga_step *step = &t->steps[i->step];
        nexus_status status = run(ctx, step, step->action, step->command, false);
        if (status == NEXUS_ENOMEM)
            return status;
        if (status != NEXUS_OK && !step->optional) {
            if (!i->reason)
                nexus_saga_set_reason(ctx, nexus_error_message());
            i->failed_step = (int32_t)i->step;
            return compensate(ctx);
        }
        if (status == NEXUS_OK && step->on_types) {
            i->attempt = 1;
            i->due_ns = step->timeout_ms ? now_ns + step->timeout_ms * NEXUS__NS_PER_MS : 0;
            return NEXUS_OK;
        }
        if (status == NEXUS_OK)
            i->done |= UINT64_C(1) << i->step;
    }
    i->status = NEXUS__SAGA_DONE;
    i->due_ns = 0;
    ctx->step = "end";
    ctx->emitted = 0;
    return t->done_type ? emit_type(ctx, t->done_type, false) : NEXUS_OK;
}

/* fail_when "status=declined|timed_out": the member's value when it is one of those named. */
static bool fails(const nexus_saga_step *step, const nexus_event *event, const nexus_alloc *alloc, char *why, size_t cap)
{
    nexus_slice values = nexus__slice_c(step->fail_when), text;
    nexus_slice member = nexus__slice_cut(&values, '=');
    nexus__json doc;
    bool failed = false;
    nexus__json_init(&doc, alloc);
    if (nexus__json_scan(&doc, event->data, NULL) == NEXUS_OK &&
        nexus__json_text(&doc, nexus__json_member(&doc, 0, member), &text))
        while (values.n && !failed)
            failed = nexus__slice_eq(nexus__slice_cut(&values, '|'), text);
    if (failed)
        snprintf(why, cap, "%.*s", (int)text.n, text.p);
    nexus__json_free(&doc);
    return failed;
}

static int32_t judge(nexus_saga_ctx *ctx, const nexus_saga_step *step)
{
    char why[128];
    ctx->step = step->name;
    ctx->emitted = 0;
    if (step->judge)
        return step->judge(ctx, ctx->type->user_data);
    if (!step->fail_when || !fails(step, ctx->event, ctx->type->alloc, why, sizeof why))
        return NEXUS_SAGA_NEXT;
    nexus_saga_set_reason(ctx, why);
    return NEXUS_SAGA_FAIL;
}

/* The waiting step has failed: on the way back, or past it when it is optional. */
static nexus_status fail_step(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    if (ctx->type->steps[i->step].optional) {
        i->step++;
        return advance(ctx, now_ns);
    }
    i->failed_step = (int32_t)i->step;
    i->status = NEXUS__SAGA_COMPENSATING;
    return compensate(ctx);
}

nexus_status nexus__saga_begin(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    i->at_ns = now_ns;
    i->status = NEXUS__SAGA_RUNNING;
    return advance(ctx, now_ns);
}

/* What would have completed the failed step has come after all. */
static nexus_status on_late(nexus_saga_ctx *ctx, bool *moved)
{
    nexus__saga_instance *i = ctx->instance;
    if (i->failed_step < 0 || i->late_told)
        return NEXUS_OK;
    const nexus_saga_step *step = &ctx->type->steps[i->failed_step];
    char why[128];
    if (!step->late_command || !nexus__saga_listed(step->on_types, ctx->event->type) ||
        (step->fail_when && fails(step, ctx->event, i->alloc, why, sizeof why)))
        return NEXUS_OK;
    i->late_told = *moved = true;
    ctx->step = step->name;
    ctx->emitted = 2000;
    return emit_type(ctx, step->late_command, true);
}

nexus_status nexus__saga_on_event(nexus_saga_ctx *ctx, int64_t now_ns, bool *moved)
{
    nexus__saga_instance *i = ctx->instance;
    *moved = false;
    if (nexus__saga_has_seen(i, ctx->event->id))
        return NEXUS_OK; /* delivered again: the transition is stored already */
    i->at_ns = now_ns;
    nexus_status status = NEXUS_OK;
    if (i->status == NEXUS__SAGA_RUNNING && i->step < ctx->type->step_count &&
        nexus__saga_listed(ctx->type->steps[i->step].on_types, ctx->event->type)) {
        int32_t verdict = judge(ctx, &ctx->type->steps[i->step]);
        if (verdict == NEXUS_SAGA_WAIT)
            return NEXUS_OK;
        *moved = true;
        if (verdict == NEXUS_SAGA_FAIL) {
            status = fail_step(ctx, now_ns);
        } else {
            i->done |= UINT64_C(1) << i->step++;
            status = advance(ctx, now_ns);
        }
    } else if (i->status != NEXUS__SAGA_RUNNING) {
        status = on_late(ctx, moved);
    }
    return status == NEXUS_OK && *moved ? nexus__saga_see(i, ctx->event->id) : status;
}

nexus_status nexus__saga_on_time(nexus_saga_ctx *ctx, int64_t now_ns, bool *moved)
{
    nexus__saga_instance *i = ctx->instance;
    *moved = false;
    if (i->status != NEXUS__SAGA_RUNNING || !i->due_ns || i->due_ns > now_ns || i->step >= ctx->type->step_count)
        return NEXUS_OK;
    const nexus_saga_step *step = &ctx->type->steps[i->step];
    *moved = true;
    i->at_ns = now_ns;
    if (i->attempt < step->attempts) {
        i->attempt++;
        i->due_ns = now_ns + step->timeout_ms * NEXUS__NS_PER_MS;
        return run(ctx, step, step->action, step->command, false);
    }
    char why[160];
    snprintf(why, sizeof why, "%.100s timed out", step->name);
    nexus_saga_set_reason(ctx, why);
    return fail_step(ctx, now_ns);
}
