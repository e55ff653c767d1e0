/* Is the trail whole? Numbers without gaps, each record after the one it names, every checkpoint signed and true. */
#include <stdio.h>

#include "auth/audit/audit.h"
#include "base/status.h"
#include "json/read.h"

void nexus_audit_report_init(nexus_audit_report *report)
{
    *report = (nexus_audit_report)NEXUS_AUDIT_REPORT_INIT;
}

typedef struct walk {
    nexus_audit_report *report;
    const nexus__pkey *key;
    nexus__json doc;
    char hash[NEXUS__AUDIT_HASH_TEXT]; /* of the last record */
} walk;

static nexus_status bad(walk *w, uint64_t seq, const char *why)
{
    w->report->bad = seq ? seq : 1;
    snprintf(w->report->why, sizeof w->report->why, "%s", why);
    return nexus__fail(NEXUS_ECORRUPT, "audit record %llu: %s", (unsigned long long)w->report->bad, why);
}

static nexus_status look_at(walk *w, const nexus__wal_record *r)
{
    uint64_t seq = 0, expected = w->report->records + 1;
    char hash[NEXUS__AUDIT_HASH_TEXT];
    nexus_slice prev = {0};
    if (nexus__json_scan(&w->doc, r->payload, NULL) != NEXUS_OK ||
        !nexus__json_u64(&w->doc, nexus__json_get(&w->doc, 0, "seq"), &seq) ||
        !nexus__json_get_text(&w->doc, 0, "prev", &prev))
        return bad(w, expected, "is no record");
    if (seq != expected)
        return bad(w, expected, seq > expected ? "is missing" : "is not where it was written");
    if (nexus__audit_hash(r->payload, hash) != NEXUS_OK)
        return nexus__nomem();
    if (!nexus__slice_eq_c(r->meta, hash))
        return bad(w, seq, "was changed");
    if (!nexus__slice_eq_c(prev, w->hash))
        return bad(w, seq - 1, "was changed: the record after it was written after another one");
    memcpy(w->hash, hash, sizeof hash);
    w->report->records = seq;
    return NEXUS_OK;
}

static nexus_status look_at_head(walk *w, nexus_slice line)
{
    nexus__audit_head head;
    if (!nexus__audit_head_read(&head, w->key, line))
        return bad(w, w->report->records, "has a checkpoint behind it that is not signed with the key of the trail");
    if (head.seq != w->report->records || strcmp(head.hash, w->hash) != 0)
        return bad(w, head.seq, "is not what its checkpoint says");
    w->report->checkpoints++;
    return NEXUS_OK;
}

static nexus_status read_all(walk *w, nexus__wal *wal)
{
    nexus__wal_reader *reader;
    nexus__wal_record record;
    nexus_status status = nexus__wal_reader_open(&reader, wal, 0);
    if (status != NEXUS_OK)
        return status;
    while ((status = nexus__wal_reader_next(reader, &record)) == NEXUS_OK) {
        status = record.kind == NEXUS__AUDIT_RECORD ? look_at(w, &record) : look_at_head(w, record.payload);
        if (status != NEXUS_OK)
            break;
    }
    if (status == NEXUS_ECORRUPT && !w->report->bad)
        status = bad(w, w->report->records + 1, "fails the checksum of its log");
    else if (status == NEXUS_EMISSING)
        status = bad(w, w->report->records + 1, "is missing");
    nexus__wal_reader_close(reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

nexus_status nexus__audit_check(nexus__wal *wal, const nexus__pkey *key, const char *dir, nexus_audit_report *report)
{
    walk w = {.report = report, .key = key};
    nexus__audit_head head;
    report->records = report->checkpoints = report->bad = 0;
    report->why[0] = 0;
    memset(w.hash, '0', 64);
    nexus__json_init(&w.doc, NULL);
    nexus_status status = read_all(&w, wal);
    nexus__json_free(&w.doc);
    if (status != NEXUS_OK)
        return status;
    status = nexus__audit_head_load(&head, dir, key);
    if (status == NEXUS_ENOTFOUND)
        return NEXUS_OK; /* nothing was signed yet */
    if (status != NEXUS_OK)
        return bad(&w, report->records, "is the last one, and the head beside the log is not signed with its key");
    if (head.seq > report->records)
        return bad(&w, report->records + 1, "is missing: the head says that there were more");
    return NEXUS_OK;
}

nexus_status nexus_audit_verify(nexus_audit *a, nexus_audit_report *report)
{
    pthread_mutex_lock(&a->lock);
    nexus_status status = nexus__audit_check(a->wal, a->key, a->dir, report);
    pthread_mutex_unlock(&a->lock);
    return status;
}

nexus_status nexus_audit_verify_dir(const char *dir, nexus_audit_report *report)
{
    nexus__wal *wal;
    nexus__pkey *key;
    nexus__wal_opts opts = {.name = "audit"};
    nexus_status status = nexus__wal_open(&wal, dir, &opts, NULL);
    if (status != NEXUS_OK)
        return status;
    status = nexus__audit_key(&key, dir);
    if (status == NEXUS_OK) {
        status = nexus__audit_check(wal, key, dir, report);
        nexus__pkey_free(key);
    }
    nexus__wal_close(wal);
    return status;
}
