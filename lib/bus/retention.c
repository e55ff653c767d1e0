#include "bus/retention.h"

size_t nexus__retention_count(const nexus__retention *r, const nexus__wal_file *files, size_t n, uint64_t needed,
                              uint64_t saved_seq, int64_t now_ns)
{
    uint64_t bytes = 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        bytes += files[i].bytes;
    for (; count + 1 < n; count++) {
        const nexus__wal_file *f = &files[count];
        bool old = r->max_age_ns && now_ns - f->ended_ns > r->max_age_ns;
        bool many = r->max_bytes && bytes > r->max_bytes;
        bool free_to_go = (r->hard || f->end_pos <= needed) && f->end_seq <= saved_seq;
        if (!(old || many) || !free_to_go)
            break;
        bytes -= f->bytes;
    }
    return count;
}

bool nexus__retention_ends_last(const nexus__retention *r, const nexus__wal_file *last, int64_t now_ns)
{
    return r->max_age_ns && last->end_pos > last->first_pos && now_ns - last->begun_ns > r->max_age_ns;
}

bool nexus__disk_is_low(uint64_t left, uint64_t all, uint64_t watermark)
{
    uint64_t share = all / 20;
    uint64_t mark = watermark ? watermark : share < (1u << 30) ? share : 1u << 30;
    return watermark != UINT64_MAX && left < mark;
}
