/* Bodies of the batch route: the first byte picks the form (array or envelope, lines, gzip); nothing is kept. */
#include <stdint.h>
#include <stdlib.h>

#include <nexus/ingest.h>

#include "ingest/ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef nexus_status read_fn(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc, nexus_slice body,
                             int64_t received_ms, nexus_ingest_result **out);

static void judge(nexus_ingest *ingest, read_fn *read, nexus_slice body)
{
    nexus__json doc;
    nexus_ingest_result *result;
    nexus__json_init(&doc, NULL);
    if (read(ingest, &ingest->rules, &doc, body, 1700000000000, &result) == NEXUS_OK) {
        /* what is valid must also be writable to a record and readable from it, and fit the store */
        nexus__event_rows rows;
        if (nexus__event_rows_open(&rows, NULL) == NEXUS_OK) {
            for (uint32_t i = 0; i < result->entry_count; i++)
                if (result->entries[i].state == NEXUS__ENTRY_VALID &&
                    nexus__event_rows_add(&rows, &result->entries[i].event) != 0)
                    abort();
            nexus__event_rows_close(&rows);
        }
        if (nexus__result_finish(result, read != nexus__ingest_read_event, true) != NEXUS_OK)
            abort();
        nexus_ingest_result_free(result);
    }
    nexus__json_free(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static read_fn *const forms[] = {nexus__ingest_read_event, nexus__ingest_read_batch, nexus__ingest_read_lines};
    nexus_ingest ingest = {.batch_max_events = 1000, .batch_max_bytes = 1 << 20};
    ingest.rules = (nexus__event_rules){.illegal_identities = NEXUS_S("null,0"), .max_bytes = 65536};
    if (size < 1)
        return 0;
    judge(&ingest, forms[data[0] % 3], (nexus_slice){(const char *)data + 1, size - 1});
    return 0;
}
