/* Equality of JSON values as JSON Schema has it: numbers by value, strings by content, objects without order. */
#ifndef NEXUS_JSON_EQUAL_H
#define NEXUS_JSON_EQUAL_H

#include "json/read.h"

bool nexus__json_equal(const nexus__json *a, uint32_t left, const nexus__json *b, uint32_t right);
/* Equal values have equal hashes under the same seed. */
uint64_t nexus__json_hash(const nexus__json *doc, uint32_t v, uint64_t seed);
/* Whether two elements of the array are equal; *second is the later one. NEXUS_OK with *second NEXUS__JSON_NONE when
 * all differ; NEXUS_ENOMEM. Sorts hashes: n log n, whatever the elements are. */
nexus_status nexus__json_twins(const nexus__json *doc, uint32_t array, const nexus_alloc *alloc,
                               uint32_t *second) NEXUS_MUST_CHECK;

#endif
