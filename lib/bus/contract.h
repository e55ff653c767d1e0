/* Inside the bus: the contracts of one handle. */
#ifndef NEXUS_BUS_CONTRACT_H
#define NEXUS_BUS_CONTRACT_H

#include <nexus/contract.h>
#include <nexus/schema.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/thread.h"

/* One revision; lives until the handle is closed. */
typedef struct nexus__rev {
    char *type;
    uint32_t rev, mode, compat;
    nexus_schema *schema; /* NULL = any data */
    char *text;
    size_t text_bytes;
    nexus_contract_check_fn *check;
    nexus_contract_warning_fn *on_warning;
    void *user_data;
} nexus__rev;

/* One step, up or down. */
typedef struct nexus__step {
    char *type, *to_types; /* to_types NULL = none */
    uint32_t from, to;
    nexus_upcast_fn *fn;
    void *user_data;
} nexus__step;

/*
 * Everything that is known, sorted by (type, rev). Never changed once it is published: adding makes a new set, and the
 * old one stays until the handle is closed, so looking up takes no lock.
 */
typedef struct nexus__contract_set {
    struct nexus__contract_set *older;
    nexus__rev **revs;
    nexus__step **steps;
    size_t rev_count, step_count;
} nexus__contract_set;

typedef struct nexus__contracts {
    _Atomic(nexus__contract_set *) set; /* NULL = nothing was added */
    pthread_mutex_t lock;               /* of those who add */
} nexus__contracts;

void nexus__contracts_init(nexus__contracts *c);
void nexus__contracts_free(nexus__contracts *c, const nexus_alloc *alloc);

static inline const nexus__contract_set *nexus__contracts_now(nexus__contracts *c)
{
    return atomic_load_explicit(&c->set, memory_order_acquire);
}

/* Look-ups; set may be NULL. */
const nexus__rev *nexus__contract_rev(const nexus__contract_set *set, nexus_slice type, uint32_t rev);
const nexus__step *nexus__contract_step(const nexus__contract_set *set, nexus_slice type, uint32_t from, bool up);
/* The highest revision that a schema or a step names; 0 = the type is not known. */
uint32_t nexus__contract_latest(const nexus__contract_set *set, nexus_slice type);

/* Appends what is wrong with the set as a whole, a sentence each. contract_chain.c. */
void nexus__contract_problems(const nexus__contract_set *set, nexus__buf *out, bool *conflict);

/* Of an event that is about to be published: fills in its revision, checks its data. contract_check.c */
nexus_status nexus__contract_publish(nexus__contracts *c, nexus_event *e, uint32_t *warnings) NEXUS_MUST_CHECK;

/* --- reading: events in the revision that is wanted. evolve.c ---- */

/* What became of one stored event. Starts zeroed but for the arena; reused. */
typedef struct nexus__evolved {
    nexus__arena arena;
    nexus_event *events;
    size_t count, cap;
} nexus__evolved;

/* accept: "type=rev" pins, comma-separated; empty = the latest. NEXUS_OK with *changed false: the event is as it should
 * be, and out is not touched. NEXUS_EREV: no way leads to the revision. Other statuses are the upcaster's. */
nexus_status nexus__evolve(const nexus__contract_set *set, nexus_slice accept, const nexus_event *e,
                           nexus__evolved *out, bool *changed) NEXUS_MUST_CHECK;
/* NEXUS_EINVAL names the pin that is not one. */
nexus_status nexus__accept_check(nexus_slice accept) NEXUS_MUST_CHECK;

#endif
