/* Operations of the routes file, made into a tree. */
#include <stdio.h>

#include "base/status.h"
#include "gateway/config/rows.h"
#include "gateway/transform_node.h"

typedef nexus__transform_node node;

/* The members of one operation; which of them it needs is told by its row. */
typedef struct operation {
    nexus_slice op, path, to;
    nexus__text_list names;
    uint32_t value, ops; /* nodes; 0 = not there (the document's own value is neither) */
    nexus_slice text;
    bool has_path, has_text, has_names;
} operation;

/* --- nodes -------------------------------------------------------------------------------------------------------- */

static bool quoted(nexus__loader *l, nexus_slice text, nexus_slice *out)
{
    nexus__buf buf;
    nexus__buf_init(&buf, l->arena->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    nexus__json_text_value(&w, text);
    *out = nexus__arena_copy(l->arena, nexus__buf_slice(&buf));
    bool good = buf.status == NEXUS_OK && out->p;
    nexus__buf_free(&buf);
    return good;
}

static node *node_new(nexus__loader *l, nexus_slice name)
{
    uint64_t index;
    node *n = nexus__arena_get(l->arena, sizeof *n);
    if (!n)
        return NULL;
    *n = (node){.index = UINT32_MAX};
    n->name = nexus__arena_copy(l->arena, name);
    if (!n->name.p || !quoted(l, name, &n->key))
        return NULL;
    if (nexus__parse_u64(name, &index) && index < UINT32_MAX && (name.n == 1 || name.p[0] != '0'))
        n->index = (uint32_t)index;
    return n;
}

static nexus_status child_of(nexus__loader *l, uint32_t at, node *parent, nexus_slice name, node **out)
{
    node **link = &parent->first;
    if (parent->each)
        return nexus__loader_fail(l, at, "\"map\" is for every element of that place; nothing else can go into it");
    if (parent->action == NEXUS__TRANSFORM_SET || parent->action == NEXUS__TRANSFORM_REMOVE || parent->yields_to)
        return nexus__loader_fail(l, at, "lies inside of what another operation sets, removes or puts in its place");
    while (*link && !nexus__slice_eq((*link)->name, name))
        link = &(*link)->next;
    if (!*link) {
        if (parent->children++ == NEXUS__TRANSFORM_NAMES)
            return nexus__loader_fail(l, at, "over %d names in one place", NEXUS__TRANSFORM_NAMES);
        *link = node_new(l, name);
    }
    *out = *link;
    return *link ? NEXUS_OK : nexus__nomem();
}

/* "~1" is "/", "~0" is "~"; false: another "~". */
static bool unescape(nexus_slice token, char out[static 256], nexus_slice *name)
{
    size_t n = 0;
    if (token.n > 255)
        return false;
    for (size_t i = 0; i < token.n; i++) {
        char c = token.p[i];
        if (c == '~') {
            if (++i == token.n || (token.p[i] != '0' && token.p[i] != '1'))
                return false;
            c = token.p[i] == '0' ? '~' : '/';
        }
        out[n++] = c;
    }
    *name = nexus__slice(out, n);
    return true;
}

/* From `from` along the pointer. set: every node on the way holds something that is made. */
static nexus_status follow(nexus__loader *l, uint32_t at, node *from, nexus_slice pointer, bool set, node **out)
{
    char space[256];
    nexus_slice name;
    uint32_t depth = 0;
    if (pointer.n && pointer.p[0] != '/')
        return nexus__loader_fail(l, at, "a path is a JSON pointer: it begins with \"/\", or is empty for the whole");
    from->makes |= set;
    while (pointer.n) {
        pointer = nexus__slice_from(pointer, 1);
        size_t n = nexus__slice_find(pointer, '/');
        if (!unescape(nexus__slice(pointer.p, n), space, &name))
            return nexus__loader_fail(l, at, "a name of a path has up to 255 bytes, with ~ as ~0 and / as ~1");
        pointer = nexus__slice_from(pointer, n);
        if (++depth > NEXUS__TRANSFORM_DEPTH)
            return nexus__loader_fail(l, at, "a path has at most %d names", NEXUS__TRANSFORM_DEPTH);
        nexus_status status = child_of(l, at, from, name, &from);
        if (status)
            return status;
        if (set && from->action == NEXUS__TRANSFORM_RENAME)
            return nexus__loader_fail(l, at, "sets something inside of what another operation renames");
        from->makes |= set;
        from->kept = true;
    }
    *out = from;
    return NEXUS_OK;
}

/* --- operations --------------------------------------------------------------------------------------------------- */

typedef nexus_status apply_fn(nexus__loader *l, uint32_t at, node *root, const operation *o, nexus__transform *t,
                              uint32_t depth);

static nexus_status free_place(nexus__loader *l, uint32_t at, const node *n, bool whole)
{
    if (n->action != NEXUS__TRANSFORM_NONE || n->yields_to || (whole && (n->first || n->each || n->pick)))
        return nexus__loader_fail(l, at, "another operation is about the same place");
    return NEXUS_OK;
}

static nexus_status apply_set(nexus__loader *l, uint32_t at, node *root, const operation *o, nexus__transform *t,
                              uint32_t depth)
{
    node *n;
    (void)t;
    (void)depth;
    if (!o->value == !o->has_text)
        return nexus__loader_fail(l, at, "needs \"value\" (any JSON) or \"text\" (with placeholders)");
    nexus_status status = follow(l, at, root, o->path, true, &n);
    if (!status)
        status = free_place(l, at, n, true);
    if (status)
        return status;
    n->action = NEXUS__TRANSFORM_SET;
    n->fills = o->has_text;
    if (o->has_text)
        return nexus__gw_load_pattern(l, at, o->text, &n->pattern);
    n->value = nexus__arena_copy(l->arena, nexus__json_raw(l->doc, o->value));
    return n->value.p ? NEXUS_OK : nexus__nomem();
}

static nexus_status apply_remove(nexus__loader *l, uint32_t at, node *root, const operation *o, nexus__transform *t,
                                 uint32_t depth)
{
    node *n;
    (void)t;
    (void)depth;
    nexus_status status = follow(l, at, root, o->path, false, &n);
    if (!status && n == root)
        return nexus__loader_fail(l, at, "the whole document cannot be removed");
    if (!status)
        status = free_place(l, at, n, true);
    if (!status)
        n->action = NEXUS__TRANSFORM_REMOVE;
    return status;
}

static nexus_status apply_rename(nexus__loader *l, uint32_t at, node *root, const operation *o, nexus__transform *t,
                                 uint32_t depth)
{
    node *n, *parent, *target;
    (void)t;
    (void)depth;
    nexus_slice up = o->path;
    while (up.n && up.p[up.n - 1] != '/')
        up.n--;
    if (!up.n || !o->to.n)
        return nexus__loader_fail(l, at, "needs a \"path\" of a member and \"to\", its new name");
    up.n--;
    nexus_status status = follow(l, at, root, up, false, &parent);
    if (!status)
        status = follow(l, at, root, o->path, false, &n);
    if (!status)
        status = child_of(l, at, parent, o->to, &target);
    if (!status)
        status = free_place(l, at, n, false);
    if (!status)
        status = free_place(l, at, target, true);
    if (status)
        return status;
    if (n->makes)
        return nexus__loader_fail(l, at, "another operation sets something inside of it");
    if (n == target)
        return nexus__loader_fail(l, at, "the new name is the old one");
    n->action = NEXUS__TRANSFORM_RENAME;
    n->to = target->name;
    n->to_key = target->key;
    target->yields_to = n;
    return NEXUS_OK;
}

static nexus_status apply_pick(nexus__loader *l, uint32_t at, node *root, const operation *o, nexus__transform *t,
                               uint32_t depth)
{
    node *n, *child;
    (void)t;
    (void)depth;
    if (!o->has_names)
        return nexus__loader_fail(l, at, "needs \"names\", the members that stay");
    nexus_status status = follow(l, at, root, o->path, false, &n);
    if (!status && (n->action == NEXUS__TRANSFORM_SET || n->action == NEXUS__TRANSFORM_REMOVE || n->pick || n->each))
        return nexus__loader_fail(l, at, "another operation is about the same place");
    for (uint32_t i = 0; i < o->names.count && !status; i++) {
        status = child_of(l, at, n, o->names.items[i], &child);
        if (!status)
            child->kept = true;
    }
    if (!status)
        n->pick = true;
    return status;
}

static nexus_status load_list(nexus__loader *l, uint32_t value, node *root, nexus__transform *t, uint32_t depth);

static nexus_status apply_map(nexus__loader *l, uint32_t at, node *root, const operation *o, nexus__transform *t,
                              uint32_t depth)
{
    node *n;
    if (!o->ops)
        return nexus__loader_fail(l, at, "needs \"ops\", what is done to every element");
    if (depth == 4)
        return nexus__loader_fail(l, at, "\"map\" goes four deep at most");
    nexus_status status = follow(l, at, root, o->path, false, &n);
    if (!status && (n->each || n->first || n->pick || n->action == NEXUS__TRANSFORM_SET ||
                    n->action == NEXUS__TRANSFORM_REMOVE))
        return nexus__loader_fail(l, at, "another operation is about the same place");
    if (status)
        return status;
    node *each = node_new(l, NEXUS_S(""));
    if (!each)
        return nexus__nomem();
    size_t mark = nexus__loader_push(l, NEXUS_S("ops"));
    status = load_list(l, o->ops, each, t, depth + 1);
    nexus__loader_pop(l, mark);
    n->each = each;
    return status;
}

static nexus_status load_node(nexus__loader *l, uint32_t value, void *out)
{
    (void)l;
    *(uint32_t *)out = value;
    return NEXUS_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    apply_fn *fn;
    const char *members; /* beside "op" and "path" */
} kinds[] = {{"set", apply_set, "value text"},
             {"remove", apply_remove, ""},
             {"rename", apply_rename, "to"},
             {"pick", apply_pick, "names"},
             {"map", apply_map, "ops"}};

static nexus_status check_members(nexus__loader *l, uint32_t value, const char *kind, nexus_slice members)
{
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        bool known = nexus__json_text_is(l->doc, it.key, NEXUS_S("op")) ||
                     nexus__json_text_is(l->doc, it.key, NEXUS_S("path"));
        for (nexus_slice rest = members; rest.n && !known;)
            known = nexus__json_text_is(l->doc, it.key, nexus__slice_cut(&rest, ' '));
        if (!known)
            return nexus__loader_fail(l, it.key, "is not for \"%s\"", kind);
    }
    return NEXUS_OK;
}

