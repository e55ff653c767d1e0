/* References in settings: whatever stands there, cutting ends, loses no byte, and leaves no reference within text. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "service/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t written(const nexus__reference *r)
{
    return r->text.n + (r->kind == NEXUS__REFERENCE_ENV ? 7 : r->kind == NEXUS__REFERENCE_FILE ? 8 : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_slice all = {(const char *)data, size}, rest = all;
    bool refers = nexus__setting_refers(all), referred = false;
    size_t seen = 0;
    while (rest.n > 0) {
        nexus__reference r;
        if (!nexus__reference_cut(&rest, &r)) {
            referred = true; /* a wrong one */
            break;
        }
        seen += written(&r);
        if (r.text.n == 0 || seen + rest.n != size || r.text.p < all.p || r.text.p + r.text.n > all.p + size)
            abort();
        if (r.kind == NEXUS__REFERENCE_NONE ? nexus__setting_refers(r.text) : memchr(r.text.p, '}', r.text.n) != NULL)
            abort();
        referred = referred || r.kind != NEXUS__REFERENCE_NONE;
    }
    if (refers != referred)
        abort();
    return 0;
}
