/* What is known of a good key: the claims of who calls with it, and from where he may. */
#include "auth/apikey.h"
#include "auth/jose.h"
#include "base/status.h"
#include "base/time.h"

nexus_status nexus__apikey_refused(void)
{
    return nexus__fail(NEXUS_EAUTH, "the API key is wrong, expired or revoked");
}

static nexus_status read_cidrs(nexus__apikey_known *k, const nexus_claims *claims)
{
    nexus_slice text;
    while (nexus_claims_item(claims, "cidrs", k->cidr_count, &text)) {
        if (k->cidr_count == NEXUS__APIKEY_CIDRS_MAX || !nexus__ip_block_parse(text, &k->cidrs[k->cidr_count]))
            return nexus__fail(NEXUS_EPROTO, "what is known of an API key names no block of addresses");
        k->cidr_count++;
    }
    return NEXUS_OK;
}

nexus_status nexus__apikey_known_new(nexus__apikey_known **out, const nexus_alloc *alloc, nexus_slice json)
{
    nexus_claims *claims;
    nexus_slice id;
    if (nexus__claims_parse(&claims, json) != NEXUS_OK)
        return nexus__fail(NEXUS_EPROTO, "what is known of an API key is no JSON object");
    nexus__apikey_known *k = nexus__calloc(alloc, 1, sizeof *k);
    nexus_status status = k ? nexus__principal_new(&k->principal, alloc, claims, NEXUS_S("")) : nexus__nomem();
    if (status != NEXUS_OK) {
        nexus_claims_free(claims);
        nexus__free(alloc, k);
        return status == NEXUS_ENOMEM ? status : nexus__fail(NEXUS_EPROTO, "what is known of an API key names nobody");
    }
    atomic_init(&k->refs, 1);
    k->expires_ns = k->principal->expires_s * NEXUS__NS_PER_S;
    status = nexus_claims_text(claims, "key_id", &id) && nexus__slice_eq(id, k->principal->jti) && k->expires_ns > 0
                 ? read_cidrs(k, claims)
                 : nexus__fail(NEXUS_EPROTO, "what is known of an API key lacks its id or its end");
    if (status == NEXUS_OK)
        *out = k;
    else
        nexus__apikey_known_unref(k);
    return status;
}

void nexus__apikey_known_unref(nexus__apikey_known *k)
{
    if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    const nexus_alloc *alloc = k->principal->alloc;
    nexus_principal_free(k->principal);
    nexus__free(alloc, k);
}

nexus_status nexus__apikey_judge(const nexus__apikey_known *k, nexus_slice text, int64_t now)
{
    nexus__ip ip;
    if (now >= k->expires_ns)
        return nexus__apikey_refused();
    bool fine = k->cidr_count == 0;
    if (fine)
        return NEXUS_OK;
    if (nexus__ip_parse(text, &ip))
        for (uint32_t i = 0; i < k->cidr_count && !fine; i++)
            fine = nexus__ip_block_has(&k->cidrs[i], &ip);
    return fine ? NEXUS_OK : nexus__fail(NEXUS_EPERM, "the API key may not be used from this address");
}
