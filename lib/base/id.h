/* Random bytes of the operating system, and UUIDv7 (RFC 9562): ids that sort by time. */
#ifndef NEXUS_BASE_ID_H
#define NEXUS_BASE_ID_H

#include <stddef.h>
#include <stdint.h>

/* Fills from getrandom(2), through a small per-thread pool for short requests; never fails. */
void nexus__random(void *out, size_t n);
uint64_t nexus__random_u64(void);

#define NEXUS__UUID_LEN 36

/* "018f…-…-7…" and a NUL. Ids made on one thread grow strictly; between threads a quarter of
 * a microsecond decides. */
void nexus__uuid7(char out[static NEXUS__UUID_LEN + 1]);
void nexus__uuid7_bytes(uint8_t out[static 16]);
void nexus__uuid_format(const uint8_t bytes[static 16], char out[static NEXUS__UUID_LEN + 1]);

#endif
