/*
 * The audit trail of a service: $STATE/audit/<service>, what is denied in it, and its records on the bus. Those go out behind
 * the writing, from where the file <service>.published says, with ids made of the records: what goes out twice is stored once.
 */
#include <errno.h>
#include <fcntl.h>
#include <nexus/event.h>
#include <nexus/gateway.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/audit/audit.h"
#include "base/status.h"
#include "base/time.h"
#include "json/read.h"
#include "json/write.h"
#include "service/denials.h"
#include "service/service.h"

/* Without an owner of the bus an attempt ends soon, and so does the server; the next one waits a little. */
enum { UPKEEP_MS = 1000, BATCH = 100, OPEN_MS = 250, PUBLISH_MS = 1000, AGAIN_S = 5 };

struct nexus__trail {
    nexus_service *service;
    nexus_audit *audit;
    pthread_mutex_t lock;
    nexus__denials denials; /* under the lock */
    struct {                /* the job's own */
        bool loaded, failing;
        int64_t again_ns;
        nexus_bus *own; /* a client's handle, when the host has opened no bus itself */
        uint64_t done; /* number of the last record that is on the bus */
    } published;
};

static void complain(const nexus__trail *t, const char *what)
{
    nexus_log_printf(t->service->log, NEXUS_LOG_ERROR, "audit", NULL, "%s: %s", what, nexus_error_message());
}

/* --- what is denied -------------------------------------------------------------------------------------------------- */

static void record_denial(const nexus__trail *t, const nexus__denial *d)
{
    char detail[128];
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    snprintf(detail, sizeof detail, "reason=%s count=%llu", d->reason, (unsigned long long)d->count);
    r.actor = nexus__slice_c(d->actor);
    r.action = nexus__slice_c(d->action);
    r.object = nexus__slice_c(d->object);
    r.outcome = NEXUS_S("denied");
    r.ip = nexus__slice_c(d->ip);
    r.request_id = nexus__slice_c(d->request_id);
    r.detail = nexus__slice_c(detail);
    if (nexus_audit_write(t->audit, &r, NULL) != NEXUS_OK)
        complain(t, "what was denied is not recorded");
}

static void record_denials(nexus__trail *t, bool last)
{
    nexus__denial *due = nexus__calloc(t->service->alloc, NEXUS__DENIALS_MAX + 1, sizeof *due);
    if (!due)
        return;
    pthread_mutex_lock(&t->lock);
    size_t n = nexus__denials_due(&t->denials, nexus__mono_ns(), last, due);
    pthread_mutex_unlock(&t->lock);
    for (size_t i = 0; i < n; i++)
        record_denial(t, &due[i]);
    nexus__free(t->service->alloc, due);
}

static void copy(char *out, size_t cap, nexus_slice text)
{
    snprintf(out, cap, "%.*s", (int)(text.n < cap ? text.n : cap - 1), text.p ? text.p : "");
}

void nexus_service_denied(nexus_service *service, const nexus_audit_record *r)
{
    nexus__trail *t = service->trail;
    nexus__denial d = {.count = 0};
    if (!t || !r || r->size != sizeof *r)
        return;
    copy(d.actor, sizeof d.actor, r->actor);
    copy(d.action, sizeof d.action, r->action);
    copy(d.object, sizeof d.object, r->object);
    copy(d.ip, sizeof d.ip, r->ip);
    copy(d.request_id, sizeof d.request_id, r->request_id);
    copy(d.reason, sizeof d.reason, r->detail);
    pthread_mutex_lock(&t->lock);
    nexus__denials_add(&t->denials, &d);
    pthread_mutex_unlock(&t->lock);
}

void nexus__trail_refused(nexus_service *s, const nexus_request *request, nexus_slice subject, nexus_slice route)
{
    char object[161];
    nexus_slice method;
    nexus_gateway_seen seen = NEXUS_GATEWAY_SEEN_INIT;
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    r.detail = nexus__slice_c(nexus_request_problem_code(request));
    if (r.detail.n == 0) /* an upstream's answer, which is its own to record */
        return;
    if (nexus_gateway_seen_get(request, &seen)) {
        route = seen.route.n ? seen.route : route;
        subject = subject.n ? subject : seen.user;
    }
    nexus_request_method(request, &method);
    snprintf(object, sizeof object, "%.*s %.*s", (int)method.n, method.p, (int)route.n, route.p);
    r.actor = subject;
    r.action = NEXUS_S("access.denied");
    r.object = nexus__slice_c(object);
    nexus_request_remote_ip(request, &r.ip);
    nexus_request_id(request, &r.request_id);
    nexus_service_denied(s, &r);
}

