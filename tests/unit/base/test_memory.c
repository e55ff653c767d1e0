#include <criterion/criterion.h>
#include <string.h>

#include "base/alloc.h"

Test(memory, counts_what_is_out_and_refuses_what_goes_over)
{
    nexus_memory *m;
    cr_assert_eq(nexus_memory_new(&m, 10000), 0);
    const nexus_alloc *a = nexus_memory_alloc(m);
    char *p = nexus__malloc(a, 4000), *q = nexus__calloc(a, 10, 400);
    cr_assert(p && q && !q[3999]);
    cr_assert(nexus_memory_used(m) >= 8000 && nexus_memory_used(m) < 8100);
    uint64_t used = nexus_memory_used(m);
    cr_assert_null(nexus__malloc(a, 4000));
    cr_assert_null(nexus__realloc(a, p, 9000), "the old block stays");
    cr_assert_eq(nexus_memory_used(m), used, "what was refused is not counted");
    memset(p, 1, 4000);
    cr_assert_not_null(p = nexus__realloc(a, p, 100));
    cr_assert_not_null(p = nexus__realloc(a, p, 5000));
    nexus__free(a, q);
    nexus__free(a, p);
    nexus__free(a, NULL);
    cr_assert_eq(nexus_memory_used(m), 0);
    cr_assert_eq(nexus_memory_cap(m), 10000);
    nexus_memory_free(m);
    nexus_memory_free(NULL);
}
