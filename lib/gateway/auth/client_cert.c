/*
 * Certificates of TLS clients: the authenticator `client_cert`, and the member of the same name of a route, which says
 * whose certificates pass, what they are called and may, and whether upstream sees them (RFC 9440).
 *
 * A certificate was judged by its connection's handshake; after a reload that changed whom the host trusts it is judged
 * again, once, so that what was revoked does not live on in a connection.
 */
#include "auth/principal.h"
#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "gateway/auth/authenticator.h"
#include "gateway/auth/client_name.h"
#include "gateway/config/rows.h"
#include "http/client_cert.h"

enum { FORWARD_NOTHING, FORWARD_CERT, FORWARD_CHAIN };

typedef struct client_cert_conf {
    struct {
        nexus__client_name *items;
        uint32_t count;
    } allow;
    nexus__text_list roles;
    uint32_t identity; /* kind of name */
    uint32_t forward;
    bool forward_unverified;
} client_cert_conf;

static const nexus__gw_refusal bad = {401, "invalid-certificate",
                                      "The certificate is not one that this host trusts, or is out of date.",
                                      "ClientCertificate", NULL};
static const nexus__gw_refusal not_yours = {403, "certificate-refused", "This is not for your certificate.", NULL, NULL};
static const nexus__gw_refusal failed = {503, "auth-unavailable", "Who asks cannot be checked now; try again.", NULL, NULL};

/* --- the routes file ------------------------------------------------------------------------------------------------- */

static nexus_status load_name(nexus__loader *l, uint32_t value, void *out)
{
    nexus_slice text;
    const char *why;
    nexus_status status = nexus__loader_text(l, value, &text);
    if (!status && !nexus__client_name_parse(out, text, &why))
        return nexus__loader_fail(l, value, "\"%s\" %s", text.p, why);
    return status;
}

static nexus_status load_allow(nexus__loader *l, uint32_t value, void *out)
{
    client_cert_conf *c = NEXUS__CONTAINER(out, client_cert_conf, allow);
    nexus_status status = nexus__gw_load_array(l, value, sizeof *c->allow.items, load_name, (void **)&c->allow.items,
                                               &c->allow.count);
    if (!status && c->allow.count == 0)
        return nexus__loader_fail(l, value, "lets nobody in; leave it out to let in whoever the host trusts");
    return status;
}

static nexus_status load_identity(nexus__loader *l, uint32_t value, void *out)
{
    nexus_slice text;
    nexus_status status = nexus__loader_text(l, value, &text);
    if (!status && !nexus__client_kind(text, out))
        return nexus__loader_fail(l, value, "must be \"subject\", \"dns\", \"uri\", \"email\", \"ip\" or \"sha256\"");
    return status;
}

static nexus_status load_forward(nexus__loader *l, uint32_t value, void *out)
{
    static const char *const names[] = {"nothing", "cert", "chain"};
    for (uint32_t i = 0; i < COUNT(names); i++)
        if (nexus__json_text_is(l->doc, value, nexus__slice_c(names[i]))) {
            *(uint32_t *)out = i;
            return NEXUS_OK;
        }
    return nexus__loader_fail(l, value, "must be \"nothing\", \"cert\" or \"chain\"");
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("allow", load_allow, client_cert_conf, allow),
        CALL("identity", load_identity, client_cert_conf, identity),
        CALL("roles", nexus__loader_texts, client_cert_conf, roles),
        CALL("forward", load_forward, client_cert_conf, forward),
        ROW("forward_unverified", BOOL, client_cert_conf, forward_unverified, 0, 0),
    };
    client_cert_conf *c = out;
    c->identity = NEXUS__CLIENT_SUBJECT;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), c);
    if (!status && c->roles.count > NEXUS__PRINCIPAL_ROLES)
        return nexus__loader_fail(l, value, "\"roles\" are too many");
    return status;
}

static nexus_status check(nexus__loader *l, uint32_t value, const nexus__gw_route_conf *route, const void *conf)
{
    const client_cert_conf *c = conf;
    if ((c->allow.count > 0 || c->roles.count > 0) && !nexus__gw_auth_names(route, &nexus__gw_auth_client_cert))
        return nexus__loader_fail(l, nexus__json_get(l->doc, value, "client_cert"),
                                  "\"allow\" and \"roles\" need an \"auth\" on the same route that names client_cert");
    return NEXUS_OK;
}

/* --- judging ----------------------------------------------------------------------------------------------------------- */

/* What the request's host says of its clients now; NULL = nothing, and what the listener says holds. */
static const nexus__trust *trust_of(const nexus__call *call, bool *said)
{
    const nexus__snapshot *s = call->view->snapshot;
    char lower[256];
    nexus_slice host;
    *said = false;
    if (s->config->clients.count == 0)
        return NULL;
    nexus_request_host(call->request, &host);
    host.n = nexus__slice_find(host, ':');
    if (host.n > 1 && host.p[host.n - 1] == '.')
        host.n--;
    for (size_t i = 0; i < host.n && i < sizeof lower; i++)
        lower[i] = nexus__ascii_lower(host.p[i]);
    uint32_t i = nexus__gw_clients_find(s->config, nexus__slice(lower, host.n < sizeof lower ? host.n : 0));
    *said = i < s->config->clients.count;
    return *said ? s->clients[i] : NULL;
}

