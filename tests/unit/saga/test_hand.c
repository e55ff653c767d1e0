/* Sagas that need a person: stuck, in the list, among the dead letters; tried again, passed over, ended by hand. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nexus/saga.h>
#include <nexus/stream.h>

static atomic_bool shelf_locked;

static nexus_status release(nexus_saga_ctx *ctx, void *user_data)
{
    (void)user_data;
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = NEXUS_S("stock.release");
    return atomic_load(&shelf_locked) ? NEXUS_EIO : nexus_saga_emit(ctx, &e);
}

typedef struct shop {
    nexus_bus *bus;
    nexus_saga *saga;
    nexus_reader *reader;
} shop;

static void open_sale(shop *s)
{
    nexus_saga_step steps[2] = {NEXUS_SAGA_STEP_INIT, NEXUS_SAGA_STEP_INIT};
    nexus_saga_opts opts = NEXUS_SAGA_OPTS_INIT;
    steps[0].name = "stock";
    steps[0].command = "stock.reserve";
    steps[0].undo = release;
    steps[0].undo_attempts = 1;
    steps[1].name = "payment";
    steps[1].command = "payment.take";
    steps[1].on_types = "payment.taken";
    steps[1].fail_when = "status=declined";
    opts.start_types = "shop.sale";
    opts.failed_type = "sale.failed";
    cr_assert_eq(nexus_saga_open(&s->saga, s->bus, "sale", steps, 2, &opts), NEXUS_OK, "%s", nexus_error_message());
}

static void shop_open(shop *s)
{
    nexus_reader_opts reader = NEXUS_READER_OPTS_INIT;
    atomic_store(&shelf_locked, true);
    cr_assert_eq(nexus_bus_open(&s->bus, "memory:", NULL), NEXUS_OK);
    open_sale(s);
    reader.types = "stock.release,sale.failed,system.alert,saga.transition";
    cr_assert_eq(nexus_reader_open(&s->reader, s->bus, &reader), NEXUS_OK);
}

static void shop_close(shop *s)
{
    nexus_reader_close(s->reader);
    nexus_saga_close(s->saga);
    nexus_bus_close(s->bus);
}

static void publish(shop *s, const char *type, const char *subject, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = (nexus_slice){type, strlen(type)};
    e.subject = (nexus_slice){subject, strlen(subject)};
    e.data = (nexus_slice){data, strlen(data)};
    cr_assert_eq(nexus_bus_publish(s->bus, &e, 1, NULL, NULL), NEXUS_OK);
}

/* Reads on until an event of that type with that in its data. */
static void await(shop *s, const char *type, const char *part)
{
    const nexus_event *e;
    do
        cr_assert_eq(nexus_reader_next(s->reader, &e, 20000), NEXUS_OK, "waiting for %s %s", type, part);
    while (e->type.n != strlen(type) || memcmp(e->type.p, type, e->type.n) != 0 ||
           !memmem(e->data.p, e->data.n, part, strlen(part)));
}

static void get_stuck(shop *s, const char *id)
{
    publish(s, "shop.sale", id, "{}");
    publish(s, "payment.taken", id, "{\"status\":\"declined\"}");
    await(s, "system.alert", id);
    await(s, "saga.transition", "\"reported\":true");
}

static void expect_list(shop *s, const char *status, const char *part)
{
    char *text;
    size_t n;
    nexus_saga_query q = NEXUS_SAGA_QUERY_INIT;
    q.status = status;
    cr_assert_eq(nexus_saga_list(&text, &n, s->bus, "sale", &q), NEXUS_OK, "%s", nexus_error_message());
    cr_assert(strstr(text, part), "%s in %s", part, text);
    nexus_free(text);
}

/* Waits for so many dead letters of the saga's group: what is refused becomes one a moment later. */
static void await_letters(shop *s, size_t n)
{
    nexus_group *group;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    nexus_group_stats stats = {.size = sizeof stats, .dead = n + 1};
    opts.existing = true;
    cr_assert_eq(nexus_group_open(&group, s->bus, "saga-sale", &opts), NEXUS_OK);
    while (stats.dead != n)
        cr_assert_eq(nexus_group_read_stats(group, &stats), NEXUS_OK);
    nexus_group_close(group);
}

static char *view_of(shop *s, const char *id)
{
    char *text;
    size_t n;
    cr_assert_eq(nexus_saga_get(&text, &n, s->bus, "sale", (nexus_slice){id, strlen(id)}), NEXUS_OK);
    return text;
}

