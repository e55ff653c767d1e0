/* The key that signs identities for upstreams (X-Nexus-Identity): a PEM or JWK file that only this user may read. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void complain(gateway *g, const char *path, const char *what)
{
    nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL, "gateway_identity_key %s: %s",
                     path, what);
}

nexus_status gateway_identity_open(gateway *g)
{
    const char *path = nexus_settings_text(nexus_service_settings(g->service), "gateway_identity_key");
    char text[8192];
    struct stat info;
    if (!*path)
        return NEXUS_OK;
    FILE *f = fopen(path, "re");
    if (!f || fstat(fileno(f), &info) != 0 || (info.st_mode & 077) != 0) {
        complain(g, path, f ? "others can read it; chmod 600" : "cannot be opened");
        if (f)
            fclose(f);
        return NEXUS_EPERM;
    }
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    nexus_status status = n > 0 && text[0] == '{' ? nexus_key_parse_jwk(&g->identity, text, n, NULL)
                                                  : nexus_key_parse_pem(&g->identity, text, n, NULL, NULL);
    explicit_bzero(text, sizeof text);
    if (status)
        complain(g, path, nexus_error_message());
    else if (!nexus_key_is_private(g->identity)) {
        complain(g, path, "is a public key; it has to sign");
        status = NEXUS_EINVAL;
    }
    return status;
}
