/* The front door: routes everything to the services behind it. */
#ifndef SERVERS_GATEWAY_GATEWAY_H
#define SERVERS_GATEWAY_GATEWAY_H

#include <pthread.h>

#include <nexus/nexus.h>

extern const nexus_service_module gateway_module;

typedef struct gateway_change gateway_change; /* health.c */
typedef struct gateway_docs gateway_docs;     /* docs.c */

typedef struct gateway {
    nexus_service *service;
    nexus_gateway *gateway;
    nexus_server *admin;
    char *token; /* bearer of the admin API */
    gateway_docs *docs;
    nexus_key *identity; /* NULL = identities are not signed */
    nexus_keyset *signature_keys; /* NULL = nobody signs requests */
    nexus_oidc *oidc;    /* NULL = nobody signs in with a provider */
    nexus_secrets *login_secrets; /* seal its cookies */
    nexus_ring_calls login_ring;
    const char *login_cookie, *login_state_cookie; /* with oidc */
    bool login_secure;
    nexus_introspector *introspector; /* NULL = tokens are not asked for */
    struct {
        nexus_client *client; /* asks the backend */
        nexus_db *db;         /* or is asked itself */
        nexus_secrets *secrets; /* then */
        nexus_apikeys *keys;
        nexus_apikey_verifier *verifier;
    } apikeys;
    pthread_mutex_t lock;
    pthread_cond_t told;
    gateway_change *changes; /* locked: of health, the oldest first, that are yet to be published */
    bool telling;            /* locked: a worker publishes them */
    bool closing;            /* locked */
} gateway;

/* routes.c: the routes of the topology when no file is given. Free *out with free(). */
nexus_status gateway_default_routes(char **out, size_t *n, const nexus_service *service);

/* identity.c: reads the key that gateway_identity_key names, if any. */
nexus_status gateway_identity_open(gateway *g);
/* signatures.c: reads the keys that gateway_signature_keys names, if any. */
nexus_status gateway_signatures_open(gateway *g);

/* login.c: sign-in with a provider, if gateway_login_issuer names one. */
nexus_status gateway_login_open(gateway *g);
/* apikeys.c: who tells what an API key is good for. Ends in two steps, before and after the gateway. */
nexus_status gateway_apikeys_open(gateway *g);
void gateway_apikeys_end(gateway *g);
void gateway_apikeys_close(gateway *g);

/* secrets.c: the keys of its cookies */
enum { GATEWAY_SESSION_S = 8 * 3600 };
nexus_status gateway_secrets_routes(gateway *g);

/* audit.c */
nexus_status gateway_audit_open(gateway *g);
/* Records what is about to be done; false: it could not, and the request is answered. */
bool gateway_audited(gateway *g, nexus_request *request, const char *what);
/* Counts who came to the admin API without its token. Never blocks. */
void gateway_audit_stranger(gateway *g, const nexus_request *request);
/* And that it was refused, or failed, after all; before the request is answered. */
void gateway_audit_refused(gateway *g, nexus_request *request, const char *what, nexus_status status, const char *why);

/* admin.c: its own listener, on this machine only. */
nexus_status gateway_admin_open(gateway *g);

typedef struct gateway_admin_route {
    const char *method, *path, *id, *summary;
    nexus_handler_fn *fn; /* with the gateway */
} gateway_admin_route;
nexus_status gateway_admin_add(gateway *g, const gateway_admin_route *rows, size_t n);
/* admin_edit.c: its part that changes things. */
nexus_status gateway_admin_edit_routes(gateway *g);
/* admin_versions.c: its report of old versions. */
nexus_status gateway_admin_versions_routes(gateway *g);

/* registry.c: its part for instances of services. */
nexus_status gateway_registry_routes(gateway *g);

/* docs.c: one description of all services, and where it is. */
nexus_status gateway_docs_open(gateway *g);
void gateway_docs_close(gateway *g); /* when no job runs any more */

/* health.c: tells the bus that a service changed its state. */
void gateway_on_health(const char *upstream, const char *target, bool up, const char *reason, void *user_data);
void gateway_health_end(gateway *g); /* waits for the one that is being published and drops the rest; when no more may come */

#endif
