#include "gateway/outline.h"

#include <stdio.h>

#include "base/status.h"
#include "crypto/hash.h"

/* --- reading ------------------------------------------------------------------------------------------------------ */

static nexus_slice id_of(nexus__json *doc, uint32_t value)
{
    static const char *const names[] = {"id", "path", "prefix", "regex"};
    nexus_slice id = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names && id.n == 0; i++)
        (void)nexus__json_get_text(doc, value, names[i], &id);
    return id;
}

static nexus_status read_collection(nexus__outline *o, nexus_slice name, uint32_t value)
{
    if (o->count == NEXUS__OUTLINE_COLLECTIONS)
        return nexus__fail(NEXUS_ETOOBIG, "a routes file has at most %d collections", NEXUS__OUTLINE_COLLECTIONS);
    nexus__outline_collection *c = &o->collections[o->count++];
    *c = (nexus__outline_collection){.name = name, .array = nexus__json_is(&o->doc, value, NEXUS__JSON_ARRAY)};
    c->cap = nexus__json_count(&o->doc, value) + 1;
    c->entries = nexus__arena_get(&o->arena, c->cap * sizeof *c->entries);
    if (!c->entries)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(&o->doc, value); nexus__json_step(&o->doc, &it);) {
        nexus__outline_entry *e = &c->entries[c->count++];
        e->text = nexus__json_raw(&o->doc, it.value);
        if (c->array)
            e->id = id_of(&o->doc, it.value);
        else if (!nexus__json_text(&o->doc, it.key, &e->id))
            return nexus__nomem();
    }
    return NEXUS_OK;
}

nexus_status nexus__outline_read(nexus__outline *o, nexus_slice text, const nexus_alloc *alloc)
{
    o->count = o->plain_count = 0;
    nexus__json_init(&o->doc, alloc);
    nexus__arena_init(&o->arena, alloc, 16384);
    nexus_status status = nexus__json_scan(&o->doc, text, NULL);
    if (!status && !nexus__json_is(&o->doc, 0, NEXUS__JSON_OBJECT))
        status = nexus__fail(NEXUS_EINVAL, "a routes file must be a JSON object");
    if (status)
        return status;
    for (nexus__json_iter it = nexus__json_each(&o->doc, 0); !status && nexus__json_step(&o->doc, &it);) {
        nexus_slice name;
        bool plain = nexus__json_type_of(&o->doc, it.value) < NEXUS__JSON_ARRAY;
        if (!nexus__json_text(&o->doc, it.key, &name))
            return nexus__nomem();
        if (!plain)
            status = read_collection(o, name, it.value);
        else if (o->plain_count < NEXUS__OUTLINE_COLLECTIONS)
            o->plain[o->plain_count++] = (nexus__outline_entry){name, nexus__json_raw(&o->doc, it.value)};
    }
    return status;
}

void nexus__outline_free(nexus__outline *o)
{
    nexus__arena_free(&o->arena);
    nexus__json_free(&o->doc);
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

static nexus__outline_collection *collection_of(const nexus__outline *o, nexus_slice name)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (nexus__slice_eq(o->collections[i].name, name))
            return (nexus__outline_collection *)(uintptr_t)&o->collections[i];
    return NULL;
}

const nexus__outline_entry *nexus__outline_find(const nexus__outline *o, nexus_slice collection, nexus_slice id)
{
    const nexus__outline_collection *c = collection_of(o, collection);
    for (uint32_t i = 0; c && i < c->count; i++)
        if (nexus__slice_eq(c->entries[i].id, id))
            return &c->entries[i];
    return NULL;
}

static nexus_status add(nexus__outline *o, nexus__outline_collection *c, nexus__outline_entry entry)
{
    if (c->count == c->cap) {
        uint32_t cap = c->cap * 2 + 4;
        nexus__outline_entry *more = nexus__arena_get(&o->arena, cap * sizeof *more);
        if (!more)
            return nexus__nomem();
        if (c->count) /* a new collection has no entries to bring along */
            memcpy(more, c->entries, c->count * sizeof *more);
        c->entries = more;
        c->cap = cap;
    }
    c->entries[c->count++] = entry;
    return NEXUS_OK;
}

/* Brings `"id":"…"` into an object that has none. */
static nexus_status with_id(nexus__outline *o, nexus_slice id, nexus_slice *text)
{
    nexus__json doc;
    nexus__buf buf;
    nexus_slice said = {0};
    nexus__json_init(&doc, o->arena.alloc);
    nexus_status status = nexus__json_scan(&doc, *text, NULL);
    if (!status && !nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT))
        status = nexus__fail(NEXUS_EINVAL, "the value must be an object");
    bool has = !status && nexus__json_get_text(&doc, 0, "id", &said);
    if (has && !nexus__slice_eq(said, id))
        status = nexus__fail(NEXUS_EINVAL, "the value has the id \"%.*s\", the address says \"%.*s\"", (int)said.n,
                             said.p, (int)id.n, id.p);
    if (!status && !has) {
        nexus_slice raw = nexus__json_raw(&doc, 0);
        nexus__buf_init(&buf, o->arena.alloc, 0);
        nexus__json_writer w = nexus__json_writer_on(&buf);
        nexus__json_open(&w, '{');
        nexus__json_put_text(&w, "id", id);
        if (nexus__json_count(&doc, 0) > 0)
            nexus__buf_text(&buf, ",");
        nexus__buf_slice_append(&buf, nexus__slice_from(raw, 1));
        *text = buf.status ? (nexus_slice){0} : nexus__arena_copy(&o->arena, nexus__buf_slice(&buf));
        nexus__buf_free(&buf);
        status = text->p ? NEXUS_OK : nexus__nomem();
    }
    nexus__json_free(&doc);
    return status;
}

