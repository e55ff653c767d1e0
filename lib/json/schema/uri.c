#include "json/schema/uri.h"

static size_t until(nexus_slice text, const char *stops)
{
    size_t i = 0;
    while (i < text.n && !memchr(stops, text.p[i], strlen(stops)))
        i++;
    return i;
}

nexus__uri nexus__uri_split(nexus_slice text)
{
    nexus__uri u = {{0}};
    size_t n = until(text, ":/?#");
    if (n && n < text.n && text.p[n] == ':') {
        u.scheme = nexus__slice(text.p, n);
        text = nexus__slice_from(text, n + 1);
    }
    if (nexus__slice_starts(text, NEXUS_S("//"))) {
        text = nexus__slice_from(text, 2);
        n = until(text, "/?#");
        u.authority = nexus__slice(text.p, n);
        text = nexus__slice_from(text, n);
    }
    n = until(text, "?#");
    u.path = nexus__slice(text.p, n);
    text = nexus__slice_from(text, n);
    if (text.n && text.p[0] == '?') {
        n = until(text, "#");
        u.query = nexus__slice(text.p + 1, n - 1);
        text = nexus__slice_from(text, n);
    }
    if (text.n)
        u.fragment = nexus__slice(text.p + 1, text.n - 1);
    return u;
}

/* Writes path without its "." and ".." segments at out; returns the length. */
static size_t remove_dots(nexus_slice path, char *out)
{
    size_t n = 0;
    while (path.n) {
        size_t slash = path.p[0] == '/';
        size_t end = slash + nexus__slice_find(nexus__slice_from(path, slash), '/');
        nexus_slice segment = nexus__slice(path.p + slash, end - slash);
        bool last = end == path.n, up = nexus__slice_eq_c(segment, "..");
        if (up || nexus__slice_eq_c(segment, ".")) {
            if (up)
                while (n && out[--n] != '/')
                    ;
            if (last)
                out[n++] = '/';
        } else {
            memmove(out + n, path.p, end);
            n += end;
        }
        path = nexus__slice_from(path, end);
    }
    return n;
}

static char *put(char *at, const char *before, nexus_slice part, const char *after)
{
    if (!part.p)
        return at;
    at = stpcpy(at, before);
    if (part.n)
        memcpy(at, part.p, part.n);
    return stpcpy(at + part.n, after);
}

static nexus_slice merged_path(nexus__arena *arena, const nexus__uri *base, nexus_slice path)
{
    nexus_slice head = base->path;
    while (head.n && head.p[head.n - 1] != '/')
        head.n--;
    if (base->authority.p && !base->path.n)
        head = NEXUS_S("/");
    char *both = nexus__arena_get(arena, head.n + path.n + 1);
    if (!both)
        return (nexus_slice){NULL, 0};
    if (head.n)
        memcpy(both, head.p, head.n);
    memcpy(both + head.n, path.p, path.n);
    return nexus__slice(both, head.n + path.n);
}

nexus_slice nexus__uri_resolve(nexus__arena *arena, nexus_slice base_text, nexus_slice reference)
{
    nexus__uri base = nexus__uri_split(base_text), u = nexus__uri_split(reference);
    bool dots = true;
    if (!u.scheme.p) {
        u.scheme = base.scheme;
        if (!u.authority.p) {
            u.authority = base.authority;
            if (!u.path.n) {
                u.path = base.path;
                u.query = u.query.p ? u.query : base.query;
                dots = false;
            } else if (u.path.p[0] != '/') {
                u.path = merged_path(arena, &base, u.path);
                if (!u.path.p)
                    return (nexus_slice){NULL, 0};
            }
        }
    }
    char *text = nexus__arena_get(arena, base_text.n + reference.n + u.path.n + 8), *at = text;
    if (!text)
        return (nexus_slice){NULL, 0};
    at = put(at, "", u.scheme, ":");
    at = put(at, "//", u.authority, "");
    if (dots && (u.authority.p || (u.path.n && u.path.p[0] == '/') || !u.scheme.p)) {
        at += remove_dots(u.path, at);
    } else {
        at = put(at, "", u.path.p ? u.path : NEXUS_S(""), "");
    }
    at = put(at, "?", u.query, "");
    at = put(at, "#", u.fragment, "");
    return nexus__slice(text, (size_t)(at - text));
}
