/*
 * The broker: the log and everything that is derived from it, inside the process that owns it. The public calls use
 * it directly in the owner; the socket server uses it for the clients. Nothing here knows about sockets.
 */
#ifndef NEXUS_BUS_BROKER_H
#define NEXUS_BUS_BROKER_H

#include <nexus/bus.h>

#include "base/backoff.h"
#include "base/list.h"
#include "bus/filter.h"
#include "wal/wal.h"

typedef struct nexus__broker nexus__broker;

/* dir NULL = in memory. engine: where the log is kept instead, taken in any case; dir then holds its lock, or is NULL.
 * NEXUS_ECONFLICT: another process owns it. */
nexus_status nexus__broker_open(nexus__broker **out, const char *dir, nexus__wal_engine *engine,
                                const nexus_bus_opts *opts) NEXUS_MUST_CHECK;
void nexus__broker_close(nexus__broker *b);
/* Opens a log of files whose beginning and checkpoints are gone, with what is left of it, and writes new checkpoints. */
nexus_status nexus__broker_rescue(const char *dir) NEXUS_MUST_CHECK;
nexus__wal *nexus__broker_wal(nexus__broker *b);

/* --- publish ---- */

typedef void nexus__publish_done_fn(nexus_status status, const nexus_publish_result *result, void *user_data);

/* What a publish is bound to, beside its events; as in nexus_publish_opts, empty texts for NULL. */
typedef struct nexus__publish_terms {
    nexus_slice stream;
    int64_t expect;
    nexus_slice fail_types, fail_tags; /* both empty: no condition */
    uint64_t fail_after;
    int64_t not_before_ns;
    /* of the broker itself */
    const nexus__wal_record *with; /* internal records of the same commit */
    size_t with_count;
    bool due;   /* a delayed publish whose time has come: its ids are known, and not yet stored */
    bool hasty; /* a lock is held: does not wait for another's condition */
    bool waits; /* the caller waits for done and holds no lock: it may write the log itself, done comes before the return */
} nexus__publish_terms;

#define NEXUS__PUBLISH_TERMS {.expect = NEXUS_EXPECT_ANY}

/* Events are checked and complete (id, source, time set). On NEXUS_OK done is called once, later, by whoever writes the
 * log; otherwise not, and *result says what is known. With a condition it may wait for what others publish. */
nexus_status nexus__broker_publish(nexus__broker *b, const nexus_event *events, size_t n,
                                   const nexus__publish_terms *terms, nexus__publish_done_fn *done, void *user_data,
                                   nexus_publish_result *result) NEXUS_MUST_CHECK;
/* n > 1 publishes of one event each, without terms, in one write: done is called for each, in order. Only when none is a
 * duplicate, nor refused for another reason; else fails, and nothing is stored: publish each by itself to learn more. */
nexus_status nexus__broker_publish_each(nexus__broker *b, const nexus_event *events, size_t n, nexus__publish_done_fn *done,
                                        void *user_data) NEXUS_MUST_CHECK;
int64_t nexus__broker_stream_version(nexus__broker *b, nexus_slice stream);
/* The same, and the position of the stream's last event: 0 = not known. */
int64_t nexus__broker_stream_head(nexus__broker *b, nexus_slice stream, uint64_t *last);

/* redact.c: as nexus_bus_redact. */
nexus_status nexus__broker_redact(nexus__broker *b, uint64_t pos) NEXUS_MUST_CHECK;

/* --- events in memory ---- */

typedef struct nexus__stored {
    _Atomic uint32_t refs;
    uint64_t pos;
    nexus_slice meta; /* data is view.event.data */
    nexus__event_view view;
} nexus__stored;

nexus__stored *nexus__stored_new(const nexus_alloc *alloc, nexus_slice meta, nexus_slice data, nexus_status *status);
nexus__stored *nexus__stored_ref(nexus__stored *s);
void nexus__stored_unref(const nexus_alloc *alloc, nexus__stored *s);

/* --- groups ---- */

typedef struct nexus__bgroup nexus__bgroup; /* lives as long as the broker */

