/* Writing and loading checkpoints. Two generations are kept: while one is written the other is whole. */
#include "bus/state.h"

#include <stdio.h>

#include "base/status.h"
#include "bus/internal.h"

#define STATE_FORMAT 1u

static const nexus__state_part *const parts[] = {&nexus__state_window, &nexus__state_heads, &nexus__state_groups,
                                                 &nexus__state_dead, &nexus__state_delays};
enum { PARTS = sizeof parts / sizeof *parts };

const char *const nexus__state_names[2] = {"bus-0", "bus-1"};

typedef struct state_head {
    uint32_t format, reserved;
    nexus__wal_cursor cursor;
} state_head;

typedef struct frame_head {
    char part[12];
    uint32_t bytes;
} frame_head;

struct nexus__state_out {
    nexus__wal_checkpoint *file;
    const nexus__state_part *part;
    nexus__wal_cursor cursor;
};

/* --- writing ------------------------------------------------------------------------------------------------------ */

nexus_status nexus__state_put(nexus__state_out *out, nexus_slice frame)
{
    frame_head head = {.bytes = (uint32_t)frame.n};
    snprintf(head.part, sizeof head.part, "%s", out->part->name);
    nexus_status status = nexus__wal_checkpoint_put(out->file, nexus__slice(&head, sizeof head));
    return status == NEXUS_OK ? nexus__wal_checkpoint_put(out->file, frame) : status;
}

uint64_t nexus__state_until(const nexus__state_out *out)
{
    return out->cursor.pos;
}

/* A group stands in the log before it stands in the broker: with the makers shut out, what is before the cursor is in. */
static void take_cursor(nexus__broker *b, nexus__wal_cursor *out)
{
    pthread_mutex_lock(&b->open_lock);
    nexus__wal_cursor_now(b->wal, out);
    pthread_mutex_unlock(&b->open_lock);
}

static uint64_t failures(nexus__broker *b)
{
    pthread_mutex_lock(&b->lock);
    uint64_t n = b->taken_back;
    pthread_mutex_unlock(&b->lock);
    return n;
}

static nexus_status write_parts(nexus__broker *b, nexus__state_out *out)
{
    state_head head = {.format = STATE_FORMAT, .cursor = out->cursor};
    nexus_status status = nexus__wal_checkpoint_put(out->file, nexus__slice(&head, sizeof head));
    for (size_t i = 0; i < PARTS && status == NEXUS_OK; i++) {
        out->part = parts[i];
        status = nexus__state_put(out, NEXUS_S("")); /* present, though empty */
        if (status == NEXUS_OK)
            status = parts[i]->write(b, out);
    }
    return status;
}

nexus_status nexus__state_write(nexus__broker *b)
{
    nexus__state_out out = {0};
    unsigned slot = b->keep.older;
    uint64_t failed = failures(b);
    take_cursor(b, &out.cursor);
    nexus_status status = nexus__wal_checkpoint_begin(&out.file, b->wal, nexus__state_names[slot]);
    if (status != NEXUS_OK)
        return status;
    status = write_parts(b, &out);
    /* The parts may know of publishes still on their way to the disk. Behind a barrier all of them are stored; had one
     * failed, it would have been taken back. */
    if (status == NEXUS_OK)
        status = nexus__wal_append(b->wal, NULL, 0, NULL);
    if (status == NEXUS_OK)
        status = nexus__wal_sync(b->wal); /* a checkpoint never knows of what a power cut can take */
    if (status == NEXUS_OK && failures(b) != failed)
        status = nexus__fail(NEXUS_EAGAIN, "publishes failed while the checkpoint was written");
    if (status != NEXUS_OK) {
        nexus__wal_checkpoint_abort(out.file);
        return status;
    }
    b->keep.bytes = nexus__wal_checkpoint_bytes(out.file);
    status = nexus__wal_checkpoint_commit(out.file);
    if (status == NEXUS_OK) {
        b->keep.cursors[slot] = out.cursor;
        b->keep.older = !slot;
    }
    return status;
}

uint64_t nexus__state_needs(nexus__broker *b)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < PARTS; i++) {
        uint64_t mine = parts[i]->needs ? parts[i]->needs(b) : UINT64_MAX;
        first = mine < first ? mine : first;
    }
    return first;
}

