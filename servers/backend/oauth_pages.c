/*
 * The pages of the authorization endpoint: sign in, second step, consent, and an error page for requests that have nobody
 * to go back to. The authorization request travels through them as a hidden field and is judged anew at each step. Forms
 * carry a token that is also in a cookie; no page has a script, and none may be framed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "backend/private.h"

enum { COOKIE_MAX = 64, SESSION_S = 43200 };

/* --- pages -------------------------------------------------------------------------------------------------------------- */

static const char style[] =
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1c2330}"
    "main{max-width:26rem;margin:8vh auto;padding:2rem;background:#fff;border-radius:.6rem;box-shadow:0 1px 6px #0002}"
    "h1{font-size:1.3rem;margin:0 0 1rem}label{display:block;margin:.8rem 0 .2rem}"
    "input{width:100%;box-sizing:border-box;padding:.5rem;font:inherit;border:1px solid #8a93a3;border-radius:.3rem}"
    "button{font:inherit;padding:.5rem 1.2rem;margin:1.2rem .6rem 0 0;border-radius:.3rem;border:1px solid #1f4fd8;"
    "background:#1f4fd8;color:#fff}button.quiet{background:#fff;color:#1f4fd8}"
    ".wrong{color:#a3161f}@media(prefers-color-scheme:dark){body{background:#12161d;color:#e6e9ef}main{background:#"
    "1b212b}"
    "input{background:#12161d;color:inherit}}";

#define PAGE(title, body)                                                                                              \
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>" title "</title>"                          \
    "<meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" "                                 \
    "href=\"/oauth/style.css\"></head>"                                                                                \
    "<body><main><h1>" title "</h1>" body "</main></body></html>"
#define HIDDEN                                                                                                         \
    "<input type=\"hidden\" name=\"csrf\" value=\"{{csrf}}\"><input type=\"hidden\" name=\"request\" "                 \
    "value=\"{{request}}\">"
#define WRONG "{{#wrong}}<p class=\"wrong\" role=\"alert\">{{wrong}}</p>{{/wrong}}"

static const char *const pages[] = {
    [OAUTH_PAGE_LOGIN] =
        PAGE("Sign in", "<p>to go on to <strong>{{client}}</strong></p>" WRONG
                        "<form method=\"post\" action=\"/oauth/login\">" HIDDEN
                        "<label for=\"email\">E-mail</label><input id=\"email\" name=\"email\" type=\"email\" "
                        "autocomplete=\"username\" required autofocus>"
                        "<label for=\"password\">Password</label><input id=\"password\" name=\"password\" "
                        "type=\"password\" autocomplete=\"current-password\" required>"
                        "<button type=\"submit\">Sign in</button></form>"),
    [OAUTH_PAGE_SECOND] =
        PAGE("Second step", WRONG "<form method=\"post\" action=\"/oauth/login\">" HIDDEN
                                  "<input type=\"hidden\" name=\"second_step\" value=\"{{second_step}}\">"
                                  "<label for=\"code\">Code of your authenticator, or a recovery code</label>"
                                  "<input id=\"code\" name=\"code\" autocomplete=\"one-time-code\" required autofocus>"
                                  "<button type=\"submit\">Go on</button></form>"),
    [OAUTH_PAGE_CONSENT] =
        PAGE("{{client}} asks for access",
             "<p>Signed in as {{email}}. It wants to:</p><ul>{{#scopes}}<li>{{.}}</li>{{/scopes}}</ul>"
             "<form method=\"post\" action=\"/oauth/consent\">" HIDDEN
             "<button type=\"submit\" name=\"decision\" value=\"allow\">Allow</button>"
             "<button type=\"submit\" name=\"decision\" value=\"deny\" class=\"quiet\">Deny</button></form>"),
    [OAUTH_PAGE_ERROR] = PAGE("This does not work", "<p>{{wrong}}</p>"),
};

static void set(nexus_request *request, const char *name, const char *value)
{
    (void)nexus_request_set_header(request, name, (nexus_slice){value, strlen(value)});
}

/* No form-action: browsers hold redirects against it, and the answer to a form is a redirect to the client. */
static void set_page_headers(nexus_request *request)
{
    set(request, "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'");
    set(request, "X-Frame-Options", "DENY");
    set(request, "X-Content-Type-Options", "nosniff");
    set(request, "Referrer-Policy", "no-referrer");
    set(request, "Cache-Control", "no-store");
}

