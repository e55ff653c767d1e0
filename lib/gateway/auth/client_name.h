/* Names of certificates that a route lets in. Pure. */
#ifndef NEXUS_GATEWAY_AUTH_CLIENT_NAME_H
#define NEXUS_GATEWAY_AUTH_CLIENT_NAME_H

#include "crypto/cert.h"

/* Beside the kinds of subjectAltName (enum nexus__cert_name_kind). */
enum { NEXUS__CLIENT_SUBJECT = 16, NEXUS__CLIENT_SHA256 = 17 };

typedef struct nexus__client_name {
    uint32_t kind;
    nexus_slice text;   /* without its kind */
    uint8_t sha256[32]; /* of that kind */
} nexus__client_name;

/* "dns", "uri", "email", "ip", "subject", "sha256"; false: none of these. */
bool nexus__client_kind(nexus_slice word, uint32_t *out);

/*
 * "KIND:TEXT": a dns name (or "*." and one: a single label in its place), a URI (a final "*" stands for any rest), an email
 * or address, a subject as RFC 4514 writes it, the SHA-256 of the certificate in hex. False: *why (static) says why not.
 */
bool nexus__client_name_parse(nexus__client_name *out, nexus_slice text, const char **why);

/* The certificate's name that meets the pattern; an empty one (p NULL): it has none. */
nexus_slice nexus__client_name_find(const nexus__client_name *pattern, const nexus__cert *cert);

/* What names the certificate's owner: its first name of that kind, its subject, or the hex of its SHA-256, which goes to
 * hex. Empty (p NULL): it has none. */
nexus_slice nexus__client_name_of(const nexus__cert *cert, uint32_t kind, char hex[static 65]);

#endif
