/*
 * Text with placeholders: "{path.id}", "{query.x}", "{header.x}", "{claim.x}", "{principal.sub}", "{client.ip}",
 * "{request.id}", "{route.id}"; "{{" and "}}" are the braces themselves. Taken apart when the routes file is loaded,
 * where a name that is not known is an error, and put together for each call.
 */
#ifndef NEXUS_GATEWAY_PATTERN_H
#define NEXUS_GATEWAY_PATTERN_H

#include "base/arena.h"

enum nexus__pattern_source {
    NEXUS__PATTERN_TEXT, /* what follows come from outside */
    NEXUS__PATTERN_PATH,
    NEXUS__PATTERN_QUERY,
    NEXUS__PATTERN_HEADER,
    NEXUS__PATTERN_CLAIM,
    NEXUS__PATTERN_SUBJECT,
    NEXUS__PATTERN_CLIENT_IP,
    NEXUS__PATTERN_REQUEST_ID,
    NEXUS__PATTERN_ROUTE_ID
};

enum { NEXUS__PATTERN_PIECES_MAX = 32 };

typedef struct nexus__pattern_piece {
    nexus_slice text; /* the text itself, or the name behind the dot; NUL-terminated */
    enum nexus__pattern_source source;
} nexus__pattern_piece;

typedef struct nexus__pattern {
    nexus__pattern_piece *pieces;
    uint32_t count;
} nexus__pattern;

/* Whether the text has a brace: without one it stands for itself. */
bool nexus__pattern_is(nexus_slice text);
/* NEXUS_EINVAL: the message says what is wrong. Everything in *out is the arena's. */
nexus_status nexus__pattern_parse(nexus__pattern *out, nexus_slice text, nexus__arena *arena) NEXUS_MUST_CHECK;
/* The text, when no placeholder is in it (only doubled braces, say). */
bool nexus__pattern_fixed(const nexus__pattern *pattern, nexus_slice *text);
/* The value of a placeholder; false = there is none, which reads as empty. */
typedef bool nexus__pattern_fn(void *context, const nexus__pattern_piece *piece, nexus_slice *value);
/* Values of all pieces, and their length together. */
size_t nexus__pattern_values(const nexus__pattern *pattern, nexus__pattern_fn *fn, void *context,
                             nexus_slice values[static NEXUS__PATTERN_PIECES_MAX]);
/* Whether what the client wrote has a part in it: then a value that may not stand is the client's mistake. */
bool nexus__pattern_is_clients(const nexus__pattern *pattern);

#endif
