/* Which hosts ask clients for certificates, and whose. */
#include <nexus/http.h>

#include "gateway/config/rows.h"

static nexus_status load_mode(nexus__loader *l, uint32_t value, void *out)
{
    static const char *const modes[] = {"off", "optional", "required", "any"}; /* as NEXUS_CLIENT_CERT_… counts */
    for (uint32_t i = 0; i < COUNT(modes); i++)
        if (nexus__json_text_is(l->doc, value, nexus__slice_c(modes[i]))) {
            *(uint32_t *)out = i;
            return NEXUS_OK;
        }
    return nexus__loader_fail(l, value, "must be \"off\", \"optional\", \"required\" or \"any\"");
}

static nexus_status load_host(nexus__loader *l, uint32_t key, nexus_slice *out)
{
    nexus_status status = nexus__loader_text(l, key, out);
    char *p = (char *)(uintptr_t)out->p; /* the arena's: ours */
    if (status)
        return status;
    for (size_t i = 0; i < out->n; i++) {
        p[i] = nexus__ascii_lower(p[i]);
        bool star = p[i] == '*' && i == 0 && (out->n == 1 || (out->n > 2 && p[1] == '.'));
        if (!star && !(p[i] >= 'a' && p[i] <= 'z') && !(p[i] >= '0' && p[i] <= '9') && p[i] != '-' && p[i] != '.')
            return nexus__loader_fail(l, key, "\"%s\" is no host: a name without port, \"*.\" and a name, or \"*\"", out->p);
    }
    return out->n > 0 ? NEXUS_OK : nexus__loader_fail(l, key, "a host has a name");
}

static nexus_status load_one(nexus__loader *l, uint32_t value, nexus__gw_clients_conf *c)
{
    static const nexus__loader_row rows[] = {
        ROW("ca_file", TEXT, nexus__gw_clients_conf, ca_file, 0, 0),
        ROW("crl_file", TEXT, nexus__gw_clients_conf, crl_file, 0, 0),
        CALL("mode", load_mode, nexus__gw_clients_conf, mode),
    };
    c->mode = NEXUS_CLIENT_CERT_REQUIRED;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (status)
        return status;
    bool verifies = c->mode == NEXUS_CLIENT_CERT_OPTIONAL || c->mode == NEXUS_CLIENT_CERT_REQUIRED;
    if (verifies && c->ca_file.n == 0)
        return nexus__loader_fail(l, value, "\"ca_file\" is missing: whose certificates are good?");
    if (c->crl_file.n > 0 && c->ca_file.n == 0)
        return nexus__loader_fail(l, value, "\"crl_file\" goes with \"ca_file\"");
    return NEXUS_OK;
}

nexus_status nexus__gw_load_clients(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_config *c = NEXUS__CONTAINER(out, nexus__gw_config, clients);
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be an object of rules by host");
    size_t bytes = (nexus__json_count(l->doc, value) + 1) * sizeof *c->clients.items;
    c->clients.items = nexus__arena_get(l->arena, bytes);
    if (!c->clients.items)
        return nexus__nomem();
    memset(c->clients.items, 0, bytes);
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus__gw_clients_conf *one = &c->clients.items[c->clients.count++];
        nexus_status status = load_host(l, it.key, &one->host);
        size_t mark = nexus__loader_push(l, one->host);
        status = status ? status : load_one(l, it.value, one);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}
