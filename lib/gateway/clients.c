#include "gateway/clients.h"

#include "base/status.h"
#include "gateway/gateway.h"

uint32_t nexus__gw_clients_find(const nexus__gw_config *config, nexus_slice host)
{
    uint32_t best = config->clients.count;
    size_t longest = 0;
    for (uint32_t i = 0; i < config->clients.count; i++) {
        nexus_slice name = config->clients.items[i].host;
        bool star = name.p[0] == '*';
        if (!star && nexus__slice_eq(name, host))
            return i;
        if (star && name.n > longest && nexus__slice_ends(host, nexus__slice_from(name, 1)) &&
            (name.n == 1 || host.n > name.n - 1)) {
            best = i;
            longest = name.n;
        }
    }
    return best;
}

nexus_status nexus__gw_clients_open(nexus__trust ***out, const nexus__gw_config *config, const nexus_alloc *alloc)
{
    nexus_status status = NEXUS_OK;
    nexus__trust **trusts = nexus__calloc(alloc, config->clients.count + 1, sizeof *trusts);
    if (!trusts)
        return nexus__nomem();
    *out = trusts;
    for (uint32_t i = 0; i < config->clients.count && !status; i++) {
        const nexus__gw_clients_conf *c = &config->clients.items[i];
        if (c->ca_file.n > 0)
            status = nexus__trust_open(&trusts[i], alloc, c->ca_file.p, c->crl_file.n > 0 ? c->crl_file.p : NULL);
    }
    return status;
}

void nexus__gw_clients_close(nexus__trust **trusts, const nexus__gw_config *config, const nexus_alloc *alloc)
{
    for (uint32_t i = 0; trusts && i < config->clients.count; i++)
        nexus__trust_free(trusts[i]);
    nexus__free(alloc, trusts);
}

bool nexus__gw_clients_ask(nexus_loop *loop, nexus_slice server_name, nexus__tls_ask *ask, void *user_data)
{
    nexus_gateway *g = user_data;
    nexus__gw_loop *home = &g->loops[nexus__loop_index(loop)];
    if (!home->view)
        nexus__view_swap(home);
    const nexus__snapshot *s = home->view ? home->view->snapshot : NULL;
    if (!s || s->config->clients.count == 0)
        return false;
    uint32_t i = nexus__gw_clients_find(s->config, server_name);
    if (i < s->config->clients.count) {
        ask->mode = s->config->clients.items[i].mode;
        ask->trust = s->clients[i];
    }
    return true;
}
