/*
 * Changing what is stored: a finished file is copied with some of its records altered, and the copy takes its name. So
 * bytes are never patched where they lie, and a crash finds the old file or the new one. Positions and batches stay as
 * they are; generation and first position too, since it is the same file to everyone who looks for a position.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/status.h"
#include "wal/internal.h"

#define COPY_NAME "rewrite.tmp"
#define PIECE (1u << 20)

typedef struct copy {
    nexus__wal *wal;
    const segment *from;
    const char *map;
    nexus__wal_edit_fn *edit;
    void *user_data;
    uint64_t changed, at, next_seq; /* at: of the copy */
    int fd;                         /* -1: only looking */
    nexus__buf batch, out;
} copy;

static nexus_status write_out(copy *c)
{
    nexus_status status = nexus__wal_io_write(c->wal, c->fd, c->out.p, c->out.len, c->at);
    c->at += c->out.len;
    nexus__buf_clear(&c->out);
    return status;
}

/* One batch into c->batch, changed records encoded anew, the others byte by byte: a damaged payload stays damaged. */
static void edit_batch(copy *c, const nexus__wal_batch_head *head, const char *body)
{
    static const char space[BATCH_HEAD_BYTES];
    size_t n = head->body_bytes - BATCH_TRAILER_BYTES, at = 0;
    uint64_t pos = head->first_pos - 1;
    nexus__buf_clear(&c->batch);
    nexus__buf_append(&c->batch, space, sizeof space);
    for (uint32_t i = 0; i < head->count; i++) {
        nexus__wal_record record;
        nexus__wal_record_head rh;
        size_t begin = at;
        if (!nexus__wal_record_decode(body, n, at, &record, &at, &rh))
            return; /* the caller has checked the body */
        pos += !(record.flags & NEXUS__WAL_INTERNAL);
        record.pos = pos;
        record.recv_ns = head->recv_ns;
        if (nexus__wal_record_intact(&record, &rh) && c->edit(&record, c->user_data)) {
            c->changed++;
            nexus__wal_record_encode(&c->batch, &record);
        } else {
            nexus__buf_append(&c->batch, body + begin, at - begin);
        }
    }
    nexus__buf_append(&c->batch, space, BATCH_TRAILER_BYTES);
}

static nexus_status put_batch(copy *c, const nexus__wal_batch_head *old)
{
    nexus__wal_batch_head head = *old;
    head.write_start = c->at + c->out.len;
    nexus__wal_batch_seal(c->batch.p, c->batch.len, &head, c->wal->seed);
    nexus__buf_slice_append(&c->out, nexus__buf_slice(&c->batch));
    if (c->out.status != NEXUS_OK)
        return nexus__nomem();
    return c->out.len < PIECE ? NEXUS_OK : write_out(c);
}

/* Walks over every batch; the file must be whole. */
static nexus_status walk(copy *c)
{
    uint64_t at = SEGMENT_HEAD_BYTES;
    nexus__wal_batch_head head;
    c->next_seq = c->from->first_seq;
    while (at + sizeof head <= c->from->size) {
        memcpy(&head, c->map + at, sizeof head);
        const char *body = c->map + at + sizeof head;
        if (!nexus__wal_head_ok(&head, c->from->size - at, c->from->generation, c->wal->seed) ||
            !nexus__wal_body_ok(&head, body, false) || head.seq != c->next_seq)
            break;
        c->next_seq = head.seq + 1;
        at += sizeof head + head.body_bytes;
        edit_batch(c, &head, body);
        nexus_status status = c->batch.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
        if (status == NEXUS_OK && c->fd >= 0)
            status = put_batch(c, &head);
        if (status != NEXUS_OK)
            return status;
    }
    pthread_mutex_lock(&c->wal->lock);
    const segment *next = nexus__wal_segment_after(c->wal, c->from);
    bool whole = next && next->first_seq == c->next_seq;
    pthread_mutex_unlock(&c->wal->lock);
    if (!whole)
        return nexus__fail(NEXUS_ECORRUPT, "%s at %llu: a batch fails its check; repair the log first", c->from->name,
                           (unsigned long long)at);
    return NEXUS_OK;
}

