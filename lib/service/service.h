/*
 * A service inside. A host is what services of one process share; it is counted by its services and ends with the
 * last. Fields are grouped by who may touch them.
 */
#ifndef NEXUS_SERVICE_SERVICE_H
#define NEXUS_SERVICE_SERVICE_H

#include <nexus/bus.h>
#include <nexus/cache.h>
#include <nexus/client.h>
#include <nexus/db.h>
#include <nexus/http.h>
#include <nexus/limit.h>
#include <nexus/openapi.h>
#include <nexus/rbac.h>
#include <nexus/service.h>
#include <nexus/trace.h>
#include <nexus/verifier.h>

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "service/settings.h"

#define NEXUS__STATE_PATH_MAX 4000
#define NEXUS__BACKEND_OFFSET 1 /* its port, from port_base */

typedef struct nexus__revoked_feed nexus__revoked_feed;
typedef struct nexus__trail nexus__trail;

typedef struct nexus__host {
    const nexus_alloc *alloc;
    const nexus_settings *settings;
    char *state_dir; /* absolute */
    char *issuer, *jwks_url, *admin_token;
    bool dev, exclusive;
    int lock_fd, wake; /* $STATE/lock; an eventfd that run waits on */
    nexus_log *log;
    nexus_runtime *runtime;
    nexus_memory *memory;            /* of connections and requests of all services */
    _Atomic int stop, reload, cycle; /* set by signal handlers */
    pthread_mutex_t lock;            /* guards what follows */
    uint32_t refs;
    nexus__list services; /* in order of opening */
    nexus_client *client;
    nexus_limiter *limiter;
    nexus_verifier *verifier;     /* our own, from the published keys */
    nexus_verifier *set_verifier; /* what a service brought; borrowed */
    nexus_rbac *policy;           /* what roles allow */
    bool policy_whole;            /* no longer the built-in one */
    bool policy_given;            /* by a service of the process */
    nexus__revoked_feed *revoked; /* since the first start */
    pthread_mutex_t bus_lock;     /* guards what follows; held while a bus is dialled, which may take seconds */
    nexus_bus *bus;
    const struct nexus_service *bus_opener; /* whose tracer and metrics it has */
} nexus__host;

typedef struct nexus__job {
    nexus__list node;
    nexus_service *service;
    const char *name;
    nexus_service_job_fn *fn;
    void *user_data;
    uint32_t interval_ms;
    nexus_timer *timer; /* loop 0's */
    bool busy;          /* with a worker; under the service's lock */
} nexus__job;

typedef struct nexus__check {
    nexus__list node;
    const char *name;
    nexus_service_check_fn *fn;
    void *user_data;
} nexus__check;

/* A series of the request histogram, found by what a request has at hand. */
typedef struct nexus__request_series {
    _Atomic(nexus_metric *) metric; /* NULL: free */
    const nexus_route *route;
    uint32_t key; /* method and status */
} nexus__request_series;

enum { NEXUS__REQUEST_SERIES_MAX = 512 };

struct nexus_service {
    const nexus_alloc *alloc;
    nexus__host *host;
    const nexus_service_module *module;
    void *mounted;
    nexus_log *log;
    nexus_metrics *metrics;
    nexus_metric_family *requests;
    nexus_server *server;
    int lock_fd;
    int64_t opened_ns;
    struct {
        nexus_log *log;  /* NULL: none */
        nexus_log *own;  /* the same, when it is a file of its own */
        uint32_t share;  /* of the requests that went well, how many of 10,000 */
    } access;
    struct {
        nexus_tracer *tracer; /* NULL: spans stay here */
        char url[512];
        bool failing; /* the tracer's thread */
    } trace;
    struct {
        nexus_metric *log_dropped, *access_dropped, *spans[3];
    } observed;
    bool needs_keys; /* a route of the module wants a token */
    bool administers; /* it has the administration, or passes it on */
    _Atomic bool ready, draining;
    _Atomic uint16_t port;
    nexus__list node;       /* of host->services */
    nexus_openapi *openapi; /* of all routes; made at start */
    pthread_mutex_t lock;   /* guards what follows */
    char *document;         /* what /api/openapi.json shows instead; NULL = the own one */
    size_t document_len;
    pthread_cond_t idle;    /* a job has ended, or the timers are gone */
    nexus__list jobs, reloads, checks;
    bool started, jobs_stopping, jobs_stopped;
    nexus_db *db;
    nexus_cache *cache;
    nexus__trail *trail; /* NULL: it has no audit trail; set while mounting */
    nexus__request_series series[NEXUS__REQUEST_SERIES_MAX];
};

