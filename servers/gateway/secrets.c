/* The admin API's hold on the keys that seal the cookies of sign-ins: $STATE/login.key. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>

static void refuse(gateway *g, nexus_request *request, nexus_status status, const char *what)
{
    char why[256];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    gateway_audit_refused(g, request, what, status, why);
    if (status == NEXUS_ENOTFOUND)
        nexus_request_problem_text(request, 404, "not-found", why);
    else if (status == NEXUS_ECONFLICT || status == NEXUS_ETOOBIG)
        nexus_request_problem_text(request, 409, "conflict", why);
    else
        nexus_request_problem_text(request, 500, "not-done", why);
}

static void get_secrets(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char *json;
    size_t n;
    if (nexus_secrets_list(g->login_secrets, &json, &n)) {
        nexus_request_problem_text(request, 500, "failed", nexus_error_message());
        return;
    }
    nexus_request_reply(request, 200, "application/json", (nexus_slice){json, n});
    nexus_free(json);
}

static void post_rotate(nexus_request *request, void *user_data)
{
    static const char what[] = "POST /admin/v1/secrets/rotate";
    gateway *g = user_data;
    if (!gateway_audited(g, request, what))
        return;
    nexus_status status = nexus_secrets_rotate(g->login_secrets);
    if (status)
        refuse(g, request, status, what);
    else
        get_secrets(request, g);
}

static void delete_secret(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice id = {"", 0};
    char kid[32], what[96];
    nexus_request_param(request, "kid", &id);
    snprintf(kid, sizeof kid, "%.*s", (int)id.n, id.p);
    snprintf(what, sizeof what, "DELETE /admin/v1/secrets/%s", kid);
    if (!gateway_audited(g, request, what))
        return;
    nexus_status status = nexus_secrets_retire(g->login_secrets, kid, GATEWAY_SESSION_S + 300);
    if (status)
        refuse(g, request, status, what);
    else
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
}

nexus_status gateway_secrets_routes(gateway *g)
{
    static const gateway_admin_route rows[] = {
        {"GET", "/admin/v1/secrets", "getSecrets", "The keys that seal cookies of sign-ins", get_secrets},
        {"POST", "/admin/v1/secrets/rotate", "rotateSecrets", "Put a new key in front of them", post_rotate},
        {"DELETE", "/admin/v1/secrets/{kid}", "retireSecret", "Take one out when every session it sealed is over",
         delete_secret},
    };
    return g->login_secrets ? gateway_admin_add(g, rows, sizeof rows / sizeof rows[0]) : NEXUS_OK;
}
