/* Fields that a route sets, adds and removes, of requests and of replies; and texts with placeholders. */
#include <stdio.h>

#include "gateway/config/rows.h"

bool nexus__gw_is_token(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] <= ' ' || (uint8_t)s.p[i] >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", s.p[i]))
            return false;
    return s.n > 0;
}

bool nexus__gw_is_value(nexus_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((uint8_t)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

nexus_status nexus__gw_load_pattern(nexus__loader *l, uint32_t value, nexus_slice text, nexus__pattern *out)
{
    char why[300];
    nexus_status status = nexus__pattern_parse(out, text, l->arena);
    if (status != NEXUS_EINVAL)
        return status;
    snprintf(why, sizeof why, "%s", nexus_error_message());
    return nexus__loader_fail(l, value, "%s", why);
}

/* "{name", and then the end of the placeholder or its type. */
static bool template_has(nexus_slice path, nexus_slice name)
{
    for (size_t at; (at = nexus__slice_find(path, '{')) < path.n;) {
        path = nexus__slice_from(path, at + 1);
        if (nexus__slice_starts(path, name) && path.n > name.n && strchr(":.}", path.p[name.n]))
            return true;
    }
    return false;
}

static bool has_capture(const nexus__gw_route_conf *conf, nexus_slice name)
{
    for (uint32_t i = 0; conf->re && i < nexus__regex_group_count(conf->re); i++)
        if (nexus__slice_eq(nexus__regex_group_name(conf->re, i), name))
            return true;
    return template_has(conf->path, name) || template_has(conf->prefix, name);
}

nexus_status nexus__gw_check_pattern(nexus__loader *l, uint32_t route, const nexus__gw_route_conf *conf,
                                     const nexus__pattern *pattern)
{
    for (uint32_t i = 0; i < pattern->count; i++) {
        if (pattern->pieces[i].source != NEXUS__PATTERN_PATH)
            continue;
        if (!has_capture(conf, pattern->pieces[i].text))
            return nexus__loader_fail(l, route, "{path.%s} is used, but the route's path has no {%s}", pattern->pieces[i].text.p,
                                      pattern->pieces[i].text.p);
    }
    return NEXUS_OK;
}

nexus_status nexus__gw_check_headers(nexus__loader *l, uint32_t route, const nexus__gw_route_conf *conf,
                                     const nexus__gw_headers_conf *headers)
{
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < headers->filled.count && !status; i++)
        status = nexus__gw_check_pattern(l, route, conf, &headers->filled.items[i].value);
    return status;
}

static nexus_status check_name(nexus__loader *l, uint32_t value, nexus_slice name)
{
    static const char *const framing[] = {"connection", "content-length", "transfer-encoding", "host", "upgrade",
                                          "te",         "trailer"};
    if (!nexus__gw_is_token(name))
        return nexus__loader_fail(l, value, "\"%s\" is no header", name.p);
    for (size_t k = 0; k < COUNT(framing); k++)
        if (nexus__slice_ieq(name, nexus__slice_c(framing[k])))
            return nexus__loader_fail(l, value, "\"%s\" belongs to the connection; the gateway sets it", name.p);
    return NEXUS_OK;
}

/* Pairs with placeholders move to the list of those that are filled in; the others stay, as fast as they are. */
static nexus_status sort_out(nexus__loader *l, uint32_t value, nexus__gw_headers_conf *h, nexus__pair_list *pairs,
                             bool add)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < pairs->count; i++) {
        nexus_pair pair = pairs->items[i];
        nexus__pattern pattern;
        nexus_status status = check_name(l, value, pair.name);
        if (!status && !nexus__gw_is_value(pair.value))
            status = nexus__loader_fail(l, value, "\"%s\" is no header", pair.name.p);
        bool plain = !nexus__pattern_is(pair.value);
        if (!status && !plain)
            status = nexus__gw_load_pattern(l, value, pair.value, &pattern);
        if (status)
            return status;
        if (plain || nexus__pattern_fixed(&pattern, &pair.value))
            pairs->items[kept++] = pair;
        else
            h->filled.items[h->filled.count++] = (nexus__gw_filled){pair.name, pattern, add};
    }
    pairs->count = kept;
    return NEXUS_OK;
}

nexus_status nexus__gw_load_headers(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("set", nexus__loader_pairs, nexus__gw_headers_conf, set),
        CALL("add", nexus__loader_pairs, nexus__gw_headers_conf, add),
        CALL("remove", nexus__loader_texts, nexus__gw_headers_conf, remove),
    };
    nexus__gw_headers_conf *h = out;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), h);
    if (status)
        return status;
    h->filled.items = nexus__arena_get(l->arena, (h->set.count + h->add.count + 1) * sizeof *h->filled.items);
    if (!h->filled.items)
        return nexus__nomem();
    for (uint32_t i = 0; !status && i < h->remove.count; i++)
        status = check_name(l, value, h->remove.items[i]);
    if (!status)
        status = sort_out(l, value, h, &h->set, false);
    return status ? status : sort_out(l, value, h, &h->add, true);
}
