/* What the files of this room share. */
#ifndef NEXUS_WAL_INTERNAL_H
#define NEXUS_WAL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "wal/format.h"

#define SEGMENT_NAME_MAX 64

/* Every 64 KiB of a file, where a position lies: readers start near. */
typedef struct segment_mark {
    uint64_t pos, at;
} segment_mark;

/*
 * One file. The list runs from old to new; the last one is written to. A sealed file of an earlier life has end 0:
 * where its batches end shows only by reading. A reader holds a reference, so that dropping never pulls a file away.
 */
struct nexus__wal_index;

typedef struct segment {
    struct segment *next; /* locked by wal->lock */
    const nexus_alloc *alloc;
    atomic_uint refs;
    int fd;
    uint64_t generation, first_seq, first_pos, size;
    int64_t created_ns;
    _Atomic uint64_t end; /* durable end of batches */
    atomic_bool sealed;
    segment_mark *marks; /* locked by wal->lock, as are the two below */
    size_t mark_count, mark_cap;
    struct nexus__wal_index *index; /* index.h; locked, as are the two below */
    bool index_looked, index_done;  /* for one on the disk; for one to be made */
    char name[SEGMENT_NAME_MAX];
} segment;

struct nexus__wal_batch {
    struct nexus__wal_batch *next;
    nexus__buf bytes; /* head space, records; the trailer is added at submit */
    bool leads;       /* its submitter is about to lead (flush.c): nobody need be woken */
    uint32_t count, data_count;
    size_t cursor_at; /* of set_version: record cursor_index begins here */
    size_t cursor_index;
    uint64_t first_pos;
    int64_t recv_ns;
    void (*queued)(uint64_t first_pos, int64_t recv_ns, void *user_data);
    nexus__wal_done_fn *done;
    void *user_data;
};

/* Where a piece of an engine's log begins: place, and position, number and time of the first batch. */
typedef struct engine_mark {
    uint64_t place, pos, seq;
    int64_t ns;
} engine_mark;

typedef struct engine_marks {
    engine_mark *at;
    size_t count, cap;
    bool complete; /* with those of the lives before */
} engine_marks;

struct nexus__wal {
    const nexus_alloc *alloc;
    const nexus__wal_io *io;
    const nexus__clock *clock;
    char *dir; /* NULL = memory */
    int dir_fd, lock_fd;
    uint8_t uuid[16];
    uint32_t seed, segment_bytes, batch_max, durability;
    int64_t sync_ns; /* of INTERVAL */
    nexus__wal_engine *engine;      /* NULL: files */
    bool engine_durable;
    atomic_bool lost_told;
    uint32_t engine_weaker;         /* NEXUS__WAL_INTERVAL or OS; 0 = never synced */
    uint64_t engine_place;          /* the leader's: behind the last run */
    _Atomic uint64_t engine_end;    /* the same, once its batches are durable for all */
    _Atomic uint64_t engine_begin, engine_first_pos;
    uint64_t queue_max;
    char name[12];

    pthread_mutex_t lock;
    pthread_cond_t work, room, prepare;
    /* locked */
    nexus__wal_batch *head, **tail;
    uint64_t queue_bytes, next_pos;
    uint64_t submitted, taken; /* batches, since it was opened */
    bool led;                  /* somebody leads: takes from the queue and writes (flush.c) */
    int64_t last_recv_ns;
    bool closing, refusing; /* refusing: failed batches are being reported, their positions are given out anew */
    uint64_t durable_seq;   /* of the next batch behind what is durable */
    nexus_status poison;    /* why nothing can be appended any more */
    char poison_text[300];
    engine_marks engine_marks;
    segment *first, *active;
    struct {
        bool wanted, busy;
        int fd;
        uint64_t size;
    } prepared;
    struct {                        /* what is acknowledged and not on the disk (durability.c) */
        pthread_mutex_t order;      /* one sync at a time; before the lock */
        pthread_cond_t wake;
        int64_t since, under_way;   /* when the oldest such write was made, and that of a sync on its way; 0 = none */
        _Atomic uint64_t from;      /* offset in the active file */
    } unsynced;
    char (*pool)[SEGMENT_NAME_MAX]; /* dropped files that wait for reuse */
    size_t pool_count;
    pthread_mutex_t recent_lock;
    struct nexus__wal_index_pass *recent; /* index_recent.c; locked by recent_lock */
    uint32_t ahead; /* so many files are to wait there */
    /* the leader's */
    uint64_t write_at, next_seq, next_generation;
    nexus__buf gather;
    /* atomic */
    _Atomic uint64_t durable, written, finished;
    atomic_bool seal_wanted;
    _Atomic nexus_status condition; /* of the last write */

    void (*on_durable)(void *user_data), (*on_lost)(void *user_data);
    void (*on_take)(void *user_data); /* locked */
    void *on_durable_data, *on_lost_data, *on_take_data;
    pthread_t flush_thread, prepare_thread, sync_thread;
    bool flush_started, prepare_started, sync_started;
};

