#include "bus/category.h"

#include "base/alloc.h"

static nexus_slice category_of(nexus_slice stream)
{
    size_t n = nexus__slice_find(stream, '-');
    return nexus__slice(stream.p, n < NEXUS__CATEGORY_NAME_MAX ? n : NEXUS__CATEGORY_NAME_MAX);
}

/* Whether the stream is of the category that the last one was of, which is mostly so: no name has a "-" in it. */
static bool is_of(const nexus__category *c, nexus_slice stream)
{
    return stream.n >= c->name_bytes && (stream.n == c->name_bytes || stream.p[c->name_bytes] == '-') &&
           c->name_bytes < NEXUS__CATEGORY_NAME_MAX && (!c->name_bytes || memcmp(stream.p, c->name, c->name_bytes) == 0);
}

static bool is(const nexus__category *c, nexus_slice name)
{
    return c->name_bytes == name.n && (name.n == 0 || memcmp(c->name, name.p, name.n) == 0);
}

/* The index of name, made when there is room; NULL: no memory. */
static nexus__category *find(nexus__categories *c, nexus_slice name)
{
    for (size_t i = 0; i < c->count; i++)
        if (is(&c->list[i], name)) {
            c->last = i;
            return &c->list[i];
        }
    if (c->count == NEXUS__CATEGORIES_MAX)
        return &c->list[c->count - 1];
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 8;
        nexus__category *grown = nexus__realloc(c->alloc, c->list, cap * sizeof *grown);
        if (!grown)
            return NULL;
        c->list = grown;
        c->cap = cap;
    }
    nexus__category *made = &c->list[c->count];
    *made = (nexus__category){.name_bytes = name.n};
    if (c->count == NEXUS__CATEGORIES_MAX - 1)
        name = NEXUS_S("__overflow__");
    made->name_bytes = name.n;
    if (name.n)
        memcpy(made->name, name.p, name.n);
    c->last = c->count++;
    return made;
}

void nexus__categories_add(nexus__categories *c, nexus_slice stream, size_t bytes)
{
    nexus__category *x =
        c->count && is_of(&c->list[c->last], stream) ? &c->list[c->last] : find(c, category_of(stream));
    if (!x)
        return;
    x->events++;
    x->bytes += bytes;
}

void nexus__categories_free(nexus__categories *c)
{
    nexus__free(c->alloc, c->list);
}
