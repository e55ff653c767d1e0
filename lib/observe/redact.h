/* What a log line must not show: values under the names of credentials, and credentials inside texts. Pure. */
#ifndef NEXUS_OBSERVE_REDACT_H
#define NEXUS_OBSERVE_REDACT_H

#include "base/buf.h"

#define NEXUS__REDACTED "[redacted]"

/* Whether a value of this name is a credential: case, '-' and '_' do not matter. */
bool nexus__redact_name(nexus_slice name);

/* Appends text with its credentials replaced: after "Bearer " and "Basic ", compact JWS, whsec_ secrets, the
 * password of a URL, and name=value or "name":"value" where the name is a credential's. */
void nexus__redact_append(nexus__buf *out, nexus_slice text);

#endif
