#include "console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void unmount(void *mounted)
{
    console *c = mounted;
    if (!c)
        return;
    console_live_close(c->live);
    console_sessions_close(c->sessions);
    free(c);
}

static nexus_status mount(nexus_service *service, void **out)
{
    nexus_status st;
    console *c = calloc(1, sizeof *c);
    if (!c)
        return NEXUS_ENOMEM;
    nexus_service_administers(service); /* it passes /api/v1/admin on, and people sign in here */
    c->service = service;
    const char *url = nexus_settings_text(nexus_service_settings(service), "console_gateway_url");
    if (url && *url)
        snprintf(c->gateway_url, sizeof c->gateway_url, "%s", url);
    else
        snprintf(c->gateway_url, sizeof c->gateway_url, "http://127.0.0.1:%u", nexus_service_peer_port(service, 0));
    if ((st = nexus_service_audit(service) ? NEXUS_OK : NEXUS_EIO) || (st = console_sessions_open(&c->sessions, c)) || (st = console_session_routes(c)) ||
        (st = console_asset_routes(c)) || (st = console_proxy_routes(c)) || (st = console_status_routes(c)) ||
        (st = console_live_open(&c->live, c))) {
        unmount(c);
        return st;
    }
    *out = c;
    return NEXUS_OK;
}

static const nexus_setting settings[] = {
    {"console_gateway_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Where the console passes /api/ to; unset: the gateway on this machine."},
};

const nexus_service_module console_module = {.size = sizeof console_module,
                                             .name = "console",
                                             .text = "The web console.",
                                             .port_offset = 2,
                                             .bus = NEXUS_SERVICE_BUS_NONE,
                                             .settings = settings,
                                             .setting_count = sizeof settings / sizeof settings[0],
                                             .mount = mount,
                                             .unmount = unmount};

/* --- shared by the routes -------------------------------------------------------------------- */

static bool is(nexus_slice text, const char *word)
{
    return text.n == strlen(word) && strncasecmp(text.p, word, text.n) == 0;
}

/* "http://HOST" or "https://HOST" of the Origin against the Host field. */
static bool origin_is_host(nexus_slice origin, nexus_slice host)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (origin.n == n + host.n && strncasecmp(origin.p, schemes[i], n) == 0 &&
            strncasecmp(origin.p + n, host.p, host.n) == 0)
            return true;
    }
    return false;
}

bool console_same_origin(nexus_request *request)
{
    nexus_slice method, site, origin, host;
    nexus_request_method(request, &method);
    if (is(method, "GET") || is(method, "HEAD") || is(method, "OPTIONS"))
        return true;
    nexus_request_host(request, &host);
    if (nexus_request_header(request, "sec-fetch-site", &site)) {
        if (is(site, "same-origin"))
            return true;
    } else if (nexus_request_header(request, "origin", &origin) && origin_is_host(origin, host)) {
        return true;
    }
    nexus_request_problem_text(request, 403, "cross-site",
                               "Changes are taken from the console's own pages only; other programs call the gateway "
                               "with a token.");
    return false;
}

void console_refuse_unsigned(nexus_request *request)
{
    nexus_request_problem_text(request, 401, "not-signed-in", "Sign in first.");
}
