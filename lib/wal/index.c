#include "wal/index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/status.h"

static const char index_magic[8] = "NXWIDX1";

void nexus__wal_index_name(const segment *s, char out[static SEGMENT_NAME_MAX])
{
    size_t n = strlen(s->name);
    memcpy(out, s->name, n + 1);
    if (n > 4)
        memcpy(out + n - 4, ".idx", 4);
}

void nexus__wal_index_forget(nexus__wal *wal, const segment *s)
{
    char name[SEGMENT_NAME_MAX];
    nexus__wal_index_name(s, name);
    if (wal->dir)
        unlinkat(wal->dir_fd, name, 0);
}

/* --- bloom ---- */

static const uint8_t *line_of(const uint8_t *bloom, uint32_t lines, uint64_t stream)
{
    return bloom + (size_t)(((stream >> 32) * lines) >> 32) * BLOOM_LINE_BYTES;
}

void nexus__wal_bloom_add(uint8_t *bloom, uint32_t lines, uint64_t stream)
{
    uint8_t *line = (uint8_t *)(uintptr_t)line_of(bloom, lines, stream);
    for (uint64_t i = 0, x = stream * 0x9e3779b97f4a7c15u; i < BLOOM_BITS; i++, x >>= 9)
        line[(x & 511) >> 3] |= (uint8_t)(1u << (x & 7));
}

bool nexus__wal_bloom_has(const uint8_t *bloom, uint32_t lines, uint64_t stream)
{
    const uint8_t *line = line_of(bloom, lines, stream);
    bool has = lines > 0;
    for (uint64_t i = 0, x = stream * 0x9e3779b97f4a7c15u; i < BLOOM_BITS && has; i++, x >>= 9)
        has = line[(x & 511) >> 3] >> (x & 7) & 1;
    return has;
}

/* --- the summary ---- */

uint64_t nexus__wal_index_summary_bytes(const nexus__wal_index_head *h)
{
    uint64_t words = ((uint64_t)h->types + 63) / 64;
    if (h->types > INDEX_TYPES_MAX || h->names_bytes > (INDEX_TYPES_MAX << 10) || h->blocks > 1u << 24 || h->pages > 1u << 24 ||
        h->bloom_lines > 1u << 24 || h->blocks == 0)
        return 0;
    return h->blocks * (sizeof(nexus__wal_index_block) + words * sizeof(uint64_t)) + h->pages * sizeof(uint64_t) +
           (uint64_t)h->bloom_lines * BLOOM_LINE_BYTES + h->names_bytes;
}

static nexus_slice take_name(nexus_slice *rest)
{
    uint16_t n = 0;
    if (rest->n < sizeof n)
        return nexus__slice(NULL, 0);
    memcpy(&n, rest->p, sizeof n);
    *rest = nexus__slice_from(*rest, sizeof n);
    nexus_slice name = nexus__slice(rest->p, n < rest->n ? n : rest->n);
    *rest = nexus__slice_from(*rest, name.n);
    return name;
}

static bool names_fit(const nexus__wal_index *x)
{
    nexus_slice rest = nexus__slice(x->names, x->head.names_bytes);
    for (uint32_t i = 0; i < x->head.types; i++) {
        if (rest.n < sizeof(uint16_t))
            return false;
        take_name(&rest);
    }
    return rest.n == 0;
}

bool nexus__wal_index_parse(nexus__wal_index *x)
{
    const nexus__wal_index_head *h = &x->head;
    x->words = (h->types + 63) / 64;
    x->blocks = (const void *)x->summary;
    x->fences = (const void *)(x->blocks + h->blocks);
    x->bitmaps = x->fences + h->pages;
    x->bloom = (const void *)(x->bitmaps + (size_t)h->blocks * x->words);
    x->names = (const char *)x->bloom + (size_t)h->bloom_lines * BLOOM_LINE_BYTES;
    uint64_t at = SEGMENT_HEAD_BYTES, pos = h->first_pos;
    for (uint32_t i = 0; i < h->blocks; i++) {
        if (x->blocks[i].at < at || x->blocks[i].pos < pos || x->blocks[i].at >= h->end_at || x->blocks[i].pos > h->end_pos)
            return false;
        at = x->blocks[i].at + 1;
        pos = x->blocks[i].pos;
    }
    for (uint32_t i = 1; i < h->pages; i++)
        if (x->fences[i] < x->fences[i - 1])
            return false;
    return names_fit(x);
}

/* --- loading ---- */

