/* References of URIs: just what "$id" and "$ref" need of RFC 3986. */
#ifndef NEXUS_JSON_SCHEMA_URI_H
#define NEXUS_JSON_SCHEMA_URI_H

#include "base/arena.h"

typedef struct nexus__uri {
    nexus_slice scheme, authority, path, query, fragment; /* .p NULL = not there (path: always there) */
} nexus__uri;

nexus__uri nexus__uri_split(nexus_slice text);
/* Section 5.2, in the arena; .p NULL when out of memory. */
nexus_slice nexus__uri_resolve(nexus__arena *arena, nexus_slice base, nexus_slice reference);

#endif
