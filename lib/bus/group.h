/* A group's state inside the broker, and what the group_*.c files offer each other. group.c tells what it all means. */
#ifndef NEXUS_BUS_GROUP_H
#define NEXUS_BUS_GROUP_H

#include <pthread.h>

#include "base/map.h"
#include "bus/broker.h"
#include "bus/guard.h"
#include "limit/breaker.h"

typedef struct dead_record {
    uint64_t pos;
    int64_t first_at_ns, dead_at_ns;
    uint32_t attempts, reason_bytes, meta_bytes, data_bytes; /* attempts: with DEAD_PARKED when its lane waits behind it */
} dead_record;
#define DEAD_PARKED 0x80000000u

enum { GROUP_WINDOW = 8192 }; /* events of a group in memory, not yet settled */
enum { GROUP_WARY = 2048 };   /* more than are handed out between two writes of attempts */

/* Committing: leased, and its ack is on its way to the log in a commit. */
typedef enum entry_state { ENTRY_WAITING, ENTRY_READY, ENTRY_LEASED, ENTRY_DELAYED, ENTRY_COMMITTING } entry_state;

enum { CLASSES = 3 }; /* of priority: 0 goes first */

typedef struct lane lane;

/* What is ready, in the order it became so. Second and later attempts stand apart, since they are rationed. */
typedef struct queue {
    nexus__list first[CLASSES], again;
    size_t count, again_count; /* of all; of those in again */
} queue;

/* A handle on the group, here or in another process. */
struct nexus__member {
    nexus__list node; /* in the group's members */
    uint64_t id;      /* random: keys are spread by it */
    bool remote;
    int64_t asked_ns; /* monotonic */
    uint64_t inflight, inflight_bytes;
    queue ready; /* of keys that stick to it */
};

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
    bool back;       /* a dead letter handed out again: not of the window, and no floor waits for it */
    uint8_t class;   /* of priority */
    uint32_t pass;   /* of the breaker, while leased */
    queue *queue;    /* while ready */
    uint64_t seq;    /* when it became ready, in the order of these */
    int64_t from_ns; /* when it became ready; leased: when its lease may not be renewed any more */
    nexus__member *member; /* who holds the lease; NULL: not known, or gone */
    bool remote; /* last leased to another process */
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
    struct parked *parked; /* its lane waits behind it */
    nexus__list in_parked;
} dead;

/* A lane that waits among the dead letters. */
typedef struct parked {
    nexus__list letters; /* those that are not back, by position */
    size_t key_bytes;
    char key[];
} parked;

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
    size_t config_n;
    nexus__group_config config; /* slices into config_bytes */
    nexus__filter filter;

    pthread_mutex_t lock;
    /* locked */
    nexus__wal_reader *reader;
    uint64_t floor, loaded; /* settled up to; looked at up to */
    uint64_t handed, replay_until; /* handed out up to; what a seek makes a replay */
    nexus__list window, members;
    uint64_t resumed; /* a checkpoint's `loaded`: up to it, what is not in `known` was settled */
    size_t window_count;
    queue ready;         /* for whoever asks */
    uint32_t passed[CLASSES]; /* how often each class that waits was passed over */
    uint64_t next_seq;
    nexus__map by_pos, lanes, known, parked;
    entry **timers; /* heap by due_ns */
    size_t timer_count, timer_cap;
    uint64_t inflight, inflight_bytes, delivered, acked, redelivered;
    nexus__guard guard;
    nexus__breaker breaker;
    bool paused, told_full; /* told: system.alert was published about dead letters */
    bool matched;           /* some event has ever matched */
    int64_t taken_ns; /* when somebody last asked for events, monotonic; 0 = never */
    uint64_t next_token;
    uint32_t wary; /* so many are still to be handed out as after a crash */
    nexus__list dead;
    nexus__map dead_by_pos;
    uint64_t dead_count; /* without those that are back */
    nexus__buf acks, leases, gone, audits; /* not yet written */
    nexus__buf letters;                    /* of dead letters, that could not be written when they came */
    uint64_t seeks, put_back; /* how often it was moved; how often a batch with something of it was not written */
    nexus__list audit; /* the last ones, oldest first */
    size_t audit_count;
    int64_t audit_until; /* a checkpoint held it up to here */
    nexus__wal_reader *counter; /* counts what matches behind `loaded` */
    uint64_t counted, ahead;    /* looked at by it up to; how many match after `loaded` */
    uint64_t counted_from;      /* behind this position */

    /* waiting; never held while the other lock is taken */
    pthread_mutex_t wake_lock;
    pthread_cond_t wake;
    uint64_t generation;
    nexus__list watchers;
};

