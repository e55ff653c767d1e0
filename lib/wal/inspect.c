#include "wal/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "wal/internal.h"

#define COPY_NAME "repair.tmp"

typedef struct inspector {
    nexus__wal *wal; /* no threads: the directory, its lock, the log's identity */
    bool repair;
    nexus__wal_finding_fn *fn;
    void *user_data;
    nexus__wal_inspection *out;
    uint64_t next_seq, next_pos; /* what must come next; 0 = anything */
} inspector;

typedef struct file {
    const nexus__wal_found *name;
    int fd;
    char *map;
    uint64_t size, findings;
    nexus__wal_segment_head head;
    bool good_head, last;
    nexus__buf *copy; /* NULL: only looking */
} file;

static void found(inspector *i, file *f, uint64_t at, uint64_t bytes, uint64_t from, uint64_t to, const char *what)
{
    f->findings++;
    if (f->copy) /* told before */
        return;
    i->out->findings++;
    nexus__wal_finding x = {f->name->name, what, at, bytes, to >= from ? from : 0, to >= from ? to : 0};
    i->fn(&x, i->user_data);
}

/* --- copying what is good ----------------------------------------------------------------------------------------- */

static void seal_batch(inspector *i, file *f, nexus__buf *batch, nexus__wal_batch_head head)
{
    static const char trailer[BATCH_TRAILER_BYTES];
    nexus__buf_append(batch, trailer, sizeof trailer);
    if (batch->status != NEXUS_OK)
        return;
    head.write_start = f->copy->len;
    nexus__wal_batch_seal(batch->p, batch->len, &head, i->wal->seed);
    nexus__buf_slice_append(f->copy, nexus__buf_slice(batch));
}

static void add_lost(nexus__buf *batch, const nexus__wal_record *record)
{
    nexus__wal_record lost = {.flags = NEXUS__WAL_LOST};
    if (record) {
        lost = *record;
        lost.flags |= NEXUS__WAL_LOST;
        lost.meta = lost.payload = NEXUS_S("");
    }
    nexus__wal_record_encode(batch, &lost);
}

/* In place of batches that are gone: as many, the first of which holds all their positions. */
static void copy_gap(inspector *i, file *f, uint64_t to_seq, uint64_t to_pos)
{
    static const char space[BATCH_HEAD_BYTES];
    uint64_t pos = i->next_pos;
    for (uint64_t seq = i->next_seq; f->copy && seq < to_seq && f->copy->status == NEXUS_OK; seq++) {
        nexus__buf batch;
        nexus__buf_init(&batch, i->wal->alloc, 0);
        nexus__buf_append(&batch, space, sizeof space);
        uint32_t n = pos < to_pos ? (uint32_t)(to_pos - pos) : 0;
        for (uint32_t k = 0; k < n; k++)
            add_lost(&batch, NULL);
        nexus__wal_batch_head head = {.count = n,
                                      .data_count = n,
                                      .generation = f->head.generation,
                                      .seq = seq,
                                      .first_pos = pos,
                                      .recv_ns = f->head.created_ns};
        seal_batch(i, f, &batch, head);
        nexus__buf_free(&batch);
        pos += n;
    }
}

/* --- one file ----------------------------------------------------------------------------------------------------- */

static bool whole_batch(const inspector *i, const file *f, uint64_t at, nexus__wal_batch_head *head)
{
    if (at + sizeof *head > f->size)
        return false;
    memcpy(head, f->map + at, sizeof *head);
    return nexus__wal_head_ok(head, f->size - at, f->head.generation, i->wal->seed) &&
           nexus__wal_body_ok(head, f->map + at + sizeof *head, false) && (!i->next_seq || head->seq >= i->next_seq);
}

static uint64_t find_whole(const inspector *i, const file *f, uint64_t at, nexus__wal_batch_head *head)
{
    for (; at + sizeof *head <= f->size; at += 8) {
        uint32_t magic;
        memcpy(&magic, f->map + at, sizeof magic);
        if (magic == NEXUS__WAL_BATCH_MAGIC && whole_batch(i, f, at, head))
            return at;
    }
    return 0;
}

