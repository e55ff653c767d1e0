#ifndef NEXUS_AUTH_VERIFIER_PRIVATE_H
#define NEXUS_AUTH_VERIFIER_PRIVATE_H

#include <nexus/verifier.h>

/* Whose tokens it takes; borrowed. */
const char *nexus__verifier_issuer(const nexus_verifier *verifier);

#endif
