/*
 * Rendering: a walk over the operations with a stack of context values. `indent` is what the lines of the current
 * partial or block begin with; it is written when the first thing of a line is, so that empty lines stay empty.
 * Every nesting (sections, partials, blocks) counts into depth, so that the C stack is bounded whatever the partials do.
 */
#include "base/status.h"
#include "template/program.h"
#include "json/read.h"
#include "json/write.h"

enum { DEPTH_MAX = 2000, PARTIALS_MAX = 256 };

typedef struct context { /* innermost first */
    const struct context *outer;
    uint32_t value;
} context;

typedef struct overrides { /* the parents being rendered, outermost last */
    const struct overrides *outer;
    uint32_t start, end; /* the operations between {{<name}} and {{/name}} */
} overrides;

typedef struct render {
    const nexus_template *tpl;
    nexus__json *data;
    nexus__buf *out;
    nexus__buf indent;
    bool line_start;
    const overrides *overrides;
    int32_t escape;
    uint32_t depth, partials, partials_max;
    uint64_t steps, steps_max;
    nexus__buf missing; /* the names that were not there, as the members of a JSON array */
    bool note_missing;
    nexus_status status;
} render;

static void run(render *r, uint32_t at, uint32_t end, const context *ctx);

static bool stop(render *r, nexus_status status)
{
    if (r->status == NEXUS_OK)
        r->status = status;
    return false;
}

static bool step(render *r, uint64_t cost)
{
    r->steps += cost;
    if (r->steps > r->steps_max)
        return stop(r, nexus__fail(NEXUS_ETOOBIG, "rendering takes more than %llu steps (steps_max)",
                                   (unsigned long long)r->steps_max));
    if (r->out->status == NEXUS_ETOOBIG)
        return stop(r, nexus__fail(NEXUS_ETOOBIG, "the rendered text is larger than %zu bytes (output_bytes_max)",
                                   r->out->max));
    return r->status == NEXUS_OK;
}

/* "a.b.c": the innermost context that has a; from there on no way back. "." is the context itself. */
static uint32_t look_up(render *r, const context *ctx, nexus_slice name)
{
    if (nexus__slice_eq_c(name, "."))
        return ctx->value;
    nexus_slice first = nexus__slice_cut(&name, '.');
    uint32_t v = NEXUS__JSON_NONE;
    for (; ctx && v == NEXUS__JSON_NONE; ctx = ctx->outer) {
        v = nexus__json_member(r->data, ctx->value, first);
        r->steps += nexus__json_count(r->data, ctx->value) / 16;
    }
    while (name.n && v != NEXUS__JSON_NONE)
        v = nexus__json_member(r->data, v, nexus__slice_cut(&name, '.'));
    return v;
}

static void note_missing(render *r, nexus_slice name)
{
    if (!r->note_missing)
        return;
    nexus__buf one;
    nexus__buf_init(&one, r->tpl->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&one);
    nexus__json_text_value(&w, name);
    nexus_slice quoted = nexus__buf_slice(&one);
    bool known = nexus__slice_search(nexus__buf_slice(&r->missing), quoted) < r->missing.len;
    if (!known && r->missing.len)
        nexus__buf_char(&r->missing, ',');
    if (!known)
        nexus__buf_slice_append(&r->missing, quoted);
    if (one.status != NEXUS_OK || r->missing.status != NEXUS_OK)
        stop(r, nexus__fail(NEXUS_ENOMEM, "out of memory"));
    nexus__buf_free(&one);
}

/* The line's indentation, if this is the first thing on it. */
static void begin(render *r)
{
    if (r->line_start)
        nexus__buf_slice_append(r->out, nexus__buf_slice(&r->indent));
    r->line_start = false;
}

static void render_text(render *r, const nexus__template_op *op)
{
    if (!op->blank)
        begin(r);
    nexus__buf_slice_append(r->out, op->text);
    r->line_start = op->text.p[op->text.n - 1] == '\n';
}

static void render_value(render *r, const nexus__template_op *op, const context *ctx)
{
    begin(r);
    uint32_t v = look_up(r, ctx, op->text);
    nexus_slice text = nexus__json_raw(r->data, v); /* numbers, true, false and containers as they are written */
    nexus__json_type type = nexus__json_type_of(r->data, v);
    if (type == NEXUS__JSON_ABSENT)
        note_missing(r, op->text);
    if (type == NEXUS__JSON_ABSENT || type == NEXUS__JSON_NULL)
        return;
    if (type == NEXUS__JSON_STRING && !nexus__json_text(r->data, v, &text)) {
        stop(r, NEXUS_ENOMEM);
        return;
    }
    nexus__template_escape(r->out, op->kind == NEXUS__TEMPLATE_RAW ? NEXUS_ESCAPE_NONE : r->escape, text);
}

