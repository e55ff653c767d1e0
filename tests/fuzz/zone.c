/* A TZif file, and what is asked of it. */
#include <stdlib.h>

#include "base/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t moments[] = {INT64_C(-5000000000), 0, 1, 1700000000, INT64_C(9000000000)};
    nexus__zone *zone;
    nexus__arena arena;
    nexus__arena_init(&arena, NULL, 4096);
    if (nexus__zone_parse(&zone, nexus__slice(data, size), &arena) == NEXUS_OK)
        for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
            int32_t offset = nexus__zone_offset(zone, moments[i]);
            if (offset < -100 * 3600 || offset > 100 * 3600)
                abort();
            (void)nexus__zone_day(zone, (int32_t)(1900 + i * 50), (int32_t)(1 + i * 3), (int32_t)(1 + i * 8));
        }
    nexus__arena_free(&arena);
    return 0;
}
