/*
 * What roles allow, in a process without the database they are in: the backend gives all roles out as one document, which is
 * fetched at the start, when an event says that a role changed, and each few seconds, for the day the bus is away.
 */
#include <nexus/roles.h>
#include <stdio.h>

#include "auth/jwks.h"
#include "base/status.h"
#include "base/time.h"
#include "service/service.h"
#include "json/read.h"

enum { AGAIN_S = 5, FIRST_PAUSE_MS = 100, FETCH_MS = 1000, REPLY_MAX = 16 * 1024 * 1024 };

static void put_in_place(nexus__host *h, const nexus_rbac *policy, bool given)
{
    pthread_mutex_lock(&h->lock);
    nexus_rbac *old = NULL;
    if (given || !h->policy_given) {
        old = h->policy;
        h->policy = nexus_rbac_ref(policy);
        h->policy_whole = true;
        h->policy_given = given;
    }
    pthread_mutex_unlock(&h->lock);
    nexus_rbac_free(old);
}

void nexus_service_set_policy(nexus_service *service, const nexus_rbac *policy)
{
    if (policy) {
        put_in_place(service->host, policy, true);
        return;
    }
    pthread_mutex_lock(&service->host->lock);
    service->host->policy_given = false; /* what is there stays until another one comes */
    pthread_mutex_unlock(&service->host->lock);
}

/* --- fetching ------------------------------------------------------------------------------------------------------ */

nexus_status nexus__policy_open(nexus__policy_feed *f, nexus__host *h)
{
    char url[600];
    const char *setting = nexus_settings_text(h->settings, "roles_url");
    nexus_client_opts opts = NEXUS_CLIENT_OPTS_INIT;
    *f = (nexus__policy_feed){.host = h, .version = -1};
    opts.alloc = h->alloc;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/internal/v1/roles",
             (int)nexus_settings_int(h->settings, "port_base") + NEXUS__BACKEND_OFFSET);
    if (*setting && !nexus__issuer_url_allowed(setting))
        return nexus__fail(NEXUS_EINVAL, "roles_url: \"%s\" must be https, unless loopback", setting);
    f->url = nexus__strndup(h->alloc, nexus__slice_c(*setting ? setting : url));
    return f->url ? nexus_client_open(&f->client, NULL, &opts) : nexus__nomem();
}

void nexus__policy_close(nexus__policy_feed *f)
{
    nexus_client_close(f->client);
    nexus__free(f->host->alloc, f->url);
}

static nexus_status take(nexus__policy_feed *f, nexus_slice document)
{
    nexus__json doc;
    nexus_rbac *policy;
    int64_t version = 0;
    nexus__json_init(&doc, NULL);
    nexus_status status = nexus__json_scan(&doc, document, NULL);
    if (status == NEXUS_OK)
        (void)nexus__json_get_i64(&doc, 0, "version", &version);
    nexus__json_free(&doc);
    if (status == NEXUS_OK)
        status = nexus_roles_compile(&policy, document);
    if (status != NEXUS_OK)
        return status;
    put_in_place(f->host, policy, false);
    nexus_rbac_free(policy);
    f->version = version;
    return NEXUS_OK;
}

/* 204: it is the version we have. */
static nexus_status fetch_policy(nexus__policy_feed *f)
{
    char url[640], bearer[128];
    nexus_slice body;
    nexus_reply *reply;
    nexus_fetch fetch = NEXUS_FETCH_INIT;
    int n = snprintf(url, sizeof url, "%s?have=%lld", f->url, (long long)f->version);
    int m = snprintf(bearer, sizeof bearer, "Bearer %s", f->host->admin_token);
    nexus_pair header = {NEXUS_S("Authorization"), nexus__slice(bearer, (size_t)m)};
    fetch.url = nexus__slice(url, (size_t)n);
    fetch.headers = &header;
    fetch.header_count = 1;
    fetch.timeout_ms = FETCH_MS;
    fetch.reply_max_bytes = REPLY_MAX;
    nexus_status status = nexus_client_fetch(f->client, &fetch, &reply);
    if (status != NEXUS_OK)
        return status;
    nexus_reply_body(reply, &body);
    uint16_t code = nexus_reply_status(reply);
    status = code == 200 ? take(f, body) : code == 204 ? NEXUS_OK : NEXUS_EUNREACH;
    nexus_reply_free(reply);
    return status;
}

static bool is_given(nexus__host *h)
{
    pthread_mutex_lock(&h->lock);
    bool given = h->policy_given;
    pthread_mutex_unlock(&h->lock);
    return given;
}

void nexus__policy_look(nexus__policy_feed *f, int64_t now_ns)
{
    const int64_t again = AGAIN_S * NEXUS__NS_PER_S;
    if (now_ns < f->due_ns || is_given(f->host))
        return;
    bool good = fetch_policy(f) == NEXUS_OK && f->version >= f->wanted;
    f->pause_ns = good ? 0 : f->pause_ns ? f->pause_ns * 2 : FIRST_PAUSE_MS * NEXUS__NS_PER_MS;
    f->pause_ns = f->pause_ns > again ? again : f->pause_ns;
    f->due_ns = now_ns + (good ? again : f->pause_ns);
}

void nexus__policy_told(nexus__policy_feed *f, int64_t version)
{
    if (version <= f->wanted)
        return;
    f->wanted = version;
    if (version > f->version)
        f->due_ns = f->pause_ns = 0;
}
