/*
 * A transition under way: what callbacks may call, and what is published with it. Ids of what is published are derived, so
 * that a transition that is run again publishes the same events:
 *
 *   saga/NAME/ID/STEP/TYPE/N    the command; N counts within one callback, from 1000 on the way back, 2000 when late
 *   …/rR                        of round R: a new command after an answer that was a failure, or by hand
 *   …/tT                        its T-th repetition after silence: another event for the bus, but the extension
 *                               "commandid" names the command, by which inboxes go
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/status.h"
#include "json/write.h"
#include "saga/instance.h"

enum { EMIT_ID_MAX = 560, TYPE_MAX = 120 };

void nexus__saga_ctx_open(nexus_saga_ctx *ctx, const nexus__saga_type *type, const nexus__saga_table *table,
                          nexus__saga_instance *instance, const nexus_event *event)
{
    *ctx = (nexus_saga_ctx){.type = type, .table = table, .instance = instance, .event = event, .attempt = 1};
    nexus__list_init(&ctx->out);
}

static void out_free(const nexus_saga_ctx *ctx, nexus__saga_out *out)
{
    nexus__list_remove(&out->node);
    nexus__free(ctx->type->alloc, out->bytes);
    nexus__free(ctx->type->alloc, out);
}

void nexus__saga_ctx_close(nexus_saga_ctx *ctx)
{
    nexus__saga_emit_undo(ctx, &ctx->out);
}

void nexus__saga_emit_undo(nexus_saga_ctx *ctx, nexus__list *last)
{
    while (ctx->out.prev != last)
        out_free(ctx, NEXUS__CONTAINER(ctx->out.prev, nexus__saga_out, node));
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
    if (text.n > NEXUS__SAGA_TEXT_MAX)
        text.n = NEXUS__SAGA_TEXT_MAX;
    (void)!nexus__saga_set(ctx->instance->alloc, &ctx->instance->reason, text);
}

const char *nexus_saga_reason(const nexus_saga_ctx *ctx)
{
    return ctx->instance->reason ? ctx->instance->reason : "";
}

/* --- emitting -------------------------------------------------------------------------------------------------- */

/* Attributes that an event does not bring come from the instance. */
static void complete(const nexus_saga_ctx *ctx, nexus_event *e)
{
    const nexus__saga_instance *i = ctx->instance;
    if (!e->traceparent.n) {
        e->traceparent = nexus__slice_c(i->traceparent);
        e->tracestate = nexus__slice_c(i->tracestate);
    }
    if (!e->correlationid.n)
        e->correlationid = nexus__slice_c(i->correlation);
    if (!e->causationid.n && ctx->event)
        e->causationid = ctx->event->id;
}

/* Appends a NUL-terminated copy and remembers where it begins. */
static void keep(nexus__buf *b, nexus_slice text, size_t *at)
{
    *at = b->len;
    nexus__buf_slice_append(b, text);
    nexus__buf_char(b, '\0');
}

/* Copies the event to the end of ctx->out; command: the extension of a repetition, or empty. */
static nexus_status push(nexus_saga_ctx *ctx, const nexus_event *given, nexus_slice command)
{
    const nexus_alloc *alloc = ctx->type->alloc;
    nexus_event e = *given;
    nexus_slice *parts[] = {&e.id,          &e.source,      &e.type,       &e.subject,      &e.datacontenttype,
                            &e.dataschema,  &e.traceparent, &e.tracestate, &e.partitionkey, &e.correlationid,
                            &e.causationid, &e.data,        &command};
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
    if (command.n) {
        out->command = (nexus_pair){NEXUS_S("commandid"), command};
        out->event.ext = &out->command;
        out->event.ext_count = 1;
    }
    nexus__list_push(&ctx->out, &out->node);
    return NEXUS_OK;
}