/* --- on the bus ------------------------------------------------------------------------------------------------------ */

static void cursor_path(const nexus__trail *t, char out[static NEXUS__STATE_PATH_MAX + 128])
{
    snprintf(out, NEXUS__STATE_PATH_MAX + 128, "%s/audit/%s.published", t->service->host->state_dir,
             t->service->module->name);
}

static void load_cursor(nexus__trail *t)
{
    char path[NEXUS__STATE_PATH_MAX + 128], *text;
    size_t n;
    cursor_path(t, path);
    t->published.loaded = true;
    if (nexus__file_read(t->service->alloc, path, 64, &text, &n) != NEXUS_OK)
        return; /* the first time; or they go out once more */
    t->published.done = strtoull(text, NULL, 10);
    nexus__free(t->service->alloc, text);
}

static void store_cursor(const nexus__trail *t)
{
    char path[NEXUS__STATE_PATH_MAX + 128], fresh[NEXUS__STATE_PATH_MAX + 136], text[24];
    cursor_path(t, path);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)t->published.done);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool fine = fd >= 0 && write(fd, text, (size_t)n) == n;
    if (fd >= 0)
        close(fd);
    if (fine)
        (void)!rename(fresh, path);
}

/* "audit.user" of "user.login"; id: service, number, and the beginning of the record's hash. */
static nexus_status add_event(const nexus__trail *t, nexus__json *doc, uint32_t item, nexus_event *event, nexus__buf *texts)
{
    char hash[NEXUS__AUDIT_HASH_TEXT];
    nexus_slice action = {"", 0}, raw = nexus__json_raw(doc, item);
    uint64_t seq = 0;
    size_t type_at, id_at, source_at, subject_at;
    (void)nexus__json_get_text(doc, item, "action", &action);
    (void)nexus__json_u64(doc, nexus__json_get(doc, item, "seq"), &seq);
    nexus_status status = nexus__audit_hash(raw, hash);
    if (status != NEXUS_OK)
        return status;
    const char *service = t->service->module->name;
    nexus_slice family = nexus__slice_cut(&action, '.');
    type_at = texts->len;
    nexus__buf_printf(texts, "audit.%.*s", (int)family.n, family.p);
    id_at = texts->len;
    nexus__buf_printf(texts, "%s.%llu.%.16s", service, (unsigned long long)seq, hash);
    source_at = texts->len;
    nexus__buf_printf(texts, "/nexus/%s", service);
    subject_at = texts->len;
    nexus__buf_printf(texts, "audit-%s", service);
    if (texts->status != NEXUS_OK)
        return nexus__nomem();
    *event = (nexus_event)NEXUS_EVENT_INIT;
    event->type = nexus__slice(texts->p + type_at, id_at - type_at);
    event->id = nexus__slice(texts->p + id_at, source_at - id_at);
    event->source = nexus__slice(texts->p + source_at, subject_at - source_at);
    event->subject = nexus__slice(texts->p + subject_at, texts->len - subject_at);
    event->data = raw;
    return NEXUS_OK;
}

typedef struct page {
    size_t n;
    nexus_event events[BATCH];
    nexus__buf texts[BATCH];
    uint64_t seqs[BATCH];
} page;

static nexus_status fill_page(const nexus__trail *t, nexus__json *doc, page *p)
{
    nexus_status status = NEXUS_OK;
    uint32_t items = nexus__json_get(doc, 0, "items");
    for (nexus__json_iter it = nexus__json_each(doc, items);
         status == NEXUS_OK && p->n < BATCH && nexus__json_step(doc, &it);) {
        (void)nexus__json_u64(doc, nexus__json_get(doc, it.value, "seq"), &p->seqs[p->n]);
        nexus__buf_init(&p->texts[p->n], t->service->alloc, 0);
        status = add_event(t, doc, it.value, &p->events[p->n], &p->texts[p->n]);
        p->n++;
    }
    return status;
}

