/* The head of a message that belongs to a log, and runs from messages. */
#include "bus/engines/parcel.h"

#include "base/codec.h"
#include "base/id.h"

#define MAGIC 0x3150584eu /* "NXP1" */

typedef struct head { /* as on the wire, little-endian */
    uint32_t magic, crc; /* CRC-32C of what follows */
    uint8_t uuid[16];
    uint64_t epoch, place, first_seq, first_pos, next_seq, next_pos;
    int64_t recv_ns;
    uint32_t part, parts, bytes, reserved;
} head;
_Static_assert(sizeof(head) == PARCEL_HEAD_BYTES, "the head has no padding");

#define CHECKED_FROM 8u

void nexus__parcel_put(nexus__buf *out, const nexus__parcel *p)
{
    head h = {.magic = MAGIC,
              .epoch = p->epoch,
              .place = p->place,
              .first_seq = p->first_seq,
              .first_pos = p->first_pos,
              .next_seq = p->next_seq,
              .next_pos = p->next_pos,
              .recv_ns = p->recv_ns,
              .part = p->part,
              .parts = p->parts,
              .bytes = (uint32_t)p->bytes.n};
    memcpy(h.uuid, p->uuid, sizeof h.uuid);
    h.crc = nexus__crc32c(0, (const char *)&h + CHECKED_FROM, sizeof h - CHECKED_FROM);
    nexus__buf_append(out, &h, sizeof h);
    nexus__buf_slice_append(out, p->bytes);
}

bool nexus__parcel_get(nexus__parcel *out, nexus_slice message)
{
    head h;
    if (message.n < sizeof h)
        return false;
    memcpy(&h, message.p, sizeof h);
    if (h.magic != MAGIC || h.crc != nexus__crc32c(0, (const char *)&h + CHECKED_FROM, sizeof h - CHECKED_FROM) ||
        h.bytes != message.n - sizeof h || (h.parts ? h.part >= h.parts : h.part != 0))
        return false;
    *out = (nexus__parcel){.epoch = h.epoch,
                           .place = h.place,
                           .first_seq = h.first_seq,
                           .first_pos = h.first_pos,
                           .next_seq = h.next_seq,
                           .next_pos = h.next_pos,
                           .recv_ns = h.recv_ns,
                           .part = h.part,
                           .parts = h.parts,
                           .bytes = nexus__slice_from(message, sizeof h)};
    memcpy(out->uuid, h.uuid, sizeof out->uuid);
    return true;
}

/* --- where a log ends ----------------------------------------------------------------------------------------------- */

#define AHEAD 65536u

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool nexus__end_covers(const nexus__end_note *note, const nexus__parcel *end, const nexus__wal_run *run)
{
    return end->place < note->reserved_place && run->next_seq <= note->reserved_seq &&
           run->next_pos <= note->reserved_pos;
}

void nexus__end_reserve(nexus__end_note *note, const nexus__parcel *end, const nexus__wal_run *run)
{
    note->reserved_place = end->place + AHEAD;
    note->reserved_seq = greater(end->next_seq, run ? run->next_seq : 0) + AHEAD;
    note->reserved_pos = greater(end->next_pos, run ? run->next_pos : 0) + AHEAD;
}

static bool ends_before(const nexus__parcel *a, const nexus__parcel *b)
{
    return a->place < b->place || a->next_seq < b->next_seq || a->next_pos < b->next_pos;
}

nexus__parcel nexus__end_find(const nexus__parcel *last, const nexus__parcel *known, const nexus__end_note *note)
{
    static const nexus__parcel none = {.next_seq = 1, .next_pos = 1};
    const nexus__parcel *l = last ? last : &none;
    /* A run whose last part is missing was never stored. */
    bool whole = !l->parts || l->part + 1 == l->parts;
    nexus__parcel end = {.place = l->place + (l->parts && whole),
                         .next_seq = whole ? l->next_seq : l->first_seq,
                         .next_pos = whole ? l->next_pos : l->first_pos,
                         .recv_ns = l->recv_ns};
    if (last || known)
        memcpy(end.uuid, last ? last->uuid : known->uuid, sizeof end.uuid);
    else
        nexus__random(end.uuid, sizeof end.uuid);
    if (known && ends_before(&end, known)) { /* lost, with nobody there to see how much */
        end.place = note->reserved_place;
        end.next_seq = note->reserved_seq;
        end.next_pos = note->reserved_pos;
    }
    end.first_seq = end.next_seq;
    end.first_pos = end.next_pos;
    end.epoch = greater(l->epoch, known ? known->epoch : 0) + 1;
    return end;
}

/* --- runs from parcels ---------------------------------------------------------------------------------------------- */

void nexus__parcels_end(nexus__parcels *s)
{
    s->out->len = s->whole;
    s->part = 0;
}

void nexus__parcels_add(nexus__parcels *s, const nexus__parcel *p)
{
    if (p->epoch < s->epoch)
        return;
    s->epoch = p->epoch;
    if (!p->parts)
        return;
    if (p->part == 0 || p->part != s->part || p->place != s->place) /* what was begun before is never ended */
        nexus__parcels_end(s);
    if (p->part != s->part)
        return;
    nexus__buf_slice_append(s->out, p->bytes);
    s->place = p->place;
    s->part = p->part + 1;
    if (s->part < p->parts || s->out->status != NEXUS_OK)
        return;
    s->whole = s->out->len;
    s->next = p->place + 1;
    s->part = 0;
}
