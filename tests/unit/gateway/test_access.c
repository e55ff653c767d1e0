/* What a caller may do, by the roles of the routes file and the scopes of the token; and what the file may not say. */
#include <criterion/criterion.h>
#include <nexus/jwt.h>
#include <stdio.h>
#include <string.h>

#include "auth/principal.h"
#include "base/time.h"
#include "gateway/auth/access.h"
#include "gateway/config.h"

#define FILE_WITH(roles, route)                                                                                        \
    "{\"upstreams\":{\"a\":{\"targets\":[\"http://h\"]}}," roles                                                       \
    "\n\"routes\":[{\"prefix\":\"/\",\"upstream\":\"a\"" route "}]}"
#define ROLES                                                                                                          \
    "\"roles\":{\"operator\":{\"inherits\":[\"customer\"],\"allow\":[\"orders:*\",\"audit:**\"],\"deny\":["            \
    "\"orders:delete\"]},\"customer\":{\"allow\":[\"orders:create\"],\"own\":[\"orders:read\"]},"                      \
    "\"reader\":[\"orders:read\"]},"

static nexus__gw_config *parse(const char *text)
{
    nexus__gw_config *c;
    cr_assert_eq(nexus__gw_config_parse(&c, "f", nexus__slice_c(text), NULL), 0, "%s", nexus_error_message());
    return c;
}

/* A caller with these claims, as the verifier makes one. */
static nexus_principal *caller(const char *members)
{
    static nexus_keyset *keys;
    static nexus_key *key;
    char claims[512], *token;
    size_t n;
    nexus_claims *verified;
    nexus_principal *p;
    nexus_jwt_rules rules = NEXUS_JWT_RULES_INIT;
    rules.issuer = "i", rules.audience = "a", rules.now_s = 100;
    if (!keys) {
        cr_assert_eq(nexus_key_generate(&key, "EdDSA", "k"), 0);
        cr_assert_eq(nexus_keyset_new(&keys, NULL), 0);
        cr_assert_eq(nexus_keyset_add(keys, key), 0);
    }
    snprintf(claims, sizeof claims, "{\"iss\":\"i\",\"aud\":\"a\",\"sub\":\"ada\",\"iat\":90,\"exp\":200%s}", members);
    cr_assert_eq(nexus_jwt_sign(&token, &n, key, NULL, claims, strlen(claims)), 0);
    cr_assert_eq(nexus_jwt_verify(keys, token, n, &rules, &verified), 0, "%s", nexus_error_message());
    cr_assert_eq(nexus__principal_new(&p, NULL, verified, nexus__slice(token, n)), 0);
    nexus_free(token);
    return p;
}

static const struct {
    const char *claims, *permission;
    bool held;
} holds[] = {
    {",\"roles\":[\"operator\"]", "orders:read", true},
    {",\"roles\":[\"operator\"]", "orders:create", true},  /* inherited */
    {",\"roles\":[\"operator\"]", "orders:delete", false}, /* deny beats allow */
    {",\"roles\":[\"reader\",\"operator\"]", "orders:delete", false},
    {",\"roles\":[\"operator\"]", "audit:log:read", true},
    {",\"roles\":[\"operator\"]", "audit", false},
    {",\"roles\":[\"customer\"]", "orders:read", true}, /* one's own: the service knows whose */
    {",\"roles\":[\"customer\"]", "orders:update", false},
    {",\"roles\":[\"stranger\"]", "orders:read", false},
    {"", "orders:read", false},
    {",\"scope\":\"orders:read openid\"", "orders:read", true}, /* no roles: the scopes alone */
    {",\"scope\":\"orders:*\"", "orders:read", true},
    {",\"scp\":[\"openid\",\"orders:read\"]", "orders:read", true},
    {",\"scope\":\"orders:reading\"", "orders:read", false},
    {",\"scope\":\"openid profile\"", "orders:read", false},
    {",\"roles\":[\"operator\"],\"scope\":\"orders:read\"", "orders:read", true},
    {",\"roles\":[\"operator\"],\"scope\":\"orders:read\"", "orders:create", false}, /* the token carries less */
    {",\"roles\":[\"operator\"],\"scope\":\"openid email\"", "orders:create", true}, /* says nothing of permissions */
    {",\"roles\":[\"operator\"],\"scope\":\"orders:**\"", "orders:delete", false},
    {",\"roles\":[\"reader\"],\"scope\":\"orders:*\"", "orders:create", false}, /* a scope adds nothing to a role */
};

Test(access, roles_and_scopes)
{
    nexus__gw_config *c = parse(FILE_WITH(ROLES, ",\"auth\":\"jwt\",\"require\":{\"all\":[\"orders:read\"]}"));
    for (size_t i = 0; i < sizeof holds / sizeof *holds; i++) {
        nexus_principal *p = caller(holds[i].claims);
        cr_assert_eq(nexus__gw_holds(c->policy, p, nexus__slice_c(holds[i].permission)), holds[i].held, "%s %s",
                     holds[i].claims, holds[i].permission);
        nexus_principal_free(p);
    }
    nexus_principal *nobody;
    cr_assert_eq(nexus__principal_named(&nobody, NULL, NEXUS_S("anonymous")), 0);
    cr_assert_not(nexus__gw_holds(c->policy, nobody, NEXUS_S("orders:read")));
    nexus_principal_free(nobody);
    nexus__gw_config_free(c);
}

