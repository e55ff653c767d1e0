/* A log whose batches are kept by an engine: the leader's steps that differ from those with files. */
#include "base/status.h"
#include "wal/internal.h"

nexus_status nexus__wal_engine_start(nexus__wal *wal, nexus__wal_report *report)
{
    nexus__wal_tail tail = {0};
    nexus_status status = wal->engine->ops->own(wal->engine, &tail);
    if (status != NEXUS_OK)
        return status;
    memcpy(wal->uuid, tail.uuid, sizeof wal->uuid);
    wal->engine_durable = tail.durable;
    wal->engine_weaker = tail.weaker;
    wal->sync_ns = tail.sync_ms * NEXUS__NS_PER_MS;
    memcpy(report->lost, tail.lost, sizeof report->lost);
    wal->next_seq = tail.next_seq;
    wal->next_pos = tail.next_pos;
    wal->last_recv_ns = tail.last_recv_ns;
    atomic_store(&wal->engine_begin, tail.begin);
    wal->engine_place = tail.end;
    atomic_store(&wal->engine_end, tail.end);
    atomic_store(&wal->engine_first_pos, tail.first_pos);
    return NEXUS_OK;
}

nexus_status nexus__wal_engine_append(nexus__wal *wal, const nexus__wal_batch *first, nexus_slice bytes)
{
    nexus__wal_run run = {.first_pos = first->first_pos, .next_seq = wal->next_seq, .bytes = bytes};
    uint64_t batches = 0;
    for (const nexus__wal_batch *b = first; b; b = b->next) {
        run.next_pos = b->first_pos + b->data_count;
        run.recv_ns = b->recv_ns;
        batches += b->count != 0;
    }
    engine_mark mark = {wal->engine_place, run.first_pos, wal->next_seq - batches, first->recv_ns};
    nexus_status status = wal->engine->ops->append(wal->engine, &run, &wal->engine_place);
    if (status == NEXUS_OK)
        nexus__wal_piece_written(wal, &mark);
    return status;
}

nexus_status nexus__wal_engine_drop_below(nexus__wal *wal, uint64_t pos)
{
    uint64_t first_pos = 0, begin = 0;
    nexus_status status = wal->engine->ops->drop_below(wal->engine, pos, &first_pos, &begin);
    if (status != NEXUS_OK)
        return status;
    atomic_store(&wal->engine_first_pos, first_pos);
    atomic_store(&wal->engine_begin, begin);
    return NEXUS_OK;
}

/* The engine may notice, and an append: it is told once, for whoever is told opens the log anew. */
void nexus__wal_tell_lost(void *user_data)
{
    nexus__wal *wal = user_data;
    if (wal->on_lost && !atomic_exchange(&wal->lost_told, true))
        wal->on_lost(wal->on_lost_data);
}

void nexus__wal_on_lost(nexus__wal *wal, void (*fn)(void *user_data), void *user_data)
{
    wal->on_lost = fn;
    wal->on_lost_data = user_data;
    if (wal->engine && wal->engine->ops->on_lost)
        wal->engine->ops->on_lost(wal->engine, nexus__wal_tell_lost, wal);
}

bool nexus__wal_has_engine(const nexus__wal *wal)
{
    return wal->engine != NULL;
}