static bool read_at(int fd, void *out, size_t n, uint64_t at)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = pread(fd, (char *)out + have, n - have, (off_t)(at + have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

void nexus__wal_index_unref(nexus__wal_index *x)
{
    if (!x || atomic_fetch_sub(&x->refs, 1) != 1)
        return;
    nexus__free(x->alloc, x->summary);
    nexus__free(x->alloc, x);
}

static bool head_fits(const nexus__wal *wal, const segment *s, const nexus__wal_index_head *h)
{
    nexus__wal_batch_head last;
    return memcmp(h->magic, index_magic, sizeof h->magic) == 0 &&
           h->crc == nexus__crc32c(0, h, offsetof(nexus__wal_index_head, crc)) &&
           memcmp(h->uuid, wal->uuid, sizeof h->uuid) == 0 && h->generation == s->generation &&
           h->first_pos == s->first_pos && h->last_at < h->end_at && h->end_at <= s->size &&
           read_at(s->fd, &last, sizeof last, h->last_at) &&
           nexus__wal_head_ok(&last, h->end_at - h->last_at, s->generation, wal->seed) && last.seq + 1 == h->end_seq;
}

static bool fill(nexus__wal *wal, const segment *s, nexus__wal_index *x, int fd)
{
    if (!read_at(fd, &x->head, sizeof x->head, 0) || !head_fits(wal, s, &x->head))
        return false;
    uint64_t n = nexus__wal_index_summary_bytes(&x->head);
    x->summary = n ? nexus__malloc(x->alloc, n) : NULL;
    return x->summary && read_at(fd, x->summary, n, sizeof x->head) &&
           nexus__crc32c(0, x->summary, n) == x->head.summary_crc && nexus__wal_index_parse(x);
}

static nexus__wal_index *load(nexus__wal *wal, const segment *s)
{
    nexus__wal_index *x = nexus__calloc(wal->alloc, 1, sizeof *x);
    if (!x)
        return NULL;
    x->alloc = wal->alloc;
    atomic_init(&x->refs, 1);
    nexus__wal_index_name(s, x->name);
    int fd = nexus__wal_io_open(wal, x->name, O_RDONLY);
    bool good = fd >= 0 && fill(wal, s, x, fd);
    if (fd >= 0)
        close(fd);
    if (good)
        return x;
    nexus__wal_index_unref(x);
    return NULL;
}

/* Under the log's lock. Readers of positions gain by it, too. */
static void give_marks(segment *s, const nexus__wal_index *x)
{
    for (uint32_t i = 0; i < x->head.blocks && (i > 0 || !s->mark_count); i++)
        nexus__wal_mark(s, x->blocks[i].pos, x->blocks[i].at);
}

nexus__wal_index *nexus__wal_index_of(nexus__wal *wal, segment *s)
{
    if (!wal->dir || wal->engine || !atomic_load(&s->sealed))
        return NULL;
    pthread_mutex_lock(&wal->lock);
    nexus__wal_index *x = s->index;
    if (x && !atomic_load(&x->broken))
        atomic_fetch_add(&x->refs, 1);
    else
        x = NULL;
    bool look = !s->index && !s->index_looked;
    s->index_looked = true;
    pthread_mutex_unlock(&wal->lock);
    if (!look || !(x = load(wal, s)))
        return x;
    pthread_mutex_lock(&wal->lock);
    nexus__wal_index *old = s->index;
    s->index = x;
    give_marks(s, x);
    atomic_fetch_add(&x->refs, 1);
    pthread_mutex_unlock(&wal->lock);
    nexus__wal_index_unref(old);
    return x;
}

/* --- finding ---- */

/* The block that holds pos. */
static uint32_t block_of(const nexus__wal_index *x, uint64_t pos)
{
    uint32_t low = 0, high = x->head.blocks;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (x->blocks[mid].pos <= pos)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* The last page that begins below the stream: its end may hold the first of its entries. */
static uint32_t page_of(const nexus__wal_index *x, uint64_t stream)
{
    uint32_t low = 0, high = x->head.pages;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (x->fences[mid] < stream)
            low = mid;
        else
            high = mid;
    }
    return low;
}

uint32_t nexus__wal_index_page_crc(const nexus__wal_index_page *page)
{
    return nexus__crc32c(0, &page->count, sizeof *page - offsetof(nexus__wal_index_page, count));
}

/* A file of another life has this name when it was rewritten meanwhile: then a page may be of that one, which is as good, or
 * the file is gone. */
static nexus_status read_page(nexus__wal_index *x, int fd, uint32_t i, nexus__wal_index_page *page)
{
    uint64_t at = sizeof x->head + nexus__wal_index_summary_bytes(&x->head) + (uint64_t)i * sizeof *page;
    if (read_at(fd, page, sizeof *page, at) && page->crc == nexus__wal_index_page_crc(page) &&
        page->count <= INDEX_PAGE_ENTRIES)
        return NEXUS_OK;
    atomic_store(&x->broken, true);
    return nexus__fail(NEXUS_ECORRUPT, "an index of the log fails its check");
}

static nexus_status mark_stream(nexus__wal_index *x, int fd, uint64_t stream, uint64_t *bits)
{
    nexus__wal_index_page page;
    bool over = false;
    for (uint32_t i = page_of(x, stream); i < x->head.pages && !over; i++) {
        nexus_status status = read_page(x, fd, i, &page);
        if (status != NEXUS_OK)
            return status;
        for (uint32_t k = 0; k < page.count && !over; k++) {
            uint32_t b = page.streams[k] == stream ? block_of(x, x->head.first_pos + page.after[k]) : 0;
            if (page.streams[k] == stream)
                bits[b / 64] |= (uint64_t)1 << b % 64;
            over = page.streams[k] > stream;
        }
    }
    return NEXUS_OK;
}

void nexus__wal_index_wanted(nexus_slice rest, uint32_t types, const nexus__wal_select *select,
                             uint64_t wanted[static INDEX_TYPES_MAX / 64])
{
    memset(wanted, 0, INDEX_BITS_BYTES);
    for (uint32_t i = 0; i < types; i++) {
        nexus_slice name = take_name(&rest);
        if (name.n == 0 || select->wants_type(name, select->user_data))
            wanted[i / 64] |= (uint64_t)1 << i % 64;
    }
}

static nexus_status look_for_stream(nexus__wal *wal, nexus__wal_index *x, uint64_t stream, uint64_t *bits)
{
    if (!nexus__wal_bloom_has(x->bloom, x->head.bloom_lines, stream))
        return NEXUS_OK;
    int fd = nexus__wal_io_open(wal, x->name, O_RDONLY);
    if (fd < 0)
        return nexus__fail_errno(errno, "open %s", x->name);
    nexus_status status = mark_stream(x, fd, stream, bits);
    close(fd);
    return status;
}

static void mark_types(const nexus__wal_index *x, const nexus__wal_select *select, uint64_t *bits)
{
    uint64_t wanted[INDEX_TYPES_MAX / 64];
    nexus__wal_index_wanted(nexus__slice(x->names, x->head.names_bytes), x->head.types, select, wanted);
    for (uint32_t b = 0; b < x->head.blocks; b++) {
        uint64_t any = 0;
        for (uint32_t w = 0; w < x->words; w++)
            any |= x->bitmaps[(size_t)b * x->words + w] & wanted[w];
        if (!any)
            bits[b / 64] &= ~((uint64_t)1 << b % 64);
    }
}

void nexus__wal_index_ranges(const nexus__wal_index_block *blocks, uint32_t n, uint64_t end_at, const uint64_t *bits,
                             nexus__buf *out)
{
    nexus__wal_range range = {0, 0};
    for (uint32_t b = 0; b < n; b++) {
        if (!(bits[b / 64] >> b % 64 & 1))
            continue;
        uint64_t at = blocks[b].at, end = b + 1 < n ? blocks[b + 1].at : end_at;
        if (at != range.end && range.end)
            nexus__buf_append(out, &range, sizeof range);
        range = (nexus__wal_range){at == range.end ? range.at : at, end};
    }
    if (range.end)
        nexus__buf_append(out, &range, sizeof range);
}

nexus_status nexus__wal_index_find(nexus__wal *wal, nexus__wal_index *x, const nexus__wal_select *select, nexus__buf *out)
{
    size_t words = (x->head.blocks + 63) / 64;
    uint64_t *bits = nexus__calloc(x->alloc, words, sizeof *bits);
    if (!bits)
        return nexus__nomem();
    nexus_status status = NEXUS_OK;
    if (select->stream)
        status = look_for_stream(wal, x, select->stream, bits);
    else
        memset(bits, 0xff, words * sizeof *bits);
    if (status == NEXUS_OK && select->wants_type)
        mark_types(x, select, bits);
    if (status == NEXUS_OK)
        nexus__wal_index_ranges(x->blocks, x->head.blocks, x->head.end_at, bits, out);
    nexus__free(x->alloc, bits);
    return status == NEXUS_OK ? out->status : status;
}