Test(access, without_roles_the_services_own_policy_holds)
{
    nexus__gw_config *c = parse(FILE_WITH("", ",\"auth\":\"jwt\",\"require\":{\"any\":[\"analytics:read\"]}"));
    nexus_principal *p = caller(",\"roles\":[\"operator\"]"), *q = caller(",\"roles\":[\"customer\"]");
    cr_assert(nexus__gw_holds(c->policy, p, NEXUS_S("analytics:read")));
    cr_assert_not(nexus__gw_holds(c->policy, q, NEXUS_S("analytics:read")));
    nexus_principal_free(p);
    nexus_principal_free(q);
    nexus__gw_config_free(c);
}

Test(access, costs_less_than_a_microsecond_or_says_so)
{
    enum { ROUNDS = 200000 };
    nexus__gw_config *c = parse(FILE_WITH(ROLES, ",\"auth\":\"jwt\",\"require\":{\"all\":[\"orders:read\"]}"));
    nexus_principal *p = caller(",\"roles\":[\"operator\"],\"scope\":\"openid orders:read\"");
    volatile bool held = false;
    int64_t start = nexus__mono_ns();
    for (int i = 0; i < ROUNDS; i++)
        held = nexus__gw_holds(c->policy, p, NEXUS_S("orders:read"));
    printf("a check of one permission takes %.0f ns\n", (double)(nexus__mono_ns() - start) / ROUNDS);
    cr_assert(held);
    nexus_principal_free(p);
    nexus__gw_config_free(c);
}

static const struct {
    const char *text, *message;
} broken[] = {
    {FILE_WITH("", ",\"auth\":\"jtw\""),
     "f:2:47: /routes/0/auth: no authenticator \"jtw\" at 1; the nearest known one is \"jwt\""},
    {FILE_WITH("", ",\"auth\":\"jwt or anonymous\""),
     "/routes/0/auth: \"jwt or anonymous\" expects AND, OR (in capitals) or the end at 5"},
    {FILE_WITH("", ",\"identity\":true"), "needs \"auth\""},
    {FILE_WITH("", ",\"auth\":\"ext\""), "names ext, which needs \"ext\""},
    {FILE_WITH("", ",\"ext\":{}"), "\"url\" is missing"},
    {FILE_WITH("", ",\"ext\":{\"url\":\"ftp://x\"}"), "/routes/0/ext: must be http"},
    {FILE_WITH("", ",\"ext\":{\"url\":\"http://x\",\"headers\":[\"X-Forwarded-For\"]}"),
     "no field that may be passed on"},
    {FILE_WITH("", ",\"ext\":{\"url\":\"http://x\",\"add\":[\"x-nexus-user\"]}"), "no field that may be passed on"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"*\"],\"credentials\":true}"), "with credentials would let every site"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"*\",\"https://a.com\"]}"), "stands alone"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"null\"]}"), "\"null\" is no origin"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"https://a.com/\"]}"), "is no origin"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"https://a.com*\"]}"), "is no origin"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"https://*a.com\"]}"), "is no origin"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"https://a.com:99999\"]}"), "is no origin"},
    {FILE_WITH("", ",\"cors\":{\"origins\":[\"https://a.com\"],\"headers\":[\"a b\"]}"), "no method or header"},
    {FILE_WITH("", ",\"auth\":true"), "must be a string"},
    {FILE_WITH("", ",\"auth\":\"jwt AND ip\""), "names ip, which needs \"ip\""},
    {FILE_WITH("", ",\"token\":true"), "unknown key \"token\""},
    {FILE_WITH("", ",\"roles\":[\"a\"]"), "need \"auth\""},
    {FILE_WITH("", ",\"require\":{\"all\":[\"a:b\"]}"), "need \"auth\""},
    {FILE_WITH("", ",\"auth\":\"ip\",\"ip\":{\"allow\":[\"::1\"]},\"roles\":[\"a\"]"), "that tells who asks"},
    {FILE_WITH("", ",\"auth\":\"jwt\",\"require\":{}"), "at least one permission"},
    {FILE_WITH("", ",\"auth\":\"jwt\",\"require\":{\"all\":[\"orders:*\"]}"),
     "/routes/0/require/all: \"orders:*\" is no permission"},
    {FILE_WITH("", ",\"auth\":\"jwt\",\"require\":{\"every\":[\"a:b\"]}"), "unknown key \"every\""},
    {FILE_WITH("", ",\"ip\":{}"), "needs \"allow\" or \"deny\""},
    {FILE_WITH("", ",\"ip\":{\"allow\":[\"10.0.0.0/33\"]}"), "/routes/0/ip: \"10.0.0.0/33\" is no address"},
    {FILE_WITH("\"roles\":[],", ""), "must be an object of roles"},
    {FILE_WITH("\"roles\":{\"a\":{\"inherits\":[\"b\"]}},", ""),
     "/roles/a: inherits from \"b\", which is no role here"},
    {FILE_WITH("\"roles\":{\"a\":{\"inherits\":[\"b\"]},\"b\":{\"inherits\":[\"a\"]}},", ""),
     "/roles/b: role \"b\" would inherit"},
    {FILE_WITH("\"roles\":{\"a\":[\"orders\"]},", ""), "/roles/a: pattern \"orders\" must have 2 to 6"},
    {FILE_WITH("\"roles\":{\"a\":[\"**:x\"]},", ""), "may have ** as its last segment only"},
};

Test(access, errors_name_place_and_remedy)
{
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        nexus__gw_config *c;
        cr_assert_eq(nexus__gw_config_parse(&c, "f", nexus__slice_c(broken[i].text), NULL), NEXUS_EINVAL, "%s",
                     broken[i].text);
        cr_assert(strstr(nexus_error_message(), broken[i].message), "%s\ngave %s", broken[i].text,
                  nexus_error_message());
    }
}
