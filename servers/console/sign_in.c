/*
 * Signing in and out, and the cookies. A sign-in always makes a session of its own: one that the browser brought along is
 * ended, so nobody can have it use an id he knows. Where the site is https the cookies are __Host- and Secure.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "session.h"

#define COOKIE_S (12 * 3600)
#define DEVICE "nexus_device"

/* --- cookies ----------------------------------------------------------------------------------- */

/* The browser's view of the site: TLS ends here, or at a proxy in front of what calls itself https. */
static bool is_secure(const console *c, const nexus_request *request)
{
    return nexus_request_is_tls(request) || strncmp(nexus_service_issuer(c->service), "https:", 6) == 0;
}

bool console_session_cookie(const console *c, const nexus_request *request, nexus_slice *id)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *name = is_secure(c, request) ? "__Host-" CONSOLE_SESSION_COOKIE : CONSOLE_SESSION_COOKIE;
    if (!nexus_request_cookie(request, name, id) || id->n != SESSION_ID_LEN)
        return false;
    for (size_t i = 0; i < id->n; i++)
        if (!memchr(plain, id->p[i], sizeof plain - 1))
            return false;
    return true;
}

static void set_cookie(const console *c, nexus_request *request, const char *id, int seconds)
{
    char text[256];
    bool secure = is_secure(c, request);
    int n = snprintf(text, sizeof text, "%s" CONSOLE_SESSION_COOKIE "=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=%d%s",
                     secure ? "__Host-" : "", id, seconds, secure ? "; Secure" : "");
    (void)nexus_request_set_header(request, "Set-Cookie", (nexus_slice){text, (size_t)n});
}

void console_session_keep(console *c, nexus_request *request, console_session *s)
{
    char id[SESSION_ID_LEN + 1];
    nexus_slice sent;
    console_session_id(c, s, id);
    if (!console_session_cookie(c, request, &sent) || memcmp(sent.p, id, SESSION_ID_LEN) != 0)
        set_cookie(c, request, id, COOKIE_S);
    explicit_bzero(id, sizeof id);
}

/* The backend's cookie, by which it knows the device at the next sign-in, goes to the browser as it is. */
static void pass_device(nexus_request *request, const nexus_reply *reply)
{
    nexus_slice text;
    if (nexus_reply_header(reply, "set-cookie", &text) &&
        (strncmp(text.p, DEVICE "=", sizeof DEVICE) == 0 || strncmp(text.p, "__Host-" DEVICE "=", sizeof DEVICE + 7) == 0))
        (void)nexus_request_set_header(request, "Set-Cookie", text);
}

/* --- signing in ---------------------------------------------------------------------------------- */

static void answer_user(nexus_request *request, const char *user)
{
    nexus_json_writer *w;
    nexus_slice text = {NULL, 0};
    nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    if (nexus_json_writer_new(&w) != NEXUS_OK) {
        nexus_request_problem_text(request, 503, "out-of-memory", "Try again.");
        return;
    }
    nexus_json_open_object(w, NULL);
    if (user)
        nexus_json_put_raw(w, "user", (nexus_slice){user, strlen(user)});
    else
        nexus_json_put_null(w, "user");
    nexus_json_close(w);
    text.p = nexus_json_writer_text(w, &text.n);
    nexus_request_reply(request, 200, "application/json", text);
    nexus_json_writer_free(w);
}

static void relay(nexus_request *request, const nexus_reply *reply, const char *type)
{
    nexus_slice body, after;
    nexus_reply_body(reply, &body);
    if (nexus_reply_header(reply, "retry-after", &after))
        nexus_request_set_header(request, "Retry-After", after);
    nexus_request_set_header(request, "Cache-Control", NEXUS_S("no-store"));
    nexus_request_reply(request, nexus_reply_status(reply), type, body);
}

static void admit(console *c, nexus_request *request, const nexus_reply *reply)
{
    nexus_json *doc = NULL;
    nexus_slice answer, id;
    nexus_reply_body(reply, &answer);
    if (nexus_json_parse(&doc, answer) != NEXUS_OK) {
        nexus_request_problem_text(request, 502, "bad-answer", "The sign-in was answered with something else.");
        return;
    }
    if (!nexus_json_text(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "session"), &id)) {
        relay(request, reply, "application/json"); /* the second step is due */
        nexus_json_free(doc);
        return;
    }
    console_session *s = console_session_new(c, id, doc);
    if (s) {
        console_session_end(c, request);
        console_session_keep(c, request, s);
        pass_device(request, reply);
        answer_user(request, console_session_user(s));
    } else {
        nexus_request_problem_text(request, 503, "sign-in-failed", "The sign-in could not be finished; try again.");
    }
    console_session_free(s);
    nexus_json_free(doc);
}

