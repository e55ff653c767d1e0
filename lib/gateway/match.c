#include "gateway/match.h"

#include <stdio.h>

#include "base/codec.h"

enum { VALUE_MAX = 8192 }; /* of a query parameter, decoded: a request line holds no more */

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool header_at(const nexus__match_subject *s, size_t i, nexus_pair *out)
{
    if (s->request)
        return nexus_request_header_at(s->request, i, out);
    if (i < s->header_count)
        *out = s->headers[i];
    return i < s->header_count;
}

static uint32_t header_value(const nexus__match_subject *s, nexus_slice name, nexus_slice *value)
{
    nexus_pair field;
    uint32_t found = 0;
    for (size_t i = 0; header_at(s, i, &field); i++)
        if (nexus__slice_ieq(field.name, name) && found++ == 0)
            *value = field.value;
    return found;
}

/* In all Cookie fields: HTTP/2 may send one for each pair. */
static uint32_t cookie_value(const nexus__match_subject *s, nexus_slice name, nexus_slice *value)
{
    nexus_pair field;
    uint32_t found = 0;
    for (size_t i = 0; header_at(s, i, &field); i++) {
        nexus_slice rest = nexus__slice_ieq(field.name, NEXUS_S("cookie")) ? field.value : (nexus_slice){0};
        while (rest.n) {
            nexus_slice pair = nexus__slice_trim(nexus__slice_cut(&rest, ';'));
            nexus_slice own = nexus__slice_cut(&pair, '=');
            if (nexus__slice_eq(own, name) && found++ == 0)
                *value = pair;
        }
    }
    return found;
}

static uint32_t query_value(const nexus__match_subject *s, nexus_slice name, char *room, size_t room_bytes,
                            nexus_slice *value)
{
    nexus_slice rest = s->query;
    uint32_t found = 0;
    while (rest.n) {
        size_t n;
        nexus_slice pair = nexus__slice_cut(&rest, '&'), raw_name = nexus__slice_cut(&pair, '=');
        if (raw_name.n > room_bytes || !nexus__percent_decode(raw_name, true, room, &n) ||
            !nexus__slice_eq(nexus__slice(room, n), name))
            continue;
        if (found++ == 0)
            *value = pair;
    }
    if (found) {
        size_t n = 0;
        bool good = value->n <= room_bytes && nexus__percent_decode(*value, true, room, &n);
        *value = good ? nexus__slice(room, n) : (nexus_slice){0};
        found = good ? found : 2; /* there, but not to be read in one way */
    }
    return found;
}

uint32_t nexus__match_value(const nexus__match_subject *s, enum nexus__match_part part, nexus_slice name, char *room,
                            size_t room_bytes, nexus_slice *value)
{
    switch (part) {
    case NEXUS__MATCH_HEADER:
        return header_value(s, name, value);
    case NEXUS__MATCH_COOKIE:
        return cookie_value(s, name, value);
    case NEXUS__MATCH_QUERY:
        break;
    }
    return query_value(s, name, room, room_bytes, value);
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

static bool holds(const nexus__match_condition *c, const nexus__match_subject *s)
{
    char room[VALUE_MAX];
    nexus_slice value = {0};
    bool matched;
    uint32_t found = nexus__match_value(s, c->part, c->name, room, sizeof room, &value);
    switch (c->how) {
    case NEXUS__MATCH_PRESENT:
        return found > 0;
    case NEXUS__MATCH_ABSENT:
        return found == 0;
    case NEXUS__MATCH_EXACT:
        return found == 1 && nexus__slice_eq(value, c->text);
    case NEXUS__MATCH_PREFIX:
        return found == 1 && nexus__slice_starts(value, c->text);
    case NEXUS__MATCH_REGEX:
        break;
    }
    return found == 1 && nexus__regex_search(c->re, value, &matched) == NEXUS_OK && matched;
}

static bool client_is_in(const nexus__match_conf *conf, const nexus__match_subject *s)
{
    nexus__ip ip;
    nexus_slice text = s->ip;
    if (conf->client.count == 0)
        return true;
    if (s->request)
        nexus_request_remote_ip(s->request, &text);
    return nexus__ip_parse(text, &ip) && nexus__ip_set_has(&conf->client, &ip);
}

uint32_t nexus__match_count(const nexus__match_conf *conf)
{
    return conf ? conf->count + (conf->client.count > 0) : 0;
}

bool nexus__match_holds(const nexus__match_conf *conf, const nexus__match_subject *s)
{
    for (uint32_t i = 0; i < conf->count; i++)
        if (!holds(&conf->items[i], s))
            return false;
    return client_is_in(conf, s);
}

size_t nexus__match_describe(const nexus__match_condition *c, char *out, size_t cap)
{
    static const char *const parts[] = {"header", "query", "cookie"};
    static const char *const hows[] = {" = ", " begins with ", " matches ", " is there", " is not there"};
    int n = snprintf(out, cap, "%s %.*s%s%.*s", parts[c->part], (int)c->name.n, c->name.p, hows[c->how], (int)c->text.n,
                     c->text.p ? c->text.p : "");
    return n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}
