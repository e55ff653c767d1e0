/* Leases on their loop: nothing here is shared between threads but the changes that go to the ledger and come back. */
#include "gateway/filters/limit_lease.h"

#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "crypto/hash.h"
#include "gateway/gateway.h"
#include "limit/limiter.h"

enum { LEASES_MAX = 65536, LEASE_MAX = 1000, NO_MORE_MS = 2000, DOWN_MS = 1000, WAIT_MS = 1000 };

/* --- windows ------------------------------------------------------------------------------------------------------- */

void nexus__limit_window(const nexus__limit_conf *conf, int64_t real_s, int64_t *since, int64_t *ends)
{
    nexus__civil c;
    nexus__civil_from_seconds(real_s + nexus__zone_offset(conf->zone, real_s), &c);
    bool month = conf->calendar == NEXUS__CALENDAR_MONTH;
    *since = nexus__zone_day(conf->zone, c.year, c.month, month ? 1 : c.day);
    *ends = month ? nexus__zone_day(conf->zone, c.year, c.month + 1, 1)
                  : nexus__zone_day(conf->zone, c.year, c.month, c.day + 1);
}

/* --- finding ------------------------------------------------------------------------------------------------------- */

/* The same for every process and every plan that has the policy: name, kind of window and who is counted. */
static nexus_status ledger_key(const nexus__limit_use *use, nexus__limit_subject *subject, char out[static 33])
{
    char space[2048];
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus__buf text = {.p = space, .cap = sizeof space, .max = sizeof space};
    nexus__buf hex = {.p = out, .cap = 33, .max = 33};
    nexus__buf_printf(&text, "%d ", (int)use->conf->calendar);
    nexus__limit_key_text(use, subject, &text);
    nexus_status status = text.status ? text.status : nexus__hash(NEXUS__SHA256, nexus__buf_slice(&text), digest);
    if (status)
        return status;
    nexus__hex_append(&hex, digest, 16);
    out[32] = 0;
    return NEXUS_OK;
}

static void tell_waiters(nexus__lease *l)
{
    nexus__lease_waiter *next = l->waiters;
    l->waiters = NULL;
    l->wanted = 0;
    l->pins++; /* the last of them may let go of it */
    while (next) {
        nexus__lease_waiter *w = next;
        next = w->next;
        w->fn(w);
    }
    l->pins--;
}

/* Those who wait go without; what was asked for is taken when it comes. */
static void waited_enough(nexus__timeout *timeout)
{
    nexus__lease *l = NEXUS__CONTAINER(timeout, nexus__lease, timeout);
    l->down_until = nexus_loop_now_ns(l->home->loop) + DOWN_MS * NEXUS__NS_PER_MS;
    tell_waiters(l);
}

static nexus_slice name_of(const nexus__lease *l)
{
    return nexus__slice(&l->hash, sizeof l->hash);
}

static nexus__ledger_change *change_of(nexus__gw_loop *home, const nexus__lease *l)
{
    nexus__ledger_change *c = nexus__calloc(home->gateway->alloc, 1, sizeof *c);
    if (!c)
        return NULL;
    c->home = home;
    memcpy(c->key, l->key, sizeof c->key);
    c->since = l->since;
    c->ends = l->ends;
    c->quota = l->quota;
    return c;
}

static void forget(nexus__gw_loop *home, nexus__lease *l)
{
    nexus__leases *all = &home->limits.leases;
    nexus__timeout_remove(&l->timeout, home->loop);
    nexus__map_remove(&all->map, name_of(l));
    nexus__list_remove(&l->node);
    all->count--;
    nexus__free(home->gateway->alloc, l);
}

/* What it holds and owes goes back to the ledger. NULL: there is nothing, or no memory to say so. */
static nexus__ledger_change *settle(nexus__gw_loop *home, const nexus__lease *l)
{
    nexus__ledger_change *c = l->left || l->owed ? change_of(home, l) : NULL;
    if (c)
        c->owed = (int64_t)l->owed - (int64_t)l->left;
    return c;
}

