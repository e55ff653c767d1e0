/*
 * The write-ahead log: records appended in atomic batches, durable before the answer, read back in order.
 *
 * A record that carries data takes the next position (1, 2, …, no gaps, in commit order). An internal record (acks,
 * state) takes none: it stands at the position of the data record before it. One process owns a directory at a time.
 * Used by bus, ingest, notify and audit, each with a directory of its own. Every call may be made from any thread.
 */
#ifndef NEXUS_WAL_WAL_H
#define NEXUS_WAL_WAL_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"

typedef struct nexus__wal nexus__wal;

/* System calls that can fail in interesting ways; tests replace them. NULL members mean the real ones. */
typedef struct nexus__wal_io {
    int (*open_fn)(void *user_data, const char *path, int flags, mode_t mode);
    ssize_t (*pwrite_fn)(void *user_data, int fd, const void *data, size_t n, off_t at);
    int (*fdatasync_fn)(void *user_data, int fd);
    void *user_data;
} nexus__wal_io;

/* Where batches are kept when not in files; see the end of this header. */
typedef struct nexus__wal_engine nexus__wal_engine;

/* When an append is acknowledged (durability.c). */
enum {
    NEXUS__WAL_ALWAYS = 0,   /* when it is on the disk */
    NEXUS__WAL_INTERVAL = 1, /* when it is written; it is on the disk within sync_ms */
    NEXUS__WAL_OS = 2,       /* when it is written; it is on the disk when the system pleases, or the file is finished */
    NEXUS__WAL_NOWHERE = 3   /* told of a log in memory, or in an engine whose server syncs nothing */
};
enum { NEXUS__WAL_SYNC_MS = 100 };

typedef struct nexus__wal_opts {
    const nexus_alloc *alloc;
    const nexus__wal_io *io;   /* borrowed */
    const nexus__clock *clock; /* borrowed */
    uint32_t segment_bytes;    /* 0 = 64 MiB; at least 64 KiB. The first file is at most 4 MiB, for a fast start */
    uint64_t ahead_bytes;      /* of files made ahead of their use, in the background, beside the next one; 0 = none */
    uint64_t queue_max_bytes;  /* waiting to be written; 0 = 64 MiB; over it submit says NEXUS_EAGAIN */
    uint32_t batch_max_bytes;  /* 0 = 32 MiB; a bigger batch is NEXUS_ETOOBIG */
    bool force;                /* on a network file system too, where O_DSYNC and locks may mean little */
    const char *name;          /* of the threads, at most 10 bytes; NULL = "wal" */
    uint32_t durability;       /* NEXUS__WAL_…, of files; a checkpoint and a finished file are synced in any case */
    uint32_t sync_ms;          /* of INTERVAL; 0 = 100 */
    nexus__wal_engine *engine; /* taken in any case; NULL = files. dir then holds no more than the lock, and may be NULL */
} nexus__wal_opts;

/* What opening found. */
typedef struct nexus__wal_report {
    uint64_t cut_bytes; /* of an unfinished write at the end, removed */
    uint32_t segments;
    bool read_only;   /* damaged in the middle: appends fail with NEXUS_ECORRUPT, reads go on */
    char damage[256]; /* "FILE at OFFSET: why", when read_only */
    char lost[200];   /* what an engine's server lost of what had been acknowledged; empty = nothing */
} nexus__wal_report;

/* Opens dir (made when absent, mode 0700); NULL dir keeps it in memory, with the same behaviour but no durability.
 * NEXUS_ECONFLICT: another process (or handle) owns it. report may be NULL. A damaged log opens, read-only. */
nexus_status nexus__wal_open(nexus__wal **out, const char *dir, const nexus__wal_opts *opts,
                             nexus__wal_report *report) NEXUS_MUST_CHECK;
/* Opens the finished files of a log that another process may own and write to, for reading alone: the last file is left
 * out, *end is the first position that may stand in it. The list of files is that of this moment. Close as usual. */
nexus_status nexus__wal_view_open(nexus__wal **out, const char *dir, const nexus_alloc *alloc,
                                  uint64_t *end) NEXUS_MUST_CHECK;
