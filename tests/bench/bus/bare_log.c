/* The floor: an append-only log that does what a durable bus cannot do without and nothing else.
 *     bare-log DIR append BATCH SECONDS   O_DSYNC writes into pre-written 64 MiB segments, a version check over 100,000
 *                                         streams and a window of 2^20 ids before each event, CRC-32C
 *     bare-log DIR one 1 SECONDS          one event a write, nothing checked: what the disk takes */
#include "load.h"

#include <fcntl.h>
#include <nmmintrin.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENT = 64 << 20, SEGMENTS = 12, WINDOW = 1 << 20, SLOTS = 1 << 21, HEADS = 1 << 18 };

struct record {
    uint32_t crc, bytes;
    uint64_t pos, time;
    uint32_t stream, version;
    uint64_t id[2];
    unsigned char data[EVENT_BYTES];
};

static uint64_t (*ids)[2]; /* a ring */
static uint32_t *slots;    /* open addressing: index in the ring + 1 */
static uint64_t remembered;
static uint32_t *versions;

static uint32_t crc32c(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint64_t crc = ~0u, word;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    return ~(uint32_t)crc;
}

static uint32_t slot_of(const uint64_t *id)
{
    return (uint32_t)((id[0] ^ id[1] * 0x9E3779B97F4A7C15ull) >> 7) & (SLOTS - 1);
}

/* Takes the oldest id out; what was pushed past its slot moves back. */
static void forget(uint32_t oldest)
{
    uint32_t hole = slot_of(ids[oldest]);
    while (slots[hole] != oldest + 1)
        hole = (hole + 1) & (SLOTS - 1);
    for (uint32_t i = (hole + 1) & (SLOTS - 1); slots[i]; i = (i + 1) & (SLOTS - 1)) {
        uint32_t home = slot_of(ids[slots[i] - 1]);
        if (((i - home) & (SLOTS - 1)) < ((i - hole) & (SLOTS - 1)))
            continue;
        slots[hole] = slots[i];
        hole = i;
    }
    slots[hole] = 0;
}

static int is_new(const uint64_t *id)
{
    uint32_t at = slot_of(id), next = (uint32_t)(remembered % WINDOW);
    for (; slots[at]; at = (at + 1) & (SLOTS - 1))
        if (!memcmp(ids[slots[at] - 1], id, sizeof ids[0]))
            return 0;
    if (remembered >= WINDOW)
        forget(next);
    for (at = slot_of(id); slots[at]; at = (at + 1) & (SLOTS - 1))
        ;
    memcpy(ids[next], id, sizeof ids[0]);
    slots[at] = next + 1;
    remembered++;
    return 1;
}

static void make(struct record *r, uint64_t n, int checked)
{
    r->bytes = EVENT_BYTES;
    r->pos = r->time = n;
    do {
        r->id[0] = next_random();
        r->id[1] = next_random();
    } while (checked && !is_new(r->id));
    r->stream = (uint32_t)(next_random() % STREAMS);
    r->version = checked ? versions[(r->stream * 2654435761u) >> 14]++ : 0;
    fill(r->data, n);
    r->crc = crc32c((char *)r + 4, sizeof *r - 4);
}

static int segment(const char *dir, int number)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/bare-%02d", dir, number % SEGMENTS);
    struct stat st;
    if (stat(path, &st) || st.st_size != SEGMENT) {
        static char zeros[1 << 20];
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        for (int i = 0; fd >= 0 && i < SEGMENT >> 20; i++)
            if (write(fd, zeros, sizeof zeros) < 0)
                die("bare-log: write");
        fsync(fd);
        close(fd);
    }
    int fd = open(path, O_RDWR | O_DSYNC);
    if (fd < 0)
        die("bare-log: open");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("usage: bare-log DIR append|one BATCH SECONDS");
    int checked = !strcmp(argv[2], "append"), batch = atoi(argv[3]), number = 0;
    double limit = atof(argv[4]);
    ids = calloc(WINDOW, sizeof *ids);
    slots = calloc(SLOTS, sizeof *slots);
    versions = calloc(HEADS, sizeof *versions);
    struct record *records = aligned_alloc(4096, ((size_t)batch * sizeof *records + 4095) / 4096 * 4096);
    latencies times = {0};
    for (int i = 0; i < SEGMENTS; i++) /* written before the clock runs */
        close(segment(argv[1], i));
    int fd = segment(argv[1], number++);
    uint64_t n = 0, at = 0;
    double start = now_s(), last = start;
    while (last - start < limit) {
        for (int i = 0; i < batch; i++)
            make(&records[i], n++, checked);
        size_t bytes = (size_t)batch * sizeof *records;
        if (at + bytes > SEGMENT) {
            close(fd);
            fd = segment(argv[1], number++);
            at = 0;
        }
        if (pwrite(fd, records, bytes, (off_t)at) != (ssize_t)bytes)
            die("bare-log: pwrite");
        at += bytes;
        double now = now_s();
        latencies_add(&times, now - last);
        last = now;
    }
    report(n, last - start, 0, &times);
    return 0;
}
