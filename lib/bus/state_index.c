/* Parts of a checkpoint: the window of ids, the heads of streams. */
#include "base/status.h"
#include "bus/internal.h"
#include "bus/state.h"

enum { AT_ONCE = 512 }; /* entries copied under the lock */

/* The key of the hashes comes first: entries mean nothing without them. */
typedef struct table_head {
    uint64_t count;
    nexus__hash_key key;
} table_head;

static nexus_status put_head(nexus__state_out *out, uint64_t count, nexus__hash_key key)
{
    table_head head = {.count = count, .key = key};
    return nexus__state_put(out, nexus__slice(&head, sizeof head));
}

static table_head take_head(nexus_slice frame)
{
    table_head head;
    memcpy(&head, frame.p, sizeof head);
    return head;
}

/* Entries lie all over a big table: the memory of one to come is asked for while others are put. */
enum { AHEAD = 16 };

static nexus__key128 key_ahead(nexus_slice frame, size_t at, size_t entry_bytes)
{
    nexus__key128 key = {0, 0}; /* the first member of either kind of entry */
    if (at + (AHEAD + 1) * entry_bytes <= frame.n)
        memcpy(&key, frame.p + at + AHEAD * entry_bytes, sizeof key);
    return key;
}

/* --- ids, in order of arrival -------------------------------------------------------------------------------------- */

static size_t copy_window(nexus__broker *b, uint64_t *next, uint64_t until, nexus__seen out[static AT_ONCE], bool *more)
{
    size_t n = 0;
    pthread_mutex_lock(&b->lock);
    if (*next < b->ids.first)
        *next = b->ids.first;
    *more = true;
    while (n < AT_ONCE && *more) {
        *more = *next < b->ids.next;
        const nexus__seen *s = *more ? nexus__window_at(&b->ids, *next) : NULL;
        if (s && (s->key.a | s->key.b)) {
            *more = s->pos < until;
            if (*more)
                out[n++] = *s;
        }
        *next += *more;
    }
    pthread_mutex_unlock(&b->lock);
    return n;
}

static nexus_status write_window(nexus__broker *b, nexus__state_out *out)
{
    nexus__seen copy[AT_ONCE];
    uint64_t next = 0;
    pthread_mutex_lock(&b->lock);
    uint64_t count = nexus__window_count(&b->ids);
    pthread_mutex_unlock(&b->lock);
    nexus_status status = put_head(out, count, b->ids.key);
    for (bool more = true; more && status == NEXUS_OK;) {
        size_t n = copy_window(b, &next, nexus__state_until(out), copy, &more);
        if (n)
            status = nexus__state_put(out, nexus__slice(copy, n * sizeof *copy));
    }
    return status;
}

static nexus_status read_window(nexus__broker *b, nexus_slice frame)
{
    nexus__seen s;
    if (frame.n == sizeof(table_head)) {
        table_head head = take_head(frame);
        b->ids.key = head.key;
        return nexus__window_reserve(&b->ids, head.count) ? NEXUS_OK : nexus__nomem();
    }
    for (size_t at = 0; at + sizeof s <= frame.n; at += sizeof s) {
        memcpy(&s, frame.p + at, sizeof s);
        nexus__window_prefetch(&b->ids, key_ahead(frame, at, sizeof s));
        nexus__broker_remember(b, s.key, s.pos, s.crc, s.second);
    }
    return NEXUS_OK;
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

static size_t copy_heads(nexus__broker *b, size_t *slot, size_t *cap, nexus__table_entry out[static AT_ONCE], bool *more)
{
    size_t n = 0;
    pthread_mutex_lock(&b->lock);
    if (*cap != b->heads.cap) { /* it has grown, entries have moved: again from its start */
        *cap = b->heads.cap;
        *slot = 0;
    }
    for (size_t looked = 0; looked < (size_t)AT_ONCE * 4 && n < AT_ONCE && *slot < *cap; looked++, (*slot)++) {
        const nexus__table_entry *e = &b->heads.slots[*slot];
        if (e->key.a | e->key.b)
            out[n++] = *e;
    }
    *more = *slot < *cap;
    pthread_mutex_unlock(&b->lock);
    return n;
}

static nexus_status write_heads(nexus__broker *b, nexus__state_out *out)
{
    nexus__table_entry copy[AT_ONCE];
    size_t slot = 0, cap = 0;
    pthread_mutex_lock(&b->lock);
    size_t count = b->heads.count;
    pthread_mutex_unlock(&b->lock);
    nexus_status status = put_head(out, count, b->heads.key);
    for (bool more = true; more && status == NEXUS_OK;) {
        size_t n = copy_heads(b, &slot, &cap, copy, &more);
        if (n)
            status = nexus__state_put(out, nexus__slice(copy, n * sizeof *copy));
    }
    return status;
}

static nexus_status read_heads(nexus__broker *b, nexus_slice frame)
{
    nexus__table_entry e;
    if (frame.n == sizeof(table_head)) {
        table_head head = take_head(frame);
        b->heads.key = head.key;
        return nexus__table_reserve(&b->heads, head.count) ? NEXUS_OK : nexus__nomem();
    }
    for (size_t at = 0; at + sizeof e <= frame.n; at += sizeof e) {
        memcpy(&e, frame.p + at, sizeof e);
        nexus__table_prefetch(&b->heads, key_ahead(frame, at, sizeof e));
        nexus__table_entry *mine = nexus__table_put(&b->heads, e.key);
        if (!mine)
            return nexus__nomem();
        mine->value = e.value;
        mine->extra = e.extra;
    }
    return NEXUS_OK;
}

const nexus__state_part nexus__state_window = {"window", write_window, read_window, NULL};
const nexus__state_part nexus__state_heads = {"heads", write_heads, read_heads, NULL};
