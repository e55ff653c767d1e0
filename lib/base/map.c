#include "base/map.h"

#include "base/status.h"

void nexus__map_init(nexus__map *m, const nexus_alloc *alloc)
{
    *m = (nexus__map){.alloc = alloc, .key = nexus__hash_key_random()};
}

void nexus__map_free(nexus__map *m)
{
    nexus__free(m->alloc, m->slots);
    *m = (nexus__map){.alloc = m->alloc, .key = m->key};
}

static size_t probe(const nexus__map *m, nexus_slice key, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].value && !(m->slots[i].hash == hash && nexus__slice_eq(m->slots[i].key, key)))
        i = (i + 1) & (m->cap - 1);
    return i;
}

void *nexus__map_get(const nexus__map *m, nexus_slice key)
{
    if (!m->count)
        return NULL;
    return m->slots[probe(m, key, nexus__siphash(m->key, key.p, key.n))].value;
}

static nexus_status grow(nexus__map *m)
{
    nexus__map bigger = *m;
    bigger.cap = m->cap ? m->cap * 2 : 16;
    bigger.slots = nexus__calloc(m->alloc, bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots)
        return nexus__nomem();
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value)
            bigger.slots[probe(&bigger, m->slots[i].key, m->slots[i].hash)] = m->slots[i];
    nexus__free(m->alloc, m->slots);
    *m = bigger;
    return NEXUS_OK;
}

nexus_status nexus__map_put(nexus__map *m, nexus_slice key, void *value, void **old)
{
    if (m->count >= m->cap / 4 * 3) {
        nexus_status status = grow(m);
        if (status != NEXUS_OK)
            return status;
    }
    uint64_t hash = nexus__siphash(m->key, key.p, key.n);
    nexus__map_entry *slot = &m->slots[probe(m, key, hash)];
    if (old)
        *old = slot->value;
    m->count += slot->value == NULL;
    *slot = (nexus__map_entry){key, value, hash};
    return NEXUS_OK;
}

void *nexus__map_remove(nexus__map *m, nexus_slice key)
{
    if (!m->count)
        return NULL;
    size_t hole = probe(m, key, nexus__siphash(m->key, key.p, key.n));
    void *value = m->slots[hole].value;
    if (!value)
        return NULL;
    m->count--;
    /* Backward shift: every later entry of the cluster moves up when its home allows it. */
    for (size_t i = (hole + 1) & (m->cap - 1); m->slots[i].value; i = (i + 1) & (m->cap - 1)) {
        size_t home = m->slots[i].hash & (m->cap - 1);
        bool stays = hole <= i ? (home > hole && home <= i) : (home > hole || home <= i);
        if (stays)
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = (nexus__map_entry){0};
    return value;
}

nexus__map_entry *nexus__map_next(const nexus__map *m, size_t *cursor)
{
    while (*cursor < m->cap) {
        nexus__map_entry *entry = &m->slots[(*cursor)++];
        if (entry->value)
            return entry;
    }
    return NULL;
}
