/* Frames of the bus socket, and the stored form of an event: what a broken or hostile client, or a damaged log, sends. */
#include <stddef.h>
#include <stdint.h>

#include "bus/event.h"
#include "bus/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data;
    size_t left = size;
    nexus__wire_head head;
    nexus_slice body;
    size_t used;
    while (left && nexus__wire_decode(at, left, &head, &body, &used) == NEXUS_OK) {
        nexus__event_view view;
        if (nexus__event_decode(&view, body, (nexus_slice){NULL, 0}) == NEXUS_OK)
            (void)!nexus_event_check(&view.event);
        at += used;
        left -= used;
    }
    nexus__event_view view;
    size_t half = size / 2;
    if (nexus__event_decode(&view, nexus__slice(data, half), nexus__slice(data + half, size - half)) == NEXUS_OK)
        (void)!nexus_event_check(&view.event);
    return 0;
}
