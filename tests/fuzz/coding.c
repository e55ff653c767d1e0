/* Compressed bodies: never more than the bound, whatever the bytes; Accept-Encoding and Accept fields: any bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "gateway/coding.h"
#include "gateway/problem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__buf out;
    nexus_slice in = {(const char *)data, size};
    if (size > 65536)
        return 0;
    nexus__buf_init(&out, NULL, 0);
    nexus_status status = nexus__coding_open(&out, in, 100000);
    if (status == NEXUS_OK && (out.len > 100000 || out.len > size * NEXUS__CODING_RATIO_MAX))
        abort();
    nexus__buf_free(&out);
    (void)nexus__coding_of(in);
    (void)nexus__coding_accepts_gzip(in);
    (void)nexus__problem_wants_page(in);
    return 0;
}
