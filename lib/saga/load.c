/* An instance from its stream: the last transition is the whole of it. */
#include <stdio.h>

#include "base/status.h"
#include "saga/running.h"

void nexus__saga_stream(char out[static NEXUS__SAGA_STREAM_MAX], const char *saga, nexus_slice id)
{
    snprintf(out, NEXUS__SAGA_STREAM_MAX, "saga-%s-%.*s", saga, (int)id.n, id.p);
}

nexus_status nexus__saga_load(nexus__saga_instance **out, nexus_bus *bus, const nexus_alloc *alloc, const char *saga,
                              nexus_slice id)
{
    char stream[NEXUS__SAGA_STREAM_MAX];
    int64_t version;
    nexus_reader *reader;
    const nexus_event *event;
    nexus__saga_stream(stream, saga, id);
    nexus_status status = nexus_stream_version(bus, stream, &version);
    if (status != NEXUS_OK)
        return status;
    if (version < 0)
        return nexus__fail(NEXUS_ENOTFOUND, "saga %s has no instance %.*s", saga, (int)id.n, id.p);
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    opts.stream = stream;
    opts.from_version = version;
    status = nexus_reader_open(&reader, bus, &opts);
    if (status != NEXUS_OK)
        return status;
    status = nexus_reader_next(reader, &event, 0);
    if (status == NEXUS_OK)
        status = nexus__saga_instance_read(out, alloc, event->data);
    if (status == NEXUS_OK)
        (*out)->seq = (uint64_t)event->version + 1;
    nexus_reader_close(reader);
    return status == NEXUS_EDONE ? nexus__fail(NEXUS_EMISSING, "the last transition of saga %s is gone", stream)
                                 : status;
}
