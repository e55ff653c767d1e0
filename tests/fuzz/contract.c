/* Comparing two schemas from strangers (a NUL between them), and pins of revisions. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bus/contract_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    nexus_slice reader = nexus__slice(data, n), writer = nexus__slice(data + n, size - n);
    nexus__contract_list list;
    if (writer.n)
        writer = nexus__slice_from(writer, 1);
    (void)!nexus_contract_compare(reader, writer.n ? writer : reader);
    (void)!nexus__contract_same(reader, writer);
    (void)!nexus__accept_check(reader);
    (void)!nexus__contract_list_parse(&list, NULL, reader);
    nexus__contract_list_free(&list);
    return 0;
}
