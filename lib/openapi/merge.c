/*
 * Several documents made into one. Each part is scanned, not built: what is passed on is copied from its text, with new
 * names put in where an earlier part has the old one already.
 */
#include <stdio.h>

#include "base/status.h"
#include "json/write.h"
#include "openapi/api.h"

enum { COMPONENTS_MAX = 4096, PATH_MAX_BYTES = 2048 };

static const char *const methods[] = {"get", "put", "post", "delete", "options", "head", "patch", "trace"};

typedef struct part part;

/* A component of one part. */
typedef struct component {
    nexus_slice key; /* "schemas/Order" */
    uint32_t value;
    part *owner;
    bool renamed;
} component;

/* An operation, under its path in the merged document. */
typedef struct entry {
    struct entry *next, *same_path;
    nexus_slice path;
    const char *method;
    part *owner;
    uint32_t item, operation;
} entry;

struct part {
    const nexus_openapi_part *given;
    nexus_slice name;
    nexus__json doc;
    bool known;
    nexus_slice base; /* of "servers": before its paths */
    component *components;
    size_t component_count;
    nexus__map renamed; /* key -> component */
};

typedef struct merge {
    nexus__arena arena;
    const nexus_alloc *alloc;
    part *parts;
    size_t count;
    nexus__map components; /* key -> the component that has the name */
    nexus__map ids, tags;  /* name -> part that has it */
    nexus__map paths;      /* path -> entry */
    entry *first, **last;
    nexus__json_writer w;
    bool lost; /* out of memory */
} merge;