nexus_status nexus__outline_put(nexus__outline *o, nexus_slice collection, nexus_slice id, nexus_slice text)
{
    nexus__outline_collection *c = collection_of(o, collection);
    if (!c) {
        if (o->count == NEXUS__OUTLINE_COLLECTIONS)
            return nexus__fail(NEXUS_ETOOBIG, "a routes file has at most %d collections", NEXUS__OUTLINE_COLLECTIONS);
        c = &o->collections[o->count++];
        *c = (nexus__outline_collection){.name = collection, .array = nexus__slice_eq_c(collection, "routes")};
    }
    nexus_status status = c->array ? with_id(o, id, &text) : NEXUS_OK;
    for (uint32_t i = 0; i < c->count && !status; i++)
        if (nexus__slice_eq(c->entries[i].id, id)) {
            c->entries[i].text = text;
            return NEXUS_OK;
        }
    return status ? status : add(o, c, (nexus__outline_entry){id, text});
}

nexus_status nexus__outline_remove(nexus__outline *o, nexus_slice collection, nexus_slice id)
{
    nexus__outline_collection *c = collection_of(o, collection);
    for (uint32_t i = 0; c && i < c->count; i++)
        if (nexus__slice_eq(c->entries[i].id, id)) {
            memmove(&c->entries[i], &c->entries[i + 1], (c->count - i - 1) * sizeof *c->entries);
            c->count--;
            return NEXUS_OK;
        }
    return nexus__fail(NEXUS_ENOTFOUND, "no \"%.*s\" in %.*s", (int)id.n, id.p, (int)collection.n, collection.p);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_name(nexus__buf *out, nexus_slice name)
{
    nexus__buf_char(out, '"');
    nexus__json_escape_append(out, name);
    nexus__buf_text(out, "\": ");
}

static void write_collection(nexus__buf *out, const nexus__outline_collection *c)
{
    write_name(out, c->name);
    nexus__buf_char(out, c->array ? '[' : '{');
    for (uint32_t i = 0; i < c->count; i++) {
        nexus__buf_text(out, i ? ",\n    " : "\n    ");
        if (!c->array)
            write_name(out, c->entries[i].id);
        nexus__buf_slice_append(out, c->entries[i].text);
    }
    nexus__buf_text(out, c->count ? "\n  " : "");
    nexus__buf_char(out, c->array ? ']' : '}');
}

void nexus__outline_write(const nexus__outline *o, nexus__buf *out)
{
    const char *comma = "{\n  ";
    for (uint32_t i = 0; i < o->plain_count; i++, comma = ",\n  ") {
        nexus__buf_text(out, comma);
        write_name(out, o->plain[i].id);
        nexus__buf_slice_append(out, o->plain[i].text);
    }
    for (uint32_t i = 0; i < o->count; i++, comma = ",\n  ") {
        nexus__buf_text(out, comma);
        write_collection(out, &o->collections[i]);
    }
    nexus__buf_text(out, "\n}\n");
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static void put_change(nexus__json_writer *w, const char *change, nexus_slice collection, nexus_slice id,
                       const nexus__outline_entry *from, const nexus__outline_entry *to)
{
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "change", change);
    nexus__json_put_text(w, "collection", collection);
    nexus__json_put_text(w, "id", id);
    if (from)
        nexus__json_put_raw(w, "from", from->text);
    if (to)
        nexus__json_put_raw(w, "to", to->text);
    nexus__json_close(w, '}');
}

void nexus__outline_diff(const nexus__outline *from, const nexus__outline *to, nexus__json_writer *w)
{
    nexus__json_open(w, '[');
    for (uint32_t k = 0; k < to->count; k++)
        for (uint32_t i = 0; i < to->collections[k].count; i++) {
            const nexus__outline_entry *now = &to->collections[k].entries[i];
            const nexus__outline_entry *was = nexus__outline_find(from, to->collections[k].name, now->id);
            if (!was || !nexus__slice_eq(was->text, now->text))
                put_change(w, was ? "changed" : "added", to->collections[k].name, now->id, was, now);
        }
    for (uint32_t k = 0; k < from->count; k++)
        for (uint32_t i = 0; i < from->collections[k].count; i++) {
            const nexus__outline_entry *was = &from->collections[k].entries[i];
            if (!nexus__outline_find(to, from->collections[k].name, was->id))
                put_change(w, "removed", from->collections[k].name, was->id, was, NULL);
        }
    nexus__json_close(w, ']');
}

void nexus__outline_etag(nexus_slice text, char out[static NEXUS__ETAG_MAX])
{
    uint8_t digest[NEXUS__DIGEST_MAX] = {0};
    size_t n = 0;
    if (nexus__hash(NEXUS__SHA256, text, digest)) /* an entry whose ETag is not known is never taken for unchanged */
        text.p = NULL;
    out[n++] = '"';
    for (int i = 0; i < 16 && text.p; i++, n += 2)
        snprintf(out + n, NEXUS__ETAG_MAX - n, "%02x", digest[i]);
    snprintf(out + n, NEXUS__ETAG_MAX - n, "\"");
}
