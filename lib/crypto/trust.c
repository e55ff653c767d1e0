#include "crypto/trust.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "base/buf.h"
#include "base/status.h"
#include "crypto/hash.h"

enum { DEPTH_MAX = 8, AUTH_LEVEL = 2 /* 112 bits: no SHA-1, no RSA under 2048 */ };

struct nexus__trust {
    atomic_uint refs;
    const nexus_alloc *alloc;
    X509_STORE *store;
    STACK_OF(X509_NAME) *names;
    uint64_t id;
};

/* --- files -------------------------------------------------------------------------------------------------------- */

static nexus_status fail_file(const char *what, const char *path)
{
    char text[160];
    unsigned long code = ERR_peek_last_error();
    ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return nexus__fail(NEXUS_EINVAL, "%s '%s': %s", what, path, code ? text : "has none");
}

static bool add_digest(nexus__buf *seen, const uint8_t *digest, unsigned n)
{
    nexus__buf_append(seen, digest, n);
    return seen->status == NEXUS_OK;
}

static bool add_authority(nexus__trust *t, BIO *in, nexus__buf *seen)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n;
    X509 *x = PEM_read_bio_X509(in, NULL, NULL, NULL);
    X509_NAME *name = x ? X509_NAME_dup(X509_get_subject_name(x)) : NULL;
    bool good = name && sk_X509_NAME_push(t->names, name);
    if (name && !good)
        X509_NAME_free(name);
    good = good && X509_STORE_add_cert(t->store, x) == 1 && X509_digest(x, EVP_sha256(), digest, &n) == 1 &&
           add_digest(seen, digest, n);
    X509_free(x);
    return good;
}

static bool add_list(nexus__trust *t, BIO *in, nexus__buf *seen)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n;
    X509_CRL *list = PEM_read_bio_X509_CRL(in, NULL, NULL, NULL);
    bool good = list && X509_STORE_add_crl(t->store, list) == 1 &&
                X509_CRL_digest(list, EVP_sha256(), digest, &n) == 1 && add_digest(seen, digest, n);
    X509_CRL_free(list);
    return good;
}

/* All that the file has of it, one at least. */
static nexus_status read_all(nexus__trust *t, const char *what, const char *path,
                             bool (*add)(nexus__trust *, BIO *, nexus__buf *), nexus__buf *seen)
{
    ERR_clear_error();
    BIO *in = BIO_new_file(path, "r");
    if (!in)
        return fail_file(what, path);
    size_t count = 0;
    while (add(t, in, seen))
        count++;
    BIO_free(in);
    if (count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return fail_file(what, path);
    ERR_clear_error();
    return NEXUS_OK;
}

static nexus_status make_id(nexus__trust *t, const nexus__buf *seen)
{
    uint8_t digest[32];
    nexus_status status = nexus__hash(NEXUS__SHA256, nexus__buf_slice(seen), digest);
    if (!status)
        memcpy(&t->id, digest, sizeof t->id);
    t->id |= 1;
    return status;
}

static nexus_status read_files(nexus__trust *t, const char *ca_file, const char *crl_file)
{
    nexus__buf seen;
    nexus__buf_init(&seen, t->alloc, 0);
    nexus_status status = read_all(t, "file of authorities", ca_file, add_authority, &seen);
    if (!status && crl_file) {
        nexus__buf_char(&seen, '|');
        status = read_all(t, "file of revocation lists", crl_file, add_list, &seen);
        X509_STORE_set_flags(t->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    }
    if (!status)
        status = make_id(t, &seen);
    nexus__buf_free(&seen);
    return status;
}

nexus_status nexus__trust_open(nexus__trust **out, const nexus_alloc *alloc, const char *ca_file, const char *crl_file)
{
    nexus__trust *t = nexus__calloc(alloc, 1, sizeof *t);
    if (!t)
        return nexus__nomem();
    atomic_init(&t->refs, 1);
    t->alloc = alloc;
    t->store = X509_STORE_new();
    t->names = sk_X509_NAME_new_null();
    nexus_status status = t->store && t->names ? read_files(t, ca_file, crl_file) : nexus__nomem();
    if (status) {
        nexus__trust_free(t);
        return status;
    }
    *out = t;
    return NEXUS_OK;
}

nexus__trust *nexus__trust_ref(nexus__trust *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void nexus__trust_free(nexus__trust *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    X509_STORE_free(t->store);
    sk_X509_NAME_pop_free(t->names, X509_NAME_free);
    nexus__free(t->alloc, t);
}

uint64_t nexus__trust_id(const nexus__trust *t)
{
    return t->id;
}

struct stack_st_X509_NAME *nexus__trust_names(const nexus__trust *t)
{
    return t->names;
}

/* --- verifying ----------------------------------------------------------------------------------------------------- */

int nexus__trust_judge(const nexus__trust *t, nexus__cert *cert, int64_t now_s)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int error = X509_V_ERR_OUT_OF_MEM;
    if (ctx && X509_STORE_CTX_init(ctx, t->store, cert->x509, cert->sent) == 1 &&
        X509_STORE_CTX_set_default(ctx, "ssl_client") == 1) {
        X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_time(rules, (time_t)now_s);
        X509_VERIFY_PARAM_set_depth(rules, DEPTH_MAX);
        X509_VERIFY_PARAM_set_auth_level(rules, AUTH_LEVEL);
        int ok = X509_verify_cert(ctx);
        error = X509_STORE_CTX_get_error(ctx);
        if (ok != 1 && error == X509_V_OK)
            error = X509_V_ERR_UNSPECIFIED;
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return error;
}

nexus_status nexus__trust_check(const nexus__trust *t, nexus__cert *cert, int64_t now_s)
{
    bool known = atomic_load_explicit(&cert->trusted_by, memory_order_relaxed) == t->id;
    if (known && nexus__cert_is_current(cert, now_s))
        return NEXUS_OK;
    int error = nexus__trust_judge(t, cert, now_s);
    if (error != X509_V_OK)
        return nexus__fail(NEXUS_EAUTH, "the certificate is refused: %s", X509_verify_cert_error_string(error));
    atomic_store_explicit(&cert->trusted_by, t->id, memory_order_relaxed);
    return NEXUS_OK;
}
