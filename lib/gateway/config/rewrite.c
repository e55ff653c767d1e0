/* Where a path goes: "strip_prefix", "add_prefix", "rewrite" of a route or a version, and the targets of redirects. */
#include "gateway/rewrite.h"

#include <nexus/router.h>

#include "gateway/config/rows.h"

static nexus_status parse(nexus__loader *l, uint32_t value, nexus_slice text, nexus__pattern *out)
{
    nexus_status status = nexus__pattern_parse(out, text, l->arena);
    if (status)
        return status == NEXUS_ENOMEM ? status : nexus__loader_refuse(l, value);
    for (uint32_t i = 0; i < out->count; i++)
        if (out->pieces[i].source != NEXUS__PATTERN_TEXT && out->pieces[i].source != NEXUS__PATTERN_PATH)
            return nexus__loader_fail(l, value, "only {path.NAME} may stand in a path");
    return NEXUS_OK;
}

/* Text of the file's own: what the canonical form allows, without what it would take out. */
static nexus_status check_text(nexus__loader *l, uint32_t value, nexus_slice text)
{
    char raw[2048], room[2048];
    nexus_slice out;
    if (text.n + 1 > sizeof raw)
        return nexus__loader_fail(l, value, "is too long");
    raw[0] = '/';
    memcpy(raw + 1, text.p, text.n);
    if (nexus_path_canonical(nexus__slice(raw, text.n + 1), NEXUS_PATH_AMBIGUOUS_PASS | NEXUS_PATH_KEEP_SLASHES, room,
                             &out) ||
        out.n != text.n + 1 || memcmp(out.p, raw, out.n) != 0)
        return nexus__loader_fail(l, value,
                                  "\"%.*s\" is not in canonical form: escape what must be escaped, in upper case, "
                                  "and leave out \".\" and \"..\"",
                                  (int)text.n, text.p);
    return NEXUS_OK;
}

nexus_status nexus__rewrite_load_to(nexus__loader *l, uint32_t value, void *out)
{
    nexus__rewrite_conf *conf = out;
    nexus_status status = nexus__loader_text(l, value, &conf->text);
    status = status ? status : parse(l, value, conf->text, &conf->to);
    if (status)
        return status;
    if (!nexus__slice_starts(conf->text, NEXUS_S("/")))
        return nexus__loader_fail(l, value, "must start with \"/\"");
    for (uint32_t i = 0; i < conf->to.count && !status; i++)
        if (conf->to.pieces[i].source == NEXUS__PATTERN_TEXT)
            status = check_text(l, value, conf->to.pieces[i].text);
    return status;
}

nexus_status nexus__rewrite_check(nexus__loader *l, uint32_t value, const nexus__rewrite_conf *conf)
{
    if ((conf->strip.n && conf->strip.p[0] != '/') || (conf->add.n && conf->add.p[0] != '/'))
        return nexus__loader_fail(l, value, "prefixes must start with \"/\"");
    if (conf->to.count && (conf->strip.n || conf->add.n))
        return nexus__loader_fail(l, value, "has either \"rewrite\" or prefixes to strip and add");
    nexus_status status = conf->add.n ? check_text(l, value, conf->add) : NEXUS_OK;
    return status;
}

/* --- redirects ---------------------------------------------------------------------------------------------------- */

/* Where the path begins; the host, if there is one, is the file's own. 0 with *bad: it is no target. */
static uint32_t path_begin(nexus_slice first, bool *bad)
{
    nexus_slice https = NEXUS_S("https://"), http = NEXUS_S("http://");
    *bad = false;
    if (nexus__slice_starts(first, NEXUS_S("/"))) {
        *bad = first.n > 1 && (first.p[1] == '/' || first.p[1] == '\\');
        return 0;
    }
    size_t scheme = nexus__slice_starts(first, https) ? https.n : nexus__slice_starts(first, http) ? http.n : 0;
    size_t at = scheme + nexus__slice_find(nexus__slice_from(first, scheme), '/');
    *bad = scheme == 0 || at == scheme || at == first.n;
    for (size_t i = scheme; i < at && i < first.n; i++) {
        char c = nexus__ascii_lower(first.p[i]);
        *bad |= !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-.:[]", c));
    }
    return (uint32_t)at;
}

static nexus_status check_target(nexus__loader *l, uint32_t value, nexus__redirect_conf *c)
{
    bool bad = c->to.count == 0 || c->to.pieces[0].source != NEXUS__PATTERN_TEXT;
    if (!bad)
        c->path_at = path_begin(c->to.pieces[0].text, &bad);
    if (bad)
        return nexus__loader_fail(l, value,
                                  "must begin with \"/\" or with https://host/, without a placeholder in the host");
    nexus_status status = NEXUS_OK;
    for (uint32_t i = 0; i < c->to.count && !status; i++) {
        nexus_slice text = c->to.pieces[i].text;
        if (c->to.pieces[i].source != NEXUS__PATTERN_TEXT || c->has_query)
            continue;
        text = nexus__slice_from(text, i ? 0 : c->path_at);
        size_t mark = nexus__slice_find(text, '?');
        c->has_query = mark < text.n;
        status = check_text(l, value, nexus__slice(text.p, mark));
    }
    for (size_t i = 0; i < c->text.n && !status; i++)
        if (c->text.p[i] <= ' ' || (unsigned char)c->text.p[i] >= 0x7f || strchr("\"<>\\^`|#", c->text.p[i]))
            status = nexus__loader_fail(l, value, "has a character that must be escaped");
    return status;
}

nexus_status nexus__redirect_load_to(nexus__loader *l, uint32_t value, void *out)
{
    nexus__redirect_conf *c = out;
    nexus_status status = nexus__loader_text(l, value, &c->text);
    status = status ? status : parse(l, value, c->text, &c->to);
    return status ? status : check_target(l, value, c);
}