void nexus_openapi_part_init(nexus_openapi_part *given)
{
    *given = (nexus_openapi_part)NEXUS_OPENAPI_PART_INIT;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static nexus_slice kept(merge *m, nexus_slice text)
{
    return nexus__arena_copy(&m->arena, text);
}

/* "PART_name", or as it is when no other part has it: who comes first keeps the name. */
static nexus_slice claim(merge *m, nexus__map *names, part *p, nexus_slice name)
{
    part *owner = nexus__map_get(names, name);
    if (!owner) {
        nexus_slice copy = kept(m, name);
        m->lost |= !copy.p || nexus__map_put(names, copy, p, NULL) != NEXUS_OK;
        return name;
    }
    if (owner == p)
        return name;
    char *text = nexus__arena_get(&m->arena, p->name.n + name.n + 2);
    if (!text)
        return name;
    int n = snprintf(text, p->name.n + name.n + 2, "%.*s_%.*s", (int)p->name.n, p->name.p, (int)name.n, name.p);
    return nexus__slice(text, (size_t)n);
}

/* What "#/components/KIND/NAME" is called in the merged document; false: as it was. */
static bool renamed_reference(merge *m, part *p, nexus_slice text, nexus_slice *out)
{
    static const nexus_slice root = {"#/components/", 13};
    if (!p->renamed.count || !nexus__slice_starts(text, root))
        return false;
    nexus_slice rest = nexus__slice_from(text, root.n);
    size_t slash = nexus__slice_find(rest, '/');
    size_t end = slash < rest.n ? slash + 1 + nexus__slice_find(nexus__slice_from(rest, slash + 1), '/') : rest.n;
    if (slash == rest.n || !nexus__map_get(&p->renamed, nexus__slice(rest.p, end)))
        return false;
    size_t max = text.n + p->name.n + 2;
    char *made = nexus__arena_get(&m->arena, max);
    if (!made)
        return false;
    int n = snprintf(made, max, "%.*s%.*s/%.*s_%.*s", (int)root.n, root.p, (int)slash, rest.p, (int)p->name.n, p->name.p,
                     (int)(rest.n - slash - 1), rest.p + slash + 1);
    *out = nexus__slice(made, (size_t)n);
    return true;
}

/* --- reading the parts -------------------------------------------------------------------------------------------- */

/* The path of the first server's URL, without a slash at its end. */
static nexus_slice base_of(part *p)
{
    nexus_slice url;
    uint32_t first = nexus__json_element(&p->doc, nexus__json_get(&p->doc, 0, "servers"), 0);
    if (!nexus__json_get_text(&p->doc, first, "url", &url))
        return NEXUS_S("");
    size_t scheme = nexus__slice_search(url, NEXUS_S("://"));
    if (scheme < url.n) {
        url = nexus__slice_from(url, scheme + 3);
        url = nexus__slice_from(url, nexus__slice_find(url, '/'));
    }
    while (url.n && url.p[url.n - 1] == '/')
        url.n--;
    return url.n && url.p[0] == '/' ? url : NEXUS_S("");
}

static nexus_status read_components(merge *m, part *p)
{
    uint32_t all = nexus__json_get(&p->doc, 0, "components");
    size_t count = 0;
    for (nexus__json_iter kind = nexus__json_each(&p->doc, all); nexus__json_step(&p->doc, &kind);)
        count += nexus__json_count(&p->doc, kind.value);
    if (count > COMPONENTS_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "%.*s: over %d components", (int)p->name.n, p->name.p, COMPONENTS_MAX);
    p->components = nexus__arena_get(&m->arena, (count + 1) * sizeof *p->components);
    if (!p->components)
        return nexus__nomem();
    for (nexus__json_iter kind = nexus__json_each(&p->doc, all); nexus__json_step(&p->doc, &kind);)
        for (nexus__json_iter it = nexus__json_each(&p->doc, kind.value); nexus__json_step(&p->doc, &it);) {
            nexus_slice what, name;
            if (!it.object || !nexus__json_text(&p->doc, kind.key, &what) || !nexus__json_text(&p->doc, it.key, &name))
                continue;
            char *key = nexus__arena_get(&m->arena, what.n + name.n + 2);
            if (!key)
                return nexus__nomem();
            int n = snprintf(key, what.n + name.n + 2, "%.*s/%.*s", (int)what.n, what.p, (int)name.n, name.p);
            p->components[p->component_count++] =
                (component){.key = nexus__slice(key, (size_t)n), .value = it.value, .owner = p};
        }
    return NEXUS_OK;
}

static bool is_document(part *p)
{
    nexus_slice version;
    return p->given->document.n && nexus__json_scan(&p->doc, p->given->document, NULL) == NEXUS_OK &&
           nexus__json_get_text(&p->doc, 0, "openapi", &version) && nexus__slice_starts(version, NEXUS_S("3."));
}

static nexus_status read_part(merge *m, part *p, const nexus_openapi_part *given)
{
    p->given = given;
    p->name = nexus__slice_c(given->name ? given->name : "");
    p->known = is_document(p);
    if (!p->known)
        return NEXUS_OK;
    p->base = base_of(p);
    return read_components(m, p);
}

/* --- which components keep their names ----------------------------------------------------------------------------- */

static bool same_text(const component *a, const component *b)
{
    return nexus__slice_eq(nexus__json_raw(&a->owner->doc, a->value), nexus__json_raw(&b->owner->doc, b->value));
}

static bool refers_to_renamed(merge *m, const component *c)
{
    nexus_slice text, out;
    for (uint32_t i = c->value; i < c->owner->doc.nodes[c->value].next; i++)
        if (nexus__json_is(&c->owner->doc, i, NEXUS__JSON_STRING) && nexus__json_text(&c->owner->doc, i, &text) &&
            renamed_reference(m, c->owner, text, &out))
            return true;
    return false;
}

static nexus_status rename_one(component *c, bool *changed)
{
    c->renamed = true;
    *changed = true;
    return nexus__map_put(&c->owner->renamed, c->key, c, NULL);
}

/* Another text needs another name; so does the same text that refers to something that got one: until nothing changes. */
static nexus_status settle_names(merge *m, part *p)
{
    bool changed = true;
    nexus_status status = NEXUS_OK;
    while (changed && !status) {
        changed = false;
        for (size_t i = 0; i < p->component_count && !status; i++) {
            component *c = &p->components[i], *first = nexus__map_get(&m->components, c->key);
            if (first && !c->renamed && (!same_text(first, c) || refers_to_renamed(m, c)))
                status = rename_one(c, &changed);
        }
    }
    for (size_t i = 0; i < p->component_count && !status; i++)
        if (!nexus__map_get(&m->components, p->components[i].key))
            status = nexus__map_put(&m->components, p->components[i].key, &p->components[i], NULL);
    return status;
}

/* --- which operations are shown ------------------------------------------------------------------------------------ */

static bool exposed(part *p, const char *method, const char *path, char out[static PATH_MAX_BYTES])
{
    char upper[16];
    size_t n = 0;
    for (; method[n] && n + 1 < sizeof upper; n++)
        upper[n] = (char)(method[n] - 'a' + 'A');
    upper[n] = 0;
    if (p->given->expose)
        return p->given->expose(p->given->name, upper, path, out, PATH_MAX_BYTES, p->given->user_data);
    return snprintf(out, PATH_MAX_BYTES, "%s", path) < PATH_MAX_BYTES;
}

static nexus_status add_entry(merge *m, part *p, const char *method, nexus_slice path, uint32_t item, uint32_t operation)
{
    entry *first = nexus__map_get(&m->paths, path);
    entry **link = first ? &first->same_path : NULL;
    for (entry *e = first; e; e = e->same_path) {
        if (e->method == method)
            return NEXUS_OK; /* an earlier part's */
        link = &e->same_path;
    }
    entry *e = nexus__arena_get(&m->arena, sizeof *e);
    if (!e)
        return nexus__nomem();
    *e = (entry){.path = kept(m, path), .method = method, .owner = p, .item = item, .operation = operation};
    if (!e->path.p)
        return nexus__nomem();
    if (link) {
        *link = e;
        return NEXUS_OK;
    }
    *m->last = e;
    m->last = &e->next;
    return nexus__map_put(&m->paths, e->path, e, NULL);
}

static nexus_status find_operations(merge *m, part *p)
{
    nexus_status status = NEXUS_OK;
    uint32_t paths = nexus__json_get(&p->doc, 0, "paths");
    for (nexus__json_iter it = nexus__json_each(&p->doc, paths); !status && nexus__json_step(&p->doc, &it);) {
        nexus_slice path;
        char full[PATH_MAX_BYTES], out[PATH_MAX_BYTES];
        if (!nexus__json_text(&p->doc, it.key, &path) || !path.n || path.p[0] != '/' ||
            p->base.n + path.n >= sizeof full)
            continue;
        snprintf(full, sizeof full, "%.*s%.*s", (int)p->base.n, p->base.p, (int)path.n, path.p);
        for (size_t i = 0; i < sizeof methods / sizeof *methods && !status; i++) {
            uint32_t operation = nexus__json_get(&p->doc, it.value, methods[i]);
            if (operation != NEXUS__JSON_NONE && exposed(p, methods[i], full, out))
                status = add_entry(m, p, methods[i], nexus__slice_c(out), it.value, operation);
        }
    }
    return status;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* What a text is in the merged document: references follow the new names, and an "$id" under the root of the server is
 * told apart from those of other parts. */
static bool changed_text(merge *m, part *p, uint32_t at, nexus_slice text, nexus_slice *out)
{
    if (renamed_reference(m, p, text, out))
        return true;
    if (!at || !nexus__json_text_is(&p->doc, at - 1, NEXUS_S("$id")) || !text.n || text.p[0] != '/' || !p->name.n)
        return false;
    char *made = nexus__arena_get(&m->arena, p->name.n + text.n + 2);
    m->lost |= !made;
    if (!made)
        return false;
    int n = snprintf(made, p->name.n + text.n + 2, "/%.*s%.*s", (int)p->name.n, p->name.p, (int)text.n, text.p);
    *out = nexus__slice(made, (size_t)n);
    return true;
}

/* A value of a part: its text, with what has another name now. */
static void copy(merge *m, part *p, uint32_t v)
{
    nexus__json_writer *w = &m->w;
    const nexus__json_node *nodes = p->doc.nodes;
    uint32_t from = nodes[v].start;
    nexus_slice text, made;
    nexus__json_raw_value(w, NEXUS_S("")); /* the comma before it */
    for (uint32_t i = v; i < nodes[v].next; i++) {
        if (!nexus__json_is(&p->doc, i, NEXUS__JSON_STRING) || !nexus__json_text(&p->doc, i, &text) ||
            !changed_text(m, p, i, text, &made))
            continue;
        nexus__buf_append(w->out, p->doc.text.p + from, nodes[i].start - from);
        nexus__buf_char(w->out, '"');
        nexus__json_escape_append(w->out, made);
        nexus__buf_char(w->out, '"');
        from = nodes[i].end;
    }
    nexus__buf_append(w->out, p->doc.text.p + from, nodes[v].end - from);
}

static void put_tags(merge *m, part *p, uint32_t tags)
{
    nexus_slice tag;
    nexus__json_open(&m->w, '[');
    for (nexus__json_iter it = nexus__json_each(&p->doc, tags); nexus__json_step(&p->doc, &it);)
        if (nexus__json_text(&p->doc, it.value, &tag))
            nexus__json_text_value(&m->w, claim(m, &m->tags, p, tag));
    nexus__json_close(&m->w, ']');
}

/* The path's own parameters go to each of its operations: the others under that path may be another part's. */
static void put_parameters(merge *m, part *p, uint32_t own, uint32_t shared)
{
    nexus__json_key(&m->w, "parameters");
    nexus__json_open(&m->w, '[');
    for (nexus__json_iter it = nexus__json_each(&p->doc, own); nexus__json_step(&p->doc, &it);)
        copy(m, p, it.value);
    for (nexus__json_iter it = nexus__json_each(&p->doc, shared); nexus__json_step(&p->doc, &it);)
        copy(m, p, it.value);
    nexus__json_close(&m->w, ']');
}

/* Requirements name security schemes by the names of their members. */
static void put_security(merge *m, part *p, uint32_t list)
{
    nexus__json_key(&m->w, "security");
    nexus__json_open(&m->w, '[');
    for (nexus__json_iter one = nexus__json_each(&p->doc, list); nexus__json_step(&p->doc, &one);) {
        nexus__json_open(&m->w, '{');
        for (nexus__json_iter it = nexus__json_each(&p->doc, one.value); nexus__json_step(&p->doc, &it);) {
            nexus_slice name;
            char key[256], made[256];
            if (!it.object || !nexus__json_text(&p->doc, it.key, &name))
                continue;
            int n = snprintf(key, sizeof key, "securitySchemes/%.*s", (int)name.n, name.p);
            if (n > 0 && (size_t)n < sizeof key && nexus__map_get(&p->renamed, nexus__slice(key, (size_t)n))) {
                n = snprintf(made, sizeof made, "%.*s_%.*s", (int)p->name.n, p->name.p, (int)name.n, name.p);
                name = nexus__slice(made, (size_t)n < sizeof made ? (size_t)n : sizeof made - 1);
            }
            nexus__json_key_slice(&m->w, name);
            copy(m, p, it.value);
        }
        nexus__json_close(&m->w, '}');
    }
    nexus__json_close(&m->w, ']');
}

/* The members that are about names; false: it is copied as it is. */
static bool put_named(merge *m, part *p, const nexus__json_iter *it)
{
    nexus_slice text;
    if (nexus__json_text_is(&p->doc, it->key, NEXUS_S("parameters")) ||
        nexus__json_text_is(&p->doc, it->key, NEXUS_S("security")))
        return true; /* behind the others */
    if (nexus__json_text_is(&p->doc, it->key, NEXUS_S("operationId")) && nexus__json_text(&p->doc, it->value, &text)) {
        nexus__json_put_text(&m->w, "operationId", claim(m, &m->ids, p, text));
        return true;
    }
    if (!nexus__json_text_is(&p->doc, it->key, NEXUS_S("tags")))
        return false;
    nexus__json_key(&m->w, "tags");
    put_tags(m, p, it->value);
    return true;
}

static void put_operation(merge *m, const entry *e)
{
    part *p = e->owner;
    nexus_slice key;
    uint32_t own = nexus__json_get(&p->doc, e->operation, "parameters"), shared = nexus__json_get(&p->doc, e->item, "parameters");
    uint32_t security = nexus__json_get(&p->doc, e->operation, "security");
    nexus__json_key(&m->w, e->method);
    nexus__json_open(&m->w, '{');
    for (nexus__json_iter it = nexus__json_each(&p->doc, e->operation); nexus__json_step(&p->doc, &it);) {
        if (!it.object || put_named(m, p, &it) || !nexus__json_text(&p->doc, it.key, &key))
            continue;
        nexus__json_key_slice(&m->w, key);
        copy(m, p, it.value);
    }
    if (own != NEXUS__JSON_NONE || shared != NEXUS__JSON_NONE)
        put_parameters(m, p, own, shared);
    if (security == NEXUS__JSON_NONE)
        security = nexus__json_get(&p->doc, 0, "security");
    if (security != NEXUS__JSON_NONE)
        put_security(m, p, security);
    nexus__json_put_text(&m->w, "x-nexus-service", p->name);
    if (p->given->stale)
        nexus__json_put_bool(&m->w, "x-nexus-stale", true);
    nexus__json_close(&m->w, '}');
}

static void put_paths(merge *m)
{
    nexus__json_key(&m->w, "paths");
    nexus__json_open(&m->w, '{');
    for (entry *e = m->first; e; e = e->next) {
        nexus__json_key_slice(&m->w, e->path);
        nexus__json_open(&m->w, '{');
        for (entry *one = e; one; one = one->same_path)
            put_operation(m, one);
        nexus__json_close(&m->w, '}');
    }
    nexus__json_close(&m->w, '}');
}

static void put_component(merge *m, component *c, nexus_slice kind)
{
    if (!nexus__slice_starts(c->key, kind) || (!c->renamed && nexus__map_get(&m->components, c->key) != c))
        return;
    nexus_slice name = nexus__slice_from(c->key, kind.n);
    char made[512];
    if (c->renamed) {
        int n = snprintf(made, sizeof made, "%.*s_%.*s", (int)c->owner->name.n, c->owner->name.p, (int)name.n, name.p);
        name = nexus__slice(made, (size_t)n < sizeof made ? (size_t)n : sizeof made - 1);
    }
    nexus__json_key_slice(&m->w, name);
    copy(m, c->owner, c->value);
}

static void put_components(merge *m)
{
    static const nexus_slice kinds[] = {{"schemas/", 8},       {"responses/", 10}, {"parameters/", 11},
                                        {"examples/", 9},      {"requestBodies/", 14}, {"headers/", 8},
                                        {"securitySchemes/", 16}, {"links/", 6},   {"callbacks/", 10},
                                        {"pathItems/", 10}};
    nexus__json_key(&m->w, "components");
    nexus__json_open(&m->w, '{');
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        nexus__json_key_slice(&m->w, nexus__slice(kinds[k].p, kinds[k].n - 1));
        nexus__json_open(&m->w, '{');
        for (size_t i = 0; i < m->count; i++)
            for (size_t c = 0; c < m->parts[i].component_count; c++)
                put_component(m, &m->parts[i].components[c], kinds[k]);
        nexus__json_close(&m->w, '}');
    }
    nexus__json_close(&m->w, '}');
}

static void put_parts(merge *m)
{
    nexus__json_key(&m->w, "x-nexus-services");
    nexus__json_open(&m->w, '[');
    for (size_t i = 0; i < m->count; i++) {
        const part *p = &m->parts[i];
        nexus__json_open(&m->w, '{');
        nexus__json_put_text(&m->w, "name", p->name);
        nexus__json_put_text_c(&m->w, "state", !p->known ? "unknown" : p->given->stale ? "stale" : "current");
        nexus__json_close(&m->w, '}');
    }
    nexus__json_close(&m->w, ']');
}

/* People read it: which parts are not as they are now. */
static void put_description(merge *m, const char *text)
{
    nexus__buf words;
    nexus__buf_init(&words, m->alloc, 0);
    nexus__buf_text(&words, text ? text : "");
    for (size_t i = 0; i < m->count; i++) {
        const part *p = &m->parts[i];
        if (p->known && !p->given->stale)
            continue;
        nexus__buf_printf(&words, "%s%.*s is not reachable now%s", words.len ? " " : "", (int)p->name.n, p->name.p,
                          p->known ? ": what is shown of it is the last that is known." : ", and nothing is known of it.");
    }
    if (words.len)
        nexus__json_put_text(&m->w, "description", nexus__buf_slice(&words));
    nexus__buf_free(&words);
}

static nexus_status write_all(merge *m, nexus__buf *out, const nexus_openapi_opts *opts)
{
    m->w = nexus__json_writer_on(out);
    nexus__json_open(&m->w, '{');
    nexus__json_put_text_c(&m->w, "openapi", "3.1.0");
    nexus__json_key(&m->w, "info");
    nexus__json_open(&m->w, '{');
    nexus__json_put_text_c(&m->w, "title", opts->title ? opts->title : "API");
    nexus__json_put_text_c(&m->w, "version", opts->version ? opts->version : "0");
    put_description(m, opts->description);
    nexus__json_close(&m->w, '}');
    nexus__json_key(&m->w, "servers");
    nexus__json_open(&m->w, '[');
    nexus__json_open(&m->w, '{');
    nexus__json_put_text_c(&m->w, "url", opts->server_url ? opts->server_url : "/");
    nexus__json_close(&m->w, '}');
    nexus__json_close(&m->w, ']');
    put_paths(m);
    put_components(m);
    put_parts(m);
    nexus__json_close(&m->w, '}');
    return out->status || m->lost ? nexus__nomem() : NEXUS_OK;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static nexus_status read_all(merge *m, const nexus_openapi_part *given)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < m->count; i++) {
        nexus__json_init(&m->parts[i].doc, m->alloc);
        nexus__map_init(&m->parts[i].renamed, m->alloc);
    }
    for (size_t i = 0; i < m->count && !status; i++) {
        part *p = &m->parts[i];
        status = read_part(m, p, &given[i]);
        if (status == NEXUS_ETOOBIG) { /* counts as not known */
            p->known = false;
            status = NEXUS_OK;
        }
        if (!status && p->known)
            status = settle_names(m, p);
        if (!status && p->known)
            status = find_operations(m, p);
    }
    return status;
}