static void check_batch(inspector *i, file *f, uint64_t at, const nexus__wal_batch_head *head)
{
    static const char space[BATCH_HEAD_BYTES];
    const char *body = f->map + at + sizeof *head;
    size_t n = head->body_bytes - BATCH_TRAILER_BYTES, next = 0;
    uint64_t pos = head->first_pos - 1;
    nexus__buf batch;
    nexus__buf_init(&batch, i->wal->alloc, 0);
    nexus__buf_append(&batch, space, sizeof space);
    for (uint32_t k = 0; k < head->count; k++) {
        nexus__wal_record record;
        nexus__wal_record_head rh;
        size_t begin = next;
        if (!nexus__wal_record_decode(body, n, begin, &record, &next, &rh))
            break; /* the heads have been checked */
        bool data = !(record.flags & NEXUS__WAL_INTERNAL), good = nexus__wal_record_intact(&record, &rh);
        pos += data;
        if (!good)
            found(i, f, at + sizeof *head + begin, next - begin, data ? pos : 1, data ? pos : 0,
                  data ? "the event fails its check" : "a record of the bus's own fails its check");
        if (f->copy && good)
            nexus__buf_append(&batch, body + begin, next - begin);
        else if (f->copy)
            add_lost(&batch, &record);
    }
    if (f->copy)
        seal_batch(i, f, &batch, *head);
    nexus__buf_free(&batch);
    i->out->batches += !f->copy;
    i->out->records += f->copy ? 0 : head->count;
}

static bool anything_at(const file *f, uint64_t at)
{
    while (at < f->size && f->map[at] == 0)
        at++;
    return at < f->size;
}

static uint64_t written_bytes(const file *f, uint64_t at)
{
    uint64_t last = f->size;
    while (last > at && f->map[last - 1] == 0)
        last--;
    return last - at;
}

/* Bytes of a write that was not finished: heads of this generation behind the end. */
static uint64_t tail_bytes(const file *f, uint64_t at)
{
    nexus__wal_batch_head head;
    if (at + sizeof head > f->size || !anything_at(f, at))
        return 0;
    memcpy(&head, f->map + at, sizeof head);
    return head.magic == NEXUS__WAL_BATCH_MAGIC && head.generation == f->head.generation ? written_bytes(f, at) : 0;
}

/* Whether all that is whole from `next` on was written before anything at `at` was on the disk: opening cuts there. */
static bool is_unsynced(const inspector *i, const file *f, uint64_t at, uint64_t next)
{
    nexus__wal_batch_head head;
    for (; (next = find_whole(i, f, next, &head)) != 0; next += 8)
        if (head.write_start > at)
            return false;
    return true;
}

static void scan_file(inspector *i, file *f, const nexus__wal_segment_head *following)
{
    uint64_t at = SEGMENT_HEAD_BYTES;
    nexus__wal_batch_head head;
    for (uint64_t next; (next = find_whole(i, f, at, &head)) != 0;) {
        if (f->last && i->next_seq && head.seq > i->next_seq && is_unsynced(i, f, at, next)) {
            i->out->tail_bytes = written_bytes(f, at);
            return;
        }
        if (i->next_seq && head.seq > i->next_seq) {
            found(i, f, at, next - at, i->next_pos, head.first_pos - 1, "a batch fails its check");
            copy_gap(i, f, head.seq, head.first_pos);
        }
        check_batch(i, f, next, &head);
        at = next + sizeof head + head.body_bytes;
        i->next_seq = head.seq + 1;
        i->next_pos = head.first_pos + head.data_count;
    }
    if (following && following->first_seq > i->next_seq) {
        uint64_t bad = tail_bytes(f, at);
        if (bad) { /* else it was another file that is missing */
            found(i, f, at, bad, i->next_pos, following->first_pos - 1, "a batch fails its check");
            copy_gap(i, f, following->first_seq, following->first_pos);
            i->next_seq = following->first_seq;
            i->next_pos = following->first_pos;
        }
    }
    if (f->last && !f->copy)
        i->out->tail_bytes = tail_bytes(f, at);
}

