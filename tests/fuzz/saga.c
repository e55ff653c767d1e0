/* A stored transition of a saga: refused, or read to what it writes again; the index takes it or leaves it. And a table. */
#include <stdlib.h>

#include "saga/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The transition that the instance read from data would be, in out. */
static bool again(nexus_slice data, nexus__buf *out)
{
    nexus__saga_instance *i, *copy;
    nexus__saga_note note = {.step = "s"};
    if (nexus__saga_instance_read(&i, NULL, data) != NEXUS_OK)
        return false;
    i->seq--;
    if (nexus__saga_instance_copy(&copy, i) == NEXUS_OK)
        nexus__saga_instance_write(out, copy, "fuzz", &note);
    nexus__saga_instance_free(i);
    nexus__saga_instance_free(copy);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_slice text = {(const char *)data, size};
    nexus__buf first, second;
    nexus__saga_index x;
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_bus *bus;
    nexus_saga *saga;
    nexus__buf_init(&first, NULL, 0);
    nexus__buf_init(&second, NULL, 0);
    if (again(text, &first) &&
        (!again(nexus__buf_slice(&first), &second) || !nexus__slice_eq(nexus__buf_slice(&first), nexus__buf_slice(&second))))
        abort();
    nexus__buf_free(&first);
    nexus__buf_free(&second);
    nexus__saga_index_init(&x, NULL);
    e.data = text;
    if (nexus__saga_index_apply(&x, &e) != NEXUS_OK)
        abort();
    nexus__saga_index_free(&x);
    if (!memmem(data, size, "steps", 5)) /* no table: spare the bus */
        return 0;
    if (nexus_bus_open(&bus, "memory:", NULL) != NEXUS_OK)
        abort();
    if (nexus_saga_open_json(&saga, bus, text.p, text.n) == NEXUS_OK)
        nexus_saga_close(saga);
    nexus_bus_close(bus);
    return 0;
}
