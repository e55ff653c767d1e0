/* How a client with a secret names itself (RFC 6749, 2.3.1). */
#ifndef NEXUS_AUTH_BASIC_H
#define NEXUS_AUTH_BASIC_H

#include <nexus/secret.h>

#include "base/buf.h"

/* Appends "Basic …", id and secret percent-encoded first. Wipe the buffer. */
nexus_status nexus__basic_append(nexus__buf *out, const char *client_id, const nexus_secret *secret) NEXUS_MUST_CHECK;

#endif
