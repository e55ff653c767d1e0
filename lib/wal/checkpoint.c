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

enum { PIECE_BYTES = 256 << 10 };

struct nexus__wal_checkpoint {
    nexus__wal *wal;
    char temporary[48], final[48];
    int fd;
    uint64_t at; /* behind the head */
    uint32_t crc;
    nexus__buf piece;
};

void nexus__wal_checkpoint_abort(nexus__wal_checkpoint *c)
{
    if (!c)
        return;
    if (c->fd >= 0) {
        close(c->fd);
        unlinkat(c->wal->dir_fd, c->temporary, 0);
    }
    nexus__buf_free(&c->piece);
    nexus__free(c->wal->alloc, c);
}

nexus_status nexus__wal_checkpoint_begin(nexus__wal_checkpoint **out, nexus__wal *wal, const char *name)
{
    nexus_status status = bad_name(name);
    if (status != NEXUS_OK)
        return status;
    nexus__wal_checkpoint *c = nexus__calloc(wal->alloc, 1, sizeof *c);
    if (!c)
        return nexus__nomem();
    c->wal = wal;
    c->fd = -1;
    nexus__buf_init(&c->piece, wal->alloc, 0);
    snprintf(c->temporary, sizeof c->temporary, "%s.tmp", name);
    snprintf(c->final, sizeof c->final, "%s.ckpt", name);
    bool files = wal->dir && !wal->engine;
    if (files)
        c->fd = nexus__wal_io_open(wal, c->temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (files && c->fd < 0) {
        status = nexus__fail_errno(errno, "write the checkpoint %s/%s", wal->dir, c->temporary);
        nexus__wal_checkpoint_abort(c);
        return status;
    }
    *out = c;
    return NEXUS_OK;
}

static nexus_status write_piece(nexus__wal_checkpoint *c)
{
    if (!c->piece.len)
        return NEXUS_OK;
    c->crc = nexus__crc32c(c->crc, c->piece.p, c->piece.len);
    uint64_t at = sizeof(checkpoint_head) + c->at;
    nexus_status status =
        c->fd < 0 ? NEXUS_OK : nexus__wal_io_write(c->wal, c->fd, c->piece.p, c->piece.len, at);
    if (c->fd >= 0 && status == NEXUS_OK)
        nexus__wal_io_drain(c->wal, c->fd, at, c->piece.len);
    c->at += c->piece.len;
    nexus__buf_clear(&c->piece);
    return status;
}

nexus_status nexus__wal_checkpoint_put(nexus__wal_checkpoint *c, nexus_slice bytes)
{
    nexus__buf_slice_append(&c->piece, bytes);
    if (c->piece.status != NEXUS_OK)
        return nexus__nomem();
    return c->piece.len < PIECE_BYTES || c->wal->engine ? NEXUS_OK : write_piece(c);
}

uint64_t nexus__wal_checkpoint_bytes(const nexus__wal_checkpoint *c)
{
    return c->at + c->piece.len;
}

static checkpoint_head head_of(const nexus__wal *wal, uint64_t bytes, uint32_t crc)
{
    checkpoint_head head = {.bytes = bytes, .crc = crc};
    memcpy(head.magic, checkpoint_magic, sizeof head.magic);
    memcpy(head.uuid, wal->uuid, sizeof head.uuid);
    return head;
}

static bool head_fits(const nexus__wal *wal, const checkpoint_head *head, uint64_t bytes)
{
    return memcmp(head->magic, checkpoint_magic, sizeof head->magic) == 0 &&
           memcmp(head->uuid, wal->uuid, sizeof head->uuid) == 0 && head->bytes == bytes;
}

static nexus_status seal(nexus__wal_checkpoint *c)
{
    nexus__wal *wal = c->wal;
    checkpoint_head head = head_of(wal, c->at, c->crc);
    nexus_status status = nexus__wal_io_write(wal, c->fd, &head, sizeof head, 0);
    if (status == NEXUS_OK)
        status = nexus__wal_io_sync(wal, c->fd);
    if (status != NEXUS_OK)
        return status;
    if (renameat(wal->dir_fd, c->temporary, wal->dir_fd, c->final) != 0)
        return nexus__fail_errno(errno, "rename the checkpoint %s/%s", wal->dir, c->final);
    close(c->fd);
    c->fd = -1;
    return nexus__wal_io_sync_dir(wal);
}

/* An engine takes it as one blob, with the same head. */
static nexus_status give_to_engine(nexus__wal_checkpoint *c)
{
    nexus__wal *wal = c->wal;
    nexus__buf all;
    checkpoint_head head = head_of(wal, c->piece.len, nexus__crc32c(0, c->piece.p, c->piece.len));
    nexus__buf_init(&all, wal->alloc, 0);
    nexus__buf_append(&all, &head, sizeof head);
    nexus__buf_slice_append(&all, nexus__buf_slice(&c->piece));
    nexus_status status = all.status;
    if (status == NEXUS_OK) {
        c->final[strlen(c->final) - strlen(".ckpt")] = '\0';
        status = wal->engine->ops->put_blob(wal->engine, c->final, nexus__buf_slice(&all));
    }
    nexus__buf_free(&all);
    return status;
}

nexus_status nexus__wal_checkpoint_commit(nexus__wal_checkpoint *c)
{
    nexus_status status = c->wal->engine ? give_to_engine(c) : write_piece(c);
    if (status == NEXUS_OK && c->fd >= 0)
        status = seal(c);
    nexus__wal_checkpoint_abort(c);
    return status;
}

nexus_status nexus__wal_checkpoint_write(nexus__wal *wal, const char *name, nexus_slice blob)
{
    nexus__wal_checkpoint *c;
    nexus_status status = nexus__wal_checkpoint_begin(&c, wal, name);
    if (status != NEXUS_OK)
        return status;
    status = nexus__wal_checkpoint_put(c, blob);
    if (status == NEXUS_OK)
        return nexus__wal_checkpoint_commit(c);
    nexus__wal_checkpoint_abort(c);
    return status;
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

static bool peek_in_engine(nexus__wal *wal, const char *name, void *out, size_t n)
{
    nexus__buf bytes;
    nexus__buf_init(&bytes, wal->alloc, 0);
    bool whole = bad_name(name) == NEXUS_OK && wal->engine->ops->get_blob(wal->engine, name, &bytes) == NEXUS_OK &&
                 bytes.len >= sizeof(checkpoint_head) + n;
    if (whole)
        memcpy(out, bytes.p + sizeof(checkpoint_head), n);
    nexus__buf_free(&bytes);
    return whole;
}

void nexus__wal_checkpoint_remove(nexus__wal *wal, const char *name)
{
    char final[48];
    snprintf(final, sizeof final, "%s.ckpt", name);
    if (wal->dir && !wal->engine)
        unlinkat(wal->dir_fd, final, 0);
}

bool nexus__wal_checkpoint_peek(nexus__wal *wal, const char *name, void *out, size_t n)
{
    if (wal->engine)
        return peek_in_engine(wal, name, out, n);
    char final[48];
    snprintf(final, sizeof final, "%s.ckpt", name);
    int fd = wal->dir && bad_name(name) == NEXUS_OK ? nexus__wal_io_open(wal, final, O_RDONLY) : -1;
    if (fd < 0)
        return false;
    bool whole = read_whole(fd, out, n, sizeof(checkpoint_head));
    close(fd);
    return whole;
}

static nexus_status read_from_engine(nexus__wal *wal, const char *name, char **out, size_t *n)
{
    nexus__buf bytes;
    checkpoint_head head;
    nexus__buf_init(&bytes, wal->alloc, 0);
    nexus_status status = wal->engine->ops->get_blob(wal->engine, name, &bytes);
    bool whole = false;
    if (status == NEXUS_OK && bytes.len >= sizeof head) {
        memcpy(&head, bytes.p, sizeof head);
        whole = head_fits(wal, &head, bytes.len - sizeof head) &&
                head.crc == nexus__crc32c(0, bytes.p + sizeof head, head.bytes);
    }
    if (status == NEXUS_OK && !whole)
        status = nexus__fail(NEXUS_ECORRUPT, "the checkpoint %s fails its check", name);
    char *blob = whole ? nexus__strndup(wal->alloc, nexus__slice(bytes.p + sizeof head, head.bytes)) : NULL;
    if (whole && !blob)
        status = nexus__nomem();
    nexus__buf_free(&bytes);
    if (status == NEXUS_OK) {
        *out = blob;
        *n = head.bytes;
    }
    return status;
}

nexus_status nexus__wal_checkpoint_read(nexus__wal *wal, const char *name, char **out, size_t *n)
{
    nexus_status status = bad_name(name);
    if (status != NEXUS_OK)
        return status;
    if (wal->engine)
        return read_from_engine(wal, name, out, n);
    char final[48];
    snprintf(final, sizeof final, "%s.ckpt", name);
    int fd = wal->dir ? nexus__wal_io_open(wal, final, O_RDONLY) : -1;
    if (fd < 0)
        return nexus__fail(NEXUS_ENOTFOUND, "there is no checkpoint %s", name);
    checkpoint_head head;
    struct stat st;
    bool fits = fstat(fd, &st) == 0 && read_whole(fd, &head, sizeof head, 0) &&
                head_fits(wal, &head, (uint64_t)st.st_size - sizeof head);
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
