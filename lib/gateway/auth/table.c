#include "gateway/auth/authenticator.h"

const nexus__gw_authenticator *const nexus__gw_authenticators[] = {
    &nexus__gw_auth_jwt,  &nexus__gw_auth_api_key,    &nexus__gw_auth_ip,        &nexus__gw_auth_ext,
    &nexus__gw_auth_oidc, &nexus__gw_auth_introspect, &nexus__gw_auth_signature,
    &nexus__gw_auth_client_cert,
    &nexus__gw_auth_anonymous, NULL,
};