/* All at once; when one of them is refused, each for itself: it must not hold up the others. *done is the last. */
static nexus_status publish_events(const nexus__trail *t, nexus_bus *bus, const page *p, uint64_t *done)
{
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    opts.timeout_ms = PUBLISH_MS;
    nexus_status status = p->n ? nexus_bus_publish(bus, p->events, p->n, &opts, NULL) : NEXUS_OK;
    if (status == NEXUS_OK && p->n)
        *done = p->seqs[p->n - 1];
    if (status != NEXUS_ECONFLICT && status != NEXUS_EINVAL)
        return status;
    status = NEXUS_OK;
    for (size_t i = 0; i < p->n && status == NEXUS_OK; i++) {
        status = nexus_bus_publish(bus, &p->events[i], 1, &opts, NULL);
        if (status == NEXUS_ECONFLICT || status == NEXUS_EINVAL) {
            complain(t, "a record is not on the bus");
            status = NEXUS_OK;
        }
        if (status == NEXUS_OK)
            *done = p->seqs[i];
    }
    return status;
}

static nexus_status publish_page(const nexus__trail *t, nexus_bus *bus, nexus_slice text, uint64_t *done)
{
    nexus__json doc;
    page *p = nexus__calloc(t->service->alloc, 1, sizeof *p);
    if (!p)
        return nexus__nomem();
    nexus__json_init(&doc, t->service->alloc);
    nexus_status status = nexus__json_scan(&doc, text, NULL);
    if (status == NEXUS_OK)
        status = fill_page(t, &doc, p);
    if (status == NEXUS_OK)
        status = publish_events(t, bus, p, done);
    for (size_t i = 0; i < p->n; i++)
        nexus__buf_free(&p->texts[i]);
    nexus__json_free(&doc);
    nexus__free(t->service->alloc, p);
    return status;
}

static nexus_status publish_some(nexus__trail *t, nexus_bus *bus, bool *more)
{
    nexus_audit_filter f = NEXUS_AUDIT_FILTER_INIT;
    char *text;
    size_t n;
    uint64_t before = t->published.done;
    f.after = before;
    f.limit = BATCH;
    nexus_status status = nexus_audit_list(t->audit, &f, &text, &n);
    if (status != NEXUS_OK)
        return status;
    status = publish_page(t, bus, nexus__slice(text, n), &t->published.done);
    nexus_free(text);
    *more = t->published.done >= before + BATCH;
    if (t->published.done != before)
        store_cursor(t);
    return status;
}

static nexus_bus *find_bus(nexus__trail *t)
{
    char url[NEXUS__STATE_PATH_MAX + 16];
    nexus__host *h = t->service->host;
    const char *setting = nexus_settings_text(h->settings, "bus_url");
    pthread_mutex_lock(&h->bus_lock);
    nexus_bus *bus = h->bus;
    pthread_mutex_unlock(&h->bus_lock);
    if (bus || t->published.own || strncmp(setting, "memory:", 7) == 0)
        return bus ? bus : t->published.own;
    if (!*setting)
        snprintf(url, sizeof url, "file:%s/bus", h->state_dir);
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.alloc = h->alloc;
    opts.source = t->service->module->name;
    opts.role = NEXUS_BUS_CLIENT;
    opts.connect_timeout_ms = OPEN_MS;
    opts.timeout_ms = PUBLISH_MS;
    return nexus_bus_open(&t->published.own, *setting ? setting : url, &opts) == NEXUS_OK ? t->published.own : NULL;
}

/* Records wait, if need be: what is written does not wait for the bus. */
static void publish(nexus__trail *t)
{
    nexus_service *s = t->service;
    int64_t now = nexus__mono_ns();
    if (s->module->bus == NEXUS_SERVICE_BUS_NONE || now < t->published.again_ns)
        return;
    nexus_bus *bus = find_bus(t);
    nexus_status status = bus ? NEXUS_OK : NEXUS_EUNREACH;
    if (!t->published.loaded)
        load_cursor(t);
    for (bool more = true; more && status == NEXUS_OK && !atomic_load(&s->draining);)
        status = publish_some(t, bus, &more);
    if (status != NEXUS_OK && !t->published.failing)
        complain(t, "records wait for the bus");
    t->published.failing = status != NEXUS_OK;
    t->published.again_ns = status == NEXUS_OK ? 0 : now + AGAIN_S * NEXUS__NS_PER_S;
}

