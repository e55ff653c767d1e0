/* Sign-in with a provider: where it begins, where it comes back, and how the provider ends it. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>

enum { STATE_S = 600, SESSION_S = GATEWAY_SESSION_S, COOKIE_MAX = 8192 };

static void set(nexus_request *request, const char *name, const char *value)
{
    (void)nexus_request_set_header(request, name, (nexus_slice){value, strlen(value)});
}

/* --- cookies --------------------------------------------------------------------------------------------------------- */

static void set_cookie(const gateway *g, nexus_request *request, const char *name, const char *value, int seconds)
{
    char text[COOKIE_MAX];
    snprintf(text, sizeof text, "%s=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=%d%s", name, value, seconds,
             g->login_secure ? "; Secure" : "");
    set(request, "Set-Cookie", text);
}

static nexus_slice find_cookie(const nexus_request *request, const char *name)
{
    nexus_slice all = {"", 0};
    size_t name_n = strlen(name);
    (void)nexus_request_header(request, "cookie", &all);
    for (size_t at = 0; at < all.n;) {
        const char *end = memchr(all.p + at, ';', all.n - at);
        size_t n = end ? (size_t)(end - all.p) - at : all.n - at;
        if (n > name_n && memcmp(all.p + at, name, name_n) == 0 && all.p[at + name_n] == '=')
            return (nexus_slice){all.p + at + name_n + 1, n - name_n - 1};
        for (at += n + 1; at < all.n && all.p[at] == ' '; at++) {
        }
    }
    return (nexus_slice){"", 0};
}

/* --- handlers -------------------------------------------------------------------------------------------------------- */

static void redirect(nexus_request *request, const char *location)
{
    set(request, "Location", location);
    set(request, "Cache-Control", "no-store");
    set(request, "Referrer-Policy", "no-referrer");
    nexus_request_reply(request, 303, NULL, (nexus_slice){0});
}

/* The provider's fault, or the network's. */
static void unavailable(gateway *g, nexus_request *request)
{
    nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_WARN, "gateway", NULL, "login: %s", nexus_error_message());
    set(request, "Retry-After", "5");
    nexus_request_problem_text(request, 503, "provider-unavailable", "The provider cannot be asked now; try again.");
}

static void begin_handler(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice return_to = {"/", 1};
    char *location, *state;
    (void)nexus_request_query_param(request, "return_to", &return_to);
    if (nexus_oidc_begin(g->oidc, return_to, &location, &state) != NEXUS_OK) {
        unavailable(g, request);
        return;
    }
    set_cookie(g, request, g->login_state_cookie, state, STATE_S);
    redirect(request, location);
    nexus_free(location);
    nexus_free(state);
}

static void callback_handler(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice query;
    char *session, *return_to;
    nexus_request_query(request, &query);
    nexus_status status =
        nexus_oidc_finish(g->oidc, query, find_cookie(request, g->login_state_cookie), &session, &return_to);
    if (status == NEXUS_OK || status == NEXUS_EAUTH)
        set_cookie(g, request, g->login_state_cookie, "", 0);
    if (status == NEXUS_EAUTH) {
        set(request, "Cache-Control", "no-store");
        nexus_request_problem_text(request, 400, "login-aborted", nexus_error_message());
    } else if (status != NEXUS_OK) {
        unavailable(g, request);
    } else {
        set_cookie(g, request, g->login_cookie, session, SESSION_S);
        redirect(request, return_to);
        nexus_free(session);
        nexus_free(return_to);
    }
}

/* From the provider itself, with a token that says whom it means. */
static void backchannel_handler(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice form;
    nexus_request_body(request, &form);
    nexus_status status = nexus_oidc_logout(g->oidc, form);
    set(request, "Cache-Control", "no-store");
    if (status == NEXUS_OK)
        nexus_request_reply(request, 200, NULL, (nexus_slice){0});
    else if (status == NEXUS_EAUTH)
        nexus_request_problem_text(request, 400, "logout-refused", nexus_error_message());
    else
        unavailable(g, request);
}

/* Ends the session here; a form of another site must not. */
static void logout_handler(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice site;
    if (nexus_request_header(request, "sec-fetch-site", &site) &&
        (site.n != 11 || memcmp(site.p, "same-origin", 11) != 0)) {
        nexus_request_problem_text(request, 403, "cross-site", "Send this from a page of ours.");
        return;
    }
    set_cookie(g, request, g->login_cookie, "", 0);
    redirect(request, "/");
}

/* --- opening --------------------------------------------------------------------------------------------------------- */

static nexus_status add_routes(gateway *g)
{
    static const struct {
        const char *method, *path, *types;
        nexus_handler_fn *handler;
    } rows[] = {
        {"GET", "/.nexus/login", NULL, begin_handler},
        {"GET", "/.nexus/callback", NULL, callback_handler},
        {"POST", "/.nexus/logout", "application/x-www-form-urlencoded,application/json", logout_handler},
        {"POST", "/.nexus/backchannel-logout", "application/x-www-form-urlencoded", backchannel_handler},
    };
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !status; i++) {
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = rows[i].method;
        route.path = rows[i].path;
        route.handler = rows[i].handler;
        route.user_data = g;
        route.roles = "public";
        route.body_types = rows[i].types;
        route.body_max = 32768;
        status = nexus_service_route(g->service, &route, 1);
    }
    return status;
}

nexus_status gateway_login_open(gateway *g)
{
    const nexus_settings *s = nexus_service_settings(g->service);
    nexus_oidc_opts opts = NEXUS_OIDC_OPTS_INIT;
    const char *url = nexus_settings_text(s, "gateway_login_url");
    const char *roles = nexus_settings_text(s, "gateway_login_roles_claim");
    char redirect_uri[1024];
    opts.issuer = nexus_settings_text(s, "gateway_login_issuer");
    if (!*opts.issuer)
        return NEXUS_OK;
    url = *url ? url : nexus_service_issuer(g->service);
    g->login_secure = strncmp(url, "https:", 6) == 0;
    g->login_cookie = g->login_secure ? "__Host-nexus_login" : "nexus_login";
    g->login_state_cookie = g->login_secure ? "__Host-nexus_login_state" : "nexus_login_state";
    snprintf(redirect_uri, sizeof redirect_uri, "%s/.nexus/callback", url);
    opts.client = nexus_service_client(g->service);
    opts.client_id = nexus_settings_text(s, "gateway_login_client_id");
    opts.client_secret = nexus_settings_secret(s, "gateway_login_client_secret");
    opts.redirect_uri = redirect_uri;
    opts.scope = nexus_settings_text(s, "gateway_login_scope");
    opts.roles_claim = *roles ? roles : NULL;
    opts.session_s = SESSION_S;
    nexus_status status = nexus_service_ring(&g->login_secrets, g->service, "login.key");
    if (status)
        return status;
    opts.secrets = g->login_secrets;
    status = nexus_oidc_open(&g->oidc, &opts);
    return status ? status : add_routes(g);
}
