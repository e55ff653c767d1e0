/* Ids that sort by time. */
#ifndef NEXUS_ID_H
#define NEXUS_ID_H

#include <nexus/common.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEXUS_ID_LEN 36 /**< bytes of a UUID as text, without the NUL */

/** Writes a new UUIDv7 (RFC 9562) and a NUL into NEXUS_ID_LEN + 1 bytes. Any thread; never fails. */
NEXUS_API void nexus_id_make(char *out);

#ifdef __cplusplus
}
#endif

#endif
