/* The policy of the reference servers: what they ask for, and the three roles that every installation has. */
#include "auth/rbac.h"

#include "base/status.h"

const nexus__rbac_builtin nexus__rbac_builtins[] = {
    {"customer", NEXUS_RBAC_ALLOW_OWN, "users:read"},
    {"customer", NEXUS_RBAC_ALLOW, "orders:create"},
    {"customer", NEXUS_RBAC_ALLOW_OWN, "orders:read"},
    {"customer", NEXUS_RBAC_ALLOW_OWN, "notifications:read"},
    {"customer", NEXUS_RBAC_ALLOW, "notifications:endpoint"},
    {"operator", NEXUS_RBAC_ALLOW, "orders:read"},
    {"operator", NEXUS_RBAC_ALLOW, "users:read"},
    {"operator", NEXUS_RBAC_ALLOW, "analytics:*"},
    {"operator", NEXUS_RBAC_ALLOW, "notifications:*"},
    {"operator", NEXUS_RBAC_ALLOW, "copilot:chat"},
    {"operator", NEXUS_RBAC_ALLOW, "audit:read"},
    {"admin", NEXUS_RBAC_ALLOW, "*:**"},
};
const size_t nexus__rbac_builtin_count = sizeof nexus__rbac_builtins / sizeof nexus__rbac_builtins[0];

/* Each inherits from the one before. */
const char *const nexus__rbac_builtin_roles[NEXUS__RBAC_BUILTIN_ROLES] = {"customer", "operator", "admin"};

static const char *const permissions[] = {
    "users:read",         "users:list",           "users:write",
    "orders:create",      "orders:read",          "analytics:read",
    "analytics:query",    "analytics:ingest",     "notifications:read",
    "notifications:send", "notifications:manage", "notifications:endpoint",
    "copilot:chat",       "audit:read",           "keys:read",
    "keys:write",         "keys:rotate",          "clients:read",
    "clients:write",      "secrets:read",         "secrets:write",
    "roles:read",         "roles:write",          "roles:grant",
    "loglevel:write",     "metrics:read",         "machine:operate",
};

nexus_status nexus__rbac_declare_default(nexus_rbac *r)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < sizeof permissions / sizeof permissions[0] && status == NEXUS_OK; i++)
        status = nexus_rbac_permission(r, permissions[i]);
    return status;
}

nexus_status nexus__rbac_fill_default(nexus_rbac *r)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < NEXUS__RBAC_BUILTIN_ROLES && status == NEXUS_OK; i++) {
        status = nexus_rbac_role(r, nexus__rbac_builtin_roles[i]);
        if (status == NEXUS_OK && i > 0)
            status = nexus_rbac_inherit(r, nexus__rbac_builtin_roles[i], nexus__rbac_builtin_roles[i - 1]);
    }
    for (size_t i = 0; i < nexus__rbac_builtin_count && status == NEXUS_OK; i++) {
        const nexus__rbac_builtin *b = &nexus__rbac_builtins[i];
        status = nexus_rbac_rule(r, b->role, b->effect, b->pattern);
    }
    return status == NEXUS_OK ? nexus__rbac_declare_default(r) : status;
}

nexus_status nexus_rbac_new_default(nexus_rbac **out, const nexus_alloc *alloc)
{
    nexus_rbac *r;
    nexus_status status = nexus_rbac_new(&r, alloc);
    if (status != NEXUS_OK)
        return status;
    status = nexus__rbac_fill_default(r);
    if (status == NEXUS_OK)
        status = nexus_rbac_compile(r);
    if (status == NEXUS_OK)
        *out = r;
    else
        nexus_rbac_free(r);
    return status;
}