/* The body's members and "session": true. NULL: it has been answered. */
static nexus_json_writer *wish_for_session(nexus_request *request)
{
    nexus_json *doc;
    nexus_json_writer *w = NULL;
    nexus_slice body, name, raw;
    char text[32];
    nexus_request_body(request, &body);
    if (nexus_json_parse(&doc, body) != NEXUS_OK) {
        nexus_request_problem_text(request, 400, "malformed", nexus_error_message());
        return NULL;
    }
    if (nexus_json_writer_new(&w) == NEXUS_OK) {
        nexus_json_open_object(w, NULL);
        for (nexus_json_iter it = {0}; nexus_json_step(doc, NEXUS_JSON_ROOT, &it);) {
            name = it.name;
            nexus_json_raw(doc, it.value, &raw);
            snprintf(text, sizeof text, "%.*s", (int)name.n, name.p);
            nexus_json_put_raw(w, text, raw);
        }
        nexus_json_put_bool(w, "session", true);
        nexus_json_close(w);
    }
    nexus_json_free(doc);
    if (!w)
        nexus_request_problem_text(request, 503, "out-of-memory", "Try again.");
    return w;
}

/* Who asks is the browser, not this server: its address, its name and its device go along. */
static size_t speak_for(const nexus_request *request, nexus_pair out[static 4], char device[static 128])
{
    nexus_slice v;
    size_t n = 0;
    out[n++] = (nexus_pair){NEXUS_S("Content-Type"), NEXUS_S("application/json")};
    nexus_request_remote_ip(request, &v);
    out[n++] = (nexus_pair){NEXUS_S("X-Forwarded-For"), v};
    if (nexus_request_header(request, "user-agent", &v))
        out[n++] = (nexus_pair){NEXUS_S("User-Agent"), v};
    if ((nexus_request_cookie(request, "__Host-" DEVICE, &v) || nexus_request_cookie(request, DEVICE, &v)) && v.n < 100) {
        int len = snprintf(device, 128, DEVICE "=%.*s", (int)v.n, v.p);
        out[n++] = (nexus_pair){NEXUS_S("Cookie"), {device, (size_t)len}};
    }
    return n;
}

static void step(nexus_request *request, console *c, const char *path)
{
    nexus_reply *reply = NULL;
    nexus_pair headers[4];
    char device[128];
    nexus_slice body;
    if (!console_same_origin(request))
        return;
    nexus_json_writer *w = wish_for_session(request);
    if (!w)
        return;
    size_t n = speak_for(request, headers, device);
    body.p = nexus_json_writer_text(w, &body.n);
    if (console_call(&reply, c, "POST", (nexus_slice){path, strlen(path)}, NULL, headers, n, body) != NEXUS_OK)
        nexus_request_problem_text(request, 503, "gateway-unreachable", nexus_error_message());
    else if (nexus_reply_status(reply) != 200)
        relay(request, reply, "application/problem+json");
    else
        admit(c, request, reply);
    nexus_reply_free(reply);
    nexus_json_writer_free(w);
}

static void sign_in(nexus_request *request, void *user_data)
{
    step(request, user_data, "/api/v1/auth/login");
}

static void second_step(nexus_request *request, void *user_data)
{
    step(request, user_data, "/api/v1/auth/mfa");
}

static void sign_out(nexus_request *request, void *user_data)
{
    console *c = user_data;
    if (!console_same_origin(request))
        return;
    console_session_end(c, request);
    set_cookie(c, request, "", 0);
    nexus_request_reply(request, 204, NULL, NEXUS_S(""));
}

static void show_session(nexus_request *request, void *user_data)
{
    console_session *s = console_session_of(user_data, request);
    if (s)
        console_session_keep(user_data, request, s);
    answer_user(request, s ? console_session_user(s) : NULL);
    console_session_free(s);
}

nexus_status console_session_routes(console *c)
{
    static const char password[] = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"email\","
                                   "\"password\"],\"properties\":{\"email\":{\"type\":\"string\",\"minLength\":1,"
                                   "\"maxLength\":320},\"password\":{\"type\":\"string\",\"minLength\":1}}}";
    static const char code[] = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"mfa_token\","
                               "\"code\"],\"properties\":{\"mfa_token\":{\"type\":\"string\",\"minLength\":1,"
                               "\"maxLength\":256},\"code\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":64}}}";
    static const struct {
        const char *method, *path, *id, *summary, *schema;
        nexus_handler_fn *handler;
    } rows[] = {
        {"GET", "/session", "consoleSession", "Who is signed in", NULL, show_session},
        {"POST", "/session", "consoleSignIn", "Sign in", password, sign_in},
        {"POST", "/session/second", "consoleSecondStep", "Finish a sign-in with a code", code, second_step},
        {"DELETE", "/session", "consoleSignOut", "Sign out", NULL, sign_out},
    };
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NEXUS_OK; i++) {
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = rows[i].method;
        route.path = rows[i].path;
        route.operation_id = rows[i].id;
        route.summary = rows[i].summary;
        route.body_schema = rows[i].schema;
        route.body_max = 8192;
        route.handler = rows[i].handler;
        route.user_data = c;
        route.tag = "console";
        route.roles = "public";
        status = nexus_service_route(c->service, &route, 1);
    }
    return status;
}
