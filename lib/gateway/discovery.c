#include "gateway/discovery.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"

typedef struct source {
    struct nexus__discovery *discovery;
    const nexus__gw_target *conf;
    char *host;
    uint16_t port;
    uint32_t weight;
    bool tls, numeric, running, wanted;
    int64_t due;
    size_t n;
    nexus__address addresses[NEXUS__DISCOVERY_ADDRESSES_MAX];
    struct source *next;
} source;

typedef struct nexus__discovery {
    nexus__upstream *upstream; /* whose it is */
    source *sources;           /* loop 0 only, once it is open */
    int64_t srv_due;
    bool srv_running;
    bool changed;     /* the set in force is not what the sources say */
    uint64_t version; /* of the registry, seen */
} nexus__discovery;

/* --- decisions ---------------------------------------------------------------------------------------------------- */

int64_t nexus__discovery_wait_ns(uint32_t ttl_s)
{
    if (ttl_s < NEXUS__DISCOVERY_TTL_MIN_S)
        ttl_s = NEXUS__DISCOVERY_TTL_MIN_S;
    if (ttl_s > NEXUS__DISCOVERY_TTL_MAX_S)
        ttl_s = NEXUS__DISCOVERY_TTL_MAX_S;
    return ttl_s * NEXUS__NS_PER_S;
}

static bool same_family(const nexus__address *a, const nexus__address *b)
{
    return a->sa.any.sa_family == b->sa.any.sa_family;
}

size_t nexus__discovery_pair(const nexus__address *addresses, size_t n, nexus__address *first, nexus__address *second)
{
    const nexus__address *others[NEXUS__DISCOVERY_ADDRESSES_MAX];
    size_t count = 0, other_count = 0;
    for (size_t i = 0; i < n; i++) {
        if (same_family(&addresses[i], &addresses[0]))
            first[count++] = addresses[i];
        else
            others[other_count++] = &addresses[i];
    }
    for (size_t i = 0; i < count; i++)
        second[i] = other_count ? *others[i % other_count] : (nexus__address){.len = 0};
    return count;
}

static bool same_addresses(const nexus__address *a, size_t n, const nexus__address *b, size_t m)
{
    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++)
        if (a[i].len != b[i].len || memcmp(&a[i].sa, &b[i].sa, a[i].len) != 0)
            return false;
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    const nexus__address *x = a, *y = b;
    int family = (int)(x->sa.any.sa_family) - (int)(y->sa.any.sa_family);
    return family ? family : memcmp(&x->sa, &y->sa, x->len);
}

