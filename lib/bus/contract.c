/* The contracts of a handle: looking them up, adding to them. */
#include "bus/contract.h"

#include "base/status.h"
#include "bus/contract_store.h"
#include "bus/event.h"
#include "bus/handle.h"

void nexus_contract_init(nexus_contract *contract)
{
    *contract = (nexus_contract)NEXUS_CONTRACT_INIT;
}

void nexus_upcaster_init(nexus_upcaster *upcaster)
{
    *upcaster = (nexus_upcaster)NEXUS_UPCASTER_INIT;
}

/* --- looking up ---- */

static int by_rev(nexus_slice type, uint32_t rev, const char *other, uint32_t other_rev)
{
    int order = nexus__slice_cmp(type, nexus__slice_c(other));
    return order ? order : rev < other_rev ? -1 : rev > other_rev;
}

/* The first of them that does not stand before (type, rev). */
static size_t rev_at(const nexus__contract_set *set, nexus_slice type, uint32_t rev)
{
    size_t low = 0, high = set->rev_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (by_rev(type, rev, set->revs[mid]->type, set->revs[mid]->rev) > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static size_t step_at(const nexus__contract_set *set, nexus_slice type, uint32_t from)
{
    size_t low = 0, high = set->step_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (by_rev(type, from, set->steps[mid]->type, set->steps[mid]->from) > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const nexus__rev *nexus__contract_rev(const nexus__contract_set *set, nexus_slice type, uint32_t rev)
{
    size_t at = set ? rev_at(set, type, rev) : 0;
    return set && at < set->rev_count && by_rev(type, rev, set->revs[at]->type, set->revs[at]->rev) == 0 ? set->revs[at]
                                                                                                         : NULL;
}

const nexus__step *nexus__contract_step(const nexus__contract_set *set, nexus_slice type, uint32_t from, bool up)
{
    for (size_t at = set ? step_at(set, type, from) : 0;
         set && at < set->step_count && by_rev(type, from, set->steps[at]->type, set->steps[at]->from) == 0; at++)
        if ((set->steps[at]->to > from) == up)
            return set->steps[at];
    return NULL;
}

uint32_t nexus__contract_latest(const nexus__contract_set *set, nexus_slice type)
{
    uint32_t latest = 0;
    if (!set)
        return 0;
    size_t revs = rev_at(set, type, UINT32_MAX), steps = step_at(set, type, UINT32_MAX);
    if (revs && nexus__slice_eq_c(type, set->revs[revs - 1]->type))
        latest = set->revs[revs - 1]->rev;
    for (; steps && nexus__slice_eq_c(type, set->steps[steps - 1]->type); steps--) {
        const nexus__step *s = set->steps[steps - 1];
        uint32_t top = s->from > s->to ? s->from : s->to;
        if (top <= latest && s->from < latest) /* sorted: what is left names no higher one */
            break;
        latest = top > latest ? top : latest;
    }
    return latest;
}

/* --- making sets ---- */

void nexus__contracts_init(nexus__contracts *c)
{
    atomic_init(&c->set, NULL);
    pthread_mutex_init(&c->lock, NULL);
}

static void rev_free(const nexus_alloc *alloc, nexus__rev *r)
{
    if (!r)
        return;
    nexus_schema_free(r->schema);
    nexus__free(alloc, r->type);
    nexus__free(alloc, r->text);
    nexus__free(alloc, r);
}

static void step_free(const nexus_alloc *alloc, nexus__step *s)
{
    if (!s)
        return;
    nexus__free(alloc, s->type);
    nexus__free(alloc, s->to_types);
    nexus__free(alloc, s);
}

static void set_free(const nexus_alloc *alloc, nexus__contract_set *set)
{
    if (!set)
        return;
    nexus__free(alloc, set->revs);
    nexus__free(alloc, set->steps);
    nexus__free(alloc, set);
}

void nexus__contracts_free(nexus__contracts *c, const nexus_alloc *alloc)
{
    nexus__contract_set *set = atomic_load(&c->set);
    for (size_t i = 0; set && i < set->rev_count; i++)
        rev_free(alloc, set->revs[i]);
    for (size_t i = 0; set && i < set->step_count; i++)
        step_free(alloc, set->steps[i]);
    while (set) {
        nexus__contract_set *older = set->older;
        set_free(alloc, set);
        set = older;
    }
    pthread_mutex_destroy(&c->lock);
}

/* A copy with room for more. */
static nexus__contract_set *set_copy(const nexus_alloc *alloc, nexus__contract_set *old, size_t revs, size_t steps)
{
    nexus__contract_set *set = nexus__calloc(alloc, 1, sizeof *set);
    size_t had_revs = old ? old->rev_count : 0, had_steps = old ? old->step_count : 0;
    if (!set)
        return NULL;
    set->revs = nexus__calloc(alloc, had_revs + revs + 1, sizeof *set->revs);
    set->steps = nexus__calloc(alloc, had_steps + steps + 1, sizeof *set->steps);
    if (!set->revs || !set->steps) {
        set_free(alloc, set);
        return NULL;
    }
    if (had_revs)
        memcpy(set->revs, old->revs, had_revs * sizeof *set->revs);
    if (had_steps)
        memcpy(set->steps, old->steps, had_steps * sizeof *set->steps);
    set->rev_count = had_revs;
    set->step_count = had_steps;
    set->older = old;
    return set;
}

static bool plain_type(const char *type)
{
    return type && *type && !strpbrk(type, "*>,= ") &&
           nexus__event_attr_check("type", NEXUS__ATTR_TEXT, nexus__slice_c(type)) == NEXUS_OK;
}

static nexus_status compile(nexus_bus *bus, nexus__rev *r)
{
    nexus_schema_opts opts = NEXUS_SCHEMA_OPTS_INIT;
    char why[400];
    opts.alloc = bus->alloc;
    opts.errors_max = 1;
    nexus_status status = nexus_schema_compile(&r->schema, r->text, r->text_bytes, &opts);
    if (status == NEXUS_OK)
        return NEXUS_OK;
    size_t n = strlen(nexus_error_message());
    n = n < sizeof why - 1 ? n : sizeof why - 1;
    memcpy(why, nexus_error_message(), n);
    why[n] = '\0';
    return nexus__fail(status, "the schema of %s, revision %u: %s", r->type, r->rev, why);
}

static nexus_status rev_new(nexus_bus *bus, const nexus_contract *c, nexus__rev **out)
{
    if (!plain_type(c->type) || c->rev == 0 || c->rev > INT32_MAX || c->mode > NEXUS_CONTRACT_OFF ||
        c->compat > NEXUS_COMPAT_NONE)
        return nexus__fail(NEXUS_EINVAL,
                           "contract \"%s\", revision %u: a type without wildcards, a revision from 1, and "
                           "one of the named modes",
                           c->type ? c->type : "", c->rev);
    nexus__rev *r = nexus__calloc(bus->alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    *r = (nexus__rev){.rev = c->rev,
                      .mode = c->mode,
                      .compat = c->compat,
                      .check = c->check,
                      .on_warning = c->on_warning,
                      .user_data = c->user_data,
                      .text_bytes = c->schema.n};
    r->type = nexus__strndup(bus->alloc, nexus__slice_c(c->type));
    r->text = nexus__strndup(bus->alloc, c->schema);
    nexus_status status = r->type && r->text ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK && r->text_bytes)
        status = compile(bus, r);
    if (status != NEXUS_OK) {
        rev_free(bus->alloc, r);
        return status;
    }
    *out = r;
    return NEXUS_OK;
}

static nexus_status step_new(nexus_bus *bus, const nexus_upcaster *u, nexus__step **out)
{
    uint32_t to = u->to_rev ? u->to_rev : u->from_rev + 1;
    if (!plain_type(u->type) || !u->fn || u->from_rev == 0 || (to != u->from_rev + 1 && to + 1 != u->from_rev))
        return nexus__fail(NEXUS_EINVAL,
                           "upcaster of \"%s\", revision %u to %u: a type without wildcards, a function, and a "
                           "step of one revision",
                           u->type ? u->type : "", u->from_rev, to);
    nexus__step *s = nexus__calloc(bus->alloc, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    *s = (nexus__step){.from = u->from_rev, .to = to, .fn = u->fn, .user_data = u->user_data};
    s->type = nexus__strndup(bus->alloc, nexus__slice_c(u->type));
    s->to_types = u->to_types ? nexus__strndup(bus->alloc, nexus__slice_c(u->to_types)) : NULL;
    if (!s->type || (u->to_types && !s->to_types)) {
        step_free(bus->alloc, s);
        return nexus__nomem();
    }
    *out = s;
    return NEXUS_OK;
}

static void insert_rev(nexus__contract_set *set, nexus__rev *r)
{
    size_t at = rev_at(set, nexus__slice_c(r->type), r->rev);
    memmove(&set->revs[at + 1], &set->revs[at], (set->rev_count - at) * sizeof *set->revs);
    set->revs[at] = r;
    set->rev_count++;
}

static void insert_step(nexus__contract_set *set, nexus__step *s)
{
    size_t at = step_at(set, nexus__slice_c(s->type), s->from);
    memmove(&set->steps[at + 1], &set->steps[at], (set->step_count - at) * sizeof *set->steps);
    set->steps[at] = s;
    set->step_count++;
}

/* --- adding ---- */

typedef struct addition {
    nexus__rev **revs;
    nexus__step **steps;
    size_t rev_count, step_count;
} addition;

static nexus_status build(nexus_bus *bus, const nexus_contract *contracts, size_t n, const nexus_upcaster *upcasters,
                          size_t m, addition *a)
{
    a->revs = nexus__calloc(bus->alloc, n + 1, sizeof *a->revs);
    a->steps = nexus__calloc(bus->alloc, m + 1, sizeof *a->steps);
    nexus_status status = a->revs && a->steps ? NEXUS_OK : nexus__nomem();
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        nexus_contract c = NEXUS_CONTRACT_INIT;
        memcpy(&c, (const char *)contracts + i * contracts->size,
               contracts->size < sizeof c ? contracts->size : sizeof c);
        status = rev_new(bus, &c, &a->revs[a->rev_count]);
        a->rev_count += status == NEXUS_OK;
    }
    for (size_t i = 0; i < m && status == NEXUS_OK; i++) {
        nexus_upcaster u = NEXUS_UPCASTER_INIT;
        memcpy(&u, (const char *)upcasters + i * upcasters->size,
               upcasters->size < sizeof u ? upcasters->size : sizeof u);
        status = step_new(bus, &u, &a->steps[a->step_count]);
        a->step_count += status == NEXUS_OK;
    }
    return status;
}

static nexus_status check(nexus_bus *bus, const nexus__contract_set *set)
{
    nexus__buf problems;
    bool conflict = false;
    nexus__buf_init(&problems, bus->alloc, 0);
    nexus__contract_problems(set, &problems, &conflict);
    nexus_status status = problems.status;
    if (status == NEXUS_OK && problems.len)
        status = nexus__fail(conflict ? NEXUS_ECONFLICT : NEXUS_EINVAL, "contracts: %.*s",
                             (int)(problems.len < 490 ? problems.len : 490), problems.p);
    nexus__buf_free(&problems);
    return status;
}

/* A revision that is here already: the same one is fine and stays as it is, another is not. */
static nexus_status drop_known(nexus_bus *bus, const nexus__contract_set *had, addition *a)
{
    for (size_t i = 0; i < a->rev_count;) {
        nexus__rev *r = a->revs[i];
        const nexus__rev *old = nexus__contract_rev(had, nexus__slice_c(r->type), r->rev);
        if (!old) {
            i++;
            continue;
        }
        if (!nexus__contract_same(nexus__slice(old->text, old->text_bytes), nexus__slice(r->text, r->text_bytes)))
            return nexus__fail(NEXUS_ECONFLICT, "contract %s, revision %u was added with another schema", r->type,
                               r->rev);
        rev_free(bus->alloc, r);
        a->revs[i] = a->revs[--a->rev_count];
    }
    return NEXUS_OK;
}

static nexus_status add_locked(nexus_bus *bus, addition *a, bool store)
{
    nexus__contract_set *had = atomic_load(&bus->contracts.set);
    nexus_status status = drop_known(bus, had, a);
    if (status != NEXUS_OK || (!a->rev_count && !a->step_count))
        return status;
    nexus__contract_set *set = set_copy(bus->alloc, had, a->rev_count, a->step_count);
    if (!set)
        return nexus__nomem();
    for (size_t i = 0; i < a->rev_count; i++)
        insert_rev(set, a->revs[i]);
    for (size_t i = 0; i < a->step_count; i++)
        insert_step(set, a->steps[i]);
    status = check(bus, set);
    if (status == NEXUS_OK && store)
        status = nexus__contract_store(bus, a->revs, a->rev_count);
    if (status != NEXUS_OK) {
        set_free(bus->alloc, set);
        return status;
    }
    a->rev_count = a->step_count = 0; /* the set's now */
    atomic_store_explicit(&bus->contracts.set, set, memory_order_release);
    return NEXUS_OK;
}

static nexus_status add(nexus_bus *bus, const nexus_contract *contracts, size_t n, const nexus_upcaster *upcasters,
                        size_t m, bool store)
{
    addition a = {0};
    if ((n && contracts->size == 0) || (m && upcasters->size == 0))
        return nexus__fail(NEXUS_EINVAL,
                           "contracts: size is 0; begin with NEXUS_CONTRACT_INIT and NEXUS_UPCASTER_INIT");
    nexus_status status = build(bus, contracts, n, upcasters, m, &a);
    if (status == NEXUS_OK) {
        pthread_mutex_lock(&bus->contracts.lock);
        status = add_locked(bus, &a, store);
        pthread_mutex_unlock(&bus->contracts.lock);
    }
    for (size_t i = 0; i < a.rev_count; i++)
        rev_free(bus->alloc, a.revs[i]);
    for (size_t i = 0; i < a.step_count; i++)
        step_free(bus->alloc, a.steps[i]);
    nexus__free(bus->alloc, a.revs);
    nexus__free(bus->alloc, a.steps);
    return status;
}

nexus_status nexus_contract_add(nexus_bus *bus, const nexus_contract *contracts, size_t n,
                                const nexus_upcaster *upcasters, size_t upcaster_count)
{
    return add(bus, contracts, n, upcasters, upcaster_count, true);
}

nexus_status nexus_contract_add_json(nexus_bus *bus, const char *text, size_t n)
{
    nexus__contract_list list;
    nexus_status status = nexus__contract_list_parse(&list, bus->alloc, nexus__slice(text, n));
    if (status == NEXUS_OK)
        status = add(bus, list.items, list.count, NULL, 0, true);
    nexus__contract_list_free(&list);
    return status;
}

nexus_status nexus_contract_load(nexus_bus *bus, uint32_t mode)
{
    nexus__contract_list list;
    if (mode > NEXUS_CONTRACT_OFF)
        return nexus__fail(NEXUS_EINVAL, "contract mode is %u", mode);
    nexus_status status = nexus__contract_list_read(&list, bus);
    size_t kept = 0;
    for (size_t i = 0; status == NEXUS_OK && i < list.count; i++) {
        nexus_contract *c = &list.items[i];
        if (nexus__contract_rev(nexus__contracts_now(&bus->contracts), nexus__slice_c(c->type), c->rev))
            continue;
        c->mode = mode;
        c->compat = NEXUS_COMPAT_NONE; /* was checked by who added it, who has the upcasters */
        list.items[kept++] = *c;
    }
    if (status == NEXUS_OK)
        status = add(bus, list.items, kept, NULL, 0, false);
    nexus__contract_list_free(&list);
    return status;
}
