/*
 * nexus demo: the main job, step by step against the running topology. Each step says what it did, what came of it
 * and where to look; a step that fails says why, and the others go on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

enum { WAIT_MS = 15000, POLL_MS = 100, CONSOLE_OFFSET = 2, ID_MAX = 64 };

typedef struct demo {
    cli *c;
    char email[96], customer[8192]; /* the customer's token */
    char order[ID_MAX], notification[ID_MAX];
    char console[CLI_URL_MAX];
    const char *operator_token; /* NULL: steps that need one say so */
    char own_operator[8192];
    int64_t confirmed; /* orders confirmed today, from the dashboard */
    int step, failed, code;
} demo;

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void say(demo *d, bool fine, const char *what, const char *result, const char *path)
{
    d->step++;
    d->failed += !fine;
    if (!d->c->json) {
        printf("%d. %-4s %s: %s\n        %s%s\n", d->step, fine ? "ok" : "FAIL", what, result,
               strncmp(path, "http", 4) == 0 ? "" : d->c->url, path);
        fflush(stdout);
        return;
    }
    nexus_json_writer *w = NULL;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return;
    nexus_json_open_object(w, NULL);
    nexus_json_put_int(w, "step", d->step);
    nexus_json_put_bool(w, "ok", fine);
    nexus_json_put_text_c(w, "what", what);
    nexus_json_put_text_c(w, "result", result);
    nexus_json_put_text_c(w, "link", path);
    nexus_json_close(w);
    puts(cli_json(w));
    nexus_json_writer_free(w);
}

static bool get(demo *d, const char *path, const char *token, answer *a)
{
    int code = cli_call(d->c, &(call){.method = "GET", .path = path, .token = token}, a);
    if (code != CLI_DONE)
        d->code = code;
    return code == CLI_DONE && a->status == 200;
}

static bool post(demo *d, const char *path, const char *body, const char *token, const nexus_pair *header, answer *a)
{
    int code = cli_call(d->c,
                        &(call){.method = "POST",
                                .path = path,
                                .body = body,
                                .token = token,
                                .headers = header,
                                .header_count = header ? 1 : 0},
                        a);
    if (code != CLI_DONE)
        d->code = code;
    return code == CLI_DONE && a->status >= 200 && a->status < 300;
}

/* What an answer says of itself, for a line of output. */
static const char *told(answer *a, char *out, size_t cap)
{
    char detail[256];
    snprintf(out, cap, "%u %s", a->status, answer_text(a, "/detail", detail, sizeof detail));
    return out;
}

static bool login(demo *d, const char *email, const char *password, char *token, size_t cap)
{
    char body[512];
    answer a;
    snprintf(body, sizeof body, "{\"email\":\"%s\",\"password\":\"%s\"}", email, password);
    bool fine = post(d, "/api/v1/auth/login", body, NULL, NULL, &a);
    answer_text(&a, "/access_token", token, cap);
    answer_free(&a);
    return fine && *token;
}

/* --- 1: accounts -------------------------------------------------------------------------------------------------- */

static bool step_account(demo *d)
{
    char body[512], result[512], me[128];
    static const char password[] = "correct horse battery staple";
    answer a;
    snprintf(d->email, sizeof d->email, "ada.%08lx%04x@example.com", (unsigned long)time(NULL),
             (unsigned)rand() & 0xffff);
    snprintf(body, sizeof body, "{\"email\":\"%s\",\"password\":\"%s\",\"name\":\"Ada\"}", d->email, password);
    bool fine = post(d, "/api/v1/auth/register", body, NULL, NULL, &a);
    told(&a, result, sizeof result);
    answer_free(&a);
    fine = fine && login(d, d->email, password, d->customer, sizeof d->customer);
    if (fine) {
        fine = get(d, "/api/v1/users/me", d->customer, &a);
        answer_text(&a, "/email", me, sizeof me);
        answer_free(&a);
        bool refused = !get(d, "/api/v1/users/me", NULL, &a) && a.status == 401;
        answer_free(&a);
        fine = fine && refused;
        snprintf(result, sizeof result, "registered and logged in as %s; the same call without a token is %s", me,
                 refused ? "401" : "not refused");
    }
    say(d, fine, "account", result, "/api/v1/users/me");
    return fine;
}

/* --- 2, 3: the order and its saga --------------------------------------------------------------------------------- */

