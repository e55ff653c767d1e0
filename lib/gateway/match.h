/* What a route asks of a request beyond host, path and method: "match" of the routes file. Pure. */
#ifndef NEXUS_GATEWAY_MATCH_H
#define NEXUS_GATEWAY_MATCH_H

#include <nexus/http.h>

#include "base/ip_set.h"
#include "gateway/loader.h"
#include "regex/regex.h"

enum nexus__match_part { NEXUS__MATCH_HEADER, NEXUS__MATCH_QUERY, NEXUS__MATCH_COOKIE };

enum nexus__match_how {
    NEXUS__MATCH_EXACT,
    NEXUS__MATCH_PREFIX,
    NEXUS__MATCH_REGEX, /* of the whole value */
    NEXUS__MATCH_PRESENT,
    NEXUS__MATCH_ABSENT
};

typedef struct nexus__match_condition {
    enum nexus__match_part part;
    enum nexus__match_how how;
    nexus_slice name, text; /* text: of the value, its beginning, or the pattern */
    nexus__regex *re;       /* the config's */
} nexus__match_condition;

enum { NEXUS__MATCH_CONDITIONS_MAX = 32 };

typedef struct nexus__match_conf {
    nexus__match_condition *items;
    uint32_t count;
    nexus__text_list client_texts;
    nexus__ip_set client; /* empty: any address */
    nexus_slice text;     /* all of it in one form: what two routes must differ in */
} nexus__match_conf;

/* A request as conditions see it: one that came in, or one that `explain` is asked about. */
typedef struct nexus__match_subject {
    const nexus_request *request; /* NULL: headers and ip say it */
    const nexus_pair *headers;
    size_t header_count;
    nexus_slice query, ip;
} nexus__match_subject;

/* How many conditions a route has, for its rank. NULL: none. */
uint32_t nexus__match_count(const nexus__match_conf *conf);
/* A value that is sent more than once fulfils no condition but that of being there: upstream might read another one. */
bool nexus__match_holds(const nexus__match_conf *conf, const nexus__match_subject *subject);
/* The value of a header, cookie (still as it stands) or query parameter (decoded into room, which holds as many bytes as
 * the query); returns how often it was there. */
uint32_t nexus__match_value(const nexus__match_subject *subject, enum nexus__match_part part, nexus_slice name,
                            char *room, size_t room_bytes, nexus_slice *value);
/* "header X-Env = beta", for people. */
size_t nexus__match_describe(const nexus__match_condition *condition, char *out, size_t cap);

#endif
