/* What broker.c, recover.c and group.c share: records of the log, the broker's and the group's state. */
#ifndef NEXUS_BUS_INTERNAL_H
#define NEXUS_BUS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "bus/broker.h"
#include "bus/table.h"

/* Kinds of log records. Internal ones have the group's name as meta. */
enum {
    KIND_EVENT = 1,
    KIND_GROUP = 2, /* payload: configuration, with start resolved to a position */
    KIND_ACK = 3,   /* payload: u64 floor, then settled positions above it */
    KIND_LEASE = 4, /* payload: lease_record each */
    KIND_DEAD = 5,  /* payload: dead_record, reason, event meta, event data */
    KIND_BACK = 6,  /* payload: u64 position of a dead letter that is handed out again, then the data of an edit */
    KIND_GONE = 7   /* payload: u64 positions of dead letters that are settled at last, or purged */
};

typedef struct lease_record {
    uint64_t pos, token;
    uint32_t attempts;
    uint32_t remote; /* the holder is another process, which may outlive the owner */
} lease_record;

typedef struct dead_record {
    uint64_t pos;
    int64_t first_at_ns, dead_at_ns;
    uint32_t attempts, reason_bytes, meta_bytes, data_bytes;
} dead_record;

enum { GROUP_WINDOW = 8192 }; /* events of a group in memory, not yet settled */

typedef enum entry_state { ENTRY_WAITING, ENTRY_READY, ENTRY_LEASED, ENTRY_DELAYED } entry_state;

typedef struct lane lane;

/* One event of the window. In its lane in log order; only the first of a lane is ever ready, leased or delayed. */
typedef struct entry {
    nexus__list in_window, in_lane, in_ready;
    uint64_t pos; /* key in by_pos */
    nexus__stored *stored;
    lane *lane; /* NULL: bound by no order */
    entry_state state;
    uint32_t attempts;
    uint64_t token;
    int64_t due_ns, first_at_ns; /* due: end of lease or delay, monotonic */
    size_t heap_at;              /* index + 1 in timers; 0 = none */
    char *reason;
    bool back; /* a dead letter handed out again: not of the window, and no floor waits for it */
} entry;

struct lane {
    nexus__list entries;
    size_t key_bytes;
    char key[];
};

typedef struct dead {
    nexus__list node;
    uint64_t pos; /* key in dead_by_pos */
    nexus__stored *stored;
    int64_t first_at_ns, dead_at_ns;
    uint32_t attempts;
    char *reason;
    bool back; /* handed out again: kept until that is settled, shown no more */
} dead;

/* What recovery or an earlier owner knew about a position above the floor. */
typedef struct known {
    uint64_t pos, token;
    uint32_t attempts;
    bool done, remote;
} known;

struct nexus__bgroup {
    nexus__broker *broker;
    char *name;
    char *config_bytes;
    nexus__group_config config; /* slices into config_bytes */
    nexus__filter filter;

    pthread_mutex_t lock;
    /* locked */
    nexus__wal_reader *reader;
    uint64_t floor, loaded; /* settled up to; looked at up to */
    nexus__list window, ready;
    size_t window_count;
    nexus__map by_pos, lanes, known;
    entry **timers; /* heap by due_ns */
    size_t timer_count, timer_cap;
    uint64_t inflight, delivered, acked, redelivered;
    int64_t taken_ns; /* when somebody last asked for events, monotonic; 0 = never */
    uint64_t next_token;
    nexus__list dead;
    nexus__map dead_by_pos;
    uint64_t dead_count;           /* without those that are back */
    nexus__buf acks, leases, gone; /* not yet written */
    uint64_t written_floor;

    /* waiting; never held while the other lock is taken */
    pthread_mutex_t wake_lock;
    pthread_cond_t wake;
    uint64_t generation;
    nexus__list watchers;
};

struct nexus__broker {
    const nexus_alloc *alloc;
    nexus__wal *wal;
    uint32_t dedupe_max, dedupe_s;
    uint64_t event_max;

    pthread_mutex_t lock;    /* order of publishes */
    nexus__table ids, heads; /* ids: value = position, extra = content CRC << 32 | second;
                               heads: value = version + 1, extra = position of that event, 0 = not known */
    struct {
        nexus__key128 key;
        uint64_t pos;
    } * ring; /* ids in order of arrival */
    uint64_t ring_first, ring_next;
    size_t ring_cap;

    pthread_mutex_t open_lock; /* makers of groups, one at a time; held while waiting for the log */
    pthread_mutex_t groups_lock;
    nexus__map groups;
    nexus__bgroup **group_list;
    size_t group_count;

    pthread_mutex_t tick_lock;
    pthread_cond_t tick;
    bool closing, tick_now, tick_soon, writing; /* writing: internal records are on their way */
    int64_t tick_due_ns;
    pthread_t tick_thread;
    bool tick_started;

    pthread_mutex_t wait_lock; /* readers that wait for new events */
    pthread_cond_t grown;
    nexus__list watchers;
};

/* broker.c */
void nexus__broker_remember(nexus__broker *b, nexus__key128 key, uint64_t pos, uint32_t crc, int64_t recv_ns);
uint32_t nexus__broker_content_crc(const nexus_event *e);
/* Work of the tick thread: at once, within 5 ms, or at due_ns at the latest. */
void nexus__broker_tick(nexus__broker *b, bool now, int64_t due_ns);

/* recover.c: reads the log from its start */
nexus_status nexus__broker_recover(nexus__broker *b);

/* group.c */
nexus_status nexus__bgroup_new(nexus__broker *b, nexus_slice name, nexus_slice config, nexus__bgroup **out);
void nexus__bgroup_free(nexus__bgroup *g);
known *nexus__bgroup_know(nexus__bgroup *g, uint64_t pos);
void nexus__bgroup_forget(nexus__bgroup *g); /* what is known at or below the floor */
/* Takes the stored event into the window's by-way: ready again, before younger events of its key. */
nexus_status nexus__bgroup_readmit(nexus__bgroup *g, nexus__stored *stored, uint32_t attempts);

enum { NEXUS__LETTERS_MAX = 1000000 }; /* then failing events wait instead of being given up */
/* dead.c. Takes the reference to the event, in any case. */
nexus_status nexus__bgroup_add_dead(nexus__bgroup *g, const dead_record *d, nexus_slice reason, nexus__stored *stored);
void nexus__bgroup_drop_dead(nexus__bgroup *g, uint64_t pos); /* settled or purged */
void nexus__bgroup_free_dead(nexus__bgroup *g);
/* In recovery: marks it as handed out again; after it: hands it out. */
nexus_status nexus__bgroup_mark_back(nexus__bgroup *g, uint64_t pos, nexus_slice data);
nexus_status nexus__bgroup_hand_back(nexus__bgroup *g);

static inline nexus_slice nexus__pos_key(const uint64_t *pos)
{
    return nexus__slice(pos, sizeof *pos);
}

int64_t nexus__bgroup_expire(nexus__bgroup *g, int64_t now_ns); /* next due, INT64_MAX none */
void nexus__bgroup_wake(nexus__bgroup *g);
/* Moves what is to be written into batch; false when there is nothing. */
bool nexus__bgroup_drain(nexus__bgroup *g, nexus__wal_batch *batch);

#endif