/* What a section takes for no: nothing, null, false, "", 0, []. */
static bool truthy(const nexus__json *data, uint32_t v)
{
    double number;
    switch (nexus__json_type_of(data, v)) {
    case NEXUS__JSON_ABSENT:
    case NEXUS__JSON_NULL:
    case NEXUS__JSON_FALSE:
        return false;
    case NEXUS__JSON_STRING:
        return nexus__json_raw(data, v).n > 2;
    case NEXUS__JSON_ARRAY:
        return nexus__json_count(data, v) > 0;
    case NEXUS__JSON_INT:
    case NEXUS__JSON_REAL:
        return !nexus__json_double(data, v, &number) || number != 0;
    default:
        return true;
    }
}

static void render_section(render *r, uint32_t at, const context *ctx)
{
    const nexus__template_op *op = &r->tpl->ops[at];
    uint32_t v = look_up(r, ctx, op->text);
    if (truthy(r->data, v) == (op->kind == NEXUS__TEMPLATE_INVERTED))
        return;
    if (op->kind == NEXUS__TEMPLATE_INVERTED) {
        run(r, at + 1, op->end, ctx);
    } else if (!nexus__json_is(r->data, v, NEXUS__JSON_ARRAY)) {
        run(r, at + 1, op->end, &(context){ctx, v});
    } else {
        for (nexus__json_iter it = nexus__json_each(r->data, v); step(r, 1) && nexus__json_step(r->data, &it);)
            run(r, at + 1, op->end, &(context){ctx, it.value});
    }
}

static const nexus__template_unit *find_partial(render *r, const nexus__template_op *op, const context *ctx)
{
    nexus_slice name = op->text;
    if (op->dynamic) {
        uint32_t v = look_up(r, ctx, op->text);
        if (!nexus__json_is(r->data, v, NEXUS__JSON_STRING)) {
            note_missing(r, op->text);
            return NULL;
        }
        if (!nexus__json_text(r->data, v, &name)) {
            stop(r, NEXUS_ENOMEM);
            return NULL;
        }
    }
    return nexus__map_get(&r->tpl->partials, name);
}

/* A partial, or the parent of an inheritance. Inside a line its own lines are not indented. */
static void render_partial(render *r, uint32_t at, const context *ctx)
{
    const nexus__template_op *op = &r->tpl->ops[at];
    const nexus__template_unit *unit = find_partial(r, op, ctx);
    if (!op->own_line)
        begin(r);
    if (!unit || r->status != NEXUS_OK)
        return;
    if (++r->partials > r->partials_max) {
        stop(r, nexus__fail(NEXUS_ETOOBIG, "partials are nested deeper than %u: does \"%.*s\" include itself?",
                            r->partials_max, (int)op->text.n, op->text.p));
        return;
    }
    overrides parent = {r->overrides, at + 1, op->end};
    nexus__buf outer = r->indent;
    if (op->kind == NEXUS__TEMPLATE_PARENT)
        r->overrides = &parent;
    if (op->own_line) {
        r->line_start = true;
        nexus__buf_slice_append(&r->indent, op->indent);
    } else {
        nexus__buf_init(&r->indent, r->tpl->alloc, 0);
    }
    run(r, unit->start, unit->end, ctx);
    if (op->own_line) {
        r->indent.len = outer.len;
    } else {
        nexus__buf_free(&r->indent);
        r->indent = outer;
    }
    if (op->kind == NEXUS__TEMPLATE_PARENT)
        r->overrides = parent.outer;
    r->line_start = op->own_line;
    r->partials--;
}

/* The outermost parent tag that says something about this block wins. */
static uint32_t find_override(const render *r, uint32_t block)
{
    uint32_t found = block;
    for (const overrides *o = r->overrides; o; o = o->outer)
        for (uint32_t at = o->start; at < o->end;) {
            const nexus__template_op *op = &r->tpl->ops[at];
            if (op->kind == NEXUS__TEMPLATE_BLOCK && nexus__slice_eq(op->text, r->tpl->ops[block].text))
                found = at;
            at = op->end > at ? op->end : at + 1;
        }
    return found;
}

static void render_block(render *r, uint32_t at, const context *ctx)
{
    const nexus__template_op *op = &r->tpl->ops[at];
    uint32_t content = find_override(r, at);
    size_t indent = r->indent.len;
    if (op->own_line) {
        r->line_start = true;
        nexus__buf_slice_append(&r->indent, op->indent);
    }
    run(r, content + 1, r->tpl->ops[content].end, ctx);
    r->indent.len = indent;
}