static bool step_order(demo *d)
{
    static const char body[] = "{\"items\":[{\"sku\":\"book-1\",\"quantity\":2,\"unit_price\":{\"amount\":1250,"
                               "\"currency\":\"EUR\"}}],\"payment\":{\"token\":\"tok_ok\"}}";
    char key_text[64], again[ID_MAX], result[512], path[128];
    snprintf(key_text, sizeof key_text, "demo-%08lx-%08x", (unsigned long)time(NULL), (unsigned)rand());
    const nexus_pair key = {NEXUS_S("Idempotency-Key"), {key_text, strlen(key_text)}};
    answer a;
    bool fine = post(d, "/api/v1/orders", body, d->customer, &key, &a);
    told(&a, result, sizeof result);
    answer_text(&a, "/id", d->order, sizeof d->order);
    long long amount = answer_int(&a, "/total/amount");
    answer_free(&a);
    if (fine) {
        fine = post(d, "/api/v1/orders", body, d->customer, &key, &a) &&
               strcmp(answer_text(&a, "/id", again, sizeof again), d->order) == 0;
        answer_free(&a);
        snprintf(result, sizeof result, "%s of %lld.%02lld EUR; sent twice with one Idempotency-Key it is %s", d->order,
                 amount / 100, amount % 100, fine ? "the same order" : "another order");
    }
    snprintf(path, sizeof path, "/api/v1/orders/%s", d->order);
    say(d, fine, "order", result, path);
    return fine;
}

static void history(answer *a, char *out, size_t cap)
{
    nexus_json_iter it = {0};
    uint32_t list = nexus_json_at(a->json, NEXUS_JSON_ROOT, "/history");
    size_t n = 0;
    out[0] = '\0';
    while (nexus_json_step(a->json, list, &it) && n < cap) {
        nexus_slice status = {0};
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "status"), &status);
        n += (size_t)snprintf(out + n, cap - n, "%s%.*s", n ? " → " : "", (int)status.n, status.p ? status.p : "");
    }
}

static void step_saga(demo *d)
{
    char path[128], status[32] = "", steps[256] = "";
    snprintf(path, sizeof path, "/api/v1/orders/%s", d->order);
    for (int waited = 0; waited < WAIT_MS; waited += POLL_MS) {
        answer a;
        bool fine = get(d, path, d->customer, &a);
        answer_text(&a, "/status", status, sizeof status);
        answer_text(&a, "/notifications/0", d->notification, sizeof d->notification);
        if (fine)
            history(&a, steps, sizeof steps);
        answer_free(&a);
        if (!fine || (strcmp(status, "pending") != 0 && *d->notification))
            break;
        pause_ms(POLL_MS);
    }
    say(d, strcmp(status, "confirmed") == 0, "saga", *steps ? steps : status, path);
}

/* --- 4: the notification ------------------------------------------------------------------------------------------ */

static void step_notification(demo *d)
{
    char path[160], status[32] = "", channel[32] = "", state[32] = "", to[128] = "", result[512];
    bool fine = false;
    snprintf(path, sizeof path, "/api/v1/notifications/%s", d->notification);
    for (int waited = 0; *d->notification && d->operator_token && waited < WAIT_MS; waited += POLL_MS) {
        answer a;
        bool answered = get(d, path, d->operator_token, &a);
        answer_text(&a, "/status", status, sizeof status);
        answer_text(&a, "/deliveries/0/channel", channel, sizeof channel);
        answer_text(&a, "/deliveries/0/status", state, sizeof state);
        answer_text(&a, "/deliveries/0/to", to, sizeof to);
        answer_free(&a);
        fine = strcmp(state, "sent") == 0 || strcmp(state, "captured") == 0 || strcmp(state, "delivered") == 0;
        if (!answered || fine)
            break;
        pause_ms(POLL_MS);
    }
    if (!*d->notification)
        snprintf(result, sizeof result, "the order names no notification yet");
    else if (!d->operator_token)
        snprintf(result, sizeof result, "%s was made; its deliveries need an operator: nexus login first",
                 d->notification);
    else
        snprintf(result, sizeof result, "%s to %s is %s%s", channel, to, state,
                 strcmp(state, "captured") == 0 ? " in the development mailbox, which the console shows" : "");
    say(d, fine || (*d->notification && !d->operator_token), "notification", result, path);
}

/* --- 5, 6: analytics ---------------------------------------------------------------------------------------------- */

static void step_dashboard(demo *d)
{
    static const char path[] = "/api/v1/analytics/dashboard?range=24h";
    char result[256];
    if (!d->operator_token) {
        say(d, false, "dashboard", "needs an operator: nexus login, or NEXUS_TOKEN", path);
        return;
    }
    bool fine = false;
    for (int waited = 0; waited < WAIT_MS && !fine && d->code == CLI_DONE; waited += POLL_MS) {
        answer a;
        bool answered = get(d, path, d->operator_token, &a);
        d->confirmed = answer_int(&a, "/orders/confirmed");
        fine = answered && d->confirmed > 0;
        snprintf(result, sizeof result, "%lld events; %lld orders created, %lld confirmed, %lld cancelled",
                 (long long)answer_int(&a, "/totals/events"), (long long)answer_int(&a, "/orders/created"),
                 (long long)d->confirmed, (long long)answer_int(&a, "/orders/cancelled"));
        if (!answered)
            told(&a, result, sizeof result);
        answer_free(&a);
        if (!answered)
            break;
        if (!fine)
            pause_ms(POLL_MS);
    }
    say(d, fine, "dashboard", result, path);
}

