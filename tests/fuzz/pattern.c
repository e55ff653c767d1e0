/* Texts with placeholders: any bytes give pieces or an error; without one, text and braces come out as they went in. */
#include <stdint.h>
#include <stdlib.h>

#include "gateway/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool nothing(void *context, const nexus__pattern_piece *piece, nexus_slice *value)
{
    (void)context;
    (void)value;
    return piece->source == NEXUS__PATTERN_TEXT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__arena arena;
    nexus__pattern p;
    nexus_slice text = {(const char *)data, size}, fixed, values[NEXUS__PATTERN_PIECES_MAX];
    if (size > 4096)
        return 0;
    nexus__arena_init(&arena, NULL, 0);
    if (nexus__pattern_parse(&p, text, &arena) == NEXUS_OK) {
        if (nexus__pattern_values(&p, nothing, NULL, values) > size)
            abort();
        if (!nexus__pattern_is(text) && (!nexus__pattern_fixed(&p, &fixed) || !nexus__slice_eq(fixed, text)))
            abort();
    }
    nexus__arena_free(&arena);
    return 0;
}