static nexus_status load_operation(nexus__loader *l, uint32_t value, node *root, nexus__transform *t, uint32_t depth)
{
    static const nexus__loader_row rows[] = {
        {"op", NEXUS__LOADER_TEXT, offsetof(operation, op), 0, 0, NULL, true},
        ROW("path", TEXT, operation, path, 0, 0),
        ROW("to", TEXT, operation, to, 0, 0),
        ROW("text", TEXT, operation, text, 0, 0),
        CALL("names", nexus__loader_texts, operation, names),
        CALL("value", load_node, operation, value),
        CALL("ops", load_node, operation, ops),
    };
    const char *names[COUNT(kinds)];
    operation o = {0};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), &o);
    if (status)
        return status;
    o.has_text = nexus__json_get(l->doc, value, "text") != NEXUS__JSON_NONE;
    o.has_names = nexus__json_get(l->doc, value, "names") != NEXUS__JSON_NONE;
    t->count++;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        names[i] = kinds[i].name;
        if (!nexus__slice_eq_c(o.op, kinds[i].name))
            continue;
        status = check_members(l, value, kinds[i].name, nexus__slice_c(kinds[i].members));
        return status ? status : kinds[i].fn(l, value, root, &o, t, depth);
    }
    return nexus__loader_fail(l, value, "no operation \"%s\"; the nearest is \"%s\"", o.op.p,
                              nexus__nearest(o.op, names, COUNT(names)));
}

static nexus_status load_list(nexus__loader *l, uint32_t value, node *root, nexus__transform *t, uint32_t depth)
{
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY))
        return nexus__loader_fail(l, value, "must be an array of operations");
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        size_t mark = nexus__loader_push_index(l, it.index);
        nexus_status status = load_operation(l, it.value, root, t, depth);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

nexus_status nexus__transform_load(nexus__loader *l, uint32_t value, void *out)
{
    nexus__transform *t = out;
    t->root = node_new(l, NEXUS_S(""));
    return t->root ? load_list(l, value, t->root, t, 0) : nexus__nomem();
}

static nexus_status patterns_of(const node *n, nexus__transform_pattern_fn *fn, void *context)
{
    nexus_status status = n->fills ? fn(&n->pattern, context) : NEXUS_OK;
    if (!status && n->each)
        status = patterns_of(n->each, fn, context);
    for (const node *child = n->first; child && !status; child = child->next)
        status = patterns_of(child, fn, context);
    return status;
}

nexus_status nexus__transform_patterns(const nexus__transform *t, nexus__transform_pattern_fn *fn, void *context)
{
    return patterns_of(t->root, fn, context);
}
