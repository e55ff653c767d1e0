#include "gateway/history.h"

#include <stdio.h>

#include "base/time.h"
#include "json/write.h"

void nexus__history_add(nexus__history *h, uint64_t version, const char *origin, nexus_slice text,
                        const nexus_alloc *alloc)
{
    nexus__history_entry *e = &h->entries[version % NEXUS__HISTORY_MAX];
    nexus__free(alloc, e->text);
    *e = (nexus__history_entry){.text = nexus__strndup(alloc, text), .n = text.n};
    if (!e->text)
        return;
    e->version = version;
    e->at_ms = nexus__real_ns() / NEXUS__NS_PER_MS;
    snprintf(e->origin, sizeof e->origin, "%s", origin);
}

const nexus__history_entry *nexus__history_find(const nexus__history *h, uint64_t version)
{
    const nexus__history_entry *e = &h->entries[version % NEXUS__HISTORY_MAX];
    return version > 0 && e->version == version ? e : NULL;
}

void nexus__history_list(const nexus__history *h, nexus__buf *out)
{
    nexus__json_writer w = nexus__json_writer_on(out);
    uint64_t newest = 0;
    char at[32];
    for (uint32_t i = 0; i < NEXUS__HISTORY_MAX; i++)
        newest = h->entries[i].version > newest ? h->entries[i].version : newest;
    nexus__json_open(&w, '[');
    for (uint64_t version = newest; version > 0 && newest - version < NEXUS__HISTORY_MAX; version--) {
        const nexus__history_entry *e = nexus__history_find(h, version);
        if (!e)
            continue;
        nexus__format_rfc3339(e->at_ms * NEXUS__NS_PER_MS, at);
        nexus__json_open(&w, '{');
        nexus__json_put_u64(&w, "version", e->version);
        nexus__json_put_text_c(&w, "at", at);
        nexus__json_put_text_c(&w, "origin", e->origin);
        nexus__json_put_u64(&w, "bytes", e->n);
        nexus__json_close(&w, '}');
    }
    nexus__json_close(&w, ']');
}

void nexus__history_free(nexus__history *h, const nexus_alloc *alloc)
{
    for (uint32_t i = 0; i < NEXUS__HISTORY_MAX; i++)
        nexus__free(alloc, h->entries[i].text);
    *h = (nexus__history){0};
}