Test(saga_hand, what_is_stuck_is_listed_alerted_and_a_dead_letter_until_a_retry_by_hand)
{
    shop s;
    shop_open(&s);
    get_stuck(&s, "7");
    await_letters(&s, 1);
    expect_list(&s, NULL, "\"id\":\"7\",\"version\":1,\"status\":\"stuck\",\"step\":\"payment\",\"reason\":\"declined\"");
    expect_list(&s, "running", "\"instances\":[]");
    atomic_store(&shelf_locked, false);
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("7"), NEXUS_SAGA_OP_RETRY, "the shelf is open again", 20000),
                 NEXUS_OK, "%s", nexus_error_message());
    await(&s, "stock.release", "");
    await(&s, "sale.failed", "declined");
    await_letters(&s, 0);
    char *view = view_of(&s, "7");
    cr_assert(strstr(view, "\"op\":\"retry\",\"why\":\"the shelf is open again\""), "%s", view);
    cr_assert(strstr(view, "\"status\":\"failed\""), "%s", view);
    nexus_free(view);
    expect_list(&s, NULL, "\"instances\":[],\"next\":null");
    expect_list(&s, "failed", "\"id\":\"7\"");
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("7"), NEXUS_SAGA_OP_SKIP, "late", 0), NEXUS_ECONFLICT);
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("8"), NEXUS_SAGA_OP_SKIP, "who", 0), NEXUS_ENOTFOUND);
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("7"), NEXUS_SAGA_OP_SKIP, "", 0), NEXUS_EINVAL);
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("7"), 9, "x", 0), NEXUS_EINVAL);
    shop_close(&s);
}

Test(saga_hand, its_dead_letter_handed_out_again_is_a_retry)
{
    shop s;
    nexus_group *group;
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    nexus_redrive_result result = {.size = sizeof result};
    nexus_dead_query query = NEXUS_DEAD_QUERY_INIT;
    shop_open(&s);
    get_stuck(&s, "7");
    await_letters(&s, 1);
    opts.existing = true;
    cr_assert_eq(nexus_group_open(&group, s.bus, "saga-sale", &opts), NEXUS_OK);
    query.types = "saga.sale.stuck";
    cr_assert_eq(nexus_group_redrive(group, &query, NULL, &result), NEXUS_OK); /* the shelf is still locked */
    cr_assert_eq(result.redriven, 1);
    await(&s, "system.alert", "7");
    await(&s, "saga.transition", "\"reported\":true");
    await_letters(&s, 1);
    atomic_store(&shelf_locked, false);
    cr_assert_eq(nexus_group_redrive(group, &query, NULL, &result), NEXUS_OK);
    await(&s, "sale.failed", "declined");
    await_letters(&s, 0);
    nexus_group_close(group);
    shop_close(&s);
}

Test(saga_hand, skip_leaves_the_undo_out_and_force_ends_it)
{
    shop s;
    shop_open(&s);
    get_stuck(&s, "7");
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("7"), NEXUS_SAGA_OP_SKIP, "released by hand", 20000), NEXUS_OK);
    await(&s, "sale.failed", "declined");
    publish(&s, "shop.sale", "8", "{}");
    await(&s, "saga.transition", "\"id\":\"8\"");
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("8"), NEXUS_SAGA_OP_FORCE_DONE, "paid in cash", 20000), NEXUS_OK);
    expect_list(&s, "done", "\"id\":\"8\"");
    shop_close(&s);
}

Test(saga_hand, what_nobody_runs_is_done_when_somebody_does)
{
    shop s;
    shop_open(&s);
    get_stuck(&s, "7");
    nexus_saga_close(s.saga);
    cr_assert_eq(nexus_saga_control(s.bus, "sale", NEXUS_S("7"), NEXUS_SAGA_OP_SKIP, "released by hand", 1),
                 NEXUS_ETIMEDOUT);
    open_sale(&s);
    await(&s, "sale.failed", "declined");
    shop_close(&s);
}

Test(saga_hand, pages)
{
    shop s;
    shop_open(&s);
    for (int k = 0; k < 25; k++) {
        char id[8];
        snprintf(id, sizeof id, "%02d", k);
        cr_assert_eq(nexus_saga_start(s.saga, (nexus_slice){id, 2}, NEXUS_S("{}")), NEXUS_OK);
        if (k % 5 == 0)
            cr_assert_eq(nexus_saga_control(s.bus, "sale", (nexus_slice){id, 2}, NEXUS_SAGA_OP_FORCE_DONE, "x", 20000),
                         NEXUS_OK);
    }
    char after[64] = "";
    size_t seen = 0, pages = 0;
    do {
        char *text;
        size_t n;
        nexus_saga_query q = NEXUS_SAGA_QUERY_INIT;
        q.status = "running,done";
        q.after = after;
        q.limit = 4;
        cr_assert_eq(nexus_saga_list(&text, &n, s.bus, "sale", &q), NEXUS_OK, "%s", nexus_error_message());
        for (char *p = text; (p = strstr(p, "\"id\":")); p++)
            seen++;
        const char *next = strstr(text, "\"next\":\"");
        after[0] = '\0';
        if (next)
            snprintf(after, sizeof after, "%.*s", (int)strcspn(next + 8, "\""), next + 8);
        nexus_free(text);
        pages++;
    } while (after[0]);
    cr_assert_eq(seen, 25, "%zu", seen);
    cr_assert_eq(pages, 7, "five of four that run, and two of what is done: %zu", pages);
    nexus_saga_query bad = NEXUS_SAGA_QUERY_INIT;
    char *text;
    size_t n;
    bad.status = "asleep";
    cr_assert_eq(nexus_saga_list(&text, &n, s.bus, "sale", &bad), NEXUS_EINVAL);
    bad.status = NULL;
    bad.after = "x";
    cr_assert_eq(nexus_saga_list(&text, &n, s.bus, "sale", &bad), NEXUS_EINVAL);
    shop_close(&s);
}
