/* The filter of security headers: what upstream's answer lacks is added, what the route says is said, X-Powered-By goes. */
#include "gateway/filters/security.h"

#include "gateway/change.h"
#include "gateway/config/rows.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"

#define HEADER(name, value)                                                                                            \
    {                                                                                                                  \
        {name, sizeof name - 1},                                                                                       \
        {                                                                                                              \
            value, sizeof value - 1                                                                                    \
        }                                                                                                              \
    }

const nexus_pair nexus__security_headers[NEXUS__SECURITY_HEADERS] = {
    HEADER("Content-Security-Policy",
           "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';"
           "img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';"
           "style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests"),
    HEADER("Cross-Origin-Opener-Policy", "same-origin"),
    HEADER("Cross-Origin-Resource-Policy", "same-origin"),
    HEADER("Origin-Agent-Cluster", "?1"),
    HEADER("Referrer-Policy", "no-referrer"),
    HEADER("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    HEADER("X-Content-Type-Options", "nosniff"),
    HEADER("X-DNS-Prefetch-Control", "off"),
    HEADER("X-Download-Options", "noopen"),
    HEADER("X-Frame-Options", "SAMEORIGIN"),
    HEADER("X-Permitted-Cross-Domain-Policies", "none"),
    HEADER("X-XSS-Protection", "0"),
};

enum mode { DEFAULT, OWN, LEFT };

typedef struct security_conf {
    bool on, keeps_powered_by;
    struct {
        enum mode mode;
        nexus_slice value; /* OWN */
    } headers[NEXUS__SECURITY_HEADERS];
} security_conf;

static nexus_status unknown(nexus__loader *l, uint32_t key, nexus_slice name)
{
    const char *names[NEXUS__SECURITY_HEADERS];
    for (size_t i = 0; i < COUNT(names); i++)
        names[i] = nexus__security_headers[i].name.p;
    return nexus__loader_fail(l, key, "\"%.*s\" is not one of the security headers; the nearest is \"%s\"", (int)name.n,
                              name.p, nexus__nearest(name, names, COUNT(names)));
}

/* true: as by default; false: upstream's own passes, none is added; a text: that, in place of upstream's. */
static nexus_status load_one(nexus__loader *l, uint32_t key, uint32_t value, nexus_slice name, security_conf *c)
{
    bool on;
    size_t i = 0;
    if (nexus__slice_ieq(name, NEXUS_S("X-Powered-By"))) {
        if (!nexus__json_bool(l->doc, value, &c->keeps_powered_by))
            return nexus__loader_fail(l, value, "must be true (upstream's passes) or false");
        return NEXUS_OK;
    }
    while (i < NEXUS__SECURITY_HEADERS && !nexus__slice_ieq(name, nexus__security_headers[i].name))
        i++;
    if (i == NEXUS__SECURITY_HEADERS)
        return unknown(l, key, name);
    if (nexus__json_bool(l->doc, value, &on)) {
        c->headers[i].mode = on ? DEFAULT : LEFT;
        return NEXUS_OK;
    }
    c->headers[i].mode = OWN;
    nexus_status status = nexus__loader_text(l, value, &c->headers[i].value);
    if (!status && !c->headers[i].value.n)
        return nexus__loader_fail(l, value, "must be a value, true or false");
    return status;
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    security_conf *c = out;
    if (nexus__json_bool(l->doc, value, &c->on))
        return NEXUS_OK;
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be true, false or an object of headers");
    c->on = true;
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus_slice name;
        if (!nexus__json_text(l->doc, it.key, &name))
            return nexus__nomem();
        size_t mark = nexus__loader_push(l, name);
        nexus_status status = load_one(l, it.key, it.value, name, c);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

static void reply(nexus__call *call, const void *conf, void *state, const nexus__http_head *head, const char *base)
{
    const security_conf *c = conf;
    const nexus__gw_headers_conf *route = &call->route->conf->response;
    (void)state;
    if (!c->on)
        return;
    for (size_t i = 0; i < NEXUS__SECURITY_HEADERS; i++) {
        nexus_slice name = nexus__security_headers[i].name;
        if (c->headers[i].mode == LEFT || nexus__forward_changes(route, name))
            continue;
        if (c->headers[i].mode == OWN)
            (void)nexus__change_set(call, NEXUS__CHANGE_REPLY, name, c->headers[i].value);
        else if (!nexus__http_find(head, base, name))
            (void)nexus__change_add(call, NEXUS__CHANGE_REPLY, name, nexus__security_headers[i].value);
    }
    if (!c->keeps_powered_by)
        (void)nexus__change_remove(call, NEXUS__CHANGE_REPLY, NEXUS_S("X-Powered-By"));
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const security_conf *c = conf;
    (void)state;
    nexus__json_put_bool(w, "on", c->on);
    nexus__json_key(w, "own");
    nexus__json_open(w, '{');
    for (size_t i = 0; i < NEXUS__SECURITY_HEADERS; i++)
        if (c->headers[i].mode == OWN)
            nexus__json_put_text(w, nexus__security_headers[i].name.p, c->headers[i].value);
        else if (c->headers[i].mode == LEFT)
            nexus__json_put_bool(w, nexus__security_headers[i].name.p, false);
    nexus__json_close(w, '}');
}

const nexus__gw_filter nexus__gw_filter_security = {
    .key = "security_headers",
    .conf_bytes = sizeof(security_conf),
    .load = load,
    .reply = reply,
    .explain = explain,
};
