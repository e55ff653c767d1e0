/* Contracts as data: their JSON form, and the stream of the bus that holds them. */
#ifndef NEXUS_BUS_CONTRACT_STORE_H
#define NEXUS_BUS_CONTRACT_STORE_H

#include "bus/contract.h"

/* Contracts read from JSON or from the bus; texts live in the arena. */
typedef struct nexus__contract_list {
    nexus__arena arena;
    nexus_contract *items;
    size_t count, cap;
} nexus__contract_list;

/* Free the list whatever these return. */
nexus_status nexus__contract_list_parse(nexus__contract_list *list, const nexus_alloc *alloc,
                                        nexus_slice json) NEXUS_MUST_CHECK;
/* What is stored, sorted by (type, rev). */
nexus_status nexus__contract_list_read(nexus__contract_list *list, nexus_bus *bus) NEXUS_MUST_CHECK;
void nexus__contract_list_free(nexus__contract_list *list);

/* Stores what is not there yet; NEXUS_ECONFLICT: one is, with another schema. */
nexus_status nexus__contract_store(nexus_bus *bus, nexus__rev *const *revs, size_t n) NEXUS_MUST_CHECK;

/* Whether two schema texts are one value (white space and the order of members do not matter). */
bool nexus__contract_same(nexus_slice a, nexus_slice b);

#endif
