#include "auth/common_password.h"

static uint64_t hash(nexus_slice password)
{
    uint64_t value = 0xcbf29ce484222325;
    for (size_t i = 0; i < password.n; i++)
        value = (value ^ (unsigned char)nexus__ascii_lower(password.p[i])) * 0x100000001b3;
    return value;
}

bool nexus__password_is_common(nexus_slice password)
{
    uint64_t wanted = hash(password);
    size_t low = 0, high = nexus__common_password_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (nexus__common_passwords[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low < nexus__common_password_count && nexus__common_passwords[low] == wanted;
}