enum { NEXUS__LETTERS_MAX = 1000000 };

/* The stored configuration, as nexus_group_opts; texts are never NULL. */
typedef struct nexus__group_config {
    nexus_slice types, subject_prefix, source, tags;
    uint32_t start, order;
    uint64_t start_pos;
    int64_t start_time_ns;
    uint32_t ack_wait_ms, max_deliver, max_inflight, backoff_base_ms, backoff_cap_ms;
    bool update, existing;
    double backoff_factor;
    nexus_slice backoff_classes, high_types, low_types;
    uint64_t max_inflight_bytes, member_inflight_bytes;
    uint32_t on_exhausted, max_lease_ms, member_inflight, sticky_ms, redeliver_percent, redeliver_per_s, breaker_percent,
        breaker_samples, breaker_pause_ms, dead_max, dead_overflow, dead_expire_s;
} nexus__group_config;

void nexus__group_config_defaults(nexus__group_config *c); /* of fields that are 0 */
nexus_status nexus__group_config_check(nexus_slice name, const nexus__group_config *c);
/* How to wait after a failure with this reason. */
nexus__backoff nexus__group_config_backoff(const nexus__group_config *c, nexus_slice reason);
void nexus__group_config_encode(nexus__buf *out, const nexus__group_config *c);
bool nexus__group_config_decode(nexus_slice bytes, nexus__group_config *c); /* slices into bytes */
nexus__filter nexus__group_config_filter(const nexus__group_config *c);     /* the same slices */
/* Names the first difference that matters, or NULL. */
const char *nexus__group_config_differs(const nexus__group_config *a, const nexus__group_config *b);

nexus_status nexus__broker_group(nexus__broker *b, nexus_slice name, const nexus__group_config *config,
                                 nexus__bgroup **out) NEXUS_MUST_CHECK;

typedef struct nexus__lease {
    nexus__stored *stored; /* a reference */
    uint64_t token;
    uint32_t attempt; /* with NEXUS__LEASE_REPLAY: the group was moved back, and had it before */
} nexus__lease;
#define NEXUS__LEASE_REPLAY 0x80000000u

/* A member of the group: whoever fetches. remote: it is another process, which may outlive the owner. NULL: no memory. */
typedef struct nexus__member nexus__member;
nexus__member *nexus__bgroup_join(nexus__bgroup *g, bool remote);
void nexus__bgroup_part(nexus__bgroup *g, nexus__member *member); /* its leases run out by themselves; NULL is fine */

/* Takes what is ready, at most max; never waits. *next_due_ns: when a lease or delay ends by itself (monotonic). */
nexus_status nexus__bgroup_take(nexus__bgroup *g, nexus__member *member, nexus__lease *out, size_t max, size_t *got,
                                int64_t *next_due_ns) NEXUS_MUST_CHECK;
/* The same, waiting up to wait_ms for the first. */
nexus_status nexus__bgroup_fetch(nexus__bgroup *g, nexus__member *member, nexus__lease *out, size_t max,
                                 uint32_t wait_ms, size_t *got) NEXUS_MUST_CHECK;

enum {
    NEXUS__SETTLE_ACK = 0,
    NEXUS__SETTLE_NAK = 1,
    NEXUS__SETTLE_TERM = 2,
    NEXUS__SETTLE_EXTEND = 3,
    NEXUS__SETTLE_SKIP = 4,
    NEXUS__SETTLE_LAST = 4
};
/* ms: delay of a nak (UINT32_MAX = backoff), length of an extension (0 = ack_wait). NEXUS_ESTALE. NEXUS_ELIMIT: the lease
 * cannot be longer. */
nexus_status nexus__bgroup_settle(nexus__bgroup *g, uint64_t pos, uint64_t token, uint32_t how, uint32_t ms,
                                  nexus_slice reason) NEXUS_MUST_CHECK;
/* Writes what has been settled so far and returns when it is durable. */
nexus_status nexus__bgroup_sync(nexus__bgroup *g) NEXUS_MUST_CHECK;
void nexus__bgroup_stats(nexus__bgroup *g, nexus_group_stats *stats);

