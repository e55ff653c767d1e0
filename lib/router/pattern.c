/* Rules by regular expression: asked last, one after the other, the best first. */
#include "base/status.h"
#include "router/tree.h"

static nexus_status place(nexus__router_tree *tree, nexus__router_pattern *p)
{
    nexus__router_pattern **list = &tree->patterns;
    for (nexus__router_pattern *other = *list; other; other = other->next)
        if (strcmp(other->leaf->rule.path, p->leaf->rule.path) == 0 &&
            nexus__router_equal(&other->leaf->rule, &p->leaf->rule))
            return nexus__router_conflict(&other->leaf->rule, &p->leaf->rule);
    while (*list && nexus__router_before(&(*list)->leaf->rule, &p->leaf->rule))
        list = &(*list)->next;
    p->next = *list;
    *list = p;
    return NEXUS_OK;
}

nexus_status nexus__router_pattern_insert(nexus__arena *arena, nexus__router_tree *tree, const nexus_router_rule *rule,
                                          const nexus_alloc *alloc)
{
    nexus__router_pattern *p = nexus__arena_get(arena, sizeof *p);
    nexus__router_leaf *leaf = nexus__arena_get(arena, sizeof *leaf);
    if (!p || !leaf || nexus__router_leaf_init(arena, leaf, rule))
        return nexus__nomem();
    *p = (nexus__router_pattern){.leaf = leaf};
    nexus_status status = nexus__regex_compile_whole(&p->re, nexus__slice_c(rule->path), alloc);
    if (status)
        return status;
    status = place(tree, p);
    if (status)
        nexus__regex_free(p->re);
    return status;
}

const nexus__router_leaf *nexus__router_walk_patterns(nexus__router_walk *w, const nexus__router_tree *tree)
{
    for (const nexus__router_pattern *p = tree->patterns; p; p = p->next) {
        bool matched;
        if (nexus__regex_search(p->re, w->path, &matched) || !matched || !nexus__router_try(w, p->leaf))
            continue;
        w->pattern = p;
        return p->leaf;
    }
    return NULL;
}

void nexus__router_fill_groups(const nexus__router_pattern *pattern, nexus_slice path, nexus_router_match *match)
{
    nexus_slice groups[NEXUS__REGEX_GROUPS_MAX];
    bool matched;
    uint32_t n = nexus__regex_group_count(pattern->re);
    if (n == 0 || nexus__regex_groups_of(pattern->re, path, groups, &matched) || !matched)
        return;
    for (uint32_t i = 0; i < n; i++)
        match->captures[i] = (nexus_pair){nexus__regex_group_name(pattern->re, i), groups[i]};
    match->capture_count = n;
}
