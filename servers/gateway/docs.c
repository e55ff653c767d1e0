/*
 * One description of everything that the gateway leads to: its own operations and those of the upstreams that say where
 * theirs are described ("openapi" in the routes file). They are fetched in the background; what cannot be reached now is
 * shown as it was last. And the catalog that tells where descriptions are (RFC 9727).
 */
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_MS = 500, AGAIN_MS = 2000, UPSTREAMS_MAX = 64, DOCUMENT_MAX = 8 * 1024 * 1024 };

/* What is known of one upstream's description. */
typedef struct described {
    char name[64], url[512];
    char *document; /* NULL = none yet */
    size_t n;
    bool stale, seen; /* seen: the routes in force name it */
    int64_t next_ms;
} described;

struct gateway_docs {
    gateway *g;
    int64_t version;  /* of the routes that the shown document is about */
    int64_t fresh_ms; /* how long a description is not asked for again */
    bool changed;
    size_t count;
    described upstreams[UPSTREAMS_MAX];
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- which upstreams there are ------------------------------------------------------------------------------------- */

static described *find(gateway_docs *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->upstreams[i].name, name) == 0)
            return &d->upstreams[i];
    if (d->count == UPSTREAMS_MAX)
        return NULL;
    described *u = &d->upstreams[d->count++];
    *u = (described){.stale = true};
    snprintf(u->name, sizeof u->name, "%s", name);
    d->changed = true;
    return u;
}

/* A target that is up, else the first. */
static bool target_url(nexus_json *json, uint32_t upstream, nexus_slice *url)
{
    nexus_json_iter it = {0};
    uint32_t targets = nexus_json_get(json, upstream, "targets");
    bool found = false;
    while (nexus_json_step(json, targets, &it)) {
        nexus_slice state, one;
        if (!nexus_json_text(json, nexus_json_get(json, it.value, "state"), &state) ||
            !nexus_json_text(json, nexus_json_get(json, it.value, "url"), &one))
            continue;
        bool up = state.n == 2 && memcmp(state.p, "up", 2) == 0;
        if (!found || up)
            *url = one;
        found = true;
        if (up)
            break;
    }
    return found;
}

static void note_upstream(gateway_docs *d, nexus_json *json, uint32_t upstream)
{
    nexus_slice name, path, url;
    char text[64];
    if (!nexus_json_text(json, nexus_json_get(json, upstream, "openapi"), &path) ||
        !nexus_json_text(json, nexus_json_get(json, upstream, "name"), &name) || name.n >= sizeof text ||
        !target_url(json, upstream, &url))
        return;
    snprintf(text, sizeof text, "%.*s", (int)name.n, name.p);
    described *u = find(d, text);
    if (!u)
        return;
    u->seen = true;
    snprintf(u->url, sizeof u->url, "%.*s%.*s", (int)url.n, url.p, (int)path.n, path.p);
}

static void drop_unseen(gateway_docs *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (d->upstreams[i].seen) {
            d->upstreams[kept++] = d->upstreams[i];
        } else {
            free(d->upstreams[i].document);
            d->changed = true;
        }
    }
    d->count = kept;
}

static nexus_status list_upstreams(gateway_docs *d)
{
    char *text;
    size_t n;
    int64_t version = 0;
    nexus_json *json;
    nexus_json_iter it = {0};
    nexus_status status = nexus_gateway_status(d->g->gateway, &text, &n);
    if (status)
        return status;
    status = nexus_json_parse(&json, (nexus_slice){text, n});
    nexus_free(text);
    if (status)
        return status;
    for (size_t i = 0; i < d->count; i++)
        d->upstreams[i].seen = false;
    uint32_t upstreams = nexus_json_get(json, NEXUS_JSON_ROOT, "upstreams");
    while (nexus_json_step(json, upstreams, &it))
        note_upstream(d, json, it.value);
    (void)nexus_json_int(json, nexus_json_get(json, NEXUS_JSON_ROOT, "version"), &version);
    nexus_json_free(json);
    drop_unseen(d);
    d->changed |= version != d->version;
    d->version = version;
    return NEXUS_OK;
}

/* --- fetching ------------------------------------------------------------------------------------------------------ */

static void mark(gateway_docs *d, described *u, bool stale)
{
    d->changed |= u->stale != stale;
    u->stale = stale;
    u->next_ms = now_ms() + (stale && AGAIN_MS < d->fresh_ms ? AGAIN_MS : d->fresh_ms);
}

/* false: that is no description. */
static bool keep(gateway_docs *d, described *u, nexus_slice body)
{
    nexus_json *json;
    if (nexus_json_parse(&json, body))
        return false;
    nexus_slice version;
    bool good = nexus_json_text(json, nexus_json_get(json, NEXUS_JSON_ROOT, "openapi"), &version);
    nexus_json_free(json);
    if (good && u->document && u->n == body.n && memcmp(u->document, body.p, body.n) == 0)
        return true;
    char *copy = good ? malloc(body.n + 1) : NULL;
    if (!copy)
        return false;
    memcpy(copy, body.p, body.n);
    free(u->document);
    u->document = copy;
    u->n = body.n;
    d->changed = true;
    return true;
}