static void reply_page(backend *b, nexus_request *request, uint16_t status, uint32_t page, nexus_json_writer *w)
{
    nexus_slice data;
    char *html;
    size_t n;
    bool fine =
        writer_text(w, &data) && nexus_template_render(&html, &n, b->pages[page], data.p, data.n, NULL) == NEXUS_OK;
    nexus_json_writer_free(w);
    if (!fine) {
        reply_failure(b, request, NEXUS_ENOMEM);
        return;
    }
    set_page_headers(request);
    nexus_request_reply(request, status, "text/html; charset=utf-8", (nexus_slice){html, n});
    nexus_free(html);
}

/* --- cookies ------------------------------------------------------------------------------------------------------------ */

static bool is_secure(const backend *b)
{
    return strncmp(nexus_service_issuer(b->service), "https:", 6) == 0;
}

static void cookie_name(const backend *b, const char *base, char out[static 32])
{
    snprintf(out, 32, "%s%s", is_secure(b) ? "__Host-" : "", base);
}

static bool get_cookie(const backend *b, const nexus_request *request, const char *base, char out[static COOKIE_MAX])
{
    char name[32];
    nexus_slice value;
    cookie_name(b, base, name);
    if (!nexus_request_cookie(request, name, &value) || value.n == 0 || value.n >= COOKIE_MAX)
        return false;
    snprintf(out, COOKIE_MAX, "%.*s", TEXT_ARGS(value));
    return true;
}

static void set_cookie(const backend *b, nexus_request *request, const char *base, const char *value, int64_t seconds)
{
    char name[32], text[256];
    cookie_name(b, base, name);
    snprintf(text, sizeof text, "%s=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=%lld%s", name, value,
             (long long)seconds, is_secure(b) ? "; Secure" : "");
    set(request, "Set-Cookie", text);
}

/* The browser's token against forged forms: the one it has, or a new one. */
static bool csrf_token(const backend *b, nexus_request *request, char out[static COOKIE_MAX])
{
    unsigned char random[24];
    if (get_cookie(b, request, "nexus_csrf", out))
        return true;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return false;
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(out + 2 * i, 3, "%02x", random[i]);
    set_cookie(b, request, "nexus_csrf", out, SESSION_S);
    return true;
}

/* Equal, in time that depends on the length only. */
static bool same(nexus_slice a, const char *b)
{
    size_t n = strlen(b);
    unsigned char differ = a.n != n;
    for (size_t i = 0; i < a.n && i < n; i++)
        differ |= (unsigned char)(a.p[i] ^ b[i]);
    return differ == 0 && n > 0;
}

/* Whether a form comes from a page of ours: the browser says so, and its cookie and the field are the same. */
static bool is_ours(const backend *b, nexus_request *request)
{
    nexus_slice site, origin, field = {"", 0};
    char cookie[COOKIE_MAX];
    const char *issuer = nexus_service_issuer(b->service);
    if (nexus_request_header(request, "sec-fetch-site", &site) && !same(site, "same-origin"))
        return false;
    if (nexus_request_header(request, "origin", &origin) &&
        (origin.n > strlen(issuer) || strncmp(issuer, origin.p, origin.n) != 0 ||
         (issuer[origin.n] != '\0' && issuer[origin.n] != '/')))
        return false;
    (void)nexus_request_form_param(request, "csrf", &field);
    return get_cookie(b, request, "nexus_csrf", cookie) && same(field, cookie);
}

/* --- what is shown ------------------------------------------------------------------------------------------------------ */

typedef struct shown {
    nexus_slice request, client, second_step; /* request: the query of the authorization request */
    const char *wrong, *email;
    nexus_json *ask; /* of the answer; NULL: none */
} shown;

