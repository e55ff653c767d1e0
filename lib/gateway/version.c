#include "gateway/version.h"

enum nexus__age nexus__deprecation_age(const nexus__deprecation *d, int64_t now_s)
{
    if (!d || now_s < d->since_s)
        return NEXUS__AGE_CURRENT;
    return d->sunset_s && now_s >= d->sunset_s ? NEXUS__AGE_GONE : NEXUS__AGE_DEPRECATED;
}

/* "v1" and "1" are the same. */
static nexus_slice without_v(nexus_slice text)
{
    bool v = text.n > 1 && (text.p[0] == 'v' || text.p[0] == 'V');
    return nexus__slice_from(text, v);
}

static bool is_name(char c)
{
    char lower = nexus__ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

nexus_slice nexus__version_of_media_type(nexus_slice text, nexus_slice vendor)
{
    nexus_slice start = NEXUS_S("vnd.");
    for (size_t i = 0; i + start.n + vendor.n + 2 < text.n; i++) {
        nexus_slice rest = nexus__slice_from(text, i);
        if (!nexus__slice_ieq(nexus__slice(rest.p, start.n), start) ||
            !nexus__slice_ieq(nexus__slice(rest.p + start.n, vendor.n), vendor))
            continue;
        rest = nexus__slice_from(rest, start.n + vendor.n);
        if (rest.p[0] != '.' || nexus__ascii_lower(rest.p[1]) != 'v')
            continue;
        rest = nexus__slice_from(rest, 2);
        size_t n = 0;
        while (n < rest.n && is_name(rest.p[n]))
            n++;
        if (n)
            return nexus__slice(rest.p, n);
    }
    return (nexus_slice){0};
}

static nexus_slice read_from(const nexus__versions_conf *conf, const nexus__match_subject *subject, uint32_t where,
                             char *room, size_t room_bytes)
{
    nexus_slice value = {0};
    switch (where) {
    case NEXUS__VERSION_HEADER:
        nexus__match_value(subject, NEXUS__MATCH_HEADER, NEXUS_S("api-version"), room, room_bytes, &value);
        return nexus__slice_trim(value);
    case NEXUS__VERSION_MEDIA_TYPE:
        if (conf->vendor.n &&
            nexus__match_value(subject, NEXUS__MATCH_HEADER, NEXUS_S("accept"), room, room_bytes, &value))
            return nexus__version_of_media_type(value, conf->vendor);
        return (nexus_slice){0};
    case NEXUS__VERSION_QUERY:
        nexus__match_value(subject, NEXUS__MATCH_QUERY, NEXUS_S("api-version"), room, room_bytes, &value);
        return value;
    default:
        return (nexus_slice){0};
    }
}

nexus__version_said nexus__version_read(const nexus__versions_conf *conf, const nexus__match_subject *subject,
                                        nexus_slice path, char *room, size_t room_bytes)
{
    nexus__version_said said = {path, NEXUS__VERSION_PATH};
    for (uint32_t where = NEXUS__VERSION_HEADER; !said.name.n && where <= NEXUS__VERSION_QUERY; where <<= 1)
        if (conf->from & where)
            said = (nexus__version_said){read_from(conf, subject, where, room, room_bytes), where};
    said.name = without_v(said.name);
    return said;
}

const nexus__version *nexus__version_choose(const nexus__versions_conf *conf, const nexus__version_said *said)
{
    if (!said->name.n)
        return &conf->supported.items[conf->fallback];
    for (uint32_t i = 0; i < conf->supported.count; i++)
        if (nexus__slice_eq(conf->supported.items[i].name, said->name))
            return &conf->supported.items[i];
    return NULL;
}

const char *nexus__version_where(uint32_t where)
{
    switch (where) {
    case NEXUS__VERSION_PATH:
        return "path";
    case NEXUS__VERSION_HEADER:
        return "header";
    case NEXUS__VERSION_MEDIA_TYPE:
        return "media-type";
    default:
        return "query";
    }
}

nexus_slice nexus__version_strip(nexus_slice path, nexus_slice captured, char *room)
{
    size_t before = (size_t)(captured.p - path.p) - 1; /* without the slash in front */
    nexus_slice after = nexus__slice_from(path, before + 1 + captured.n);
    memcpy(room, path.p, before);
    memcpy(room + before, after.p, after.n);
    if (before + after.n == 0)
        return NEXUS_S("/");
    return nexus__slice(room, before + after.n);
}
