/* Transforms: operations and a document, apart at the first NUL. What is taken and applied to JSON gives JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/transform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nexus_slice text_of(void *context, const nexus__pattern *pattern)
{
    (void)context;
    return pattern->count ? pattern->pieces[0].text : nexus__slice("", 0);
}

static void apply(const nexus__transform *t, nexus_slice text)
{
    nexus__json doc, again;
    nexus__buf out;
    nexus__json_init(&doc, NULL);
    nexus__json_init(&again, NULL);
    nexus__buf_init(&out, NULL, 0);
    if (nexus__json_scan(&doc, text, NULL) == NEXUS_OK) {
        nexus__transform_apply(t, &doc, text_of, NULL, &out);
        if (out.status == NEXUS_OK && nexus__json_scan(&again, nexus__buf_slice(&out), NULL) == NEXUS_EINVAL)
            abort();
    }
    nexus__buf_free(&out);
    nexus__json_free(&again);
    nexus__json_free(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *apart = memchr(data, 0, size);
    if (size > 65536 || !apart)
        return 0;
    nexus__json rules;
    nexus__arena arena;
    nexus__transform t = {0};
    nexus_slice ops = {(const char *)data, (size_t)(apart - data)};
    nexus_slice text = {(const char *)apart + 1, size - ops.n - 1};
    nexus__json_init(&rules, NULL);
    nexus__arena_init(&arena, NULL, 0);
    nexus__loader l = {.file = "f", .doc = &rules, .arena = &arena};
    nexus__buf_init(&l.pointer, NULL, 4096);
    if (nexus__json_scan(&rules, ops, NULL) == NEXUS_OK && nexus__transform_load(&l, 0, &t) == NEXUS_OK)
        apply(&t, text);
    nexus__buf_free(&l.pointer);
    nexus__arena_free(&arena);
    nexus__json_free(&rules);
    return 0;
}
