/* Transitions as pure decisions: a table, an instance, an event or a time, and what comes of it. No bus, no clock. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/status.h"
#include "base/time.h"
#include "saga/instance.h"

#define S(n) ((int64_t)(n)*NEXUS__NS_PER_S)

static int undo_fails; /* how often the undo of "stock" still fails */
static int action_fails;

static nexus_status flaky_undo(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = NEXUS_S("stock.release");
    cr_assert_eq(nexus_saga_emit(ctx, &e), NEXUS_OK);
    return undo_fails-- > 0 ? nexus__fail(NEXUS_EIO, "the shelf is locked") : NEXUS_OK;
}

static nexus_status flaky_action(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = NEXUS_S("courier.call");
    cr_assert_eq(nexus_saga_emit(ctx, &e), NEXUS_OK);
    return action_fails-- > 0 ? nexus__fail(NEXUS_EIO, "nobody answers the phone") : NEXUS_OK;
}

typedef struct lab {
    nexus__saga_type type;
    nexus__saga_instance *i;
    nexus_saga_ctx ctx;
    nexus__saga_moved moved;
    int64_t now;
} lab;

/* stock (undone by flaky_undo), payment (the pivot when asked), courier (asked again past the pivot). */
static void lab_open(lab *l, bool pivot, uint32_t whole_ms)
{
    nexus_saga_step steps[3] = {NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT};
    nexus_saga_opts opts = NEXUS_SAGA_OPTS_INIT;
    steps[0].name = "stock";
    steps[0].command = "stock.reserve";
    steps[0].undo = flaky_undo;
    steps[0].undo_attempts = 3;
    steps[1].name = "payment";
    steps[1].command = "payment.take";
    steps[1].on_types = "payment.taken";
    steps[1].fail_when = "status=declined";
    steps[1].timeout_ms = 2000;
    steps[1].attempts = 2;
    steps[1].pivot = pivot;
    steps[2].name = "courier";
    steps[2].action = flaky_action;
    steps[2].on_types = "courier.came";
    steps[2].fail_when = "status=lost";
    steps[2].attempts = 3;
    opts.done_type = "sale.done";
    opts.failed_type = "sale.failed";
    opts.timeout_ms = whole_ms;
    *l = (lab){.now = S(1000)};
    undo_fails = action_fails = 0;
    cr_assert_eq(nexus__saga_type_init(&l->type, "sale", steps, 3, &opts), NEXUS_OK, "%s", nexus_error_message());
    cr_assert_eq(nexus__saga_instance_new(&l->i, NULL, NEXUS_S("7")), NEXUS_OK);
    nexus__saga_ctx_open(&l->ctx, &l->type, &l->type.tables[0], l->i, NULL);
    cr_assert_eq(nexus__saga_begin(&l->ctx, l->now, &l->moved), NEXUS_OK);
}

static void lab_close(lab *l)
{
    nexus__saga_ctx_close(&l->ctx);
    nexus__saga_instance_free(l->i);
    nexus__saga_type_free(&l->type);
}

/* What the last transition publishes, type by type with spaces between; then the next one may begin. */
static const char *told(lab *l)
{
    static char out[400];
    out[0] = '\0';
    for (nexus__list *n = l->ctx.out.next; n != &l->ctx.out; n = n->next) {
        const nexus_event *e = &NEXUS__CONTAINER(n, nexus__saga_out, node)->event;
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s%.*s", *out ? " " : "", (int)e->type.n, e->type.p);
    }
    return out;
}

static void next(lab *l, const nexus_event *event)
{
    nexus__saga_ctx_close(&l->ctx);
    l->i->seq++;
    nexus__saga_ctx_open(&l->ctx, &l->type, &l->type.tables[0], l->i, event);
}

static void hear(lab *l, const char *id, const char *type, const char *data)
{
    static nexus_event e; /* the context borrows it */
    e = (nexus_event)NEXUS_EVENT_INIT;
    e.id = nexus__slice_c(id);
    e.type = nexus__slice_c(type);
    e.data = nexus__slice_c(data);
    next(l, &e);
    cr_assert_eq(nexus__saga_on_event(&l->ctx, l->now, &l->moved), NEXUS_OK, "%s", nexus_error_message());
}

static void time_comes(lab *l)
{
    l->now = nexus__saga_next_ns(l->i);
    cr_assert_gt(l->now, 0);
    next(l, NULL);
    cr_assert_eq(nexus__saga_on_time(&l->ctx, l->now, &l->moved), NEXUS_OK);
    cr_assert_eq(l->moved, NEXUS__SAGA_MOVED);
}

static void by_hand(lab *l, uint32_t op)
{
    next(l, NULL);
    cr_assert_eq(nexus__saga_on_control(&l->ctx, l->now, op, NEXUS_S("because"), &l->moved), NEXUS_OK);
}

static void expect(lab *l, nexus__saga_status status, const char *types)
{
    cr_assert_eq(l->i->status, status, "%s", nexus__saga_status_name(l->i->status));
    cr_assert_str_eq(told(l), types);
}

