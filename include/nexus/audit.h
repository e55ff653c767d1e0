/*
 * The audit trail: who did what, when, and whether he was let. Each record is canonical JSON (RFC 8785) that holds its
 * number and the SHA-256 of the record before it; checkpoints signed with Ed25519 pin the chain down every 1,000 records or
 * 60 s. What was dropped, reordered or changed is found and named. Records are durable before nexus_audit_write returns, so
 * that what cannot be recorded need not be done. Put no secrets into a record.
 *
 * A trail is a directory DIR of log files, DIR.key (the signing key, 0600) and DIR.head (the last checkpoint). Keep copies
 * of the head elsewhere: whoever may write all three can make a trail of his own. Any thread; calls block: workers only.
 */
#ifndef NEXUS_AUDIT_H
#define NEXUS_AUDIT_H

#include <nexus/alloc.h>
#include <nexus/common.h>
#include <nexus/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nexus_audit nexus_audit;

typedef struct nexus_audit_opts {
    size_t size;
    const nexus_alloc *alloc;           /**< NULL = the C library's */
    const char *dir;                    /**< required; made when missing; one process at a time; copied */
    uint32_t checkpoint_records;        /**< 0 = 1,000 */
    uint32_t checkpoint_ms;             /**< 0 = 60,000; judged at writes and at nexus_audit_upkeep */
    int64_t (*now_fn)(void *user_data); /**< nanoseconds since 1970; NULL = the system clock */
    void *user_data;
} nexus_audit_opts;

#define NEXUS_AUDIT_OPTS_INIT NEXUS_SIZED(nexus_audit_opts)
NEXUS_API void nexus_audit_opts_init(nexus_audit_opts *opts);

/** NEXUS_ECONFLICT: another process has it. NEXUS_EMISSING: it ends before its last checkpoint (an old copy, say).
 * NEXUS_EPERM: others can read the key. */
NEXUS_API nexus_status nexus_audit_open(nexus_audit **out, const nexus_audit_opts *opts) NEXUS_MUST_CHECK;
NEXUS_API void nexus_audit_close(nexus_audit *audit); /**< signs a last checkpoint; NULL is fine */

/** What is recorded; borrowed for the call, text at most 1,024 bytes each. Empty members are left out. */
typedef struct nexus_audit_record {
    size_t size;
    nexus_slice actor;      /**< user or key id; "operator" for whoever holds admin.token */
    nexus_slice action;     /**< required, such as "user.login" */
    nexus_slice object;     /**< what it was done to */
    nexus_slice outcome;    /**< "done", "denied" or "failed"; empty = "done" */
    nexus_slice ip;         /**< of the caller */
    nexus_slice request_id; /**< correlation id */
    nexus_slice tenant;
    nexus_slice detail; /**< anything else, as text */
} nexus_audit_record;

#define NEXUS_AUDIT_RECORD_INIT NEXUS_SIZED(nexus_audit_record)
NEXUS_API void nexus_audit_record_init(nexus_audit_record *record);

/** Durable on return; *seq (may be NULL) is its number. Any failure means: do not do it. It is not recorded then, unless what
 * failed was the checkpoint due behind it. Records that wait at the same time share a write, and a failure. */
NEXUS_API nexus_status nexus_audit_write(nexus_audit *audit, const nexus_audit_record *record,
                                         uint64_t *seq) NEXUS_MUST_CHECK;

/** Signs a checkpoint when one is due; call it every few seconds. */
NEXUS_API nexus_status nexus_audit_upkeep(nexus_audit *audit) NEXUS_MUST_CHECK;

/** Which records are wanted; empty members mean any. */
typedef struct nexus_audit_filter {
    size_t size;
    nexus_slice actor, action, object, outcome; /**< exact; an action that ends in ".*" is a prefix */
    uint64_t after;                             /**< numbers above it */
    uint32_t limit;                             /**< 1 to 1,000; 0 = 100 */
} nexus_audit_filter;

#define NEXUS_AUDIT_FILTER_INIT NEXUS_SIZED(nexus_audit_filter)
NEXUS_API void nexus_audit_filter_init(nexus_audit_filter *filter);

/** {"items":[…],"next_after"}: records as they were written, the oldest first. Free *json with nexus_free. */
NEXUS_API nexus_status nexus_audit_list(nexus_audit *audit, const nexus_audit_filter *filter, char **json,
                                        size_t *n) NEXUS_MUST_CHECK;

/** What a verification found. */
typedef struct nexus_audit_report {
    size_t size;
    uint64_t records;     /**< looked at */
    uint64_t checkpoints; /**< whose signature is good */
    uint64_t bad;         /**< number of the first bad record; 0 = none */
    char why[256];        /**< what is wrong with it */
} nexus_audit_report;

#define NEXUS_AUDIT_REPORT_INIT NEXUS_SIZED(nexus_audit_report)
NEXUS_API void nexus_audit_report_init(nexus_audit_report *report);

/** Looks at every record. NEXUS_ECORRUPT: report->bad names the first bad one. */
NEXUS_API nexus_status nexus_audit_verify(nexus_audit *audit, nexus_audit_report *report) NEXUS_MUST_CHECK;
/** The same for a directory that nobody has open. */
NEXUS_API nexus_status nexus_audit_verify_dir(const char *dir, nexus_audit_report *report) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
