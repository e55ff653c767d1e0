/* The certificate of who sent a request: of its connection, or as a trusted proxy tells it (RFC 9440). */
#include "http/client_cert.h"

#include "base/codec.h"
#include "base/status.h"
#include "base/time.h"
#include "http/internal.h"

void nexus_client_cert_init(nexus_client_cert *cert)
{
    *cert = (nexus_client_cert)NEXUS_CLIENT_CERT_INIT;
}

/* --- fields ----------------------------------------------------------------------------------------------------------- */

/* A byte sequence of RFC 8941, 3.3.5, without parameters. */
static bool read_bytes(nexus_slice item, nexus__arena *arena, nexus_slice *out)
{
    size_t n;
    if (item.n < 3 || item.p[0] != ':' || item.p[item.n - 1] != ':')
        return false;
    item = nexus__slice(item.p + 1, item.n - 2);
    uint8_t *bytes = nexus__arena_get(arena, NEXUS__BASE64_DECODED_MAX(item.n));
    if (!bytes || !nexus__base64_decode(item, bytes, &n))
        return false;
    *out = nexus__slice((char *)bytes, n);
    return n > 0;
}

bool nexus__client_cert_read(nexus__cert_fields *f, nexus_slice cert, const nexus_slice *lines, size_t n,
                             nexus__arena *arena)
{
    f->count = 0;
    if (!read_bytes(nexus__slice_trim(cert), arena, &f->der))
        return false;
    for (size_t i = 0; i < n; i++) {
        nexus_slice rest = lines[i];
        while (rest.n > 0) {
            if (f->count == NEXUS__CERT_CHAIN_MAX ||
                !read_bytes(nexus__slice_trim(nexus__slice_cut(&rest, ',')), arena, &f->chain[f->count++]))
                return false;
        }
    }
    return true;
}

/* The lines of that name, max of them at most; max + 1 when there are more. */
static size_t lines_of(const nexus_request *r, nexus_slice name, nexus_slice *out, size_t max)
{
    nexus_pair field;
    size_t n = 0;
    for (size_t i = 0; nexus_request_header_at(r, i, &field) && n <= max; i++)
        if (nexus__slice_ieq(field.name, name) && n++ < max)
            out[n - 1] = field.value;
    return n;
}

static void look_in_fields(nexus_request *r)
{
    const nexus_server *s = r->shard->server;
    nexus_slice cert, chain[NEXUS__CERT_CHAIN_MAX];
    nexus__cert_fields f;
    nexus__cert *told;
    r->cert_looked = true;
    if (!s->opts.client_cert_header || !nexus__server_trusts(s, &r->peer) ||
        lines_of(r, NEXUS_S("client-cert"), &cert, 1) != 1)
        return;
    size_t n = lines_of(r, NEXUS_S("client-cert-chain"), chain, NEXUS__CERT_CHAIN_MAX);
    if (n > NEXUS__CERT_CHAIN_MAX || !nexus__client_cert_read(&f, cert, chain, n, &r->arena) ||
        nexus__cert_parse(&told, s->alloc, f.der, f.chain, f.count) != NEXUS_OK)
        return;
    nexus__cert_free(r->cert); /* the proxy's own */
    r->cert = told;
    r->cert_verified = false;
}

/* --- of a request ------------------------------------------------------------------------------------------------------ */

void nexus__request_keep_cert(nexus_request *r)
{
    nexus__cert *cert = nexus__tls_cert(r->conn->tls, &r->cert_verified);
    if (cert)
        r->cert = nexus__cert_ref(cert);
}

void nexus__request_drop_cert(nexus_request *r)
{
    nexus__cert_free(r->cert);
    r->cert = NULL;
    r->cert_verified = r->cert_looked = false;
}

nexus__cert *nexus__request_cert(const nexus_request *request, bool *verified)
{
    nexus_request *r = (nexus_request *)(uintptr_t)request; /* what is found is kept */
    if (!r->cert_looked)
        look_in_fields(r);
    *verified = r->cert_verified && nexus__cert_is_current(r->cert, nexus__real_ns() / NEXUS__NS_PER_S);
    return r->cert;
}

bool nexus_request_client_cert(const nexus_request *r, nexus_client_cert *out)
{
    nexus_client_cert c = NEXUS_CLIENT_CERT_INIT;
    size_t size = out->size;
    const nexus__cert *cert = nexus__request_cert(r, &c.verified);
    if (!cert)
        return false;
    c.der = cert->der;
    c.subject = cert->subject;
    c.sha256 = cert->sha256;
    c.size = size;
    memcpy(out, &c, size < sizeof c ? size : sizeof c);
    return true;
}

bool nexus_request_client_cert_chain(const nexus_request *r, size_t i, nexus_slice *der)
{
    bool verified;
    const nexus__cert *cert = nexus__request_cert(r, &verified);
    if (!cert || i >= cert->chain_count)
        return false;
    *der = cert->chain[i];
    return true;
}
