/*
 * What opening makes of the files it finds.
 *
 * Only the last file can hold an unfinished write. It is read from its start; at the first batch that is not whole:
 *  - nothing whole follows with the same generation, or only batches of the same write call (which was never
 *    acknowledged as a whole): a torn tail. It is cut and zeroed, so that its remains never meet a later batch;
 *  - a whole batch of a later write follows: that write was made after this one was durable, so these bytes have been
 *    damaged since. The log opens read-only and says where; nothing is cut.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/status.h"
#include "wal/internal.h"

static int by_generation(const void *a, const void *b)
{
    const nexus__wal_found *x = a, *y = b;
    return x->generation < y->generation ? -1 : x->generation > y->generation;
}

static void remember_pooled(nexus__wal *wal, const char *name)
{
    char(*grown)[SEGMENT_NAME_MAX] = nexus__realloc(wal->alloc, wal->pool, (wal->pool_count + 1) * sizeof *grown);
    if (!grown)
        return;
    wal->pool = grown;
    snprintf(wal->pool[wal->pool_count++], SEGMENT_NAME_MAX, "%s", name);
}

nexus_status nexus__wal_list(nexus__wal *wal, nexus__buf *out)
{
    int fd = dup(wal->dir_fd);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return nexus__fail_errno(errno, "list %s", wal->dir);
    rewinddir(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        unsigned long long pos, generation;
        int used = 0;
        if (strlen(e->d_name) >= SEGMENT_NAME_MAX)
            continue;
        if (sscanf(e->d_name, "seg-%16llx-%llx.log%n", &pos, &generation, &used) == 2 && used && !e->d_name[used]) {
            nexus__wal_found f = {.first_pos = pos, .generation = generation};
            snprintf(f.name, sizeof f.name, "%s", e->d_name);
            nexus__buf_append(out, &f, sizeof f);
        } else if (sscanf(e->d_name, "free-%llx.log%n", &generation, &used) == 1 && used && !e->d_name[used]) {
            remember_pooled(wal, e->d_name);
        }
    }
    closedir(dir);
    if (out->len > 0) /* qsort(3) wants an array, even of nothing */
        qsort(out->p, out->len / sizeof(nexus__wal_found), sizeof(nexus__wal_found), by_generation);
    return out->status;
}

static void link_segment(nexus__wal *wal, segment *s)
{
    if (wal->active) {
        atomic_store(&wal->active->sealed, true);
        wal->active->next = s;
    } else {
        wal->first = s;
    }
    wal->active = s;
}

static void damaged(nexus__wal *wal, nexus__wal_report *report, const char *name, uint64_t at, const char *why)
{
    if (report->read_only)
        return;
    report->read_only = true;
    snprintf(report->damage, sizeof report->damage, "%s/%s at %llu: %s", wal->dir, name, (unsigned long long)at, why);
}

static bool batch_at(const char *map, uint64_t size, uint64_t at, uint64_t generation, uint32_t seed,
                     nexus__wal_batch_head *head)
{
    if (at + sizeof *head > size)
        return false;
    memcpy(head, map + at, sizeof *head);
    return nexus__wal_head_ok(head, size - at, generation, seed) &&
           nexus__wal_body_ok(head, map + at + sizeof *head, true);
}

static uint64_t next_magic(const char *map, uint64_t size, uint64_t at, uint64_t generation)
{
    for (; at + BATCH_HEAD_BYTES <= size; at += 8) {
        uint32_t magic;
        memcpy(&magic, map + at, sizeof magic);
        uint64_t has;
        memcpy(&has, map + at + 8, sizeof has);
        if (magic == NEXUS__WAL_BATCH_MAGIC && has == generation)
            return at;
    }
    return 0;
}

uint64_t nexus__wal_find_batch(const char *map, uint64_t size, uint64_t from, uint64_t generation, uint32_t seed)
{
    nexus__wal_batch_head head;
    for (uint64_t at = from; (at = next_magic(map, size, at, generation)) != 0; at += 8)
        if (batch_at(map, size, at, generation, seed, &head))
            return at;
    return 0;
}

/* Reads whole batches from `at`; leaves the log's cursor behind the last one. */
static uint64_t scan(nexus__wal *wal, segment *s, const char *map, uint64_t at)
{
    nexus__wal_batch_head head;
    while (batch_at(map, s->size, at, s->generation, wal->seed, &head) && head.seq >= wal->next_seq) {
        nexus__wal_mark(s, head.first_pos, at);
        wal->next_seq = head.seq + 1;
        wal->next_pos = head.first_pos + head.data_count;
        wal->last_recv_ns = head.recv_ns;
        at += sizeof head + head.body_bytes;
    }
    return at;
}

static nexus_status cut(nexus__wal *wal, segment *s, const char *map, uint64_t at, nexus__wal_report *report)
{
    static const char zeros[1 << 16];
    uint64_t last = s->size;
    while (last > at && map[last - 1] == 0)
        last--;
    for (uint64_t p = at; p < last; p += sizeof zeros) {
        uint64_t n = last - p < sizeof zeros ? last - p : sizeof zeros;
        nexus_status status = nexus__wal_io_write(wal, s->fd, zeros, n, p);
        if (status != NEXUS_OK)
            return status;
    }
    report->cut_bytes += last - at;
    return nexus__wal_io_sync(wal, s->fd);
}

