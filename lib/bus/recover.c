/* The derived state is a checkpoint and one pass over the log behind it: ids, heads of streams, groups. */
#include "base/status.h"
#include "bus/internal.h"
#include "bus/state.h"

enum { RECORD_SHARE = 64 }; /* bytes of a record beside its own, and of its batch */

static nexus_status on_event(nexus__broker *b, const nexus__wal_record *r)
{
    nexus__event_view view;
    if (nexus__event_decode(&view, r->meta, r->payload) != NEXUS_OK)
        return NEXUS_OK; /* unreadable attributes: readers report it */
    nexus__key128 id = nexus__window_key(&b->ids, view.event.source, view.event.id);
    uint32_t crc = r->flags & NEXUS__WAL_ERASED ? 0 : nexus__broker_content_crc(&view.event);
    if (!(r->flags & NEXUS__WAL_COMPACTED)) /* of those the checkpoints know the ids */
        nexus__broker_remember(b, id, r->pos, crc, (uint32_t)(r->recv_ns / NEXUS__NS_PER_S));
    if (!view.event.stream.n)
        return NEXUS_OK;
    nexus__table_entry *head = nexus__table_put(&b->heads, nexus__table_key(&b->heads, view.event.stream, NEXUS_S("")));
    if (!head)
        return nexus__nomem();
    head->value = (uint64_t)r->version + 1;
    head->extra = r->pos;
    return NEXUS_OK;
}

static nexus_status on_group(nexus__broker *b, const nexus__wal_record *r)
{
    nexus__bgroup *g = nexus__map_get(&b->groups, r->meta), *made;
    if (!g) {
        nexus_status status = nexus__bgroup_new(b, r->meta, r->payload, &made);
        if (status == NEXUS_OK)
            made->floor = made->loaded = made->config.start_pos - 1;
        return status;
    }
    char *bytes = nexus__strndup(b->alloc, r->payload);
    if (!bytes)
        return nexus__nomem();
    nexus__free(b->alloc, g->config_bytes);
    g->config_bytes = bytes;
    g->config_n = r->payload.n;
    nexus__group_config_decode(nexus__slice(bytes, r->payload.n), &g->config);
    nexus__bgroup_use_config(g);
    return NEXUS_OK;
}

static nexus_status on_acks(nexus__bgroup *g, nexus_slice bytes)
{
    uint64_t pos;
    for (size_t at = 0; at + sizeof pos <= bytes.n; at += sizeof pos) {
        memcpy(&pos, bytes.p + at, sizeof pos);
        if (at == 0) {
            g->floor = g->loaded = pos > g->floor ? pos : g->floor;
        } else if (pos > g->floor) {
            known *k = nexus__bgroup_know(g, pos);
            if (!k)
                return nexus__nomem();
            k->done = true;
        }
    }
    if (g->known.count > (size_t)GROUP_WINDOW * 4)
        nexus__bgroup_forget(g);
    return NEXUS_OK;
}

static nexus_status on_leases(nexus__bgroup *g, nexus_slice bytes)
{
    lease_record lease;
    for (size_t at = 0; at + sizeof lease <= bytes.n; at += sizeof lease) {
        memcpy(&lease, bytes.p + at, sizeof lease);
        dead *back = nexus__map_get(&g->dead_by_pos, nexus__pos_key(&lease.pos));
        if (back && back->back) {
            back->attempts = lease.attempts > back->attempts ? lease.attempts : back->attempts;
            continue;
        }
        g->matched = true;
        if (lease.pos <= g->floor)
            continue;
        known *k = lease.pos > g->resumed ? nexus__bgroup_know(g, lease.pos)
                                          : nexus__map_get(&g->known, nexus__pos_key(&lease.pos));
        if (k && lease.attempts > k->attempts) {
            k->attempts = lease.attempts;
            k->token = lease.token;
            k->remote = lease.remote;
        }
    }
    return NEXUS_OK;
}

static nexus_status on_dead(nexus__bgroup *g, nexus_slice bytes)
{
    dead_record d;
    if (bytes.n < sizeof d)
        return NEXUS_OK;
    memcpy(&d, bytes.p, sizeof d);
    if ((uint64_t)d.reason_bytes + d.meta_bytes + d.data_bytes + sizeof d != bytes.n)
        return NEXUS_OK;
    const char *p = bytes.p + sizeof d;
    nexus_status status;
    nexus__stored *stored = nexus__stored_new(g->broker->alloc, nexus__slice(p + d.reason_bytes, d.meta_bytes),
                                              nexus__slice(p + d.reason_bytes + d.meta_bytes, d.data_bytes), &status);
    if (!stored)
        return status == NEXUS_ECORRUPT ? NEXUS_OK : status;
    stored->pos = stored->view.event.pos = d.pos;
    status = nexus__bgroup_add_dead(g, &d, nexus__slice(p, d.reason_bytes), stored);
    known *k = status == NEXUS_OK && d.pos > g->floor ? nexus__bgroup_know(g, d.pos) : NULL;
    if (k)
        k->done = true;
    return status;
}

static nexus_status on_back(nexus__bgroup *g, nexus_slice bytes)
{
    uint64_t pos;
    if (bytes.n < sizeof pos)
        return NEXUS_OK;
    memcpy(&pos, bytes.p, sizeof pos);
    nexus_status status = nexus__bgroup_mark_back(g, pos, nexus__slice_from(bytes, sizeof pos));
    return status == NEXUS_ENOTFOUND ? NEXUS_OK : status;
}