/* group.c */
nexus_status nexus__bgroup_new(nexus__broker *b, nexus_slice name, nexus_slice config, nexus__bgroup **out);
void nexus__bgroup_free(nexus__bgroup *g);
void nexus__bgroup_use_config(nexus__bgroup *g); /* after it was decoded into config */

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

/* group_ready.c */
void nexus__queue_init(queue *q);
void nexus__bgroup_ready(nexus__bgroup *g, entry *e);
void nexus__bgroup_unready(entry *e); /* harmless on one that is not ready */
/* What member gets next, left where it is; NULL: nothing now. *due_ns is brought forward to when that may change. */
entry *nexus__bgroup_pick(nexus__bgroup *g, const nexus__member *member, int64_t now_ns, int64_t *due_ns);
/* How many member could be given now, those that the guard holds back left out. */
size_t nexus__bgroup_ready_for(nexus__bgroup *g, const nexus__member *member);
bool nexus__bgroup_any_ready(const nexus__bgroup *g);
uint8_t nexus__bgroup_class(const nexus__bgroup *g, const nexus_event *e);

/* group_load.c */
/* Reads on until `wanted` events are ready for member, the window is full, or the log is at its end. */
nexus_status nexus__bgroup_load(nexus__bgroup *g, const nexus__member *member, size_t wanted) NEXUS_MUST_CHECK;
void nexus__bgroup_unload(nexus__bgroup *g, uint64_t floor); /* forgets the window: goes on behind floor */
/* Takes the stored event into the window's by-way: ready again, before younger events of its key. */
nexus_status nexus__bgroup_readmit(nexus__bgroup *g, nexus__stored *stored, uint32_t attempts);
void nexus__bgroup_raise_floor(nexus__bgroup *g);
/* Takes the stored event into the window, as its last. The reference is taken when it returns NEXUS_OK. */
nexus_status nexus__bgroup_admit(nexus__bgroup *g, nexus__stored *stored, const known *k);

/* group_gap.c: an event that tells that those from `from` to `to` are gone; none when they had been settled. next_ns: when
 * the one behind them was stored, so that they are at least as old. */
nexus_status nexus__bgroup_gap(nexus__bgroup *g, uint64_t from, uint64_t to, int64_t next_ns);

void nexus__bgroup_entry_free(nexus__bgroup *g, entry *e);

/* group_settle.c */
void nexus__bgroup_bury(nexus__bgroup *g, entry *e, nexus_slice reason);
void nexus__bgroup_lease_over(nexus__bgroup *g, entry *e);
void nexus__bgroup_done(nexus__bgroup *g, entry *e); /* settled: leaves for good */
/* The event of a letter, if a seek has brought it back into the window, leaves it: the letter goes out in its place. */
void nexus__bgroup_supplant(nexus__bgroup *g, uint64_t pos);
void nexus__bgroup_release(nexus__bgroup *g, entry *e, int32_t outcome); /* no lease any more; outcome: for the breaker */
/* A lease that stands; NULL and NEXUS_ESTALE's message: it is over. */
entry *nexus__bgroup_leased(nexus__bgroup *g, uint64_t pos, uint64_t token);

/* park.c */
parked *nexus__bgroup_parked(const nexus__bgroup *g, nexus_slice key); /* NULL: the lane does not wait */
nexus_status nexus__bgroup_park(nexus__bgroup *g, dead *d) NEXUS_MUST_CHECK; /* its lane waits behind d */
void nexus__bgroup_unpark(nexus__bgroup *g, dead *d);
/* group_settle.c: buries what came behind a parked letter. */
void nexus__bgroup_park_behind(nexus__bgroup *g, nexus_slice key);

