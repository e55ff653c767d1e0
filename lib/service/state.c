/* The state directory: where it is, who holds it, secrets in it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/id.h"
#include "base/status.h"
#include "service/service.h"

enum { SECRET_BYTES_MAX = 64, SECRET_FILE_MAX = 4096 };

static nexus_status make_path(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        int failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        *p = '/';
        if (failed)
            return nexus__fail_errno(errno, "cannot make the state directory %s", path);
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return nexus__fail_errno(errno, "cannot make the state directory %s", path);
    return NEXUS_OK;
}

nexus_status nexus__state_dir(char **out, const nexus_alloc *alloc, const nexus_settings *settings)
{
    char path[NEXUS__STATE_PATH_MAX], whole[PATH_MAX];
    nexus_settings_state_dir(settings, path, sizeof path);
    nexus_status status = make_path(path);
    if (status != NEXUS_OK)
        return status;
    if (!realpath(path, whole))
        return nexus__fail_errno(errno, "cannot resolve the state directory %s", path);
    if (access(whole, W_OK | X_OK) != 0)
        return nexus__fail_errno(errno, "the state directory %s cannot be written", whole);
    *out = nexus__strndup(alloc, nexus__slice_c(whole));
    return *out ? NEXUS_OK : nexus__nomem();
}

static void read_line(int fd, char *out, size_t cap)
{
    ssize_t n = pread(fd, out, cap - 1, 0);
    out[n < 0 ? 0 : n] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static void write_pid(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return; /* the lock counts; the number is for people */
}

static nexus_status open_lock(int *fd, const char *path, int mode)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        return nexus__fail_errno(errno, "cannot open %s", path);
    if (flock(*fd, mode | LOCK_NB) == 0)
        return NEXUS_OK;
    return NEXUS_ECONFLICT;
}

nexus_status nexus__state_lock(int *fd, const char *state_dir, bool exclusive)
{
    char path[NEXUS__STATE_PATH_MAX + 16], holder[32];
    snprintf(path, sizeof path, "%s/lock", state_dir);
    nexus_status status = open_lock(fd, path, exclusive ? LOCK_EX : LOCK_SH);
    if (status == NEXUS_OK && exclusive)
        write_pid(*fd);
    if (status != NEXUS_ECONFLICT)
        return status;
    read_line(*fd, holder, sizeof holder);
    close(*fd);
    *fd = -1;
    if (exclusive)
        return nexus__fail(NEXUS_ECONFLICT,
                           "the state directory %s is in use by separate services or another nexusd; stop them or set "
                           "NEXUS_STATE_DIR",
                           state_dir);
    return nexus__fail(NEXUS_ECONFLICT,
                       "the state directory %s is in use by nexusd (pid %s); stop it or set "
                       "NEXUS_STATE_DIR",
                       state_dir, holder);
}

nexus_status nexus__service_lock(int *fd, const char *state_dir, const char *service)
{
    char path[NEXUS__STATE_PATH_MAX + 64], holder[32];
    snprintf(path, sizeof path, "%s/%s.lock", state_dir, service);
    nexus_status status = open_lock(fd, path, LOCK_EX);
    if (status == NEXUS_OK)
        write_pid(*fd);
    if (status != NEXUS_ECONFLICT)
        return status;
    read_line(*fd, holder, sizeof holder);
    close(*fd);
    *fd = -1;
    return nexus__fail(NEXUS_ECONFLICT, "%s runs already on the state directory %s (pid %s)", service, state_dir,
                       holder);
}

/* Writes the secret under a name of its own and links it into place: whoever links first has made it. */
static nexus_status make_secret(const char *path, size_t bytes)
{
    uint8_t raw[SECRET_BYTES_MAX];
    char temporary[NEXUS__STATE_PATH_MAX + 160], id[NEXUS__UUID_LEN + 1];
    nexus__uuid7(id);
    snprintf(temporary, sizeof temporary, "%s.%s", path, id);
    nexus__random(raw, bytes);
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__base64url_append(&text, raw, bytes);
    nexus__buf_char(&text, '\n');
    nexus_status status = text.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
    int fd = status == NEXUS_OK ? open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (status == NEXUS_OK && (fd < 0 || write(fd, text.p, text.len) != (ssize_t)text.len || fsync(fd) != 0 ||
                               (link(temporary, path) != 0 && errno != EEXIST)))
        status = nexus__fail_errno(errno, "cannot write %s", path);
    if (fd >= 0)
        close(fd);
    (void)unlink(temporary);
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus__state_secret(char **out, const char *state_dir, const char *file, size_t bytes)
{
    char path[NEXUS__STATE_PATH_MAX + 64];
    if (bytes < 16 || bytes > SECRET_BYTES_MAX || strchr(file, '/') || strlen(file) > 60)
        return nexus__fail(NEXUS_EINVAL, "a secret has 16 to %d bytes and a plain file name", SECRET_BYTES_MAX);
    snprintf(path, sizeof path, "%s/%s", state_dir, file);
    if (access(path, F_OK) != 0) {
        nexus_status status = make_secret(path, bytes);
        if (status != NEXUS_OK)
            return status;
    }
    char *text = NULL;
    size_t n = 0;
    nexus_status status = nexus__file_read(NULL, path, SECRET_FILE_MAX, &text, &n);
    if (status != NEXUS_OK)
        return status;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
        text[--n] = '\0';
    if (n < 16) {
        nexus__free(NULL, text);
        return nexus__fail(NEXUS_ECORRUPT, "%s is shorter than 16 bytes; remove it to have a new one made", path);
    }
    *out = text;
    return NEXUS_OK;
}
