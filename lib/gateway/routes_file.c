/*
 * The routes file: read, watched, written.
 *
 * A change is seen at once through inotify, and within watch_ms by looking: what inotify cannot see (a network file
 * system, a link further up that was moved) costs a little time, never a change. The directory is watched, since most
 * editors and every deployment replace the file. All reading and writing is done by workers, under load_mutex.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "base/time.h"
#include "gateway/gateway.h"

enum { FILE_MAX = 64 * 1024 * 1024, WATCH_MS = 1000, BUSY_MS = 10 };

/* --- reading ------------------------------------------------------------------------------------------------------ */

static nexus_status read_file(const char *path, nexus__buf *out, struct stat *info)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, info) != 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return nexus__fail_errno(error, "routes file %s", path);
    }
    for (;;) {
        char *at = nexus__buf_reserve(out, 65536);
        ssize_t n = at ? read(fd, at, 65536) : -1;
        if (n <= 0)
            break;
        out->len += (size_t)n;
    }
    close(fd);
    return out->status ? nexus__fail(out->status, "routes file %s is over %d bytes", path, FILE_MAX) : NEXUS_OK;
}

static int64_t mtime_of(const struct stat *info)
{
    return info->st_mtim.tv_sec * NEXUS__NS_PER_S + info->st_mtim.tv_nsec;
}

static void note(nexus_gateway *g, const struct stat *info)
{
    pthread_mutex_lock(&g->locked.mutex);
    g->locked.mtime_ns = mtime_of(info);
    g->locked.size = info->st_size;
    g->locked.inode = (int64_t)info->st_ino;
    pthread_mutex_unlock(&g->locked.mutex);
}

static bool is_noted(nexus_gateway *g, const struct stat *info)
{
    pthread_mutex_lock(&g->locked.mutex);
    bool same = mtime_of(info) == g->locked.mtime_ns && info->st_size == g->locked.size &&
                (int64_t)info->st_ino == g->locked.inode;
    pthread_mutex_unlock(&g->locked.mutex);
    return same;
}

static char *watched_path(nexus_gateway *g)
{
    pthread_mutex_lock(&g->locked.mutex);
    char *path = g->locked.path ? nexus__strndup(g->alloc, nexus__slice_c(g->locked.path)) : NULL;
    pthread_mutex_unlock(&g->locked.mutex);
    return path;
}

/* Under load_mutex, so that an edit that was written meanwhile is not taken back. */
static nexus_status load_path(nexus_gateway *g, const char *path)
{
    nexus__buf text;
    struct stat info = {0};
    nexus__buf_init(&text, g->alloc, FILE_MAX);
    nexus_status status = read_file(path, &text, &info);
    note(g, &info);
    if (!status)
        status = nexus__gateway_load_locked(g, path, path, nexus__buf_slice(&text));
    nexus__buf_free(&text);
    return status ? nexus__gateway_remember(g, status) : NEXUS_OK;
}

static nexus_status set_path(nexus_gateway *g, const char *path)
{
    char *copy = nexus__strndup(g->alloc, nexus__slice_c(path));
    if (!copy)
        return nexus__nomem();
    pthread_mutex_lock(&g->locked.mutex);
    nexus__free(g->alloc, g->locked.path);
    g->locked.path = copy;
    g->locked.mtime_ns = g->locked.size = g->locked.inode = 0;
    pthread_mutex_unlock(&g->locked.mutex);
    return NEXUS_OK;
}

static nexus_status refuse_loop(void)
{
    return nexus__on_loop_thread()
               ? nexus__fail(NEXUS_EDEADLK, "gateway: loading resolves names and may block; not on a loop")
               : NEXUS_OK;
}

nexus_status nexus_gateway_load_file(nexus_gateway *g, const char *path)
{
    nexus_status status = refuse_loop();
    if (status)
        return status;
    pthread_mutex_lock(&g->load_mutex);
    status = set_path(g, path);
    if (!status)
        status = load_path(g, path);
    pthread_mutex_unlock(&g->load_mutex);
    return status;
}

nexus_status nexus_gateway_keep_in(nexus_gateway *g, const char *path)
{
    pthread_mutex_lock(&g->load_mutex);
    nexus_status status = set_path(g, path);
    pthread_mutex_unlock(&g->load_mutex);
    return status;
}

