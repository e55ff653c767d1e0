/* wal/: what a crash or a damaged disk leaves. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "scratch.h"
#include "wal/format.h"

/* The only segment of the directory. */
static void only_file(const char *dir, char *path, size_t n)
{
    DIR *d = opendir(dir);
    path[0] = '\0';
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, "seg-", 4) == 0)
            snprintf(path, n, "%s/%s", dir, e->d_name);
    closedir(d);
    cr_assert(path[0]);
}

static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    fstat(fileno(f), &st);
    char *bytes = malloc((size_t)st.st_size);
    *n = fread(bytes, 1, (size_t)st.st_size, f);
    fclose(f);
    return bytes;
}

static void spill(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    cr_assert(fwrite(bytes, 1, n, f) == n);
    fclose(f);
}

static void remove_others(const char *dir, const char *path)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
        char other[600];
        snprintf(other, sizeof other, "%s/%s", dir, e->d_name);
        if (strncmp(e->d_name, "seg-", 4) == 0 && strcmp(other, path) != 0)
            remove(other);
    }
    closedir(d);
}

/* Ten batches; ends[i] is where batch i ends. */
static char *ten_batches(const char *dir, char *path, size_t path_n, size_t *n, size_t ends[10])
{
    nexus__wal *wal = log_open(dir, NULL);
    char payload[40];
    size_t at = SEGMENT_HEAD_BYTES;
    for (int i = 0; i < 10; i++) {
        memset(payload, 'a' + i, sizeof payload);
        log_put(wal, payload, sizeof payload - (size_t)i, 0);
        at +=
            BATCH_HEAD_BYTES + RECORD_HEAD_BYTES + 8 + nexus__wal_pad(sizeof payload - (size_t)i) + BATCH_TRAILER_BYTES;
        ends[i] = at;
    }
    nexus__wal_close(wal);
    only_file(dir, path, path_n);
    return slurp(path, n);
}

Test(recover, a_file_cut_at_every_byte_of_the_last_batches_opens_at_the_batch_before, .timeout = 100)
{
    char *dir = scratch_dir(), path[300];
    size_t n, ends[10];
    char *bytes = ten_batches(dir, path, sizeof path, &n, ends);
    for (size_t cut = ends[6]; cut <= ends[9]; cut++) {
        remove_others(dir, path);
        spill(path, bytes, cut);
        nexus__wal_report report;
        nexus__wal *wal = log_open(dir, &report);
        size_t whole = 7;
        while (whole < 10 && ends[whole] <= cut)
            whole++;
        cr_assert(!report.read_only, "cut at %zu: %s", cut, report.damage);
        cr_assert(log_count(wal, 1) == whole, "cut at %zu", cut);
        cr_assert(log_put(wal, "next", 4, 0) == whole + 1);
        cr_assert(log_count(wal, 1) == whole + 1);
        nexus__wal_close(wal);
    }
    free(bytes);
    scratch_remove(dir);
}

Test(recover, a_lost_page_in_the_last_batch_drops_it_whole)
{
    char *dir = scratch_dir(), path[300];
    size_t n, ends[10];
    char *bytes = ten_batches(dir, path, sizeof path, &n, ends);
    for (size_t at = ends[8]; at < ends[9]; at += 8) {
        char *copy = malloc(n);
        memcpy(copy, bytes, n);
        memset(copy + at, 0, ends[9] - at);
        spill(path, copy, n);
        free(copy);
        nexus__wal_report report;
        nexus__wal *wal = log_open(dir, &report);
        cr_assert(!report.read_only && log_count(wal, 1) == 9);
        cr_assert(at < ends[8] + 16 || report.cut_bytes > 0);
        nexus__wal_close(wal);
        wal = log_open(dir, &report); /* nothing is left of it */
        cr_assert(report.cut_bytes == 0);
        nexus__wal_close(wal);
    }
    free(bytes);
    scratch_remove(dir);
}

Test(recover, a_flipped_bit_before_a_whole_batch_is_damage_not_a_torn_tail)
{
    char *dir = scratch_dir(), path[300];
    size_t n, ends[10];
    char *bytes = ten_batches(dir, path, sizeof path, &n, ends);
    for (size_t at = ends[7]; at < ends[8]; at += 5) {
        bytes[at] ^= 4;
        spill(path, bytes, n);
        bytes[at] ^= 4;
        nexus__wal_report report;
        nexus__wal *wal = log_open(dir, &report);
        bool padding = !report.read_only; /* a bit that no CRC covers because nothing is stored in it */
        if (padding) {
            cr_assert(log_count(wal, 1) == 10);
            nexus__wal_close(wal);
            continue;
        }
        cr_assert(strstr(report.damage, " at "), "%s", report.damage);
        nexus__wal_record r = {.payload = NEXUS_S("x")};
        cr_assert(nexus__wal_append(wal, &r, 1, NULL) == NEXUS_ECORRUPT);
        nexus__wal_reader *reader;
        nexus__wal_record rec;
        size_t good = 0, bad = 0;
        nexus_status status;
        cr_assert(nexus__wal_reader_open(&reader, wal, 1) == NEXUS_OK);
        while ((status = nexus__wal_reader_next(reader, &rec)) != NEXUS_EDONE) {
            good += status == NEXUS_OK;
            bad += status == NEXUS_ECORRUPT;
            cr_assert(good + bad < 100);
        }
        cr_assert(good == 9 && bad == 1, "byte %zu: %zu good, %zu bad", at, good, bad);
        nexus__wal_reader_close(reader);
        nexus__wal_close(wal);
        size_t after;
        char *same = slurp(path, &after);
        cr_assert(after == n); /* nothing was cut */
        free(same);
    }
    free(bytes);
    scratch_remove(dir);
}

