/*
 * What stands where in a finished file, so that a read of one stream or type passes over the rest. Beside FILE.log lies
 * FILE.idx, made from it in the background, with CRCs; without it, or with a broken one, the file is read through.
 *
 *   head | summary: blocks, fences, bitmaps, bloom, names of types | pages of (stream, position), sorted
 *
 * A block is some 16 KiB of whole batches. The summary is kept in memory: a bloom filter of the streams, for each block a
 * bitmap of the types in it, and the first stream of each page; pages are read one at a time. What it says may be too
 * much, never too little: readers look at each record anyway.
 */
#ifndef NEXUS_WAL_INDEX_H
#define NEXUS_WAL_INDEX_H

#include "base/map.h"
#include "wal/internal.h"

enum { INDEX_BLOCK_BYTES = 16 << 10, INDEX_PAGE_BYTES = 4096, INDEX_PAGE_ENTRIES = 340, INDEX_TYPES_MAX = 1024 };
enum { BLOOM_LINE_BYTES = 64, BLOOM_LINE_STREAMS = 48, BLOOM_BITS = 6 }; /* one in 70 streams that are not there passes */

typedef struct nexus__wal_index_head {
    char magic[8];
    uint8_t uuid[16]; /* of the log */
    uint64_t generation, first_pos, end_pos, end_seq;
    uint64_t last_at; /* offset of the last batch: the file is still the one the index was made from */
    uint64_t end_at;  /* behind it */
    uint32_t blocks, pages, bloom_lines, types, names_bytes;
    uint32_t summary_crc, reserved, crc;
} nexus__wal_index_head;

typedef struct nexus__wal_index_block {
    uint64_t pos; /* of the first data record at or behind it */
    uint64_t at;
} nexus__wal_index_block;

typedef struct nexus__wal_index_page {
    uint32_t crc, count;
    uint64_t streams[INDEX_PAGE_ENTRIES];
    uint32_t after[INDEX_PAGE_ENTRIES]; /* position, from the file's first */
    uint32_t unused[2];
} nexus__wal_index_page;

_Static_assert(sizeof(nexus__wal_index_page) == INDEX_PAGE_BYTES, "layout");

struct nexus__wal_index {
    const nexus_alloc *alloc;
    atomic_uint refs;
    nexus__wal_index_head head;
    char *summary;
    /* into the summary */
    const nexus__wal_index_block *blocks;
    const uint64_t *fences; /* first stream of each page */
    const uint8_t *bloom;
    const uint64_t *bitmaps; /* of each block, words of it */
    const char *names;       /* u16 length, bytes; an empty one stands for all that found no place */
    uint32_t words;
    atomic_bool broken; /* a page failed its check */
    char name[SEGMENT_NAME_MAX]; /* opened for each page: the files of a long log are many */
};

/* "seg-….log" -> "seg-….idx" */
void nexus__wal_index_name(const segment *s, char out[static SEGMENT_NAME_MAX]);
/* Bytes of the summary that a head announces; 0 = no such head can be. */
uint64_t nexus__wal_index_summary_bytes(const nexus__wal_index_head *head);
/* Finds the parts in x->summary, of a length that fits x->head; false: they contradict each other. */
bool nexus__wal_index_parse(nexus__wal_index *x);
uint32_t nexus__wal_index_page_crc(const nexus__wal_index_page *page);
void nexus__wal_bloom_add(uint8_t *bloom, uint32_t lines, uint64_t stream);
bool nexus__wal_bloom_has(const uint8_t *bloom, uint32_t lines, uint64_t stream);

/* The index of a finished file, a reference, or NULL: there is none that is good. */
nexus__wal_index *nexus__wal_index_of(nexus__wal *wal, segment *s);
void nexus__wal_index_unref(nexus__wal_index *x);

/* index_pass.c: what one pass over a file has found so far. */
typedef struct nexus__wal_index_pair {
    uint64_t stream;
    uint32_t after;
} nexus__wal_index_pair;

enum { INDEX_BITS_BYTES = INDEX_TYPES_MAX / 8 };

typedef struct nexus__wal_index_pass {
    nexus__wal *wal;
    segment *s; /* a reference */
    const char *map;
    nexus__wal_type_fn *type_of;
    nexus__wal_index_head head;
    uint64_t at, seq, block_at; /* where it goes on */
    nexus__buf blocks, pairs;   /* in order of position */
    nexus__buf bits;            /* of each block, for the most types there can be */
    nexus__buf names;
    nexus__map types;
} nexus__wal_index_pass;

/* End it in any case. */
nexus_status nexus__wal_pass_begin(nexus__wal_index_pass *p, nexus__wal *wal, segment *s, nexus__wal_type_fn *type_of);
nexus_status nexus__wal_pass_on(nexus__wal_index_pass *p, uint64_t limit);
void nexus__wal_pass_end(nexus__wal_index_pass *p);

/* A stretch of a file that has to be read. */
typedef struct nexus__wal_range {
    uint64_t at, end;
} nexus__wal_range;

/* The stretches, in order, appended to out. NEXUS_ECORRUPT: a page is broken, and the index is of no more use. */
nexus_status nexus__wal_index_find(nexus__wal *wal, nexus__wal_index *x, const nexus__wal_select *select, nexus__buf *out);
/* The types that are wanted, of a list of names. */
void nexus__wal_index_wanted(nexus_slice names, uint32_t types, const nexus__wal_select *select,
                             uint64_t wanted[static INDEX_TYPES_MAX / 64]);
void nexus__wal_index_ranges(const nexus__wal_index_block *blocks, uint32_t n, uint64_t end_at, const uint64_t *bits,
                             nexus__buf *out);

/* index_recent.c: the same of the file that is written to, or was until just now. The last stretch has no end: what comes.
 * False: it is another file, or there is too little in it. head: end_seq and end_pos of what the stretches stand for. */
bool nexus__wal_recent_find(nexus__wal *wal, segment *s, uint64_t from, const nexus__wal_select *select, nexus__buf *out,
                            nexus__wal_index_head *head);

#endif