/* Which dead letters; empty and 0 mean any. */
typedef struct nexus__dead_query {
    nexus_slice types, key, reason; /* patterns; the lane's key; a part of the reason */
    uint64_t pos, after;            /* this one; those of later positions */
    int64_t before_ns;              /* dead at or before */
    uint32_t limit;                 /* the first ones by position */
} nexus__dead_query;

typedef struct nexus__dead_report {
    uint64_t matched, done, last; /* last: position up to which it went */
} nexus__dead_report;

/* A JSON array. */
nexus_status nexus__bgroup_dead(nexus__bgroup *g, const nexus__dead_query *q, nexus__buf *json);
/* Hands them out again, with a fresh count of attempts; data not empty: in place of the event's, of one letter only.
 * Durable on return. dry: counts. */
nexus_status nexus__bgroup_redrive(nexus__bgroup *g, const nexus__dead_query *q, nexus_slice data, bool dry,
                                   nexus__dead_report *report) NEXUS_MUST_CHECK;
/* Removes them for good when they are `expect`; else NEXUS_ECONFLICT, and report->matched tells. Durable on return. */
nexus_status nexus__bgroup_purge(nexus__bgroup *g, const nexus__dead_query *q, uint64_t expect,
                                 nexus__dead_report *report) NEXUS_MUST_CHECK;
nexus_status nexus__broker_groups(nexus__broker *b, nexus__buf *json); /* as nexus_bus_groups */
nexus_status nexus__broker_stats(nexus__broker *b, nexus__buf *json);  /* files.c: as nexus_bus_stats */
nexus_status nexus__bgroup_explain(nexus__bgroup *g, nexus__buf *json);
nexus_status nexus__bgroup_audit(nexus__bgroup *g, nexus__buf *json);
nexus_status nexus__bgroup_pause(nexus__bgroup *g, bool pause) NEXUS_MUST_CHECK; /* durable on return */

typedef struct nexus__seek {
    int64_t start_time_ns;
    uint64_t start_pos;
    uint32_t start, dry;
} nexus__seek;
typedef struct nexus__seek_report {
    uint64_t floor_before, floor, again, skipped, inflight;
} nexus__seek_report;
/* Durable on return, unless dry. */
nexus_status nexus__bgroup_seek(nexus__bgroup *g, const nexus__seek *seek, nexus__seek_report *report) NEXUS_MUST_CHECK;
const nexus__group_config *nexus__bgroup_config(const nexus__bgroup *g);

/* Told, on any thread and under a lock, when a take may find something: do no more than wake somebody. */
typedef struct nexus__watch_group {
    nexus__list node;
    void (*fn)(void *user_data);
    void *user_data;
} nexus__watch_group;
void nexus__bgroup_watch(nexus__bgroup *g, nexus__watch_group *w);
void nexus__bgroup_unwatch(nexus__bgroup *g, nexus__watch_group *w);

/* --- consume and publish in one commit ---- */

typedef struct nexus__commit_ack {
    nexus__bgroup *group;
    uint64_t pos, token;
} nexus__commit_ack;

/* Publishes (n may be 0) and settles in one commit; done as of nexus__broker_publish. NEXUS_ESTALE: a lease is over, and
 * the events are not stored; when they are, it was done before. */
nexus_status nexus__broker_commit(nexus__broker *b, const nexus__commit_ack *acks, size_t n_acks,
                                  const nexus_event *events, size_t n, const nexus__publish_terms *terms,
                                  nexus__publish_done_fn *done, void *user_data,
                                  nexus_publish_result *result) NEXUS_MUST_CHECK;
/* Whether every event is stored, with the same content. */
bool nexus__broker_has_all(nexus__broker *b, const nexus_event *events, size_t n);

/* --- waiting for new events (readers) ---- */

/* Returns when the durable position is past pos or the time is over. */
void nexus__broker_wait(nexus__broker *b, uint64_t pos, uint32_t wait_ms);
void nexus__broker_watch(nexus__broker *b, nexus__watch_group *w);
void nexus__broker_unwatch(nexus__broker *b, nexus__watch_group *w);

#endif
