/* The audit trail, inside. A record's number is its position in the log; checkpoints are internal records of it. */
#ifndef NEXUS_AUTH_AUDIT_AUDIT_H
#define NEXUS_AUTH_AUDIT_AUDIT_H

#include <nexus/audit.h>
#include <pthread.h>

#include "base/buf.h"
#include "crypto/pkey.h"
#include "wal/wal.h"

enum { NEXUS__AUDIT_RECORD = 1, NEXUS__AUDIT_CHECKPOINT = 2, NEXUS__AUDIT_HASH_TEXT = 65 };

struct nexus_audit {
    const nexus_alloc *alloc;
    nexus_audit_opts opts;
    char *dir;
    nexus__wal *wal;
    nexus__pkey *key;
    pthread_mutex_t lock; /* guards who waits and who leads */
    pthread_cond_t turn;
    struct nexus__audit_entry *first, **last; /* records that wait for a leader */
    bool led;
    struct {
        uint64_t seq;                      /* of the last record */
        char hash[NEXUS__AUDIT_HASH_TEXT]; /* of it; zeros before the first */
        uint64_t signed_seq;               /* of the last checkpoint */
        int64_t signed_ns;
    } chain; /* the leader's */
};

/* A checkpoint: what was the last record, and what its hash. */
typedef struct nexus__audit_head {
    uint64_t seq;
    char hash[NEXUS__AUDIT_HASH_TEXT];
} nexus__audit_head;

nexus_status nexus__audit_hash(nexus_slice record, char out[static NEXUS__AUDIT_HASH_TEXT]) NEXUS_MUST_CHECK;
/* One line "nx-audit-1 <seq> <hash> <signature>"; false: it is not that, or not signed with the key. */
nexus_status nexus__audit_head_sign(nexus__buf *out, const nexus__pkey *key,
                                    const nexus__audit_head *head) NEXUS_MUST_CHECK;
bool nexus__audit_head_read(nexus__audit_head *out, const nexus__pkey *key, nexus_slice line);
/* DIR.head; NEXUS_ENOTFOUND: there is none. */
nexus_status nexus__audit_head_load(nexus__audit_head *out, const char *dir, const nexus__pkey *key) NEXUS_MUST_CHECK;
nexus_status nexus__audit_head_store(const char *dir, nexus_slice line) NEXUS_MUST_CHECK;
/* DIR.key, made when missing. */
nexus_status nexus__audit_key(nexus__pkey **out, const char *dir) NEXUS_MUST_CHECK;
/* audit_verify.c */
nexus_status nexus__audit_check(nexus__wal *wal, const nexus__pkey *key, const char *dir, nexus_audit_report *report);

#endif
