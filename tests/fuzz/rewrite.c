/*
 * Paths and targets that are put together: template, NUL, path. Whatever the path, what comes out is a canonical path
 * without dot segments, and a target stays on the host and scheme that the template names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nexus/router.h>

#include "gateway/config.h"
#include "gateway/rewrite.h"
#include "json/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nexus__gw_config *load(nexus_slice to, const char *member)
{
    nexus__buf text;
    nexus__gw_config *c = NULL;
    nexus__buf_init(&text, NULL, 0);
    nexus__buf_printf(
        &text, "{\"upstreams\":{\"a\":{\"targets\":[\"http://h\"]}},\"routes\":[{\"regex\":\"/(.?[^/]*)(/.*)?\",%s",
        member);
    nexus__json_escape_append(&text, to);
    nexus__buf_text(&text,
                    member[1] == 'r' && member[2] == 'e' && member[3] == 'w' ? "\",\"upstream\":\"a\"}]}" : "\"}}]}");
    if (nexus__gw_config_parse(&c, "f", nexus__buf_slice(&text), NULL))
        c = NULL;
    nexus__buf_free(&text);
    return c;
}

static void check_path(nexus_slice path)
{
    char room[8192];
    nexus_slice again;
    if (path.n == 0 || path.p[0] != '/' || path.n > sizeof room || nexus_path_canonical(path, 0, room, &again) ||
        again.n != path.n || memcmp(again.p, path.p, path.n) != 0)
        abort();
}

static void check_target(nexus_slice target, nexus_slice to)
{
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || (unsigned char)target.p[i] >= 0x7f)
            abort();
    if (to.p[0] == '/' && (target.p[0] != '/' || (target.n > 1 && (target.p[1] == '/' || target.p[1] == '\\'))))
        abort();
    size_t host = to.p[0] == '/' ? 0 : 8 + nexus__slice_find(nexus__slice_from(to, 8), '/');
    if (host && memcmp(target.p, to.p, host) != 0)
        abort();
}

static void try(nexus__gw_config *c, nexus_slice path, nexus_slice to)
{
    nexus_router_match m;
    char *room;
    nexus_slice out;
    if (!c || nexus_router_find(c->router, NEXUS_S(""), path, NEXUS_METHOD_GET, NULL, NULL, &m))
        return;
    const nexus__gw_route_conf *r = &c->routes.items[0];
    nexus__rewrite_input in = {path, m.captures, m.capture_count, 0};
    if (r->filters.count == 0) {
        room = malloc(nexus__rewrite_room(&r->rewrite, &in));
        if (room && nexus__rewrite_path(&r->rewrite, &in, room, &out) == NEXUS_OK)
            check_path(out);
    } else {
        const nexus__redirect_conf *conf = r->filters.items[0].conf;
        room = malloc(nexus__redirect_room(conf, &in, NEXUS_S("q=1")));
        if (room && nexus__redirect_target(conf, &in, NEXUS_S("q=1"), room, &out) == NEXUS_OK)
            check_target(out, to);
    }
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char room[4096];
    const uint8_t *part = size ? memchr(data, 0, size) : NULL;
    nexus_slice path;
    if (!part || size > 2000)
        return 0;
    nexus_slice to = nexus__slice(data, (size_t)(part - data)), raw = nexus__slice(part + 1, size - to.n - 1);
    if (to.n == 0 || nexus_path_canonical(raw, 0, room, &path))
        return 0;
    nexus__gw_config *rewrites = load(to, "\"rewrite\":\""), *redirects = load(to, "\"redirect\":{\"to\":\"");
    try(rewrites, path, to);
    try(redirects, path, to);
    nexus__gw_config_free(rewrites);
    nexus__gw_config_free(redirects);
    return 0;
}
