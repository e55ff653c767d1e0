/* A group's state inside the broker, and what the group_*.c files offer each other. group.c tells what it all means. */
#ifndef NEXUS_BUS_GROUP_H
#define NEXUS_BUS_GROUP_H

#include <pthread.h>

#include "base/map.h"
#include "bus/broker.h"

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

/* group.c */
nexus_status nexus__bgroup_new(nexus__broker *b, nexus_slice name, nexus_slice config, nexus__bgroup **out);
void nexus__bgroup_free(nexus__bgroup *g);

/* Below, calls are made with the group's lock held unless they say otherwise. */

/* group_timers.c. Room is reserved when an entry is made, so that starting a timer cannot fail. */
nexus_status nexus__bgroup_timer_reserve(nexus__bgroup *g) NEXUS_MUST_CHECK;
void nexus__bgroup_timer_start(nexus__bgroup *g, entry *e, int64_t due_ns);
void nexus__bgroup_timer_stop(nexus__bgroup *g, entry *e);

/* group_lanes.c */
nexus_slice nexus__bgroup_lane_key(const nexus__bgroup *g, const nexus_event *e);
lane *nexus__bgroup_lane(nexus__bgroup *g, nexus_slice key); /* made when absent; NULL: no memory */
void nexus__bgroup_enter_lane(nexus__bgroup *g, lane *l, entry *e);
void nexus__bgroup_leave_lane(nexus__bgroup *g, entry *e); /* the next of the lane may be ready now */
void nexus__bgroup_ready(nexus__bgroup *g, entry *e);

/* group_load.c */
/* Reads on until `wanted` events are ready, the window is full, or the log is at its end. */
nexus_status nexus__bgroup_load(nexus__bgroup *g, size_t wanted) NEXUS_MUST_CHECK;
/* Takes the stored event into the window's by-way: ready again, before younger events of its key. */
nexus_status nexus__bgroup_readmit(nexus__bgroup *g, nexus__stored *stored, uint32_t attempts);
void nexus__bgroup_raise_floor(nexus__bgroup *g);
void nexus__bgroup_entry_free(nexus__bgroup *g, entry *e);

/* group_settle.c */
void nexus__bgroup_bury(nexus__bgroup *g, entry *e, nexus_slice reason);
void nexus__bgroup_failed(nexus__bgroup *g, entry *e, uint32_t delay_ms, const char *why);

/* group_log.c */
known *nexus__bgroup_know(nexus__bgroup *g, uint64_t pos);
void nexus__bgroup_forget(nexus__bgroup *g); /* what is known at or below the floor */
/* Moves what is to be written into batch; false when there is nothing. Takes the lock itself. */
bool nexus__bgroup_drain(nexus__bgroup *g, nexus__wal_batch *batch);

/* group_take.c. Both take locks themselves. */
int64_t nexus__bgroup_expire(nexus__bgroup *g, int64_t now_ns); /* next due, INT64_MAX none */
void nexus__bgroup_wake(nexus__bgroup *g);

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

#endif
