/* An ingestion log with its store in a temporary directory. */
#ifndef INGEST_FIXTURE_H
#define INGEST_FIXTURE_H

#include <criterion/criterion.h>
#include <nexus/ingest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/read.h"

typedef struct fixture {
    char dir[64];
    nexus_analytics *analytics;
    nexus_ingest *ingest;
} fixture;

static inline void fixture_open(fixture *f, const nexus_ingest_opts *base)
{
    nexus_ingest_opts opts = NEXUS_INGEST_OPTS_INIT;
    if (base)
        opts = *base;
    cr_assert_eq(nexus_analytics_open(&f->analytics, NULL), NEXUS_OK);
    opts.dir = f->dir;
    opts.analytics = f->analytics;
    cr_assert_eq(nexus_ingest_open(&f->ingest, &opts), NEXUS_OK, "%s", nexus_error_message());
}

static inline void fixture_begin(fixture *f, const nexus_ingest_opts *base)
{
    strcpy(f->dir, "/tmp/nexus-ingest-XXXXXX");
    cr_assert(mkdtemp(f->dir));
    fixture_open(f, base);
}

static inline void fixture_close(fixture *f)
{
    nexus_ingest_close(f->ingest);
    nexus_analytics_close(f->analytics);
}

static inline void fixture_end(fixture *f)
{
    char command[128];
    fixture_close(f);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    cr_assert_eq(system(command), 0);
}

static inline nexus_ingest_counts counts_of(const nexus_ingest_result *r)
{
    nexus_ingest_counts c = NEXUS_INGEST_COUNTS_INIT;
    nexus_ingest_result_counts(r, &c);
    return c;
}

/* Takes a batch and returns its counts. */
static inline nexus_ingest_counts take(fixture *f, const char *body, uint32_t flags)
{
    nexus_ingest_result *r;
    nexus_ingest_call call = NEXUS_INGEST_CALL_INIT;
    call.flags = flags;
    nexus_status st = nexus_ingest_batch(f->ingest, (nexus_slice){body, strlen(body)}, &call, &r);
    cr_assert_eq(st, NEXUS_OK, "%s", nexus_error_message());
    nexus_ingest_counts c = counts_of(r);
    nexus_ingest_result_free(r);
    return c;
}

/* The answer of a question, scanned; text must be freed with nexus_free after the document. */
static inline char *query(fixture *f, const char *question, nexus__json *doc)
{
    char *text;
    size_t n;
    nexus_status st = nexus_analytics_query(f->analytics, (nexus_slice){question, strlen(question)}, 0, &text, &n);
    cr_assert_eq(st, NEXUS_OK, "%s", nexus_error_message());
    nexus__json_init(doc, NULL);
    cr_assert_eq(nexus__json_scan(doc, (nexus_slice){text, n}, NULL), NEXUS_OK, "%s", text);
    return text;
}

static inline int64_t number_at(nexus__json *doc, const char *pointer)
{
    int64_t v = INT64_MIN;
    nexus__json_i64(doc, nexus__json_pointer(doc, 0, (nexus_slice){pointer, strlen(pointer)}), &v);
    return v;
}

#endif