static void make_room(nexus__gw_loop *home)
{
    nexus__leases *all = &home->limits.leases;
    for (nexus__list *node = all->recent.next; node != &all->recent && all->count >= LEASES_MAX;) {
        nexus__lease *l = NEXUS__CONTAINER(node, nexus__lease, node);
        node = node->next;
        if (l->pins || l->fetching || l->waiters)
            continue;
        nexus__ledger_change *c = settle(home, l);
        if (c)
            nexus__ledger_push(home->gateway, c);
        nexus_metric_add(home->gateway->evictions, l->ends * NEXUS__NS_PER_S > nexus__real_ns());
        forget(home, l);
    }
}

static nexus__lease *bring_in(nexus__gw_loop *home, const nexus__limit_use *use, nexus__limit_subject *subject,
                              uint64_t hash)
{
    nexus__leases *all = &home->limits.leases;
    if (!all->open) {
        nexus__map_init(&all->map, home->gateway->alloc);
        nexus__list_init(&all->recent);
        all->open = true;
    }
    make_room(home);
    nexus__lease *l = nexus__calloc(home->gateway->alloc, 1, sizeof *l);
    if (!l)
        return NULL;
    l->hash = hash;
    l->home = home;
    nexus__timeout_init(&l->timeout, waited_enough);
    if (ledger_key(use, subject, l->key) || nexus__map_put(&all->map, name_of(l), l, NULL)) {
        nexus__free(home->gateway->alloc, l);
        return NULL;
    }
    nexus__list_push(&all->recent, &l->node);
    all->count++;
    return l;
}

static void begin_window(nexus__lease *l, const nexus__limit_conf *conf, int64_t real_s)
{
    if (l->fetching || (real_s >= l->since && real_s < l->ends))
        return;
    nexus__limit_window(conf, real_s, &l->since, &l->ends);
    l->left = l->used = l->owed = 0;
    l->no_more_until = 0;
}

nexus__lease *nexus__lease_find(nexus__gw_loop *home, const nexus__limit_use *use, nexus__limit_subject *subject,
                                int64_t real_s)
{
    nexus__leases *all = &home->limits.leases;
    uint64_t hash = nexus__limit_key(use, subject, nexus__limiter_secret(home->gateway->limits));
    nexus__lease *l = all->open ? nexus__map_get(&all->map, nexus__slice(&hash, sizeof hash)) : NULL;
    if (!l)
        l = bring_in(home, use, subject, hash);
    if (!l)
        return NULL;
    nexus__list_remove(&l->node);
    nexus__list_push(&all->recent, &l->node);
    begin_window(l, use->conf, real_s);
    if (l->quota != use->conf->quota) { /* a reload, or another plan */
        l->quota = use->conf->quota;
        l->no_more_until = 0;
    }
    l->pins++;
    return l;
}

void nexus__lease_release(nexus__lease *l)
{
    l->pins--;
}

/* --- fetching ------------------------------------------------------------------------------------------------------ */

static uint64_t size_of(const nexus__lease *l)
{
    uint64_t size = l->quota / 100;
    return size < 1 ? 1 : size > LEASE_MAX ? LEASE_MAX : size;
}

static void change_done(nexus__task *task)
{
    nexus__ledger_change *c = NEXUS__CONTAINER(task, nexus__ledger_change, task);
    nexus__gw_loop *home = c->home;
    nexus_gateway *g = home->gateway;
    nexus__lease *l = atomic_load(&g->closed) ? NULL : c->lease;
    if (l) {
        int64_t now = nexus_loop_now_ns(home->loop);
        l->fetching = false;
        nexus__timeout_clear(&l->timeout);
        l->down_until = c->status ? now + DOWN_MS * NEXUS__NS_PER_MS : 0;
        if (!c->status) {
            l->owed -= (uint64_t)c->owed;
            l->left += c->granted;
            l->used = c->used;
            l->no_more_until = c->granted < c->least ? now + NO_MORE_MS * NEXUS__NS_PER_MS : 0;
        }
        tell_waiters(l);
    }
    nexus__free(g->alloc, c);
    nexus__gateway_unref(g);
}

