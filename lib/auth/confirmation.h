/* What a token says of who may use it: the claim cnf (RFC 7800; x5t#S256 of RFC 8705, 3.1). */
#ifndef NEXUS_AUTH_CONFIRMATION_H
#define NEXUS_AUTH_CONFIRMATION_H

#include <nexus/jwt.h>

#include "base/str.h"

enum nexus__confirmation_kind {
    NEXUS__CONFIRM_NONE,   /* whoever has the token */
    NEXUS__CONFIRM_CERT,   /* who has the key of this certificate */
    NEXUS__CONFIRM_UNKNOWN /* who proves something that is not understood here: nobody */
};

typedef struct nexus__confirmation {
    enum nexus__confirmation_kind kind;
    uint8_t sha256[32]; /* of the certificate's DER */
} nexus__confirmation;

void nexus__confirmation_read(nexus__confirmation *out, const nexus_claims *claims);
/* sha256: of the certificate that the caller proved to have; NULL = none. NEXUS_EAUTH: the token is not his. Pure. */
nexus_status nexus__confirmation_check(const nexus__confirmation *c, const uint8_t *sha256) NEXUS_MUST_CHECK;

#endif
