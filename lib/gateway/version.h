/*
 * Versions of an API on one route, and what is said of old ones.
 *
 * A request names its version in the path ("/v1" in front of the route's own), in the field API-Version, in the media
 * type it accepts ("application/vnd.shop.v1+json") or in the query ("api-version=1"). The first of these that says
 * anything decides; who says nothing gets the default. Pure; dates are compared with a `now` that is given.
 */
#ifndef NEXUS_GATEWAY_VERSION_H
#define NEXUS_GATEWAY_VERSION_H

#include "gateway/match.h"
#include "gateway/rewrite.h"

/* When something stops being recommended (RFC 9745) and when it stops working (RFC 8594). Fields are made at load. */
typedef struct nexus__deprecation {
    int64_t since_s, sunset_s; /* since 1970; sunset 0 = none is planned */
    nexus_slice since_text, sunset_text;
    nexus_slice link, successor; /* where to read about it, and where to go */
    nexus_slice deprecation_field, sunset_field, link_field;
} nexus__deprecation;

enum nexus__age { NEXUS__AGE_CURRENT, NEXUS__AGE_DEPRECATED, NEXUS__AGE_GONE };

/* NULL is current. */
enum nexus__age nexus__deprecation_age(const nexus__deprecation *d, int64_t now_s);

typedef struct nexus__version {
    nexus_slice name;     /* "1" */
    nexus_slice upstream; /* empty = the route's */
    uint32_t upstream_index;
    nexus__rewrite_conf rewrite; /* none of it = the route's */
    const nexus__deprecation *deprecation;
} nexus__version;

enum {
    NEXUS__VERSION_PATH = 1,
    NEXUS__VERSION_HEADER = 2,
    NEXUS__VERSION_MEDIA_TYPE = 4,
    NEXUS__VERSION_QUERY = 8,
    NEXUS__VERSION_ALL = 15
};
#define NEXUS__VERSION_CAPTURE "_api-version" /* of the segment in the path */

typedef struct nexus__versions_conf {
    struct {
        nexus__version *items;
        uint32_t count;
    } supported;
    uint32_t from;     /* NEXUS__VERSION_… */
    uint32_t fallback; /* the default's index */
    nexus_slice default_name;
    nexus_slice vendor; /* "shop" of vnd.shop.v1+json; empty: media types are not looked at */
    nexus_slice at;     /* "/api": the version's segment follows; empty: it is the first */
    nexus_slice names;  /* ["1","2"] */
    nexus_slice vary;   /* "API-Version, Accept"; empty = neither is looked at */
} nexus__versions_conf;

/* What a request says, and where; empty name: nothing. path is the segment ("v1"), room as of nexus__match_value. */
typedef struct nexus__version_said {
    nexus_slice name;
    uint32_t where; /* one NEXUS__VERSION_… */
} nexus__version_said;

nexus__version_said nexus__version_read(const nexus__versions_conf *conf, const nexus__match_subject *subject,
                                        nexus_slice path, char *room, size_t room_bytes);
/* NULL: not supported. */
const nexus__version *nexus__version_choose(const nexus__versions_conf *conf, const nexus__version_said *said);
const char *nexus__version_where(uint32_t where); /* "path", … */
/* "1" of the first vnd.VENDOR.v1 of a media type or a list of them; empty when there is none. */
nexus_slice nexus__version_of_media_type(nexus_slice text, nexus_slice vendor);

/* The path without the version's segment, which stands at captured.p: "/api/v1/x" gives "/api/x". In room (path.n bytes). */
nexus_slice nexus__version_strip(nexus_slice path, nexus_slice captured, char *room);

#endif
