/* wal/: the index of a finished file: what is passed over, what is never missed, and what becomes of a broken one. */
#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "wal/index.h"

enum { RECORDS = 6000, STREAMS = 500 };

static nexus_slice type_of(const nexus__wal_record *r)
{
    return r->meta;
}

static bool is_rare(nexus_slice type, void *user_data)
{
    (void)user_data;
    return nexus__slice_eq_c(type, "rare");
}

/* Of 6,000 records each 2,000th is rare; stream s has those whose number is s modulo 500. */
static nexus__wal *filled(const char *dir)
{
    nexus__wal *wal;
    nexus__wal_opts opts = {.segment_bytes = 65536, .durability = NEXUS__WAL_OS};
    cr_assert(nexus__wal_open(&wal, dir, &opts, NULL) == NEXUS_OK, "%s", nexus_error_message());
    char payload[200] = "p";
    for (int i = 0; i < RECORDS; i += 4) {
        nexus__wal_record r[5];
        for (int k = 0; k < 4; k++)
            r[k] = (nexus__wal_record){.kind = 1,
                                       .stream = 0x9e3779b97f4a7c15u * (uint64_t)(1 + (i + k) % STREAMS),
                                       .version = (i + k) / STREAMS,
                                       .meta = (i + k) % 2000 == 777 ? NEXUS_S("rare") : NEXUS_S("usual"),
                                       .payload = nexus__slice(payload, sizeof payload)};
        r[4] = (nexus__wal_record){.kind = 2, .flags = NEXUS__WAL_INTERNAL, .meta = NEXUS_S("rare")};
        cr_assert(nexus__wal_append(wal, r, 5, NULL) == NEXUS_OK, "%s", nexus_error_message());
    }
    return wal;
}

static uint64_t stream_of(int s)
{
    return 0x9e3779b97f4a7c15u * (uint64_t)(1 + s);
}

typedef struct tally {
    int wanted, looked, corrupt;
    uint64_t end;
} tally;

static tally read_with(nexus__wal *wal, uint64_t from, const nexus__wal_select *select)
{
    tally t = {0};
    nexus__wal_reader *r;
    nexus__wal_record record;
    cr_assert(nexus__wal_reader_open(&r, wal, from) == NEXUS_OK);
    nexus__wal_reader_select(r, select);
    nexus_status status;
    uint64_t last = 0;
    while ((status = nexus__wal_reader_next(r, &record)) != NEXUS_EDONE) {
        t.corrupt += status == NEXUS_ECORRUPT;
        if (status != NEXUS_OK || (record.flags & NEXUS__WAL_INTERNAL))
            continue;
        cr_assert(record.pos > last && record.pos >= from);
        last = record.pos;
        t.looked++;
        t.wanted += (!select->stream || record.stream == select->stream) &&
                    (!select->wants_type || select->wants_type(record.meta, NULL));
    }
    t.end = nexus__wal_reader_pos(r);
    nexus__wal_reader_close(r);
    return t;
}

static int index_all(nexus__wal *wal)
{
    int made = 0;
    while (nexus__wal_index_one(wal, type_of))
        made++;
    return made;
}

static int count_files(const char *dir, const char *ending)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        n += strlen(e->d_name) > 4 && strcmp(e->d_name + strlen(e->d_name) - 4, ending) == 0;
    closedir(d);
    return n;
}

static void check_reads(nexus__wal *wal, int most)
{
    for (int s = 0; s < STREAMS; s += 37) {
        nexus__wal_select one = {.stream = stream_of(s)};
        tally t = read_with(wal, 1, &one);
        cr_assert_eq(t.wanted, RECORDS / STREAMS);
        cr_assert_eq(t.end, RECORDS);
        cr_assert(t.looked <= most, "stream %d: %d records were read", s, t.looked);
        t = read_with(wal, 3001, &one);
        cr_assert_eq(t.wanted, RECORDS / STREAMS / 2);
    }
    nexus__wal_select rare = {.wants_type = is_rare};
    tally t = read_with(wal, 1, &rare);
    cr_assert_eq(t.wanted, 3);
    cr_assert_eq(t.end, RECORDS);
    cr_assert(t.looked <= most, "%d records were read", t.looked);
    nexus__wal_select both = {.stream = stream_of(777 % STREAMS), .wants_type = is_rare};
    t = read_with(wal, 1, &both);
    cr_assert(t.wanted == 3 && t.looked <= most);
    nexus__wal_select nobody = {.stream = 12345};
    t = read_with(wal, 1, &nobody);
    cr_assert(t.wanted == 0 && t.end == RECORDS && t.looked <= most);
}