/* control.c */
enum { CONTROL_PAUSE = 1, CONTROL_BREAKER = 2 };
nexus__guard_rule nexus__bgroup_guard_rule(const nexus__bgroup *g);
nexus_breaker_rule nexus__bgroup_breaker_rule(const nexus__bgroup *g);
void nexus__bgroup_control(nexus__bgroup *g, uint32_t what, uint32_t value); /* in recovery, or decided now */
void nexus__bgroup_breaker_changed(nexus__bgroup *g, int32_t state); /* -1: it did not */

/* audit.c */
enum { AUDIT_SKIP = 1, AUDIT_EDIT, AUDIT_PURGE, AUDIT_REDRIVE, AUDIT_SEEK, AUDIT_PAUSE, AUDIT_RESUME };
void nexus__bgroup_note(nexus__bgroup *g, uint32_t what, uint64_t pos, nexus_slice detail);
nexus_status nexus__bgroup_keep_audit(nexus__bgroup *g, nexus_slice records); /* in recovery */
void nexus__bgroup_list_audit(const nexus__bgroup *g, nexus__buf *out);         /* what keep_audit reads */
void nexus__bgroup_audit_is_kept(nexus__bgroup *g); /* older ones that come again are left out */
void nexus__bgroup_free_audit(nexus__bgroup *g);

/* lag.c. Takes the lock itself. How many events match and wait, and how old the oldest is. */
void nexus__bgroup_lag(nexus__bgroup *g, uint64_t *events, int64_t *oldest_recv_ns);
void nexus__bgroup_lag_reset(nexus__bgroup *g);

/* group_log.c */
known *nexus__bgroup_know(nexus__bgroup *g, uint64_t pos);
void nexus__bgroup_forget(nexus__bgroup *g); /* what is known at or below the floor */
/* What the group has noted goes to the log; on NEXUS_OK its lock is held, and what is appended then stands behind that. */
nexus_status nexus__bgroup_lock_log(nexus__bgroup *g) NEXUS_MUST_CHECK;
void nexus__bgroup_unlock_log(nexus__bgroup *g);
void nexus__bgroup_recovered(nexus__bgroup *g); /* all of the log has been told */
/* Moves what is to be written into batch, and into list, to be ended when its fate is known. Both take the lock themselves;
 * false: somebody has it, and wait is false. */
typedef struct nexus__drained nexus__drained;
bool nexus__bgroup_drain(nexus__bgroup *g, nexus__wal_batch *batch, nexus__drained **list, bool wait);
void nexus__drained_end(nexus__drained *list, bool written);

/* group_take.c. Both take locks themselves. */
int64_t nexus__bgroup_expire(nexus__bgroup *g, int64_t now_ns); /* next due, INT64_MAX none */
void nexus__bgroup_wake(nexus__bgroup *g);

/* dead.c. Takes the reference to the event, in any case. */
nexus_status nexus__bgroup_add_dead(nexus__bgroup *g, const dead_record *d, nexus_slice reason, nexus__stored *stored);
void nexus__bgroup_drop_dead(nexus__bgroup *g, uint64_t pos); /* settled or purged */
/* Room for the letter of pos: NEXUS_ELIMIT when the group keeps as many as it may and drops none for it. */
nexus_status nexus__bgroup_dead_room(nexus__bgroup *g, uint64_t pos) NEXUS_MUST_CHECK;
int64_t nexus__bgroup_expire_dead(nexus__bgroup *g, int64_t now_ns); /* removes what is too old; when to look again */
void nexus__bgroup_free_dead(nexus__bgroup *g);
/* edit.c: publishes that a letter's data were replaced, with what they were; the record is of the same commit. */
nexus_status nexus__bgroup_tell_edit(nexus__bgroup *g, const dead *d, const nexus__wal_record *with) NEXUS_MUST_CHECK;
/* In recovery: marks it as handed out again; after it: hands it out. */
nexus_status nexus__bgroup_mark_back(nexus__bgroup *g, uint64_t pos, nexus_slice data);
nexus_status nexus__bgroup_hand_back(nexus__bgroup *g);

static inline nexus_slice nexus__pos_key(const uint64_t *pos)
{
    return nexus__slice(pos, sizeof *pos);
}

#endif
