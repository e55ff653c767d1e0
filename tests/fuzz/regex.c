/* A pattern and a text, parted by a NUL byte. */
#include <stdlib.h>
#include <string.h>

#include "regex/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Both simulations agree on whether there is a match, and groups lie in the text. */
static void groups(nexus_slice pattern, nexus_slice text)
{
    nexus__regex *re;
    nexus_slice took[NEXUS__REGEX_GROUPS_MAX];
    bool matched, with_groups;
    if (nexus__regex_compile_whole(&re, pattern, NULL) != NEXUS_OK)
        return;
    if (nexus__regex_search(re, text, &matched) == NEXUS_OK &&
        nexus__regex_groups_of(re, text, took, &with_groups) == NEXUS_OK) {
        if (matched != with_groups)
            abort();
        for (uint32_t i = 0; i < NEXUS__REGEX_GROUPS_MAX; i++)
            if (took[i].n && (took[i].p < text.p || took[i].p + took[i].n > text.p + text.n))
                abort();
    }
    nexus__regex_free(re);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *part = size ? memchr(data, 0, size) : NULL;
    size_t n = part ? (size_t)(part - data) : size;
    nexus__regex *re = NULL;
    bool matched;
    if (nexus__regex_compile(&re, nexus__slice(data, n), NULL) != NEXUS_OK)
        return 0;
    nexus_slice text = nexus__slice(part ? part + 1 : data, part ? size - n - 1 : 0);
    if (nexus__regex_search(re, text, &matched) != NEXUS_OK)
        matched = false;
    nexus__regex_free(re);
    groups(nexus__slice(data, n), text);
    return 0;
}
