/* Reading the log: from any position, by type, by stream; catch-up and then live. */
#ifndef NEXUS_STREAM_H
#define NEXUS_STREAM_H

#include <nexus/bus.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A cursor over stored events; nothing is leased or settled. One thread at a time. */
typedef struct nexus_reader nexus_reader;

typedef struct nexus_reader_opts {
    size_t size;
    const char *stream;         /**< events of this stream only; NULL = all */
    const char *category;       /**< streams whose name begins with this and a '-'; NULL = all */
    const char *types;          /**< patterns, comma-separated; NULL = all */
    const char *subject_prefix; /**< NULL = any */
    const char *source;         /**< NULL = any */
    uint32_t start;             /**< NEXUS_START_… of bus.h; 0 = the first event */
    uint32_t reserved;          /**< 0 */
    uint64_t start_pos;         /**< NEXUS_START_POS: first position read */
    int64_t start_time_ns;      /**< NEXUS_START_TIME: events stored at or after */
    int64_t from_version;       /**< with stream: versions from here; 0 = all */
    uint64_t to_pos;            /**< last position read; 0 = no bound: a read at the end waits or says EDONE */
    const char *tags;           /**< comma-separated: events whose extension `tags` has all of them; NULL = any */
    const char *accept_revs;    /**< "order.created=2,…": these types in this revision; NULL = the latest known */
    bool raw;                   /**< as stored: no upcaster runs */
    bool signals;               /**< NEXUS_EDONE comes at once when the end is reached first, so that it can be told */
    uint32_t behind;            /**< NEXUS_SIGNAL_FELL_BEHIND at so many unread positions; 0 = 10,000 */
} nexus_reader_opts;

#define NEXUS_READER_OPTS_INIT NEXUS_SIZED(nexus_reader_opts)
NEXUS_API void nexus_reader_opts_init(nexus_reader_opts *opts);

/** opts may be NULL (every event from the first). Borrows bus until close. */
NEXUS_API nexus_status nexus_reader_open(nexus_reader **out, nexus_bus *bus,
                                         const nexus_reader_opts *opts) NEXUS_MUST_CHECK;

/**
 * The next event, waiting up to wait_ms for one to be stored; borrowed until the next call on this reader.
 * NEXUS_EDONE: at the end (call again later, it goes on), or past to_pos. NEXUS_ECORRUPT: this event's bytes fail their
 * check; the next call goes on behind it. NEXUS_EREV: this event's revision is not known to this handle (contract.h), or
 * no upcaster leads to the one wanted; so does it after this, and after any status of an upcaster. No event is missed or
 * repeated at the switch from stored to new ones.
 */
NEXUS_API nexus_status nexus_reader_next(nexus_reader *reader, const nexus_event **event,
                                         uint32_t wait_ms) NEXUS_MUST_CHECK;
/** The same as JSON text (nexus_event_format), borrowed until the next call. */
NEXUS_API nexus_status nexus_reader_next_json(nexus_reader *reader, const char **text, size_t *n,
                                              uint32_t wait_ms) NEXUS_MUST_CHECK;
/** What a reader has to tell about where it is. */
enum {
    NEXUS_SIGNAL_NONE = 0,
    NEXUS_SIGNAL_CAUGHT_UP = 1,  /**< it has given everything that was stored: what comes now is new */
    NEXUS_SIGNAL_FELL_BEHIND = 2 /**< it was caught up, and `behind` positions are waiting */
};
/** What has changed since the last call of this, each told once; look after each nexus_reader_next, also after EDONE. */
NEXUS_API uint32_t nexus_reader_signal(nexus_reader *reader);
/** Every event up to here was given, or does not match. */
NEXUS_API uint64_t nexus_reader_position(const nexus_reader *reader);
NEXUS_API void nexus_reader_close(nexus_reader *reader);

/** Version of a stream's last event; -1 = no such stream. */
NEXUS_API nexus_status nexus_stream_version(nexus_bus *bus, const char *stream, int64_t *version) NEXUS_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
