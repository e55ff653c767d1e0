/*
 * Authenticators: the words of a route's "auth" expression. One ops table each, in a file of its own, and one row in
 * auth/table.c. What they say is judged by the expression; the filter `auth` (filters/auth.c) asks, waits and refuses.
 */
#ifndef NEXUS_GATEWAY_AUTH_AUTHENTICATOR_H
#define NEXUS_GATEWAY_AUTH_AUTHENTICATOR_H

#include "gateway/auth/expression.h"
#include "gateway/gateway.h"

/* What is said to who is not let in. All borrowed until the call ends. */
typedef struct nexus__gw_refusal {
    uint16_t status;
    const char *code, *detail;
    const char *challenge; /* WWW-Authenticate; NULL = none */
    const char *location;  /* of a redirect; NULL = none */
} nexus__gw_refusal;

typedef struct nexus__gw_authenticator {
    const char *name;      /* its word */
    const char *challenge; /* of the 401 to who brings no credentials; NULL = they are nothing one sends */
    bool identifies;       /* a YES has a principal */
    /* Judges the route when it is read, value is the expression; NULL = nothing to judge. */
    nexus_status (*check)(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route);
    /* Whether this gateway can do it; NULL = any can. */
    nexus_status (*open)(nexus_gateway *g, const nexus__gw_route_conf *route);
    /* On the loop. YES: *principal is the asker's, or NULL when this tells nobody apart. Others: *refusal, kept as it is
     * when there is nothing particular to say. LATER: nexus__call_wait was called, nexus__auth_answered follows. */
    nexus__auth_answer (*ask)(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal);
} nexus__gw_authenticator;

/* All there are; NULL at the end. */
extern const nexus__gw_authenticator *const nexus__gw_authenticators[];

extern const nexus__gw_authenticator nexus__gw_auth_jwt, nexus__gw_auth_api_key, nexus__gw_auth_ip, nexus__gw_auth_ext,
    nexus__gw_auth_oidc, nexus__gw_auth_introspect, nexus__gw_auth_signature, nexus__gw_auth_client_cert,
    nexus__gw_auth_anonymous;

/* What one call's questions have come to. */
struct nexus__gw_auth {
    const struct nexus__gw_auth_conf *conf;
    nexus__auth_answer answers[NEXUS__AUTH_TERMS_MAX];
    nexus_principal *principals[NEXUS__AUTH_TERMS_MAX];
    const nexus__gw_refusal *refusals[NEXUS__AUTH_TERMS_MAX];
    uint8_t asking; /* whose answer follows */
    bool waited;    /* for keys: once is enough */
};

/* What "auth" says. */
typedef struct nexus__gw_auth_conf {
    nexus_slice text;
    nexus__auth_expression expression;
    const nexus__gw_authenticator *terms[NEXUS__AUTH_TERMS_MAX];
} nexus__gw_auth_conf;

/* After LATER, on the loop and after nexus__call_woken: the answer of who was asked. */
void nexus__auth_answered(nexus__call *call, nexus__auth_answer answer, nexus_principal *principal,
                          const nexus__gw_refusal *refusal);
/* The same question again, to one who had to wait before he could look at it. */
void nexus__auth_ask_again(nexus__call *call);

/* Whether the route's expression has the authenticator; then the filter of the same name does not run by itself. */
bool nexus__gw_auth_names(const nexus__gw_route_conf *route, const nexus__gw_authenticator *authenticator);
/* jwt.c: the bearer token that was sent, or empty; *refusal when what was sent must not be used. */
nexus_slice nexus__gw_bearer(nexus_request *request, const nexus__gw_refusal **refusal);
/* client_cert.c: SHA-256 of the certificate that the client proved to have, for tokens that are bound to it; NULL = none. */
const uint8_t *nexus__gw_cert_sha256(const nexus_request *request);
/* Answers with the refusal, and ends the call: ANSWERED. */
nexus__gw_verdict nexus__gw_refuse(nexus__call *call, const nexus__gw_refusal *refusal);
/* Whether the caller is somebody: false for nobody and for the named principal anonymous. */
bool nexus__gw_auth_known(const nexus__call *call);

#endif