nexus_status nexus_saga_emit(nexus_saga_ctx *ctx, const nexus_event *given)
{
    const nexus__saga_instance *i = ctx->instance;
    char id[EMIT_ID_MAX], source[80], subject[300];
    nexus_event e = NEXUS_EVENT_INIT;
    memcpy(&e, given, given->size < sizeof e ? given->size : sizeof e);
    if (e.ext_count)
        return nexus__fail(NEXUS_ENOTSUP, "saga: an emitted event may not have extensions of its own");
    nexus_status status = nexus_event_check(&e);
    if (status != NEXUS_OK)
        return status;
    if (e.type.n > TYPE_MAX)
        return nexus__fail(NEXUS_EINVAL, "saga: the type of an emitted event may have %d bytes", TYPE_MAX);
    size_t n = (size_t)snprintf(id, sizeof id, "saga/%s/%s/%s/%.*s/%" PRIu32, ctx->type->name, i->id,
                                ctx->step ? ctx->step : "", (int)e.type.n, e.type.p, ctx->emitted++);
    if (i->round)
        n += (size_t)snprintf(id + n, sizeof id - n, "/r%" PRIu32, i->round);
    nexus_slice command = NEXUS_S("");
    if (ctx->attempt > 1) {
        command = nexus__slice(id, n);
        n += (size_t)snprintf(id + n, sizeof id - n, "/t%" PRIu32, ctx->attempt);
    }
    snprintf(source, sizeof source, "/saga/%s", ctx->type->name);
    snprintf(subject, sizeof subject, "%s-%s", ctx->type->name, i->id);
    e.size = sizeof e;
    e.id = nexus__slice(id, n);
    if (!e.source.n)
        e.source = nexus__slice_c(source);
    if (!e.subject.n)
        e.subject = nexus__slice_c(i->subject ? i->subject : subject);
    complete(ctx, &e);
    return push(ctx, &e, command);
}

/* --- events that carry the state ------------------------------------------------------------------------------- */

static void write_state(nexus__json_writer *w, nexus__json *doc, bool with_reason)
{
    nexus__json_iter it = nexus__json_each(doc, 0);
    while (nexus__json_step(doc, &it)) {
        nexus_slice name;
        if (nexus__json_text(doc, it.key, &name) && !nexus__slice_eq_c(name, "saga") &&
            !nexus__slice_eq_c(name, "saga_id") && !(with_reason && nexus__slice_eq_c(name, "reason"))) {
            nexus__json_key_slice(w, name);
            nexus__json_raw_value(w, nexus__json_raw(doc, it.value));
        }
    }
}

nexus_status nexus__saga_emit_type(nexus_saga_ctx *ctx, const char *type, bool with_reason)
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
        write_state(&w, &doc, with_reason);
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

/* One event about this very transition, told by the saga itself. */
static nexus_status tell(nexus_saga_ctx *ctx, const char *type, nexus_slice data)
{
    const nexus__saga_instance *i = ctx->instance;
    char id[EMIT_ID_MAX], source[80], subject[400];
    snprintf(id, sizeof id, "saga/%s/%s/%s/%" PRIu64, ctx->type->name, i->id, type, i->seq);
    snprintf(source, sizeof source, "/saga/%s", ctx->type->name);
    snprintf(subject, sizeof subject, "%s-%s", ctx->type->name, i->id);
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = nexus__slice_c(id);
    e.source = nexus__slice_c(source);
    e.type = nexus__slice_c(type);
    e.subject = nexus__slice_c(subject);
    e.data = data;
    complete(ctx, &e);
    return push(ctx, &e, NEXUS_S(""));
}

nexus_status nexus__saga_emit_stuck(nexus_saga_ctx *ctx)
{
    const nexus__saga_instance *i = ctx->instance;
    const char *step = nexus__saga_step_name(ctx->table, i);
    nexus__buf data, text;
    nexus__buf_init(&data, i->alloc, 0);
    nexus__buf_init(&text, i->alloc, 0);
    nexus__buf_printf(&text, "saga %s %s is stuck %s %s: %s", ctx->type->name, i->id,
                      i->backward ? "undoing what was done before" : "at", step ? step : "its end",
                      i->error ? i->error : nexus_saga_reason(ctx));
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text(&w, "message", nexus__buf_slice(&text));
    nexus__json_put_text_c(&w, "severity", "critical");
    nexus__json_put_text_c(&w, "saga", ctx->type->name);
    nexus__json_put_text_c(&w, "saga_id", i->id);
    nexus__json_put_text_c(&w, "step", step);
    nexus__json_put_u64(&w, "seq", i->seq);
    nexus__json_close(&w, '}');
    bool whole = text.status == NEXUS_OK && data.status == NEXUS_OK;
    nexus_status status = whole ? tell(ctx, ctx->type->stuck_type, nexus__buf_slice(&data)) : nexus__nomem();
    if (status == NEXUS_OK)
        status = tell(ctx, "system.alert", nexus__buf_slice(&data));
    nexus__buf_free(&data);
    nexus__buf_free(&text);
    return status;
}
