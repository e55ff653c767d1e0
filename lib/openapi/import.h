/* A description that stands, made into checks: for requests that somebody else answers. */
#ifndef NEXUS_OPENAPI_IMPORT_H
#define NEXUS_OPENAPI_IMPORT_H

#include "openapi/api.h"

/*
 * Reads an OpenAPI 3.1 document (3.0 as far as its schemas are JSON Schema). Parameters by schema, in path, query and
 * header; the first JSON media type of a body; references within the document. closed: a body's own object may have no
 * members that its schema does not know. NEXUS_EINVAL: the message names the place.
 */
nexus_status nexus__openapi_import(nexus_openapi **out, nexus_slice document, bool closed,
                                   const nexus_alloc *alloc) NEXUS_MUST_CHECK;

#endif
