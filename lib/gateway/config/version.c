/*
 * The members "versions" and "deprecation" of a route.
 *
 *     "versions": {"default": "2", "vendor": "shop", "at": "/api",
 *                  "supported": {"1": {"upstream": "old", "deprecation": {"since": "2026-01-01T00:00:00Z", …}}, "2": {}}}
 */
#include "gateway/version.h"

#include <stdio.h>

#include "base/time.h"
#include "gateway/config/rows.h"

enum { NAME_MAX_BYTES = 32, VERSIONS_MAX = 32 };

/* --- deprecation -------------------------------------------------------------------------------------------------- */

static nexus_status load_date(nexus__loader *l, uint32_t value, nexus_slice *text, int64_t *seconds)
{
    int64_t ns;
    nexus_status status = nexus__loader_text(l, value, text);
    if (status)
        return status;
    if (!nexus__parse_rfc3339(*text, &ns) || ns <= 0)
        return nexus__loader_fail(l, value, "must be a date and time such as \"2026-01-01T00:00:00Z\"");
    *seconds = ns / NEXUS__NS_PER_S;
    return NEXUS_OK;
}

static nexus_status load_since(nexus__loader *l, uint32_t value, void *out)
{
    nexus__deprecation *d = out;
    return load_date(l, value, &d->since_text, &d->since_s);
}

static nexus_status load_sunset(nexus__loader *l, uint32_t value, void *out)
{
    nexus__deprecation *d = out;
    return load_date(l, value, &d->sunset_text, &d->sunset_s);
}

static bool is_reference(nexus_slice text)
{
    if (text.n && text.p[0] != '/' && !nexus__slice_starts(text, NEXUS_S("https://")) &&
        !nexus__slice_starts(text, NEXUS_S("http://")))
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || (unsigned char)text.p[i] >= 0x7f || strchr("<>\"", text.p[i]))
            return false;
    return true;
}

static nexus_status make_fields(nexus__loader *l, nexus__deprecation *d)
{
    char text[2 * 2048 + 128], date[32];
    size_t n = 0;
    int len = snprintf(text, sizeof text, "@%lld", (long long)d->since_s);
    d->deprecation_field = nexus__arena_copy(l->arena, nexus__slice(text, (size_t)len));
    if (d->sunset_s) {
        size_t date_len = nexus__format_http_date(d->sunset_s * NEXUS__NS_PER_S, date);
        d->sunset_field = nexus__arena_copy(l->arena, nexus__slice(date, date_len));
    }
    if (d->link.n)
        n += (size_t)snprintf(text, sizeof text, "<%s>; rel=\"deprecation\"", d->link.p);
    if (d->successor.n)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s<%s>; rel=\"successor-version\"", n ? ", " : "",
                              d->successor.p);
    d->link_field = nexus__arena_copy(l->arena, nexus__slice(text, n));
    return d->link_field.p && d->deprecation_field.p && (!d->sunset_s || d->sunset_field.p) ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__gw_load_deprecation(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"since", NEXUS__LOADER_CALL, 0, 0, 0, load_since, true},
        {"sunset", NEXUS__LOADER_CALL, 0, 0, 0, load_sunset, false},
        ROW("link", TEXT, nexus__deprecation, link, 0, 0),
        ROW("successor", TEXT, nexus__deprecation, successor, 0, 0),
    };
    nexus__deprecation *d = nexus__arena_get(l->arena, sizeof *d);
    if (!d)
        return nexus__nomem();
    *d = (nexus__deprecation){0};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), d);
    if (status)
        return status;
    if (d->sunset_s && d->sunset_s < d->since_s)
        return nexus__loader_fail(l, value, "\"sunset\" is before \"since\"");
    if (!is_reference(d->link) || !is_reference(d->successor) || d->link.n > 2048 || d->successor.n > 2048)
        return nexus__loader_fail(l, value, "links are https://… or begin with \"/\"");
    *(const nexus__deprecation **)out = d;
    return make_fields(l, d);
}

/* --- versions ----------------------------------------------------------------------------------------------------- */

static bool is_name(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = nexus__ascii_lower(text.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (i && strchr("._-", c))))
            return false;
    }
    return text.n > 0 && text.n <= NAME_MAX_BYTES && nexus__ascii_lower(text.p[0]) != 'v';
}

static nexus_status load_version(nexus__loader *l, uint32_t value, nexus__version *v)
{
    static const nexus__loader_row rows[] = {
        ROW("upstream", TEXT, nexus__version, upstream, 0, 0),
        ROW("strip_prefix", TEXT, nexus__version, rewrite.strip, 0, 0),
        ROW("add_prefix", TEXT, nexus__version, rewrite.add, 0, 0),
        CALL("rewrite", nexus__rewrite_load_to, nexus__version, rewrite),
        CALL("deprecation", nexus__gw_load_deprecation, nexus__version, deprecation),
    };
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), v);
    return status ? status : nexus__rewrite_check(l, value, &v->rewrite);
}

