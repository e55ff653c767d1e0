#include "http/chars.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* clang-format off */
const uint8_t nexus__chars[256] = {
      0,   0,   0,   0,   0,   0,   0,   0,   0,  66,   0,   0,   0,   0,   0,   0,
      0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
     66,  95,   2,  67,  95,  95,  95,  95,  94,  94,  95,  95,  94,  95,  95,  78,
    127, 127, 127, 127, 127, 127, 127, 127, 127, 127,  78,  94,  66,  94,  66,  74,
     78, 127, 127, 127, 127, 127, 127,  95,  95,  95,  95,  95,  95,  95,  95,  95,
     95,  95,  95,  95,  95,  95,  95,  95,  95,  95,  95,  74,  10,  74,  75,  95,
     75, 127, 127, 127, 127, 127, 127,  95,  95,  95,  95,  95,  95,  95,  95,  95,
     95,  95,  95,  95,  95,  95,  95,  95,  95,  95,  95,  74,  75,  74,  95,   0,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
     66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,
};
/* clang-format on */

size_t nexus__chars_value_span(const char *p, size_t n)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i low = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);
    for (; i + 16 <= n; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, low), v); /* unsigned v <= 0x1f */
        __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), control), _mm_cmpeq_epi8(v, del));
        int mask = _mm_movemask_epi8(bad);
        if (mask)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    return i + nexus__chars_span(p + i, n - i, NEXUS__CHAR_VALUE);
}