static bool looks_torn(const char *map, uint64_t size, uint64_t at, uint64_t generation)
{
    return at + 8 <= size && next_magic(map, size, at, generation) != 0;
}

/* A damaged middle: go on behind it, so that what is whole can be read. */
static uint64_t skip_damage(nexus__wal *wal, segment *s, const char *map, uint64_t at)
{
    for (uint64_t next; (next = nexus__wal_find_batch(map, s->size, at, s->generation, wal->seed)) != 0;) {
        at = scan(wal, s, map, next);
        if (at == next)
            at += 8;
    }
    return at;
}

static nexus_status recover_tail(nexus__wal *wal, segment *s, nexus__wal_report *report)
{
    wal->next_seq = s->first_seq;
    wal->next_pos = s->first_pos;
    wal->last_recv_ns = s->created_ns;
    char *map = s->size ? mmap(NULL, s->size, PROT_READ, MAP_SHARED, s->fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED)
        return nexus__fail_errno(errno, "map %s/%s", wal->dir, s->name);
    nexus_status status = NEXUS_OK;
    uint64_t at = scan(wal, s, map, SEGMENT_HEAD_BYTES);
    bool later = false;
    nexus__wal_batch_head head;
    for (uint64_t p = at; (p = nexus__wal_find_batch(map, s->size, p, s->generation, wal->seed)) != 0; p += 8) {
        memcpy(&head, map + p, sizeof head);
        if (head.seq > wal->next_seq && head.write_start > at)
            later = true;
    }
    if (later) {
        damaged(wal, report, s->name, at, "this batch fails its check and later ones are whole");
        at = skip_damage(wal, s, map, at);
    } else if (looks_torn(map, s->size, at, s->generation)) {
        status = cut(wal, s, map, at, report);
    }
    munmap(map, s->size);
    atomic_store(&s->end, at);
    wal->write_at = at;
    /* An earlier life may have acknowledged what only the system's memory holds; what follows stands on it. */
    if (status == NEXUS_OK && !report->read_only)
        status = nexus__wal_io_sync(wal, s->fd);
    atomic_store(&wal->unsynced.from, at);
    return status;
}

/* A last file without a valid header held no batch yet: the crash came while it was made. With a batch in it, the
 * header was damaged later. */
static nexus_status bad_last(nexus__wal *wal, const nexus__wal_found *f, nexus__wal_report *report)
{
    int fd = nexus__wal_io_open(wal, f->name, 0);
    char bytes[SEGMENT_HEAD_BYTES + BATCH_HEAD_BYTES];
    ssize_t n = fd < 0 ? -1 : pread(fd, bytes, sizeof bytes, 0);
    if (fd >= 0)
        close(fd);
    if (n == sizeof bytes && next_magic(bytes, sizeof bytes, SEGMENT_HEAD_BYTES, f->generation)) {
        damaged(wal, report, f->name, 0, "the header fails its check");
        return NEXUS_OK;
    }
    unlinkat(wal->dir_fd, f->name, 0);
    return NEXUS_OK;
}

nexus_status nexus__wal_recover(nexus__wal *wal, nexus__wal_report *report)
{
    nexus__buf files;
    nexus__buf_init(&files, wal->alloc, 0);
    nexus_status status = nexus__wal_list(wal, &files);
    const nexus__wal_found *f = (const nexus__wal_found *)(void *)files.p;
    size_t n = files.len / sizeof *f;
    uint64_t newest = n ? f[n - 1].generation : 0;
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        segment *s;
        status = nexus__wal_segment_open(wal, f[i].name, &s);
        if (status == NEXUS_ECORRUPT && i + 1 == n)
            status = bad_last(wal, &f[i], report);
        else if (status == NEXUS_ECORRUPT) {
            damaged(wal, report, f[i].name, 0, "the header fails its check");
            status = NEXUS_OK;
        } else if (status == NEXUS_OK)
            link_segment(wal, s);
    }
    nexus__buf_free(&files);
    wal->next_generation = newest + 1;
    wal->seed = nexus__wal_seed(wal->uuid);
    if (status == NEXUS_OK && wal->active)
        status = recover_tail(wal, wal->active, report);
    for (segment *s = wal->first; s; s = s->next)
        report->segments++;
    return status;
}

nexus_status nexus__wal_look(nexus__wal *wal)
{
    nexus__buf files;
    nexus__buf_init(&files, wal->alloc, 0);
    nexus_status status = nexus__wal_list(wal, &files);
    const nexus__wal_found *f = (const nexus__wal_found *)(void *)files.p;
    for (size_t i = 0; i < files.len / sizeof *f && status == NEXUS_OK; i++) {
        segment *s;
        status = nexus__wal_segment_open(wal, f[i].name, &s);
        if (status == NEXUS_OK)
            link_segment(wal, s);
        else if (status == NEXUS_ECORRUPT || status == NEXUS_ENOTFOUND) /* damaged, or dropped at this moment: a gap */
            status = NEXUS_OK;
    }
    nexus__buf_free(&files);
    wal->seed = nexus__wal_seed(wal->uuid);
    if (wal->active)
        atomic_store(&wal->active->end, SEGMENT_HEAD_BYTES);
    return status;
}
