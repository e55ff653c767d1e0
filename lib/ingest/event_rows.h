/*
 * The events that can be asked about: rows in chunks of 4,096, every text interned once, properties as cells of 16 bytes.
 *
 * Rows are only ever appended. A reader takes a snapshot (how many rows there are) and then reads chunks, cells and texts
 * below it without a lock; nothing below it moves or changes. Appending and looking up a text's number take the mutex.
 * The directories of chunks and of texts are reserved whole at the start, so that they never move either; the kernel
 * gives them memory as it is used.
 */
#ifndef NEXUS_INGEST_EVENT_ROWS_H
#define NEXUS_INGEST_EVENT_ROWS_H

#include <pthread.h>

#include "base/arena.h"
#include "base/map.h"
#include "ingest/event.h"

#define NEXUS__EVENT_ROWS_CHUNK 4096u
#define NEXUS__EVENT_ROWS_CHUNKS_MAX 65536u  /* 268 million rows */
#define NEXUS__EVENT_ROWS_NO_TEXT 0u         /* number 0 is the empty text: of an identity, none */
#define NEXUS__EVENT_ROWS_UNKNOWN UINT32_MAX /* a text that no event has */

typedef enum nexus__cell_type {
    NEXUS__CELL_TEXT = 1,
    NEXUS__CELL_NUMBER = 2,
    NEXUS__CELL_BOOL = 3,
} nexus__cell_type;

typedef struct nexus__cell {
    uint32_t key; /* text number of "properties.a.b" or "context.a.b" */
    uint32_t type;
    union {
        double number;
        uint64_t text; /* text number; of a bool 0 or 1 */
    };
} nexus__cell;

typedef struct nexus__row {
    int64_t time_ms;
    const nexus__cell *cells;
    uint32_t cell_count;
    uint32_t name, user_id, anonymous_id, session_id; /* text numbers */
} nexus__row;

typedef struct nexus__chunk {
    int64_t min_ms, max_ms; /* of a full chunk; read only when the snapshot covers it whole */
    nexus__row rows[NEXUS__EVENT_ROWS_CHUNK];
} nexus__chunk;

typedef struct nexus__event_rows {
    pthread_mutex_t mutex;
    struct {
        nexus__chunk **chunks;
        nexus_slice **texts; /* number -> text, in blocks of NEXUS__EVENT_ROWS_CHUNK */
        uint64_t count;
        uint32_t text_count;
        nexus__map numbers; /* text -> number */
        nexus__arena arena; /* texts and cells */
        nexus__json scratch;
        nexus__buf path;
        nexus__cell *cells; /* of the row being built */
        uint32_t cell_count, cell_cap;
        int64_t max_received_ms;
    } locked;
    const nexus_alloc *alloc;
} nexus__event_rows;

nexus_status nexus__event_rows_open(nexus__event_rows *rows, const nexus_alloc *alloc) NEXUS_MUST_CHECK;
void nexus__event_rows_close(nexus__event_rows *rows);

nexus_status nexus__event_rows_add(nexus__event_rows *rows, const nexus__event *event) NEXUS_MUST_CHECK;

typedef struct nexus__snapshot {
    nexus__event_rows *rows;
    uint64_t count;
    int64_t max_received_ms; /* of the newest event; 0 when there is none */
} nexus__snapshot;

nexus__snapshot nexus__event_rows_snapshot(nexus__event_rows *rows);

static inline const nexus__row *nexus__event_rows_at(const nexus__snapshot *s, uint64_t i)
{
    return &s->rows->locked.chunks[i / NEXUS__EVENT_ROWS_CHUNK]->rows[i % NEXUS__EVENT_ROWS_CHUNK];
}

/* The number of a text, or NEXUS__EVENT_ROWS_UNKNOWN. */
uint32_t nexus__event_rows_number(nexus__event_rows *rows, nexus_slice text);
/* The text of a number that a row of a snapshot holds. */
static inline nexus_slice nexus__event_rows_text(const nexus__event_rows *rows, uint32_t number)
{
    return rows->locked.texts[number / NEXUS__EVENT_ROWS_CHUNK][number % NEXUS__EVENT_ROWS_CHUNK];
}

#endif
