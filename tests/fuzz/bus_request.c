/* What a client of the bus asks for, behind a frame that is whole: a group's configuration, a publish with its conditions;
 * and the record of a delayed publish, as a damaged log or checkpoint may hold it. The first byte chooses. */
#include <stddef.h>
#include <stdint.h>

#include "bus/delayed.h"
#include "bus/internal.h"
#include "bus/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    (void)status, (void)result, (void)user_data;
}

static void try_config(nexus_slice bytes)
{
    nexus__group_config c;
    if (!nexus__group_config_decode(bytes, &c) || nexus__group_config_check(NEXUS_S("g"), &c) != NEXUS_OK)
        return;
    nexus__backoff b = nexus__group_config_backoff(&c, c.types);
    (void)nexus__backoff_ms(&b, 3, UINT64_MAX);
    nexus__buf again;
    nexus__buf_init(&again, NULL, 0);
    nexus__group_config_encode(&again, &c);
    nexus__group_config same;
    if (!nexus__group_config_decode(nexus__buf_slice(&again), &same) || nexus__group_config_differs(&c, &same))
        __builtin_trap();
    nexus__buf_free(&again);
}

static void try_publish(nexus__broker *b, nexus_slice body)
{
    nexus_publish_result result;
    nexus_status status = nexus__publish_body(b, NULL, body, NULL, 0, done, NULL, &result);
    (void)status;
}

static void try_delayed(nexus__broker *b, nexus_slice record)
{
    if (nexus__delays_recover(b, record) == NEXUS_OK && record.n >= sizeof(uint64_t))
        nexus__delays_forget(b, nexus__slice(record.p, sizeof(uint64_t)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    nexus__broker *b;
    if (size == 0)
        return 0;
    nexus_slice rest = nexus__slice(data + 1, size - 1);
    if (data[0] % 3 == 0) {
        try_config(rest);
        return 0;
    }
    opts.dedupe_max = 1024;
    if (nexus__broker_open(&b, NULL, NULL, &opts) != NEXUS_OK)
        return 0;
    if (data[0] % 3 == 1)
        try_publish(b, rest);
    else
        try_delayed(b, rest);
    nexus__broker_close(b);
    return 0;
}
