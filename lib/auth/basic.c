#include "auth/basic.h"

#include "base/codec.h"
#include "base/status.h"
#include "crypto/wipe.h"

static nexus_status append_secret(nexus_slice plain, void *user_data)
{
    nexus__buf *out = user_data;
    nexus__percent_append(out, plain);
    return out->status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__basic_append(nexus__buf *out, const char *client_id, const nexus_secret *secret)
{
    nexus__buf plain;
    nexus__buf_init(&plain, out->alloc, 0);
    nexus__percent_append(&plain, nexus__slice_c(client_id));
    nexus__buf_char(&plain, ':');
    nexus_status status = nexus_secret_use(secret, append_secret, &plain);
    nexus__buf_text(out, "Basic ");
    nexus__base64_append(out, plain.p, plain.len);
    if (plain.p)
        nexus__wipe(plain.p, plain.cap);
    nexus__buf_free(&plain);
    return status == NEXUS_OK && out->status != NEXUS_OK ? nexus__nomem() : status;
}
