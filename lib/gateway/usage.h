/*
 * Who still calls what is deprecated: a count for each route, version and consumer, in a table of fixed size.
 *
 * Counting takes no lock: a row that stands is found by its hash and two words of it are added to. Only the first call of
 * a consumer takes the mutex to bring a row in. Rows stay until the gateway ends; once the table is full, further consumers
 * are counted together.
 */
#ifndef NEXUS_GATEWAY_USAGE_H
#define NEXUS_GATEWAY_USAGE_H

#include "base/hash.h"
#include "json/write.h"

enum { NEXUS__USAGE_ROWS = 2048 /* a power of two */, NEXUS__USAGE_TEXT_MAX = 96 };

typedef struct nexus__usage nexus__usage;

nexus_status nexus__usage_new(nexus__usage **out, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__usage_free(nexus__usage *usage);
/* Texts over NEXUS__USAGE_TEXT_MAX bytes are cut in the report; they are told apart nevertheless. Any thread. */
void nexus__usage_count(nexus__usage *usage, nexus_slice route, nexus_slice version, nexus_slice consumer,
                        int64_t now_s);
/* The array "consumers" of one route's version: {"consumer","requests","last_seen"}. Any thread. */
void nexus__usage_put(const nexus__usage *usage, nexus_slice route, nexus_slice version, nexus__json_writer *w);
/* Requests of consumers for whom there was no row. */
uint64_t nexus__usage_overflow(const nexus__usage *usage);

#endif
