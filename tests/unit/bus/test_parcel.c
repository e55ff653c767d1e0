/* bus/engines/parcel: heads of messages, runs put together, where a log goes on. */
#include <criterion/criterion.h>

#include "bus/engines/parcel.h"

static nexus__parcel parcel(uint64_t epoch, uint64_t place, uint32_t part, uint32_t parts, const char *bytes)
{
    return (nexus__parcel){.uuid = "0123456789abcde",
                           .epoch = epoch,
                           .place = place,
                           .first_seq = place + 1,
                           .first_pos = place * 2 + 1,
                           .next_seq = place + 2,
                           .next_pos = place * 2 + 3,
                           .recv_ns = 77,
                           .part = part,
                           .parts = parts,
                           .bytes = nexus__slice_c(bytes)};
}

Test(bus_parcel, comes_back_as_it_was_and_no_bit_of_its_head_can_change)
{
    nexus__buf b;
    nexus__parcel in = parcel(3, 9, 1, 4, "some bytes"), out;
    nexus__buf_init(&b, NULL, 0);
    nexus__parcel_put(&b, &in);
    cr_assert(nexus__parcel_get(&out, nexus__buf_slice(&b)));
    cr_assert(out.epoch == 3 && out.place == 9 && out.first_seq == 10 && out.first_pos == 19 && out.next_seq == 11 &&
              out.next_pos == 21 && out.recv_ns == 77 && out.part == 1 && out.parts == 4 &&
              memcmp(out.uuid, in.uuid, sizeof in.uuid) == 0 && nexus__slice_eq(out.bytes, in.bytes));
    for (size_t bit = 0; bit < PARCEL_HEAD_BYTES * 8; bit++) {
        b.p[bit / 8] ^= (char)(1 << bit % 8);
        cr_assert(!nexus__parcel_get(&out, nexus__buf_slice(&b)), "bit %zu", bit);
        b.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t n = 0; n < b.len; n++)
        cr_assert(!nexus__parcel_get(&out, nexus__slice(b.p, n)), "%zu bytes", n);
    nexus__buf_free(&b);
}

typedef struct assembly {
    nexus__buf buf;
    nexus__parcels s;
} assembly;

static void begin(assembly *a)
{
    nexus__buf_init(&a->buf, NULL, 0);
    a->s = (nexus__parcels){.out = &a->buf};
}

static void add(assembly *a, uint64_t epoch, uint64_t place, uint32_t part, uint32_t parts, const char *bytes)
{
    nexus__parcel p = parcel(epoch, place, part, parts, bytes);
    nexus__parcels_add(&a->s, &p);
}

static void expect(assembly *a, const char *bytes, uint64_t next)
{
    nexus__parcels_end(&a->s);
    cr_assert(nexus__slice_eq(nexus__buf_slice(&a->buf), nexus__slice_c(bytes)), "%.*s", (int)a->buf.len, a->buf.p);
    cr_assert(a->s.next == next, "%llu", (unsigned long long)a->s.next);
    nexus__buf_free(&a->buf);
}

Test(bus_parcel, a_run_counts_with_its_last_part)
{
    assembly a;
    begin(&a);
    add(&a, 1, 5, 0, 1, "one,");
    add(&a, 1, 6, 0, 2, "half");
    expect(&a, "one,", 6);
    begin(&a);
    add(&a, 1, 6, 0, 2, "two");
    add(&a, 1, 6, 1, 2, "parts");
    expect(&a, "twoparts", 7);
}

Test(bus_parcel, what_an_owner_left_without_its_end_is_no_run)
{
    assembly a;
    begin(&a);
    add(&a, 1, 5, 0, 3, "left");
    add(&a, 1, 5, 1, 3, "behind");
    add(&a, 2, 5, 0, 0, ""); /* the mark of the next owner */
    add(&a, 2, 5, 0, 1, "the next one");
    expect(&a, "the next one", 6);
    begin(&a);
    add(&a, 1, 5, 1, 2, "no beginning");
    add(&a, 1, 6, 0, 2, "a");
    add(&a, 1, 6, 0, 2, "a");
    add(&a, 1, 6, 1, 2, "b");
    expect(&a, "ab", 7);
}

Test(bus_parcel, a_former_owner_does_not_count_behind_the_mark_of_a_new_one)
{
    assembly a;
    begin(&a);
    add(&a, 1, 5, 0, 1, "old,");
    add(&a, 2, 6, 0, 0, "");
    add(&a, 1, 6, 0, 1, "late,");
    add(&a, 2, 6, 0, 1, "new");
    expect(&a, "old,new", 7);
}

Test(bus_parcel, a_log_goes_on_behind_its_last_whole_run)
{
    nexus__end_note note = {.reserved_place = 1000, .reserved_seq = 2000, .reserved_pos = 3000};
    nexus__parcel whole = parcel(4, 5, 1, 2, ""), half = parcel(4, 5, 0, 2, ""), mark = parcel(4, 5, 0, 0, ""),
                  known = parcel(7, 5, 0, 0, "");
    known.next_seq = known.next_pos = 1;
    nexus__parcel end = nexus__end_find(NULL, NULL, &note);
    cr_assert(end.place == 0 && end.next_seq == 1 && end.next_pos == 1 && end.first_pos == 1 && end.epoch == 1);
    end = nexus__end_find(&whole, NULL, &note);
    cr_assert(end.place == 6 && end.next_seq == 7 && end.next_pos == 13 && end.first_pos == 13 && end.epoch == 5);
    end = nexus__end_find(&half, &known, &note);
    cr_assert(end.place == 5 && end.next_seq == 6 && end.next_pos == 11 && end.epoch == 8 && end.parts == 0);
    end = nexus__end_find(&mark, &known, &note);
    cr_assert(end.place == 5 && end.next_seq == 7 && end.next_pos == 13);
}

Test(bus_parcel, a_log_that_lost_its_end_goes_on_behind_all_that_was_ever_given)
{
    nexus__parcel last = parcel(4, 5, 0, 1, ""), known = parcel(4, 9, 0, 0, "");
    nexus__wal_run run = {.next_seq = 70000, .next_pos = 200000};
    nexus__end_note note = {0};
    nexus__end_reserve(&note, &known, &run);
    cr_assert(note.reserved_place > known.place && note.reserved_seq > 70000 && note.reserved_pos > 200000);
    cr_assert(nexus__end_covers(&note, &known, &run));
    run.next_pos = note.reserved_pos + 1;
    cr_assert(!nexus__end_covers(&note, &known, &run));
    nexus__parcel end = nexus__end_find(&last, &known, &note);
    cr_assert(end.place == note.reserved_place && end.next_seq == note.reserved_seq &&
              end.next_pos == note.reserved_pos && end.first_pos == end.next_pos && end.epoch == 5);
    end = nexus__end_find(NULL, &known, &note);
    cr_assert(end.next_pos == note.reserved_pos && memcmp(end.uuid, known.uuid, sizeof end.uuid) == 0);
}
