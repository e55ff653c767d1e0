/* From template to nodes and leaves. */
#include "router/tree.h"

#include "base/codec.h"
#include "base/status.h"

enum { CHAIN_MAX = 6 }; /* children compared one by one; from here on a table is faster */

typedef struct segment {
    enum nexus__segment_kind kind;
    nexus_slice text; /* literal in canonical form, or the parameter's name */
} segment;

static bool name_ok(nexus_slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = nexus__ascii_lower(name.p[i]);
        if (!((c >= 'a' && c <= 'z') || c == '_' || (i > 0 && ((c >= '0' && c <= '9') || c == '-'))))
            return false;
    }
    return name.n > 0;
}

static nexus_status parse_param(const char *path, nexus_slice inner, bool last, segment *out)
{
    static const struct {
        const char *suffix;
        enum nexus__segment_kind kind;
    } types[] = {{":int", NEXUS__SEGMENT_INT},
                 {":uuid", NEXUS__SEGMENT_UUID},
                 {":version", NEXUS__SEGMENT_VERSION},
                 {"...", NEXUS__SEGMENT_REST}};
    out->kind = NEXUS__SEGMENT_ANY;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        nexus_slice suffix = nexus__slice_c(types[i].suffix);
        if (!nexus__slice_ends(inner, suffix))
            continue;
        out->kind = types[i].kind;
        inner.n -= suffix.n;
        break;
    }
    if (!name_ok(inner))
        return nexus__fail(NEXUS_EINVAL,
                           "route %s: \"{%.*s}\" is no parameter; write {name}, {name:int}, {name:uuid}, "
                           "{name:version} or {name...}",
                           path, (int)inner.n, inner.p);
    if (out->kind == NEXUS__SEGMENT_REST && !last)
        return nexus__fail(NEXUS_EINVAL, "route %s: {%.*s...} must be the last segment", path, (int)inner.n, inner.p);
    out->text = inner;
    return NEXUS_OK;
}

/* A literal may be written with or without escapes; it is kept the way canonical paths have it. */
static nexus_status parse_text(nexus__arena *arena, const char *path, nexus_slice text, segment *out)
{
    char raw[3 * NEXUS__ROUTER_SEGMENT_BYTES_MAX + 1], canonical[sizeof raw];
    size_t n = 0;
    if (text.n > NEXUS__ROUTER_SEGMENT_BYTES_MAX)
        return nexus__fail(NEXUS_EINVAL, "route %s: a segment is over %d bytes", path, NEXUS__ROUTER_SEGMENT_BYTES_MAX);
    raw[n++] = '/';
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];
        if (c == '{' || c == '}')
            return nexus__fail(NEXUS_EINVAL, "route %s: braces must enclose a whole segment", path);
        if (c > ' ' && c < 0x7f) {
            raw[n++] = (char)c;
            continue;
        }
        static const char digits[] = "0123456789ABCDEF";
        raw[n++] = '%';
        raw[n++] = digits[c >> 4];
        raw[n++] = digits[c & 15];
    }
    nexus_slice form;
    if (nexus_path_canonical(nexus__slice(raw, n), NEXUS_PATH_AMBIGUOUS_PASS, canonical, &form) ||
        (form.n == 1 && text.n > 0))
        return nexus__fail(NEXUS_EINVAL, "route %s: \"%.*s\" cannot be a path segment", path, (int)text.n, text.p);
    *out = (segment){NEXUS__SEGMENT_TEXT, nexus__arena_copy(arena, nexus__slice_from(form, 1))};
    return out->text.p ? NEXUS_OK : nexus__nomem();
}

