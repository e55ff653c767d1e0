/* System calls, made whole: EINTR, EAGAIN and short writes end here. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/status.h"
#include "wal/internal.h"

int nexus__wal_io_open(nexus__wal *wal, const char *name, int flags)
{
    if (!wal->dir)
        return memfd_create(name, MFD_CLOEXEC);
    char path[64 + SEGMENT_NAME_MAX];
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", wal->dir_fd, name);
    if (wal->io && wal->io->open_fn)
        return wal->io->open_fn(wal->io->user_data, path, flags | O_CLOEXEC, 0600);
    return openat(wal->dir_fd, name, flags | O_CLOEXEC, 0600);
}

static ssize_t write_once(nexus__wal *wal, int fd, const void *data, size_t n, uint64_t at)
{
    if (wal->io && wal->io->pwrite_fn)
        return wal->io->pwrite_fn(wal->io->user_data, fd, data, n, (off_t)at);
    return pwrite(fd, data, n, (off_t)at);
}

nexus_status nexus__wal_io_write(nexus__wal *wal, int fd, const void *data, size_t n, uint64_t at)
{
    const char *p = data;
    while (n) {
        ssize_t wrote = write_once(wal, fd, p, n, at);
        if (wrote > 0) {
            p += wrote;
            at += (uint64_t)wrote;
            n -= (size_t)wrote;
        } else if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) {
            if (errno == EAGAIN)
                sched_yield();
        } else {
            return nexus__fail_errno(wrote < 0 ? errno : ENOSPC, "write %zu bytes of the log at %llu", n,
                                     (unsigned long long)at);
        }
    }
    return NEXUS_OK;
}

nexus_status nexus__wal_io_sync(nexus__wal *wal, int fd)
{
    if (!wal->dir)
        return NEXUS_OK;
    int rc;
    do
        rc = wal->io && wal->io->fdatasync_fn ? wal->io->fdatasync_fn(wal->io->user_data, fd) : fdatasync(fd);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? NEXUS_OK : nexus__fail_errno(errno, "sync a file of the log in %s", wal->dir);
}

void nexus__wal_io_drain(const nexus__wal *wal, int fd, uint64_t at, size_t n)
{
    if (wal->dir)
        (void)sync_file_range(fd, (off_t)at, (off_t)n,
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

nexus_status nexus__wal_io_sync_dir(nexus__wal *wal)
{
    if (!wal->dir || fsync(wal->dir_fd) == 0)
        return NEXUS_OK;
    return nexus__fail_errno(errno, "sync the directory %s", wal->dir);
}

bool nexus__wal_space(const nexus__wal *wal, uint64_t *left, uint64_t *all)
{
    struct statvfs fs;
    if (!wal->dir || wal->engine || fstatvfs(wal->dir_fd, &fs) != 0)
        return false;
    *left = (uint64_t)fs.f_bavail * fs.f_frsize;
    *all = (uint64_t)fs.f_blocks * fs.f_frsize;
    return *all > 0;
}
