/*
 * Three lines are two patterns and a permission, anything else is a document of roles: what one pattern covers it matches, what
 * both match they meet in, and of a document comes a policy that answers, or an error.
 */
#include <nexus/roles.h>
#include <stdlib.h>

#include "auth/rbac.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(nexus_slice p, nexus_slice q, nexus_slice x)
{
    if (nexus__permission_pattern_error(p) || nexus__permission_pattern_error(q) || !nexus__permission_valid(x))
        return;
    bool by_p = nexus__permission_matches(p, x), by_q = nexus__permission_matches(q, x);
    if (nexus__pattern_covers(p, q) && by_q && !by_p)
        abort();
    if (by_p && by_q && (!nexus__pattern_meets(p, q) || !nexus__pattern_meets(q, p)))
        abort();
    if (!nexus__pattern_covers(p, p) || !nexus__permission_matches(x, x))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus_rbac *policy;
    nexus_slice text = {(const char *)data, size}, rest = text, lines[3];
    size_t n = 0;
    while (rest.n && n < 3)
        lines[n++] = nexus__slice_cut(&rest, '\n');
    if (n == 3 && rest.n == 0)
        compare(lines[0], lines[1], lines[2]);
    if (nexus_roles_compile(&policy, text) == NEXUS_OK) {
        nexus_slice roles[] = {NEXUS_S("a"), NEXUS_S("t/a")}, in[2];
        char why[256];
        nexus_rbac_query q = NEXUS_RBAC_QUERY_INIT;
        q.roles = in;
        q.role_count = nexus_rbac_roles_in(policy, roles, 2, NEXUS_S("t"), in);
        q.permission = NEXUS_S("orders:read");
        q.tenant = q.subject_tenant = NEXUS_S("t");
        if (nexus_rbac_check(policy, &q) != nexus_rbac_explain(policy, &q, NULL, why, sizeof why))
            abort();
        (void)nexus_rbac_covers(policy, in, q.role_count, NEXUS_S("orders:**"), true);
        nexus_rbac_free(policy);
    }
    return 0;
}
