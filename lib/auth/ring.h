/*
 * The ring of keys, inside. Two kinds: wrapping keys (KEK), of the options or of the file, and data keys (DEK), of one tenant
 * each, which stand in the file wrapped. The newest data key of a tenant seals; every key opens what it has sealed. A wrapping
 * key of the file opens values, too: those from before there were data keys.
 */
#ifndef NEXUS_AUTH_RING_H
#define NEXUS_AUTH_RING_H

#include <nexus/secret.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "crypto/aead.h"

#define NEXUS__KID_TEXT 17

enum {
    NEXUS__RING_KEYS_MAX = 1024,
    NEXUS__TENANT_MAX = 64,
    NEXUS__WRAPPED_MAX = 4096 /* text */
};

typedef struct nexus__ring_key {
    char kid[NEXUS__KID_TEXT]; /* of its bytes: a file edited by hand cannot pair a name with another key */
    bool wraps, in_file;       /* a wrapping key; and one whose bytes stand in the file */
    bool due;                  /* while a ring is rotated: a newer one is to be made */
    char tenant[NEXUS__TENANT_MAX + 1];
    uint64_t operations; /* of a data key: seals that were set aside for processes, so at least those done */
    int64_t made_s;      /* of a data key, seconds since 1970 */
    char *wrapped;       /* of a data key, as it stands in the file */
    uint8_t bytes[NEXUS__AEAD_KEY];
    nexus__aead *aead;
    _Atomic int64_t left; /* of the seals that were set aside for us */
} nexus__ring_key;

struct nexus_secrets {
    const nexus_alloc *alloc;
    char *path, *kek_id;
    nexus_kek_wrap_fn *wrap;
    nexus_kek_unwrap_fn *unwrap;
    int64_t (*now_fn)(void *user_data);
    void *user_data;
    uint64_t operations_max;
    nexus_secrets *self;   /* what a const ring may change: its lock, and what it knows of the file */
    pthread_rwlock_t lock; /* of all below */
    nexus__ring_key *keys; /* pages of their own; the newest of a kind first, those of the options before the file's */
    size_t count, mapped;
    struct stat read; /* the file as it was read */
};

/* --- ring.c ---------------------------------------------------------------------------------------------------------- */

/* A ring with the options of s, and of its keys those that came with them. Close it with nexus_secrets_close. */
nexus_status nexus__ring_twin(nexus_secrets **out, const nexus_secrets *s) NEXUS_MUST_CHECK;
/* A place for a key at i, zeroed. */
nexus_status nexus__ring_insert(nexus_secrets *s, size_t i, nexus__ring_key **out) NEXUS_MUST_CHECK;
void nexus__ring_remove(nexus_secrets *s, size_t i);
/* Sets bytes, kid and cipher. */
nexus_status nexus__ring_key_set(nexus__ring_key *key, const uint8_t bytes[static NEXUS__AEAD_KEY]) NEXUS_MUST_CHECK;
nexus_status nexus__ring_key_random(nexus__ring_key *key) NEXUS_MUST_CHECK;
nexus__ring_key *nexus__ring_find(const nexus_secrets *s, nexus_slice kid); /* NULL: none */
/* The one that seals for a tenant, and the one that wraps; NULL: none. */
nexus__ring_key *nexus__ring_sealing(const nexus_secrets *s, nexus_slice tenant);
nexus__ring_key *nexus__ring_wrapping(const nexus_secrets *s);
/* Takes the keys of another ring, which is left with none, and what is left of what was set aside. Under the lock. */
void nexus__ring_take(nexus_secrets *s, nexus_secrets *from);
/* Whether the file is the one that was read, as far as can be seen. */
bool nexus__ring_is_as_read(const nexus_secrets *s);
nexus_status nexus__ring_follow(const nexus_secrets *s) NEXUS_MUST_CHECK;
bool nexus__is_tenant(nexus_slice text);

/* nx1.<kid>.<nonce>.<ciphertext+tag>, appended. */
nexus_status nexus__ring_seal_with(const nexus__ring_key *key, nexus_slice associated, nexus_slice plain,
                                   nexus__buf *out) NEXUS_MUST_CHECK;
/* A sealed value taken apart. */
typedef struct nexus__sealed_text {
    nexus_slice kid, sealed; /* sealed: base64url */
    uint8_t nonce[12];
} nexus__sealed_text;
bool nexus__sealed_text_read(nexus__sealed_text *out, nexus_slice text);

/* --- kek.c: data keys in their wrapping ------------------------------------------------------------------------------ */

nexus_status nexus__kek_wrap(const nexus_secrets *s, nexus__ring_key *key) NEXUS_MUST_CHECK; /* sets key->wrapped */
nexus_status nexus__kek_unwrap(const nexus_secrets *s, const nexus__ring_key *key, nexus_slice wrapped,
                               uint8_t out[static NEXUS__AEAD_KEY]) NEXUS_MUST_CHECK;
/* Whether it is wrapped with the key that wraps now. */
bool nexus__kek_is_current(const nexus_secrets *s, const nexus__ring_key *key);
/* The wrapping keys of an option: base64url of 32 bytes each, separated by commas. */
nexus_status nexus__kek_read(nexus_secrets *s, nexus_slice list) NEXUS_MUST_CHECK;

/* --- ring_file.c ----------------------------------------------------------------------------------------------------- */

/* Reads the file into a ring without keys of it; data keys that `known` has are not unwrapped again. NEXUS_ENOTFOUND. */
nexus_status nexus__ring_load(nexus_secrets *s, const nexus_secrets *known) NEXUS_MUST_CHECK;
/* Whole and durable, or as it was. */
nexus_status nexus__ring_store(nexus_secrets *s) NEXUS_MUST_CHECK;
/* The lock of whoever changes the file; close it. */
nexus_status nexus__ring_file_lock(const char *path, int *fd) NEXUS_MUST_CHECK;

/* --- ring_change.c --------------------------------------------------------------------------------------------------- */

/* Makes the file when it is missing, a data key for values of no tenant, and wraps again what another key has wrapped. */
nexus_status nexus__ring_prepare(nexus_secrets *s) NEXUS_MUST_CHECK;
/* Sets seals aside for a tenant; makes its key when there is none, or a new one when that has sealed enough. */
nexus_status nexus__ring_set_aside(nexus_secrets *s, nexus_slice tenant) NEXUS_MUST_CHECK;

/* What is told of a key. */
typedef struct nexus__ring_info {
    char kid[NEXUS__KID_TEXT];
    char tenant[NEXUS__TENANT_MAX + 1];
    const char *state; /* sealing, opening; of a wrapping key: wrapping, unwrapping */
    int64_t made_s;
} nexus__ring_info;
/* Of key i; false behind the last. */
bool nexus__ring_info_at(const nexus_secrets *s, size_t i, nexus__ring_info *out);
/* The id of the key that seals values of no tenant. */
nexus_status nexus__ring_sealing_kid(const nexus_secrets *s, char out[static NEXUS__KID_TEXT]) NEXUS_MUST_CHECK;
/* Takes a key out, durably. What it sealed is lost: look first. NEXUS_ENOTFOUND; NEXUS_ECONFLICT: it seals, or wraps. */
nexus_status nexus__ring_retire(nexus_secrets *s, const char *kid) NEXUS_MUST_CHECK;

#endif