/* The header's fields stand in the file's name and in its first batch. */
static bool make_head(inspector *i, file *f)
{
    nexus__wal_batch_head head;
    f->head = (nexus__wal_segment_head){.generation = f->name->generation, .first_pos = f->name->first_pos};
    memcpy(f->head.uuid, i->wal->uuid, sizeof f->head.uuid);
    uint64_t seq = i->next_seq;
    i->next_seq = 0;
    bool any = find_whole(i, f, SEGMENT_HEAD_BYTES, &head) != 0;
    i->next_seq = seq;
    f->head.first_seq = seq ? seq : any ? head.seq : 1;
    f->head.created_ns = any ? head.recv_ns : 0;
    return any;
}

static void begin_file(inspector *i, file *f)
{
    if (f->good_head) {
        if (i->next_seq && f->head.first_seq > i->next_seq)
            found(i, f, 0, 0, i->next_pos, f->head.first_pos - 1, "a file before this one is missing");
        i->next_seq = f->head.first_seq;
        i->next_pos = f->head.first_pos;
    } else {
        found(i, f, 0, sizeof f->head, 1, 0, "the header fails its check");
        i->next_pos = f->head.first_pos;
        i->next_seq = f->head.first_seq;
    }
}

static nexus_status replace(inspector *i, file *f)
{
    nexus__wal *wal = i->wal;
    if (f->copy->status != NEXUS_OK)
        return nexus__nomem();
    int fd = nexus__wal_io_open(wal, COPY_NAME, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0)
        return nexus__fail_errno(errno, "write %s/%s", wal->dir, COPY_NAME);
    nexus_status status = nexus__wal_io_write(wal, fd, f->copy->p, f->copy->len, 0);
    if (status == NEXUS_OK && f->last && f->copy->len < f->size && ftruncate(fd, (off_t)f->size) != 0)
        status = nexus__fail_errno(errno, "grow %s/%s", wal->dir, COPY_NAME);
    if (status == NEXUS_OK)
        status = nexus__wal_io_sync(wal, fd);
    close(fd);
    segment named;
    memcpy(named.name, f->name->name, sizeof named.name);
    nexus__wal_index_forget(wal, &named);
    if (status == NEXUS_OK && renameat(wal->dir_fd, COPY_NAME, wal->dir_fd, f->name->name) != 0)
        status = nexus__fail_errno(errno, "rename the repaired %s", f->name->name);
    i->out->repaired += status == NEXUS_OK;
    return status == NEXUS_OK ? nexus__wal_io_sync_dir(wal) : status;
}