static nexus_status parse_template(nexus__arena *arena, const char *path, bool prefix, segment *segments,
                                   uint32_t *count)
{
    nexus_slice rest = nexus__slice_c(path);
    if (rest.n == 0 || rest.p[0] != '/')
        return nexus__fail(NEXUS_EINVAL, "route \"%s\": the path must start with \"/\"", path ? path : "");
    *count = 0;
    if (prefix && rest.p[rest.n - 1] == '/')
        rest.n--; /* "/api/" as a prefix is "/api"; "/" is everything */
    if (rest.n == 0)
        return NEXUS_OK;
    rest = nexus__slice_from(rest, 1);
    for (bool last = false; !last;) {
        if (*count == NEXUS__ROUTER_SEGMENTS_MAX)
            return nexus__fail(NEXUS_EINVAL, "route %s: more than %d segments", path, NEXUS__ROUTER_SEGMENTS_MAX);
        last = nexus__slice_find(rest, '/') == rest.n;
        nexus_slice text = nexus__slice_cut(&rest, '/');
        segment *s = &segments[(*count)++];
        bool param = text.n >= 2 && text.p[0] == '{' && text.p[text.n - 1] == '}';
        if (text.n == 0 && !last)
            return nexus__fail(NEXUS_EINVAL, "route %s: empty segment", path);
        nexus_status status =
            param ? parse_param(path, nexus__slice(text.p + 1, text.n - 2), last, s) : parse_text(arena, path, text, s);
        if (status)
            return status;
        if (prefix && s->kind == NEXUS__SEGMENT_REST)
            return nexus__fail(NEXUS_EINVAL, "route %s: a prefix needs no {%.*s...}", path, (int)s->text.n, s->text.p);
    }
    return NEXUS_OK;
}

static nexus__router_node *node_new(nexus__arena *arena, const nexus__router_node *parent, nexus_slice text)
{
    nexus__router_node *node = nexus__arena_get(arena, sizeof *node);
    if (node)
        *node = (nexus__router_node){.text = text, .depth = parent->depth + 1};
    return node;
}

static nexus_status build_index(nexus__arena *arena, nexus__router_node *node)
{
    nexus_status status = NEXUS_OK;
    for (nexus__router_node *child = node->texts; child && !status; child = child->sibling)
        status = nexus__router_index_put(&node->index, arena, child);
    return status;
}

static nexus_status text_child(nexus__arena *arena, nexus__router_node *node, nexus_slice text, nexus__router_node **out)
{
    if (node->index.slots)
        *out = nexus__router_index_get(&node->index, text);
    else
        for (*out = node->texts; *out && !nexus__slice_eq((*out)->text, text);)
            *out = (*out)->sibling;
    if (*out)
        return NEXUS_OK;
    nexus__router_node *child = node_new(arena, node, text);
    if (!child)
        return nexus__nomem();
    child->sibling = node->texts;
    node->texts = child;
    node->text_count++;
    *out = child;
    if (node->index.slots)
        return nexus__router_index_put(&node->index, arena, child);
    return node->text_count > CHAIN_MAX ? build_index(arena, node) : NEXUS_OK;
}

static nexus_status child_of(nexus__arena *arena, nexus__router_node *node, const segment *s, nexus__router_node **out)
{
    if (s->kind == NEXUS__SEGMENT_TEXT)
        return text_child(arena, node, s->text, out);
    if (!node->typed[s->kind])
        node->typed[s->kind] = node_new(arena, node, (nexus_slice){0});
    *out = node->typed[s->kind];
    return *out ? NEXUS_OK : nexus__nomem();
}

static const char *copy_text(nexus__arena *arena, const char *text, bool *failed)
{
    if (!text)
        return NULL;
    const char *copy = nexus__arena_copy(arena, nexus__slice_c(text)).p;
    *failed |= !copy;
    return copy;
}

nexus_status nexus__router_leaf_init(nexus__arena *arena, nexus__router_leaf *leaf, const nexus_router_rule *rule)
{
    bool failed = false;
    *leaf = (nexus__router_leaf){.rule = *rule};
    leaf->rule.path = copy_text(arena, rule->path, &failed);
    leaf->rule.id = copy_text(arena, rule->id ? rule->id : rule->path, &failed);
    leaf->rule.conditions = copy_text(arena, rule->conditions, &failed);
    leaf->rule.host = NULL; /* the tree's */
    if (!rule->methods)
        leaf->rule.methods = NEXUS_METHOD_ANY;
    return failed ? nexus__nomem() : NEXUS_OK;
}

