#include "gateway/transform_node.h"

typedef nexus__transform_node node;

typedef struct walk {
    nexus__json *doc;
    nexus__transform_text_fn *text;
    void *context;
    nexus__buf *out;
} walk;

/* Untouched neighbours, copied as one run with what stands between them. */
typedef struct run {
    uint32_t start, end; /* in the text */
    bool open, comma;    /* comma: something stands before */
} run;

static void value(walk *w, const node *t, uint32_t v);

/* --- runs --------------------------------------------------------------------------------------------------------- */

static void comma(walk *w, run *r)
{
    if (r->comma)
        nexus__buf_char(w->out, ',');
    r->comma = true;
}

static void flush(walk *w, run *r)
{
    if (!r->open)
        return;
    comma(w, r);
    nexus__buf_append(w->out, w->doc->text.p + r->start, r->end - r->start);
    r->open = false;
}

static void extend(walk *w, run *r, uint32_t from, uint32_t to)
{
    if (!r->open)
        r->start = w->doc->nodes[from].start;
    r->end = w->doc->nodes[to].end;
    r->open = true;
}

/* --- what set makes ----------------------------------------------------------------------------------------------- */

static void put_set(walk *w, const node *t)
{
    if (!t->fills) {
        nexus__buf_slice_append(w->out, t->value);
        return;
    }
    nexus_slice text = w->text(w->context, &t->pattern);
    if (!text.p && !w->out->status)
        w->out->status = NEXUS_ENOMEM;
    nexus__json_writer writer = nexus__json_writer_on(w->out);
    nexus__json_text_value(&writer, text);
}

/* A place that is not there, with all that is set below it. */
static void make(walk *w, const node *t)
{
    bool first = true;
    if (t->action == NEXUS__TRANSFORM_SET) {
        put_set(w, t);
        return;
    }
    const node *made = t->first;
    while (!made->makes)
        made = made->next;
    bool array = nexus__slice_eq_c(made->name, "-");
    nexus__buf_char(w->out, array ? '[' : '{');
    for (const node *child = t->first; child; child = child->next) {
        if (!child->makes)
            continue;
        if (!first)
            nexus__buf_char(w->out, ',');
        first = false;
        if (!array) {
            nexus__buf_slice_append(w->out, child->key);
            nexus__buf_char(w->out, ':');
        }
        make(w, child);
    }
    nexus__buf_char(w->out, array ? ']' : '}');
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

static const node *by_name(const walk *w, const node *t, uint32_t key, uint32_t *at)
{
    *at = 0;
    for (const node *child = t->first; child; child = child->next, ++*at)
        if (nexus__json_text_is(w->doc, key, child->name))
            return child;
    return NULL;
}

static bool gives_way(const walk *w, const node *child, uint32_t object)
{
    return child->yields_to &&
           nexus__json_member(w->doc, object, child->yields_to->name) != NEXUS__JSON_NONE;
}

static void member(walk *w, const node *child, uint32_t key, uint32_t v)
{
    if (child->action == NEXUS__TRANSFORM_RENAME)
        nexus__buf_slice_append(w->out, child->to_key);
    else
        nexus__buf_slice_append(w->out, nexus__json_raw(w->doc, key));
    nexus__buf_char(w->out, ':');
    value(w, child, v);
}

static void object(walk *w, const node *t, uint32_t v)
{
    uint64_t seen = 0;
    uint32_t at;
    run r = {0};
    nexus__buf_char(w->out, '{');
    for (nexus__json_iter it = nexus__json_each(w->doc, v); nexus__json_step(w->doc, &it);) {
        const node *child = by_name(w, t, it.key, &at);
        if (!child && !t->pick) {
            extend(w, &r, it.key, it.value);
            continue;
        }
        flush(w, &r);
        if (!child || (t->pick && !child->kept))
            continue;
        seen |= (uint64_t)1 << at;
        if (child->action == NEXUS__TRANSFORM_REMOVE || gives_way(w, child, v))
            continue;
        comma(w, &r);
        member(w, child, it.key, it.value);
    }
    flush(w, &r);
    at = 0;
    for (const node *child = t->first; child; child = child->next, at++) {
        if (!child->makes || seen >> at & 1)
            continue;
        comma(w, &r);
        nexus__buf_slice_append(w->out, child->key);
        nexus__buf_char(w->out, ':');
        make(w, child);
    }
    nexus__buf_char(w->out, '}');
}

/* --- arrays ------------------------------------------------------------------------------------------------------- */

static const node *by_index(const node *t, uint32_t index)
{
    if (t->each)
        return t->each;
    const node *child = t->first;
    while (child && child->index != index)
        child = child->next;
    return child;
}

static void array(walk *w, const node *t, uint32_t v)
{
    run r = {0};
    nexus__buf_char(w->out, '[');
    for (nexus__json_iter it = nexus__json_each(w->doc, v); nexus__json_step(w->doc, &it);) {
        const node *child = by_index(t, it.index);
        if (!child) {
            extend(w, &r, it.value, it.value);
            continue;
        }
        flush(w, &r);
        if (child->action == NEXUS__TRANSFORM_REMOVE)
            continue;
        comma(w, &r);
        value(w, child, it.value);
    }
    flush(w, &r);
    for (const node *child = t->first; child; child = child->next) {
        if (!child->makes || !nexus__slice_eq_c(child->name, "-"))
            continue;
        comma(w, &r);
        make(w, child);
    }
    nexus__buf_char(w->out, ']');
}

/* --- the walk: as deep as the operations' paths, not as the document ----------------------------------------------- */

static void value(walk *w, const node *t, uint32_t v)
{
    bool inside = t->first || t->each || t->pick;
    if (t->action == NEXUS__TRANSFORM_SET)
        put_set(w, t);
    else if (inside && !t->each && nexus__json_is(w->doc, v, NEXUS__JSON_OBJECT))
        object(w, t, v);
    else if (inside && !t->pick && nexus__json_is(w->doc, v, NEXUS__JSON_ARRAY))
        array(w, t, v);
    else
        nexus__buf_slice_append(w->out, nexus__json_raw(w->doc, v));
}

void nexus__transform_apply(const nexus__transform *t, nexus__json *doc, nexus__transform_text_fn *text, void *context,
                            nexus__buf *out)
{
    walk w = {.doc = doc, .text = text, .context = context, .out = out};
    value(&w, t->root, 0);
}