Test(index, lets_a_read_of_one_stream_or_type_pass_over_the_rest)
{
    char *dir = scratch_dir();
    nexus__wal *wal = filled(dir);
    check_reads(wal, RECORDS);
    cr_assert(index_all(wal) > 10);
    /* 12 events in as many blocks of 64 records, and the last file */
    check_reads(wal, 1200);
    cr_assert_eq(log_count(wal, 1), RECORDS);
    nexus__wal_close(wal);
    wal = log_open(dir, NULL);
    cr_assert_eq(index_all(wal), 0);
    check_reads(wal, 1200);
    nexus__wal_close(wal);
    uint64_t end;
    cr_assert(nexus__wal_view_open(&wal, dir, NULL, &end) == NEXUS_OK); /* another process */
    nexus__wal_select rare = {.wants_type = is_rare};
    tally t = read_with(wal, 1, &rare);
    cr_assert(t.wanted >= 2 && t.looked <= 1200 && t.end == end - 1);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

/* Every byte in turn would take long: every 131st, and all of the head. */
Test(index, that_is_damaged_is_noticed_not_believed_and_made_anew, .timeout = 60)
{
    char *dir = scratch_dir(), path[300] = "";
    nexus__wal *wal = filled(dir);
    index_all(wal);
    nexus__wal_close(wal);
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d)) && !path[0];)
        if (strstr(e->d_name, ".idx"))
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    closedir(d);
    struct stat st;
    int fd = open(path, O_RDWR);
    cr_assert(fd >= 0 && fstat(fd, &st) == 0);
    close(fd);
    for (off_t at = 0; at < st.st_size; at += at < (off_t)sizeof(nexus__wal_index_head) ? 5 : 1311) {
        char c;
        fd = open(path, O_RDWR);
        cr_assert(pread(fd, &c, 1, at) == 1);
        c ^= 0x10;
        cr_assert(pwrite(fd, &c, 1, at) == 1);
        close(fd);
        wal = log_open(dir, NULL);
        check_reads(wal, RECORDS);
        int made = index_all(wal);
        cr_assert(made <= 1); /* a page that no read needed is not looked at */
        check_reads(wal, made ? 1200 : RECORDS);
        nexus__wal_close(wal);
        if (!made) {
            fd = open(path, O_RDWR);
            c ^= 0x10;
            cr_assert(pwrite(fd, &c, 1, at) == 1);
            close(fd);
        }
    }
    scratch_remove(dir);
}

Test(index, goes_with_its_file_and_is_made_again_when_it_is_missing)
{
    char *dir = scratch_dir(), cmd[300];
    nexus__wal *wal = filled(dir);
    int made = index_all(wal);
    cr_assert_eq(count_files(dir, ".idx"), made);
    nexus__wal_close(wal);
    snprintf(cmd, sizeof cmd, "rm %s/*.idx", dir);
    cr_assert(system(cmd) == 0);
    wal = log_open(dir, NULL);
    check_reads(wal, RECORDS);
    cr_assert_eq(index_all(wal), made);
    check_reads(wal, 1200);
    cr_assert(nexus__wal_drop_below(wal, 3000) == NEXUS_OK);
    cr_assert(count_files(dir, ".idx") < made);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

static bool empty_the_rare(nexus__wal_record *record, void *user_data)
{
    (void)user_data;
    bool rare = nexus__slice_eq_c(record->meta, "rare") && !(record->flags & NEXUS__WAL_INTERNAL) && record->payload.n;
    if (rare)
        record->payload = NEXUS_S("");
    return rare;
}

Test(index, of_a_file_that_is_rewritten_is_made_anew)
{
    char *dir = scratch_dir();
    nexus__wal *wal = filled(dir);
    int before = index_all(wal), rewritten = 0;
    check_reads(wal, 1200);
    nexus__wal_file *files;
    size_t n;
    cr_assert(nexus__wal_files(wal, &files, &n) == NEXUS_OK);
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t changed;
        cr_assert(nexus__wal_rewrite(wal, files[i].generation, empty_the_rare, NULL, &changed) == NEXUS_OK);
        rewritten += changed > 0;
    }
    nexus__free(NULL, files);
    cr_assert(rewritten > 0 && count_files(dir, ".idx") == before - rewritten);
    check_reads(wal, RECORDS);
    cr_assert_eq(index_all(wal), rewritten);
    check_reads(wal, 1200);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(index, of_more_types_than_it_holds_still_misses_none)
{
    char *dir = scratch_dir(), type[40];
    nexus__wal *wal;
    nexus__wal_opts opts = {.durability = NEXUS__WAL_OS};
    cr_assert(nexus__wal_open(&wal, dir, &opts, NULL) == NEXUS_OK);
    for (int i = 0; i < 3000; i++) {
        snprintf(type, sizeof type, "type.number.%d", i);
        nexus__wal_record r = {.kind = 1, .meta = nexus__slice_c(i == 1500 ? "rare" : type)};
        cr_assert(nexus__wal_append(wal, &r, 1, NULL) == NEXUS_OK);
    }
    cr_assert(nexus__wal_seal_active(wal) == NEXUS_OK);
    log_put(wal, "x", 1, 0);
    index_all(wal);
    nexus__wal_select rare = {.wants_type = is_rare};
    cr_assert_eq(read_with(wal, 1, &rare).wanted, 1);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(index, never_says_that_a_stream_is_absent_which_is_there)
{
    uint8_t bloom[40 * BLOOM_LINE_BYTES] = {0};
    int wrong = 0;
    for (uint64_t i = 1; i <= 40 * BLOOM_LINE_STREAMS; i++)
        nexus__wal_bloom_add(bloom, 40, i * 0xd1342543de82ef95u);
    for (uint64_t i = 1; i <= 40 * BLOOM_LINE_STREAMS; i++)
        cr_assert(nexus__wal_bloom_has(bloom, 40, i * 0xd1342543de82ef95u));
    for (uint64_t i = 1; i <= 10000; i++)
        wrong += nexus__wal_bloom_has(bloom, 40, i * 0xbf58476d1ce4e5b9u);
    cr_assert(wrong < 400, "%d of 10,000", wrong);
}