static nexus__router_leaf *leaf_new(nexus__arena *arena, const nexus_router_rule *rule, const segment *segments,
                                    uint32_t count, uint32_t captures)
{
    nexus__router_leaf *leaf = nexus__arena_get(arena, sizeof *leaf + captures * sizeof leaf->captures[0]);
    bool failed = !leaf || nexus__router_leaf_init(arena, leaf, rule);
    for (uint32_t i = 0; !failed && i < count; i++) {
        if (segments[i].kind == NEXUS__SEGMENT_TEXT)
            continue;
        uint32_t c = leaf->capture_count++;
        leaf->captures[c].name = nexus__arena_copy(arena, segments[i].text);
        leaf->captures[c].segment = i;
        leaf->captures[c].rest = segments[i].kind == NEXUS__SEGMENT_REST;
        failed = !leaf->captures[c].name.p;
    }
    return failed ? NULL : leaf;
}

bool nexus__router_before(const nexus_router_rule *a, const nexus_router_rule *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->predicates != b->predicates)
        return a->predicates > b->predicates;
    return strcmp(a->id, b->id) < 0;
}

bool nexus__router_equal(const nexus_router_rule *a, const nexus_router_rule *b)
{
    return a->methods & b->methods && a->priority == b->priority && a->predicates == b->predicates &&
           strcmp(a->conditions ? a->conditions : "", b->conditions ? b->conditions : "") == 0;
}

nexus_status nexus__router_conflict(const nexus_router_rule *a, const nexus_router_rule *b)
{
    return nexus__fail(NEXUS_ECONFLICT,
                       "routes %s (%s) and %s (%s) are equal; change one's path, methods, "
                       "priority or conditions",
                       a->id, a->path, b->id, b->path);
}

static nexus_status leaf_place(nexus__router_leaf **list, nexus__router_leaf *leaf)
{
    for (nexus__router_leaf *other = *list; other; other = other->next)
        if (nexus__router_equal(&other->rule, &leaf->rule))
            return nexus__router_conflict(&other->rule, &leaf->rule);
    while (*list && nexus__router_before(&(*list)->rule, &leaf->rule))
        list = &(*list)->next;
    leaf->next = *list;
    *list = leaf;
    return NEXUS_OK;
}

static nexus_status check_names(const char *path, const segment *segments, uint32_t count, uint32_t *captures)
{
    *captures = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (segments[i].kind == NEXUS__SEGMENT_TEXT)
            continue;
        for (uint32_t k = 0; k < i; k++)
            if (segments[k].kind != NEXUS__SEGMENT_TEXT && nexus__slice_eq(segments[k].text, segments[i].text))
                return nexus__fail(NEXUS_EINVAL, "route %s: parameter %.*s stands twice", path, (int)segments[i].text.n,
                                   segments[i].text.p);
        if (++*captures > NEXUS_ROUTER_CAPTURES_MAX)
            return nexus__fail(NEXUS_EINVAL, "route %s: more than %d parameters", path, NEXUS_ROUTER_CAPTURES_MAX);
    }
    return NEXUS_OK;
}

nexus_status nexus__router_insert(nexus__arena *arena, nexus__router_tree *tree, const nexus_router_rule *rule,
                                  const nexus_alloc *alloc)
{
    segment segments[NEXUS__ROUTER_SEGMENTS_MAX];
    uint32_t count = 0, captures;
    if (rule->flags & NEXUS_ROUTER_REGEX)
        return nexus__router_pattern_insert(arena, tree, rule, alloc);
    bool prefix = rule->flags & NEXUS_ROUTER_PREFIX;
    nexus_status status = parse_template(arena, rule->path, prefix, segments, &count);
    if (status || (status = check_names(rule->path, segments, count, &captures)))
        return status;
    bool rest = count > 0 && segments[count - 1].kind == NEXUS__SEGMENT_REST;
    nexus__router_node *node = &tree->root;
    for (uint32_t i = 0; i + rest < count; i++)
        if ((status = child_of(arena, node, &segments[i], &node)))
            return status;
    nexus__router_leaf *leaf = leaf_new(arena, rule, segments, count, captures);
    if (!leaf)
        return nexus__nomem();
    tree->ranked |= captures > 0 && (rule->priority || rule->predicates);
    return leaf_place(rest ? &node->rest : prefix ? &node->prefix : &node->exact, leaf);
}

void nexus__router_tree_free(nexus__router_tree *tree)
{
    for (nexus__router_pattern *p = tree->patterns; p; p = p->next)
        nexus__regex_free(p->re);
}
