#include "store/statements.h"

void nexus__statements_init(nexus__statements *s, const nexus_alloc *alloc, size_t max,
                            void (*drop)(void *link, nexus__statement *), void *link)
{
    *s = (nexus__statements){.alloc = alloc, .max = max, .drop = drop, .link = link};
    nexus__map_init(&s->map, alloc);
    nexus__list_init(&s->recent);
}

void nexus__statements_free(nexus__statements *s)
{
    while (!nexus__list_empty(&s->recent))
        nexus__statements_remove(s, NEXUS__CONTAINER(s->recent.next, nexus__statement, node));
    nexus__map_free(&s->map);
}

nexus__statement *nexus__statements_get(nexus__statements *s, const char *sql)
{
    nexus__statement *found = nexus__map_get(&s->map, nexus__slice_c(sql));
    if (found) {
        nexus__list_remove(&found->node);
        nexus__list_push(&s->recent, &found->node);
    }
    return found;
}

nexus__statement *nexus__statements_add(nexus__statements *s, const char *sql)
{
    while (s->map.count >= s->max)
        nexus__statements_remove(s, NEXUS__CONTAINER(s->recent.next, nexus__statement, node));
    size_t n = strlen(sql);
    nexus__statement *added = nexus__calloc(s->alloc, 1, sizeof *added + n + 1);
    if (!added)
        return NULL;
    added->sql = nexus__slice(memcpy(added + 1, sql, n), n);
    added->name = ++s->names;
    if (nexus__map_put(&s->map, added->sql, added, NULL) != NEXUS_OK) {
        nexus__free(s->alloc, added);
        return NULL;
    }
    nexus__list_push(&s->recent, &added->node);
    return added;
}

void nexus__statements_remove(nexus__statements *s, nexus__statement *statement)
{
    nexus__map_remove(&s->map, statement->sql);
    nexus__list_remove(&statement->node);
    s->drop(s->link, statement);
    nexus__free(s->alloc, statement);
}
