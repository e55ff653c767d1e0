/* Named blobs beside the log: written whole (temporary file, sync, rename, sync of the directory), with a CRC. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/status.h"
#include "wal/internal.h"

typedef struct checkpoint_head {
    char magic[8];
    uint8_t uuid[16];
    uint64_t bytes;
    uint32_t crc, reserved;
} checkpoint_head;

static const char checkpoint_magic[8] = "NXCKPT1";

static nexus_status bad_name(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-'))
            return nexus__fail(NEXUS_EINVAL, "a checkpoint name is [a-z0-9-]{1,32}");
    return *name && strlen(name) <= 32 ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "a checkpoint name is [a-z0-9-]{1,32}");
}

static nexus_status write_file(nexus__wal *wal, const char *name, const checkpoint_head *head, nexus_slice blob)
{
    int fd = nexus__wal_io_open(wal, name, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0)
        return nexus__fail_errno(errno, "write the checkpoint %s/%s", wal->dir, name);
    nexus_status status = nexus__wal_io_write(wal, fd, head, sizeof *head, 0);
    if (status == NEXUS_OK)
        status = nexus__wal_io_write(wal, fd, blob.p, blob.n, sizeof *head);
    if (status == NEXUS_OK)
        status = nexus__wal_io_sync(wal, fd);
    close(fd);
    return status;
}

nexus_status nexus__wal_checkpoint_write(nexus__wal *wal, const char *name, nexus_slice blob)
{
    nexus_status status = bad_name(name);
    if (status != NEXUS_OK || !wal->dir)
        return status;
    checkpoint_head head = {.bytes = blob.n, .crc = nexus__crc32c(0, blob.p, blob.n)};
    memcpy(head.magic, checkpoint_magic, sizeof head.magic);
    memcpy(head.uuid, wal->uuid, sizeof head.uuid);
    char temporary[48], final[48];
    snprintf(temporary, sizeof temporary, "%s.tmp", name);
    snprintf(final, sizeof final, "%s.ckpt", name);
    status = write_file(wal, temporary, &head, blob);
    if (status != NEXUS_OK)
        return status;
    if (renameat(wal->dir_fd, temporary, wal->dir_fd, final) != 0)
        return nexus__fail_errno(errno, "rename the checkpoint %s/%s", wal->dir, final);
    return nexus__wal_io_sync_dir(wal);
}

static bool read_whole(int fd, void *out, size_t n, off_t at)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = pread(fd, (char *)out + have, n - have, at + (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

nexus_status nexus__wal_checkpoint_read(nexus__wal *wal, const char *name, char **out, size_t *n)
{
    nexus_status status = bad_name(name);
    if (status != NEXUS_OK)
        return status;
    char final[48];
    snprintf(final, sizeof final, "%s.ckpt", name);
    int fd = wal->dir ? nexus__wal_io_open(wal, final, O_RDONLY) : -1;
    if (fd < 0)
        return nexus__fail(NEXUS_ENOTFOUND, "there is no checkpoint %s", name);
    checkpoint_head head;
    struct stat st;
    bool fits = fstat(fd, &st) == 0 && read_whole(fd, &head, sizeof head, 0) &&
                memcmp(head.magic, checkpoint_magic, sizeof head.magic) == 0 &&
                memcmp(head.uuid, wal->uuid, sizeof head.uuid) == 0 && head.bytes == (uint64_t)st.st_size - sizeof head;
    char *blob = fits ? nexus__malloc(wal->alloc, head.bytes + 1) : NULL;
    bool whole = blob && read_whole(fd, blob, head.bytes, sizeof head) && head.crc == nexus__crc32c(0, blob, head.bytes);
    close(fd);
    if (!whole) {
        nexus__free(wal->alloc, blob);
        return nexus__fail(NEXUS_ECORRUPT, "the checkpoint %s fails its check", name);
    }
    blob[head.bytes] = '\0';
    *out = blob;
    *n = head.bytes;
    return NEXUS_OK;
}