/* Writes what is queued and ends the threads: after it no callback runs. Appends fail, readers still read. */
void nexus__wal_stop(nexus__wal *wal);
/* The same, then frees. Readers must be closed before. */
void nexus__wal_close(nexus__wal *wal);

/* Flags of a record. */
enum {
    NEXUS__WAL_INTERNAL = 1, /* it takes no position */
    NEXUS__WAL_ERASED = 2,   /* its payload was removed later; the owner's own meaning beyond that */
    NEXUS__WAL_COMPACTED = 8, /* it was superseded; readers pass over it unless they ask for its rest */
    NEXUS__WAL_LOST = 4      /* it was damaged and cut out by a repair: readers get NEXUS_EMISSING */
};

typedef struct nexus__wal_record {
    uint64_t pos;    /* read: its position. append: ignored */
    int64_t recv_ns; /* read: when its batch was queued; never decreases */
    uint16_t kind;   /* the owner's own meaning */
    uint16_t flags;
    uint32_t type_id; /* the owner's own, as are stream and version */
    uint64_t stream;
    int64_t version;
    nexus_slice meta, payload; /* each with a CRC of its own */
    const uint32_t *payload_crc; /* append: that of the payload when it is known already, else NULL */
} nexus__wal_record;

/* --- appending ---- */

/* Durable on return. *first_pos (may be NULL) is the position of the first data record. NEXUS_ENOSPC: nothing was
 * stored. NEXUS_EUNKNOWN: the device failed, the log is poisoned until it is opened again. */
nexus_status nexus__wal_append(nexus__wal *wal, const nexus__wal_record *records, size_t n,
                               uint64_t *first_pos) NEXUS_MUST_CHECK;

/* Called once for each accepted batch, in order, on the thread that wrote it (the flush thread, or one in wal_lead): keep
 * it short and do not block in it. */
typedef void nexus__wal_done_fn(nexus_status status, uint64_t first_pos, void *user_data);

/* Queues and returns. NEXUS_EAGAIN: the queue is full. When the call fails, done is not called. */
nexus_status nexus__wal_append_async(nexus__wal *wal, const nexus__wal_record *records, size_t n,
                                     nexus__wal_done_fn *done, void *user_data) NEXUS_MUST_CHECK;

/* The same in two steps, so that encoding happens outside the caller's own lock and only submit inside it. Submit
 * takes the batch in any case. A batch without records is a barrier: done when all before it are durable. */
typedef struct nexus__wal_batch nexus__wal_batch;
nexus_status nexus__wal_batch_new(nexus__wal_batch **out, nexus__wal *wal, size_t size_hint) NEXUS_MUST_CHECK;
nexus_status nexus__wal_batch_add(nexus__wal_batch *batch, const nexus__wal_record *record) NEXUS_MUST_CHECK;
/* Sets the version of record i (in the order added), which is known late. */
void nexus__wal_batch_set_version(nexus__wal_batch *batch, size_t i, int64_t version);
/* Called inside submit, under the log's lock, with what it is about to return, before anyone else can see the batch:
 * never block in it. Its user_data is that of submit. */
void nexus__wal_batch_on_queued(nexus__wal_batch *batch,
                                void (*fn)(uint64_t first_pos, int64_t recv_ns, void *user_data));
/* Before submit: the submitter calls nexus__wal_lead next, so that the flush thread is not woken for it. */
void nexus__wal_batch_will_lead(nexus__wal_batch *batch);
void nexus__wal_batch_free(nexus__wal_batch *batch);
nexus_status nexus__wal_submit(nexus__wal *wal, nexus__wal_batch *batch, nexus__wal_done_fn *done, void *user_data,
                               uint64_t *first_pos, int64_t *recv_ns) NEXUS_MUST_CHECK;
/* For callers that wait for what they have submitted: unless somebody is writing, writes on this thread what is queued now,
 * and calls everybody's done and the two below. So hold no lock. Nothing with an engine, whose calls may take long. */
void nexus__wal_lead(nexus__wal *wal);

