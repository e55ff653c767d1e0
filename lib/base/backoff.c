#include "base/backoff.h"

__extension__ typedef unsigned __int128 uint128;

uint32_t nexus__backoff_ms(const nexus__backoff *b, uint32_t attempt, uint64_t random)
{
    double factor = b->factor > 0 ? b->factor : 2.0;
    double ceiling = b->base_ms;
    for (uint32_t i = 1; i < attempt && ceiling < b->cap_ms; i++)
        ceiling *= factor;
    if (ceiling > b->cap_ms)
        ceiling = b->cap_ms;
    if (b->exact)
        return (uint32_t)ceiling;
    return (uint32_t)(((uint128)random * ((uint64_t)ceiling + 1)) >> 64);
}
