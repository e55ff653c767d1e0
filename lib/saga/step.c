/*
 * Transitions of one instance: decisions over the table, the instance, an event and `now`. They touch no bus and no clock;
 * what is to be published is gathered in the context and leaves with the transition itself, in one append.
 *
 * Running: step after step is begun until one waits. A step that fails (its action, its answer, its time) is passed over
 * when it is optional; past a pivot it is tried again, with growing waits, until it is stuck; else the way back begins:
 * what is done is undone, last first. An undo that fails is tried again in the same manner.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/backoff.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/time.h"
#include "saga/instance.h"

enum { EMITTED_BACK = 1000, EMITTED_LATE = 2000 }; /* where ids of what is emitted begin: they never meet */

const char *nexus__saga_step_name(const nexus__saga_table *table, const nexus__saga_instance *i)
{
    if (i->failed_step >= 0 && (size_t)i->failed_step < table->step_count)
        return table->steps[i->failed_step].name;
    return i->step < table->step_count ? table->steps[i->step].name : NULL;
}

static const nexus_saga_step *step_at(const nexus_saga_ctx *ctx)
{
    const nexus__saga_instance *i = ctx->instance;
    return i->step < ctx->table->step_count ? &ctx->table->steps[i->step] : NULL;
}

static void set_error(nexus_saga_ctx *ctx, const char *text)
{
    nexus_slice cut = nexus__slice_c(text);
    if (cut.n > NEXUS__SAGA_TEXT_MAX)
        cut.n = NEXUS__SAGA_TEXT_MAX;
    (void)!nexus__saga_set(ctx->instance->alloc, &ctx->instance->error, cut);
}

static bool past_pivot(const nexus_saga_ctx *ctx)
{
    for (size_t k = 0; k < ctx->table->step_count; k++)
        if (ctx->table->steps[k].pivot && (ctx->instance->done >> k & 1))
            return true;
    return false;
}

/* The wait after so many failures in a row: between half and the whole of what doubling gives, by the instance's id, so
 * that many that failed together do not come back together. */
static int64_t wait_ns(const nexus__saga_instance *i, const nexus_saga_step *step)
{
    nexus__backoff b = {.base_ms = step->backoff_ms ? step->backoff_ms : 1000,
                        .cap_ms = step->backoff_cap_ms ? step->backoff_cap_ms : 60000,
                        .exact = true};
    uint64_t whole = nexus__backoff_ms(&b, i->tries, 0);
    uint64_t spread = nexus__siphash((nexus__hash_key){i->seq, i->tries}, i->id, strlen(i->id));
    return (int64_t)(whole / 2 + spread % (whole / 2 + 1)) * NEXUS__NS_PER_MS;
}

static nexus_status be_stuck(nexus_saga_ctx *ctx, bool backward)
{
    nexus__saga_instance *i = ctx->instance;
    i->status = NEXUS__SAGA_STUCK;
    i->backward = backward;
    i->stuck_seq = i->seq;
    i->again = i->reported = false;
    i->due_ns = i->deadline_ns = 0;
    return nexus__saga_emit_stuck(ctx);
}

static nexus_status end(nexus_saga_ctx *ctx, nexus__saga_status how)
{
    nexus__saga_instance *i = ctx->instance;
    const char *type = how == NEXUS__SAGA_DONE ? ctx->type->done_type : ctx->type->failed_type;
    i->status = how;
    i->due_ns = i->deadline_ns = 0;
    i->again = false;
    ctx->step = "end";
    ctx->emitted = 0;
    ctx->attempt = 1;
    return type ? nexus__saga_emit_type(ctx, type, how == NEXUS__SAGA_FAILED) : NEXUS_OK;
}

/* Runs one callback, or publishes the command in its place. What a failing one had emitted is dropped. */
static nexus_status run(nexus_saga_ctx *ctx, const nexus_saga_step *step, nexus_saga_fn *fn, const char *command,
                        bool back)
{
    nexus__list *last = ctx->out.prev;
    nexus_status status = NEXUS_OK;
    ctx->step = step->name;
    ctx->emitted = back ? EMITTED_BACK : 0;
    ctx->attempt = back ? 1 : ctx->instance->attempt;
    if (fn)
        status = fn(ctx, ctx->type->user_data);
    else if (command)
        status = nexus__saga_emit_type(ctx, command, back);
    if (status != NEXUS_OK)
        nexus__saga_emit_undo(ctx, last);
    return status;
}

