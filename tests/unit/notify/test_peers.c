/* A dispatcher against a real SMTP server and a real webhook receiver with scripted answers (see peers.py). */
#include "world.h"

static const char *peer(const char *name)
{
    const char *url = getenv(name);
    if (!url)
        cr_skip("no peers: run through tests/unit/notify/peers.py");
    return url;
}

static void set_up_with_peers(world *w)
{
    nexus_notify_opts opts = NEXUS_NOTIFY_OPTS_INIT;
    const char *smtp = peer("NEXUS_TEST_SMTP_URL");
    set_up(w);
    nexus_notify_close(w->notify);
    opts.client = w->client;
    opts.smtp_url = smtp;
    opts.mail_from = "shop@example.com";
    opts.retry_base_ms = 20;
    opts.retry_cap_ms = 50;
    opts.webhook_schedule_s = "0,0,0";
    opts.on_sent = on_sent;
    opts.user_data = w;
    OK(nexus_notify_open(&w->notify, w->db, &opts));
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

/* Sends to local@example.com and returns the view once it holds `wanted`. */
static char *send_mail(world *w, const char *local, const char *wanted)
{
    char request[300], id[40], *out = NULL;
    snprintf(request, sizeof request,
             "{\"to\":\"%s@example.com\",\"template\":\"order-confirmed\",\"data\":{\"order_id\":\"%s\"}}", local,
             local);
    OK(submit(w, request, "", NULL, &out));
    id_of(out, id);
    nexus_free(out);
    return wait_view(w, id, wanted);
}

Test(smtp, each_answer_has_its_end)
{
    static const struct {
        const char *local, *status, *outcome;
        size_t attempts;
        const char *first_code;
    } rows[] = {
        {"ok", "sent", "ok", 1, "\"code\":250"},
        {"later", "sent", "retry_after", 2, "\"code\":450"},
        {"closing", "sent", "retry_after", 2, "\"code\":421"},
        {"full", "sent", "retry_after", 3, "\"code\":452"},
        {"gone", "bounced", "recipient_gone", 1, "\"code\":550"},
        {"policy", "failed", "permanent", 1, "\"code\":550"},
        {"content", "failed", "permanent", 1, "\"code\":554"},
        {"drop", "unknown", "ambiguous", 1, "\"code\":null"},
    };
    world w;
    set_up_with_peers(&w);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char wanted[64], outcome[64];
        snprintf(wanted, sizeof wanted, "\"status\":\"%s\"", rows[i].status);
        snprintf(outcome, sizeof outcome, "\"outcome\":\"%s\"", rows[i].outcome);
        char *view = send_mail(&w, rows[i].local, wanted);
        cr_assert_eq(count_of(view, "\"outcome\":"), rows[i].attempts, "%s: %s", rows[i].local, view);
        cr_assert(strstr(view, outcome), "%s: %s", rows[i].local, view);
        cr_assert(strstr(view, rows[i].first_code), "%s: %s", rows[i].local, view);
        nexus_free(view);
    }
    tear_down(&w);
}

Test(smtp, a_greylisting_server_is_given_its_time)
{
    world w;
    set_up_with_peers(&w);
    char *view = send_mail(&w, "greylist", "\"code\":451");
    cr_assert(strstr(view, "\"status\":\"queued\"") && strstr(view, "\"next_at\":\"20"), "%s", view);
    nexus_free(view);
    tear_down(&w);
}

/* Subscribes user-1 at a path of the receiver, has an order confirmed, returns the view once it holds `wanted`. */
static char *send_hook(world *w, const char *path, const char *order, const char *wanted)
{
    char text[400], *out = NULL, id[40], data[200];
    size_t n = 0;
    snprintf(text, sizeof text, "{\"url\":\"%s/%s\",\"events\":[\"order.*\"]}", peer("NEXUS_TEST_HOOK_URL"), path);
    OK(nexus_notify_add_endpoint(&out, &n, w->notify, nexus__slice_c(text), NEXUS_S("user-1"), false, NULL));
    nexus_free(out);
    nexus_event event = NEXUS_EVENT_INIT;
    snprintf(data, sizeof data, "{\"order_id\":\"%s\",\"user_id\":\"user-1\",\"payment_token\":\"secret\"}", order);
    event.id = nexus__slice_c(order);
    event.source = NEXUS_S("/nexus/backend");
    event.type = NEXUS_S("order.confirmed");
    event.data = nexus__slice_c(data);
    OK(nexus_notify_handle_event(w->notify, &event));
    OK(nexus_notify_list(&out, &n, w->notify, NEXUS_S(""), NEXUS_S(""), 1));
    id_of(out, id);
    nexus_free(out);
    return wait_view(w, id, wanted);
}

Test(webhook, each_answer_has_its_end)
{
    static const struct {
        const char *path, *status;
        size_t attempts;
        const char *code;
    } rows[] = {
        {"ok", "delivered", 1, "\"code\":200"},        {"flaky", "delivered", 2, "\"code\":503"},
        {"throttled", "delivered", 2, "\"code\":429"}, {"gone", "failed", 1, "\"code\":410"},
        {"redirect", "failed", 4, "\"code\":301"},     {"broken", "failed", 4, "\"code\":500"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        world w;
        char wanted[64], order[32];
        set_up_with_peers(&w);
        snprintf(wanted, sizeof wanted, "\"status\":\"%s\"", rows[i].status);
        snprintf(order, sizeof order, "o-%zu", i);
        char *view = send_hook(&w, rows[i].path, order, wanted);
        cr_assert_eq(count_of(view, "\"outcome\":"), rows[i].attempts, "%s: %s", rows[i].path, view);
        cr_assert(strstr(view, rows[i].code), "%s: %s", rows[i].path, view);
        nexus_free(view);
        tear_down(&w);
    }
}

Test(webhook, an_endpoint_that_is_gone_gets_no_more)
{
    world w;
    char *out = NULL;
    set_up_with_peers(&w);
    nexus_free(send_hook(&w, "gone/2", "g-1", "\"status\":\"failed\""));
    nexus_rows *rows = NULL;
    OK(nexus_db_query_one(&rows, w.db, "SELECT disabled_at > 0, disabled_why FROM notify_endpoints", NULL, 0));
    cr_assert_eq(nexus_rows_int(rows, 0), 1);
    nexus_rows_free(rows);
    nexus_event event = NEXUS_EVENT_INIT;
    event.id = NEXUS_S("g-2");
    event.source = NEXUS_S("/nexus/backend");
    event.type = NEXUS_S("order.cancelled");
    event.data = NEXUS_S("{\"user_id\":\"user-1\"}");
    OK(nexus_notify_handle_event(w.notify, &event));
    OK(nexus_notify_list(&out, NULL, w.notify, NEXUS_S(""), NEXUS_S(""), 9));
    cr_assert_eq(count_of(out, "\"order_id\""), 1, "%s", out);
    nexus_free(out);
    tear_down(&w);
}