/* --- reading ---- */

uint64_t nexus__wal_durable(const nexus__wal *wal); /* last durable position; 0 = none */
uint64_t nexus__wal_first(nexus__wal *wal);         /* first position still kept; durable + 1 when none */
bool nexus__wal_has_engine(const nexus__wal *wal);  /* its batches are not in files */
bool nexus__wal_is_durable(const nexus__wal *wal);  /* false in memory */
bool nexus__wal_lasts(const nexus__wal *wal);       /* beyond its handle, if not through a power cut */
uint32_t nexus__wal_durability(const nexus__wal *wal, uint32_t *sync_ms); /* NEXUS__WAL_…; sync_ms 0: no INTERVAL */
/* What is acknowledged is on the disk when this returns, in the weaker modes too. */
nexus_status nexus__wal_sync(nexus__wal *wal) NEXUS_MUST_CHECK;
/* How writing is: NEXUS_OK, NEXUS_ENOSPC as of the last write, or why nothing can be appended until it is opened again. */
nexus_status nexus__wal_condition(nexus__wal *wal);

/* Called after every write, on the thread that wrote; set it before the first append. */
void nexus__wal_on_durable(nexus__wal *wal, void (*fn)(void *user_data), void *user_data);

/* Called before it takes what is queued, on the thread that is going to write: what is submitted there goes along, in the
 * same write. Never block in it. */
void nexus__wal_on_take(nexus__wal *wal, void (*fn)(void *user_data), void *user_data);

/* Called on a thread of a log in an engine when it takes no more writes: open it again. */
void nexus__wal_on_lost(nexus__wal *wal, void (*fn)(void *user_data), void *user_data);

typedef struct nexus__wal_reader nexus__wal_reader; /* one thread at a time */

/* The type of a record that is indexed, a slice of it; empty = it has none. */
typedef nexus_slice nexus__wal_type_fn(const nexus__wal_record *record);

/* What a reader is after. Finished files that have an index are read only where it may be. */
typedef struct nexus__wal_select {
    uint64_t stream;                                          /* of records; 0 = any */
    bool (*wants_type)(nexus_slice type, void *user_data);    /* NULL = any */
    void *user_data;
    nexus__wal_type_fn *type_of; /* NULL: the file that is written to is read through */
} nexus__wal_select;

/* Makes the index of one finished file that has none or a broken one; false: there was nothing to do. One at a time. */
bool nexus__wal_index_one(nexus__wal *wal, nexus__wal_type_fn *type_of);

/* Starts at the first data record with position >= pos, and the internal records after the one before it; 0 or 1 =
 * the very beginning, internal records included. NEXUS_EMISSING: pos was dropped. */
nexus_status nexus__wal_reader_open(nexus__wal_reader **out, nexus__wal *wal, uint64_t pos) NEXUS_MUST_CHECK;
/* The next durable record; its slices are borrowed until the next call. NEXUS_EDONE: none yet, call again later.
 * NEXUS_ECORRUPT: its bytes fail their check (record->pos is set); the next call goes on behind it. NEXUS_EMISSING:
 * records before the next readable one are gone; the next call goes on with it. */
nexus_status nexus__wal_reader_next(nexus__wal_reader *reader, nexus__wal_record *record) NEXUS_MUST_CHECK;
void nexus__wal_reader_close(nexus__wal_reader *reader);
/* Before the first read. Records that are not wanted come, too, and damage among those passed over is not told. */
void nexus__wal_reader_select(nexus__wal_reader *reader, const nexus__wal_select *select);
/* Records that compaction has left in the place of others come, too. */
void nexus__wal_reader_show_compacted(nexus__wal_reader *reader);
/* The last position it has come past, read or passed over; 0 = it has read nothing yet. */
uint64_t nexus__wal_reader_pos(const nexus__wal_reader *reader);

/* A place between two batches, where the next one goes or went. */
typedef struct nexus__wal_cursor {
    uint64_t generation, at; /* of the file, and the offset in it: a hint, since files are rewritten */
    uint64_t seq, pos;       /* of the next batch, and of the next data record */
} nexus__wal_cursor;

