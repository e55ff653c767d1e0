/* Whom a client's certificate must come from: authorities, and lists of what they have revoked. Immutable; any thread. */
#ifndef NEXUS_CRYPTO_TRUST_H
#define NEXUS_CRYPTO_TRUST_H

#include "crypto/cert.h"

struct stack_st_X509_NAME;

typedef struct nexus__trust nexus__trust;

/*
 * ca_file: PEM certificates of authorities. crl_file: PEM revocation lists; with it every authority of a chain needs a
 * list that is not out of date, else its certificates are refused; NULL = revocation is not checked. NEXUS_EINVAL names
 * the file.
 */
nexus_status nexus__trust_open(nexus__trust **out, const nexus_alloc *alloc, const char *ca_file,
                               const char *crl_file) NEXUS_MUST_CHECK;
nexus__trust *nexus__trust_ref(nexus__trust *trust);
void nexus__trust_free(nexus__trust *trust); /* gives one reference back; NULL is fine */

/* The same for the same certificates and lists, never 0. */
uint64_t nexus__trust_id(const nexus__trust *trust);
/* Subjects of the authorities, as a TLS server names them to clients. Borrowed. */
struct stack_st_X509_NAME *nexus__trust_names(const nexus__trust *trust);

/* Chain, dates, key usage (of a TLS client) and revocation at that time. 0, or OpenSSL's X509_V_ERR_… */
int nexus__trust_judge(const nexus__trust *trust, nexus__cert *cert, int64_t now_s);
/* The same, remembering in the certificate who found it good: then only its own dates are looked at again. NEXUS_EAUTH says
 * what is wrong. */
nexus_status nexus__trust_check(const nexus__trust *trust, nexus__cert *cert, int64_t now_s) NEXUS_MUST_CHECK;

#endif
