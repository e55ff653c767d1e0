/* Fields about hops, written by a stranger: the walk ends, reads nothing out of bounds, and what the last proxy appended
 * stays the client whatever stands before it. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "http/forwarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_ours(const void *context, const nexus__ip *ip)
{
    (void)context;
    return ip->bytes[12] == 10;
}

static void resolve(const uint8_t *data, size_t size, const char *name, const char *last)
{
    static const nexus__http_limits limits = {8192, 65536, 100, false};
    nexus__http_head head;
    nexus__ip ip, expected;
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__buf_printf(&text, "GET / HTTP/1.1\r\nHost: h\r\n%s: ", name);
    for (size_t i = 0; i < size; i++)
        nexus__buf_char(&text, data[i] >= ' ' && data[i] != 0x7f ? (char)data[i] : '\t');
    nexus__buf_printf(&text, ", %s\r\n\r\n", last);
    nexus__http_head_init(&head);
    if (nexus__http_parse_request(&head, &limits, text.p, text.len) > 0) {
        if (!nexus__ip_parse(NEXUS_S("10.0.0.1"), &ip) || !nexus__ip_parse(NEXUS_S("1.2.3.4"), &expected))
            abort();
        nexus__forwarded_resolve(&head, text.p, is_ours, NULL, &ip);
        if (memcmp(&ip, &expected, sizeof ip) != 0)
            abort();
    }
    nexus__buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nexus__ip ip;
    nexus_slice element = {(const char *)data, size}, list = element;
    if (size > 8192)
        return 0;
    while (list.n > 0)
        (void)nexus__forwarded_cut(&list);
    (void)nexus__forwarded_for(element, &ip);
    (void)nexus__forwarded_node(element, &ip);
    resolve(data, size, "X-Forwarded-For", "1.2.3.4");
    resolve(data, size, "Forwarded", "for=1.2.3.4");
    resolve(data, size, "Forwarded", "for=\"1.2.3.4:80\";proto=https");
    return 0;
}
