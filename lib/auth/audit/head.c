/* What stands beside the log: the signing key, and the last checkpoint. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/audit/audit.h"
#include "base/codec.h"
#include "base/status.h"
#include "crypto/wipe.h"

#define MARK "nx-audit-1 "

nexus_status nexus__audit_hash(nexus_slice record, char out[static NEXUS__AUDIT_HASH_TEXT])
{
    uint8_t digest[NEXUS__DIGEST_MAX];
    nexus_status status = nexus__hash(NEXUS__SHA256, record, digest);
    if (status == NEXUS_OK)
        nexus__hex_write(out, digest, 32);
    out[64] = 0;
    return status;
}

nexus_status nexus__audit_head_sign(nexus__buf *out, const nexus__pkey *key, const nexus__audit_head *head)
{
    uint8_t signature[NEXUS__SIGNATURE_MAX];
    size_t n;
    nexus__buf_printf(out, MARK "%llu %s", (unsigned long long)head->seq, head->hash);
    if (out->status != NEXUS_OK)
        return nexus__nomem();
    nexus_status status = nexus__pkey_sign(key, nexus__buf_slice(out), signature, &n);
    if (status != NEXUS_OK)
        return status;
    nexus__buf_char(out, ' ');
    nexus__base64url_append(out, signature, n);
    return out->status;
}

bool nexus__audit_head_read(nexus__audit_head *out, const nexus__pkey *key, nexus_slice line)
{
    uint8_t signature[NEXUS__BASE64_DECODED_MAX(128)];
    size_t n, end = line.n;
    while (end && line.p[end - 1] != ' ')
        end--;
    nexus_slice text = nexus__slice_from(line, end), message = nexus__slice(line.p, end ? end - 1 : 0), rest = message;
    if (text.n > 100 || !nexus__slice_starts(rest, NEXUS_S(MARK)) || !nexus__base64url_decode(text, signature, &n) ||
        !nexus__pkey_verify(key, message, nexus__slice(signature, n)))
        return false;
    rest = nexus__slice_from(rest, sizeof MARK - 1);
    nexus_slice seq = nexus__slice_cut(&rest, ' ');
    if (!nexus__parse_u64(seq, &out->seq) || rest.n != 64)
        return false;
    memcpy(out->hash, rest.p, 64);
    out->hash[64] = 0;
    return true;
}

/* A whole small file. NEXUS_ENOTFOUND; NEXUS_EPERM: private, and others can read it. */
static nexus_status read_file(const char *path, bool private, char *out, size_t cap, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return nexus__fail_errno(errno, "%s", path);
    ssize_t got = fstat(fd, &st) == 0 ? read(fd, out, cap) : -1;
    close(fd);
    if (got < 0)
        return nexus__fail_errno(errno, "%s", path);
    if (private && (st.st_mode & 077))
        return nexus__fail(NEXUS_EPERM, "%s can be read by others: chmod 600 it", path);
    *n = (size_t)got;
    return NEXUS_OK;
}

/* Whole and durable under its name, or not at all. */
static nexus_status write_file(const char *path, nexus_slice text)
{
    char temporary[4200];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return nexus__fail_errno(errno, "%s", temporary);
    bool fine = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    int error = errno;
    close(fd);
    if (!fine || rename(temporary, path) != 0)
        return nexus__fail_errno(fine ? errno : error, "%s", path);
    return NEXUS_OK;
}

nexus_status nexus__audit_head_load(nexus__audit_head *out, const char *dir, const nexus__pkey *key)
{
    char path[4100], line[512];
    size_t n;
    snprintf(path, sizeof path, "%s.head", dir);
    nexus_status status = read_file(path, false, line, sizeof line, &n);
    if (status != NEXUS_OK)
        return status;
    while (n && line[n - 1] == '\n')
        n--;
    return nexus__audit_head_read(out, key, nexus__slice(line, n))
               ? NEXUS_OK
               : nexus__fail(NEXUS_ECORRUPT, "%s is not signed with the key of the trail", path);
}

nexus_status nexus__audit_head_store(const char *dir, nexus_slice line)
{
    char path[4100];
    snprintf(path, sizeof path, "%s.head", dir);
    return write_file(path, line);
}

static nexus_status make_key(const char *path)
{
    nexus__pkey *key;
    char *pem;
    size_t n;
    nexus_status status = nexus__pkey_generate(&key, nexus__sigalg_find(NEXUS_S("EdDSA")));
    if (status != NEXUS_OK)
        return status;
    status = nexus__pkey_print_pem(key, true, &pem, &n);
    nexus__pkey_free(key);
    if (status != NEXUS_OK)
        return status;
    status = write_file(path, nexus__slice(pem, n));
    nexus__wipe(pem, n);
    nexus__free(NULL, pem);
    return status;
}

nexus_status nexus__audit_key(nexus__pkey **out, const char *dir)
{
    char path[4100], pem[1024];
    size_t n;
    snprintf(path, sizeof path, "%s.key", dir);
    nexus_status status = read_file(path, true, pem, sizeof pem, &n);
    if (status == NEXUS_ENOTFOUND && (status = make_key(path)) == NEXUS_OK)
        status = read_file(path, true, pem, sizeof pem, &n);
    if (status == NEXUS_OK)
        status = nexus__pkey_from_pem(out, nexus__sigalg_find(NEXUS_S("EdDSA")), nexus__slice(pem, n));
    nexus__wipe(pem, sizeof pem);
    return status;
}