static void step_ingest(demo *d)
{
    static const char path[] = "/api/v1/ingest/event";
    char body[512], result[256], first[32], second[32];
    char *key = cli_state_file(d->c, "write.key");
    const char *set = nexus_settings_text(d->c->settings, "write_key");
    const char *used = *set ? set : key ? key : "";
    const nexus_pair header = {NEXUS_S("X-Write-Key"), {used, strlen(used)}};
    answer a;
    snprintf(body, sizeof body,
             "{\"id\":\"demo-%08lx-%04x\",\"event\":\"page_view\",\"user_id\":\"%s\",\"properties\":{\"path\":\"/"
             "demo\",\"status\":200}}",
             (unsigned long)time(NULL), (unsigned)rand() & 0xffff, d->email);
    bool fine = post(d, path, body, NULL, &header, &a);
    answer_text(&a, "/status", first, sizeof first);
    told(&a, result, sizeof result);
    answer_free(&a);
    if (fine) {
        fine = post(d, path, body, NULL, &header, &a);
        answer_text(&a, "/status", second, sizeof second);
        answer_free(&a);
        fine = fine && strcmp(second, "duplicate") == 0;
        snprintf(result, sizeof result,
                 "an event is %s; sent again it is %s. Files: nexus ingest access.log --format combined", first, second);
    }
    say(d, fine, "ingestion", result, path);
    free(key);
}

/* --- 7, 8: copilot and console ------------------------------------------------------------------------------------ */

static void step_copilot(demo *d)
{
    static const char path[] = "/api/v1/copilot/chat";
    char result[512];
    if (!d->operator_token) {
        say(d, false, "copilot", "needs an operator: nexus login, or NEXUS_TOKEN", path);
        return;
    }
    answer a;
    bool fine = post(d, path, "{\"message\":\"how many orders were confirmed today?\"}", d->operator_token, NULL, &a);
    if (fine)
        answer_text(&a, "/answer", result, sizeof result);
    else
        told(&a, result, sizeof result);
    answer_free(&a);
    say(d, fine, "copilot", result, path);
}

static void step_console(demo *d)
{
    answer a;
    char link[CLI_URL_MAX + 8];
    snprintf(link, sizeof link, "%s/", d->console);
    int code = cli_call(d->c, &(call){.method = "GET", .path = "/", .base = d->console}, &a);
    say(d, code == CLI_DONE && a.status == 200, "console",
        code == CLI_DONE && a.status == 200 ? "open it: live totals, the last hour, events, the mailbox, health"
                                            : "does not answer",
        link);
    answer_free(&a);
}

/* --- the walk ----------------------------------------------------------------------------------------------------- */

/* Where nobody is logged in, a development topology can still be walked: the demo becomes an administrator of its own
 * with a token that this machine's operator may make at any time. */
static void find_operator(demo *d)
{
    enum { BACKEND_OFFSET = 1 };
    char body[1024], email[96], token[512], password[48], base[CLI_URL_MAX];
    d->operator_token = cli_token(d->c);
    char *operator_key = d->operator_token ? NULL : cli_state_file(d->c, "admin.token");
    if (!operator_key)
        return;
    answer a;
    cli_service_url(d->c, BACKEND_OFFSET, base, sizeof base);
    int code = cli_call(
        d->c, &(call){.method = "POST", .path = "/api/v1/auth/bootstrap-token", .token = operator_key, .base = base},
        &a);
    answer_text(&a, "/token", token, sizeof token);
    bool made = code == CLI_DONE && a.status >= 200 && a.status < 300 && *token;
    answer_free(&a);
    free(operator_key);
    if (!made)
        return;
    snprintf(password, sizeof password, "%.40s", token);
    snprintf(email, sizeof email, "demo-operator.%08lx%04x@example.com", (unsigned long)time(NULL),
             (unsigned)rand() & 0xffff);
    snprintf(body, sizeof body, "{\"token\":\"%s\",\"email\":\"%s\",\"password\":\"%s\",\"name\":\"Demo\"}", token,
             email, password);
    if (post(d, "/api/v1/auth/bootstrap", body, NULL, NULL, &a)) {
        if (login(d, email, password, d->own_operator, sizeof d->own_operator))
            d->operator_token = d->own_operator;
    }
    answer_free(&a);
}

int cli_demo(cli *c)
{
    int code = cli_words(c, 0, 0, "demo");
    if (code != CLI_DONE)
        return code;
    demo d = {.c = c};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    srand((unsigned)(now.tv_nsec ^ now.tv_sec));
    cli_service_url(c, CONSOLE_OFFSET, d.console, sizeof d.console);
    bool account = step_account(&d);
    if (d.code == CLI_UNREACHABLE)
        return d.code;
    find_operator(&d);
    if (account && step_order(&d)) {
        step_saga(&d);
        step_notification(&d);
    }
    step_dashboard(&d);
    step_ingest(&d);
    step_copilot(&d);
    step_console(&d);
    if (!c->json)
        printf("%d steps, %d failed\n", d.step, d.failed);
    return d.code == CLI_UNREACHABLE ? d.code : d.failed ? CLI_REFUSED : CLI_DONE;
}
