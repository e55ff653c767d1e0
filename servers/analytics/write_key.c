/* The key of those who may only write. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "analytics.h"

#define KEY_BYTES 24

/* True when the file had a key. */
static bool read_key(analytics *a, const char *path)
{
    char text[128];
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(text, sizeof text, f);
    if (f)
        fclose(f);
    size_t n = ok ? strcspn(text, "\r\n") : 0;
    ok = n > 0 && nexus_secret_new(&a->own_write_key, (nexus_slice){text, n}) == NEXUS_OK;
    explicit_bzero(text, sizeof text);
    a->write_key = a->own_write_key;
    return ok;
}

/* Written beside and linked into place, so that no reader sees half a key and the first of two makers wins. */
static bool make_key(const char *path)
{
    unsigned char random[KEY_BYTES];
    char own[4096 + 32], text[8 + 2 * KEY_BYTES] = "nxw_";
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return false;
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(text + 4 + 2 * i, 3, "%02x", random[i]);
    snprintf(own, sizeof own, "%s.%ld", path, (long)getpid());
    int fd = open(own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = dprintf(fd, "%s\n", text) > 0 && fsync(fd) == 0;
    close(fd);
    ok = ok && (link(own, path) == 0 || errno == EEXIST);
    unlink(own);
    return ok;
}

nexus_status analytics_write_key(analytics *a)
{
    char path[4096];
    a->write_key = nexus_settings_secret(nexus_service_settings(a->service), "write_key");
    if (a->write_key)
        return NEXUS_OK;
    snprintf(path, sizeof path, "%s/write.key", nexus_service_state_dir(a->service));
    if (read_key(a, path) || (make_key(path) && read_key(a, path)))
        return NEXUS_OK;
    nexus_log_printf(nexus_service_log(a->service), NEXUS_LOG_ERROR, "ingest", NULL, "%s cannot be made: %s", path,
                     strerror(errno));
    return NEXUS_EIO;
}
