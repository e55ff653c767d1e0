/* /api/openapi.json and the page /api/docs, which reads it. The page's files are built into the library. */
#include "service/docs_assets.h"
#include "service/service.h"

#include "base/status.h"

typedef struct asset {
    const char *path, *type, *text;
    size_t n;
} asset;

/* Nothing from elsewhere, nothing inline: the page loads its own two files and openapi.json. */
static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static void reply_asset(nexus_request *request, void *user_data)
{
    const asset *a = user_data;
    (void)nexus_request_set_header(request, "Content-Security-Policy", NEXUS_S(policy));
    (void)nexus_request_set_header(request, "Cache-Control", NEXUS_S("max-age=300"));
    nexus_request_reply(request, 200, a->type, nexus__slice(a->text, a->n));
}

nexus_status nexus__docs_mount(nexus_service *service)
{
    static const asset assets[] = {
        {"/api/docs", "text/html; charset=utf-8", docs_html, docs_html_len},
        {"/api/docs/docs.css", "text/css; charset=utf-8", docs_css, docs_css_len},
        {"/api/docs/docs.js", "text/javascript; charset=utf-8", docs_js, docs_js_len},
    };
    nexus_status status = NEXUS_OK;
    if (service->module->flags & NEXUS_SERVICE_NO_DOCS)
        return NEXUS_OK;
    for (size_t i = 0; status == NEXUS_OK && i < sizeof assets / sizeof assets[0]; i++) {
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = "GET";
        route.path = assets[i].path;
        route.handler = reply_asset;
        route.user_data = (void *)(uintptr_t)&assets[i];
        route.flags = NEXUS_ROUTE_ON_LOOP;
        route.roles = "public";
        status = nexus_server_route(service->server, &route, 1);
    }
    return status;
}
