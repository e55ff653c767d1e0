/*
 * The walk. Segments are split once; at each node the literal child is tried first, then int, uuid, version, any, then
 * a rest rule. A tree node stands at one depth, so a walk visits each at most once whatever the path holds.
 * Prefix rules seen on the way are remembered by depth and tried afterwards, longest first; then regular expressions.
 *
 * The first template that fits is the most specific one, and wins unless another has a higher priority or more
 * conditions. Trees where none has either need not look further.
 */
#include "router/tree.h"

enum { CHILDREN = NEXUS__SEGMENT_ANY + 1 }; /* of one node, that a segment may lead to */

static bool is_int(nexus_slice s)
{
    size_t i = s.n > 1 && s.p[0] == '-';
    if (s.n == 0 || s.n - i > 18)
        return false;
    for (; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return true;
}

static bool is_uuid(nexus_slice s)
{
    if (s.n != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        char c = nexus__ascii_lower(s.p[i]);
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

/* "v1", "v2.1", "v2026-01": what an API writes in front of its paths. */
static bool is_version(nexus_slice s)
{
    if (s.n < 2 || s.n > 33 || s.p[0] != 'v' || s.p[1] < '0' || s.p[1] > '9')
        return false;
    for (size_t i = 2; i < s.n; i++) {
        char c = nexus__ascii_lower(s.p[i]);
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '.' || c == '-' || c == '_'))
            return false;
    }
    return true;
}

void nexus__router_split(nexus__router_walk *w, nexus_slice path)
{
    w->path = path;
    w->count = 0;
    size_t at = 1;
    for (;;) {
        w->starts[w->count++] = (uint32_t)at;
        const char *slash = at < path.n ? memchr(path.p + at, '/', path.n - at) : NULL;
        at = slash ? (size_t)(slash - path.p) + 1 : path.n + 1;
        if (!slash || w->count > NEXUS__ROUTER_SEGMENTS_MAX)
            break;
    }
    w->starts[w->count] = (uint32_t)at;
    w->whole = at == path.n + 1;
}

static nexus_slice segment_at(const nexus__router_walk *w, uint32_t i)
{
    return nexus__slice(w->path.p + w->starts[i], w->starts[i + 1] - 1 - w->starts[i]);
}

const nexus__router_leaf *nexus__router_try(nexus__router_walk *w, const nexus__router_leaf *leaf)
{
    uint32_t wanted = w->method == NEXUS_METHOD_HEAD ? NEXUS_METHOD_HEAD | NEXUS_METHOD_GET : w->method;
    for (; leaf; leaf = leaf->next) {
        if (w->accept && leaf->rule.predicates && !w->accept(leaf->rule.value, w->user_data))
            continue;
        w->hit = true;
        if (leaf->rule.methods & wanted)
            return leaf;
        w->methods |= leaf->rule.methods;
    }
    return NULL;
}

static const nexus__router_node *text_child(const nexus__router_node *node, nexus_slice text)
{
    if (node->index.slots)
        return nexus__router_index_get(&node->index, text);
    const nexus__router_node *child = node->texts;
    while (child && !nexus__slice_eq(child->text, text))
        child = child->sibling;
    return child;
}

static void note_prefix(nexus__router_walk *w, const nexus__router_node *node)
{
    if (node->depth == 0) {
        w->prefix_root = true;
        return;
    }
    uint64_t bit = (uint64_t)1 << (node->depth - 1);
    if (w->prefix_depths & bit)
        w->prefix_again |= bit;
    else
        w->prefixes[node->depth] = node;
    w->prefix_depths |= bit;
}

/* The children that segment i allows, in order of precedence; returns how many. */
static int children_of(const nexus__router_walk *w, const nexus__router_node *node,
                       const nexus__router_node *out[CHILDREN])
{
    nexus_slice text = segment_at(w, node->depth);
    int n = 0;
    if ((out[n] = text_child(node, text)))
        n++;
    if ((out[n] = node->typed[NEXUS__SEGMENT_INT]) && is_int(text))
        n++;
    if ((out[n] = node->typed[NEXUS__SEGMENT_UUID]) && is_uuid(text))
        n++;
    if ((out[n] = node->typed[NEXUS__SEGMENT_VERSION]) && is_version(text))
        n++;
    if (n < CHILDREN && (out[n] = node->typed[NEXUS__SEGMENT_ANY]) && text.n > 0)
        n++;
    return n;
}

static const nexus__router_leaf *visit(nexus__router_walk *w, const nexus__router_node *node)
{
    if (node->prefix)
        note_prefix(w, node);
    if (node->depth == w->count)
        return w->whole ? nexus__router_try(w, node->exact) : NULL;
    const nexus__router_node *children[CHILDREN];
    const nexus__router_leaf *found = NULL;
    int n = children_of(w, node, children);
    for (int i = 0; i < n && !found; i++)
        found = visit(w, children[i]);
    return found || !node->rest ? found : nexus__router_try(w, node->rest);
}

/* The better of two in rank; the first where they are equal, since it is the more specific. */
static const nexus__router_leaf *better(const nexus__router_leaf *a, const nexus__router_leaf *b)
{
    if (!a || !b)
        return a ? a : b;
    const nexus_router_rule *x = &a->rule, *y = &b->rule;
    bool second = y->priority != x->priority ? y->priority > x->priority : y->predicates > x->predicates;
    return second ? b : a;
}

/* The rule whose every segment is a literal. */
static const nexus__router_leaf *literal(nexus__router_walk *w, const nexus__router_node *node)
{
    while (node && node->depth < w->count)
        node = text_child(node, segment_at(w, node->depth));
    return node && w->whole ? nexus__router_try(w, node->exact) : NULL;
}

/* For trees in which rank goes before what is more specific: all that fit, and the best of them. */
static const nexus__router_leaf *visit_all(nexus__router_walk *w, const nexus__router_node *node)
{
    if (node->prefix)
        note_prefix(w, node);
    if (node->depth == w->count)
        return w->whole ? nexus__router_try(w, node->exact) : NULL;
    const nexus__router_node *children[CHILDREN];
    const nexus__router_leaf *best = NULL;
    int n = children_of(w, node, children);
    for (int i = 0; i < n; i++)
        best = better(best, visit_all(w, children[i]));
    return node->rest ? better(best, nexus__router_try(w, node->rest)) : best;
}

/* For the rare tree in which one path meets several prefixes of one length. */
static const nexus__router_leaf *prefixes_at(nexus__router_walk *w, const nexus__router_node *node, uint32_t depth)
{
    if (node->depth == depth)
        return nexus__router_try(w, node->prefix);
    const nexus__router_node *children[CHILDREN];
    const nexus__router_leaf *best = NULL;
    int n = node->depth < w->count ? children_of(w, node, children) : 0;
    for (int i = 0; i < n; i++)
        best = better(best, prefixes_at(w, children[i], depth));
    return best;
}

static const nexus__router_leaf *walk_prefixes(nexus__router_walk *w, const nexus__router_node *root)
{
    const nexus__router_leaf *found = NULL;
    while (!found && w->prefix_depths) {
        uint32_t depth = 64 - (uint32_t)__builtin_clzll(w->prefix_depths);
        uint64_t bit = (uint64_t)1 << (depth - 1);
        found = w->prefix_again & bit ? prefixes_at(w, root, depth) : nexus__router_try(w, w->prefixes[depth]->prefix);
        w->prefix_depths &= ~bit;
    }
    return found || !w->prefix_root ? found : nexus__router_try(w, root->prefix);
}

const nexus__router_leaf *nexus__router_walk_tree(nexus__router_walk *w, const nexus__router_tree *tree)
{
    const nexus__router_leaf *found = NULL;
    w->prefix_depths = w->prefix_again = 0;
    w->prefix_root = false;
    w->pattern = NULL;
    if (tree->ranked)
        found = literal(w, &tree->root);
    if (!found)
        found = tree->ranked ? visit_all(w, &tree->root) : visit(w, &tree->root);
    if (!found)
        found = walk_prefixes(w, &tree->root);
    return found ? found : nexus__router_walk_patterns(w, tree);
}