static const char *in_words(nexus_slice scope)
{
    static const char *const rows[][2] = {
        {"openid", "know who you are"},
        {"profile", "see your name"},
        {"email", "see your e-mail address"},
        {"offline_access", "keep access while you are away"},
        {"api", "act for you, with all that you may do"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (same(scope, rows[i][0]))
            return rows[i][1];
    return NULL;
}

static void put_scopes(nexus_json_writer *w, nexus_json *ask)
{
    nexus_slice scope;
    uint32_t list = nexus_json_get(ask, NEXUS_JSON_ROOT, "scopes");
    nexus_json_open_array(w, "scopes");
    for (nexus_json_iter it = {0}; nexus_json_step(ask, list, &it);) {
        if (!nexus_json_text(ask, it.value, &scope))
            continue;
        const char *words = in_words(scope);
        if (words)
            nexus_json_put_text_c(w, NULL, words);
        else
            nexus_json_put_text(w, NULL, scope);
    }
    nexus_json_close(w);
}

static void show(backend *b, nexus_request *request, uint16_t status, uint32_t page, const shown *s)
{
    char csrf[COOKIE_MAX] = "";
    nexus_json_writer *w;
    nexus_slice client = {"", 0};
    if (nexus_json_writer_new(&w) != NEXUS_OK || (page != OAUTH_PAGE_ERROR && !csrf_token(b, request, csrf))) {
        reply_failure(b, request, NEXUS_ENOMEM);
        return;
    }
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "csrf", csrf);
    nexus_json_put_text(w, "request", s->request);
    if (s->wrong)
        nexus_json_put_text_c(w, "wrong", s->wrong);
    if (s->email)
        nexus_json_put_text_c(w, "email", s->email);
    if (s->second_step.n)
        nexus_json_put_text(w, "second_step", s->second_step);
    if (s->ask) {
        (void)nexus_json_text(s->ask, nexus_json_at(s->ask, NEXUS_JSON_ROOT, "/client/name"), &client);
        put_scopes(w, s->ask);
    }
    nexus_json_put_text(w, "client", client);
    nexus_json_close(w);
    reply_page(b, request, status, page, w);
}

static void redirect(nexus_request *request, const char *location)
{
    set(request, "Location", location);
    set(request, "Cache-Control", "no-store");
    set(request, "Referrer-Policy", "no-referrer");
    nexus_request_reply(request, 303, NULL, (nexus_slice){0});
}

/* --- one step ------------------------------------------------------------------------------------------------------------ */

static void show_ask(backend *b, nexus_request *request, const nexus_oauth_answer *answer, nexus_slice query,
                     const char *session)
{
    shown s = {.request = query};
    nexus_slice body;
    nexus_user *user = NULL;
    bool consent = nexus_oauth_answer_kind(answer) == NEXUS_OAUTH_CONSENT;
    nexus_oauth_answer_body(answer, &body);
    (void)!nexus_json_parse(&s.ask, body);
    if (consent && nexus_auth_session_user(b->auth, (nexus_slice){session, strlen(session)}, &user) == NEXUS_OK)
        s.email = nexus_user_email(user);
    show(b, request, 200, consent ? OAUTH_PAGE_CONSENT : OAUTH_PAGE_LOGIN, &s);
    nexus_user_free(user);
    nexus_json_free(s.ask);
}

static void go_on(backend *b, nexus_request *request, nexus_slice query, uint32_t decision)
{
    nexus_oauth_visit visit = NEXUS_OAUTH_VISIT_INIT;
    nexus_oauth_answer *answer;
    char session[COOKIE_MAX] = "";
    visit.query = query;
    visit.decision = decision;
    if (get_cookie(b, request, "nexus_signin", session))
        visit.session = (nexus_slice){session, strlen(session)};
    nexus_status status = nexus_oauth_authorize(b->oauth, &visit, &answer);
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    uint32_t kind = nexus_oauth_answer_kind(answer);
    if (kind == NEXUS_OAUTH_REDIRECT)
        redirect(request, nexus_oauth_answer_location(answer));
    else if (kind == NEXUS_OAUTH_PAGE)
        show(b, request, 400, OAUTH_PAGE_ERROR, &(shown){.wrong = nexus_oauth_answer_text(answer)});
    else
        show_ask(b, request, answer, query, session);
    nexus_oauth_answer_free(answer);
}

static void authorize_handler(nexus_request *request, void *user_data)
{
    nexus_slice query, method;
    nexus_request_method(request, &method);
    if (same(method, "POST"))
        nexus_request_body(request, &query);
    else
        nexus_request_query(request, &query);
    go_on(user_data, request, query, NEXUS_OAUTH_UNDECIDED);
}

/* False: answered. */
static bool take_form(backend *b, nexus_request *request, nexus_slice *query)
{
    *query = (nexus_slice){"", 0};
    if (!is_ours(b, request)) {
        show(b, request, 403, OAUTH_PAGE_ERROR,
             &(shown){.wrong = "This form did not come from our page, or your browser keeps no cookies. Begin again."});
        return false;
    }
    (void)nexus_request_form_param(request, "request", query);
    return true;
}

static void consent_handler(nexus_request *request, void *user_data)
{
    nexus_slice query, decision = {"", 0};
    if (!take_form(user_data, request, &query))
        return;
    (void)nexus_request_form_param(request, "decision", &decision);
    go_on(user_data, request, query, same(decision, "allow") ? NEXUS_OAUTH_ALLOW : NEXUS_OAUTH_DENY);
}

/* --- signing in ----------------------------------------------------------------------------------------------------------- */

static nexus_status sign_in(backend *b, nexus_request *request, nexus_login **out, uint32_t *wait)
{
    nexus_slice email = {"", 0}, password = {"", 0}, second = {"", 0}, code = {"", 0};
    char device[COOKIE_MAX] = "";
    nexus_auth_client client = NEXUS_AUTH_CLIENT_INIT;
    nexus_request_remote_ip(request, &client.address);
    (void)nexus_request_header(request, "user-agent", &client.agent);
    if (get_cookie(b, request, "nexus_device", device))
        client.device = (nexus_slice){device, strlen(device)};
    client.session = true;
    (void)nexus_request_form_param(request, "email", &email);
    (void)nexus_request_form_param(request, "password", &password);
    (void)nexus_request_form_param(request, "second_step", &second);
    (void)nexus_request_form_param(request, "code", &code);
    return second.n ? nexus_auth_login_second(b->auth, second, code, &client, out, wait)
                    : nexus_auth_login_from(b->auth, email, password, &client, out, wait);
}

static void enter(backend *b, nexus_request *request, const nexus_login *login, nexus_slice query)
{
    const char *device = nexus_login_device(login);
    char *location = malloc(query.n + 32);
    if (!location) {
        reply_failure(b, request, NEXUS_ENOMEM);
        return;
    }
    set_cookie(b, request, "nexus_signin", nexus_login_session(login), SESSION_S);
    if (device)
        set_cookie(b, request, "nexus_device", device, 90 * 86400);
    snprintf(location, query.n + 32, "/oauth/authorize?%.*s", TEXT_ARGS(query));
    redirect(request, location);
    free(location);
}

static void show_wrong(backend *b, nexus_request *request, nexus_status status, uint32_t wait, nexus_slice query)
{
    char seconds[16];
    nexus_slice second = {"", 0};
    shown s = {.request = query, .wrong = "The address or the password is wrong."};
    (void)nexus_request_form_param(request, "second_step", &second);
    if (second.n) {
        s.second_step = second;
        s.wrong = "The code is wrong, or it took too long.";
    }
    if (status == NEXUS_ELIMIT) {
        snprintf(seconds, sizeof seconds, "%u", wait ? wait : 1);
        set(request, "Retry-After", seconds);
        s.wrong = "Too many tries; wait a little and try again.";
    }
    show(b, request, status == NEXUS_ELIMIT ? 429 : 401, second.n ? OAUTH_PAGE_SECOND : OAUTH_PAGE_LOGIN, &s);
}

static void login_handler(nexus_request *request, void *user_data)
{
    backend *b = user_data;
    nexus_slice query;
    nexus_login *login;
    uint32_t wait = 0;
    if (!take_form(b, request, &query))
        return;
    current_request = request;
    nexus_status status = sign_in(b, request, &login, &wait);
    current_request = NULL;
    nexus_outbox_relay_wake(b->relay);
    if (status == NEXUS_EAUTH || status == NEXUS_EINVAL || status == NEXUS_ELIMIT) {
        show_wrong(b, request, status, wait, query);
        return;
    }
    if (status != NEXUS_OK) {
        reply_failure(b, request, status);
        return;
    }
    const char *second = nexus_login_second_step(login);
    if (second)
        show(b, request, 200, OAUTH_PAGE_SECOND, &(shown){.request = query, .second_step = {second, strlen(second)}});
    else
        enter(b, request, login, query);
    nexus_login_free(login);
}

static void style_handler(nexus_request *request, void *user_data)
{
    (void)user_data;
    set(request, "Cache-Control", "public, max-age=3600");
    nexus_request_reply(request, 200, "text/css; charset=utf-8", (nexus_slice){style, sizeof style - 1});
}

/* --- rows ------------------------------------------------------------------------------------------------------------------- */

void oauth_pages_close(backend *b)
{
    for (size_t i = 0; i < OAUTH_PAGES; i++)
        nexus_template_free(b->pages[i]);
}

nexus_status oauth_pages(backend *b)
{
    static const struct {
        const char *method, *path;
        nexus_handler_fn *handler;
    } rows[] = {
        {"GET", "/oauth/authorize", authorize_handler}, {"POST", "/oauth/authorize", authorize_handler},
        {"POST", "/oauth/login", login_handler},        {"POST", "/oauth/consent", consent_handler},
        {"GET", "/oauth/style.css", style_handler},
    };
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < OAUTH_PAGES && status == NEXUS_OK; i++)
        status = nexus_template_compile(&b->pages[i], pages[i], strlen(pages[i]), NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NEXUS_OK; i++) {
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = rows[i].method;
        route.path = rows[i].path;
        route.handler = rows[i].handler;
        route.user_data = b;
        route.roles = "public";
        route.body_max = 32768;
        route.body_types = rows[i].method[0] == 'P' ? "application/x-www-form-urlencoded" : NULL;
        status = nexus_service_route(b->service, &route, 1);
    }
    return status;
}