nexus_status nexus_gateway_reload(nexus_gateway *g)
{
    nexus_status status = refuse_loop();
    char *path = status ? NULL : watched_path(g);
    struct stat info;
    if (status)
        return status;
    if (!path || (stat(path, &info) != 0 && errno == ENOENT && is_noted(g, &(struct stat){0}))) {
        nexus__free(g->alloc, path);
        return nexus__fail(NEXUS_ENOTFOUND, "gateway: no routes file was loaded");
    }
    pthread_mutex_lock(&g->load_mutex);
    status = load_path(g, path);
    pthread_mutex_unlock(&g->load_mutex);
    nexus__free(g->alloc, path);
    return status;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static nexus_status write_beside(const char *beside, nexus_slice text, mode_t mode, struct stat *info)
{
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return nexus__fail_errno(errno, "routes file %s", beside);
    size_t at = 0;
    while (at < text.n) {
        ssize_t n = write(fd, text.p + at, text.n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    int error = at < text.n || fsync(fd) != 0 || fstat(fd, info) != 0 ? errno : 0;
    close(fd);
    return error ? nexus__fail_errno(error, "routes file %s", beside) : NEXUS_OK;
}

static void sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    int fd = open(*folder ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

nexus_status nexus__routes_file_save(nexus_gateway *g, nexus_slice text)
{
    char *path = watched_path(g), real[4096], beside[4200];
    struct stat was = {0}, info;
    if (!path)
        return NEXUS_OK;
    bool there = realpath(path, real) && stat(real, &was) == 0; /* a link stays a link */
    snprintf(beside, sizeof beside, "%s.new", there ? real : path);
    nexus_status status = NEXUS_OK;
    if (there && !is_noted(g, &was))
        status = nexus__fail(NEXUS_ESTALE,
                             "the routes file %s was changed and is not in force; load it or put it right "
                             "first",
                             path);
    if (!status)
        status = write_beside(beside, text, there ? was.st_mode & 0777 : 0600, &info);
    if (!status && rename(beside, there ? real : path) != 0)
        status = nexus__fail_errno(errno, "routes file %s", path);
    if (!status) {
        sync_folder(there ? real : path);
        note(g, &info);
    } else {
        (void)unlink(beside);
    }
    nexus__free(g->alloc, path);
    return status;
}

/* --- watching: loop 0 --------------------------------------------------------------------------------------------- */

static void end_look(nexus_gateway *g)
{
    pthread_mutex_lock(&g->locked.mutex);
    g->locked.busy = false;
    pthread_cond_broadcast(&g->locked.idle);
    pthread_mutex_unlock(&g->locked.mutex);
}

static void look_job(void *user_data)
{
    nexus_gateway *g = user_data;
    char *path = watched_path(g);
    struct stat info;
    pthread_mutex_lock(&g->load_mutex);
    if (path && stat(path, &info) == 0 && !is_noted(g, &info))
        (void)load_path(g, path); /* what went wrong is in last_error */
    pthread_mutex_unlock(&g->load_mutex);
    nexus__free(g->alloc, path);
    end_look(g);
}

static void on_folder(nexus__watch *watch, uint32_t ready)
{
    nexus_gateway *g = NEXUS__CONTAINER(watch, nexus_gateway, file_watch);
    char events[4096];
    (void)ready;
    while (read(watch->fd, events, sizeof events) > 0)
        ;
    g->loops[0].next_look = 0;
    nexus_timer_start(g->loops[0].timer, 1);
}

/* Watches the folder of the file; without inotify there still is looking. */
static void watch_folder(nexus_gateway *g)
{
    char *path = watched_path(g);
    if (!path)
        return;
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    char *slash = strrchr(path, '/');
    const char *folder = !slash ? "." : slash == path ? "/" : path;
    if (slash)
        *slash = 0;
    if (fd >= 0 && (inotify_add_watch(fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) < 0 ||
                    nexus__watch_start_level(&g->file_watch, g->loops[0].loop, fd, on_folder))) {
        close(fd);
        g->file_watch.fd = -1;
    }
    g->file_watched = true;
    nexus__free(g->alloc, path);
}

void nexus__routes_file_unwatch(nexus_gateway *g)
{
    nexus__watch_stop(&g->file_watch);
    if (g->file_watch.fd >= 0)
        close(g->file_watch.fd);
    g->file_watch.fd = -1;
}

uint32_t nexus__routes_file_tick(nexus_gateway *g, nexus__gw_loop *home, int64_t now)
{
    uint32_t ms = g->opts.watch_ms ? g->opts.watch_ms : WATCH_MS;
    if (g->opts.watch_ms == UINT32_MAX)
        return WATCH_MS;
    if (now < home->next_look)
        return (uint32_t)((home->next_look - now) / NEXUS__NS_PER_MS) + 1;
    if (!g->file_watched)
        watch_folder(g);
    pthread_mutex_lock(&g->locked.mutex);
    bool busy = g->locked.busy, named = g->locked.path, go = named && !busy;
    if (go)
        g->locked.busy = true;
    pthread_mutex_unlock(&g->locked.mutex);
    if (go && nexus_runtime_submit(g->runtime, look_job, g)) {
        end_look(g);
        busy = true;
    }
    if (busy)
        ms = BUSY_MS; /* what changed while one look was under way is seen by the next */
    else if (!named && ms > WATCH_MS)
        ms = WATCH_MS; /* the file is named in a moment, and then watched */
    home->next_look = now + ms * NEXUS__NS_PER_MS;
    return ms;
}
