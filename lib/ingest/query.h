/*
 * Answering a question: one pass over the rows for the totals of every group, a sort, and, when an interval was asked
 * for, a second pass that fills the series of the groups that are shown.
 */
#ifndef NEXUS_INGEST_QUERY_H
#define NEXUS_INGEST_QUERY_H

#include "ingest/question.h"
#include "ingest/uniques.h"

#define NEXUS__QUERY_GROUPS_TRACKED_MAX 1000000u /* different groups counted by themselves; later ones are "other" */

/* What is gathered of one measure in one cell. */
typedef struct nexus__tally {
    uint64_t count;
    double sum, min, max;
    nexus__uniques uniques;
} nexus__tally;

typedef struct nexus__group {
    nexus__fact facts[NEXUS__QUERY_GROUPS_MAX]; /* the map's key */
    nexus__tally tallies[NEXUS__MEASURES_MAX];
    nexus__tally *points; /* intervals x measures; only of shown groups */
} nexus__group;

typedef struct nexus__answer {
    nexus__group **groups; /* sorted, cut to the limit */
    uint32_t group_count, groups_found;
    nexus__group totals, other;
    bool has_other;
    int64_t first, intervals; /* ordinal of the first interval and their number */
    uint64_t rows_scanned, rows_matched;
    int64_t min_ms, max_ms; /* of the rows that matched */
    nexus__map map;
    nexus__arena arena; /* of the groups */
    nexus__group **all;
    uint32_t all_cap;
    const nexus_alloc *alloc;
} nexus__answer;

/* NEXUS_ETOOBIG when the series would be longer than buckets_max, or wider than memory allows. Free it in any case. */
nexus_status nexus__query_run(nexus__answer *a, const nexus__question *q, const nexus__snapshot *s,
                              uint32_t buckets_max) NEXUS_MUST_CHECK;
void nexus__answer_free(nexus__answer *a, const nexus__question *q);

/* A tally's value under its measure; false when there is none (the mean of nothing). */
bool nexus__tally_value(const nexus__tally *t, nexus__agg agg, double *out);

#endif