/* --- back ------------------------------------------------------------------------------------------------------ */

static nexus_status undo_failed(nexus_saga_ctx *ctx, const nexus_saga_step *step, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    set_error(ctx, nexus_error_message());
    if (++i->tries >= (step->undo_attempts ? step->undo_attempts : 8))
        return be_stuck(ctx, true);
    i->due_ns = now_ns + wait_ns(i, step);
    return NEXUS_OK;
}

/* Undoes what is done, last first, until an undo fails. */
static nexus_status compensate(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    i->status = NEXUS__SAGA_COMPENSATING;
    i->due_ns = i->deadline_ns = 0;
    i->again = false;
    for (size_t k = ctx->table->step_count; k-- > 0;) {
        if (!(i->done >> k & 1))
            continue;
        const nexus_saga_step *step = &ctx->table->steps[k];
        nexus_status status = run(ctx, step, step->undo, step->undo_command, true);
        if (status == NEXUS_ENOMEM)
            return status;
        if (status != NEXUS_OK)
            return undo_failed(ctx, step, now_ns);
        i->done &= ~(UINT64_C(1) << k);
        i->tries = 0;
    }
    set_error(ctx, NULL);
    return end(ctx, NEXUS__SAGA_FAILED);
}

/* --- forward --------------------------------------------------------------------------------------------------- */

static nexus_status advance(nexus_saga_ctx *ctx, int64_t now_ns);

/* Past a pivot: the step is begun again later, as a new command, or the instance is stuck at it. */
static nexus_status again_later(nexus_saga_ctx *ctx, const nexus_saga_step *step, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    i->status = NEXUS__SAGA_RUNNING;
    if (++i->tries >= (step->attempts ? step->attempts : 8))
        return be_stuck(ctx, false);
    i->again = true;
    i->due_ns = now_ns + wait_ns(i, step);
    return NEXUS_OK;
}

/* The present step has failed; i->reason says why. */
static nexus_status fail_step(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    const nexus_saga_step *step = step_at(ctx);
    if (step->optional) {
        i->step++;
        i->tries = 0;
        return advance(ctx, now_ns);
    }
    if (past_pivot(ctx))
        return again_later(ctx, step, now_ns);
    i->failed_step = (int32_t)i->step;
    i->tries = 0;
    return compensate(ctx, now_ns);
}

/* Runs steps from i->step on until one waits or the table ends. */
static nexus_status advance(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    i->status = NEXUS__SAGA_RUNNING;
    i->due_ns = 0;
    for (const nexus_saga_step *step; (step = step_at(ctx)); i->step++) {
        i->attempt = 1;
        i->again = false;
        nexus_status status = run(ctx, step, step->action, step->command, false);
        if (status == NEXUS_ENOMEM)
            return status;
        if (status != NEXUS_OK) {
            set_error(ctx, nexus_error_message());
            if (!i->reason)
                nexus_saga_set_reason(ctx, i->error);
            return fail_step(ctx, now_ns);
        }
        if (step->on_types) {
            i->due_ns = step->timeout_ms ? now_ns + step->timeout_ms * NEXUS__NS_PER_MS : 0;
            return NEXUS_OK;
        }
        i->done |= UINT64_C(1) << i->step;
        i->tries = 0;
    }
    return end(ctx, NEXUS__SAGA_DONE);
}

/* What was said of the try before is over. */
static nexus_status advance_afresh(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus_saga_set_reason(ctx, NULL);
    set_error(ctx, NULL);
    return advance(ctx, now_ns);
}

static nexus_status go_on(nexus_saga_ctx *ctx, int64_t now_ns, bool done)
{
    nexus__saga_instance *i = ctx->instance;
    if (done)
        i->done |= UINT64_C(1) << i->step;
    i->step++;
    i->tries = 0;
    return advance_afresh(ctx, now_ns);
}

nexus_status nexus__saga_begin(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved)
{
    nexus__saga_instance *i = ctx->instance;
    *moved = NEXUS__SAGA_MOVED;
    i->at_ns = now_ns;
    i->deadline_ns = ctx->type->timeout_ms ? now_ns + ctx->type->timeout_ms * NEXUS__NS_PER_MS : 0;
    return advance(ctx, now_ns);
}

/* --- events ---------------------------------------------------------------------------------------------------- */

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

