/*
 * From text to operations, in three steps: tokens (tags, and text cut at line ends), the matching of what is opened
 * with what closes it, and then line by line, because what a tag does to the white space around it depends on what
 * else is on its line:
 *
 *   - a tag that stands alone (not a value) takes its whole line away; what stood before a partial is its indentation;
 *   - parents and blocks may share their line with each other and still stand alone;
 *   - a block that is the first on its line indents what comes in its place, default content or not, by the white
 *     space before it; when its tag ends the line, by that of its content's first line;
 *   - content that begins on a line of its own loses that white space ("cut"), so that it can be put anywhere.
 */
#include "base/status.h"
#include "template/program.h"

enum { TEXT_TOKEN = 0, COMMENT = '!', DELIMITER = '=' }; /* all other kinds are the tag's own mark; 'v' = {{name}} */

typedef struct token {
    char kind;
    char closes; /* of '/': the mark of what it ends */
    bool dynamic, own_line;
    nexus_slice text; /* text, or the name */
    nexus_slice indent;
    size_t at;
    uint32_t other; /* opening tag: its end; '/': its opening */
    bool drop;      /* text that its line's tags take away */
} token;

typedef struct parser {
    nexus_template *tpl;
    nexus_slice name, text;
    size_t at;
    nexus_slice open, close; /* the delimiters */
    token *tokens;
    uint32_t count, cap;
} parser;

static nexus_status fail(parser *p, size_t at, nexus_status status, const char *what, nexus_slice name)
{
    uint32_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < p->text.n; i++) {
        column = p->text.p[i] == '\n' ? 1 : column + 1;
        line += p->text.p[i] == '\n';
    }
    return nexus__fail(status, "template%s%.*s, line %u, column %u: %s %.*s", p->name.n ? " " : "", (int)p->name.n,
                       p->name.p ? p->name.p : "", line, column, what, (int)(name.n < 80 ? name.n : 80),
                       name.p ? name.p : "");
}

static nexus_status push(parser *p, token t)
{
    if (p->count == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 64;
        token *tokens = nexus__realloc(p->tpl->alloc, p->tokens, cap * sizeof *tokens);
        if (!tokens)
            return nexus__nomem();
        p->tokens = tokens;
        p->cap = cap;
    }
    p->tokens[p->count++] = t;
    return NEXUS_OK;
}

