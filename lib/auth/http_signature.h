/*
 * HTTP Message Signatures (RFC 9421) of requests and Content-Digest (RFC 9530): what was signed, and over which text.
 * Pure: bytes and `now` in, a verdict out. One signature a request; its fields must be serialized as RFC 9421 writes
 * them (one space, no more), so that the text that came is the text that was signed. Components are whole fields and the
 * derived ones of the table in the .c file, without parameters.
 */
#ifndef NEXUS_AUTH_HTTP_SIGNATURE_H
#define NEXUS_AUTH_HTTP_SIGNATURE_H

#include "auth/jose.h"

enum { NEXUS__SIGNED_COMPONENTS_MAX = 32, NEXUS__SIGNED_TIME_S = 300, NEXUS__SIGNED_BASE_MAX = 64 * 1024 };

typedef struct nexus__http_signature {
    nexus_slice label, params; /* params: all that follows "label=" */
    nexus_slice components[NEXUS__SIGNED_COMPONENTS_MAX];
    uint32_t component_count;
    bool has_created, has_expires;
    int64_t created_s, expires_s;
    nexus_slice keyid, alg, nonce, tag; /* empty = absent */
    nexus_slice signature;              /* base64 */
} nexus__http_signature;

/* A request as its signer saw it. */
typedef struct nexus__signed_request {
    nexus_slice method, scheme, authority, path, target;
    nexus_slice query; /* with its '?'; "?" when there is none (RFC 9421, 2.2.7) */
    bool has_body;
    /* The i-th line of the field; false when there are no more. The name is lower case. */
    bool (*field)(const void *user_data, nexus_slice name, uint32_t i, nexus_slice *value);
    const void *user_data;
} nexus__signed_request;

/* The values of Signature-Input and Signature; NEXUS_EINVAL says what is wrong. Borrows both. */
nexus_status nexus__http_signature_parse(nexus__http_signature *out, nexus_slice input,
                                         nexus_slice signature) NEXUS_MUST_CHECK;
/* Whether it covers what a request must be bound to, by time too; NEXUS_EAUTH. */
nexus_status nexus__http_signature_covers(const nexus__http_signature *s, const nexus__signed_request *request,
                                          int64_t now_s) NEXUS_MUST_CHECK;
/* The signature base (RFC 9421, 2.5), appended. NEXUS_EINVAL: a component that the request does not have. */
nexus_status nexus__http_signature_base(const nexus__http_signature *s, const nexus__signed_request *request,
                                        nexus__buf *out) NEXUS_MUST_CHECK;
/* Verifies the base under the key, whose algorithm decides; an "alg" that is another one is NEXUS_EAUTH. */
nexus_status nexus__http_signature_verify(const nexus__http_signature *s, const nexus__pkey *key,
                                          nexus_slice base) NEXUS_MUST_CHECK;
/* Whether the value of Content-Digest has a sha-256 or sha-512 and every one of those is the body's. */
bool nexus__content_digest_is(nexus_slice value, nexus_slice body);

#endif