/* Servers rotate their answers: within a family the order says nothing, and must not look like a change. */
static void sort(nexus__address *list, size_t n)
{
    size_t k = 0;
    while (k < n && same_family(&list[k], &list[0]))
        k++;
    for (size_t i = k; i < n; i++) /* the first one's family first */
        if (same_family(&list[i], &list[0])) {
            nexus__address a = list[i];
            memmove(&list[k + 1], &list[k], (i - k) * sizeof *list);
            list[k++] = a;
        }
    qsort(list, k, sizeof *list, by_bytes);
    qsort(list + k, n - k, sizeof *list, by_bytes);
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

static void source_free(const nexus_alloc *alloc, source *s)
{
    nexus__free(alloc, s->host);
    nexus__free(alloc, s);
}

static source *find(nexus__discovery *d, const nexus__place *p)
{
    for (source *s = d->sources; s; s = s->next)
        if (s->conf == p->conf && s->port == p->port && s->tls == p->tls && nexus__slice_eq_c(p->host, s->host))
            return s;
    return NULL;
}

static nexus_status add(nexus__discovery *d, const nexus__place *p)
{
    const nexus_alloc *alloc = d->upstream->alloc;
    source *s = nexus__calloc(alloc, 1, sizeof *s);
    char *host = s ? nexus__strndup(alloc, p->host) : NULL;
    if (!host) {
        nexus__free(alloc, s);
        return nexus__nomem();
    }
    *s = (source){.discovery = d, .conf = p->conf, .host = host, .port = p->port, .weight = p->weight, .tls = p->tls};
    s->numeric = p->conf->function.n > 0 || nexus__address_parse(host, p->port, &s->addresses[0]);
    s->n = s->numeric;
    s->wanted = true;
    source **end = &d->sources;
    while (*end)
        end = &(*end)->next;
    *end = s;
    d->changed = true;
    return NEXUS_OK;
}

/* These places, and no others. What was known of those that stay is kept. */
static nexus_status follow(nexus__discovery *d, const nexus__place *places, size_t n)
{
    nexus_status status = NEXUS_OK;
    for (source *s = d->sources; s; s = s->next)
        s->wanted = false;
    for (size_t i = 0; i < n && !status; i++) {
        source *s = find(d, &places[i]);
        if (!s) {
            status = add(d, &places[i]);
            continue;
        }
        d->changed |= s->weight != places[i].weight;
        s->weight = places[i].weight;
        s->wanted = true;
    }
    for (source **at = &d->sources; *at && !status;) {
        source *s = *at;
        if (s->wanted || s->running) { /* a running look-up comes back to it */
            d->changed |= !s->wanted && s->n > 0;
            s->n = s->wanted ? s->n : 0;
            at = &s->next;
            continue;
        }
        *at = s->next;
        source_free(d->upstream->alloc, s);
        d->changed = true;
    }
    return status;
}

/* --- sets of targets ---------------------------------------------------------------------------------------------- */

static nexus_slice url_of(const source *s, const nexus__address *a, bool alone, nexus__buf *text)
{
    char ip[INET6_ADDRSTRLEN];
    size_t from = text->len;
    if (alone && s->conf != &s->discovery->upstream->conf->discovery.found)
        return (nexus_slice){0}; /* as the routes file has it */
    bool v6 = a->sa.any.sa_family == AF_INET6;
    inet_ntop(a->sa.any.sa_family, v6 ? (const void *)&a->sa.v6.sin6_addr : (const void *)&a->sa.v4.sin_addr, ip,
              sizeof ip);
    nexus__buf_printf(text, v6 ? "%s://[%s]:%u" : "%s://%s:%u", s->tls ? "https" : "http", ip, s->port);
    return nexus__slice((const char *)(uintptr_t)from, text->len - from); /* an offset until all are written */
}

static size_t specs_of(const source *s, nexus__target_spec *out, nexus__buf *text)
{
    nexus__address first[NEXUS__DISCOVERY_ADDRESSES_MAX], second[NEXUS__DISCOVERY_ADDRESSES_MAX];
    size_t n = nexus__discovery_pair(s->addresses, s->n, first, second);
    for (size_t i = 0; i < n; i++)
        out[i] = (nexus__target_spec){.conf = s->conf,
                                      .url = url_of(s, &first[i], n == 1, text),
                                      .host = nexus__slice_c(s->host),
                                      .address = first[i],
                                      .alternate = second[i],
                                      .tls = s->tls,
                                      .weight = s->weight};
    return n;
}

static nexus_status publish(nexus__discovery *d)
{
    nexus__upstream *u = d->upstream;
    size_t n = 0, max = 0;
    for (source *s = d->sources; s; s = s->next)
        max += s->n;
    nexus__buf text;
    nexus__buf_init(&text, u->alloc, 0);
    nexus__target_spec *specs = nexus__calloc(u->alloc, max + 1, sizeof *specs);
    for (source *s = d->sources; specs && s; s = s->next)
        n += specs_of(s, specs + n, &text);
    nexus_status status = specs && !text.status ? NEXUS_OK : nexus__nomem();
    for (size_t i = 0; i < n && !status; i++)
        if (specs[i].url.n > 0)
            specs[i].url.p = text.p + (uintptr_t)specs[i].url.p;
    if (!status)
        status = nexus__upstream_set_targets(u, specs, (uint32_t)n);
    if (!status)
        d->changed = false;
    nexus__free(u->alloc, specs);
    nexus__buf_free(&text);
    return status;
}

/* An answer: true when it says something new. */
static bool learn(source *s, const nexus__address *addresses, size_t n)
{
    nexus__address list[NEXUS__DISCOVERY_ADDRESSES_MAX];
    if (n > NEXUS__DISCOVERY_ADDRESSES_MAX)
        n = NEXUS__DISCOVERY_ADDRESSES_MAX;
    memcpy(list, addresses, n * sizeof *list);
    sort(list, n);
    if (same_addresses(s->addresses, s->n, list, n))
        return false;
    memcpy(s->addresses, list, n * sizeof *list);
    s->n = n;
    return true;
}

static uint32_t least_ttl(const nexus__address *addresses, size_t n)
{
    uint32_t least = NEXUS__DISCOVERY_TTL_MAX_S;
    for (size_t i = 0; i < n; i++)
        least = addresses[i].ttl_s < least ? addresses[i].ttl_s : least;
    return least;
}

/* --- what the registry and SRV records name ----------------------------------------------------------------------- */

static nexus_status follow_registry(nexus__discovery *d, int64_t now)
{
    nexus__upstream *u = d->upstream;
    nexus__registry *r = u->gateway->registry;
    nexus__place *places = nexus__calloc(u->alloc, NEXUS__DISCOVERY_SOURCES_MAX, sizeof *places);
    nexus__buf text;
    if (!places)
        return nexus__nomem();
    nexus__buf_init(&text, u->alloc, 0);
    d->version = nexus__registry_version(r); /* before: a change that comes between is seen the next time */
    size_t n = nexus__registry_places(r, u->conf->discovery.registry, places, NEXUS__DISCOVERY_SOURCES_MAX, &text, now);
    for (size_t i = 0; i < n; i++)
        places[i].conf = &u->conf->discovery.found;
    nexus_status status = follow(d, places, n);
    nexus__buf_free(&text);
    nexus__free(u->alloc, places);
    return status;
}

/* Only the records of the first priority: the others are for when none of these is there. */
static nexus_status follow_srv(nexus__discovery *d, const nexus__srv *records, size_t n, uint32_t *ttl_s)
{
    const nexus__gw_discovery_conf *conf = &d->upstream->conf->discovery;
    nexus__place places[NEXUS__DISCOVERY_ADDRESSES_MAX];
    uint16_t best = UINT16_MAX;
    size_t count = 0;
    *ttl_s = NEXUS__DISCOVERY_TTL_MAX_S;
    for (size_t i = 0; i < n; i++)
        best = records[i].priority < best ? records[i].priority : best;
    for (size_t i = 0; i < n && count < NEXUS__DISCOVERY_ADDRESSES_MAX; i++) {
        *ttl_s = records[i].ttl_s < *ttl_s ? records[i].ttl_s : *ttl_s;
        if (records[i].priority != best)
            continue;
        uint32_t weight = records[i].weight > 10000 ? 10000 : records[i].weight;
        places[count++] = (nexus__place){.conf = &conf->found,
                                         .host = nexus__slice_c(records[i].host),
                                         .port = records[i].port,
                                         .weight = weight ? weight : 1,
                                         .tls = conf->found.tls};
    }
    return follow(d, places, count);
}

/* --- asking, on loop 0 -------------------------------------------------------------------------------------------- */

/* Look-ups hold what they come back to. */
static void hold(nexus__discovery *d)
{
    nexus__upstream_ref(d->upstream);
    nexus__gateway_ref(d->upstream->gateway);
}

static void let_go(nexus__discovery *d)
{
    nexus_gateway *g = d->upstream->gateway;
    nexus__upstream_unref(d->upstream);
    nexus__gateway_unref(g);
}

static int64_t now_of(const nexus__discovery *d)
{
    return nexus_loop_now_ns(d->upstream->gateway->loops[0].loop);
}

static bool is_closed(const nexus__discovery *d)
{
    return atomic_load(&d->upstream->gateway->closed);
}

static void on_addresses(nexus_status status, const nexus__address *addresses, size_t n, void *user_data)
{
    source *s = user_data;
    nexus__discovery *d = s->discovery;
    s->running = false;
    if (is_closed(d))
        status = NEXUS_ECANCELED; /* the gateway is: nothing of the host's is touched any more */
    if (status == NEXUS_OK && s->wanted) {
        s->due = now_of(d) + nexus__discovery_wait_ns(least_ttl(addresses, n));
        d->changed |= learn(s, addresses, n);
    } else if (status != NEXUS_ECANCELED) {
        s->due = now_of(d) + NEXUS__DISCOVERY_AGAIN_S * NEXUS__NS_PER_S;
    }
    if (d->changed && status != NEXUS_ECANCELED)
        (void)publish(d); /* out of memory: the next tick tries again */
    let_go(d);
}

static void on_srv(nexus_status status, const nexus__srv *records, size_t n, void *user_data)
{
    nexus__discovery *d = user_data;
    uint32_t ttl_s = 0;
    d->srv_running = false;
    if (is_closed(d))
        status = NEXUS_ECANCELED;
    if (status == NEXUS_OK && follow_srv(d, records, n, &ttl_s) == NEXUS_OK)
        d->srv_due = now_of(d) + nexus__discovery_wait_ns(ttl_s);
    else if (status != NEXUS_ECANCELED)
        d->srv_due = now_of(d) + NEXUS__DISCOVERY_AGAIN_S * NEXUS__NS_PER_S;
    nexus_gateway *g = d->upstream->gateway;
    if (status != NEXUS_ECANCELED)
        nexus__gateway_look_soon(g); /* new hosts are asked for */
    let_go(d);
}

static void ask_srv(nexus__discovery *d, nexus_loop *loop, int64_t now)
{
    if (d->srv_running || d->srv_due > now)
        return;
    hold(d);
    d->srv_running = true;
    if (nexus__resolve_srv(loop, d->upstream->conf->discovery.srv.p, on_srv, d) == NEXUS_OK)
        return;
    d->srv_running = false;
    d->srv_due = now + NEXUS__DISCOVERY_AGAIN_S * NEXUS__NS_PER_S;
    let_go(d);
}

static int64_t ask_source(source *s, nexus_loop *loop, int64_t now)
{
    if (s->numeric)
        return INT64_MAX;
    if (s->running || s->due > now)
        return s->due;
    hold(s->discovery);
    s->running = true;
    s->due = now + NEXUS__DISCOVERY_AGAIN_S * NEXUS__NS_PER_S;
    if (nexus__resolve(loop, s->host, s->port, on_addresses, s)) {
        s->running = false;
        let_go(s->discovery);
    }
    return s->due;
}

static int64_t tick(nexus__discovery *d, nexus_loop *loop, int64_t now)
{
    const nexus__gw_discovery_conf *conf = &d->upstream->conf->discovery;
    int64_t next = INT64_MAX;
    if (conf->registry.n > 0 && d->version != nexus__registry_version(d->upstream->gateway->registry))
        (void)follow_registry(d, now);
    if (conf->srv.n > 0) {
        ask_srv(d, loop, now);
        next = d->srv_due > now ? d->srv_due : INT64_MAX;
    }
    for (source *s = d->sources; s; s = s->next) {
        int64_t due = ask_source(s, loop, now);
        next = due < next ? due : next;
    }
    if (d->changed)
        (void)publish(d);
    return next;
}

int64_t nexus__discovery_tick(nexus_gateway *g, nexus__snapshot *s, int64_t now)
{
    nexus_loop *loop = g->loops[0].loop;
    int64_t next = nexus__registry_expire(g->registry, now);
    if (!g->names_set && (!g->opts.dns_servers || nexus__resolve_servers(loop, g->opts.dns_servers) == NEXUS_OK))
        g->names_set = true;
    for (uint32_t i = 0; s && i < s->config->upstreams.count; i++) {
        nexus__discovery *d = s->upstreams[i]->discovery;
        int64_t due = d ? tick(d, loop, now) : INT64_MAX;
        next = due < next ? due : next;
    }
    return next;
}

/* --- the first set ------------------------------------------------------------------------------------------------ */

static nexus_status wait_for_source(nexus__discovery *d, source *s)
{
    nexus__address list[NEXUS__DISCOVERY_ADDRESSES_MAX];
    size_t n = 0;
    if (s->numeric)
        return NEXUS_OK;
    nexus_status status = nexus__resolve_wait(d->upstream->gateway->opts.dns_servers, s->host, s->port, list,
                                              NEXUS__DISCOVERY_ADDRESSES_MAX, &n);
    if (status)
        return nexus__fail(NEXUS_EUNREACH, "upstream %s: the name %s has no address: %s", d->upstream->conf->name.p,
                           s->host, nexus_error_message());
    s->due = nexus__mono_ns() + nexus__discovery_wait_ns(least_ttl(list, n));
    (void)learn(s, list, n);
    return NEXUS_OK;
}

static nexus_status follow_conf(nexus__discovery *d)
{
    const nexus__gw_upstream_conf *conf = d->upstream->conf;
    nexus__place *places = nexus__calloc(d->upstream->alloc, conf->targets.count + 1, sizeof *places);
    if (!places)
        return nexus__nomem();
    for (uint32_t i = 0; i < conf->targets.count; i++) {
        const nexus__gw_target *t = &conf->targets.items[i];
        places[i] = (nexus__place){.conf = t, .host = t->host, .port = t->port, .weight = t->weight, .tls = t->tls};
    }
    nexus_status status = follow(d, places, conf->targets.count);
    nexus__free(d->upstream->alloc, places);
    for (source *s = d->sources; s && !status; s = s->next)
        status = wait_for_source(d, s);
    return status;
}

typedef struct first_srv {
    nexus__discovery *d;
    nexus_status status;
} first_srv;

static void on_first_srv(nexus_status status, const nexus__srv *records, size_t n, void *user_data)
{
    first_srv *f = user_data;
    uint32_t ttl_s = 0;
    f->status = status ? status : follow_srv(f->d, records, n, &ttl_s);
    f->d->srv_due = nexus__mono_ns() + nexus__discovery_wait_ns(ttl_s);
}

/* Hosts that SRV records name and that have no address now are asked for again, and are no error of the routes file. */
static nexus_status first_of_srv(nexus__discovery *d)
{
    first_srv f = {.d = d};
    nexus_status status = nexus__resolve_srv_wait(d->upstream->gateway->opts.dns_servers,
                                                  d->upstream->conf->discovery.srv.p, on_first_srv, &f);
    if (status == NEXUS_ENOMEM || f.status == NEXUS_ENOMEM)
        return nexus__nomem();
    if (status || f.status)
        return nexus__fail(NEXUS_EUNREACH, "upstream %s: the name %s has no SRV records: %s", d->upstream->conf->name.p,
                           d->upstream->conf->discovery.srv.p, nexus_error_message());
    for (source *s = d->sources; s; s = s->next)
        if (wait_for_source(d, s) == NEXUS_ENOMEM)
            return NEXUS_ENOMEM;
    return NEXUS_OK;
}

nexus_status nexus__discovery_open(nexus__upstream *u)
{
    const nexus__gw_discovery_conf *conf = &u->conf->discovery;
    nexus__discovery *d = u->discovery = nexus__calloc(u->alloc, 1, sizeof *d);
    if (!d)
        return nexus__nomem();
    d->upstream = u;
    nexus_status status = conf->registry.n > 0 ? follow_registry(d, nexus__mono_ns())
                          : conf->srv.n > 0    ? first_of_srv(d)
                                               : follow_conf(d);
    return status ? status : publish(d);
}

void nexus__discovery_free(nexus__discovery *d)
{
    if (!d)
        return;
    for (source *s = d->sources, *next; s; s = next) {
        next = s->next;
        source_free(d->upstream->alloc, s);
    }
    nexus__free(d->upstream->alloc, d);
}