/* io.c */
int nexus__wal_io_open(nexus__wal *wal, const char *name, int flags);
nexus_status nexus__wal_io_write(nexus__wal *wal, int fd, const void *data, size_t n, uint64_t at);
nexus_status nexus__wal_io_sync(nexus__wal *wal, int fd);
/* Returns when bytes just written have left for the device: no sync by then, but little is left for one, and what others
 * write waits behind n bytes at most. */
void nexus__wal_io_drain(const nexus__wal *wal, int fd, uint64_t at, size_t n);
nexus_status nexus__wal_io_sync_dir(nexus__wal *wal);

/* durability.c */
void nexus__wal_durability_init(nexus__wal *wal, const nexus__wal_opts *o);
void nexus__wal_durability_end(nexus__wal *wal);
int nexus__wal_write_flags(const nexus__wal *wal);         /* of open(2), for the file that is written to */
uint64_t nexus__wal_write_start(const nexus__wal *wal);    /* of a batch written now. The leader */
nexus_status nexus__wal_wrote(nexus__wal *wal, size_t n);  /* n bytes at write_at, not acknowledged yet. The leader */
void *nexus__wal_sync_main(void *wal);
/* Whether no write may be acknowledged before one made at oldest_ns (0 = there is none) is on the disk. */
bool nexus__wal_sync_is_due(int64_t oldest_ns, int64_t now_ns, int64_t interval_ns);

/* flush.c */
void nexus__wal_poison(nexus__wal *wal, const char *why); /* nothing is appended any more */
void *nexus__wal_flush_main(void *wal);

/* index.c */
typedef struct nexus__wal_index nexus__wal_index;
void nexus__wal_index_unref(nexus__wal_index *x);
void nexus__wal_recent_forget(nexus__wal *wal); /* index_recent.c */
void nexus__wal_index_forget(nexus__wal *wal, const segment *s); /* on the disk; before the file changes or goes */

/* segment.c */
segment *nexus__wal_segment_ref(segment *s);
void nexus__wal_segment_unref(segment *s);
/* What follows a file that a reader holds, which may have left the list. Under the log's lock; NULL: it is the last. */
segment *nexus__wal_segment_after(const nexus__wal *wal, const segment *s);
/* Takes fd, in any case. */
nexus_status nexus__wal_segment_new(nexus__wal *wal, int fd, const nexus__wal_segment_head *head, uint64_t size,
                                    const char *name, segment **out);
nexus_status nexus__wal_segment_open(nexus__wal *wal, const char *name, segment **out);
/* A new file of at least need bytes of room becomes the active one. The leader, or before there is one. */
nexus_status nexus__wal_roll(nexus__wal *wal, uint64_t need);
void nexus__wal_mark(segment *s, uint64_t pos, uint64_t at);
void *nexus__wal_prepare_main(void *wal);

/* recover.c */
typedef struct nexus__wal_found {
    uint64_t first_pos, generation;
    char name[SEGMENT_NAME_MAX];
} nexus__wal_found;
/* The files there are, from old to new. */
nexus_status nexus__wal_list(nexus__wal *wal, nexus__buf *out);
/* wal.c: of a directory that is open; NEXUS_ECONFLICT: somebody has it. */
nexus_status nexus__wal_take_lock(nexus__wal *wal);
nexus_status nexus__wal_recover(nexus__wal *wal, nexus__wal_report *report);
/* Finds the files and nothing more; the last one counts as empty. */
nexus_status nexus__wal_look(nexus__wal *wal);
/* Offset of the first whole batch of this generation at or behind `from` in map[0..size), or 0. */
uint64_t nexus__wal_find_batch(const char *map, uint64_t size, uint64_t from, uint64_t generation, uint32_t seed);

/* engine.c: the same steps where batches are not in files */
nexus_status nexus__wal_engine_start(nexus__wal *wal, nexus__wal_report *report);
nexus_status nexus__wal_engine_append(nexus__wal *wal, const nexus__wal_batch *run, nexus_slice bytes);
nexus_status nexus__wal_engine_drop_below(nexus__wal *wal, uint64_t pos);
void nexus__wal_tell_lost(void *wal);
/* pieces.c: what stands for files there */
void nexus__wal_piece_written(nexus__wal *wal, const engine_mark *mark); /* a run was */
void nexus__wal_piece_end(nexus__wal *wal);
nexus_status nexus__wal_pieces(nexus__wal *wal, nexus__wal_file **out, size_t *n);
nexus_status nexus__wal_pieces_drop(nexus__wal *wal, uint64_t generation);
#define ENGINE_GENERATION 1u

nexus_status nexus__wal_thread(pthread_t *thread, void *(*main)(void *), void *arg);

#endif
