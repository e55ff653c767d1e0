/*
 * Erasing what an event said. The event keeps its position, its version, its id and its attributes, gets the attribute
 * `redacted` = "true", and its data is gone: from memory, from the log, from copies among the dead letters, from both
 * checkpoints. Its id stays known, with whatever content it is published again.
 */
#include "base/status.h"
#include "bus/handle.h"
#include "bus/internal.h"
#include "bus/state.h"

/* The stored form of an event without its data; out stays empty when meta cannot be read. */
static void redact_meta(nexus_slice meta, nexus__buf *out)
{
    nexus__event_view view;
    nexus__buf_clear(out);
    if (nexus__event_decode(&view, meta, NEXUS_S("")) != NEXUS_OK)
        return;
    nexus_event *e = &view.event;
    bool marked = false;
    for (size_t i = 0; i < e->ext_count; i++)
        marked |= nexus__slice_eq_c(e->ext[i].name, "redacted");
    if (!marked && e->ext_count < NEXUS__EVENT_EXT_MAX) {
        view.ext[e->ext_count++] = (nexus_pair){.name = NEXUS_S("redacted"), .value = NEXUS_S("true")};
        e->ext = view.ext;
    }
    nexus__event_encode(out, e, e->stream);
}

/* --- in memory ---------------------------------------------------------------------------------------------------- */

static nexus_status redact_stored(nexus__bgroup *g, nexus__stored **slot)
{
    nexus__buf meta;
    nexus_status status;
    nexus__buf_init(&meta, g->broker->alloc, 0);
    redact_meta((*slot)->meta, &meta);
    nexus__stored *s = nexus__stored_new(g->broker->alloc, nexus__buf_slice(&meta), NEXUS_S(""), &status);
    if (s) {
        s->pos = s->view.event.pos = (*slot)->pos;
        s->view.event.version = (*slot)->view.event.version;
        s->view.event.recv_ns = (*slot)->view.event.recv_ns;
        nexus__stored_unref(g->broker->alloc, *slot); /* whoever holds a lease has his own reference */
        *slot = s;
    }
    nexus__buf_free(&meta);
    return status;
}

static nexus_status redact_group(nexus__bgroup *g, uint64_t pos)
{
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&g->lock);
    dead *d = nexus__map_get(&g->dead_by_pos, nexus__pos_key(&pos));
    entry *e = nexus__map_get(&g->by_pos, nexus__pos_key(&pos));
    if (d)
        status = redact_stored(g, &d->stored);
    if (e && status == NEXUS_OK)
        status = redact_stored(g, &e->stored);
    nexus__wal_reader_close(g->reader); /* it may have read ahead */
    g->reader = NULL;
    pthread_mutex_unlock(&g->lock);
    return status;
}

static nexus_status redact_groups(nexus__broker *b, uint64_t pos)
{
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&b->groups_lock);
    for (size_t i = 0; i < b->group_count && status == NEXUS_OK; i++)
        status = redact_group(b->group_list[i], pos);
    pthread_mutex_unlock(&b->groups_lock);
    return status;
}

/* From now on any content counts as that of this id. */
static void forget_content(nexus__broker *b, uint64_t pos)
{
    pthread_mutex_lock(&b->lock);
    for (uint64_t i = b->ids.first; i < b->ids.next; i++) {
        nexus__seen *s = nexus__window_at(&b->ids, i);
        if (s->pos == pos)
            s->crc = 0;
    }
    pthread_mutex_unlock(&b->lock);
}

/* --- in the log --------------------------------------------------------------------------------------------------- */

typedef struct redaction {
    uint64_t pos;
    bool found;
    nexus__buf meta, payload;
} redaction;

static bool redact_event(redaction *r, nexus__wal_record *record)
{
    if (record->pos != r->pos)
        return false;
    r->found = true;
    if (record->flags & NEXUS__WAL_ERASED)
        return false;
    redact_meta(record->meta, &r->meta);
    record->meta = nexus__buf_slice(&r->meta);
    record->payload = NEXUS_S("");
    record->flags |= NEXUS__WAL_ERASED;
    return true;
}

