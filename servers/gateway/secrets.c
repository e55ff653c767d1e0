/* The admin API's hold on the keys that seal the cookies of sign-ins: $STATE/login.key. */
#include "gateway/gateway.h"

static nexus_status list(void *user_data, char **json, size_t *n)
{
    return nexus_secrets_list(user_data, json, n);
}

static nexus_status rotate(void *user_data)
{
    return nexus_secrets_rotate(user_data);
}

static nexus_status retire(void *user_data, const char *kid)
{
    return nexus_secrets_retire(user_data, kid, GATEWAY_SESSION_S + 300);
}

static void get_secrets(nexus_request *request, void *user_data)
{
    nexus_ring_show(request, &((gateway *)user_data)->login_ring);
}

static void post_rotate(nexus_request *request, void *user_data)
{
    nexus_ring_rotate(request, &((gateway *)user_data)->login_ring);
}

static void delete_secret(nexus_request *request, void *user_data)
{
    nexus_ring_retire(request, &((gateway *)user_data)->login_ring);
}

nexus_status gateway_secrets_routes(gateway *g)
{
    static const gateway_admin_route rows[] = {
        {"GET", "/admin/v1/secrets", "getSecrets", "The keys that seal cookies of sign-ins", get_secrets},
        {"POST", "/admin/v1/secrets/rotate", "rotateSecrets", "Put a new key in front of them", post_rotate},
        {"DELETE", "/admin/v1/secrets/{kid}", "retireSecret", "Take one out when every session it sealed is over",
         delete_secret},
    };
    g->login_ring = (nexus_ring_calls){
        .service = g->service, .name = "login", .list = list, .rotate = rotate, .retire = retire, .user_data = g->login_secrets};
    return g->login_secrets ? gateway_admin_add(g, rows, sizeof rows / sizeof rows[0]) : NEXUS_OK;
}
