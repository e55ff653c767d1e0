/* nexus/notify.h on SQLite, with the development mailbox. Real servers: tests/system/test_notification.py. */
#include "world.h"

Test(notify, mail_without_smtp_is_captured_and_never_counts_as_delivered)
{
    world w;
    char *out = NULL, id[40];
    set_up(&w);
    OK(submit(&w, "{\"template\":\"order-confirmed\",\"to\":\"ada@example.com\",\"data\":{\"order_id\":\"o-7\"}}", "",
              NULL, &out));
    id_of(out, id);
    nexus_free(out);
    char *view = wait_view(&w, id, "\"status\":\"captured\"");
    cr_assert(strstr(view, "\"outcome\":\"captured\"") && strstr(view, "\"to\":\"ada@example.com\""));
    cr_assert_not(strstr(view, "delivered"));
    nexus_free(view);
    OK(nexus_notify_mailbox(&out, NULL, w.notify, 0));
    cr_assert(strstr(out, "Your order o-7 is confirmed"), "%s", out);
    char *mail = NULL, mail_id[40];
    id_of(out, mail_id);
    OK(nexus_notify_mailbox_get(&mail, NULL, w.notify, nexus__slice_c(mail_id)));
    cr_assert(strstr(mail, "multipart/alternative") && strstr(mail, "From: shop@example.com"));
    nexus_free(mail);
    nexus_free(out);
    cr_assert_eq(nexus_notify_mailbox_get(&mail, NULL, w.notify, NEXUS_S("../../etc/passwd")), NEXUS_ENOTFOUND);
    wait_sent(&w, 1);
    tear_down(&w);
}

Test(notify, same_key_is_the_same_notification)
{
    world w;
    char *first = NULL, *again = NULL, a[40], b[40];
    nexus_notify_report report = NEXUS_NOTIFY_REPORT_INIT;
    const char *request = "{\"to\":\"ada@example.com\",\"content\":{\"subject\":\"Hi\",\"text\":\"there\"}}";
    set_up(&w);
    OK(submit(&w, request, "k1", &report, &first));
    cr_assert_not(report.replayed);
    OK(submit(&w, request, "k1", &report, &again));
    cr_assert(report.replayed);
    id_of(first, a);
    id_of(again, b);
    cr_assert_str_eq(a, b);
    nexus_free(first);
    nexus_free(again);
    cr_assert_eq(submit(&w, "{\"to\":\"eve@example.com\",\"content\":{\"subject\":\"Hi\",\"text\":\"x\"}}", "k1",
                        &report, &first),
                 NEXUS_ECONFLICT);
    cr_assert_str_eq(report.code, "idempotency-key-reused");
    tear_down(&w);
}

Test(notify, wrong_requests_name_the_field)
{
    static const struct {
        const char *request, *code, *pointer;
        nexus_status status;
    } rows[] = {
        {"{", "json-invalid", "", NEXUS_EINVAL},
        {"[]", "json-invalid", "", NEXUS_EINVAL},
        {"{}", "field-invalid", "/to", NEXUS_EINVAL},
        {"{\"to\":\"nobody\",\"template\":\"order-confirmed\"}", "email-invalid", "/to/email", NEXUS_EINVAL},
        {"{\"to\":{\"email\":7},\"template\":\"order-confirmed\"}", "field-invalid", "/to/email", NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\"}", "field-invalid", "/template", NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\",\"template\":\"no-such\"}", "template-unknown", "/template", NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"channels\":[\"pigeon\"]}", "channel-unknown",
         "/channels/0", NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"channels\":[\"email\",\"sms\"]}",
         "channel-not-configured", "/channels/1", NEXUS_ENOTSUP},
        {"{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"channels\":[\"slack\"]}", "channel-not-configured",
         "/channels/0", NEXUS_ENOTSUP},
        {"{\"to\":\"a@x.com\",\"content\":{\"subject\":\"x\\r\\nBcc: e@x.com\",\"text\":\"t\"}}", "header-injection",
         "/content/subject", NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\\r\\nBcc: e@x.com\",\"template\":\"order-confirmed\"}", "email-invalid", "/to/email",
         NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"send_at\":\"tomorrow\"}", "field-invalid", "/send_at",
         NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"ttl_s\":0}", "field-invalid", "/ttl_s", NEXUS_EINVAL},
        {"{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"data\":[]}", "field-invalid", "/data", NEXUS_EINVAL},
        {"{\"to\":{\"endpoint\":\"none\"},\"template\":\"order-confirmed\"}", "endpoint-unknown", "/to/endpoint",
         NEXUS_EINVAL},
    };
    world w;
    set_up(&w);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nexus_notify_report report = NEXUS_NOTIFY_REPORT_INIT;
        char *out = NULL;
        cr_assert_eq(submit(&w, rows[i].request, "", &report, &out), rows[i].status, "%s: %s", rows[i].request,
                     nexus_error_message());
        cr_assert_str_eq(report.code, rows[i].code, "%s", rows[i].request);
        cr_assert_str_eq(report.pointer, rows[i].pointer, "%s", rows[i].request);
        cr_assert_null(out);
    }
    tear_down(&w);
}