Test(recover, stale_bytes_of_an_older_life_are_not_read)
{
    char *dir = scratch_dir(), path[300];
    size_t n, ends[10];
    char *bytes = ten_batches(dir, path, sizeof path, &n, ends);
    /* As after recycling: the same batches stand in the file, under a header with a newer generation. */
    nexus__wal_segment_head head;
    memcpy(&head, bytes, sizeof head);
    head.generation += 1;
    nexus__wal_segment_seal(&head);
    memcpy(bytes, &head, sizeof head);
    spill(path, bytes, n);
    nexus__wal *wal = log_open(dir, NULL);
    cr_assert(log_count(wal, 1) == 0);
    cr_assert(log_put(wal, "first", 5, 0) == 1);
    cr_assert(log_count(wal, 1) == 1);
    nexus__wal_close(wal);
    wal = log_open(dir, NULL);
    cr_assert(log_count(wal, 1) == 1);
    nexus__wal_close(wal);
    free(bytes);
    scratch_remove(dir);
}

Test(recover, an_empty_last_file_is_made_again_and_positions_go_on)
{
    char *dir = scratch_dir(), path[300];
    size_t n, ends[10];
    free(ten_batches(dir, path, sizeof path, &n, ends));
    snprintf(path, sizeof path, "%s/seg-%016x-%08x.log", dir, 11, 2);
    spill(path, "", 0);
    nexus__wal *wal = log_open(dir, NULL);
    cr_assert(log_count(wal, 1) == 10);
    cr_assert(log_put(wal, "x", 1, 0) == 11);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(recover, a_missing_middle_file_is_named_and_nothing_is_renumbered)
{
    char *dir = scratch_dir(), name[300] = "", payload[1000] = "p";
    nexus__wal *wal = log_open(dir, NULL);
    for (int i = 0; i < 300; i++)
        log_put(wal, payload, sizeof payload, 0);
    nexus__wal_close(wal);
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, "-00000003.log"))
            snprintf(name, sizeof name, "%s/%s", dir, e->d_name);
    closedir(d);
    cr_assert(remove(name) == 0);
    wal = log_open(dir, NULL);
    nexus__wal_reader *r;
    nexus__wal_record rec;
    nexus_status status;
    uint64_t last = 0, missing = 0, seen = 0;
    cr_assert(nexus__wal_reader_open(&r, wal, 1) == NEXUS_OK);
    while ((status = nexus__wal_reader_next(r, &rec)) != NEXUS_EDONE) {
        if (status == NEXUS_EMISSING) {
            missing++;
            continue;
        }
        cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
        last = rec.pos;
        seen++;
    }
    cr_assert(missing == 1 && last == 300 && seen < 300 && seen > 200);
    nexus__wal_reader_close(r);
    cr_assert(log_put(wal, "x", 1, 0) == 301);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(recover, a_flipped_bit_in_a_sealed_payload_costs_that_record_only)
{
    char *dir = scratch_dir(), name[300] = "", payload[1000] = "p";
    nexus__wal *wal = log_open(dir, NULL);
    for (int i = 0; i < 300; i++)
        log_put(wal, payload, sizeof payload, 0);
    nexus__wal_close(wal);
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, "-00000002.log"))
            snprintf(name, sizeof name, "%s/%s", dir, e->d_name);
    closedir(d);
    int fd = open(name, O_RDWR);
    cr_assert(pwrite(fd, "!", 1, SEGMENT_HEAD_BYTES + 5000) == 1);
    close(fd);
    wal = log_open(dir, NULL);
    nexus__wal_reader *r;
    nexus__wal_record rec;
    nexus_status status;
    size_t good = 0, bad = 0;
    cr_assert(nexus__wal_reader_open(&r, wal, 1) == NEXUS_OK);
    while ((status = nexus__wal_reader_next(r, &rec)) != NEXUS_EDONE) {
        good += status == NEXUS_OK;
        bad += status == NEXUS_ECORRUPT;
    }
    cr_assert(good == 299 && bad == 1);
    nexus__wal_reader_close(r);
    nexus__wal_close(wal);
    scratch_remove(dir);
}
