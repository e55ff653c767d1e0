#include "gateway/coding.h"

#include <zlib.h>

#include "base/status.h"

enum {
    EITHER = 15 + 32,        /* window, and: gzip or zlib, as the bytes say */
    GZIP = 13 + 16,          /* a window of 8 KiB, so that a stream takes 64 KiB in all */
    MEM_LEVEL = 6,
    STEP = 16384,
};

/* --- names -------------------------------------------------------------------------------------------------------- */

static bool is_gzip(nexus_slice name)
{
    return nexus__slice_ieq(name, NEXUS_S("gzip")) || nexus__slice_ieq(name, NEXUS_S("x-gzip"));
}

enum nexus__coding nexus__coding_of(nexus_slice field)
{
    field = nexus__slice_trim(field);
    if (!field.n || nexus__slice_ieq(field, NEXUS_S("identity")))
        return NEXUS__CODING_IDENTITY;
    if (is_gzip(field) || nexus__slice_ieq(field, NEXUS_S("deflate")))
        return NEXUS__CODING_GZIP;
    return NEXUS__CODING_UNKNOWN;
}

/* In thousandths; what is no number is 0. */
static uint32_t quality(nexus_slice params)
{
    uint32_t q = 0, unit = 100;
    nexus_slice param = nexus__slice_trim(params);
    if (!param.n)
        return 1000;
    if (param.n < 3 || (param.p[0] | 0x20) != 'q' || param.p[1] != '=')
        return 0;
    if (param.p[2] == '1')
        return 1000;
    for (size_t i = 4; i < param.n && unit; i++, unit /= 10)
        q += (uint32_t)(param.p[i] >= '0' && param.p[i] <= '9' ? param.p[i] - '0' : 0) * unit;
    return q;
}

bool nexus__coding_accepts_gzip(nexus_slice field)
{
    int32_t gzip = -1, identity = -1, any = -1;
    while (field.n) {
        nexus_slice params = nexus__slice_cut(&field, ',');
        nexus_slice name = nexus__slice_trim(nexus__slice_cut(&params, ';'));
        int32_t q = (int32_t)quality(params);
        if (is_gzip(name))
            gzip = q;
        else if (nexus__slice_ieq(name, NEXUS_S("identity")))
            identity = q;
        else if (nexus__slice_eq_c(name, "*"))
            any = q;
    }
    if (gzip < 0)
        gzip = any;
    return gzip > 0 && gzip >= identity;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static voidpf get(voidpf opaque, uInt items, uInt size)
{
    return nexus__malloc(opaque, (size_t)items * size);
}

static void put(voidpf opaque, voidpf p)
{
    nexus__free(opaque, p);
}

static nexus_status inflate_all(z_stream *z, nexus__buf *out, size_t limit)
{
    for (;;) {
        char *at = nexus__buf_reserve(out, STEP);
        if (!at)
            return nexus__nomem();
        z->next_out = (Bytef *)at;
        z->avail_out = STEP;
        int code = inflate(z, Z_NO_FLUSH);
        out->len += STEP - z->avail_out;
        if (out->len > limit)
            return nexus__fail(NEXUS_ETOOBIG, "the body grows beyond what may be opened");
        if (code == Z_STREAM_END)
            return z->avail_in ? nexus__fail(NEXUS_EINVAL, "bytes follow the compressed body") : NEXUS_OK;
        if (code == Z_MEM_ERROR)
            return nexus__nomem();
        if (code != Z_OK || (!z->avail_in && z->avail_out))
            return nexus__fail(NEXUS_EINVAL, "the body is not the gzip or deflate that it says it is");
    }
}

nexus_status nexus__coding_open(nexus__buf *out, nexus_slice in, size_t max)
{
    z_stream z = {.zalloc = get, .zfree = put, .opaque = (voidpf)(uintptr_t)out->alloc};
    z.next_in = (Bytef *)(uintptr_t)in.p;
    z.avail_in = (uInt)in.n;
    if (in.n > UINT32_MAX)
        return nexus__fail(NEXUS_ETOOBIG, "the body is too big to be opened");
    if (inflateInit2(&z, EITHER) != Z_OK)
        return nexus__nomem();
    size_t by_ratio = in.n * NEXUS__CODING_RATIO_MAX;
    nexus_status status = inflate_all(&z, out, by_ratio < max ? by_ratio : max);
    inflateEnd(&z);
    return status;
}

/* --- making ------------------------------------------------------------------------------------------------------- */

struct nexus__deflater {
    z_stream z;
    int level;
    const nexus_alloc *alloc;
};

nexus_status nexus__deflater_new(nexus__deflater **out, int level, const nexus_alloc *alloc)
{
    nexus__deflater *d = nexus__calloc(alloc, 1, sizeof *d);
    if (!d)
        return nexus__nomem();
    *d = (nexus__deflater){.level = level, .alloc = alloc};
    d->z.zalloc = get;
    d->z.zfree = put;
    d->z.opaque = (voidpf)(uintptr_t)alloc;
    if (deflateInit2(&d->z, level, Z_DEFLATED, GZIP, MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
        nexus__free(alloc, d);
        return nexus__nomem();
    }
    *out = d;
    return NEXUS_OK;
}

void nexus__deflater_free(nexus__deflater *d)
{
    if (!d)
        return;
    deflateEnd(&d->z);
    nexus__free(d->alloc, d);
}

void nexus__deflater_reset(nexus__deflater *d, int level)
{
    deflateReset(&d->z);
    if (level != d->level)
        deflateParams(&d->z, level, Z_DEFAULT_STRATEGY);
    d->level = level;
}

static void step(nexus__deflater *d, int flush, nexus__buf *out)
{
    do {
        char *at = nexus__buf_reserve(out, STEP);
        if (!at)
            return;
        d->z.next_out = (Bytef *)at;
        d->z.avail_out = STEP;
        (void)deflate(&d->z, flush); /* Z_BUF_ERROR: nothing was left to do */
        out->len += STEP - d->z.avail_out;
    } while (!d->z.avail_out);
}

void nexus__deflater_write(nexus__deflater *d, const struct iovec *pieces, size_t n, bool end, nexus__buf *out)
{
    for (size_t i = 0; i < n; i++) {
        d->z.next_in = pieces[i].iov_base;
        d->z.avail_in = (uInt)pieces[i].iov_len;
        step(d, Z_NO_FLUSH, out);
    }
    step(d, end ? Z_FINISH : Z_SYNC_FLUSH, out);
}
