/* The ring that seals the secrets of webhook endpoints. */
#include "auth/sealed.h"
#include "base/status.h"
#include "notify/notify.h"

static const nexus__sealed_column column = {"notify_endpoints", "id", "secret", "notify_endpoints.secret/", ""};

static nexus__sealed sealed_of(const nexus_notify *notify)
{
    return (nexus__sealed){notify->db, notify->secrets, &column, 1};
}

static nexus_status need_ring(const nexus_notify *notify)
{
    return notify->secrets ? NEXUS_OK : nexus__fail(NEXUS_ENOTSUP, "secrets of endpoints are not sealed: no ring was given");
}

void nexus__endpoint_seal_at_use(nexus_notify *notify, nexus_slice id, nexus_slice sealed)
{
    nexus__sealed set = sealed_of(notify);
    if (notify->secrets)
        nexus__sealed_at_use(&set, &column, id, sealed);
}

nexus_status nexus_notify_secrets(nexus_notify *notify, char **json, size_t *n)
{
    nexus__sealed set = sealed_of(notify);
    nexus_status status = need_ring(notify);
    return status == NEXUS_OK ? nexus__sealed_list(&set, json, n) : status;
}

nexus_status nexus_notify_reseal(nexus_notify *notify, uint32_t batch, uint32_t *resealed)
{
    nexus__sealed set = sealed_of(notify);
    nexus_status status = need_ring(notify);
    return status == NEXUS_OK ? nexus__sealed_again(&set, batch, resealed) : status;
}

nexus_status nexus_notify_secrets_retire(nexus_notify *notify, const char *kid)
{
    nexus__sealed set = sealed_of(notify);
    nexus_status status = need_ring(notify);
    return status == NEXUS_OK ? nexus__sealed_retire(&set, kid) : status;
}
