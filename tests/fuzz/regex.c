/* A pattern and a text, parted by a NUL byte. */
#include <string.h>

#include "regex/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *part = size ? memchr(data, 0, size) : NULL;
    size_t n = part ? (size_t)(part - data) : size;
    nexus__regex *re = NULL;
    bool matched;
    if (nexus__regex_compile(&re, nexus__slice(data, n), NULL) != NEXUS_OK)
        return 0;
    if (nexus__regex_search(re, nexus__slice(part ? part + 1 : data, part ? size - n - 1 : 0), &matched) != NEXUS_OK)
        matched = false;
    nexus__regex_free(re);
    return 0;
}
