/* Messages of a broker's stream, which anybody may have written: heads, and runs put together from them. The input is
 * messages, each behind two bytes of its length. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "bus/engines/parcel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__buf out;
    nexus__parcel p;
    nexus__buf_init(&out, NULL, 0);
    nexus__parcels s = {.out = &out};
    size_t given = 0;
    while (size >= 2) {
        size_t n = (size_t)(data[0] | data[1] << 8);
        n = n < size - 2 ? n : size - 2;
        if (nexus__parcel_get(&p, nexus__slice(data + 2, n))) {
            given += p.bytes.n;
            nexus__parcels_add(&s, &p);
            check(s.whole <= out.len && out.len <= given);
            nexus__parcel end = nexus__end_find(&p, NULL, &(nexus__end_note){0});
            check(end.parts == 0);
        }
        /* With a head of its own: so that the rules behind the check sum are reached, too. */
        if (n >= 24) {
            nexus__parcel made = {.epoch = data[2] & 3, .place = data[3] & 7, .parts = data[4] & 3,
                                  .bytes = nexus__slice(data + 8, n - 8)};
            made.part = made.parts ? data[5] % made.parts : 0;
            given += made.bytes.n;
            nexus__parcels_add(&s, &made);
            check(s.whole <= out.len && out.len <= given);
        }
        data += 2 + n;
        size -= 2 + n;
    }
    nexus__parcels_end(&s);
    check(out.len == s.whole);
    nexus__buf_free(&out);
    return 0;
}
