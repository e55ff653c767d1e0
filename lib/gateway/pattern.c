#include "gateway/pattern.h"

#include "base/status.h"
#include "http/parser.h"

static const struct {
    const char *name; /* ends in a dot: a name of the user's follows */
    enum nexus__pattern_source source;
} sources[] = {
    {"path.", NEXUS__PATTERN_PATH},         {"query.", NEXUS__PATTERN_QUERY},
    {"header.", NEXUS__PATTERN_HEADER},     {"claim.", NEXUS__PATTERN_CLAIM},
    {"principal.sub", NEXUS__PATTERN_SUBJECT}, {"client.ip", NEXUS__PATTERN_CLIENT_IP},
    {"request.id", NEXUS__PATTERN_REQUEST_ID}, {"route.id", NEXUS__PATTERN_ROUTE_ID},
};

bool nexus__pattern_is(nexus_slice text)
{
    return nexus__slice_find(text, '{') < text.n || nexus__slice_find(text, '}') < text.n;
}

static nexus_status add(nexus__pattern *out, nexus__arena *arena, enum nexus__pattern_source source, nexus_slice text)
{
    if (out->count == NEXUS__PATTERN_PIECES_MAX)
        return nexus__fail(NEXUS_EINVAL, "a text may have %d pieces", NEXUS__PATTERN_PIECES_MAX);
    nexus_slice copy = nexus__arena_copy(arena, text);
    if (!copy.p)
        return nexus__nomem();
    out->pieces[out->count++] = (nexus__pattern_piece){copy, source};
    return NEXUS_OK;
}

static nexus_status add_placeholder(nexus__pattern *out, nexus__arena *arena, nexus_slice name)
{
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        nexus_slice known = nexus__slice_c(sources[i].name);
        bool open = nexus__slice_ends(known, NEXUS_S("."));
        if (open ? !nexus__slice_starts(name, known) || name.n == known.n : !nexus__slice_eq(name, known))
            continue;
        nexus_slice rest = nexus__slice_from(name, known.n);
        if (sources[i].source == NEXUS__PATTERN_HEADER && !nexus__http_is_token(rest))
            return nexus__fail(NEXUS_EINVAL, "\"%.*s\" is no header", (int)rest.n, rest.p);
        return add(out, arena, sources[i].source, rest);
    }
    return nexus__fail(NEXUS_EINVAL,
                       "{%.*s} is not known; known are {path.NAME}, {query.NAME}, {header.NAME}, {claim.NAME}, "
                       "{principal.sub}, {client.ip}, {request.id}, {route.id}; a brace itself is written twice",
                       (int)(name.n < 60 ? name.n : 60), name.p);
}

/* Up to the next single brace; doubled ones become one. */
static nexus_status add_text(nexus__pattern *out, nexus__arena *arena, nexus_slice *rest)
{
    char *text = nexus__arena_get(arena, rest->n + 1);
    size_t n = 0, i = 0;
    if (!text)
        return nexus__nomem();
    for (; i < rest->n; i++) {
        char c = rest->p[i];
        if (c == '{' || c == '}') {
            if (i + 1 == rest->n || rest->p[i + 1] != c)
                break;
            i++;
        }
        text[n++] = c;
    }
    *rest = nexus__slice_from(*rest, i);
    return n ? add(out, arena, NEXUS__PATTERN_TEXT, nexus__slice(text, n)) : NEXUS_OK;
}

nexus_status nexus__pattern_parse(nexus__pattern *out, nexus_slice text, nexus__arena *arena)
{
    nexus_status status = NEXUS_OK;
    *out = (nexus__pattern){.pieces = nexus__arena_get(arena, NEXUS__PATTERN_PIECES_MAX * sizeof *out->pieces)};
    if (!out->pieces)
        return nexus__nomem();
    while (text.n && !status) {
        status = add_text(out, arena, &text);
        if (status || !text.n)
            break;
        size_t end = nexus__slice_find(text, '}');
        if (text.p[0] == '}' || end == text.n)
            return nexus__fail(NEXUS_EINVAL, "a brace has no partner; a brace itself is written twice");
        status = add_placeholder(out, arena, nexus__slice(text.p + 1, end - 1));
        text = nexus__slice_from(text, end + 1);
    }
    return status;
}

bool nexus__pattern_fixed(const nexus__pattern *pattern, nexus_slice *text)
{
    if (pattern->count > 1 || (pattern->count && pattern->pieces[0].source != NEXUS__PATTERN_TEXT))
        return false;
    *text = pattern->count ? pattern->pieces[0].text : NEXUS_S("");
    return true;
}

size_t nexus__pattern_values(const nexus__pattern *pattern, nexus__pattern_fn *fn, void *context,
                             nexus_slice values[static NEXUS__PATTERN_PIECES_MAX])
{
    size_t total = 0;
    for (uint32_t i = 0; i < pattern->count; i++) {
        const nexus__pattern_piece *piece = &pattern->pieces[i];
        values[i] = NEXUS_S("");
        if (piece->source == NEXUS__PATTERN_TEXT)
            values[i] = piece->text;
        else if (!fn(context, piece, &values[i]))
            values[i] = NEXUS_S("");
        total += values[i].n;
    }
    return total;
}

bool nexus__pattern_is_clients(const nexus__pattern *pattern)
{
    for (uint32_t i = 0; i < pattern->count; i++)
        if (pattern->pieces[i].source >= NEXUS__PATTERN_PATH && pattern->pieces[i].source <= NEXUS__PATTERN_HEADER)
            return true;
    return false;
}