Test(notify, others_do_not_see_it)
{
    world w;
    char *out = NULL, id[40];
    set_up(&w);
    OK(submit(&w, "{\"to\":\"a@x.com\",\"template\":\"order-confirmed\"}", "", NULL, &out));
    id_of(out, id);
    nexus_free(out);
    OK(nexus_notify_get(&out, NULL, w.notify, nexus__slice_c(id), NEXUS_S("user-1")));
    nexus_free(out);
    cr_assert_eq(nexus_notify_get(&out, NULL, w.notify, nexus__slice_c(id), NEXUS_S("user-2")), NEXUS_ENOTFOUND);
    tear_down(&w);
}

Test(notify, preferences_are_kept_unless_it_is_critical)
{
    world w;
    char *out = NULL;
    set_up(&w);
    OK(nexus_notify_set_preference(w.notify, NEXUS_S("a@x.com"), NEXUS_S("*"), NEXUS_S("email"), false));
    OK(submit(&w, "{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"category\":\"order\"}", "", NULL, &out));
    cr_assert(strstr(out, "\"suppressed\""), "%s", out);
    nexus_free(out);
    OK(submit(&w, "{\"to\":\"a@x.com\",\"template\":\"order-confirmed\",\"critical\":true}", "", NULL, &out));
    cr_assert(strstr(out, "\"queued\"") || strstr(out, "\"captured\"") || strstr(out, "\"sending\""));
    nexus_free(out);
    tear_down(&w);
}

Test(notify, a_delivery_cut_off_by_a_crash_is_taken_up_again)
{
    world w;
    char *out = NULL, id[40];
    set_up(&w);
    OK(submit(&w, "{\"to\":\"a@x.com\",\"template\":\"order-confirmed\"}", "", NULL, &out));
    id_of(out, id);
    nexus_free(out);
    nexus_free(wait_view(&w, id, "\"status\":\"captured\""));
    nexus_notify_close(w.notify);
    /* What a killed process leaves behind: claimed, and nothing recorded. */
    OK(nexus_db_exec(w.db, "DELETE FROM notify_attempts", NULL, 0, NULL));
    OK(nexus_db_exec(w.db,
                     "UPDATE notify_deliveries SET status = 'sending', attempts = 1, lease_until = 9000000000000000000",
                     NULL, 0, NULL));
    open_notify(&w);
    char *view = wait_view(&w, id, "\"status\":\"captured\"");
    cr_assert(strstr(view, "interrupted"), "%s", view);
    nexus_free(view);
    tear_down(&w);
}

Test(notify, endpoints_are_checked_and_their_secret_is_told_once)
{
    static const char *const bad[] = {
        "{\"url\":\"ftp://x\",\"events\":[\"order.*\"]}",
        "{\"url\":\"http://10.0.0.1/x\",\"events\":[\"order.*\"]}",
        "{\"url\":\"http://127.0.0.1/x\",\"events\":[]}",
        "{\"url\":\"http://127.0.0.1/x\",\"events\":[\"Order Confirmed\"]}",
        "{\"url\":\"http://127.0.0.1/x\"}",
        "{\"events\":[\"order.*\"]}",
    };
    world w;
    char *out = NULL;
    size_t n = 0;
    set_up(&w);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        nexus_notify_report report = NEXUS_NOTIFY_REPORT_INIT;
        nexus_status status =
            nexus_notify_add_endpoint(&out, &n, w.notify, nexus__slice_c(bad[i]), NEXUS_S("user-1"), false, &report);
        cr_assert(status == NEXUS_EINVAL || status == NEXUS_EPERM, "%s: %s", bad[i], nexus_error_message());
        cr_assert(report.pointer[0] == '/', "%s", bad[i]);
    }
    OK(nexus_notify_add_endpoint(&out, &n, w.notify,
                                 NEXUS_S("{\"url\":\"http://127.0.0.1:9/x\",\"events\":[\"order.confirmed\"]}"),
                                 NEXUS_S("user-1"), false, NULL));
    cr_assert(strstr(out, "\"secret\":\"whsec_"));
    nexus_free(out);
    tear_down(&w);
}

Test(notify, templates_of_our_own_and_previews)
{
    world w;
    char *out = NULL;
    set_up(&w);
    OK(nexus_notify_preview(&out, NULL, w.notify, NEXUS_S("password-reset"), NEXUS_S("{\"email\":\"a@x.com\"}")));
    cr_assert(strstr(out, "\"missing\":") && strstr(out, "\"token\""), "%s", out);
    nexus_free(out);
    cr_assert_eq(nexus_notify_preview(&out, NULL, w.notify, NEXUS_S("nope"), NEXUS_S("{}")), NEXUS_ENOTFOUND);
    cr_assert_neq(nexus_notify_put_template(w.notify, NEXUS_S("mine"),
                                            NEXUS_S("{\"subject\":\"x\",\"text\":\"t\",\"html\":\"{{{raw}}}\"}")),
                  NEXUS_OK);
    OK(nexus_notify_put_template(w.notify, NEXUS_S("order-confirmed"),
                                 NEXUS_S("{\"subject\":\"Ours {{n}}\",\"text\":\"t\",\"html\":\"<p>{{n}}</p>\"}")));
    OK(nexus_notify_preview(&out, NULL, w.notify, NEXUS_S("order-confirmed"), NEXUS_S("{\"n\":\"a\\nb<c\"}")));
    cr_assert(strstr(out, "\"subject\":\"Ours a b<c\"") && strstr(out, "b&lt;c"), "%s", out);
    nexus_free(out);
    tear_down(&w);
}
