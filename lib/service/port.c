/* Who listens on a port: the socket's inode from /proc/net/tcp, then the process that has it open. Only processes
 * that we may look into are found. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "service/service.h"

enum { LISTEN_STATE = 0x0a };

static unsigned long inode_in(const char *path, uint16_t port)
{
    FILE *f = fopen(path, "re");
    char line[512];
    unsigned long found = 0;
    while (f && !found && fgets(line, sizeof line, f)) {
        unsigned local = 0, state = 0;
        unsigned long inode = 0;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu", &local, &state,
                   &inode) == 3 &&
            local == port && state == LISTEN_STATE)
            found = inode;
    }
    if (f)
        fclose(f);
    return found;
}

static bool has_open(const char *pid, const char *socket_name)
{
    char path[300], target[64];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        char link_path[600];
        snprintf(link_path, sizeof link_path, "%s/%s", path, e->d_name);
        ssize_t n = readlink(link_path, target, sizeof target - 1);
        if (n > 0) {
            target[n] = '\0';
            found = strcmp(target, socket_name) == 0;
        }
    }
    if (dir)
        closedir(dir);
    return found;
}

static void describe(const char *pid, char *out, size_t cap)
{
    char path[300], name[64] = "a process";
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f && fgets(name, sizeof name, f))
        name[strcspn(name, "\n")] = '\0';
    if (f)
        fclose(f);
    snprintf(out, cap, "%s (pid %s)", name, pid);
}

void nexus__port_holder(uint16_t port, char *out, size_t cap)
{
    out[0] = '\0';
    unsigned long inode = inode_in("/proc/net/tcp", port);
    if (!inode)
        inode = inode_in("/proc/net/tcp6", port);
    DIR *proc = inode ? opendir("/proc") : NULL;
    char socket_name[64];
    snprintf(socket_name, sizeof socket_name, "socket:[%lu]", inode);
    for (struct dirent *e; proc && (e = readdir(proc));) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !has_open(e->d_name, socket_name))
            continue;
        describe(e->d_name, out, cap);
        break;
    }
    if (proc)
        closedir(proc);
}
