/* auth/: the audit trail (attack row 72, the part about dropped, reordered and changed records, and old copies). */
#include <criterion/criterion.h>
#include <nexus/audit.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/audit/audit.h"

enum { RECORDS = 10 };

static char base[64], dir[96];

static void set_up(void)
{
    strcpy(base, "/tmp/nexus-audit-XXXXXX");
    cr_assert(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/trail", base);
}

static void run(const char *format, ...)
{
    char command[512];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    cr_assert_eq(system(command), 0, "%s", command);
}

static void tear_down(void)
{
    run("rm -rf %s", base);
}

TestSuite(audit, .init = set_up, .fini = tear_down);

static nexus_audit *opened(void)
{
    nexus_audit *a;
    nexus_audit_opts opts = NEXUS_AUDIT_OPTS_INIT;
    opts.dir = dir;
    opts.checkpoint_records = 4;
    cr_assert_eq(nexus_audit_open(&a, &opts), NEXUS_OK, "%s", nexus_error_message());
    return a;
}

static void write_some(nexus_audit *a, int n)
{
    for (int i = 0; i < n; i++) {
        char object[32];
        uint64_t seq;
        nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
        snprintf(object, sizeof object, "user-%d", i);
        r.actor = i % 2 ? NEXUS_S("ann") : NEXUS_S("bob");
        r.action = i % 5 ? NEXUS_S("user.login") : NEXUS_S("apikey.created");
        r.object = (nexus_slice){object, strlen(object)};
        r.detail = NEXUS_S("a \"quoted\" line\nand \x7f");
        cr_assert_eq(nexus_audit_write(a, &r, &seq), NEXUS_OK, "%s", nexus_error_message());
    }
}

static void write_trail(void)
{
    nexus_audit *a = opened();
    write_some(a, RECORDS);
    nexus_audit_close(a);
}

/* Writes the trail anew, record by record, as somebody would who knows the format: make says what becomes of each; false
 * drops it. Key and head stay. */
typedef bool change_fn(nexus__wal_record *record, char *payload, char *meta);

static nexus__wal *open_wal(const char *path)
{
    nexus__wal *wal;
    nexus__wal_opts opts = {.name = "test"};
    cr_assert_eq(nexus__wal_open(&wal, path, &opts, NULL), NEXUS_OK, "%s", nexus_error_message());
    return wal;
}

static void rewrite(change_fn *change)
{
    char copy[128], payload[4096], meta[128];
    snprintf(copy, sizeof copy, "%s.copy", dir);
    nexus__wal *from = open_wal(dir), *to = open_wal(copy);
    nexus__wal_reader *reader;
    nexus__wal_record r;
    cr_assert_eq(nexus__wal_reader_open(&reader, from, 0), NEXUS_OK);
    while (nexus__wal_reader_next(reader, &r) == NEXUS_OK) {
        snprintf(payload, sizeof payload, "%.*s", (int)r.payload.n, r.payload.p);
        snprintf(meta, sizeof meta, "%.*s", (int)r.meta.n, r.meta.p ? r.meta.p : "");
        r.payload.p = payload;
        r.meta.p = meta;
        if (change(&r, payload, meta))
            cr_assert_eq(nexus__wal_append(to, &r, 1, NULL), NEXUS_OK);
    }
    nexus__wal_reader_close(reader);
    nexus__wal_close(from);
    nexus__wal_close(to);
    run("rm -rf %s && mv %s %s", dir, copy, dir);
}

static uint64_t first_bad(void)
{
    nexus_audit_report report = NEXUS_AUDIT_REPORT_INIT;
    nexus_status status = nexus_audit_verify_dir(dir, &report);
    cr_expect_eq(status, report.bad ? NEXUS_ECORRUPT : NEXUS_OK, "%d: %s", status, nexus_error_message());
    return report.bad;
}

Test(audit, a_whole_trail_verifies_open_and_closed)
{
    write_trail();
    nexus_audit_report report = NEXUS_AUDIT_REPORT_INIT;
    cr_assert_eq(nexus_audit_verify_dir(dir, &report), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(report.records, RECORDS);
    cr_expect_eq(report.checkpoints, 3, "after 4 and 8 records, and at the end");
    nexus_audit *a = opened();
    write_some(a, 3);
    cr_expect_eq(nexus_audit_verify(a, &report), NEXUS_OK, "%s", nexus_error_message());
    cr_expect_eq(report.records, RECORDS + 3);
    nexus_audit_close(a);
}

static bool drop_5(nexus__wal_record *r, char *payload, char *meta)
{
    (void)payload, (void)meta;
    return r->kind != NEXUS__AUDIT_RECORD || r->pos != 5;
}

Test(audit, a_dropped_record_is_named)
{
    write_trail();
    rewrite(drop_5);
    cr_expect_eq(first_bad(), 5);
}

static bool change_6(nexus__wal_record *r, char *payload, char *meta)
{
    (void)meta;
    if (r->kind == NEXUS__AUDIT_RECORD && r->pos == 6)
        memcpy(strstr(payload, "user-5"), "user-9", 6);
    return true;
}

Test(audit, a_changed_record_is_named)
{
    write_trail();
    rewrite(change_6);
    cr_expect_eq(first_bad(), 6);
}

static bool change_6_and_its_hash(nexus__wal_record *r, char *payload, char *meta)
{
    change_6(r, payload, meta);
    if (r->kind == NEXUS__AUDIT_RECORD && r->pos == 6)
        cr_assert_eq(nexus__audit_hash(r->payload, meta), NEXUS_OK);
    return true;
}

Test(audit, a_changed_record_with_a_new_hash_is_named)
{
    write_trail();
    rewrite(change_6_and_its_hash);
    cr_expect_eq(first_bad(), 6);
}

/* In the file itself, where the log's own checksums see it first. */
static void flip(const char *text)
{
    run("f=$(grep -la '%s\"' %s/*) && at=$(grep -oba '%s\"' $f | head -1 | cut -d: -f1) &&"
        " printf X | dd of=$f bs=1 seek=$at conv=notrunc status=none",
        text, dir, text);
}

Test(audit, a_byte_flipped_in_the_file_is_named)
{
    write_trail();
    flip("user-4");
    cr_expect_eq(first_bad(), 5);
}

Test(audit, a_byte_flipped_in_the_last_record_is_named)
{
    write_trail();
    flip("user-9");
    cr_expect_eq(first_bad(), RECORDS);
}

static char kept[4096], kept_meta[128];

static bool swap_2_and_3(nexus__wal_record *r, char *payload, char *meta)
{
    if (r->kind != NEXUS__AUDIT_RECORD || (r->pos != 2 && r->pos != 3 && r->pos != 4))
        return true;
    if (r->pos == 2) {
        strcpy(kept, payload);
        strcpy(kept_meta, meta);
        return false;
    }
    if (r->pos == 4) { /* in its place the one that was kept: 1, 3, 2, 5 … */
        strcpy(payload, kept);
        strcpy(meta, kept_meta);
        r->payload.n = strlen(payload);
        r->meta.n = strlen(meta);
    }
    return true;
}

Test(audit, reordered_records_are_named)
{
    write_trail();
    rewrite(swap_2_and_3);
    cr_expect_eq(first_bad(), 2);
}

static bool drop_the_end(nexus__wal_record *r, char *payload, char *meta)
{
    (void)payload, (void)meta;
    return r->pos < 8;
}

Test(audit, a_trail_cut_at_its_end_is_told_by_its_head_and_does_not_go_on)
{
    write_trail();
    rewrite(drop_the_end);
    cr_expect_eq(first_bad(), 8);
    nexus_audit *a;
    nexus_audit_opts opts = NEXUS_AUDIT_OPTS_INIT;
    opts.dir = dir;
    cr_expect_eq(nexus_audit_open(&a, &opts), NEXUS_EMISSING);
}

Test(audit, an_old_copy_is_found)
{
    write_trail();
    run("cp -a %s %s.old", dir, dir);
    write_trail();
    run("rm -rf %s && mv %s.old %s", dir, dir, dir);
    cr_expect_eq(first_bad(), RECORDS + 1);
}

Test(audit, a_trail_signed_with_another_key_is_found)
{
    write_trail();
    run("rm %s.key", dir);
    cr_expect_neq(first_bad(), 0);
}

Test(audit, a_key_that_others_can_read_is_refused)
{
    write_trail();
    nexus_audit *a;
    nexus_audit_opts opts = NEXUS_AUDIT_OPTS_INIT;
    opts.dir = dir;
    run("chmod 644 %s.key", dir);
    cr_expect_eq(nexus_audit_open(&a, &opts), NEXUS_EPERM);
}

Test(audit, records_are_canonical_and_found_by_filter)
{
    nexus_audit *a = opened();
    write_some(a, RECORDS);
    char *json;
    size_t n;
    nexus_audit_filter f = NEXUS_AUDIT_FILTER_INIT;
    f.action = NEXUS_S("apikey.*");
    cr_assert_eq(nexus_audit_list(a, &f, &json, &n), NEXUS_OK);
    cr_expect(strstr(json, "\"object\":\"user-0\"") && strstr(json, "\"object\":\"user-5\""), "%s", json);
    cr_expect_not(strstr(json, "user-1\""));
    cr_expect(strstr(json, "{\"items\":[{\"action\":\"apikey.created\",\"actor\":\"bob\",\"at\":\""), "%s", json);
    cr_expect(strstr(json, "\"detail\":\"a \\\"quoted\\\" line\\nand \x7f\",\"object\":\"user-0\",\"outcome\":\"done\","
                           "\"prev\":\"00000000"),
              "%s", json);
    nexus_free(json);
    f.action = (nexus_slice){0};
    f.after = 3;
    f.limit = 2;
    cr_assert_eq(nexus_audit_list(a, &f, &json, &n), NEXUS_OK);
    cr_expect(strstr(json, "\"seq\":4") && strstr(json, "\"seq\":5") && strstr(json, "\"next_after\":5"), "%s", json);
    nexus_free(json);
    nexus_audit_close(a);
}

/* --- many at once ------------------------------------------------------------------------------------------------------ */

enum { WRITERS = 8, EACH = 100 };

typedef struct writer {
    nexus_audit *audit;
    nexus_status expected;
    uint64_t seqs[EACH];
} writer;

static void *write_each(void *arg)
{
    writer *w = arg;
    nexus_audit_record r = NEXUS_AUDIT_RECORD_INIT;
    r.action = NEXUS_S("user.login");
    for (int i = 0; i < EACH; i++) {
        nexus_status status = nexus_audit_write(w->audit, &r, &w->seqs[i]);
        cr_assert_eq(status, w->expected, "%s", nexus_error_message());
        cr_assert(status == NEXUS_OK || strstr(nexus_error_message(), "closing"), "%s", nexus_error_message());
    }
    return NULL;
}

static void write_at_once(nexus_audit *a, nexus_status expected, writer *writers)
{
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){.audit = a, .expected = expected};
        cr_assert_eq(pthread_create(&threads[i], NULL, write_each, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
}

Test(audit, records_of_many_at_once_are_one_chain)
{
    static writer writers[WRITERS];
    static bool seen[WRITERS * EACH + 1];
    nexus_audit *a = opened();
    write_at_once(a, NEXUS_OK, writers);
    for (int i = 0; i < WRITERS * EACH; i++) {
        uint64_t seq = writers[i / EACH].seqs[i % EACH];
        cr_assert(seq >= 1 && seq <= WRITERS * EACH && !seen[seq], "%d", (int)seq);
        cr_assert(i % EACH == 0 || seq > writers[i / EACH].seqs[i % EACH - 1], "in the order of each writer");
        seen[seq] = true;
    }
    nexus_audit_report report = NEXUS_AUDIT_REPORT_INIT;
    cr_assert_eq(nexus_audit_verify(a, &report), NEXUS_OK, "%s", report.why);
    cr_assert(report.records == WRITERS * EACH && report.bad == 0 && report.checkpoints > 0);
    nexus_audit_close(a);
    cr_expect_eq(first_bad(), 0);
}

Test(audit, what_is_not_written_is_told_to_each_of_many_and_leaves_the_chain)
{
    static writer writers[WRITERS];
    nexus_audit *a = opened();
    write_some(a, RECORDS);
    nexus__wal_stop(a->wal);
    write_at_once(a, NEXUS_ECLOSED, writers);
    cr_expect_eq(a->chain.seq, RECORDS);
    nexus_audit_close(a);
    a = opened();
    write_some(a, 1);
    nexus_audit_close(a);
    cr_expect_eq(first_bad(), 0);
}
