/* A condition on what was stored: is there an event of these types and tags? */
#include "base/status.h"
#include "bus/internal.h"

static bool matches(const nexus__publish_terms *terms, const nexus__wal_record *r)
{
    nexus__event_view view;
    return r->kind == KIND_EVENT && !(r->flags & NEXUS__WAL_INTERNAL) &&
           nexus__event_decode(&view, r->meta, r->payload) == NEXUS_OK &&
           (!terms->fail_types.n || nexus__types_match(terms->fail_types, view.event.type)) &&
           (!terms->fail_tags.n || nexus__tags_match(terms->fail_tags, &view.event));
}

nexus_status nexus__broker_find(nexus__broker *b, const nexus__publish_terms *terms, uint64_t *upto, uint64_t *found)
{
    uint64_t durable = nexus__wal_durable(b->wal), first = nexus__wal_first(b->wal);
    nexus__wal_reader *reader;
    *found = 0;
    if (*upto >= durable)
        return NEXUS_OK;
    nexus_status status = nexus__wal_reader_open(&reader, b->wal, *upto + 1 > first ? *upto + 1 : first);
    if (status != NEXUS_OK)
        return status;
    nexus__wal_reader_show_compacted(reader);
    nexus__wal_record r;
    while (!*found && (status = nexus__wal_reader_next(reader, &r)) != NEXUS_EDONE) {
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
            continue;
        if (status != NEXUS_OK || r.pos > durable)
            break;
        if (matches(terms, &r))
            *found = r.pos;
    }
    nexus__wal_reader_close(reader);
    if (status != NEXUS_OK && status != NEXUS_EDONE)
        return status;
    *upto = durable;
    return NEXUS_OK;
}