uint64_t nexus__state_saved(const nexus__broker *b)
{
    uint64_t a = b->keep.cursors[0].seq, c = b->keep.cursors[1].seq;
    return a < c ? a : c;
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

static size_t part_of(const frame_head *head)
{
    size_t i = 0;
    while (i < PARTS && strncmp(head->part, parts[i]->name, sizeof head->part) != 0)
        i++;
    return i;
}

/* A part that is not of this build is of no use to it; one that is missing came into being after the checkpoint. */
static nexus_status read_frames(nexus__broker *b, nexus_slice rest)
{
    bool seen[PARTS] = {false};
    while (rest.n) {
        frame_head head;
        if (rest.n < sizeof head)
            return nexus__fail(NEXUS_ECORRUPT, "it ends inside a frame");
        memcpy(&head, rest.p, sizeof head);
        rest = nexus__slice_from(rest, sizeof head);
        if (rest.n < head.bytes)
            return nexus__fail(NEXUS_ECORRUPT, "it ends inside a frame");
        size_t i = part_of(&head);
        nexus_status status = i < PARTS && head.bytes ? parts[i]->read(b, nexus__slice(rest.p, head.bytes)) : NEXUS_OK;
        if (status != NEXUS_OK)
            return status;
        if (i < PARTS)
            seen[i] = true;
        rest = nexus__slice_from(rest, head.bytes);
    }
    for (size_t i = 0; i < PARTS; i++)
        if (!seen[i])
            return nexus__fail(NEXUS_EREV, "it is older than the part \"%s\"", parts[i]->name);
    return NEXUS_OK;
}

/* Whether the log still holds everything from the cursor on. */
static nexus_status reachable(nexus__broker *b, const nexus__wal_cursor *cursor)
{
    nexus__wal_reader *reader;
    nexus_status status = nexus__wal_reader_open_at(&reader, b->wal, cursor);
    if (status == NEXUS_OK)
        nexus__wal_reader_close(reader);
    return status;
}

static nexus_status load_one(nexus__broker *b, const char *name, state_head *head, size_t *bytes)
{
    char *blob;
    size_t n;
    nexus_status status = nexus__wal_checkpoint_read(b->wal, name, &blob, &n);
    if (status != NEXUS_OK)
        return status;
    *bytes = n;
    if (n >= sizeof *head)
        memcpy(head, blob, sizeof *head);
    if (n < sizeof *head || head->format != STATE_FORMAT)
        status = nexus__fail(NEXUS_EREV, "the checkpoint %s is of another format", name);
    if (status == NEXUS_OK)
        status = reachable(b, &head->cursor);
    if (status == NEXUS_OK)
        status = read_frames(b, nexus__slice(blob + sizeof *head, n - sizeof *head));
    nexus__free(b->alloc, blob);
    return status;
}

nexus_status nexus__state_load(nexus__broker *b, nexus__wal_cursor *from, char why[static 256])
{
    state_head head[2] = {{0}, {0}};
    bool there[2];
    size_t bytes = 0;
    why[0] = '\0';
    for (size_t i = 0; i < 2; i++)
        there[i] = nexus__wal_checkpoint_peek(b->wal, nexus__state_names[i], &head[i], sizeof head[i]);
    unsigned newest = there[1] && (!there[0] || head[1].cursor.seq > head[0].cursor.seq);
    b->keep.older = !newest;
    for (unsigned k = 0; k < 2; k++) {
        unsigned i = k == 0 ? newest : !newest;
        nexus_status status = there[i] ? load_one(b, nexus__state_names[i], &head[i], &bytes) : NEXUS_ENOTFOUND;
        if (status == NEXUS_OK) {
            *from = head[i].cursor;
            b->keep.bytes = bytes;
            b->keep.cursors[i] = head[i].cursor;
            b->keep.cursors[!i] = (nexus__wal_cursor){0}; /* not checked: it holds nothing in the log */
            b->keep.older = !i;
            return NEXUS_OK;
        }
        if (status == NEXUS_ENOMEM)
            return status;
        if (there[i] && !why[0])
            snprintf(why, 256, "%s", nexus_error_message());
        nexus__broker_forget(b);
    }
    return NEXUS_ENOTFOUND;
}
