/* A key from a stranger: refused, or exactly of a key's form. */
#include <stdlib.h>

#include "auth/apikey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_slice id;
    char made[NEXUS_APIKEY_LEN + 1];
    if (nexus_apikey_parse((const char *)data, size, &id) &&
        (size != NEXUS_APIKEY_LEN || id.n != NEXUS_APIKEY_ID_LEN || id.p < (const char *)data))
        abort();
    nexus__apikey_make(NULL, made);
    if (!nexus_apikey_parse(made, NEXUS_APIKEY_LEN, &id))
        abort();
    for (size_t i = 0; i < size && i < NEXUS_APIKEY_LEN; i++) { /* one byte of a good one changed */
        char kept = made[i];
        made[i] = (char)data[i];
        if (made[i] != kept && nexus_apikey_parse(made, NEXUS_APIKEY_LEN, NULL))
            abort();
        made[i] = kept;
    }
    return 0;
}