static bool redact_letter(redaction *r, nexus__wal_record *record)
{
    dead_record d;
    if (record->payload.n < sizeof d)
        return false;
    memcpy(&d, record->payload.p, sizeof d);
    if (d.pos != r->pos || !d.data_bytes ||
        sizeof d + (uint64_t)d.reason_bytes + d.meta_bytes + d.data_bytes != record->payload.n)
        return false;
    const char *reason = record->payload.p + sizeof d;
    redact_meta(nexus__slice(reason + d.reason_bytes, d.meta_bytes), &r->meta);
    dead_record now = d;
    now.meta_bytes = (uint32_t)r->meta.len;
    now.data_bytes = 0;
    nexus__buf_clear(&r->payload);
    nexus__buf_append(&r->payload, &now, sizeof now);
    nexus__buf_append(&r->payload, reason, d.reason_bytes);
    nexus__buf_slice_append(&r->payload, nexus__buf_slice(&r->meta));
    record->payload = nexus__buf_slice(&r->payload);
    return true;
}

static bool redact_edit(const redaction *r, nexus__wal_record *record)
{
    uint64_t pos;
    if (record->payload.n <= sizeof pos)
        return false;
    memcpy(&pos, record->payload.p, sizeof pos);
    record->payload.n = pos == r->pos ? sizeof pos : record->payload.n;
    return pos == r->pos;
}

static bool edit(nexus__wal_record *record, void *user_data)
{
    redaction *r = user_data;
    if (!(record->flags & NEXUS__WAL_INTERNAL))
        return redact_event(r, record);
    return record->kind == KIND_DEAD   ? redact_letter(r, record)
           : record->kind == KIND_BACK ? redact_edit(r, record)
                                       : false;
}

/* Copies stand behind the event, so every file from its own on is looked through. */
static nexus_status redact_files(nexus__broker *b, redaction *r)
{
    nexus__wal_file *files;
    size_t n;
    nexus_status status = nexus__wal_files(b->wal, &files, &n);
    if (status != NEXUS_OK)
        return status;
    for (size_t i = 0; i + 1 < n && status == NEXUS_OK; i++) {
        uint64_t changed;
        if (files[i].end_pos > r->pos)
            status = nexus__wal_rewrite(b->wal, files[i].generation, edit, r, &changed);
    }
    nexus__free(b->alloc, files);
    if (status == NEXUS_OK && (r->meta.status != NEXUS_OK || r->payload.status != NEXUS_OK))
        return nexus__nomem();
    if (status == NEXUS_OK && !r->found)
        return nexus__fail(NEXUS_EMISSING, "event %llu is no longer in the log", (unsigned long long)r->pos);
    return status;
}

static nexus_status redact(nexus__broker *b, uint64_t pos)
{
    redaction r = {.pos = pos};
    nexus__buf_init(&r.meta, b->alloc, 0);
    nexus__buf_init(&r.payload, b->alloc, 0);
    nexus_status status = redact_groups(b, pos); /* first: what is buried from now on is a copy without data */
    if (status == NEXUS_OK)
        status = nexus__wal_seal_active(b->wal);
    if (status == NEXUS_OK)
        status = redact_files(b, &r);
    if (status == NEXUS_OK)
        status = redact_groups(b, pos); /* what was loaded from the old file meanwhile */
    forget_content(b, pos);
    for (int i = 0; i < 2 && status == NEXUS_OK && nexus__wal_is_durable(b->wal); i++)
        status = nexus__state_write(b);
    nexus__buf_free(&r.meta);
    nexus__buf_free(&r.payload);
    return status;
}

nexus_status nexus__broker_redact(nexus__broker *b, uint64_t pos)
{
    if (nexus__wal_has_engine(b->wal))
        return nexus__fail(NEXUS_ENOTSUP, "events can be redacted in a log of files (file:, memory:)");
    if (pos == 0 || pos > nexus__wal_durable(b->wal))
        return nexus__fail(NEXUS_ENOTFOUND, "there is no event %llu", (unsigned long long)pos);
    if (pos < nexus__wal_first(b->wal))
        return nexus__fail(NEXUS_EMISSING, "event %llu is no longer in the log", (unsigned long long)pos);
    pthread_mutex_lock(&b->keep.work);
    nexus_status status = redact(b, pos);
    pthread_mutex_unlock(&b->keep.work);
    return status;
}

nexus_status nexus_bus_redact(nexus_bus *bus, uint64_t pos)
{
    nexus__broker *broker;
    nexus__buf answer;
    nexus__buf_init(&answer, bus->alloc, 0);
    nexus_status status = nexus__bus_ask(bus, WIRE_REDACT, nexus__slice(&pos, sizeof pos), &broker, &answer);
    nexus__buf_free(&answer);
    return status == NEXUS_OK && broker ? nexus__broker_redact(broker, pos) : status;
}
