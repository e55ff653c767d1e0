/* URL paths: canonical form is stable, strict, and never longer than what came in; templates and walks do not
 * crash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <nexus/router.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(nexus_slice raw, uint32_t flags)
{
    char *buf = malloc(raw.n + 1), *again = malloc(raw.n + 1);
    nexus_slice out, twice;
    if (nexus_path_canonical(raw, flags, buf, &out) == NEXUS_OK) {
        if (out.n > raw.n || out.n == 0 || out.p[0] != '/')
            abort();
        if (nexus_path_canonical(out, flags, again, &twice) != NEXUS_OK || out.n != twice.n ||
            memcmp(out.p, twice.p, out.n) != 0)
            abort();
        if (memmem(out.p, out.n, "/../", 4) || memmem(out.p, out.n, "/./", 3))
            abort();
    }
    free(buf);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 16384)
        return 0;
    nexus_slice raw = {(const char *)data, size};
    check(raw, 0);
    check(raw, NEXUS_PATH_AMBIGUOUS_PASS | NEXUS_PATH_KEEP_SLASHES);
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    nexus_router *router;
    if (nexus_router_new(&router, NULL) == NEXUS_OK) {
        nexus_router_rule rule = NEXUS_ROUTER_RULE_INIT;
        const char *paths[] = {text, "/a/{x}/b", "/{x:int}/{y...}", "/a"};
        for (int i = 0; i < 4; i++) {
            rule.path = paths[i];
            rule.flags = i == 3 ? NEXUS_ROUTER_PREFIX : 0;
            if (nexus_router_add(router, &rule) != NEXUS_OK)
                continue;
        }
        nexus_router_match match;
        if (nexus_router_find(router, raw, raw, NEXUS_METHOD_GET, NULL, NULL, &match) == NEXUS_OK &&
            match.capture_count > NEXUS_ROUTER_CAPTURES_MAX)
            abort();
        nexus_router_free(router);
    }
    free(text);
    return 0;
}