static nexus_status push_text(parser *p, size_t end)
{
    nexus_status status = NEXUS_OK;
    while (p->at < end && status == NEXUS_OK) {
        nexus_slice rest = nexus__slice(p->text.p + p->at, end - p->at);
        size_t n = nexus__slice_find(rest, '\n');
        n += n < rest.n;
        status = push(p, (token){.kind = TEXT_TOKEN, .text = nexus__slice(rest.p, n), .at = p->at});
        p->at += n;
    }
    return status;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static nexus_slice trim(nexus_slice t)
{
    while (t.n && is_space(t.p[0]))
        t = nexus__slice_from(t, 1);
    while (t.n && is_space(t.p[t.n - 1]))
        t.n--;
    return t;
}

static nexus_status set_delimiters(parser *p, size_t at, nexus_slice inner)
{
    if (!inner.n || inner.p[inner.n - 1] != '=')
        return fail(p, at, NEXUS_EINVAL, "a change of delimiters is written {{=<% %>=}}", NEXUS_S(""));
    inner.n--;
    inner = trim(inner);
    size_t n = 0;
    while (n < inner.n && !is_space(inner.p[n]))
        n++;
    nexus_slice close = trim(nexus__slice_from(inner, n));
    for (size_t i = 0; i < close.n; i++)
        if (is_space(close.p[i]))
            close.n = 0;
    if (!n || !close.n || nexus__slice_find(inner, '=') < inner.n)
        return fail(p, at, NEXUS_EINVAL, "a change of delimiters is written {{=<% %>=}}", NEXUS_S(""));
    p->open = nexus__slice(inner.p, n);
    p->close = close;
    return NEXUS_OK;
}

static nexus_status finish_tag(parser *p, token t, nexus_slice inner)
{
    if (t.kind == COMMENT || t.kind == DELIMITER) {
        nexus_status status = push(p, t);
        return status == NEXUS_OK && t.kind == DELIMITER ? set_delimiters(p, t.at, inner) : status;
    }
    t.text = trim(inner);
    if ((t.kind == '>' || t.kind == '<') && t.text.n && t.text.p[0] == '*') {
        t.dynamic = true;
        t.text = trim(nexus__slice_from(t.text, 1));
    }
    if (!t.text.n)
        return fail(p, t.at, NEXUS_EINVAL, "a tag without a name", NEXUS_S(""));
    if (t.kind == '&' && p->tpl->refuse_raw)
        return fail(p, t.at, NEXUS_EPERM, "raw tags are not accepted in this template; write {{name}} instead of",
                    t.text);
    return push(p, t);
}

static nexus_status tag(parser *p) /* p->at is at the opening delimiter */
{
    token t = {.kind = 'v', .at = p->at};
    nexus_slice rest = nexus__slice_from(p->text, p->at + p->open.n);
    char mark = rest.n ? rest.p[0] : '\0';
    size_t brace = mark == '{';
    if (mark && strchr("#^/>&!=<$", mark))
        t.kind = mark;
    if (brace)
        t.kind = '&';
    if (t.kind != 'v')
        rest = nexus__slice_from(rest, 1);
    size_t end = 0;
    for (;; end++) { /* {{{name}}} ends with a brace more */
        end += nexus__slice_search(nexus__slice_from(rest, end), p->close);
        if (end >= rest.n || !brace || (end && rest.p[end - 1] == '}') || rest.p[end] == '}')
            break;
    }
    if (end >= rest.n)
        return fail(p, t.at, NEXUS_EINVAL, "this tag is not closed: expected", p->close);
    nexus_slice inner = nexus__slice(rest.p, end);
    size_t after = (size_t)(rest.p - p->text.p) + end + p->close.n;
    if (brace && (!end || rest.p[end - 1] != '}')) { /* "}}}" found as "}}" and "}": the brace stands behind */
        after++;
        if (after > p->text.n || p->text.p[after - 1] != '}')
            return fail(p, t.at, NEXUS_EINVAL, "this tag is not closed: expected }", p->close);
    } else if (brace) {
        inner.n--;
    }
    p->at = after;
    return finish_tag(p, t, inner);
}

static nexus_status tokenize(parser *p)
{
    nexus_status status = NEXUS_OK;
    while (p->at < p->text.n && status == NEXUS_OK) {
        nexus_slice rest = nexus__slice_from(p->text, p->at);
        size_t n = nexus__slice_search(rest, p->open);
        status = push_text(p, p->at + n);
        if (status == NEXUS_OK && n < rest.n)
            status = tag(p);
    }
    return status;
}

static bool opens(const token *t)
{
    return t->kind == '#' || t->kind == '^' || t->kind == '<' || t->kind == '$';
}

static nexus_status match(parser *p)
{
    uint32_t stack[256], depth = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        token *t = &p->tokens[i];
        if (opens(t)) {
            if (depth == p->tpl->depth_max)
                return fail(p, t->at, NEXUS_ETOOBIG, "nested deeper than the limit allows:", t->text);
            stack[depth++] = i;
        } else if (t->kind == '/') {
            token *open = depth ? &p->tokens[stack[--depth]] : NULL;
            if (!open)
                return fail(p, t->at, NEXUS_EINVAL, "nothing is open that this would close:", t->text);
            nexus_slice name = t->text;
            if (open->dynamic && name.p[0] == '*')
                name = trim(nexus__slice_from(name, 1));
            if (!nexus__slice_eq(open->text, name))
                return fail(p, t->at, NEXUS_EINVAL, "expected the end of", open->text);
            t->closes = open->kind;
            t->other = stack[depth];
            open->other = i;
        }
    }
    if (depth)
        return fail(p, p->tokens[stack[depth - 1]].at, NEXUS_EINVAL,
                    "this section is never closed:", p->tokens[stack[depth - 1]].text);
    return NEXUS_OK;
}

/* --- lines ---------------------------------------------------------------------------------- */

typedef struct line {
    uint32_t start, end;        /* tokens */
    uint32_t tags, first, last; /* tags on it; the first and the last */
    bool clean;                 /* its text is white space only */
    bool inherits;              /* parents, blocks and their ends only */
    bool has_open;              /* a parent or block begins on it */
    nexus_slice lead;           /* white space it begins with */
} line;

static bool ends_line(const token *t)
{
    return t->kind == TEXT_TOKEN && t->text.n && t->text.p[t->text.n - 1] == '\n';
}

