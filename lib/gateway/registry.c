/*
 * The registry of services: instances with a time to live, renewed by whoever put them. Held by one mutex; it is asked
 * and changed a few times a second at most.
 */
#include <pthread.h>
#include <stdio.h>

#include "base/status.h"
#include "gateway/config/rows.h"
#include "gateway/discovery.h"
#include "json/write.h"

enum { TTL_DEFAULT_MS = 15000, TTL_MAX_MS = 3600000, SERVICE_MAX = 128, INSTANCES_MAX = 65536 };

typedef struct instance {
    nexus__list node;
    char *service, *id, *url, *host;
    uint16_t port;
    bool tls;
    uint32_t weight;
    int64_t expires;
} instance;

struct nexus__registry {
    const nexus_alloc *alloc;
    pthread_mutex_t mutex;
    nexus__list instances; /* in the order in which they came */
    size_t count;
    uint64_t version;
};

nexus_status nexus__registry_new(nexus__registry **out, const nexus_alloc *alloc)
{
    nexus__registry *r = nexus__calloc(alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->alloc = alloc;
    pthread_mutex_init(&r->mutex, NULL);
    nexus__list_init(&r->instances);
    *out = r;
    return NEXUS_OK;
}

static void instance_free(nexus__registry *r, instance *i)
{
    nexus__list_remove(&i->node);
    nexus__free(r->alloc, i->service);
    nexus__free(r->alloc, i->id);
    nexus__free(r->alloc, i->url);
    nexus__free(r->alloc, i->host);
    nexus__free(r->alloc, i);
}

static void forget(nexus__registry *r, instance *i)
{
    instance_free(r, i);
    r->count--;
    r->version++;
}

void nexus__registry_free(nexus__registry *r)
{
    if (!r)
        return;
    while (!nexus__list_empty(&r->instances))
        instance_free(r, NEXUS__CONTAINER(r->instances.next, instance, node));
    pthread_mutex_destroy(&r->mutex);
    nexus__free(r->alloc, r);
}

uint64_t nexus__registry_version(nexus__registry *r)
{
    pthread_mutex_lock(&r->mutex);
    uint64_t version = r->version;
    pthread_mutex_unlock(&r->mutex);
    return version;
}

size_t nexus__registry_places(nexus__registry *r, nexus_slice service, nexus__place *out, size_t max, nexus__buf *text,
                              int64_t now)
{
    size_t n = 0;
    pthread_mutex_lock(&r->mutex);
    nexus__buf_clear(text);
    for (nexus__list *at = r->instances.next; at != &r->instances && n < max; at = at->next) {
        const instance *i = NEXUS__CONTAINER(at, instance, node);
        if (i->expires <= now || !nexus__slice_eq_c(service, i->service))
            continue;
        out[n++] = (nexus__place){.host = {NULL, strlen(i->host)}, .port = i->port, .weight = i->weight, .tls = i->tls};
        nexus__buf_append(text, i->host, strlen(i->host) + 1);
    }
    pthread_mutex_unlock(&r->mutex);
    if (text->status)
        return 0;
    for (size_t i = 0, at = 0; i < n; at += out[i].host.n + 1, i++)
        out[i].host.p = text->p + at;
    return n;
}

int64_t nexus__registry_expire(nexus__registry *r, int64_t now)
{
    int64_t next = INT64_MAX;
    pthread_mutex_lock(&r->mutex);
    for (nexus__list *at = r->instances.next, *after = at->next; at != &r->instances; at = after, after = at->next) {
        instance *i = NEXUS__CONTAINER(at, instance, node);
        if (i->expires <= now)
            forget(r, i);
        else if (i->expires < next)
            next = i->expires;
    }
    pthread_mutex_unlock(&r->mutex);
    return next;
}

/* --- the calls ---------------------------------------------------------------------------------------------------- */

static instance *find(nexus__registry *r, nexus_slice service, nexus_slice id)
{
    for (nexus__list *at = r->instances.next; at != &r->instances; at = at->next) {
        instance *i = NEXUS__CONTAINER(at, instance, node);
        if (nexus__slice_eq_c(service, i->service) && nexus__slice_eq_c(id, i->id))
            return i;
    }
    return NULL;
}

static instance *instance_new(nexus__registry *r, const char *service, const char *id, const char *url,
                              const nexus__gw_target *where)
{
    instance *i = nexus__calloc(r->alloc, 1, sizeof *i);
    if (!i)
        return NULL;
    nexus__list_init(&i->node);
    i->service = nexus__strndup(r->alloc, nexus__slice_c(service));
    i->id = nexus__strndup(r->alloc, nexus__slice_c(id));
    i->url = nexus__strndup(r->alloc, nexus__slice_c(url));
    i->host = nexus__strndup(r->alloc, where->host);
    i->port = where->port;
    i->tls = where->tls;
    if (i->service && i->id && i->url && i->host)
        return i;
    instance_free(r, i);
    return NULL;
}

static bool is_name(const char *text)
{
    nexus_slice s = nexus__slice_c(text ? text : "");
    return s.n > 0 && s.n <= SERVICE_MAX && nexus__gw_is_token(s);
}

static nexus_status put(nexus__registry *r, const nexus_gateway_instance *in, const nexus__gw_target *where, int64_t now)
{
    uint32_t ttl = in->ttl_ms ? in->ttl_ms : TTL_DEFAULT_MS, weight = in->weight ? in->weight : 1;
    instance *old = find(r, nexus__slice_c(in->service), nexus__slice_c(in->id));
    if (old && strcmp(old->url, in->url) == 0 && old->weight == weight && old->expires > now) { /* a heartbeat */
        old->expires = now + ttl * NEXUS__NS_PER_MS;
        return NEXUS_OK;
    }
    if (!old && r->count >= INSTANCES_MAX)
        return nexus__fail(NEXUS_ELIMIT, "registry: %d instances are enough", INSTANCES_MAX);
    instance *i = instance_new(r, in->service, in->id, in->url, where);
    if (!i)
        return nexus__nomem();
    i->weight = weight;
    i->expires = now + ttl * NEXUS__NS_PER_MS;
    if (old)
        forget(r, old);
    nexus__list_push(&r->instances, &i->node);
    r->count++;
    r->version++;
    return NEXUS_OK;
}

void nexus_gateway_instance_init(nexus_gateway_instance *given)
{
    *given = (nexus_gateway_instance)NEXUS_GATEWAY_INSTANCE_INIT;
}

nexus_status nexus_gateway_instance_put(nexus_gateway *g, const nexus_gateway_instance *given)
{
    nexus_gateway_instance in = NEXUS_GATEWAY_INSTANCE_INIT;
    nexus__gw_target where;
    nexus__arena arena;
    memcpy(&in, given, given->size < sizeof in ? given->size : sizeof in);
    if (!is_name(in.service) || !is_name(in.id))
        return nexus__fail(NEXUS_EINVAL, "registry: service and id are tokens of at most %d bytes", SERVICE_MAX);
    if (in.ttl_ms > TTL_MAX_MS || in.weight > 10000)
        return nexus__fail(NEXUS_EINVAL, "registry: a time to live of at most an hour, a weight of at most 10000");
    nexus__arena_init(&arena, g->alloc, 256);
    nexus_status status = nexus__gw_target_parse(&where, nexus__slice_c(in.url ? in.url : ""), &arena);
    if (!status && where.function.n > 0)
        status = nexus__fail(NEXUS_EINVAL, "registry: functions are named by the routes file alone");
    if (!status) {
        pthread_mutex_lock(&g->registry->mutex);
        uint64_t before = g->registry->version;
        status = put(g->registry, &in, &where, nexus__mono_ns());
        bool changed = g->registry->version != before;
        pthread_mutex_unlock(&g->registry->mutex);
        if (changed)
            nexus__gateway_look_soon(g);
    }
    nexus__arena_free(&arena);
    return status;
}

nexus_status nexus_gateway_instance_remove(nexus_gateway *g, const char *service, const char *id)
{
    nexus__registry *r = g->registry;
    pthread_mutex_lock(&r->mutex);
    instance *i = find(r, nexus__slice_c(service), nexus__slice_c(id));
    if (i)
        forget(r, i);
    pthread_mutex_unlock(&r->mutex);
    if (!i)
        return nexus__fail(NEXUS_ENOTFOUND, "registry: no instance %s of %s", id, service);
    nexus__gateway_look_soon(g);
    return NEXUS_OK;
}

nexus_status nexus_gateway_instances(nexus_gateway *g, const char *service, char **out, size_t *n)
{
    nexus__registry *r = g->registry;
    int64_t now = nexus__mono_ns();
    nexus__buf buf;
    nexus__buf_init(&buf, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    nexus__json_open(&w, '[');
    pthread_mutex_lock(&r->mutex);
    for (nexus__list *at = r->instances.next; at != &r->instances; at = at->next) {
        const instance *i = NEXUS__CONTAINER(at, instance, node);
        if (i->expires <= now || (service && strcmp(service, i->service) != 0))
            continue;
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "service", i->service);
        nexus__json_put_text_c(&w, "id", i->id);
        nexus__json_put_text_c(&w, "url", i->url);
        nexus__json_put_u64(&w, "weight", i->weight);
        nexus__json_put_i64(&w, "expires_in_ms", (i->expires - now) / NEXUS__NS_PER_MS);
        nexus__json_close(&w, '}');
    }
    pthread_mutex_unlock(&r->mutex);
    nexus__json_close(&w, ']');
    return nexus__buf_hand_over(&buf, out, n);
}
