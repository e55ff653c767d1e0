/* How an upstream is reached: addresses of targets, TLS, protocol, discovery. */
#include <stdio.h>

#include "base/codec.h"

#include "gateway/config/rows.h"

/* --- targets ------------------------------------------------------------------------------------------------------ */

static nexus_status copied(nexus_slice *out, nexus__arena *arena, nexus_slice text)
{
    *out = nexus__arena_copy(arena, text);
    return out->p ? NEXUS_OK : nexus__nomem();
}

static nexus_status fail_form(void)
{
    return nexus__fail(NEXUS_EINVAL, "must be http://host:port or https://host:port, without user and path, or "
                                     "function:NAME");
}

nexus_status nexus__gw_target_parse(nexus__gw_target *t, nexus_slice url, nexus__arena *arena)
{
    static const nexus_slice plain = {"http://", 7}, secure = {"https://", 8}, function = {"function:", 9};
    nexus_slice rest = url;
    *t = (nexus__gw_target){.url = url, .weight = 1, .tls = nexus__slice_starts(url, secure)};
    if (nexus__slice_starts(url, function)) {
        rest = nexus__slice_from(rest, function.n);
        return rest.n > 0 && nexus__gw_is_token(rest) ? copied(&t->function, arena, rest) : fail_form();
    }
    if (!t->tls && !nexus__slice_starts(rest, plain))
        return fail_form();
    uint64_t port = t->tls ? 443 : 80;
    rest = nexus__slice_from(rest, t->tls ? secure.n : plain.n);
    if (nexus__slice_ends(rest, NEXUS_S("/")))
        rest.n--;
    size_t end = rest.n > 0 && rest.p[0] == '[' ? nexus__slice_find(rest, ']') : 0;
    size_t colon = end + nexus__slice_find(nexus__slice_from(rest, end), ':');
    t->host = end ? nexus__slice(rest.p + 1, end - 1) : nexus__slice(rest.p, colon);
    if (colon < rest.n && !nexus__parse_u64(nexus__slice_from(rest, colon + 1), &port))
        port = 0;
    if (t->host.n == 0 || port == 0 || port > 65535 || nexus__slice_find(t->host, '/') < t->host.n ||
        nexus__slice_find(t->host, '@') < t->host.n)
        return fail_form();
    t->port = (uint16_t)port;
    return copied(&t->host, arena, t->host);
}

nexus_status nexus__gw_load_target(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        {"url", NEXUS__LOADER_TEXT, offsetof(nexus__gw_target, url), 0, 0, NULL, true},
        ROW("weight", U32, nexus__gw_target, weight, 0, 10000),
    };
    nexus__gw_target *t = out, read = {.weight = 1};
    char why[200];
    nexus_status status = nexus__json_is(l->doc, value, NEXUS__JSON_STRING)
                              ? nexus__loader_text(l, value, &read.url)
                              : nexus__loader_object(l, value, rows, COUNT(rows), &read);
    if (status || !(status = nexus__gw_target_parse(t, read.url, l->arena)) || status == NEXUS_ENOMEM) {
        t->weight = read.weight;
        return status;
    }
    snprintf(why, sizeof why, "%s", nexus_error_message());
    return nexus__loader_fail(l, value, "%s", why);
}

/* --- TLS ---------------------------------------------------------------------------------------------------------- */

static nexus_status load_pin(nexus__loader *l, uint32_t value, void *out)
{
    nexus_slice text, prefix = NEXUS_S("sha256/");
    uint8_t bytes[48];
    size_t n = 0;
    nexus_status status = nexus__loader_text(l, value, &text);
    if (status)
        return status;
    if (nexus__slice_starts(text, prefix))
        text = nexus__slice_from(text, prefix.n);
    if (text.n != 44 || !nexus__base64_decode(text, bytes, &n) || n != 32)
        return nexus__loader_fail(l, value, "must be sha256/ and the base64 of the SHA-256 of a public key");
    memcpy(out, bytes, 32);
    return NEXUS_OK;
}

static nexus_status load_pins(nexus__loader *l, uint32_t value, void *out)
{
    nexus__gw_tls_conf *tls = NEXUS__CONTAINER(out, nexus__gw_tls_conf, pins);
    return nexus__gw_load_array(l, value, sizeof *tls->pins.items, load_pin, (void **)&tls->pins.items,
                                &tls->pins.count);
}

nexus_status nexus__gw_load_tls(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("server_name", TEXT, nexus__gw_tls_conf, server_name, 0, 0),
        ROW("ca_file", TEXT, nexus__gw_tls_conf, ca_file, 0, 0),
        ROW("cert_file", TEXT, nexus__gw_tls_conf, cert_file, 0, 0),
        ROW("key_file", TEXT, nexus__gw_tls_conf, key_file, 0, 0),
        CALL("pins", load_pins, nexus__gw_tls_conf, pins),
        ROW("insecure", BOOL, nexus__gw_tls_conf, insecure, 0, 0),
    };
    nexus__gw_tls_conf *tls = out;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), tls);
    if (!status && (tls->cert_file.n > 0) != (tls->key_file.n > 0))
        return nexus__loader_fail(l, value, "\"cert_file\" and \"key_file\" go together");
    return status;
}

nexus_status nexus__gw_load_protocol(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus_slice names[] = {{"auto", 4}, {"http1", 5}, {"h2", 2}};
    for (uint32_t i = 0; i < COUNT(names); i++)
        if (nexus__json_text_is(l->doc, value, names[i])) {
            *(uint32_t *)out = i;
            return NEXUS_OK;
        }
    return nexus__loader_fail(l, value, "must be \"auto\", \"http1\" or \"h2\"");
}

/* --- discovery ---------------------------------------------------------------------------------------------------- */

static nexus_status load_scheme(nexus__loader *l, uint32_t value, void *out)
{
    *(bool *)out = nexus__json_text_is(l->doc, value, NEXUS_S("https"));
    if (!*(bool *)out && !nexus__json_text_is(l->doc, value, NEXUS_S("http")))
        return nexus__loader_fail(l, value, "must be \"http\" or \"https\"");
    return NEXUS_OK;
}

nexus_status nexus__gw_load_discovery(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        ROW("srv", TEXT, nexus__gw_discovery_conf, srv, 0, 0),
        ROW("registry", TEXT, nexus__gw_discovery_conf, registry, 0, 0),
        CALL("scheme", load_scheme, nexus__gw_discovery_conf, found.tls),
    };
    nexus__gw_discovery_conf *d = out;
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), d);
    if (status)
        return status;
    d->found.weight = 1;
    d->found.url = d->srv.n > 0 ? d->srv : d->registry;
    if ((d->srv.n > 0) == (d->registry.n > 0))
        return nexus__loader_fail(l, value, "needs either \"srv\" or \"registry\"");
    if (d->registry.n > 0 && !nexus__gw_is_token(d->registry))
        return nexus__loader_fail(l, value, "\"registry\" must be a token");
    return NEXUS_OK;
}