static nexus_status on_gone(nexus__bgroup *g, nexus_slice bytes)
{
    uint64_t pos;
    for (size_t at = 0; at + sizeof pos <= bytes.n; at += sizeof pos) {
        memcpy(&pos, bytes.p + at, sizeof pos);
        nexus__bgroup_drop_dead(g, pos);
    }
    return NEXUS_OK;
}

static nexus_status on_seek(nexus__bgroup *g, nexus_slice bytes)
{
    uint64_t floor;
    if (bytes.n < sizeof floor)
        return NEXUS_OK;
    memcpy(&floor, bytes.p, sizeof floor);
    nexus__bgroup_unload(g, floor);
    if (bytes.n >= 2 * sizeof floor)
        memcpy(&g->replay_until, bytes.p + sizeof floor, sizeof floor);
    return NEXUS_OK;
}

static nexus_status on_control(nexus__bgroup *g, nexus_slice bytes)
{
    uint32_t body[2];
    if (bytes.n < sizeof body)
        return NEXUS_OK;
    memcpy(body, bytes.p, sizeof body);
    nexus__bgroup_control(g, body[0], body[1]);
    return NEXUS_OK;
}

static nexus_status on_record(nexus__broker *b, const nexus__wal_record *r)
{
    if (r->kind == KIND_EVENT)
        return on_event(b, r);
    if (r->kind == KIND_GROUP)
        return on_group(b, r);
    if (r->kind == KIND_DELAYED)
        return nexus__delays_recover(b, r->payload);
    if (r->kind == KIND_FIRED) {
        nexus__delays_forget(b, r->payload);
        return NEXUS_OK;
    }
    nexus__bgroup *g = nexus__map_get(&b->groups, r->meta);
    if (!g)
        return NEXUS_OK;
    switch (r->kind) {
    case KIND_ACK:
        return on_acks(g, r->payload);
    case KIND_LEASE:
        return on_leases(g, r->payload);
    case KIND_DEAD:
        return on_dead(g, r->payload);
    case KIND_BACK:
        return on_back(g, r->payload);
    case KIND_GONE:
        return on_gone(g, r->payload);
    case KIND_AUDIT:
        return nexus__bgroup_keep_audit(g, r->payload);
    case KIND_SEEK:
        return on_seek(g, r->payload);
    case KIND_CONTROL:
        return on_control(g, r->payload);
    default:
        return NEXUS_OK; /* of a later version */
    }
}

/* --- the pass ----------------------------------------------------------------------------------------------------- */

void nexus__broker_forget(nexus__broker *b)
{
    for (size_t i = 0; i < b->group_count; i++)
        nexus__bgroup_free(b->group_list[i]);
    b->group_count = 0;
    nexus__map_free(&b->groups);
    nexus__map_init(&b->groups, b->alloc);
    nexus__window_free(&b->ids);
    nexus__table_free(&b->heads);
    nexus__delays_clear(b);
}

static nexus_status apply(nexus__broker *b, nexus__wal_reader *reader)
{
    for (;;) {
        nexus__wal_record record;
        nexus_status status = nexus__wal_reader_next(reader, &record);
        if (status == NEXUS_ECORRUPT || status == NEXUS_EMISSING)
            continue; /* readers of the events report it; what is whole counts */
        if (status == NEXUS_OK)
            status = on_record(b, &record);
        if (status == NEXUS_OK)
            b->keep.behind += record.meta.n + record.payload.n + RECORD_SHARE;
        if (status != NEXUS_OK)
            return status == NEXUS_EDONE ? NEXUS_OK : status;
    }
}

/* Without a checkpoint the log must reach back to its beginning, or groups and streams would be made up. Of a damaged
 * log, which takes no writes, what is left can be read all the same. */
static nexus_status open_reader(nexus__broker *b, nexus__wal_reader **out)
{
    nexus__wal_cursor from;
    char why[256];
    nexus_status status = nexus__state_load(b, &from, why);
    if (status == NEXUS_OK)
        return nexus__wal_reader_open_at(out, b->wal, &from);
    if (status != NEXUS_ENOTFOUND)
        return status;
    from = (nexus__wal_cursor){.seq = 1, .pos = 1};
    status = nexus__wal_reader_open_at(out, b->wal, &from);
    if (status != NEXUS_EMISSING)
        return status;
    if (b->read_only || b->anyway)
        return nexus__wal_reader_open(out, b->wal, 0);
    return nexus__fail(why[0] ? NEXUS_ECORRUPT : NEXUS_EMISSING,
                       "the log begins at position %llu and what it held before is in no checkpoint (%s): `nexus bus "
                       "repair` goes on without it",
                       (unsigned long long)nexus__wal_first(b->wal), why[0] ? why : "there is none");
}

nexus_status nexus__broker_recover(nexus__broker *b)
{
    nexus__wal_reader *reader;
    nexus_status status = open_reader(b, &reader);
    if (status != NEXUS_OK)
        return status;
    nexus__wal_reader_show_compacted(reader);
    status = apply(b, reader);
    nexus__wal_reader_close(reader);
    for (size_t i = 0; i < b->group_count && status == NEXUS_OK; i++) {
        nexus__bgroup_recovered(b->group_list[i]);
        status = nexus__bgroup_hand_back(b->group_list[i]);
    }
    return status;
}