static nexus_slice leading(nexus_slice t)
{
    size_t n = 0;
    while (n < t.n && (t.p[n] == ' ' || t.p[n] == '\t'))
        n++;
    return nexus__slice(t.p, n);
}

/* What stands between {{<name}} and {{/name}} on one line is not that line's concern. */
static uint32_t skip_parent(const parser *p, uint32_t at)
{
    const token *t = &p->tokens[at];
    if (t->kind != '<')
        return at;
    for (uint32_t i = at; i < t->other; i++)
        if (ends_line(&p->tokens[i]))
            return at;
    return t->other;
}

static void add_tag(const parser *p, line *l, uint32_t at)
{
    const token *t = &p->tokens[at];
    char kind = t->kind == '/' ? t->closes : t->kind;
    l->first = l->tags++ ? l->first : at;
    l->last = at;
    l->inherits &= kind == '<' || kind == '$';
    l->has_open |= t->kind == '<' || t->kind == '$';
}

static line line_at(const parser *p, uint32_t start)
{
    line l = {.start = start, .end = start, .clean = true, .inherits = true};
    for (bool more = start < p->count; more;) {
        const token *t = &p->tokens[l.end];
        if (t->kind == TEXT_TOKEN) {
            l.clean &= !trim(t->text).n;
            if (l.end == start)
                l.lead = leading(t->text);
        } else {
            add_tag(p, &l, l.end);
            uint32_t end = skip_parent(p, l.end);
            if (end != l.end)
                add_tag(p, &l, l.end = end);
        }
        l.end++;
        more = l.end < p->count && !ends_line(t);
    }
    return l;
}

static void drop_text(parser *p, const line *l)
{
    for (uint32_t i = l->start; i < l->end; i = skip_parent(p, i) + 1)
        p->tokens[i].drop |= p->tokens[i].kind == TEXT_TOKEN;
}

/* lead without the white space that the block around it gives up */
static nexus_slice uncut(nexus_slice lead, nexus_slice cut)
{
    return nexus__slice_starts(lead, cut) ? nexus__slice_from(lead, cut.n) : lead;
}

/* Whether the block opened by the last tag of the line goes on below it. */
static bool opens_below(const parser *p, const line *l)
{
    const token *t = &p->tokens[l->last];
    return l->clean && l->inherits && t->kind == '$' && t->other >= l->end;
}

static void stand_alone(parser *p, const line *l, nexus_slice cut)
{
    token *first = &p->tokens[l->first], *last = &p->tokens[l->last];
    if (l->tags == 1 && first->kind != 'v' && first->kind != '&') {
        drop_text(p, l);
    } else if (l->inherits) {
        bool keep_end = last->kind == '/' && last->closes == '$' && l->has_open;
        token end = p->tokens[l->end - 1];
        drop_text(p, l);
        if (keep_end)
            p->tokens[l->end - 1] = end;
    } else {
        return;
    }
    if (first->kind == '>' || first->kind == '<' || first->kind == '$') {
        first->own_line = true;
        first->indent = uncut(l->lead, cut);
    }
}

/* A block that is first on its line: the white space before it becomes its indentation, not text. */
static void lead_block(parser *p, const line *l, nexus_slice cut)
{
    token *t = &p->tokens[l->first], *before = &p->tokens[l->start];
    bool alone =
        l->first == l->start || (l->first == l->start + 1 && before->kind == TEXT_TOKEN && !trim(before->text).n);
    if (!l->tags || t->kind != '$' || !alone || t->own_line)
        return;
    t->own_line = true;
    t->indent = uncut(l->lead, cut);
    if (l->first != l->start)
        before->drop = true;
}

