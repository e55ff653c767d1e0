/* The ring of keys, as those who rotate it see it. */
#ifndef NEXUS_AUTH_RING_H
#define NEXUS_AUTH_RING_H

#include <nexus/secret.h>

#define NEXUS__KID_TEXT 17

/* The id of the ring's key i, 0 being the one that seals; false behind the last. */
bool nexus__secrets_kid(const nexus_secrets *s, size_t i, char out[static NEXUS__KID_TEXT]);
/* Takes a key out, durably. What it sealed is lost: look first. NEXUS_ENOTFOUND; NEXUS_ECONFLICT: it seals. */
nexus_status nexus__secrets_retire(nexus_secrets *s, const char *kid);

#endif