/* The client's certificate, when it is one that the host trusts; *some: it has one, of whatever worth. */
static nexus__cert *good_cert(const nexus__call *call, bool *some)
{
    bool verified, said;
    nexus__cert *cert = nexus__request_cert(call->request, &verified);
    const nexus__trust *trust = trust_of(call, &said);
    *some = cert != NULL;
    if (cert && said)
        verified = trust && nexus__trust_check(trust, cert, nexus__real_ns() / NEXUS__NS_PER_S) == NEXUS_OK;
    return verified ? cert : NULL;
}

const uint8_t *nexus__gw_cert_sha256(const nexus_request *request)
{
    bool verified;
    const nexus__cert *cert = nexus__request_cert(request, &verified); /* the token says which: nobody need vouch for it */
    return cert ? cert->sha256 : NULL;
}

/* Whose it is: the name by which it was let in when that is of the kind that identifies, else its first of that kind. */
static bool name_it(const client_cert_conf *c, const nexus__cert *cert, char hex[static 65], nexus_slice *name)
{
    bool allowed = c->allow.count == 0;
    uint32_t met = UINT32_MAX;
    nexus_slice by = {NULL, 0};
    for (uint32_t i = 0; i < c->allow.count && met != c->identity; i++) {
        nexus_slice found = nexus__client_name_find(&c->allow.items[i], cert);
        if (!found.p)
            continue;
        allowed = true;
        by = found;
        met = c->allow.items[i].kind;
    }
    *name = met == c->identity && met != NEXUS__CLIENT_SHA256 ? by : nexus__client_name_of(cert, c->identity, hex);
    return allowed && name->p;
}

static nexus__auth_answer ask(nexus__call *call, nexus_principal **principal, const nexus__gw_refusal **refusal)
{
    static const client_cert_conf any = {.identity = NEXUS__CLIENT_SUBJECT};
    const client_cert_conf *c = nexus__gw_filter_conf(call->route->conf, &nexus__gw_filter_client_cert);
    char hex[65];
    bool some;
    nexus_slice name;
    const nexus__cert *cert = good_cert(call, &some);
    c = c ? c : &any;
    *refusal = some ? &bad : NULL;
    if (!cert)
        return some ? NEXUS__AUTH_BAD : NEXUS__AUTH_NONE;
    *refusal = &not_yours;
    if (!name_it(c, cert, hex, &name))
        return NEXUS__AUTH_DENIED;
    nexus_status status = nexus__principal_with_roles(principal, call->view->home->gateway->alloc, name, c->roles.items,
                                                      c->roles.count);
    *refusal = status ? &failed : NULL;
    return status ? NEXUS__AUTH_FAILED : NEXUS__AUTH_YES;
}

const nexus__gw_authenticator nexus__gw_auth_client_cert = {
    .name = "client_cert",
    .challenge = "ClientCertificate",
    .identifies = true,
    .ask = ask,
};

/* --- telling upstream -------------------------------------------------------------------------------------------------- */

static void put_bytes(nexus__buf *out, nexus_slice der)
{
    nexus__buf_text(out, out->len ? ", :" : ":");
    nexus__base64_append(out, der.p, der.n);
    nexus__buf_char(out, ':');
}

static bool tell(nexus__call *call, nexus_slice name, const nexus_slice *ders, size_t n)
{
    nexus__buf text;
    nexus__buf_init(&text, call->view->home->gateway->traffic_alloc, 0);
    for (size_t i = 0; i < n; i++)
        put_bytes(&text, ders[i]);
    bool told = !text.status && nexus__call_add_field(call, name, nexus__buf_slice(&text));
    nexus__buf_free(&text);
    return told;
}

static nexus__gw_verdict request(nexus__call *call, const void *conf, void *state)
{
    const client_cert_conf *c = conf;
    bool some;
    (void)state;
    if (c->forward == FORWARD_NOTHING)
        return NEXUS__GW_NEXT;
    const nexus__cert *cert = good_cert(call, &some);
    if (!cert && some && c->forward_unverified)
        cert = nexus__request_cert(call->request, &some);
    if (!cert || (tell(call, NEXUS_S("Client-Cert"), &cert->der, 1) &&
                  (c->forward != FORWARD_CHAIN || cert->chain_count == 0 ||
                   tell(call, NEXUS_S("Client-Cert-Chain"), cert->chain, cert->chain_count))))
        return NEXUS__GW_NEXT;
    nexus__call_problem(call, 503, "out-of-memory", NULL);
    return NEXUS__GW_ANSWERED;
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    static const char *const forwards[] = {"nothing", "cert", "chain"};
    const client_cert_conf *c = conf;
    (void)state;
    nexus__json_put_u64(w, "allow", c->allow.count);
    nexus__json_put_text_c(w, "forward", forwards[c->forward]);
}

const nexus__gw_filter nexus__gw_filter_client_cert = {
    .key = "client_cert",
    .conf_bytes = sizeof(client_cert_conf),
    .load = load,
    .check = check,
    .request = request,
    .explain = explain,
};