Test(saga_step, a_command_sent_again_is_another_event_and_the_same_command)
{
    lab l;
    lab_open(&l, false, 0);
    expect(&l, NEXUS__SAGA_RUNNING, "stock.reserve payment.take");
    const nexus__saga_out *first = NEXUS__CONTAINER(l.ctx.out.prev, nexus__saga_out, node);
    char id[200];
    snprintf(id, sizeof id, "%.*s", (int)first->event.id.n, first->event.id.p);
    cr_assert_eq(first->event.ext_count, 0);
    time_comes(&l);
    expect(&l, NEXUS__SAGA_RUNNING, "payment.take");
    const nexus__saga_out *second = NEXUS__CONTAINER(l.ctx.out.prev, nexus__saga_out, node);
    cr_assert(!nexus__slice_eq_c(second->event.id, id));
    cr_assert(nexus__slice_eq_c(second->event.ext[0].name, "commandid"));
    cr_assert(nexus__slice_eq_c(second->event.ext[0].value, id));
    time_comes(&l); /* that was the second and last time */
    expect(&l, NEXUS__SAGA_FAILED, "stock.release sale.failed");
    cr_assert_str_eq(l.i->reason, "payment timed out");
    lab_close(&l);
}

Test(saga_step, an_undo_that_fails_is_tried_again_and_then_stuck_with_an_alert)
{
    lab l;
    lab_open(&l, false, 0);
    undo_fails = 3;
    hear(&l, "p", "payment.taken", "{\"status\":\"declined\"}");
    expect(&l, NEXUS__SAGA_COMPENSATING, ""); /* what the failing undo had emitted is dropped */
    cr_assert_eq(l.i->tries, 1);
    int64_t wait = nexus__saga_next_ns(l.i) - l.now;
    cr_assert(wait >= S(1) / 2 && wait <= S(1), "%lld", (long long)wait);
    time_comes(&l);
    wait = nexus__saga_next_ns(l.i) - l.now;
    cr_assert(wait >= S(1) && wait <= S(2), "doubled: %lld", (long long)wait);
    time_comes(&l);
    expect(&l, NEXUS__SAGA_STUCK, "saga.sale.stuck system.alert");
    cr_assert_str_eq(l.i->reason, "declined");
    cr_assert_str_eq(l.i->error, "the shelf is locked");
    cr_assert_eq(nexus__saga_next_ns(l.i), 0);
    const nexus_event *alert = &NEXUS__CONTAINER(l.ctx.out.prev, nexus__saga_out, node)->event;
    cr_assert(memmem(alert->data.p, alert->data.n, "the shelf is locked", 19), "%.*s", (int)alert->data.n, alert->data.p);
    by_hand(&l, NEXUS_SAGA_OP_RETRY);
    expect(&l, NEXUS__SAGA_FAILED, "stock.release sale.failed");
    lab_close(&l);
}

Test(saga_step, skipping_an_undo_goes_on_with_the_one_before)
{
    lab l;
    lab_open(&l, false, 0);
    undo_fails = 3;
    hear(&l, "p", "payment.taken", "{\"status\":\"declined\"}");
    time_comes(&l);
    time_comes(&l);
    by_hand(&l, NEXUS_SAGA_OP_SKIP);
    expect(&l, NEXUS__SAGA_FAILED, "sale.failed");
    cr_assert_eq(l.i->done, 0);
    by_hand(&l, NEXUS_SAGA_OP_RETRY);
    cr_assert_eq(l.moved, NEXUS__SAGA_STAYS, "what is over stays over");
    lab_close(&l);
}

Test(saga_step, past_the_pivot_a_failure_is_tried_again_as_a_new_command_and_never_undone)
{
    lab l;
    lab_open(&l, true, 0);
    hear(&l, "p", "payment.taken", "{\"status\":\"captured\"}");
    expect(&l, NEXUS__SAGA_RUNNING, "courier.call");
    hear(&l, "c1", "courier.came", "{\"status\":\"lost\"}");
    expect(&l, NEXUS__SAGA_RUNNING, "");
    cr_assert(l.i->again && nexus__saga_next_ns(l.i) > l.now);
    time_comes(&l);
    expect(&l, NEXUS__SAGA_RUNNING, "courier.call");
    const nexus_event *call = &NEXUS__CONTAINER(l.ctx.out.prev, nexus__saga_out, node)->event;
    cr_assert(nexus__slice_ends(call->id, NEXUS_S("/r1")) && call->ext_count == 0, "%.*s", (int)call->id.n, call->id.p);
    action_fails = 1;
    hear(&l, "c2", "courier.came", "{\"status\":\"lost\"}");
    time_comes(&l); /* the third time: the action itself fails */
    expect(&l, NEXUS__SAGA_STUCK, "saga.sale.stuck system.alert");
    cr_assert_eq(l.i->done, 3, "nothing was undone");
    hear(&l, "c3", "courier.came", "{\"status\":\"lost\"}");
    cr_assert_eq(l.moved, NEXUS__SAGA_STAYS, "another failure is no news");
    hear(&l, "c4", "courier.came", "{\"status\":\"ok\"}");
    expect(&l, NEXUS__SAGA_DONE, "sale.done"); /* it came after all */
    lab_close(&l);
}

