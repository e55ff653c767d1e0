/* Secrets in memory: comparing without a timing side channel, forgetting. */
#ifndef NEXUS_CRYPTO_WIPE_H
#define NEXUS_CRYPTO_WIPE_H

#include "base/str.h"

/* Equal bytes, in time that depends on n only. */
bool nexus__equal_ct(const void *a, const void *b, size_t n);
/* Equal slices; only the length leaks. */
bool nexus__slice_eq_ct(nexus_slice a, nexus_slice b);
/* Zeroes; not optimised away. NULL with n = 0 is fine. */
void nexus__wipe(void *p, size_t n);

#endif