nexus_status nexus_openapi_merge(char **out, size_t *n, const nexus_openapi_part *parts, size_t count,
                                 const nexus_openapi_opts *given)
{
    nexus_openapi_opts opts = NEXUS_OPENAPI_OPTS_INIT;
    if (given)
        memcpy(&opts, given, given->size < sizeof opts ? given->size : sizeof opts);
    merge m = {.alloc = opts.alloc, .count = count, .last = &m.first};
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__arena_init(&m.arena, opts.alloc, 65536);
    nexus__map_init(&m.components, opts.alloc);
    nexus__map_init(&m.ids, opts.alloc);
    nexus__map_init(&m.tags, opts.alloc);
    nexus__map_init(&m.paths, opts.alloc);
    m.parts = nexus__calloc(opts.alloc, count + 1, sizeof *m.parts);
    nexus_status status = m.parts ? read_all(&m, parts) : nexus__nomem();
    if (!status)
        status = write_all(&m, &text, &opts);
    if (!status && !(*out = nexus__buf_take(&text, n)))
        status = nexus__nomem();
    nexus__buf_free(&text);
    for (size_t i = 0; m.parts && i < count; i++) {
        nexus__json_free(&m.parts[i].doc);
        nexus__map_free(&m.parts[i].renamed);
    }
    nexus__free(opts.alloc, m.parts);
    nexus__map_free(&m.components);
    nexus__map_free(&m.ids);
    nexus__map_free(&m.tags);
    nexus__map_free(&m.paths);
    nexus__arena_free(&m.arena);
    return status;
}
