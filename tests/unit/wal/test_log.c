/* wal/: append, read, roll, drop, checkpoints, injected faults. */
#include <errno.h>
#include <stdatomic.h>

#include "scratch.h"

Test(log, positions_have_no_gaps_and_internal_records_take_none)
{
    char *dir = scratch_dir();
    nexus__wal *wal = log_open(dir, NULL);
    cr_assert(log_put(wal, "a", 1, 0) == 1);
    log_put(wal, "x", 1, NEXUS__WAL_INTERNAL);
    cr_assert(log_put(wal, "b", 1, 0) == 2);
    cr_assert(nexus__wal_durable(wal) == 2);
    nexus__wal_reader *r;
    nexus__wal_record rec;
    cr_assert(nexus__wal_reader_open(&r, wal, 1) == NEXUS_OK);
    const char *expected = "axb";
    for (int i = 0; i < 3; i++) {
        cr_assert(nexus__wal_reader_next(r, &rec) == NEXUS_OK);
        cr_assert(rec.payload.n == 1 && rec.payload.p[0] == expected[i] && rec.kind == 7 && rec.version == 3);
        cr_assert(rec.pos == (i < 2 ? 1u : 2u));
    }
    cr_assert(nexus__wal_reader_next(r, &rec) == NEXUS_EDONE);
    log_put(wal, "c", 1, 0); /* a reader at the end goes on */
    cr_assert(nexus__wal_reader_next(r, &rec) == NEXUS_OK && rec.pos == 3);
    nexus__wal_reader_close(r);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

static void roundtrip(const char *dir)
{
    nexus__wal *wal = log_open(dir, NULL);
    char payload[1000] = "p";
    for (int i = 0; i < 500; i++)
        log_put(wal, payload, sizeof payload, 0);
    for (uint64_t from = 1; from <= 500; from += 37)
        cr_assert(log_count(wal, from) == 501 - from);
    if (dir) {
        nexus__wal_close(wal);
        nexus__wal_report report;
        wal = log_open(dir, &report);
        cr_assert(report.segments > 5 && report.cut_bytes == 0 && !report.read_only);
        for (uint64_t from = 1; from <= 500; from += 37)
            cr_assert(log_count(wal, from) == 501 - from);
        cr_assert(log_put(wal, "q", 1, 0) == 501);
    }
    nexus__wal_close(wal);
}

Test(log, many_files_read_back_before_and_after_reopening)
{
    char *dir = scratch_dir();
    roundtrip(dir);
    scratch_remove(dir);
}

Test(log, memory_behaves_the_same)
{
    roundtrip(NULL);
}

Test(log, a_batch_bigger_than_a_file_gets_a_file_of_its_size)
{
    char *dir = scratch_dir();
    nexus__wal *wal = log_open(dir, NULL);
    char *big = calloc(1, 1 << 20);
    log_put(wal, "a", 1, 0);
    log_put(wal, big, 1 << 20, 0);
    log_put(wal, "b", 1, 0);
    cr_assert(log_count(wal, 1) == 3);
    free(big);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(log, dropped_files_are_reused_and_never_read_again)
{
    char *dir = scratch_dir();
    nexus__wal *wal = log_open(dir, NULL);
    char payload[1000] = "p";
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 300; i++)
            log_put(wal, payload, sizeof payload, 0);
        cr_assert(nexus__wal_drop_below(wal, nexus__wal_durable(wal)) == NEXUS_OK);
        uint64_t first = nexus__wal_first(wal);
        cr_assert(log_count(wal, first) == nexus__wal_durable(wal) - first + 1);
        if (first > 1) {
            nexus__wal_reader *r;
            cr_assert(nexus__wal_reader_open(&r, wal, 2) == NEXUS_EMISSING);
        }
        nexus__wal_close(wal);
        wal = log_open(dir, NULL);
        cr_assert(log_count(wal, first) == nexus__wal_durable(wal) - first + 1);
    }
    cr_assert(nexus__wal_bytes(wal) < 400000);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(log, has_one_owner)
{
    char *dir = scratch_dir();
    nexus__wal *wal = log_open(dir, NULL), *second;
    cr_assert(nexus__wal_open(&second, dir, NULL, NULL) == NEXUS_ECONFLICT);
    nexus__wal_close(wal);
    wal = log_open(dir, NULL);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(log, checkpoints_are_whole_or_absent)
{
    char *dir = scratch_dir(), path[300], *blob;
    size_t n;
    nexus__wal *wal = log_open(dir, NULL);
    cr_assert(nexus__wal_checkpoint_read(wal, "state", &blob, &n) == NEXUS_ENOTFOUND);
    cr_assert(nexus__wal_checkpoint_write(wal, "state", NEXUS_S("hello")) == NEXUS_OK);
    cr_assert(nexus__wal_checkpoint_read(wal, "state", &blob, &n) == NEXUS_OK && n == 5);
    cr_assert_str_eq(blob, "hello");
    free(blob);
    snprintf(path, sizeof path, "%s/state.ckpt", dir);
    FILE *f = fopen(path, "r+");
    fseek(f, -1, SEEK_END);
    fputc('0', f);
    fclose(f);
    cr_assert(nexus__wal_checkpoint_read(wal, "state", &blob, &n) == NEXUS_ECORRUPT);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

/* --- faults ---- */

static struct {
    atomic_int error, short_writes, interrupts;
} fault;

static ssize_t faulty_write(void *ud, int fd, const void *data, size_t n, off_t at)
{
    (void)ud;
    if (fault.error) {
        errno = fault.error;
        return -1;
    }
    if (fault.interrupts > 0 && fault.interrupts-- % 2) {
        errno = EINTR;
        return -1;
    }
    return pwrite(fd, data, fault.short_writes && n > 3 ? n / 2 : n, at);
}

static int faulty_sync(void *ud, int fd)
{
    (void)ud;
    if (fault.error == EIO) {
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

static const nexus__wal_io faulty = {.pwrite_fn = faulty_write, .fdatasync_fn = faulty_sync};

static nexus__wal *faulty_open(const char *dir)
{
    nexus__wal *wal;
    nexus__wal_opts opts = {.segment_bytes = 65536, .io = &faulty};
    cr_assert(nexus__wal_open(&wal, dir, &opts, NULL) == NEXUS_OK, "%s", nexus_error_message());
    return wal;
}

Test(log, short_and_interrupted_writes_are_invisible)
{
    char *dir = scratch_dir();
    fault.short_writes = 1;
    fault.interrupts = 1000;
    nexus__wal *wal = faulty_open(dir);
    for (int i = 0; i < 20; i++)
        log_put(wal, "payload", 7, 0);
    cr_assert(log_count(wal, 1) == 20);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(log, an_io_error_poisons_until_reopened)
{
    char *dir = scratch_dir();
    nexus__wal *wal = faulty_open(dir);
    log_put(wal, "a", 1, 0);
    fault.error = EIO;
    nexus__wal_record r = {.payload = NEXUS_S("b")};
    cr_assert(nexus__wal_append(wal, &r, 1, NULL) == NEXUS_EUNKNOWN);
    fault.error = 0;
    cr_assert(nexus__wal_append(wal, &r, 1, NULL) == NEXUS_EROFS);
    cr_assert(log_count(wal, 1) == 1);
    nexus__wal_close(wal);
    wal = faulty_open(dir);
    cr_assert(log_put(wal, "c", 1, 0) == 2);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(log, no_space_is_definite_and_passes)
{
    char *dir = scratch_dir();
    nexus__wal *wal = faulty_open(dir);
    char payload[30000] = "p";
    log_put(wal, payload, sizeof payload, 0);
    log_put(wal, payload, sizeof payload, 0);
    fault.error = ENOSPC; /* the next one needs a new file */
    nexus__wal_record r = {.payload = nexus__slice(payload, sizeof payload)};
    /* The next file may have been made ahead: then the header write fails, which is as definite. */
    cr_assert(nexus__wal_append(wal, &r, 1, NULL) == NEXUS_ENOSPC, "%s", nexus_error_message());
    cr_assert(nexus__wal_append(wal, &r, 1, NULL) == NEXUS_ENOSPC);
    fault.error = 0;
    cr_assert(log_put(wal, payload, sizeof payload, 0) == 3);
    cr_assert(log_count(wal, 1) == 3);
    nexus__wal_close(wal);
    wal = faulty_open(dir);
    cr_assert(log_count(wal, 1) == 3);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

/* --- async ---- */

static atomic_int calls, in_order, last_pos;

static void counted(nexus_status status, uint64_t pos, void *ud)
{
    (void)ud;
    if (status == NEXUS_OK && (int)pos == last_pos + 1)
        in_order++;
    last_pos = (int)pos;
    calls++;
}

Test(log, async_appends_call_back_once_in_order_even_at_close)
{
    char *dir = scratch_dir();
    nexus__wal *wal = log_open(dir, NULL);
    nexus__wal_record r = {.payload = NEXUS_S("payload")};
    for (int i = 0; i < 2000; i++)
        cr_assert(nexus__wal_append_async(wal, &r, 1, counted, NULL) == NEXUS_OK);
    nexus__wal_close(wal);
    cr_assert(calls == 2000 && in_order == 2000);
    wal = log_open(dir, NULL);
    cr_assert(log_count(wal, 1) == 2000);
    nexus__wal_close(wal);
    scratch_remove(dir);
}
