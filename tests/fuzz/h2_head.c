/*
 * Decoded header blocks of HTTP/2: a block is malformed, refused, or a head that HTTP/1.1 allows, whose lines stand one
 * behind the other. Input: fields as NAME 0 VALUE 0.
 */
#include <assert.h>

#include "http/h2_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const nexus__http_limits limits = {256, 2048, 16, false};

static nexus_slice cut(nexus_slice *rest)
{
    return nexus__slice_cut(rest, '\0');
}

static void check(const nexus__http_head *h, const char *p)
{
    uint32_t at = h->field_count ? h->fields[0].name : 0;
    for (uint32_t i = 0; i < h->field_count; i++) {
        const nexus__http_field *f = &h->fields[i];
        assert(f->name == at && f->value == f->name + f->name_len + 2u);
        assert(nexus__http_is_token(nexus__http_field_name(f, p)));
        assert(nexus__http_is_value(nexus__http_field_value(f, p)));
        assert(f->id != NEXUS__HTTP_CONNECTION && f->id != NEXUS__HTTP_TRANSFER_ENCODING);
        at = f->value + f->value_len + 2;
    }
    assert(at + 2 == h->bytes && h->target + h->target_len <= h->bytes);
    assert(nexus__http_is_token((nexus_slice){p + h->start, h->method_len}));
    const nexus__http_field *host = nexus__http_first(h, NEXUS__HTTP_HOST);
    assert(host && nexus__http_is_authority(nexus__http_field_value(host, p)));
}

static void put(void *to, nexus_slice name, nexus_slice value)
{
    assert(name.n && !memchr(value.p, '\n', value.n));
    (*(size_t *)to)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static nexus__http_head head;
    nexus__h2_head d;
    nexus__buf lines, crumbs;
    nexus_slice rest = {(const char *)data, size};
    nexus__buf_init(&lines, NULL, 0);
    nexus__buf_init(&crumbs, NULL, 0);
    nexus__h2_head_init(&d, &head, &limits, &lines, &crumbs);
    int result = 0;
    while (rest.n && !result) {
        nexus_slice name = cut(&rest), value = cut(&rest);
        result = nexus__h2_head_field(&d, name, value);
    }
    if (!result)
        result = nexus__h2_head_end(&d, size % 2);
    if (!result)
        check(&head, lines.p);
    nexus__buf_clear(&lines);
    nexus__buf_append(&lines, data, size);
    size_t count = 0;
    assert(nexus__h2_fields(lines.p, lines.len, put, &count) == count);
    nexus__buf_free(&lines);
    nexus__buf_free(&crumbs);
    return 0;
}
