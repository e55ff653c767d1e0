/* Compiling and freeing. */
#include "base/status.h"
#include "base/utf8.h"
#include "template/program.h"

enum { NESTING_MAX = 256 }; /* what the parser's tables hold */

void nexus_template_opts_init(nexus_template_opts *opts)
{
    *opts = (nexus_template_opts)NEXUS_TEMPLATE_OPTS_INIT;
}

void nexus_render_opts_init(nexus_render_opts *opts)
{
    *opts = (nexus_render_opts)NEXUS_RENDER_OPTS_INIT;
}

static nexus_status parse_copy(nexus_template *tpl, nexus_slice name, nexus_slice text, nexus__template_unit *out)
{
    if (nexus__utf8_valid_prefix(text) != text.n)
        return nexus__fail(NEXUS_EINVAL, "template %.*s is not UTF-8", (int)name.n, name.p ? name.p : "");
    nexus_slice copy = nexus__arena_copy(&tpl->arena, text);
    return copy.p ? nexus__template_parse(tpl, name, copy, out) : nexus__nomem();
}

static nexus_status add_partial(nexus_template *tpl, const nexus_pair *partial)
{
    nexus__template_unit *unit = nexus__arena_get(&tpl->arena, sizeof *unit);
    nexus_slice name = nexus__arena_copy(&tpl->arena, partial->name);
    if (!unit || !name.p)
        return nexus__nomem();
    nexus_status status = parse_copy(tpl, name, partial->value, unit);
    return status == NEXUS_OK ? nexus__map_put(&tpl->partials, name, unit, NULL) : status;
}

static nexus_status check_size(nexus_slice text, const nexus_template_opts *opts)
{
    uint64_t max = opts->template_bytes_max ? opts->template_bytes_max : 1 << 20, bytes = text.n;
    for (size_t i = 0; i < opts->partial_count; i++)
        bytes += opts->partials[i].value.n;
    if (bytes > max || bytes > UINT32_MAX / 2)
        return nexus__fail(NEXUS_ETOOBIG, "the template and its partials have %llu bytes; template_bytes_max is %llu",
                           (unsigned long long)bytes, (unsigned long long)max);
    return NEXUS_OK;
}

nexus_status nexus_template_compile(nexus_template **out, const char *text, size_t text_bytes,
                                    const nexus_template_opts *given)
{
    nexus_template_opts opts = NEXUS_TEMPLATE_OPTS_INIT;
    if (given)
        memcpy(&opts, given, given->size < sizeof opts ? given->size : sizeof opts);
    nexus_status status = check_size(nexus__slice(text, text_bytes), &opts);
    if (status != NEXUS_OK)
        return status;
    nexus_template *tpl = nexus__calloc(opts.alloc, 1, sizeof *tpl);
    if (!tpl)
        return nexus__nomem();
    tpl->alloc = opts.alloc;
    tpl->refuse_raw = opts.refuse_raw;
    tpl->depth_max = opts.depth_max ? opts.depth_max : 64;
    if (tpl->depth_max > NESTING_MAX)
        tpl->depth_max = NESTING_MAX;
    nexus__arena_init(&tpl->arena, opts.alloc, 0);
    nexus__map_init(&tpl->partials, opts.alloc);
    status = parse_copy(tpl, NEXUS_S(""), nexus__slice(text, text_bytes), &tpl->main);
    for (size_t i = 0; i < opts.partial_count && status == NEXUS_OK; i++)
        status = add_partial(tpl, &opts.partials[i]);
    if (status == NEXUS_OK)
        *out = tpl;
    else
        nexus_template_free(tpl);
    return status;
}

void nexus_template_free(nexus_template *tpl)
{
    if (!tpl)
        return;
    nexus__free(tpl->alloc, tpl->ops);
    nexus__map_free(&tpl->partials);
    nexus__arena_free(&tpl->arena);
    nexus__free(tpl->alloc, tpl);
}
