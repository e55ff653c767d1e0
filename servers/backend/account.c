/* What the calls about people share: who calls, how they are refused, and the threads that hash passwords. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/private.h"

/* --- who calls ------------------------------------------------------------------------------------------------------- */

#define DEVICE_COOKIE "nexus_device"
#define DEVICE_AGE_S "31536000"

static bool is_secure(const backend *b, const nexus_request *request)
{
    return nexus_request_is_tls(request) || strncmp(nexus_service_issuer(b->service), "https:", 6) == 0;
}

void client_of(const nexus_request *request, nexus_auth_client *client)
{
    nexus_auth_client_init(client);
    nexus_request_remote_ip(request, &client->address);
    (void)nexus_request_header(request, "User-Agent", &client->agent);
    if (!nexus_request_cookie(request, "__Host-" DEVICE_COOKIE, &client->device))
        (void)nexus_request_cookie(request, DEVICE_COOKIE, &client->device);
}

void set_device(const backend *b, nexus_request *request, const char *token)
{
    char text[256];
    bool secure = is_secure(b, request);
    if (!token)
        return;
    int n = snprintf(text, sizeof text, "%s" DEVICE_COOKIE "=%s; Path=/; Max-Age=" DEVICE_AGE_S "; HttpOnly; SameSite=Lax%s",
                     secure ? "__Host-" : "", token, secure ? "; Secure" : "");
    (void)nexus_request_set_header(request, "Set-Cookie", (nexus_slice){text, (size_t)n});
}

/* --- refusals ---------------------------------------------------------------------------------------------------------- */

static void reply_busy(nexus_request *request)
{
    (void)nexus_request_set_header(request, "Retry-After", NEXUS_S("1"));
    nexus_request_problem_text(request, 503, "busy", "Too many passwords are being checked; try again in a second.");
}

static void reply_throttled(nexus_request *request, uint32_t seconds)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%u", seconds);
    (void)nexus_request_set_header(request, "Retry-After", (nexus_slice){text, (size_t)n});
    nexus_request_problem(request, 429, "too-many-attempts", "Too many wrong guesses; try again in %u s.", seconds);
}

void refuse_account(backend *b, nexus_request *request, nexus_status status, uint32_t wait_s)
{
    if (status == NEXUS_EINVAL)
        reply_member(request, nexus_error_message());
    else if (status == NEXUS_ECONFLICT)
        nexus_request_problem_text(request, 409, "email-taken", "There is an account with this address.");
    else if (status == NEXUS_ELIMIT && wait_s)
        reply_throttled(request, wait_s);
    else if (status == NEXUS_ELIMIT)
        reply_busy(request);
    else
        reply_failure(b, request, status);
}

bool password_fits(nexus_request *request, nexus_json *body, const char *name)
{
    if (member(body, name).n <= 1024)
        return true;
    nexus_request_problem(request, 400, "password-too-long", "%s has more than 1024 bytes; it is not cut.", name);
    return false;
}

/* --- frames ------------------------------------------------------------------------------------------------------------- */

void with_body(nexus_request *request, backend *b, account_fn *fn)
{
    nexus_json *body;
    if (!read_body(request, &body))
        return;
    current_request = request;
    fn(b, request, body);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    nexus_json_free(body);
}

void answer_early(early *e, nexus_request *request)
{
    nexus_trace trace;
    nexus_slice id;
    nexus_event_init(&e->cause);
    nexus_service_trace(request, &trace);
    nexus_trace_format(&trace, e->traceparent);
    nexus_request_id(request, &id);
    snprintf(e->correlationid, sizeof e->correlationid, "%.*s", TEXT_ARGS(id));
    e->cause.traceparent = (nexus_slice){e->traceparent, NEXUS_TRACEPARENT_LEN};
    e->cause.correlationid = (nexus_slice){e->correlationid, strlen(e->correlationid)};
    current_request = NULL;
    current_cause = &e->cause;
    nexus_request_reply(request, 202, NULL, (nexus_slice){0});
}

void answer_early_end(backend *b, nexus_status status, const char *what)
{
    current_cause = NULL;
    if (status != NEXUS_OK && status != NEXUS_ENOTFOUND)
        nexus_log_printf(nexus_service_log(b->service), NEXUS_LOG_ERROR, "backend", NULL, "%s: %s", what,
                         nexus_error_message());
}

typedef struct hashing {
    backend *b;
    nexus_request *request;
    account_fn *fn;
} hashing;

static void run_hashing(void *user_data)
{
    hashing h = *(hashing *)user_data; /* lies in the request, which its answer ends */
    with_body(h.request, h.b, h.fn);
}

void with_hashing(nexus_request *request, backend *b, account_fn *fn)
{
    hashing *h = nexus_request_alloc(request, sizeof *h);
    if (h)
        *h = (hashing){b, request, fn};
    if (!h || nexus_runtime_submit(b->hashers, run_hashing, h) != NEXUS_OK)
        reply_busy(request);
}

nexus_status add_rows(backend *b, nexus_route *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        rows[i].size = sizeof rows[i];
        rows[i].user_data = b;
    }
    return nexus_service_route(b->service, rows, count);
}

nexus_status hashers_open(backend *b)
{
    const nexus_settings *s = nexus_service_settings(b->service);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    nexus_runtime_opts opts = NEXUS_RUNTIME_OPTS_INIT;
    uint32_t parallel = (uint32_t)nexus_settings_int(s, "hash_parallel");
    opts.loops = 1; /* never run */
    opts.workers = (parallel ? parallel : cores > 0 ? (uint32_t)cores : 1) + 1; /* one waits for the database */
    opts.queue_max = (uint32_t)nexus_settings_int(s, "hash_queue");
    opts.name = "hash";
    return nexus_runtime_open(&b->hashers, &opts);
}