static nexus_status write_copy(copy *c)
{
    c->fd = nexus__wal_io_open(c->wal, COPY_NAME, O_RDWR | O_CREAT | O_TRUNC);
    if (c->fd < 0)
        return nexus__fail_errno(errno, "make a copy of %s", c->from->name);
    nexus_status status = nexus__wal_io_write(c->wal, c->fd, c->map, SEGMENT_HEAD_BYTES, 0);
    c->at = SEGMENT_HEAD_BYTES;
    c->changed = 0;
    if (status == NEXUS_OK)
        status = walk(c);
    if (status == NEXUS_OK)
        status = write_out(c);
    return status == NEXUS_OK ? nexus__wal_io_sync(c->wal, c->fd) : status;
}

/* Under the lock. The place of the file in the list, or NULL when it was dropped meanwhile. */
static segment **place_of(nexus__wal *wal, const segment *s)
{
    segment **at = &wal->first;
    while (*at && *at != s)
        at = &(*at)->next;
    return *at ? at : NULL;
}

static nexus_status take_its_place(copy *c)
{
    nexus__wal *wal = c->wal;
    nexus__wal_segment_head head;
    memcpy(&head, c->map, sizeof head);
    segment *made;
    int fd = c->fd;
    c->fd = -1;
    nexus_status status = nexus__wal_segment_new(wal, fd, &head, c->at, c->from->name, &made);
    if (status != NEXUS_OK)
        return status;
    atomic_store(&made->end, c->at);
    atomic_store(&made->sealed, true);
    segment *old = NULL;
    pthread_mutex_lock(&wal->lock);
    segment **at = place_of(wal, c->from);
    if (at)
        nexus__wal_index_forget(wal, c->from);
    if (!at)
        status = nexus__fail(NEXUS_EMISSING, "%s was dropped meanwhile", c->from->name);
    else if (wal->dir && renameat(wal->dir_fd, COPY_NAME, wal->dir_fd, made->name) != 0)
        status = nexus__fail_errno(errno, "rename the copy of %s", made->name);
    if (status == NEXUS_OK) {
        old = *at;
        made->next = old->next;
        *at = made;
    }
    pthread_mutex_unlock(&wal->lock);
    nexus__wal_segment_unref(status == NEXUS_OK ? old : made);
    return status == NEXUS_OK ? nexus__wal_io_sync_dir(wal) : status;
}

static segment *find(nexus__wal *wal, uint64_t generation)
{
    segment *found = NULL;
    pthread_mutex_lock(&wal->lock);
    for (segment *s = wal->first; s && s->next && !found; s = s->next)
        if (s->generation == generation)
            found = nexus__wal_segment_ref(s);
    pthread_mutex_unlock(&wal->lock);
    return found;
}

nexus_status nexus__wal_rewrite(nexus__wal *wal, uint64_t generation, nexus__wal_edit_fn *edit, void *user_data,
                                uint64_t *changed)
{
    *changed = 0;
    segment *s = wal->engine ? NULL : find(wal, generation);
    if (!s)
        return nexus__fail(NEXUS_ENOTFOUND, "the log has no finished file of generation %llu",
                           (unsigned long long)generation);
    copy c = {.wal = wal, .from = s, .edit = edit, .user_data = user_data, .fd = -1};
    nexus__buf_init(&c.batch, wal->alloc, 0);
    nexus__buf_init(&c.out, wal->alloc, 0);
    c.map = mmap(NULL, s->size, PROT_READ, MAP_SHARED, s->fd, 0);
    nexus_status status = c.map != MAP_FAILED ? walk(&c) : nexus__fail_errno(errno, "map %s", s->name);
    if (status == NEXUS_OK && c.changed) {
        status = write_copy(&c);
        *changed = c.changed;
        if (status == NEXUS_OK)
            status = take_its_place(&c);
    }
    if (c.fd >= 0)
        close(c.fd);
    if (c.changed && status != NEXUS_OK && wal->dir)
        unlinkat(wal->dir_fd, COPY_NAME, 0);
    if (c.map != MAP_FAILED)
        munmap((void *)(uintptr_t)c.map, s->size);
    nexus__buf_free(&c.batch);
    nexus__buf_free(&c.out);
    nexus__wal_segment_unref(s);
    return status;
}
