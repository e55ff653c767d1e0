/*
 * From the revision that is stored to the one that is wanted, a step at a time. A step makes any number of events, of its
 * own type or of others it has declared, and each of them goes on from where it is. Chains were checked when they were
 * added (contract_chain.c), so the walk ends.
 */
#include "base/status.h"
#include "bus/contract.h"
#include "bus/event.h"

#define EVENTS_MAX 4096 /* made of one: a mistake beyond it */
#define DEPTH_MAX 256   /* steps from stored to wanted */

struct nexus_upcast {
    const nexus__contract_set *set;
    nexus_slice accept;
    nexus__evolved *out;
    const nexus_event *origin; /* as it is stored */
    const nexus__step *step;
    uint32_t depth;
    nexus_status failed; /* of an emit whose status the function let go */
};

/* --- which revision is wanted ---- */

static bool read_pin(nexus_slice pin, nexus_slice *type, uint32_t *rev)
{
    uint64_t n;
    *type = nexus__slice_trim(nexus__slice_cut(&pin, '='));
    if (!type->n || !nexus__parse_u64(nexus__slice_trim(pin), &n) || n < 1 || n > INT32_MAX)
        return false;
    *rev = (uint32_t)n;
    return true;
}

nexus_status nexus__accept_check(nexus_slice accept)
{
    while (accept.n) {
        nexus_slice pin = nexus__slice_cut(&accept, ','), type;
        uint32_t rev;
        if (!read_pin(pin, &type, &rev))
            return nexus__fail(NEXUS_EINVAL, "accept_revs: \"%.*s\" is not \"type=rev\"",
                               (int)(pin.n < 100 ? pin.n : 100), pin.p);
    }
    return NEXUS_OK;
}

static uint32_t pinned(nexus_slice accept, nexus_slice type)
{
    while (accept.n) {
        nexus_slice name;
        uint32_t rev;
        if (read_pin(nexus__slice_cut(&accept, ','), &name, &rev) && nexus__slice_eq(name, type))
            return rev;
    }
    return 0;
}

/* --- making events ---- */

static nexus_event *room(nexus__evolved *out)
{
    if (out->count == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 4;
        nexus_event *grown = nexus__arena_get(&out->arena, cap * sizeof *grown);
        if (!grown)
            return NULL;
        if (out->count)
            memcpy(grown, out->events, out->count * sizeof *grown);
        out->events = grown;
        out->cap = cap;
    }
    return &out->events[out->count];
}

static bool own(nexus__arena *arena, nexus_slice *text)
{
    if (!text->n)
        return true;
    *text = nexus__arena_copy(arena, *text);
    return text->p != NULL;
}

/* Everything the event points to, into the arena. */
static bool own_all(nexus__arena *arena, nexus_event *e)
{
    for (size_t i = 0; i < nexus__event_attr_count; i++)
        if (!own(arena, nexus__event_slot(e, &nexus__event_attrs[i])))
            return false;
    nexus_pair *ext = e->ext_count ? nexus__arena_get(arena, e->ext_count * sizeof *ext) : NULL;
    if (e->ext_count && !ext)
        return false;
    for (size_t i = 0; i < e->ext_count; i++) {
        ext[i] = e->ext[i];
        if (!own(arena, &ext[i].name) || !own(arena, &ext[i].value))
            return false;
    }
    e->ext = ext;
    return own(arena, &e->data);
}

static bool declared(const nexus__step *step, nexus_slice type)
{
    nexus_slice list = nexus__slice_c(step->to_types);
    while (list.n)
        if (nexus__slice_eq(nexus__slice_trim(nexus__slice_cut(&list, ',')), type))
            return true;
    return false;
}

static nexus_status advance(nexus_upcast *up, const nexus_event *e);

nexus_status nexus_upcast_emit(nexus_upcast *up, const nexus_event *event)
{
    const nexus__step *step = up->step;
    nexus_event e = *event;
    if (nexus__slice_eq_c(e.type, step->type)) {
        e.rev = step->to;
    } else if (!declared(step, e.type)) {
        return nexus__fail(NEXUS_EINVAL, "the upcaster of %s, revision %u, emits %.*s, which its to_types do not name",
                           step->type, step->from, (int)(e.type.n < 100 ? e.type.n : 100), e.type.p);
    }
    /* What says which stored event this is cannot be changed by a step. */
    e.id = up->origin->id;
    e.source = up->origin->source;
    e.pos = up->origin->pos;
    e.version = up->origin->version;
    e.recv_ns = up->origin->recv_ns;
    e.stream = up->origin->stream;
    e.size = sizeof e;
    if (!own_all(&up->out->arena, &e))
        return nexus__nomem();
    nexus_upcast next = *up;
    nexus_status status = advance(&next, &e);
    if (status != NEXUS_OK)
        up->failed = status;
    return status;
}