static void run(render *r, uint32_t at, uint32_t end, const context *ctx)
{
    if (r->depth == DEPTH_MAX) {
        stop(r,
             nexus__fail(NEXUS_ETOOBIG, "sections, partials and blocks are nested too deep: does one contain itself?"));
        return;
    }
    r->depth++;
    while (at < end && step(r, 1)) {
        const nexus__template_op *op = &r->tpl->ops[at];
        switch (op->kind) {
        case NEXUS__TEMPLATE_TEXT:
            render_text(r, op);
            break;
        case NEXUS__TEMPLATE_VALUE:
        case NEXUS__TEMPLATE_RAW:
            render_value(r, op, ctx);
            break;
        case NEXUS__TEMPLATE_SECTION:
        case NEXUS__TEMPLATE_INVERTED:
            render_section(r, at, ctx);
            break;
        case NEXUS__TEMPLATE_BLOCK:
            render_block(r, at, ctx);
            break;
        default:
            render_partial(r, at, ctx);
        }
        at = op->end > at ? op->end : at + 1;
    }
    r->depth--;
}

static nexus_status result(render *r)
{
    if (r->status == NEXUS_OK)
        step(r, 0); /* the last append may have been the one too many */
    if (r->status == NEXUS_OK && (r->out->status != NEXUS_OK || r->indent.status != NEXUS_OK))
        r->status = nexus__nomem();
    return r->status;
}

/* Renders onto out; the names that are missing go to r->missing when r->note_missing says so. */
static nexus_status render_all(render *r, const char *data, size_t data_bytes, const nexus_render_opts *opts)
{
    nexus__json doc;
    nexus__json_init(&doc, r->tpl->alloc);
    nexus__buf_init(&r->indent, r->tpl->alloc, 0);
    nexus__buf_init(&r->missing, r->tpl->alloc, 0);
    r->data = &doc;
    r->escape = opts->escape;
    r->steps_max = opts->steps_max ? opts->steps_max : 1000000;
    r->partials_max = opts->partials_max ? opts->partials_max : 16;
    if (r->partials_max > PARTIALS_MAX)
        r->partials_max = PARTIALS_MAX;
    nexus_status status = nexus__json_scan(&doc, data_bytes ? nexus__slice(data, data_bytes) : NEXUS_S("{}"), NULL);
    if (status == NEXUS_OK) {
        run(r, r->tpl->main.start, r->tpl->main.end, &(context){NULL, 0});
        status = result(r);
    }
    nexus__buf_free(&r->indent);
    nexus__json_free(&doc);
    return status;
}

static nexus_status refuse_missing(const nexus__buf *missing)
{
    nexus_slice names = nexus__buf_slice(missing);
    return nexus__fail(NEXUS_EMISSING, "the data lacks what the template names: %.*s",
                       names.n < 400 ? (int)names.n : 400, names.p);
}

nexus_status nexus_template_render(char **out, size_t *out_bytes, const nexus_template *tpl, const char *data,
                                   size_t data_bytes, const nexus_render_opts *given)
{
    nexus_render_opts opts = NEXUS_RENDER_OPTS_INIT;
    if (given)
        memcpy(&opts, given, given->size < sizeof opts ? given->size : sizeof opts);
    nexus__buf text;
    nexus__buf_init(&text, NULL, opts.output_bytes_max ? (size_t)opts.output_bytes_max : 1 << 20);
    if (!nexus__template_escape(&text, opts.escape, NEXUS_S("")))
        return nexus__fail(NEXUS_EINVAL, "escape is one of NEXUS_ESCAPE_…, not %d", (int)opts.escape);
    render r = {.tpl = tpl, .out = &text, .note_missing = opts.strict};
    nexus_status status = render_all(&r, data, data_bytes, &opts);
    if (status == NEXUS_OK && r.missing.len)
        status = refuse_missing(&r.missing);
    nexus__buf_free(&r.missing);
    char *bytes = NULL;
    if (status == NEXUS_OK && !(bytes = nexus__buf_take(&text, out_bytes)))
        status = nexus__nomem();
    if (status == NEXUS_OK)
        *out = bytes;
    nexus__buf_free(&text);
    return status;
}

nexus_status nexus_template_missing(char **out, size_t *out_bytes, const nexus_template *tpl, const char *data,
                                    size_t data_bytes)
{
    nexus__buf text, list;
    nexus__buf_init(&text, tpl->alloc, 1 << 20);
    nexus__buf_init(&list, NULL, 0);
    render r = {.tpl = tpl, .out = &text, .note_missing = true};
    nexus_status status = render_all(&r, data, data_bytes, &(nexus_render_opts)NEXUS_RENDER_OPTS_INIT);
    nexus__buf_char(&list, '[');
    nexus__buf_slice_append(&list, nexus__buf_slice(&r.missing));
    nexus__buf_char(&list, ']');
    nexus__buf_free(&r.missing);
    nexus__buf_free(&text);
    char *bytes = NULL;
    if (status == NEXUS_OK && !(bytes = nexus__buf_take(&list, out_bytes)))
        status = nexus__nomem();
    if (status == NEXUS_OK)
        *out = bytes;
    nexus__buf_free(&list);
    return status;
}
