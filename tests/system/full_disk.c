/* Loaded into a server by a test: while the file NEXUS_TEST_FULL is there, writes into files below .../audit/ find no space. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_full(int fd)
{
    char link[64], path[4096];
    const char *flag = getenv("NEXUS_TEST_FULL");
    if (!flag || access(flag, F_OK) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = 0;
    return strstr(path, "/audit/") != NULL;
}

typedef ssize_t pwrite_fn(int fd, const void *data, size_t n, off_t at);

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    if (!is_full(fd))
        return ((pwrite_fn *)dlsym(RTLD_NEXT, "pwrite"))(fd, data, n, at);
    errno = ENOSPC;
    return -1;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t at)
{
    return pwrite(fd, data, n, at);
}
