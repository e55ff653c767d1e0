/* The routes file: any bytes give either a configuration or an error with a place. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    nexus__gw_config *config;
    nexus_status status = nexus__gw_config_parse(&config, "f", (nexus_slice){(const char *)data, size}, NULL);
    if (status == NEXUS_OK)
        nexus__gw_config_free(config);
    if (status == NEXUS_EINVAL && strncmp(nexus_error_message(), "f:", 2) != 0)
        abort();
    return 0;
}
