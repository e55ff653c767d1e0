/* Binary search by byte offset in a sorted text file: about 35 reads of a page in a file of 40 GB. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/common_password.h"
#include "base/codec.h"
#include "base/status.h"
#include "crypto/hash.h"

enum { SHA1_HEX = 40, LINE_MAX_BYTES = 64 };

struct nexus__breach_file {
    const nexus_alloc *alloc;
    int fd;
    off_t size;
};

static bool is_hash(const char *text)
{
    for (int i = 0; i < SHA1_HEX; i++)
        if (nexus__hex_digit(text[i]) < 0)
            return false;
    return true;
}

/* The first line that begins at or after `at`: its hash, and where it begins. False: there is none, or it is no such line. */
static bool line_at(const nexus__breach_file *f, off_t at, char out[static SHA1_HEX], off_t *begin)
{
    char bytes[2 * LINE_MAX_BYTES + 1];
    off_t from = at > 0 ? at - 1 : 0; /* whether a line begins at `at` is told by the byte before */
    ssize_t n = pread(f->fd, bytes, sizeof bytes, from);
    size_t skip = 0;
    if (n <= 0)
        return false;
    if (at > 0) {
        const char *end = memchr(bytes, '\n', (size_t)n);
        if (!end)
            return false;
        skip = (size_t)(end + 1 - bytes);
    }
    if ((size_t)n < skip + SHA1_HEX || !is_hash(bytes + skip))
        return false;
    memcpy(out, bytes + skip, SHA1_HEX);
    *begin = from + (off_t)skip;
    return true;
}

nexus_status nexus__breach_file_open(nexus__breach_file **out, const nexus_alloc *alloc, const char *path)
{
    struct stat info;
    char first[SHA1_HEX];
    off_t begin;
    nexus__breach_file *f = nexus__calloc(alloc, 1, sizeof *f);
    if (!f)
        return nexus__nomem();
    f->alloc = alloc;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &info) != 0) {
        nexus_status status = nexus__fail_errno(errno, "%s", path);
        nexus__breach_file_close(f);
        return status;
    }
    f->size = info.st_size;
    if (line_at(f, 0, first, &begin)) {
        *out = f;
        return NEXUS_OK;
    }
    nexus__breach_file_close(f);
    return nexus__fail(NEXUS_EINVAL, "%s: must have lines of SHA-1 in hex, sorted (HASH:COUNT)", path);
}

static int compare(const char *a, const char *b)
{
    for (int i = 0; i < SHA1_HEX; i++) {
        int difference = nexus__hex_digit(a[i]) - nexus__hex_digit(b[i]);
        if (difference)
            return difference;
    }
    return 0;
}

/* Invariant: the line, if it is there, begins in [low, high). */
nexus_status nexus__breach_file_has(const nexus__breach_file *f, nexus_slice password, bool *found)
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    char wanted[SHA1_HEX], seen[SHA1_HEX];
    off_t low = 0, high = f->size, begin;
    nexus_status status = nexus__hash(NEXUS__SHA1, password, digest);
    if (status != NEXUS_OK)
        return status;
    nexus__hex_write(wanted, digest, SHA1_HEX / 2);
    *found = false;
    while (low < high && !*found) {
        off_t middle = low + (high - low) / 2;
        bool there = line_at(f, middle, seen, &begin) && begin < high;
        int order = there ? compare(seen, wanted) : 1;
        if (order < 0)
            low = begin + 1;
        else if (order > 0)
            high = middle;
        *found = there && order == 0;
    }
    return NEXUS_OK;
}

void nexus__breach_file_close(nexus__breach_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    nexus__free(f->alloc, f);
}
