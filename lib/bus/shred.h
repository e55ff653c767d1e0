/* Keys of subjects: the data of some types is sealed with one, and who deletes the key has shredded the data everywhere. */
#ifndef NEXUS_BUS_SHRED_H
#define NEXUS_BUS_SHRED_H

#include <nexus/bus.h>

#include <pthread.h>

#include "base/arena.h"
#include "bus/event.h"

enum { SHRED_ID = 8, SHRED_KEY = 32, SHRED_HASH = 32, SHRED_SHARDS = 256 };

typedef struct nexus__shred_key {
    uint8_t id[SHRED_ID]; /* the first byte is its shard */
    uint8_t subject[SHRED_HASH], key[SHRED_KEY];
} nexus__shred_key;

typedef struct nexus__shred_shard {
    nexus__shred_key *keys;
    size_t count;
    uint64_t inode, bytes;
    int64_t changed_ns;
} nexus__shred_shard;

/* Of one handle; the files are shared by all. */
typedef struct nexus__shred {
    const nexus_alloc *alloc;
    const char *dir; /* borrowed; NULL: there is no place for keys */
    const char *types; /* borrowed; NULL: nothing is sealed */
    pthread_mutex_t lock;
    nexus__shred_shard shards[SHRED_SHARDS]; /* locked */
} nexus__shred;

void nexus__shred_init(nexus__shred *s, const nexus_alloc *alloc);
void nexus__shred_end(nexus__shred *s);

/* Seals the data of an event of these types that has a subject; what it points to then is in the arena. */
nexus_status nexus__shred_seal(nexus__shred *s, nexus__arena *arena, nexus_event *e) NEXUS_MUST_CHECK;
/* Whether the data was sealed so. */
bool nexus__shred_is_sealed(const nexus_event *e);
/* Opens it: *plain, appended to out, is the data; empty, and *gone, when the key was deleted. NEXUS_ECORRUPT: the key file, or
 * the data, fails its check. */
nexus_status nexus__shred_open(nexus__shred *s, const nexus_event *e, nexus__buf *out, bool *gone) NEXUS_MUST_CHECK;
/* Takes the mark of sealed data from the attributes, or replaces it with `shredded` = "true". */
void nexus__shred_mark(nexus__event_view *view, bool gone);

nexus_status nexus__shred_delete(nexus__shred *s, nexus_slice subject) NEXUS_MUST_CHECK;

#endif
