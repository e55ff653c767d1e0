/* What keyed balancing knows a request by. A request without it is given to whom the draw falls. */
#include "gateway/gateway.h"
#include "http/cookie.h"

static bool value_of(nexus__call *call, const nexus__gw_hash_key *key, nexus_slice *out)
{
    switch (key->source) {
    case NEXUS__GW_HASH_PRINCIPAL:
        if (call->principal)
            nexus_principal_subject(call->principal, out);
        return call->principal && out->n > 0;
    case NEXUS__GW_HASH_HEADER:
        return nexus_request_header(call->request, key->name.p, out);
    case NEXUS__GW_HASH_COOKIE:
        return nexus__cookie_in_head(nexus__exchange_head(call->request), nexus__exchange_base(call->request), key->name,
                                     out);
    case NEXUS__GW_HASH_QUERY:
        return nexus_request_query_param(call->request, key->name.p, out);
    case NEXUS__GW_HASH_PARAM:
        *out = call->hash_param;
        return out->n > 0;
    }
    nexus_request_remote_ip(call->request, out);
    return true;
}

void nexus__call_hash(nexus__call *call)
{
    const nexus__upstream *u = call->pool->upstream;
    nexus_slice value = {0};
    call->hash_done = true;
    call->hashed = value_of(call, &u->conf->hash, &value);
    if (call->hashed)
        call->hash = nexus__siphash(u->hash_key, value.p, value.n);
}

void nexus__call_note_param(nexus__call *call, const nexus_pair *captures, uint32_t count)
{
    const nexus__gw_hash_key *key = &call->pool->upstream->conf->hash;
    for (uint32_t i = 0; key->source == NEXUS__GW_HASH_PARAM && i < count; i++)
        if (nexus__slice_eq(captures[i].name, key->name))
            call->hash_param = captures[i].value;
}
