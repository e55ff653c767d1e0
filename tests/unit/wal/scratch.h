/* A directory of its own for each test, and helpers that append numbered records. */
#ifndef TESTS_WAL_SCRATCH_H
#define TESTS_WAL_SCRATCH_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "wal/wal.h"

static inline char *scratch_dir(void)
{
    char template[] = "/tmp/nexus-test-XXXXXX";
    cr_assert(mkdtemp(template) != NULL);
    return strdup(template);
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void scratch_remove(char *dir)
{
    nftw(dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

static inline nexus__wal *log_open(const char *dir, nexus__wal_report *report)
{
    nexus__wal *wal = NULL;
    nexus__wal_opts opts = {.segment_bytes = 65536};
    nexus_status status = nexus__wal_open(&wal, dir, &opts, report);
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    return wal;
}

static inline uint64_t log_put(nexus__wal *wal, const char *payload, size_t n, uint16_t flags)
{
    uint64_t pos = 0;
    nexus__wal_record r = {
        .kind = 7, .flags = flags, .version = 3, .stream = 11, .meta = NEXUS_S("m"), .payload = nexus__slice(payload, n)};
    nexus_status status = nexus__wal_append(wal, &r, 1, &pos);
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    return pos;
}

static inline uint64_t log_count(nexus__wal *wal, uint64_t from)
{
    nexus__wal_reader *r;
    nexus__wal_record rec;
    uint64_t n = 0, last = 0;
    cr_assert(nexus__wal_reader_open(&r, wal, from) == NEXUS_OK);
    nexus_status status;
    while ((status = nexus__wal_reader_next(r, &rec)) == NEXUS_OK) {
        if (rec.flags & NEXUS__WAL_INTERNAL)
            continue;
        cr_assert(last == 0 || rec.pos == last + 1);
        last = rec.pos;
        n++;
    }
    cr_assert(status == NEXUS_EDONE, "%s", nexus_error_message());
    nexus__wal_reader_close(r);
    return n;
}

#endif