static nexus_status emit(parser *p, const token *t, bool blank)
{
    nexus_template *tpl = p->tpl;
    if (tpl->count == tpl->cap) {
        uint32_t cap = tpl->cap ? tpl->cap * 2 : 64;
        nexus__template_op *ops = nexus__realloc(tpl->alloc, tpl->ops, cap * sizeof *ops);
        if (!ops)
            return nexus__nomem();
        tpl->ops = ops;
        tpl->cap = cap;
    }
    static const struct {
        char mark;
        nexus__template_kind kind;
    } kinds[] = {{TEXT_TOKEN, NEXUS__TEMPLATE_TEXT}, {'v', NEXUS__TEMPLATE_VALUE},    {'&', NEXUS__TEMPLATE_RAW},
                 {'#', NEXUS__TEMPLATE_SECTION},     {'^', NEXUS__TEMPLATE_INVERTED}, {'>', NEXUS__TEMPLATE_PARTIAL},
                 {'<', NEXUS__TEMPLATE_PARENT},      {'$', NEXUS__TEMPLATE_BLOCK}};
    size_t k = 0;
    while (kinds[k].mark != t->kind)
        k++;
    tpl->ops[tpl->count++] = (nexus__template_op){.kind = (uint8_t)kinds[k].kind,
                                                  .dynamic = t->dynamic,
                                                  .own_line = t->own_line,
                                                  .blank = blank,
                                                  .text = t->text,
                                                  .indent = t->indent};
    return NEXUS_OK;
}

typedef struct cutter { /* the blocks around the current line, and what white space they take from it */
    nexus_slice cuts[256];
    uint32_t ends[256]; /* the tokens that end them */
    uint32_t depth;
} cutter;

static nexus_slice current_cut(const cutter *c)
{
    return c->depth ? c->cuts[c->depth - 1] : NEXUS_S("");
}

/* After a line whose last tag opens a block: the next line says what the block's content gives up. */
static void enter_block(parser *p, cutter *c, const line *l)
{
    token *t = &p->tokens[l->last];
    line next = line_at(p, l->end);
    nexus_slice cut = current_cut(c);
    bool empty = t->other >= next.start && t->other < next.end && next.first == t->other && next.clean;
    if (!empty && nexus__slice_starts(next.lead, cut)) {
        if (t->own_line || l->first != l->last) {
            t->own_line = true;
            t->indent = nexus__slice_from(next.lead, cut.n);
        }
        cut = next.lead;
    }
    c->cuts[c->depth] = cut;
    c->ends[c->depth++] = t->other;
}

static nexus_status emit_line(parser *p, const line *l, nexus_slice cut, uint32_t *ops)
{
    nexus_status status = NEXUS_OK;
    bool blank = !l->tags && l->clean && !l->lead.n;
    for (uint32_t i = l->start; i < l->end && status == NEXUS_OK; i++) {
        token *t = &p->tokens[i];
        if (t->drop || t->kind == COMMENT || t->kind == DELIMITER)
            continue;
        if (t->kind == '/') {
            p->tpl->ops[ops[t->other]].end = p->tpl->count;
            continue;
        }
        if (i == l->start && t->kind == TEXT_TOKEN && nexus__slice_starts(t->text, cut))
            t->text = nexus__slice_from(t->text, cut.n);
        if (t->kind == TEXT_TOKEN && !t->text.n)
            continue;
        ops[i] = p->tpl->count;
        status = emit(p, t, blank);
    }
    return status;
}

static nexus_status assemble(parser *p)
{
    uint32_t *ops = nexus__calloc(p->tpl->alloc, p->count ? p->count : 1, sizeof *ops); /* the operation of each token */
    if (!ops)
        return nexus__nomem();
    cutter c = {.depth = 0};
    nexus_status status = NEXUS_OK;
    for (uint32_t at = 0; at < p->count && status == NEXUS_OK;) {
        line l = line_at(p, at);
        while (c.depth && c.ends[c.depth - 1] < l.start)
            c.depth--;
        nexus_slice cut = current_cut(&c);
        if (l.tags && l.clean)
            stand_alone(p, &l, cut);
        lead_block(p, &l, cut);
        if (l.tags && opens_below(p, &l))
            enter_block(p, &c, &l);
        status = emit_line(p, &l, cut, ops);
        at = l.end;
    }
    nexus__free(p->tpl->alloc, ops);
    return status;
}

nexus_status nexus__template_parse(nexus_template *tpl, nexus_slice name, nexus_slice text, nexus__template_unit *out)
{
    parser p = {.tpl = tpl, .name = name, .text = text, .open = NEXUS_S("{{"), .close = NEXUS_S("}}")};
    out->start = tpl->count;
    nexus_status status = tokenize(&p);
    if (status == NEXUS_OK)
        status = match(&p);
    if (status == NEXUS_OK)
        status = assemble(&p);
    out->end = tpl->count;
    nexus__free(tpl->alloc, p.tokens);
    return status;
}