static nexus_status run(nexus_upcast *up, const nexus__step *step, const nexus_event *e)
{
    if (++up->depth > DEPTH_MAX)
        return nexus__fail(NEXUS_EINVAL, "over %d steps from %s, revision %u", DEPTH_MAX, step->type, step->from);
    up->step = step;
    up->failed = NEXUS_OK;
    nexus_status status = step->fn(e, up, step->user_data);
    status = status == NEXUS_OK ? up->failed : status;
    if (status == NEXUS_OK)
        return NEXUS_OK;
    char why[300];
    size_t n = strlen(nexus_error_message());
    n = n < sizeof why - 1 ? n : sizeof why - 1;
    memcpy(why, nexus_error_message(), n);
    why[n] = '\0';
    if (strncmp(why, "upcaster of ", 12) == 0) /* said by a later step already */
        return status;
    return nexus__fail(status, "upcaster of %s, revision %u to %u, at position %llu: %s", step->type, step->from,
                       step->to, (unsigned long long)e->pos, why);
}

static nexus_status no_way(const nexus_event *e, uint32_t rev, uint32_t wanted)
{
    return nexus__fail(NEXUS_EREV,
                       "event %llu is %.*s, revision %u: nothing here leads to revision %u; register its "
                       "%s",
                       (unsigned long long)e->pos, (int)(e->type.n < 100 ? e->type.n : 100), e->type.p, rev, wanted,
                       rev > wanted ? "contract or a downcaster" : "upcaster");
}

/* The next step for the event, or NULL when it is where it should be. Revisions that are compatible without a step are
 * passed over. */
static nexus_status next_step(const nexus_upcast *up, const nexus_event *e, const nexus__step **out)
{
    uint32_t latest = nexus__contract_latest(up->set, e->type), pin = pinned(up->accept, e->type);
    uint32_t wanted = pin ? pin : latest, rev = e->rev ? e->rev : 1;
    *out = NULL;
    if (!wanted)
        return NEXUS_OK;
    if (rev > wanted) {
        *out = nexus__contract_step(up->set, e->type, rev, false);
        return *out ? NEXUS_OK : no_way(e, rev, wanted);
    }
    for (; rev < wanted; rev++) {
        *out = nexus__contract_step(up->set, e->type, rev, true);
        if (*out)
            return NEXUS_OK;
        if (!nexus__contract_rev(up->set, e->type, rev + 1) || !nexus__contract_rev(up->set, e->type, rev))
            return no_way(e, rev, wanted);
    }
    return NEXUS_OK;
}

static nexus_status advance(nexus_upcast *up, const nexus_event *e)
{
    const nexus__step *step;
    nexus_status status = next_step(up, e, &step);
    if (status != NEXUS_OK)
        return status;
    if (step)
        return run(up, step, e);
    nexus_event *slot = up->out->count < EVENTS_MAX ? room(up->out) : NULL;
    if (!slot)
        return up->out->count < EVENTS_MAX
                   ? nexus__nomem()
                   : nexus__fail(NEXUS_ETOOBIG, "upcasters make over %d events of one", EVENTS_MAX);
    *slot = *e;
    up->out->count++;
    return NEXUS_OK;
}

nexus_status nexus__evolve(const nexus__contract_set *set, nexus_slice accept, const nexus_event *e,
                           nexus__evolved *out, bool *changed)
{
    const nexus__step *step;
    nexus_upcast up = {.set = set, .accept = accept, .out = out, .origin = e};
    *changed = false;
    if (!set && !accept.n)
        return NEXUS_OK;
    nexus_status status = next_step(&up, e, &step);
    if (status != NEXUS_OK || !step)
        return status;
    nexus__arena_reset(&out->arena);
    out->events = NULL;
    out->count = out->cap = 0;
    *changed = true;
    return run(&up, step, e);
}
