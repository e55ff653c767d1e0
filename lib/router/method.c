#include <nexus/router.h>

#include "base/str.h"

static const struct {
    nexus_slice name;
    uint32_t bit;
} methods[] = {
    {{"GET", 3}, NEXUS_METHOD_GET},         {{"HEAD", 4}, NEXUS_METHOD_HEAD},   {{"POST", 4}, NEXUS_METHOD_POST},
    {{"PUT", 3}, NEXUS_METHOD_PUT},         {{"PATCH", 5}, NEXUS_METHOD_PATCH}, {{"DELETE", 6}, NEXUS_METHOD_DELETE},
    {{"OPTIONS", 7}, NEXUS_METHOD_OPTIONS}, {{"TRACE", 5}, NEXUS_METHOD_TRACE}, {{"CONNECT", 7}, NEXUS_METHOD_CONNECT},
};

uint32_t nexus_method_parse(nexus_slice token)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (nexus__slice_eq(token, methods[i].name))
            return methods[i].bit;
    return NEXUS_METHOD_OTHER;
}

size_t nexus_method_allow(uint32_t mask, char *out, size_t size)
{
    size_t len = 0;
    if (size == 0)
        return 0;
    if (mask & NEXUS_METHOD_GET)
        mask |= NEXUS_METHOD_HEAD;
    mask |= NEXUS_METHOD_OPTIONS;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (!(mask & methods[i].bit) || len + methods[i].name.n + 3 > size)
            continue;
        if (len > 0) {
            memcpy(out + len, ", ", 2);
            len += 2;
        }
        memcpy(out + len, methods[i].name.p, methods[i].name.n);
        len += methods[i].name.n;
    }
    out[len] = 0;
    return len;
}
