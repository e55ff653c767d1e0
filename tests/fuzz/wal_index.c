/* The index of a finished file of the log, as a damaged disk may give it when even its CRCs fit. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wal/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool wants(nexus_slice type, void *user_data)
{
    (void)user_data;
    return type.n % 2;
}

/* A head, and then the summary; pages are read by others, and have lengths of their own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__wal_index x = {0};
    if (size < sizeof x.head)
        return 0;
    memcpy(&x.head, data, sizeof x.head);
    uint64_t n = nexus__wal_index_summary_bytes(&x.head);
    if (n == 0 || n != size - sizeof x.head)
        return 0;
    x.summary = malloc(n);
    memcpy(x.summary, data + sizeof x.head, n);
    nexus__buf out;
    nexus__buf_init(&out, NULL, 0);
    if (nexus__wal_index_parse(&x)) {
        nexus__wal_select by_type = {.wants_type = wants};
        (void)!nexus__wal_index_find(NULL, &x, &by_type, &out);
        (void)nexus__wal_bloom_has(x.bloom, x.head.bloom_lines, 7);
    }
    nexus__buf_free(&out);
    free(x.summary);
    return 0;
}