/* Behind everything that is durable now. */
void nexus__wal_cursor_now(nexus__wal *wal, nexus__wal_cursor *out);
/* Reads what was written at or after the cursor. NEXUS_EMISSING: a part of it was dropped. NEXUS_ESTALE: the log ends
 * before it, so it is of another life of the log. */
nexus_status nexus__wal_reader_open_at(nexus__wal_reader **out, nexus__wal *wal,
                                       const nexus__wal_cursor *cursor) NEXUS_MUST_CHECK;
/* Bytes of batches written, and files finished, since it was opened. */
uint64_t nexus__wal_written(const nexus__wal *wal);
uint64_t nexus__wal_finished(const nexus__wal *wal);

/* Forgets whole files all of whose records stand below pos (never the one written to); their space is reused. */
nexus_status nexus__wal_drop_below(nexus__wal *wal, uint64_t pos) NEXUS_MUST_CHECK;

/* A file, as it was at the call; in an engine, a piece of the log (generation: counted anew with each call). */
typedef struct nexus__wal_file {
    uint64_t generation;
    uint64_t first_pos, end_pos; /* of data records in it, and of the first behind it */
    uint64_t end_seq;            /* of the batch behind it */
    uint64_t bytes;
    int64_t begun_ns, ended_ns; /* ended: the one written to has not (0) */
    char name[64];
} nexus__wal_file;

/* From old to new; nexus__free(*out). */
nexus_status nexus__wal_files(nexus__wal *wal, nexus__wal_file **out, size_t *n) NEXUS_MUST_CHECK;
/* Forgets every file up to this one, but never the one written to. */
nexus_status nexus__wal_drop_to(nexus__wal *wal, uint64_t generation) NEXUS_MUST_CHECK;
/* Ends the file that is written to, when there is something in it: what comes goes into a new one. */
nexus_status nexus__wal_seal_active(nexus__wal *wal) NEXUS_MUST_CHECK;
/* Says of an intact record what it should become: true when it changed flags, meta or payload, which must live until the
 * next call. Asked twice for each record, the first time to see whether the file needs a copy at all. */
typedef bool nexus__wal_edit_fn(nexus__wal_record *record, void *user_data);
/* Changes records of a finished file, by a copy that takes its place. Readers go on with the old or the new one.
 * *changed: how many. One call at a time. NEXUS_ECORRUPT: the file is damaged between its batches. */
nexus_status nexus__wal_rewrite(nexus__wal *wal, uint64_t generation, nexus__wal_edit_fn *edit, void *user_data,
                                uint64_t *changed) NEXUS_MUST_CHECK;
/* Bytes left to us on the file system of the log, and of all of it; false: it has none, or does not say. */
bool nexus__wal_space(const nexus__wal *wal, uint64_t *left, uint64_t *all);
uint64_t nexus__wal_bytes(nexus__wal *wal); /* of the files kept */

/* --- checkpoints: one named blob each, replaced as a whole ---- */

nexus_status nexus__wal_checkpoint_write(nexus__wal *wal, const char *name, nexus_slice blob) NEXUS_MUST_CHECK;
/* The same piece by piece, for what is big: nothing is visible before commit, which ends it in any case. A piece is on
 * the device before much more follows, so that a big one does not come down on the log's own writes all at once. */
typedef struct nexus__wal_checkpoint nexus__wal_checkpoint;
nexus_status nexus__wal_checkpoint_begin(nexus__wal_checkpoint **out, nexus__wal *wal, const char *name) NEXUS_MUST_CHECK;
nexus_status nexus__wal_checkpoint_put(nexus__wal_checkpoint *c, nexus_slice bytes) NEXUS_MUST_CHECK;
uint64_t nexus__wal_checkpoint_bytes(const nexus__wal_checkpoint *c);
nexus_status nexus__wal_checkpoint_commit(nexus__wal_checkpoint *c) NEXUS_MUST_CHECK;
void nexus__wal_checkpoint_abort(nexus__wal_checkpoint *c);

