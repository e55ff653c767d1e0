/*
 * Tokens that end before their time: the backend tells as auth.revoked, on the bus, and each process that verifies tokens
 * follows. One thread a host, from an hour back, since a process that was away has missed what ended meanwhile; access
 * tokens live shorter than that. The same thread looks after what roles allow, which role.changed tells of.
 */
#include <nexus/stream.h>
#include <stdio.h>

#include "base/thread.h"
#include "base/time.h"
#include "service/service.h"
#include "json/read.h"

enum { BACK_S = 3600, WAIT_MS = 250, OPEN_MS = 250, AGAIN_MS = 200 };

struct nexus__revoked_feed {
    nexus__host *host;
    pthread_t thread;
    _Atomic bool stopping;
    nexus_bus *own; /* a client's handle, when the host has opened no bus itself */
    nexus_reader *reader;
    nexus__policy_feed policy;
};

/* --- one event --------------------------------------------------------------------------------------------------------- */

typedef struct revoked {
    nexus_slice kind, id;
    int64_t issued_before, expires_at;
} revoked;

static void tell(nexus_verifier *v, const revoked *r)
{
    nexus_status status = NEXUS_OK;
    if (!v)
        return;
    if (nexus__slice_eq_c(r->kind, "token"))
        status = nexus_verifier_revoke_token(v, r->id, r->expires_at);
    else if (nexus__slice_eq_c(r->kind, "subject"))
        status = nexus_verifier_revoke_subject(v, r->id, r->issued_before);
    else if (nexus__slice_eq_c(r->kind, "session"))
        status = nexus_verifier_revoke_session(v, r->id);
    else if (nexus__slice_eq_c(r->kind, "client"))
        status = nexus_verifier_revoke_client(v, r->id);
    (void)status; /* out of memory: the token ends by itself */
}

static void apply(nexus__revoked_feed *f, const nexus_event *event)
{
    nexus__json doc;
    nexus__host *h = f->host;
    int64_t version;
    revoked r = {0};
    nexus__json_init(&doc, NULL);
    bool of_role = nexus__slice_eq_c(event->type, "role.changed");
    if (of_role && nexus__json_scan(&doc, event->data, NULL) == NEXUS_OK &&
        nexus__json_get_i64(&doc, 0, "version", &version))
        nexus__policy_told(&f->policy, version);
    else if (!of_role && nexus__json_scan(&doc, event->data, NULL) == NEXUS_OK && nexus__json_get_text(&doc, 0, "kind", &r.kind) &&
        nexus__json_get_text(&doc, 0, "id", &r.id) && r.id.n > 0) {
        (void)nexus__json_get_i64(&doc, 0, "issued_before", &r.issued_before);
        (void)nexus__json_get_i64(&doc, 0, "expires_at", &r.expires_at);
        pthread_mutex_lock(&h->lock);
        tell(h->verifier, &r);
        tell(h->set_verifier, &r);
        pthread_mutex_unlock(&h->lock);
    }
    nexus__json_free(&doc);
}

/* --- following ----------------------------------------------------------------------------------------------------------- */

static nexus_bus *find_bus(nexus__revoked_feed *f)
{
    char url[NEXUS__STATE_PATH_MAX + 16];
    nexus__host *h = f->host;
    const char *setting = nexus_settings_text(h->settings, "bus_url");
    pthread_mutex_lock(&h->lock);
    nexus_bus *bus = h->bus;
    pthread_mutex_unlock(&h->lock);
    if (bus || f->own || strncmp(setting, "memory:", 7) == 0)
        return bus ? bus : f->own;
    if (!*setting)
        snprintf(url, sizeof url, "file:%s/bus", h->state_dir);
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.alloc = h->alloc;
    opts.role = NEXUS_BUS_CLIENT;
    opts.connect_timeout_ms = OPEN_MS;
    opts.timeout_ms = OPEN_MS; /* without an owner a look ends soon, and so does the server */
    return nexus_bus_open(&f->own, *setting ? setting : url, &opts) == NEXUS_OK ? f->own : NULL;
}

static nexus_status open_reader(nexus__revoked_feed *f)
{
    nexus_bus *bus = find_bus(f);
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    opts.types = "auth.revoked,role.changed";
    opts.start = NEXUS_START_TIME;
    opts.start_time_ns = nexus__real_ns() - BACK_S * NEXUS__NS_PER_S;
    return bus ? nexus_reader_open(&f->reader, bus, &opts) : NEXUS_EUNREACH;
}

static void *follow(void *arg)
{
    nexus__revoked_feed *f = arg;
    struct timespec again = {0, AGAIN_MS * NEXUS__NS_PER_MS};
    while (!atomic_load(&f->stopping)) {
        const nexus_event *event;
        nexus__policy_look(&f->policy, nexus__mono_ns());
        nexus_status status = f->reader ? NEXUS_OK : open_reader(f);
        if (status == NEXUS_OK)
            status = nexus_reader_next(f->reader, &event, WAIT_MS);
        if (status == NEXUS_OK)
            apply(f, event);
        else if (status != NEXUS_EDONE) /* the bus is away; the reader goes on where it was */
            nanosleep(&again, NULL);
    }
    nexus_reader_close(f->reader);
    nexus_bus_close(f->own);
    return NULL;
}

nexus_status nexus__revoked_feed_open(nexus__revoked_feed **out, nexus__host *host)
{
    nexus__revoked_feed *f = nexus__calloc(host->alloc, 1, sizeof *f);
    if (!f)
        return nexus__nomem();
    f->host = host;
    nexus_status status = nexus__policy_open(&f->policy, host);
    if (status == NEXUS_OK)
        status = nexus__thread_start(&f->thread, "nexus-revoked", follow, f);
    if (status == NEXUS_OK) {
        *out = f;
        return NEXUS_OK;
    }
    nexus__policy_close(&f->policy);
    nexus__free(host->alloc, f);
    return status;
}

void nexus__revoked_feed_close(nexus__revoked_feed *f)
{
    if (!f)
        return;
    atomic_store(&f->stopping, true);
    pthread_join(f->thread, NULL);
    nexus__policy_close(&f->policy);
    nexus__free(f->host->alloc, f);
}