/* host.c */
nexus_status nexus__host_open(nexus__host **out, const nexus_service_opts *opts);
void nexus__host_ref(nexus__host *host);
void nexus__host_unref(nexus__host *host);
void nexus__host_drop_tracer(nexus__host *host, const nexus_service *service); /* before its tracer closes */

/* state.c */
nexus_status nexus__state_dir(char **out, const nexus_alloc *alloc, const nexus_settings *settings);
nexus_status nexus__state_lock(int *fd, const char *state_dir, bool exclusive);
nexus_status nexus__service_lock(int *fd, const char *state_dir, const char *service);
nexus_status nexus__state_secret(char **out, const char *state_dir, const char *file, size_t bytes);

/* request.c: filters and the logger that every request passes */
nexus_status nexus__request_hooks(nexus_service *service);
bool nexus__request_is_operator(const nexus_service *service, const nexus_request *request); /* holds admin.token */

/* Who asks, once the token was looked at; NULL: nobody. */
const nexus_principal *nexus__request_principal(const nexus_request *request);
nexus_service *nexus__request_service(const nexus_request *request);

/* authorize.c: what a token may do; NEXUS_OK, NEXUS_EPERM or NEXUS_EAGAIN. */
nexus_status nexus__authorize(nexus__host *host, const nexus_principal *principal, nexus_slice permission,
                              nexus_slice tenant, nexus_slice owner);
bool nexus__lacks_scope(const nexus_principal *principal);

/* policy.c: fetches the policy from the backend when it is time to; one thread, between nexus__policy_open and _close. */
typedef struct nexus__policy_feed {
    nexus__host *host;
    nexus_client *client;
    char *url;
    int64_t due_ns, pause_ns, version, wanted; /* wanted: the newest that an event told of */
} nexus__policy_feed;
nexus_status nexus__policy_open(nexus__policy_feed *feed, nexus__host *host);
void nexus__policy_close(nexus__policy_feed *feed);
void nexus__policy_look(nexus__policy_feed *feed, int64_t now_ns);
void nexus__policy_told(nexus__policy_feed *feed, int64_t version);

/* observe.c: access log and spans. Before anything serves; closed after it. */
nexus_status nexus__observe_open(nexus_service *service);
void nexus__observe_close(nexus_service *service);

/* endpoint.c, docs.c: the routes that every service has */
nexus_status nexus__endpoint_mount(nexus_service *service);
nexus_status nexus__docs_mount(nexus_service *service);
nexus_status nexus__docs_finish(nexus_service *service); /* all routes are there: document and validation */

/* audit.c: notes an answer of 401 or 403 in the service's trail, if it has one; and ends that. */
void nexus__trail_refused(nexus_service *service, const nexus_request *request, nexus_slice subject, nexus_slice route);
void nexus__trail_close(nexus_service *service);

/* job.c */
/* revocation.c: follows auth.revoked on the bus for the host's verifiers, until closed. */
nexus_status nexus__revoked_feed_open(nexus__revoked_feed **out, nexus__host *host);
void nexus__revoked_feed_close(nexus__revoked_feed *feed);

nexus_status nexus__jobs_start(nexus_service *service);
void nexus__jobs_stop(nexus_service *service);
void nexus__jobs_free(nexus_service *service);
void nexus__reload(nexus_service *service);

/* port.c: "nexus-gateway (pid 123)" for the listener of a port, or "" */
void nexus__port_holder(uint16_t port, char *out, size_t cap);

#endif
