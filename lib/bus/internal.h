/* What broker.c, recover.c, tick.c and the group share: records of the log, the broker's state. */
#ifndef NEXUS_BUS_INTERNAL_H
#define NEXUS_BUS_INTERNAL_H

#include <stdatomic.h>

#include "bus/category.h"
#include "bus/delayed.h"
#include "bus/durability.h"
#include "bus/group.h"
#include "bus/retention.h"
#include "bus/window.h"

/* Kinds of log records. Internal ones have the group's name as meta. */
enum {
    KIND_EVENT = 1,
    KIND_GROUP = 2, /* payload: configuration, with start resolved to a position */
    KIND_ACK = 3,   /* payload: u64 floor, then settled positions above it */
    KIND_LEASE = 4, /* payload: lease_record each */
    KIND_DEAD = 5,  /* payload: dead_record, reason, event meta, event data */
    KIND_BACK = 6,  /* payload: u64 position of a dead letter that is handed out again, then the data of an edit */
    KIND_GONE = 7,  /* payload: u64 positions of dead letters that are settled at last, or purged */
    KIND_AUDIT = 20,  /* payload: audit_record, detail, each */
    KIND_SEEK = 21,   /* payload: u64 floor, to which the group was moved */
    KIND_CONTROL = 22, /* payload: u32 CONTROL_…, u32 value */
    KIND_DELAYED = 23, /* payload: a publish for later (delayed.c); no group */
    KIND_FIRED = 24    /* payload: u64 id of the one that was published in this batch; no group */
};

typedef struct lease_record {
    uint64_t pos, token;
    uint32_t attempts;
    uint32_t remote; /* the holder is another process, which may outlive the owner */
} lease_record;

struct nexus__broker {
    const nexus_alloc *alloc;
    nexus__wal *wal;
    uint32_t dedupe_max, dedupe_s;
    uint64_t event_max, checkpoint_bytes;
    uint32_t durability; /* NEXUS_DURABILITY_… */
    bool read_only; /* the log is damaged */
    bool anyway;    /* opened with whatever is left */
    nexus__retention retention;
    uint64_t watermark; /* free bytes below which nothing is published; 0 = the default, UINT64_MAX = none */
    atomic_bool disk_low;

    pthread_mutex_t lock;    /* order of publishes */
    pthread_cond_t quiet_over;
    bool quiet;              /* a publish with a condition has the floor */
    uint64_t assigned;       /* last position given out, durable or not */
    nexus__categories categories;
    nexus__window ids;
    nexus__table heads; /* value = version + 1, extra = position of that event, 0 = not known */
    uint64_t taken_back; /* publishes that were not stored after all */

    nexus__delays delays;
    struct nexus__compaction *compaction; /* NULL: no type is compacted */

    pthread_mutex_t open_lock; /* makers of groups, one at a time; held while waiting for the log */
    pthread_mutex_t groups_lock;
    nexus__map groups;
    nexus__bgroup **group_list;
    size_t group_count;

    pthread_mutex_t drain_lock; /* between what a group has to write and its place in the log */

    pthread_mutex_t tick_lock;
    pthread_cond_t tick;
    bool closing, tick_now, writing; /* writing: internal records are on their way */
    int64_t tick_due_ns;
    _Atomic int64_t owed_ns, paid_ns; /* since when something waits to be written, 0 = nothing; when that was last seen to */
    pthread_t tick_thread;
    bool tick_started;
    struct nexus__alert *alerts; /* to be published */

    pthread_mutex_t wait_lock; /* readers that wait for new events */
    pthread_cond_t grown;
    nexus__list watchers;

    struct {
        pthread_mutex_t lock;
        pthread_cond_t wake;
        /* locked */
        bool stop, asked, unindexed; /* unindexed: a file was finished */
        pthread_mutex_t work; /* held by the keeper at work, and by whoever does of that by hand */
        /* flush thread */
        uint64_t finished;
        /* at work */
        unsigned older;               /* of the two generations: written next */
        nexus__wal_cursor cursors[2]; /* of each; seq 0 = none */
        uint64_t bytes, saved_written; /* of the newest checkpoint; of the log when it was made */
        uint64_t behind;               /* bytes of the log that were read behind it when the bus was opened */
        /* atomic */
        _Atomic uint64_t due_written; /* bytes of the log that make it look */
        /* Free and all bytes of the file system; tests replace it. */
        bool (*space)(nexus__broker *b, uint64_t *left, uint64_t *all);
        _Atomic uint64_t failed;      /* rounds that could not do what they wanted */
        pthread_t thread;
        bool started;
    } keep;
};

/* broker.c */
void nexus__broker_promise(const nexus__broker *b, nexus_publish_result *r); /* fills in how durable it is */
void nexus__broker_remember(nexus__broker *b, nexus__key128 key, uint64_t pos, uint32_t crc, uint32_t second);
/* Never 0, which stands for any content. */
uint32_t nexus__broker_content_crc(const nexus_event *e);
static inline bool nexus__seen_differs(const nexus__seen *s, uint32_t crc)
{
    return s->crc && s->crc != crc;
}
/* Work of the tick thread: at once, or at due_ns at the latest. */
void nexus__broker_tick(nexus__broker *b, bool now, int64_t due_ns);
/* A group has something for the log, or will have when due_ns comes: with the next write, or by then. attempts: some of it
 * is attempts, which are written at once, or 1 ms after the ones before. */
void nexus__broker_owes(nexus__broker *b, bool attempts, int64_t now_ns, int64_t due_ns);

/* alert.c: has system.alert published by the tick thread; any lock but tick_lock may be held. */
void nexus__broker_alert(nexus__broker *b, const char *severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void nexus__broker_publish_alerts(nexus__broker *b); /* no lock is held */
void nexus__broker_drop_alerts(nexus__broker *b);

/* group_open.c: what a start means now, as a position. */
nexus_status nexus__broker_start_pos(nexus__broker *b, uint32_t start, int64_t start_time_ns, uint64_t *pos);

/* page.c: of an event; empty of other records. */
nexus_slice nexus__record_type(const nexus__wal_record *r);

/* condition.c: the first event after `after` and up to *upto that matches; 0 = none. *upto: in, where it was looked up to
 * before; out, the last durable position. No lock is held. */
nexus_status nexus__broker_find(nexus__broker *b, const nexus__publish_terms *terms, uint64_t *upto, uint64_t *found);

/* recover.c: reads the newest checkpoint, and the log from there */
nexus_status nexus__broker_recover(nexus__broker *b);
/* Empties everything that is derived. */
void nexus__broker_forget(nexus__broker *b);

#endif
