/* /api/openapi.json and the page /api/docs, which reads it. The page's files are built into the library. */
#include "service/docs_assets.h"
#include "service/service.h"

#include <nexus/version.h>
#include <stdio.h>

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

/* What stands in for the service's own may be replaced at any moment: the answer is made of a copy. */
static char *copy_of_given(nexus_service *service, size_t *n)
{
    pthread_mutex_lock(&service->lock);
    *n = service->document_len;
    char *copy = service->document ? nexus__strndup(service->alloc, nexus__slice(service->document, *n)) : NULL;
    pthread_mutex_unlock(&service->lock);
    return copy;
}

static void reply_document(nexus_request *request, void *user_data)
{
    nexus_service *service = user_data;
    nexus_slice document;
    size_t n;
    char *given = copy_of_given(service, &n);
    nexus_openapi_document(service->openapi, &document);
    nexus_request_reply(request, 200, "application/json", given ? nexus__slice(given, n) : document);
    nexus__free(service->alloc, given);
}

nexus_status nexus_service_set_document(nexus_service *service, nexus_slice json)
{
    char *copy = json.n ? nexus__strndup(service->alloc, json) : NULL;
    if (json.n && !copy)
        return nexus__nomem();
    pthread_mutex_lock(&service->lock);
    char *old = service->document;
    service->document = copy;
    service->document_len = json.n;
    pthread_mutex_unlock(&service->lock);
    nexus__free(service->alloc, old);
    return NEXUS_OK;
}

void nexus_service_document(const nexus_service *service, nexus_slice *out)
{
    *out = (nexus_slice){0};
    if (service->openapi)
        nexus_openapi_document(service->openapi, out);
}

static nexus_status add(nexus_service *service, const char *path, nexus_handler_fn *handler, void *user_data)
{
    nexus_route route = NEXUS_ROUTE_INIT;
    route.method = "GET";
    route.path = path;
    route.handler = handler;
    route.user_data = user_data;
    route.flags = NEXUS_ROUTE_ON_LOOP;
    route.roles = "public";
    return nexus_server_route(service->server, &route, 1);
}

nexus_status nexus__docs_finish(nexus_service *service)
{
    char title[64];
    nexus_openapi_opts opts = NEXUS_OPENAPI_OPTS_INIT;
    snprintf(title, sizeof title, "nexus %s", service->module->name);
    opts.alloc = service->alloc;
    opts.title = title;
    opts.version = nexus_version();
    opts.description = service->module->text;
    nexus_status status = nexus_openapi_of_server(&service->openapi, service->server, &opts);
    if (status == NEXUS_OK)
        status = nexus_server_body_filter(service->server, nexus_openapi_filter, service->openapi);
    return status;
}

nexus_status nexus__docs_mount(nexus_service *service)
{
    static const asset assets[] = {
        {"/api/docs", "text/html; charset=utf-8", docs_html, docs_html_len},
        {"/api/docs/docs.css", "text/css; charset=utf-8", docs_css, docs_css_len},
        {"/api/docs/docs.js", "text/javascript; charset=utf-8", docs_js, docs_js_len},
    };
    if (service->module->flags & NEXUS_SERVICE_NO_DOCS)
        return NEXUS_OK;
    nexus_status status = add(service, "/api/openapi.json", reply_document, service);
    for (size_t i = 0; status == NEXUS_OK && i < sizeof assets / sizeof assets[0]; i++)
        status = add(service, assets[i].path, reply_asset, (void *)(uintptr_t)&assets[i]);
    return status;
}
