#include "gateway/target.h"

#include <string.h>

#include "base/status.h"
#include "gateway/function.h"
#include "gateway/gateway.h"

static bool same_address(const nexus__address *a, const nexus__address *b)
{
    return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

static bool is(const nexus__target *t, const nexus__target_spec *spec)
{
    return t->conf == spec->conf && t->tls == spec->tls && same_address(&t->address, &spec->address) &&
           same_address(&t->alternate, &spec->alternate) &&
           nexus__slice_eq(t->url, spec->url.n ? spec->url : spec->conf->url);
}

static nexus_slice server_name_of(const nexus__upstream *u, const nexus__target_spec *spec)
{
    if (!spec->tls)
        return (nexus_slice){0};
    return u->conf->tls.server_name.n > 0 ? u->conf->tls.server_name : spec->host.n > 0 ? spec->host : spec->conf->host;
}

static nexus__target *target_new(nexus__upstream *u, const nexus__target_spec *spec)
{
    nexus_slice url = spec->url.n ? spec->url : spec->conf->url;
    nexus__target *t = nexus__calloc(u->alloc, 1, sizeof *t);
    char *text = t ? nexus__strndup(u->alloc, url) : NULL;
    nexus_slice asked = server_name_of(u, spec);
    char *name = text ? nexus__strndup(u->alloc, asked) : NULL;
    if (!name) {
        nexus__free(u->alloc, text);
        nexus__free(u->alloc, t);
        return NULL;
    }
    t->alloc = u->alloc;
    t->refs = 1;
    t->upstream = u;
    t->conf = spec->conf;
    t->url = nexus__slice(text, url.n);
    t->address = spec->address;
    t->alternate = spec->alternate;
    t->tls = spec->tls;
    t->function = spec->conf->function.n > 0 ? nexus__function_find(u->gateway, spec->conf->function) : NULL;
    t->server_name = nexus__slice(name, asked.n);
    nexus__target_metrics(t);
    return t;
}

nexus__target *nexus__target_ref(nexus__target *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void nexus__target_unref(nexus__target *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    nexus__free(t->alloc, (void *)(uintptr_t)t->url.p);
    nexus__free(t->alloc, (void *)(uintptr_t)t->server_name.p);
    nexus__free(t->alloc, t);
}

static nexus__target *find(const nexus__target_set *set, const nexus__target_spec *spec)
{
    for (uint32_t i = 0; set && i < set->count; i++)
        if (is(set->targets[i], spec))
            return set->targets[i];
    return NULL;
}

/* The same for the same target, in every process that has the secret. */
static uint64_t id_of(const nexus__upstream *u, const nexus__target *t)
{
    return nexus__siphash(u->hash_key, t->url.p, t->url.n);
}

static nexus_status add(nexus__target_set *set, nexus__upstream *u, const nexus__target_spec *spec,
                        const nexus__target_set *old)
{
    nexus__target *same = find(old, spec);
    nexus__target *t = same ? nexus__target_ref(same) : target_new(u, spec);
    if (!t)
        return nexus__nomem();
    set->hosts[set->count] = (nexus__balance_host){.load = &t->load, .weight = spec->weight, .id = id_of(u, t)};
    set->targets[set->count++] = t;
    return NEXUS_OK;
}

nexus_status nexus__target_set_new(nexus__target_set **out, nexus__upstream *u, const nexus__target_spec *specs,
                                   uint32_t n, const nexus__target_set *old)
{
    nexus__target_set *set = nexus__calloc(u->alloc, 1, sizeof *set);
    if (!set)
        return nexus__nomem();
    set->alloc = u->alloc;
    set->refs = 1;
    set->generation = old ? old->generation + 1 : 1;
    set->targets = nexus__calloc(u->alloc, n + 1, sizeof *set->targets);
    set->hosts = nexus__calloc(u->alloc, n + 1, sizeof *set->hosts);
    nexus_status status = set->targets && set->hosts ? NEXUS_OK : nexus__nomem();
    for (uint32_t i = 0; i < n && !status; i++)
        status = add(set, u, &specs[i], old);
    if (!status)
        status = nexus__balance_open(&set->balance, &u->conf->balance, set->hosts, n, u->hash_key, u->alloc);
    if (status)
        nexus__target_set_unref(set);
    else
        *out = set;
    return status;
}

nexus__target_set *nexus__target_set_ref(nexus__target_set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void nexus__target_set_unref(nexus__target_set *set)
{
    if (!set || atomic_fetch_sub(&set->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < set->count; i++)
        nexus__target_unref(set->targets[i]);
    nexus__balance_close(&set->balance, set->alloc);
    nexus__free(set->alloc, set->targets);
    nexus__free(set->alloc, set->hosts);
    nexus__free(set->alloc, set);
}