/* The lease is fetching afterwards, or known to be down. */
static void fetch(nexus__gw_loop *home, nexus__lease *l, uint64_t least, int64_t now)
{
    nexus__ledger_change *c = change_of(home, l);
    if (!c) {
        l->down_until = now + DOWN_MS * NEXUS__NS_PER_MS;
        return;
    }
    uint64_t size = size_of(l);
    c->lease = l;
    c->least = least;
    c->want = size > least ? size : least;
    c->owed = (int64_t)l->owed;
    c->task.fn = change_done;
    l->fetching = true;
    nexus__ledger_push(home->gateway, c);
}

nexus__lease_answer nexus__lease_take(nexus__gw_loop *home, nexus__lease *l, uint32_t cost, int64_t now)
{
    if (l->left >= cost) {
        l->left -= cost;
        /* The next one is fetched ahead while there is plenty; of the last ones nobody should hold more than he needs. */
        uint64_t size = size_of(l);
        if (l->left < size / 2 && !l->fetching && l->down_until <= now && l->used + 4 * size < l->quota)
            fetch(home, l, 1, now);
        return NEXUS__LEASE_TAKEN;
    }
    if (l->no_more_until > now)
        return NEXUS__LEASE_DENIED;
    if (l->down_until > now)
        return NEXUS__LEASE_DOWN;
    if (!l->fetching)
        fetch(home, l, l->wanted + cost, now);
    return l->fetching ? NEXUS__LEASE_LATER : NEXUS__LEASE_DOWN;
}

void nexus__lease_wait(nexus__lease *l, nexus__lease_waiter *waiter, uint32_t cost)
{
    waiter->next = NULL;
    nexus__lease_waiter **end = &l->waiters;
    while (*end)
        end = &(*end)->next;
    if (end == &l->waiters)
        nexus__timeout_set(&l->timeout, l->home->loop, WAIT_MS);
    *end = waiter;
    l->wanted += cost;
}

void nexus__lease_give(nexus__lease *l, uint32_t cost)
{
    l->left += cost;
}

bool nexus__lease_share(nexus__lease *l, uint32_t cost, uint32_t nodes)
{
    uint64_t left = l->quota > l->used ? (l->quota - l->used) / nodes : 0;
    if (l->owed + cost > left)
        return false;
    l->owed += cost;
    return true;
}

void nexus__lease_describe(const nexus__lease *l, bool allowed, int64_t real_ns, nexus_limit_result *r)
{
    uint64_t used = l->used + l->owed, left = (used < l->quota ? l->quota - used : 0) + l->left;
    *r = (nexus_limit_result){.allowed = allowed, .reset_ns = l->ends * NEXUS__NS_PER_S - real_ns};
    r->remaining = (uint32_t)(left < l->quota ? left : l->quota);
    r->retry_after_ns = allowed ? 0 : r->reset_ns;
}

void nexus__leases_close(nexus__gw_loop *home)
{
    nexus__leases *all = &home->limits.leases;
    if (!all->open)
        return;
    for (nexus__list *node = all->recent.next; node != &all->recent; node = node->next) {
        nexus__lease *l = NEXUS__CONTAINER(node, nexus__lease, node);
        l->down_until = INT64_MAX;
        tell_waiters(l);
    }
    while (!nexus__list_empty(&all->recent)) {
        nexus__lease *l = NEXUS__CONTAINER(all->recent.next, nexus__lease, node);
        nexus__ledger_change *c = settle(home, l);
        if (c)
            nexus__ledger_push(home->gateway, c);
        forget(home, l);
    }
    nexus__map_free(&all->map);
    all->open = false;
}
