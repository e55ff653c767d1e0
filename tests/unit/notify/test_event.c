/* Events turned into notifications. */
#include "world.h"

Test(notify, an_event_makes_one_notification_however_often_it_comes)
{
    world w;
    char *out = NULL;
    nexus_event event = NEXUS_EVENT_INIT;
    event.id = NEXUS_S("e-1");
    event.source = NEXUS_S("/nexus/backend");
    event.type = NEXUS_S("order.cancelled");
    event.subject = NEXUS_S("order-42");
    event.data =
        NEXUS_S("{\"order_id\":\"42\",\"user_id\":\"user-1\",\"email\":\"ada@example.com\",\"reason\":\"payment "
                "declined <b>\",\"total\":{\"amount\":1205,\"currency\":\"EUR\"}}");
    set_up(&w);
    atomic_store(&w.fail_first, 2); /* the bus is away for a moment */
    for (int i = 0; i < 3; i++)
        OK(nexus_notify_handle_event(w.notify, &event));
    wait_sent(&w, 1);
    cr_assert(strstr(w.data, "\"order_id\":\"42\"") && strstr(w.data, "\"notification_id\":\""), "%s", w.data);
    OK(nexus_notify_mailbox(&out, NULL, w.notify, 0));
    char id[40], *mail = NULL;
    id_of(out, id);
    cr_assert_null(strstr(strstr(out, "\"id\"") + 4, "\"id\""), "one mail: %s", out);
    OK(nexus_notify_mailbox_get(&mail, NULL, w.notify, nexus__slice_c(id)));
    cr_assert(strstr(mail, "payment declined &lt;b&gt;"), "%s", mail);
    nexus_free(mail);
    nexus_free(out);
    OK(nexus_notify_list(&out, NULL, w.notify, NEXUS_S("captured"), NEXUS_S(""), 10));
    cr_assert(strstr(out, "\"order_id\":\"42\"") && strstr(out, "\"next_cursor\":null"));
    nexus_free(out);
    event.type = NEXUS_S("inventory.low");
    event.id = NEXUS_S("e-2");
    OK(nexus_notify_handle_event(w.notify, &event));
    event.data = NEXUS_S("[1]");
    cr_assert_eq(nexus_notify_handle_event(w.notify, &event), NEXUS_EINVAL);
    tear_down(&w);
}