static nexus_status on_awaited(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved)
{
    nexus__saga_instance *i = ctx->instance;
    bool stuck = i->status == NEXUS__SAGA_STUCK;
    int32_t verdict = judge(ctx, step_at(ctx));
    if (verdict == NEXUS_SAGA_WAIT || (stuck && verdict == NEXUS_SAGA_FAIL))
        return NEXUS_OK;
    *moved = NEXUS__SAGA_MOVED;
    return verdict == NEXUS_SAGA_FAIL ? fail_step(ctx, now_ns) : go_on(ctx, now_ns, true);
}

/* What would have completed the failed step has come after all. */
static nexus_status on_late(nexus_saga_ctx *ctx, nexus__saga_moved *moved)
{
    nexus__saga_instance *i = ctx->instance;
    if (i->failed_step < 0 || (size_t)i->failed_step >= ctx->table->step_count || i->late_told)
        return NEXUS_OK;
    const nexus_saga_step *step = &ctx->table->steps[i->failed_step];
    char why[128];
    if (!step->late_command || !nexus__saga_listed(step->on_types, ctx->event->type) ||
        (step->fail_when && fails(step, ctx->event, i->alloc, why, sizeof why)))
        return NEXUS_OK;
    i->late_told = true;
    *moved = NEXUS__SAGA_MOVED;
    ctx->step = step->name;
    ctx->emitted = EMITTED_LATE;
    return nexus__saga_emit_type(ctx, step->late_command, true);
}

static bool awaited_later(const nexus_saga_ctx *ctx)
{
    for (size_t k = ctx->instance->step + 1; k < ctx->table->step_count; k++)
        if (nexus__saga_listed(ctx->table->steps[k].on_types, ctx->event->type))
            return true;
    return false;
}

nexus_status nexus__saga_on_event(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved)
{
    nexus__saga_instance *i = ctx->instance;
    const nexus_saga_step *step = step_at(ctx);
    *moved = NEXUS__SAGA_STAYS;
    if (nexus__saga_has_seen(i, ctx->event->id))
        return NEXUS_OK; /* delivered again: the transition is stored already */
    i->at_ns = now_ns;
    bool forward = i->status == NEXUS__SAGA_RUNNING || (i->status == NEXUS__SAGA_STUCK && !i->backward);
    nexus_status status = NEXUS_OK;
    if (!forward)
        status = on_late(ctx, moved);
    else if (step && nexus__saga_listed(step->on_types, ctx->event->type))
        status = on_awaited(ctx, now_ns, moved);
    else if (awaited_later(ctx))
        *moved = NEXUS__SAGA_EARLY;
    return status == NEXUS_OK && *moved == NEXUS__SAGA_MOVED ? nexus__saga_see(i, ctx->event->id) : status;
}

/* --- time ------------------------------------------------------------------------------------------------------ */

static nexus_status time_out(nexus_saga_ctx *ctx, const nexus_saga_step *step, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    uint32_t attempts = step->attempts ? step->attempts : past_pivot(ctx) ? 8 : 1;
    if (i->attempt < attempts) {
        i->attempt++;
        i->due_ns = now_ns + step->timeout_ms * NEXUS__NS_PER_MS;
        nexus_status status = run(ctx, step, step->action, step->command, false);
        if (status != NEXUS_OK && status != NEXUS_ENOMEM) {
            set_error(ctx, nexus_error_message());
            return fail_step(ctx, now_ns);
        }
        return status;
    }
    char why[160];
    snprintf(why, sizeof why, "%.100s timed out", step->name);
    nexus_saga_set_reason(ctx, why);
    i->tries = i->attempt; /* past a pivot: as often as it was to be tried */
    return fail_step(ctx, now_ns);
}

static nexus_status whole_time_out(nexus_saga_ctx *ctx, int64_t now_ns)
{
    nexus__saga_instance *i = ctx->instance;
    char why[160];
    i->deadline_ns = 0;
    snprintf(why, sizeof why, "the saga timed out at %.64s", step_at(ctx)->name);
    nexus_saga_set_reason(ctx, why);
    if (past_pivot(ctx))
        return be_stuck(ctx, false);
    i->failed_step = (int32_t)i->step;
    i->tries = 0;
    return compensate(ctx, now_ns);
}

