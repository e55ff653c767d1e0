/*
 * X.509 certificates of clients: what one says of whom it belongs to. OpenSSL reads and verifies (crypto/trust.h); what
 * cannot be told as plain text is refused as a whole, so that no later comparison of names can be led astray by a NUL.
 */
#ifndef NEXUS_CRYPTO_CERT_H
#define NEXUS_CRYPTO_CERT_H

#include <nexus/alloc.h>
#include <nexus/status.h>
#include <stdatomic.h>

#include "base/arena.h"

struct x509_st;       /* OpenSSL's X509 */
struct stack_st_X509; /* STACK_OF(X509) */

enum nexus__cert_name_kind { NEXUS__CERT_DNS, NEXUS__CERT_URI, NEXUS__CERT_EMAIL, NEXUS__CERT_IP };

typedef struct nexus__cert_name {
    enum nexus__cert_name_kind kind;
    nexus_slice text; /* visible ASCII; an address in its usual form */
} nexus__cert_name;

enum { NEXUS__CERT_NAMES_MAX = 64, NEXUS__CERT_CHAIN_MAX = 8, NEXUS__CERT_DER_MAX = 16384, NEXUS__CERT_SHA256 = 32 };

/* A certificate and those that were sent beside it. Immutable but for trusted_by; counted; any thread. */
typedef struct nexus__cert {
    atomic_uint refs;
    const nexus_alloc *alloc;
    struct x509_st *x509;
    struct stack_st_X509 *sent; /* beside it; NULL = none */
    nexus_slice der, subject;   /* the subject as RFC 4514 has it, ASCII */
    uint8_t sha256[NEXUS__CERT_SHA256];
    int64_t not_before_s, not_after_s;
    size_t name_count, chain_count;
    nexus__cert_name names[NEXUS__CERT_NAMES_MAX]; /* subjectAltName, but for kinds that we do not know */
    nexus_slice chain[NEXUS__CERT_CHAIN_MAX];      /* DER of those in sent */
    _Atomic uint64_t trusted_by;                   /* nexus__trust_id of who found it good last; 0 = nobody yet */
    nexus__arena arena; /* of all texts */
} nexus__cert;

/* From DER, and that of n others that were sent beside it. NEXUS_EINVAL says what cannot be read or told as text. */
nexus_status nexus__cert_parse(nexus__cert **out, const nexus_alloc *alloc, nexus_slice der, const nexus_slice *chain,
                               size_t n) NEXUS_MUST_CHECK;
/* From what OpenSSL holds already; both are borrowed for the call. The certificate itself may be among sent. */
nexus_status nexus__cert_of_x509(nexus__cert **out, const nexus_alloc *alloc, struct x509_st *x509,
                                 struct stack_st_X509 *sent) NEXUS_MUST_CHECK;
nexus__cert *nexus__cert_ref(nexus__cert *cert);
void nexus__cert_free(nexus__cert *cert); /* gives one reference back; NULL is fine */

/* Whether it is good at that time as far as its own dates say. */
bool nexus__cert_is_current(const nexus__cert *cert, int64_t now_s);
/* "dns", "uri", "email", "ip" */
const char *nexus__cert_kind_name(enum nexus__cert_name_kind kind);
/* Whether it is that name. DNS: any case; email: any case behind the "@"; an address in any form. */
bool nexus__cert_name_is(const nexus__cert_name *name, nexus_slice text);
/* Whether subjectAltName has the name. */
bool nexus__cert_has_name(const nexus__cert *cert, enum nexus__cert_name_kind kind, nexus_slice text);

#endif