void nexus__wal_checkpoint_remove(nexus__wal *wal, const char *name);
/* The first n bytes, unchecked: to see which of several is the newest. False: there is no such checkpoint. */
bool nexus__wal_checkpoint_peek(nexus__wal *wal, const char *name, void *out, size_t n);
/* NEXUS_ENOTFOUND, or NEXUS_ECORRUPT: build the state from the log instead. Free *out with nexus__free. */
nexus_status nexus__wal_checkpoint_read(nexus__wal *wal, const char *name, char **out, size_t *n) NEXUS_MUST_CHECK;

/* --- engines: batches in a database or a broker's stream instead of files ----
 *
 * To an engine the log is a row of runs. A run is one or more whole batches, written together and never changed; the
 * engine gives each a place (a number that grows) and hands runs out from a place on. Whatever else a log is (batches,
 * positions, readers, group commit, failures) stays in this room. One process writes: `own` decides who.
 */

typedef struct nexus__wal_tail {
    uint8_t uuid[16];               /* of the log; made by the engine when the log is new */
    uint64_t begin, end;            /* places of the first run kept and behind the last one */
    uint64_t next_seq, next_pos;    /* of the next batch and data record, both from 1 */
    uint64_t first_pos;             /* first position kept */
    int64_t last_recv_ns;
    bool durable;                   /* what append has stored survives a power cut */
    uint32_t weaker, sync_ms;       /* not durable, but synced later: NEXUS__WAL_INTERVAL (within sync_ms) or OS; 0 = never */
    char lost[200];                 /* what the server lost of it since the last owner, in words; empty = nothing */
} nexus__wal_tail;

typedef struct nexus__wal_run {
    uint64_t first_pos;          /* of its first batch, as in the batch's head */
    uint64_t next_seq, next_pos; /* behind it */
    int64_t recv_ns;             /* of its last batch */
    nexus_slice bytes;
} nexus__wal_run;

typedef struct nexus__wal_engine_ops {
    size_t size;
    const char *name;
    bool drops; /* drop_below can bound the log; places count bytes */
    /* Becomes the writer and says where the log ends. NEXUS_ECONFLICT: another process is the writer. */
    nexus_status (*own)(nexus__wal_engine *e, nexus__wal_tail *tail);
    /* Stores the run, whole or not at all; *end is the place behind it. NEXUS_ENOSPC, NEXUS_EROFS, NEXUS_EAGAIN,
     * NEXUS_ETIMEDOUT and NEXUS_EUNREACH: nothing was stored, the next one may be. Whatever else it says, the log takes no more writes. */
    nexus_status (*append)(nexus__wal_engine *e, const nexus__wal_run *run, uint64_t *end);
    /* Appends whole runs to out, about 1 MiB of them, the first one at `place` or the next one there is; *next is the
     * place behind them. Nothing in out: there are none. Any thread. */
    nexus_status (*read)(nexus__wal_engine *e, uint64_t place, nexus__buf *out, uint64_t *next);
    /* The place of the last run whose first_pos is below pos, or of the first run. Any thread. */
    nexus_status (*find)(nexus__wal_engine *e, uint64_t pos, uint64_t *place);
    /* Forgets runs all of whose records stand below pos; *first_pos and *begin are what is kept. */
    nexus_status (*drop_below)(nexus__wal_engine *e, uint64_t pos, uint64_t *first_pos, uint64_t *begin);
    nexus_status (*put_blob)(nexus__wal_engine *e, const char *name, nexus_slice blob);
    nexus_status (*get_blob)(nexus__wal_engine *e, const char *name, nexus__buf *out); /* NEXUS_ENOTFOUND */
    /* NULL, or: fn is called, on any thread, when the engine learns between two appends that another process writes. */
    void (*on_lost)(nexus__wal_engine *e, void (*fn)(void *user_data), void *user_data);
    void (*close)(nexus__wal_engine *e);
} nexus__wal_engine_ops;

struct nexus__wal_engine { /* the first member of the engine's own struct */
    const nexus__wal_engine_ops *ops;
};

#endif
