/* The keys of callers that sign their requests (RFC 9421): a JWK set that only this user may read, for it may hold secrets. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void complain(gateway *g, const char *path, const char *what)
{
    nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_ERROR, "gateway", NULL, "gateway_signature_keys %s: %s", path,
                     what);
}

nexus_status gateway_signatures_open(gateway *g)
{
    enum { KEYS_BYTES_MAX = 1024 * 1024 };
    const char *path = nexus_settings_text(nexus_service_settings(g->service), "gateway_signature_keys");
    nexus_keyset_opts opts = NEXUS_KEYSET_OPTS_INIT;
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
    char *text = info.st_size <= KEYS_BYTES_MAX ? malloc((size_t)info.st_size + 1) : NULL;
    size_t n = text ? fread(text, 1, (size_t)info.st_size, f) : 0;
    fclose(f);
    if (!text) {
        complain(g, path, "is over 1 MiB");
        return NEXUS_ETOOBIG;
    }
    opts.allow_hmac = true;
    nexus_status status = nexus_keyset_parse(&g->signature_keys, text, n, &opts);
    explicit_bzero(text, n);
    free(text);
    if (status)
        complain(g, path, nexus_error_message());
    return status;
}
