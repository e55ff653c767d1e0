/* The embedded pages: immutable under their hashed names, the index revalidated, a strict content policy on all. */
#include <string.h>

#include "assets.h"
#include "console.h"

static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                             "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
                             "frame-ancestors 'none'";

static bool contains(nexus_slice list, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= list.n; i++)
        if (strncasecmp(list.p + i, word, n) == 0)
            return true;
    return false;
}

static void serve(nexus_request *request, void *user_data)
{
    const console_asset *asset = user_data;
    nexus_slice v;
    bool index = strcmp(asset->path, "/") == 0;
    nexus_request_set_header(request, "Content-Security-Policy", (nexus_slice){policy, sizeof policy - 1});
    nexus_request_set_header(request, "X-Content-Type-Options", NEXUS_S("nosniff"));
    nexus_request_set_header(request, "Referrer-Policy", NEXUS_S("no-referrer"));
    nexus_request_set_header(request, "Vary", NEXUS_S("Accept-Encoding"));
    nexus_request_set_header(request, "ETag", (nexus_slice){asset->etag, strlen(asset->etag)});
    nexus_request_set_header(request, "Cache-Control",
                             index ? NEXUS_S("no-cache") : NEXUS_S("public, max-age=31536000, immutable"));
    if (nexus_request_header(request, "if-none-match", &v) && contains(v, asset->etag)) {
        nexus_request_reply(request, 304, NULL, NEXUS_S(""));
        return;
    }
    if (nexus_request_header(request, "accept-encoding", &v) && contains(v, "gzip")) {
        nexus_request_set_header(request, "Content-Encoding", NEXUS_S("gzip"));
        nexus_request_reply(request, 200, asset->type, (nexus_slice){(const char *)asset->gzip, asset->gzip_n});
        return;
    }
    nexus_request_reply(request, 200, asset->type, (nexus_slice){(const char *)asset->plain, asset->plain_n});
}

nexus_status console_asset_routes(console *c)
{
    for (size_t i = 0; i < console_asset_count; i++) {
        const console_asset *asset = &console_assets[i];
        nexus_route route = NEXUS_ROUTE_INIT;
        route.method = "GET";
        route.path = asset->path;
        route.handler = serve;
        route.user_data = (void *)(uintptr_t)asset; /* only read */
        route.flags = NEXUS_ROUTE_ON_LOOP;
        route.roles = "public";
        nexus_status st = nexus_service_route(c->service, &route, 1);
        if (st != NEXUS_OK)
            return st;
    }
    return NEXUS_OK;
}
