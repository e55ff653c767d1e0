#include "base/id.h"

#include <nexus/id.h>

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/codec.h"
#include "base/time.h"

/* One system call fills many ids. Used bytes are wiped, so that a later core dump tells nothing. */
static _Thread_local struct {
    uint8_t bytes[512];
    size_t left;
} pool;

static void from_kernel(uint8_t *out, size_t n)
{
    while (n) {
        ssize_t got = getrandom(out, n, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            __builtin_trap(); /* no random source: going on would be worse than stopping */
        }
        out += got;
        n -= (size_t)got;
    }
}

void nexus__random(void *out, size_t n)
{
    if (n > 64) {
        from_kernel(out, n);
        return;
    }
    if (pool.left < n) {
        from_kernel(pool.bytes, sizeof pool.bytes);
        pool.left = sizeof pool.bytes;
    }
    pool.left -= n;
    memcpy(out, pool.bytes + pool.left, n);
    memset(pool.bytes + pool.left, 0, n);
}

uint64_t nexus__random_u64(void)
{
    uint64_t value;
    nexus__random(&value, sizeof value);
    return value;
}

/* RFC 9562 section 6.2, method 3: the 12 bits after the millisecond are its fraction, so that ids of different threads
 * sort by a quarter of a microsecond; on one thread a clock that stands still or goes back is counted on from. */
static _Thread_local uint64_t last_ticks;

void nexus__uuid7_bytes(uint8_t out[static 16])
{
    uint64_t now = (uint64_t)nexus__real_ns();
    uint64_t ticks = now / NEXUS__NS_PER_MS << 12 | now % NEXUS__NS_PER_MS * 4096 / NEXUS__NS_PER_MS;
    if (ticks <= last_ticks)
        ticks = last_ticks + 1;
    last_ticks = ticks;
    nexus__random(out, 16);
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)(ticks >> (52 - 8 * i));
    out[6] = (uint8_t)(0x70 | (ticks >> 8 & 0x0f));
    out[7] = (uint8_t)ticks;
    out[8] = (uint8_t)(0x80 | (out[8] & 0x3f));
}

void nexus__uuid_format(const uint8_t bytes[static 16], char out[static NEXUS__UUID_LEN + 1])
{
    nexus__hex_write(out, bytes, 4);
    nexus__hex_write(out + 9, bytes + 4, 2);
    nexus__hex_write(out + 14, bytes + 6, 2);
    nexus__hex_write(out + 19, bytes + 8, 2);
    nexus__hex_write(out + 24, bytes + 10, 6);
    out[8] = out[13] = out[18] = out[23] = '-';
    out[NEXUS__UUID_LEN] = '\0';
}

void nexus__uuid7(char out[static NEXUS__UUID_LEN + 1])
{
    uint8_t bytes[16];
    nexus__uuid7_bytes(bytes);
    nexus__uuid_format(bytes, out);
}

void nexus_id_make(char *out)
{
    nexus__uuid7(out);
}
