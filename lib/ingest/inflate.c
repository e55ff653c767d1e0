#include "ingest/inflate.h"

#include <zlib.h>

#include "base/status.h"

#define STEP (64u * 1024)
#define RATIO_MAX 100
#define RATIO_FLOOR (64u * 1024) /* small bodies may be as repetitive as they like */

static void *zalloc(void *alloc, unsigned items, unsigned size)
{
    return nexus__calloc(alloc, items, size);
}

static void zfree(void *alloc, void *ptr)
{
    nexus__free(alloc, ptr);
}

static nexus_status inflate_all(z_stream *z, nexus__buf *out, size_t input)
{
    for (;;) {
        size_t step = out->max != 0 && out->max - out->len < STEP ? out->max - out->len : STEP;
        char *room = step ? nexus__buf_reserve(out, step) : NULL;
        if (!room)
            return step == 0 ? nexus__fail(NEXUS_ETOOBIG, "the decompressed body is over %zu bytes", out->max)
                             : nexus__nomem();
        z->next_out = (unsigned char *)room;
        z->avail_out = (unsigned)step;
        int rc = inflate(z, Z_NO_FLUSH);
        out->len += step - z->avail_out;
        if (out->len > RATIO_FLOOR && out->len / RATIO_MAX > input)
            return nexus__fail(NEXUS_ETOOBIG, "the body is over %d times its compressed size", RATIO_MAX);
        if (rc == Z_STREAM_END)
            return z->avail_in == 0 ? NEXUS_OK : nexus__fail(NEXUS_EINVAL, "bytes follow the compressed body");
        if (rc != Z_OK || (z->avail_in == 0 && z->avail_out != 0))
            return nexus__fail(NEXUS_EINVAL, "the compressed body is broken or cut short");
    }
}

nexus_status nexus__inflate(nexus__buf *out, nexus_slice body, bool gzip)
{
    union {
        const char *in;
        unsigned char *z; /* zlib's pointer is not const; it does not write through it */
    } bytes = {body.p};
    z_stream z = {.zalloc = zalloc,
                  .zfree = zfree,
                  .opaque = (void *)(uintptr_t)out->alloc,
                  .next_in = bytes.z,
                  .avail_in = (unsigned)body.n};
    if (body.n > UINT32_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "the compressed body is over 4 GiB");
    if (inflateInit2(&z, gzip ? 15 + 16 : 15) != Z_OK)
        return nexus__nomem();
    nexus_status st = inflate_all(&z, out, body.n);
    inflateEnd(&z);
    return st;
}
