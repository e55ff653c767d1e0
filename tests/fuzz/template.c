/* A template, its data and a partial "p", parted by NUL bytes: compiled and rendered under tight limits. */
#include <nexus/template.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nexus_slice part(const char **at, const char *end)
{
    const char *start = *at, *stop = start < end ? memchr(start, 0, (size_t)(end - start)) : NULL;
    if (!stop)
        stop = end;
    *at = stop < end ? stop + 1 : end;
    return (nexus_slice){start, (size_t)(stop - start)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    nexus_slice text = part(&at, end), json = part(&at, end);
    nexus_pair partial = {NEXUS_S("p"), part(&at, end)};
    nexus_template_opts opts = NEXUS_TEMPLATE_OPTS_INIT;
    opts.partials = &partial;
    opts.partial_count = 1;
    nexus_template *tpl = NULL;
    if (nexus_template_compile(&tpl, text.p, text.n, &opts) != NEXUS_OK)
        return 0;
    nexus_render_opts render = NEXUS_RENDER_OPTS_INIT;
    render.output_bytes_max = 4096;
    render.steps_max = 20000;
    for (int32_t escape = 0; escape <= NEXUS_ESCAPE_LINE; escape++) {
        char *out = NULL;
        size_t n = 0;
        render.escape = escape;
        if (nexus_template_render(&out, &n, tpl, json.p, json.n, &render) == NEXUS_OK && (n > 4096 || out[n]))
            abort();
        nexus_free(out);
    }
    nexus_template_free(tpl);
    return 0;
}
