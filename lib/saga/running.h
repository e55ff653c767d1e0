/* A saga that runs: lanes of work, the threads that do it, and the index that wakes what waits for a time. */
#ifndef NEXUS_SAGA_RUNNING_H
#define NEXUS_SAGA_RUNNING_H

#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "saga/index.h"
#include "saga/instance.h"

enum { NEXUS__SAGA_ITEMS = 256, NEXUS__SAGA_THREADS_MAX = 64, NEXUS__SAGA_ACK_WAIT_MS = 1000 };

typedef enum nexus__saga_item_kind { NEXUS__SAGA_EVENT, NEXUS__SAGA_TIME, NEXUS__SAGA_START } nexus__saga_item_kind;

/* One reason to look at an instance. */
typedef struct nexus__saga_item {
    nexus__list in_lane;
    nexus__list held; /* of an event: among the leases that are renewed */
    nexus__saga_item_kind kind;
    nexus_delivery *delivery; /* EVENT */
    nexus_slice state;        /* START: the caller's */
    uint32_t reruns;          /* races lost */
    bool renewing;            /* locked: the delivery is in use by the renewal of leases */
    int64_t taken_ns, renewed_ns;
    /* START: what the caller waits for */
    nexus__gate gate;
    nexus_status status;
    char message[256];
} nexus__saga_item;

typedef struct nexus__saga_turn nexus__saga_turn;

/*
 * What is to be done about one instance, one item after the other, whoever brings it. busy: it is in `ready`, a thread is
 * at it, or its transition is on the way to the log; then it is that one's alone, but for the tail of `items`.
 */
typedef struct nexus__saga_lane {
    nexus__list node; /* ready, or idle; in none while a thread is at it */
    nexus__list items;
    nexus__saga_instance *instance; /* as last stored; NULL = to be read */
    nexus__saga_turn *turn;         /* whose transition has been stored, or not */
    size_t bytes;                   /* counted in `cached` */
    bool busy;
    uint32_t id_bytes;
    char id[];
} nexus__saga_lane;

/* Survives the saga when a publish does: its callback finds out here that nobody waits any more. */
typedef struct nexus__saga_tether {
    const nexus_alloc *alloc;
    pthread_mutex_t lock;
    nexus_saga *saga; /* NULL: closed */
    uint32_t refs;
} nexus__saga_tether;

struct nexus_saga {
    nexus__saga_type type;
    nexus_bus *bus;
    nexus_group *group;
    nexus__saga_tether *tether;
    uint64_t cache_max;

    pthread_mutex_t lock;
    pthread_cond_t work, room, renewed;
    /* locked */
    nexus__map lanes;        /* by id */
    nexus__list ready, idle; /* idle: the longest first */
    nexus__list held;        /* oldest lease first */
    size_t items, busy;      /* items in lanes; lanes that are busy */
    size_t item_max;
    uint64_t cached;
    bool closing, stopping;

    pthread_mutex_t index_lock;
    nexus__saga_index index;
    nexus_reader *follower; /* the index thread's */
    uint64_t stored_pos;    /* of the stored index */

    pthread_t in_thread, index_thread, workers[NEXUS__SAGA_THREADS_MAX];
    bool in_started, index_started;
    uint32_t threads, worker_count;
};

/* lanes.c */
/* Adds the item at the end of its instance's lane. On failure it is the caller's. */
nexus_status nexus__saga_push(nexus_saga *s, nexus_slice id, nexus__saga_item *item) NEXUS_MUST_CHECK;
void nexus__saga_item_free(nexus_saga *s, nexus__saga_item *item); /* a START belongs to its caller */
/* Before its delivery is settled: its lease is renewed no more. */
void nexus__saga_item_settle(nexus_saga *s, nexus__saga_item *item);
/* Waits a while for room; false when there is none yet or the saga closes. */
bool nexus__saga_has_room(nexus_saga *s, int64_t until_ns);
void *nexus__saga_work(void *saga); /* a worker thread */
/* The transition of lane->turn has been stored, or not: somebody goes on with it. Any thread. */
void nexus__saga_lane_wake(nexus_saga *s, nexus__saga_lane *lane);
void nexus__saga_lane_count(nexus_saga *s, nexus__saga_lane *lane); /* after its instance has changed */

/* intake.c */
void *nexus__saga_take_in(void *saga); /* the thread that fetches events */

/* timers.c */
void *nexus__saga_keep_time(void *saga); /* the thread that follows the transitions */
/* The time of an instance was looked at and is not over: at due_ns again, unless a transition says otherwise. */
void nexus__saga_replan(nexus_saga *s, nexus_slice id, int64_t due_ns);

/* turn.c: one item of a lane. True: it is over. False: its transition is on the way; lane->turn goes on when it is woken. */
bool nexus__saga_turn_begin(nexus_saga *s, nexus__saga_lane *lane, nexus__saga_item *item);
bool nexus__saga_turn_end(nexus_saga *s, nexus__saga_lane *lane, nexus__saga_item *item);
void nexus__saga_tether_unref(nexus__saga_tether *t);

/* load.c: the instance as its last transition left it. NEXUS_ENOTFOUND. */
nexus_status nexus__saga_load(nexus__saga_instance **out, nexus_bus *bus, const nexus_alloc *alloc, const char *saga,
                              nexus_slice id) NEXUS_MUST_CHECK;
enum { NEXUS__SAGA_STREAM_MAX = 320 };
void nexus__saga_stream(char out[static NEXUS__SAGA_STREAM_MAX], const char *saga, nexus_slice id);

/* view.c: an instant as text; 0 = null */
struct nexus__json_writer;
void nexus__saga_put_time(struct nexus__json_writer *w, const char *name, int64_t at_ns);

#endif