static nexus_status repair_file(inspector *i, file *f, const nexus__wal_segment_head *following)
{
    nexus__buf copy;
    char page[SEGMENT_HEAD_BYTES] = {0};
    nexus__buf_init(&copy, i->wal->alloc, 0);
    nexus__wal_segment_seal(&f->head);
    memcpy(page, &f->head, sizeof f->head);
    nexus__buf_append(&copy, page, sizeof page);
    f->copy = &copy;
    i->next_seq = f->head.first_seq;
    i->next_pos = f->head.first_pos;
    scan_file(i, f, following);
    nexus_status status = replace(i, f);
    f->copy = NULL;
    nexus__buf_free(&copy);
    return status;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static nexus_status open_file(inspector *i, const nexus__wal_found *name, file *f)
{
    struct stat st;
    *f = (file){.name = name, .fd = nexus__wal_io_open(i->wal, name->name, O_RDONLY)};
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return nexus__fail_errno(errno, "open %s/%s", i->wal->dir, name->name);
    f->size = (uint64_t)st.st_size;
    f->map = f->size >= SEGMENT_HEAD_BYTES ? mmap(NULL, f->size, PROT_READ, MAP_SHARED, f->fd, 0) : NULL;
    if (f->map == MAP_FAILED)
        return nexus__fail_errno(errno, "map %s/%s", i->wal->dir, name->name);
    if (f->map)
        memcpy(&f->head, f->map, sizeof f->head);
    f->good_head = f->map && nexus__wal_segment_ok(&f->head);
    return NEXUS_OK;
}

static void close_file(file *f)
{
    if (f->map && f->map != MAP_FAILED)
        munmap(f->map, f->size);
    if (f->fd >= 0)
        close(f->fd);
}

static bool head_of(inspector *i, const nexus__wal_found *name, nexus__wal_segment_head *head)
{
    int fd = nexus__wal_io_open(i->wal, name->name, O_RDONLY);
    bool good = fd >= 0 && pread(fd, head, sizeof *head, 0) == sizeof *head && nexus__wal_segment_ok(head);
    if (fd >= 0)
        close(fd);
    return good;
}

static nexus_status inspect_file(inspector *i, const nexus__wal_found *names, size_t n, size_t at)
{
    file f;
    nexus__wal_segment_head following;
    bool followed = at + 1 < n && head_of(i, &names[at + 1], &following);
    nexus_status status = open_file(i, &names[at], &f);
    f.last = at + 1 == n;
    bool usable = status == NEXUS_OK && f.map && (f.good_head || make_head(i, &f));
    if (usable) {
        begin_file(i, &f);
        i->out->files++;
        i->out->bytes += f.size;
        i->out->first_pos = i->out->first_pos ? i->out->first_pos : f.head.first_pos;
        uint64_t before = f.findings;
        scan_file(i, &f, followed ? &following : NULL);
        bool missing_only = f.findings == before && f.good_head;
        if (i->repair && f.findings && !missing_only)
            status = repair_file(i, &f, followed ? &following : NULL);
        i->out->last_pos = i->next_pos - 1;
    } else if (status == NEXUS_OK && !f.last) {
        found(i, &f, 0, f.size, 1, 0, "neither a header nor a batch can be read");
    } /* a last file with nothing in it: a crash came while it was made */
    close_file(&f);
    return status;
}

static nexus_status inspect_files(inspector *i)
{
    nexus__buf list;
    nexus__buf_init(&list, i->wal->alloc, 0);
    nexus_status status = nexus__wal_list(i->wal, &list);
    const nexus__wal_found *names = (const nexus__wal_found *)(void *)list.p;
    size_t n = list.len / sizeof *names;
    bool known = false;
    for (size_t k = 0; k < n && !known && status == NEXUS_OK; k++) {
        nexus__wal_segment_head head;
        known = head_of(i, &names[k], &head);
        if (known)
            memcpy(i->wal->uuid, head.uuid, sizeof head.uuid);
    }
    if (status == NEXUS_OK && n == 0)
        status = nexus__fail(NEXUS_ENOTFOUND, "%s holds no log", i->wal->dir);
    else if (status == NEXUS_OK && !known)
        status = nexus__fail(NEXUS_ECORRUPT, "%s: no file has a header that can be read", i->wal->dir);
    i->wal->seed = nexus__wal_seed(i->wal->uuid);
    for (size_t k = 0; k < n && status == NEXUS_OK; k++)
        status = inspect_file(i, names, n, k);
    nexus__buf_free(&list);
    return status;
}

nexus_status nexus__wal_inspect(const char *dir, const nexus_alloc *alloc, bool repair, nexus__wal_finding_fn *fn,
                                void *user_data, nexus__wal_inspection *out)
{
    nexus__wal *wal;
    uint64_t end;
    *out = (nexus__wal_inspection){0};
    nexus_status status = nexus__wal_view_open(&wal, dir, alloc, &end);
    if (status != NEXUS_OK)
        return status;
    inspector i = {.wal = wal, .repair = repair, .fn = fn, .user_data = user_data, .out = out};
    status = nexus__wal_take_lock(wal);
    if (status == NEXUS_OK)
        status = inspect_files(&i);
    nexus__wal_close(wal);
    return status;
}