static void fetch(gateway_docs *d, described *u)
{
    nexus_fetch request = NEXUS_FETCH_INIT;
    nexus_reply *reply;
    nexus_slice body;
    request.url = (nexus_slice){u->url, strlen(u->url)};
    request.timeout_ms = 2000;
    request.reply_max_bytes = DOCUMENT_MAX;
    nexus_client *client = nexus_service_client(d->g->service);
    if (!client || nexus_client_fetch(client, &request, &reply)) {
        mark(d, u, true);
        return;
    }
    nexus_reply_body(reply, &body);
    mark(d, u, nexus_reply_status(reply) != 200 || !keep(d, u, body));
    nexus_reply_free(reply);
}

/* --- showing ------------------------------------------------------------------------------------------------------- */

static bool expose(const char *part, const char *method, const char *path, char *out, size_t cap, void *user_data)
{
    gateway *g = user_data;
    return nexus_gateway_public_path(g->gateway, part, method, (nexus_slice){path, strlen(path)}, out, cap) == NEXUS_OK;
}

static nexus_status show(gateway_docs *d)
{
    nexus_openapi_part parts[UPSTREAMS_MAX + 1];
    nexus_openapi_opts opts = NEXUS_OPENAPI_OPTS_INIT;
    char *text;
    size_t n;
    opts.title = "nexus";
    opts.version = nexus_version();
    opts.description = "Everything behind this gateway.";
    nexus_openapi_part_init(&parts[0]);
    parts[0].name = "gateway";
    nexus_service_document(d->g->service, &parts[0].document);
    for (size_t i = 0; i < d->count; i++) {
        nexus_openapi_part_init(&parts[i + 1]);
        parts[i + 1].name = d->upstreams[i].name;
        parts[i + 1].document = (nexus_slice){d->upstreams[i].document, d->upstreams[i].n};
        parts[i + 1].stale = d->upstreams[i].stale;
        parts[i + 1].expose = expose;
        parts[i + 1].user_data = d->g;
    }
    nexus_status status = nexus_openapi_merge(&text, &n, parts, d->count + 1, &opts);
    if (status)
        return status;
    status = nexus_service_set_document(d->g->service, (nexus_slice){text, n});
    nexus_free(text);
    return status;
}

/* On a worker, never twice at a time. */
static void tick(void *user_data)
{
    gateway_docs *d = user_data;
    if (list_upstreams(d))
        return;
    for (size_t i = 0; i < d->count; i++)
        if (now_ms() >= d->upstreams[i].next_ms)
            fetch(d, &d->upstreams[i]);
    if (d->changed && show(d) == NEXUS_OK)
        d->changed = false;
}

/* --- the catalog --------------------------------------------------------------------------------------------------- */

/* Addresses begin with the issuer's, which is configured: what a client says in Host is not repeated. */
static void catalog(nexus_request *request, void *user_data)
{
    const gateway *g = user_data;
    const char *origin = nexus_service_issuer(g->service);
    size_t n = strlen(origin);
    char text[2048];
    while (n && origin[n - 1] == '/')
        n--;
    int length =
        snprintf(text, sizeof text,
                 "{\"linkset\":[{\"anchor\":\"%.*s/\",\"service-desc\":[{\"href\":\"%.*s/api/openapi.json\",\"type\":"
                 "\"application/json\"}],\"service-doc\":[{\"href\":\"%.*s/api/docs\",\"type\":\"text/html\"}],"
                 "\"status\":[{\"href\":\"%.*s/health\",\"type\":\"application/json\"}]}]}",
                 (int)n, origin, (int)n, origin, (int)n, origin, (int)n, origin);
    if (length < 0 || (size_t)length >= sizeof text) {
        nexus_request_problem_text(request, 500, "issuer-too-long", NULL);
        return;
    }
    (void)nexus_request_set_header(request, "Link", NEXUS_S("</.well-known/api-catalog>; rel=\"api-catalog\""));
    nexus_request_reply(request, 200, "application/linkset+json; profile=\"https://www.rfc-editor.org/info/rfc9727\"",
                        (nexus_slice){text, (size_t)length});
}

nexus_status gateway_docs_open(gateway *g)
{
    nexus_route route = NEXUS_ROUTE_INIT;
    g->docs = calloc(1, sizeof *g->docs);
    if (!g->docs)
        return NEXUS_ENOMEM;
    g->docs->g = g;
    g->docs->fresh_ms = nexus_settings_int(nexus_service_settings(g->service), "gateway_docs_ms");
    route.method = "GET";
    route.path = "/.well-known/api-catalog";
    route.handler = catalog;
    route.user_data = g;
    route.flags = NEXUS_ROUTE_ON_LOOP;
    route.roles = "public";
    nexus_status status = nexus_service_route(g->service, &route, 1);
    return status ? status : nexus_service_every(g->service, "docs", TICK_MS, tick, g->docs);
}

void gateway_docs_close(gateway *g)
{
    for (size_t i = 0; g->docs && i < g->docs->count; i++)
        free(g->docs->upstreams[i].document);
    free(g->docs);
}
