/* Hosts, and one tree for each host pattern. */
#include "router/tree.h"

#include "base/status.h"

enum { HOST_MAX = 255 };

typedef struct host_tree {
    nexus_slice host; /* "api.example.com" or ".example.com" */
    nexus__router_tree tree;
    struct host_tree *next;
} host_tree;

struct nexus_router {
    const nexus_alloc *alloc;
    nexus__arena arena;
    host_tree any;
    host_tree *hosts; /* chain, for freeing */
    nexus__map exact, suffix;
};

void nexus_router_rule_init(nexus_router_rule *rule)
{
    *rule = (nexus_router_rule)NEXUS_ROUTER_RULE_INIT;
}

nexus_status nexus_router_new(nexus_router **out, const nexus_alloc *alloc)
{
    nexus_router *r = nexus__calloc(alloc, 1, sizeof *r);
    if (!r)
        return nexus__nomem();
    r->alloc = alloc;
    nexus__arena_init(&r->arena, alloc, 0);
    nexus__map_init(&r->exact, alloc);
    nexus__map_init(&r->suffix, alloc);
    *out = r;
    return NEXUS_OK;
}

void nexus_router_free(nexus_router *r)
{
    if (!r)
        return;
    nexus__router_tree_free(&r->any.tree);
    for (host_tree *t = r->hosts; t; t = t->next)
        nexus__router_tree_free(&t->tree);
    nexus__map_free(&r->exact);
    nexus__map_free(&r->suffix);
    nexus__arena_free(&r->arena);
    nexus__free(r->alloc, r);
}

static bool host_ok(nexus_slice host)
{
    for (size_t i = 0; i < host.n; i++) {
        char c = nexus__ascii_lower(host.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._[]:", c)))
            return false;
    }
    return host.n > 0 && host.n <= HOST_MAX;
}

/* Lower case, without port and final dot; "[::1]:80" gives "[::1]". */
static nexus_slice host_normal(nexus_slice host, char out[static HOST_MAX])
{
    size_t n = host.n > HOST_MAX ? 0 : host.n;
    for (size_t i = 0; i < n; i++)
        out[i] = nexus__ascii_lower(host.p[i]);
    size_t end = n > 0 && out[0] == '[' ? nexus__slice_find(nexus__slice(out, n), ']') : 0;
    n = end + nexus__slice_find(nexus__slice(out + end, n - end), ':');
    return nexus__slice(out, n > 0 && out[n - 1] == '.' ? n - 1 : n);
}

static nexus_status tree_for(nexus_router *r, const char *pattern, nexus__router_tree **out)
{
    nexus_slice host = nexus__slice_c(pattern);
    if (host.n == 0 || nexus__slice_eq_c(host, "*")) {
        *out = &r->any.tree;
        return NEXUS_OK;
    }
    bool wild = nexus__slice_starts(host, NEXUS_S("*."));
    char lower[HOST_MAX];
    if (wild)
        host = nexus__slice_from(host, 1);
    if (!host_ok(host) || (wild && host.n < 2))
        return nexus__fail(NEXUS_EINVAL, "host \"%s\": write a name, \"*.name\" or \"*\"", pattern);
    nexus__map *map = wild ? &r->suffix : &r->exact;
    host = host_normal(host, lower);
    host_tree *tree = nexus__map_get(map, host);
    if (!tree) {
        if (!(tree = nexus__arena_get(&r->arena, sizeof *tree)))
            return nexus__nomem();
        *tree = (host_tree){.host = nexus__arena_copy(&r->arena, host), .next = r->hosts};
        if (!tree->host.p || nexus__map_put(map, tree->host, tree, NULL))
            return nexus__nomem();
        r->hosts = tree;
    }
    *out = &tree->tree;
    return NEXUS_OK;
}

nexus_status nexus_router_add(nexus_router *r, const nexus_router_rule *rule)
{
    nexus_router_rule known = NEXUS_ROUTER_RULE_INIT;
    memcpy(&known, rule, rule->size < sizeof known ? rule->size : sizeof known);
    nexus__router_tree *tree = NULL;
    nexus_status status = tree_for(r, known.host, &tree);
    return status ? status : nexus__router_insert(&r->arena, tree, &known, r->alloc);
}

static void fill(nexus_router_match *match, const nexus__router_walk *w, const nexus__router_leaf *leaf)
{
    match->value = leaf->rule.value;
    match->id = leaf->rule.id;
    match->path = leaf->rule.path;
    if (w->pattern) {
        nexus__router_fill_groups(w->pattern, w->path, match);
        return;
    }
    match->capture_count = leaf->capture_count;
    for (uint32_t i = 0; i < leaf->capture_count; i++) {
        uint32_t start = w->starts[leaf->captures[i].segment];
        size_t end = leaf->captures[i].rest ? w->path.n : w->starts[leaf->captures[i].segment + 1] - 1;
        match->captures[i] = (nexus_pair){leaf->captures[i].name, nexus__slice(w->path.p + start, end - start)};
    }
}

static const nexus__router_leaf *find_in_hosts(const nexus_router *r, nexus__router_walk *w, nexus_slice raw)
{
    char lower[HOST_MAX];
    nexus_slice host = host_normal(raw, lower);
    const nexus__router_leaf *leaf = NULL;
    const host_tree *tree = nexus__map_get(&r->exact, host);
    if (tree)
        leaf = nexus__router_walk_tree(w, &tree->tree);
    for (size_t i = 1; !leaf && i < host.n && r->suffix.count; i++) /* the longest suffix stands first */
        if (host.p[i] == '.' && (tree = nexus__map_get(&r->suffix, nexus__slice_from(host, i))))
            leaf = nexus__router_walk_tree(w, &tree->tree);
    return leaf;
}

nexus_status nexus_router_find(const nexus_router *r, nexus_slice host, nexus_slice path, uint32_t method,
                               nexus_router_accept_fn *accept, void *user_data, nexus_router_match *match)
{
    nexus__router_walk w;
    w.method = method;
    w.accept = accept;
    w.user_data = user_data;
    w.methods = 0;
    w.hit = false;
    match->value = NULL;
    match->id = match->path = NULL;
    match->methods = match->capture_count = 0;
    if (path.n == 0 || path.n > UINT32_MAX - 1)
        return NEXUS_ENOTFOUND;
    nexus__router_split(&w, path);
    const nexus__router_leaf *leaf = r->hosts && host.n > 0 ? find_in_hosts(r, &w, host) : NULL;
    if (!leaf)
        leaf = nexus__router_walk_tree(&w, &r->any.tree);
    if (leaf) {
        fill(match, &w, leaf);
        return NEXUS_OK;
    }
    match->methods = w.methods;
    return w.hit ? NEXUS_EPERM : NEXUS_ENOTFOUND;
}
