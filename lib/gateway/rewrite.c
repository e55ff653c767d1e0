#include "gateway/rewrite.h"

#include <nexus/router.h>

#include "base/codec.h"
#include "base/status.h"

static nexus_slice capture_of(const nexus__rewrite_input *in, nexus_slice name)
{
    for (uint32_t i = 0; i < in->capture_count; i++)
        if (nexus__slice_eq(in->captures[i].name, name))
            return in->captures[i].value;
    return (nexus_slice){0};
}

static nexus_slice piece_value(const nexus__rewrite_input *in, const nexus__pattern_piece *piece)
{
    return piece->source == NEXUS__PATTERN_TEXT ? piece->text : capture_of(in, piece->text);
}

static size_t values_length(const nexus__pattern *pattern, const nexus__rewrite_input *in)
{
    size_t n = 0;
    for (uint32_t i = 0; i < pattern->count; i++)
        n += piece_value(in, &pattern->pieces[i]).n;
    return n;
}

/* The byte that an escape or plain character at p[i] stands for, and how long it is. */
static int byte_at(nexus_slice text, size_t i, size_t *length)
{
    *length = 1;
    if (text.p[i] != '%' || i + 2 >= text.n)
        return (unsigned char)text.p[i];
    int high = nexus__hex_digit(text.p[i + 1]), low = nexus__hex_digit(text.p[i + 2]);
    if (high < 0 || low < 0)
        return '%';
    *length = 3;
    return high << 4 | low;
}

static bool has_control(nexus_slice value)
{
    size_t length;
    for (size_t i = 0; i < value.n; i += length) {
        int byte = byte_at(value, i, &length);
        if (byte < ' ' || byte == 0x7f)
            return true;
    }
    return false;
}

/* "." or ".." between slashes: a canonical path has none, but pieces of one can make some. */
static bool has_dots(nexus_slice path)
{
    while (path.n) {
        nexus_slice segment = nexus__slice_cut(&path, '/');
        if (nexus__slice_eq(segment, NEXUS_S(".")) || nexus__slice_eq(segment, NEXUS_S("..")))
            return true;
    }
    return false;
}

static nexus_status refused(const char *why)
{
    return nexus__fail(NEXUS_EPERM, "%s", why);
}

/* --- rewriting ---------------------------------------------------------------------------------------------------- */

size_t nexus__rewrite_room(const nexus__rewrite_conf *conf, const nexus__rewrite_input *in)
{
    return 1 + (conf->to.count ? values_length(&conf->to, in) : conf->add.n + in->path.n);
}

static nexus_slice without_prefix(nexus_slice path, nexus_slice prefix)
{
    if (nexus__slice_ends(prefix, NEXUS_S("/")))
        prefix.n--;
    bool whole_segments = path.n == prefix.n || (path.n > prefix.n && path.p[prefix.n] == '/');
    return nexus__slice_starts(path, prefix) && whole_segments ? nexus__slice_from(path, prefix.n) : path;
}

static size_t put(char *room, size_t at, nexus_slice text)
{
    if (text.n)
        memcpy(room + at, text.p, text.n);
    return at + text.n;
}

nexus_status nexus__rewrite_path(const nexus__rewrite_conf *conf, const nexus__rewrite_input *in, char *room,
                                 nexus_slice *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < conf->to.count; i++) {
        nexus_slice value = piece_value(in, &conf->to.pieces[i]);
        if (conf->to.pieces[i].source != NEXUS__PATTERN_TEXT && has_control(value))
            return refused("A part of the path holds a control character.");
        n = put(room, n, value);
    }
    if (conf->to.count == 0) {
        n = put(room, 0, conf->add);
        n = put(room, n, without_prefix(in->path, conf->strip));
    }
    if (n == 0)
        room[n++] = '/';
    if (has_dots(nexus__slice(room, n)))
        return refused("The rewritten path would have dot segments.");
    return nexus_path_canonical(nexus__slice(room, n), in->flags, room, out);
}

/* --- redirecting -------------------------------------------------------------------------------------------------- */

size_t nexus__redirect_room(const nexus__redirect_conf *conf, const nexus__rewrite_input *in, nexus_slice query)
{
    return 3 * values_length(&conf->to, in) + query.n + 2;
}

/* A value behind the first slash of a path may not make an authority or a scheme of what follows: "//evil", "/\evil",
 * "https:evil". */
static bool leads_elsewhere(nexus_slice value)
{
    size_t length;
    int byte = value.n ? byte_at(value, 0, &length) : 0;
    if (byte == '/' || byte == '\\')
        return true;
    for (size_t i = 0; i < value.n; i += length) {
        byte = byte_at(value, i, &length);
        bool letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
        if (byte == ':')
            return i > 0;
        if (!letter && !(i > 0 && ((byte >= '0' && byte <= '9') || byte == '+' || byte == '-' || byte == '.')))
            return false;
    }
    return false;
}

static size_t put_encoded(char *room, size_t at, nexus_slice value)
{
    static const char digits[] = "0123456789ABCDEF", plain[] = "-._~";
    size_t length;
    for (size_t i = 0; i < value.n; i += length) {
        int byte = byte_at(value, i, &length);
        bool alnum = (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
        if (byte > 0 && (alnum || strchr(plain, byte))) {
            room[at++] = (char)byte;
            continue;
        }
        room[at++] = '%';
        room[at++] = digits[byte >> 4];
        room[at++] = digits[byte & 15];
    }
    return at;
}

/* The path of the target, in canonical form, from path_at to n; what stands behind n moves up. */
static nexus_status canonical(char *room, size_t path_at, size_t path_end, size_t *n, uint32_t flags)
{
    nexus_slice path = nexus__slice(room + path_at, path_end - path_at), out;
    if (has_dots(path))
        return refused("The target would have dot segments.");
    nexus_status status = nexus_path_canonical(path, flags, room + path_at, &out);
    if (status)
        return status;
    memmove(room + path_at + out.n, room + path_end, *n - path_end);
    *n -= path.n - out.n;
    return NEXUS_OK;
}

nexus_status nexus__redirect_target(const nexus__redirect_conf *conf, const nexus__rewrite_input *in, nexus_slice query,
                                    char *room, nexus_slice *out)
{
    size_t n = 0, path_end = 0;
    for (uint32_t i = 0; i < conf->to.count; i++) {
        const nexus__pattern_piece *piece = &conf->to.pieces[i];
        nexus_slice value = piece_value(in, piece);
        if (piece->source == NEXUS__PATTERN_TEXT) {
            size_t mark = nexus__slice_find(value, '?');
            if (!path_end && mark < value.n)
                path_end = n + mark;
            n = put(room, n, value);
            continue;
        }
        if (has_control(value))
            return refused("A part of the path holds a control character.");
        if (n == conf->path_at + 1 && leads_elsewhere(value))
            return refused("The target would lead to another place.");
        n = path_end ? put_encoded(room, n, value) : put(room, n, value);
    }
    nexus_status status = canonical(room, conf->path_at, path_end ? path_end : n, &n, in->flags);
    if (status)
        return status;
    if (!conf->has_query && query.n) {
        room[n++] = '?';
        n = put(room, n, query);
    }
    *out = nexus__slice(room, n);
    return NEXUS_OK;
}