/* --- verification ---------------------------------------------------------------------------------------------------- */

static void verify_handler(nexus_request *request, void *user_data)
{
    nexus__trail *t = user_data;
    nexus_audit_report report = NEXUS_AUDIT_REPORT_INIT;
    nexus__buf text;
    if (!nexus_service_is_operator(request)) {
        (void)nexus_request_set_header(request, "WWW-Authenticate", NEXUS_S("Bearer realm=\"nexus\""));
        nexus_request_problem_text(request, 401, "token-missing",
                                   "Send the bearer token of $STATE/admin.token, or an administrator's.");
        return;
    }
    nexus_status status = nexus_audit_verify(t->audit, &report);
    if (status != NEXUS_OK && status != NEXUS_ECORRUPT) {
        complain(t, "it cannot be verified");
        nexus_request_problem_text(request, 500, "failed", "The trail cannot be read; see the log.");
        return;
    }
    nexus__buf_init(&text, t->service->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    nexus__json_open(&w, '{');
    nexus__json_put_u64(&w, "records", report.records);
    nexus__json_put_u64(&w, "checkpoints", report.checkpoints);
    nexus__json_put_u64(&w, "bad", report.bad);
    nexus__json_put_text_c(&w, "why", report.why);
    nexus__json_close(&w, '}');
    if (text.status == NEXUS_OK)
        nexus_request_reply(request, 200, "application/json", nexus__buf_slice(&text));
    else
        nexus_request_problem_text(request, 503, "out-of-memory", "The server is out of memory; try again.");
    nexus__buf_free(&text);
}

/* --- life ------------------------------------------------------------------------------------------------------------ */

static void upkeep(void *user_data)
{
    nexus__trail *t = user_data;
    record_denials(t, false);
    if (nexus_audit_upkeep(t->audit) != NEXUS_OK)
        complain(t, "no checkpoint can be signed");
    publish(t);
}

static nexus_status add_verification(nexus__trail *t)
{
    nexus_route route = NEXUS_ROUTE_INIT;
    route.method = "POST";
    route.path = "/admin/v1/audit/verify";
    route.handler = verify_handler;
    route.user_data = t;
    route.operation_id = "verifyTrail";
    route.summary = "Verifies the whole audit trail of this service";
    route.tag = "service";
    route.roles = "public";
    return nexus_server_route(t->service->server, &route, 1);
}

static nexus_status open_trail(nexus__trail *t)
{
    char dir[NEXUS__STATE_PATH_MAX + 128];
    nexus_audit_opts opts = NEXUS_AUDIT_OPTS_INIT;
    snprintf(dir, sizeof dir, "%s/audit", t->service->host->state_dir);
    (void)mkdir(dir, 0700); /* whatever is wrong with it shows at once */
    snprintf(dir, sizeof dir, "%s/audit/%s", t->service->host->state_dir, t->service->module->name);
    opts.alloc = t->service->alloc;
    opts.dir = dir;
    nexus_status status = nexus_audit_open(&t->audit, &opts);
    if (status == NEXUS_OK)
        status = nexus_service_every(t->service, "audit", UPKEEP_MS, upkeep, t);
    return status == NEXUS_OK ? add_verification(t) : status;
}

nexus_audit *nexus_service_audit(nexus_service *service)
{
    if (service->trail)
        return service->trail->audit;
    nexus__trail *t = nexus__calloc(service->alloc, 1, sizeof *t);
    if (!t)
        return NULL;
    t->service = service;
    t->denials.since_ns = nexus__mono_ns();
    pthread_mutex_init(&t->lock, NULL);
    service->trail = t; /* a job may know it from here on: it lives as long as the service */
    if (open_trail(t) == NEXUS_OK)
        return t->audit;
    complain(t, "audit");
    return NULL;
}

void nexus__trail_close(nexus_service *service)
{
    nexus__trail *t = service->trail;
    if (!t)
        return;
    if (t->audit)
        record_denials(t, true);
    nexus_bus_close(t->published.own);
    nexus_audit_close(t->audit);
    pthread_mutex_destroy(&t->lock);
    nexus__free(service->alloc, t);
    service->trail = NULL;
}