Test(saga_step, retry_and_skip_by_hand_past_the_pivot)
{
    lab l;
    lab_open(&l, true, 0);
    action_fails = 3;
    hear(&l, "p", "payment.taken", "{}");
    time_comes(&l);
    time_comes(&l);
    expect(&l, NEXUS__SAGA_STUCK, "saga.sale.stuck system.alert");
    by_hand(&l, NEXUS_SAGA_OP_RETRY);
    expect(&l, NEXUS__SAGA_RUNNING, "courier.call");
    by_hand(&l, NEXUS_SAGA_OP_SKIP);
    expect(&l, NEXUS__SAGA_DONE, "sale.done");
    lab_close(&l);
}

Test(saga_step, force_ends_it_as_it_stands)
{
    lab l;
    lab_open(&l, false, 0);
    by_hand(&l, NEXUS_SAGA_OP_FORCE_FAILED);
    expect(&l, NEXUS__SAGA_FAILED, "sale.failed"); /* and stock is not released */
    cr_assert_str_eq(l.i->reason, "because");
    cr_assert_eq(l.ctx.op, NEXUS_SAGA_OP_FORCE_FAILED);
    lab_close(&l);
    lab_open(&l, false, 0);
    by_hand(&l, NEXUS_SAGA_OP_FORCE_DONE);
    expect(&l, NEXUS__SAGA_DONE, "sale.done");
    lab_close(&l);
}

Test(saga_step, the_whole_saga_times_out)
{
    lab l;
    lab_open(&l, false, 1500);
    time_comes(&l);
    cr_assert_eq(l.now, S(1000) + S(3) / 2, "before the step's own two seconds");
    expect(&l, NEXUS__SAGA_FAILED, "stock.release sale.failed");
    cr_assert_str_eq(l.i->reason, "the saga timed out at payment");
    lab_close(&l);
    lab_open(&l, true, 60000);
    hear(&l, "p", "payment.taken", "{}");
    time_comes(&l);
    expect(&l, NEXUS__SAGA_STUCK, "saga.sale.stuck system.alert"); /* there is no way back any more */
    lab_close(&l);
}

Test(saga_step, an_event_of_a_later_step_is_early_and_a_seen_one_is_nothing)
{
    lab l;
    lab_open(&l, false, 0);
    hear(&l, "c", "courier.came", "{}");
    cr_assert_eq(l.moved, NEXUS__SAGA_EARLY);
    hear(&l, "p", "payment.taken", "{}");
    cr_assert_eq(l.moved, NEXUS__SAGA_MOVED);
    hear(&l, "p", "payment.taken", "{}");
    cr_assert_eq(l.moved, NEXUS__SAGA_STAYS);
    hear(&l, "c", "courier.came", "{}");
    expect(&l, NEXUS__SAGA_DONE, "sale.done");
    lab_close(&l);
}

Test(saga_step, every_field_of_an_instance_survives_its_transition)
{
    lab l;
    nexus__buf data;
    nexus__saga_instance *copy, *back;
    lab_open(&l, true, 60000);
    action_fails = 1;
    hear(&l, "p", "payment.taken", "{}");
    l.i->reported = l.i->backward = l.i->late_told = true;
    l.i->stuck_seq = 3;
    l.i->round = 2;
    cr_assert_eq(nexus__saga_set(NULL, &l.i->tracestate, NEXUS_S("a=b")), NEXUS_OK);
    cr_assert_eq(nexus__saga_instance_copy(&copy, l.i), NEXUS_OK);
    nexus__buf texts[2];
    for (int k = 0; k < 2; k++) {
        nexus__buf_init(&texts[k], NULL, 0);
        nexus__saga_note note = {.step = "courier"};
        nexus__saga_instance_write(&texts[k], k ? copy : l.i, "sale", &note);
    }
    cr_assert(nexus__slice_eq(nexus__buf_slice(&texts[0]), nexus__buf_slice(&texts[1])));
    cr_assert_eq(nexus__saga_instance_read(&back, NULL, nexus__buf_slice(&texts[0])), NEXUS_OK);
    cr_assert_eq(back->seq, l.i->seq + 1);
    back->seq = l.i->seq;
    nexus__buf_init(&data, NULL, 0);
    nexus__saga_note note = {.step = "courier"};
    nexus__saga_instance_write(&data, back, "sale", &note);
    cr_assert(nexus__slice_eq(nexus__buf_slice(&data), nexus__buf_slice(&texts[0])), "%.*s\n%.*s", (int)data.len, data.p,
              (int)texts[0].len, texts[0].p);
    nexus__buf_free(&data);
    nexus__buf_free(&texts[0]);
    nexus__buf_free(&texts[1]);
    nexus__saga_instance_free(copy);
    nexus__saga_instance_free(back);
    lab_close(&l);
}
