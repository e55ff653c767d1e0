#include "auth/principal.h"

#include "base/status.h"

static nexus_status fill(nexus_principal *p, const nexus_claims *claims)
{
    nexus_slice role;
    if (!nexus_claims_text(claims, "sub", &p->subject) || p->subject.n == 0)
        return nexus__fail(NEXUS_EAUTH, "token refused: it has no subject");
    nexus_claims_text(claims, "tenant", &p->tenant);
    nexus_claims_text(claims, "jti", &p->jti);
    nexus_claims_text(claims, "sid", &p->session);
    nexus_claims_text(claims, "client_id", &p->client);
    nexus_claims_int(claims, "iat", &p->issued_s);
    nexus_claims_int(claims, "exp", &p->expires_s);
    nexus__confirmation_read(&p->confirmation, claims);
    while (nexus_claims_item(claims, "roles", p->role_count, &role)) {
        if (p->role_count == NEXUS__PRINCIPAL_ROLES)
            return nexus__fail(NEXUS_EAUTH, "token refused: more than %d roles", NEXUS__PRINCIPAL_ROLES);
        p->roles[p->role_count++] = role;
    }
    return NEXUS_OK;
}

nexus_status nexus__principal_new(nexus_principal **out, const nexus_alloc *alloc, nexus_claims *claims,
                                  nexus_slice token)
{
    nexus_principal *p = nexus__calloc(alloc, 1, sizeof *p + token.n);
    if (!p)
        return nexus__nomem();
    nexus_status status = fill(p, claims);
    if (status != NEXUS_OK) {
        nexus__free(alloc, p);
        return status;
    }
    atomic_init(&p->refs, 1);
    p->alloc = alloc;
    p->claims = claims;
    p->token_n = token.n;
    memcpy(p->token, token.p, token.n);
    *out = p;
    return NEXUS_OK;
}

nexus_status nexus__principal_with_roles(nexus_principal **out, const nexus_alloc *alloc, nexus_slice subject,
                                         const nexus_slice *roles, size_t count)
{
    size_t bytes = subject.n + 1;
    for (size_t i = 0; i < count; i++)
        bytes += roles[i].n + 1;
    nexus_principal *p = nexus__calloc(alloc, 1, sizeof *p + bytes);
    if (!p)
        return nexus__nomem();
    atomic_init(&p->refs, 1);
    p->alloc = alloc;
    char *at = p->token;
    memcpy(at, subject.p, subject.n);
    p->subject = nexus__slice(at, subject.n);
    at += subject.n + 1;
    for (size_t i = 0; i < count && i < NEXUS__PRINCIPAL_ROLES; i++) {
        memcpy(at, roles[i].p, roles[i].n);
        p->roles[p->role_count++] = nexus__slice(at, roles[i].n);
        at += roles[i].n + 1;
    }
    *out = p;
    return NEXUS_OK;
}

nexus_status nexus__principal_named(nexus_principal **out, const nexus_alloc *alloc, nexus_slice subject)
{
    return nexus__principal_with_roles(out, alloc, subject, NULL, 0);
}

void nexus_principal_subject(const nexus_principal *p, nexus_slice *out)
{
    *out = p->subject;
}

void nexus_principal_tenant(const nexus_principal *p, nexus_slice *out)
{
    *out = p->tenant;
}

void nexus_principal_token_id(const nexus_principal *p, nexus_slice *out)
{
    *out = p->jti;
}

int64_t nexus_principal_expires_s(const nexus_principal *p)
{
    return p->expires_s;
}

const nexus_slice *nexus_principal_roles(const nexus_principal *p, size_t *count)
{
    *count = p->role_count;
    return p->roles;
}

bool nexus_principal_has_role(const nexus_principal *p, const char *role)
{
    for (size_t i = 0; i < p->role_count; i++)
        if (nexus__slice_eq_c(p->roles[i], role))
            return true;
    return false;
}

const nexus_claims *nexus_principal_claims(const nexus_principal *p)
{
    return p->claims;
}

nexus_principal *nexus_principal_ref(const nexus_principal *principal)
{
    nexus_principal *p = (nexus_principal *)(uintptr_t)principal;
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void nexus_principal_free(nexus_principal *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    nexus_claims_free(p->claims);
    nexus__free(p->alloc, p);
}
