/* The order saga as a table, against the memory and the file bus: forward, back, late, restarted. */
#include "world.h"

Test(saga, every_step_forward)
{
    world w;
    world_open(&w, false, 0);
    publish(&w, START);
    expect(&w, "stock.reserve");
    expect(&w, "payment.requested");
    expect_status(&w, "running", NULL);
    publish(&w, PAID("p1", "captured"));
    expect(&w, "ship.requested");
    publish(&w, SHIPPED("ok"));
    expect(&w, "order.confirmed");
    expect_status(&w, "done", NULL);
    world_close(&w);
}

Test(saga, a_decline_goes_back_without_refunding_what_was_never_captured)
{
    world w;
    world_open(&w, false, 0);
    publish(&w, START);
    expect(&w, "stock.reserve");
    expect(&w, "payment.requested");
    publish(&w, PAID("p1", "declined"));
    expect(&w, "stock.release");
    expect(&w, "order.cancelled");
    expect_status(&w, "failed", "declined");
    world_close(&w);
}

Test(saga, a_later_failure_undoes_in_reverse)
{
    world w;
    world_open(&w, false, 0);
    publish(&w, START);
    expect(&w, "stock.reserve");
    expect(&w, "payment.requested");
    publish(&w, PAID("p1", "captured"));
    expect(&w, "ship.requested");
    publish(&w, SHIPPED("lost"));
    expect(&w, "payment.refund");
    expect(&w, "stock.release");
    expect(&w, "order.cancelled");
    world_close(&w);
}

Test(saga, a_time_out_cancels_and_a_late_capture_is_refunded_once)
{
    world w;
    world_open(&w, false, 50);
    publish(&w, START);
    expect(&w, "stock.reserve");
    expect(&w, "payment.requested");
    expect(&w, "stock.release");
    expect(&w, "order.cancelled");
    expect_status(&w, "failed", "payment timed out");
    publish(&w, PAID("p1", "captured"));
    expect(&w, "payment.refund");
    publish(&w, PAID("p2", "captured"));
    expect_nothing(&w);
    world_close(&w);
}

Test(saga, the_same_start_and_the_same_event_count_once)
{
    world w;
    world_open(&w, false, 0);
    publish(&w, START);
    expect(&w, "stock.reserve");
    expect(&w, "payment.requested");
    publish(&w, "{\"id\":\"c2\",\"source\":\"/"
                "s\",\"type\":\"order.created\",\"subject\":\"order-7\",\"data\":{\"order_id\":\"7\"}}");
    cr_assert_eq(nexus_saga_start(w.saga, NEXUS_S("7"), NEXUS_S("{}")), NEXUS_OK);
    publish(&w, PAID("p1", "captured"));
    publish(&w, PAID("p1", "captured"));
    expect(&w, "ship.requested");
    expect_nothing(&w);
    world_close(&w);
}

Test(saga, survives_a_restart_at_every_transition)
{
    world w;
    world_open(&w, true, 0);
    publish(&w, START);
    expect(&w, "stock.reserve");
    expect(&w, "payment.requested");
    restart(&w);
    expect_nothing(&w);
    publish(&w, PAID("p1", "captured"));
    expect(&w, "ship.requested");
    restart(&w);
    expect_nothing(&w);
    publish(&w, SHIPPED("ok"));
    expect(&w, "order.confirmed");
    restart(&w);
    expect_nothing(&w);
    expect_status(&w, "done", NULL);
    world_close(&w);
}

Test(saga, a_time_that_came_while_nobody_ran_fires_once)
{
    world w;
    world_open(&w, true, 50);
    publish(&w, START);
    expect(&w, "stock.reserve");
    expect(&w, "payment.requested");
    restart(&w);
    expect(&w, "stock.release");
    expect(&w, "order.cancelled");
    restart(&w);
    expect_nothing(&w);
    world_close(&w);
}

Test(saga, another_version_is_refused_while_instances_run)
{
    world w;
    world_open(&w, false, 0);
    publish(&w, START);
    expect(&w, "stock.reserve");
    nexus_saga_close(w.saga);
    w.saga = NULL;
    nexus_saga_step step = NEXUS_SAGA_STEP_INIT;
    step.name = "only";
    nexus_saga_opts opts = NEXUS_SAGA_OPTS_INIT;
    opts.version = 2;
    cr_assert_eq(nexus_saga_open(&w.saga, w.bus, "order", &step, 1, &opts), NEXUS_EREV);
    cr_assert(strstr(nexus_error_message(), " 7 (version 1)"), "%s", nexus_error_message());
    world_close(&w);
}

Test(saga, bad_tables_are_refused)
{
    nexus_bus *bus;
    nexus_saga *saga = NULL;
    nexus_saga_step step = NEXUS_SAGA_STEP_INIT;
    cr_assert_eq(nexus_bus_open(&bus, "memory:", NULL), NEXUS_OK);
    cr_assert_eq(nexus_saga_open(&saga, bus, "order", &step, 1, NULL), NEXUS_EINVAL, "no name");
    step.name = "a";
    cr_assert_eq(nexus_saga_open(&saga, bus, "Order!", &step, 1, NULL), NEXUS_EINVAL);
    cr_assert_eq(nexus_saga_open(&saga, bus, "order", &step, 0, NULL), NEXUS_EINVAL);
    nexus_bus_close(bus);
}
