/* One-time passwords by time (RFC 6238, over RFC 4226). Pure. */
#ifndef NEXUS_AUTH_TOTP_H
#define NEXUS_AUTH_TOTP_H

#include "crypto/hash.h"

#define NEXUS__TOTP_STEP_S 30
#define NEXUS__TOTP_DIGITS 6
#define NEXUS__TOTP_SEED 20 /* bytes: as many as SHA-1 has (RFC 4226, 4) */

/* The code of a step in decimal, with leading zeros and a NUL; digits 6 to 8. */
nexus_status nexus__totp_code(nexus__digest digest, nexus_slice seed, uint64_t step, int digits,
                              char out[static 9]) NEXUS_MUST_CHECK;

/*
 * NEXUS_OK when text is the code of the step of now_s, of the one before or of the one after, and that step is later than
 * last_step: *step is what becomes the last one, so that no code passes twice. NEXUS_EAUTH otherwise.
 */
nexus_status nexus__totp_check(nexus_slice seed, nexus_slice text, int64_t now_s, int64_t last_step,
                               int64_t *step) NEXUS_MUST_CHECK;

#endif