nexus_status nexus__saga_on_time(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved)
{
    nexus__saga_instance *i = ctx->instance;
    int64_t next = nexus__saga_next_ns(i);
    const nexus_saga_step *step = step_at(ctx);
    *moved = NEXUS__SAGA_STAYS;
    if (!next || next > now_ns || (i->status == NEXUS__SAGA_RUNNING && !step))
        return NEXUS_OK;
    *moved = NEXUS__SAGA_MOVED;
    i->at_ns = now_ns;
    if (i->status == NEXUS__SAGA_COMPENSATING)
        return compensate(ctx, now_ns);
    if (i->deadline_ns && i->deadline_ns <= now_ns)
        return whole_time_out(ctx, now_ns);
    if (!i->again)
        return time_out(ctx, step, now_ns);
    i->round++;
    return advance_afresh(ctx, now_ns);
}

/* --- by hand --------------------------------------------------------------------------------------------------- */

static nexus_status retry(nexus_saga_ctx *ctx, int64_t now_ns, bool back)
{
    nexus__saga_instance *i = ctx->instance;
    i->tries = 0;
    if (back)
        return compensate(ctx, now_ns);
    i->round++;
    return advance_afresh(ctx, now_ns);
}

static nexus_status skip(nexus_saga_ctx *ctx, int64_t now_ns, bool back)
{
    nexus__saga_instance *i = ctx->instance;
    if (!back)
        return go_on(ctx, now_ns, false);
    i->tries = 0;
    for (size_t k = ctx->table->step_count; k-- > 0;)
        if (i->done >> k & 1) {
            i->done &= ~(UINT64_C(1) << k);
            break;
        }
    return compensate(ctx, now_ns);
}

static nexus_status force_done(nexus_saga_ctx *ctx, int64_t now_ns, bool back)
{
    (void)now_ns, (void)back;
    return end(ctx, NEXUS__SAGA_DONE);
}

static nexus_status force_failed(nexus_saga_ctx *ctx, int64_t now_ns, bool back)
{
    (void)now_ns, (void)back;
    char why[NEXUS__SAGA_TEXT_MAX + 1];
    snprintf(why, sizeof why, "%.*s", (int)ctx->why.n, ctx->why.p);
    if (!ctx->instance->reason)
        nexus_saga_set_reason(ctx, why);
    return end(ctx, NEXUS__SAGA_FAILED);
}

static const struct {
    const char *name;
    uint32_t op;
    nexus_status (*run)(nexus_saga_ctx *ctx, int64_t now_ns, bool back);
} operations[] = {
    {"retry", NEXUS_SAGA_OP_RETRY, retry},
    {"skip", NEXUS_SAGA_OP_SKIP, skip},
    {"force-done", NEXUS_SAGA_OP_FORCE_DONE, force_done},
    {"force-failed", NEXUS_SAGA_OP_FORCE_FAILED, force_failed},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

const char *nexus__saga_op_name(uint32_t op)
{
    for (size_t k = 0; k < OPERATIONS; k++)
        if (operations[k].op == op)
            return operations[k].name;
    return NULL;
}

uint32_t nexus__saga_op_of(nexus_slice name)
{
    for (size_t k = 0; k < OPERATIONS; k++)
        if (nexus__slice_eq_c(name, operations[k].name))
            return operations[k].op;
    return 0;
}

nexus_status nexus__saga_on_control(nexus_saga_ctx *ctx, int64_t now_ns, uint32_t op, nexus_slice why,
                                    nexus__saga_moved *moved)
{
    nexus__saga_instance *i = ctx->instance;
    *moved = NEXUS__SAGA_STAYS;
    if (nexus__saga_over(i->status))
        return NEXUS_OK;
    *moved = NEXUS__SAGA_MOVED;
    i->at_ns = now_ns;
    ctx->op = op;
    ctx->why = why;
    bool back = i->status == NEXUS__SAGA_COMPENSATING || (i->status == NEXUS__SAGA_STUCK && i->backward);
    for (size_t k = 0; k < OPERATIONS; k++)
        if (operations[k].op == op)
            return operations[k].run(ctx, now_ns, back);
    return NEXUS_EINVAL;
}

nexus_status nexus__saga_on_reported(nexus_saga_ctx *ctx, int64_t now_ns, nexus__saga_moved *moved)
{
    nexus__saga_instance *i = ctx->instance;
    *moved = i->status == NEXUS__SAGA_STUCK && !i->reported ? NEXUS__SAGA_MOVED : NEXUS__SAGA_STAYS;
    if (*moved == NEXUS__SAGA_MOVED) {
        i->reported = true;
        i->at_ns = now_ns;
    }
    return NEXUS_OK;
}