static nexus_status load_supported(nexus__loader *l, uint32_t value, void *out)
{
    nexus__versions_conf *c = NEXUS__CONTAINER(out, nexus__versions_conf, supported);
    size_t count = nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT) ? nexus__json_count(l->doc, value) : 0;
    if (count == 0 || count > VERSIONS_MAX)
        return nexus__loader_fail(l, value, "must be an object of 1 to %d versions by name", VERSIONS_MAX);
    c->supported.items = nexus__arena_get(l->arena, count * sizeof *c->supported.items);
    if (!c->supported.items)
        return nexus__nomem();
    memset(c->supported.items, 0, count * sizeof *c->supported.items);
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus__version *v = &c->supported.items[c->supported.count++];
        nexus_status status = nexus__loader_text(l, it.key, &v->name);
        size_t mark = nexus__loader_push(l, v->name);
        if (!status && !is_name(v->name))
            status = nexus__loader_fail(
                l, it.key, "\"%s\" is no version: write it without \"v\", as \"1\" or \"2026-01\"", v->name.p);
        status = status ? status : load_version(l, it.value, v);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

static nexus_status load_from(nexus__loader *l, uint32_t value, void *out)
{
    nexus__text_list list = {0};
    nexus_status status = nexus__loader_texts(l, value, &list);
    uint32_t from = 0;
    for (uint32_t i = 0; i < list.count && !status; i++) {
        uint32_t where = 1;
        while (where < NEXUS__VERSION_ALL && !nexus__slice_eq_c(list.items[i], nexus__version_where(where)))
            where <<= 1;
        if (where > NEXUS__VERSION_ALL)
            status = nexus__loader_fail(l, value,
                                        "\"%s\": versions come from \"path\", \"header\", \"media-type\" and "
                                        "\"query\"",
                                        list.items[i].p);
        from |= where;
    }
    if (!status && !from)
        status = nexus__loader_fail(l, value, "names nothing");
    *(uint32_t *)out = from;
    return status;
}

static nexus_status make_texts(nexus__loader *l, nexus__versions_conf *c)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__buf_char(&text, '[');
    for (uint32_t i = 0; i < c->supported.count; i++)
        nexus__buf_printf(&text, "%s\"%s\"", i ? "," : "", c->supported.items[i].name.p);
    nexus__buf_char(&text, ']');
    c->names = nexus__arena_copy(l->arena, nexus__buf_slice(&text));
    bool failed = text.status || !c->names.p, media = c->from & NEXUS__VERSION_MEDIA_TYPE && c->vendor.n;
    nexus__buf_free(&text);
    if (c->from & NEXUS__VERSION_HEADER)
        c->vary = media ? NEXUS_S("API-Version, Accept") : NEXUS_S("API-Version");
    else if (media)
        c->vary = NEXUS_S("Accept");
    return failed ? nexus__nomem() : NEXUS_OK;
}

static nexus_status find_default(nexus__loader *l, uint32_t value, nexus__versions_conf *c)
{
    for (c->fallback = 0; c->fallback < c->supported.count; c->fallback++)
        if (nexus__slice_eq(c->supported.items[c->fallback].name, c->default_name))
            return NEXUS_OK;
    return nexus__loader_fail(l, nexus__json_get(l->doc, value, "default"),
                              "\"default\" is \"%s\", which is not supported", c->default_name.p);
}

nexus_status nexus__gw_load_versions(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"default", NEXUS__LOADER_TEXT, offsetof(nexus__versions_conf, default_name), 0, 0, NULL, true},
        {"supported", NEXUS__LOADER_CALL, offsetof(nexus__versions_conf, supported), 0, 0, load_supported, true},
        CALL("from", load_from, nexus__versions_conf, from),
        ROW("vendor", TEXT, nexus__versions_conf, vendor, 0, 0),
        ROW("at", TEXT, nexus__versions_conf, at, 0, 0),
    };
    nexus__versions_conf *c = nexus__arena_get(l->arena, sizeof *c);
    if (!c)
        return nexus__nomem();
    *c = (nexus__versions_conf){.from = NEXUS__VERSION_ALL};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (status)
        return status;
    if (c->vendor.n && !nexus__gw_is_token(c->vendor))
        return nexus__loader_fail(l, value, "\"vendor\" can be no part of a media type");
    if (nexus__slice_eq(c->at, NEXUS_S("/")))
        c->at.n = 0;
    *(const nexus__versions_conf **)out = c;
    status = find_default(l, value, c);
    return status ? status : make_texts(l, c);
}

/* --- the version in the path -------------------------------------------------------------------------------------- */

/* "/api/{_api-version:version}/x" of "/api/x": what a second rule of the route meets. */
nexus_status nexus__gw_version_path(nexus__loader *l, uint32_t value, const nexus__versions_conf *c, nexus_slice path,
                                    nexus_slice *out)
{
    nexus_slice at = c->at, segment = NEXUS_S("/{" NEXUS__VERSION_CAPTURE ":version}");
    if (nexus__slice_ends(at, NEXUS_S("/")))
        at.n--;
    if (!nexus__slice_starts(path, at) || (path.n > at.n && path.p[at.n] != '/'))
        return nexus__loader_fail(l, value, "\"at\" of \"versions\" must be the beginning of the route's path");
    nexus_slice rest = path.n == at.n + 1 ? (nexus_slice){0} : nexus__slice_from(path, at.n);
    char *text = nexus__arena_get(l->arena, path.n + segment.n + 1);
    if (!text)
        return nexus__nomem();
    size_t n = (size_t)snprintf(text, path.n + segment.n + 1, "%.*s%s%.*s", (int)at.n, at.p ? at.p : "", segment.p,
                                (int)rest.n, rest.p ? rest.p : "");
    *out = nexus__slice(text, n);
    return NEXUS_OK;
}
