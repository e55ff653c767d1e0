/* What a stranger says of certificates: Client-Cert and Client-Cert-Chain, the DER in them, and the server name of a hello.
 * Whatever is told of a certificate that was taken is plain text. */
#include <stdlib.h>
#include <string.h>

#include "http/client_cert.h"
#include "http/tls_clients.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_plain(nexus_slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || (unsigned char)text.p[i] > 0x7e)
            abort();
}

static void parse(nexus_slice der, const nexus_slice *chain, size_t n)
{
    nexus__cert *cert;
    if (nexus__cert_parse(&cert, NULL, der, chain, n) != NEXUS_OK)
        return;
    expect_plain(cert->subject);
    for (size_t i = 0; i < cert->name_count; i++)
        expect_plain(cert->names[i].text);
    nexus__cert_free(cert);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__cert_fields f;
    nexus__arena arena;
    char name[NEXUS__SERVER_NAME_MAX + 1];
    size_t n;
    nexus_slice whole = {(const char *)data, size}, rest = whole, first = nexus__slice_cut(&rest, '\n');
    if (size > 32768)
        return 0;
    if (nexus__tls_server_name(data, size, name, &n) && (n == 0 || n > NEXUS__SERVER_NAME_MAX || strlen(name) != n))
        abort();
    (void)nexus__tls_name_is_host(first, rest);
    nexus__arena_init(&arena, NULL, 0);
    if (nexus__client_cert_read(&f, first, &rest, rest.n > 0, &arena))
        parse(f.der, f.chain, f.count);
    nexus__arena_free(&arena);
    parse(whole, NULL, 0);
    return 0;
}
