/*
 * From the tree to a program, and its simulation: all states the program can be in are carried along the text at
 * once, each at most once a step, so that the work is at most states * characters, whatever pattern and text are.
 */
#include "regex/regex.h"

#include "base/status.h"
#include "base/utf8.h"
#include "regex/program.h"

enum { SMALL = 128 }; /* states whose sets fit on the stack */

typedef struct emitter {
    nexus__regex_op *ops; /* NULL while counting */
    uint32_t count;
    bool over;
} emitter;

static uint32_t emit(emitter *e, nexus__regex_op op)
{
    if (e->count >= NEXUS__REGEX_STATES_MAX) {
        e->over = true;
        return 0;
    }
    if (e->ops)
        e->ops[e->count] = op;
    return e->count++;
}

static void patch(emitter *e, uint32_t at, uint32_t x, uint32_t y)
{
    if (!e->ops || e->over)
        return;
    e->ops[at].x = x;
    e->ops[at].y = y;
}

/* Into the repeated, or past it; a lazy repetition would rather go past. */
static void patch_choice(emitter *e, uint32_t at, uint32_t past, bool lazy)
{
    patch(e, at, lazy ? past : at + 1, lazy ? at + 1 : past);
}

static void generate(emitter *e, const nexus__regex_node *n);

static void generate_repeat(emitter *e, const nexus__regex_node *n)
{
    for (uint32_t i = 0; i < n->min && !e->over; i++) {
        uint32_t before = e->count;
        generate(e, n->left);
        if (e->count == before)
            break; /* nothing repeated is nothing; nested, it would count to a billion for it */
    }
    if (n->max == UINT32_MAX) {
        uint32_t split = emit(e, (nexus__regex_op){.kind = NEXUS__REGEX_SPLIT});
        generate(e, n->left);
        emit(e, (nexus__regex_op){.kind = NEXUS__REGEX_JUMP, .x = split});
        patch_choice(e, split, e->count, n->lazy);
        return;
    }
    /* x{0,3} = (x(x(x)?)?)?: every split leaves to the same place, known at the end; chained through y till then */
    uint32_t last = UINT32_MAX;
    for (uint32_t i = n->min; i < n->max && !e->over; i++) {
        uint32_t split = emit(e, (nexus__regex_op){.kind = NEXUS__REGEX_SPLIT});
        patch(e, split, split + 1, last);
        last = split;
        generate(e, n->left);
    }
    for (uint32_t at = last; e->ops && !e->over && at != UINT32_MAX;) {
        uint32_t before = e->ops[at].y;
        patch_choice(e, at, e->count, n->lazy);
        at = before;
    }
}

/* Concatenations and alternatives lean to the left, as deep as the pattern is long; the pattern's length bounds it. */
static void generate(emitter *e, const nexus__regex_node *n)
{
    if (e->over)
        return;
    switch (n->kind) {
    case NEXUS__REGEX_EMPTY:
        return;
    case NEXUS__REGEX_CONCAT:
        generate(e, n->left);
        generate(e, n->right);
        return;
    case NEXUS__REGEX_EITHER: {
        uint32_t split = emit(e, (nexus__regex_op){.kind = NEXUS__REGEX_SPLIT});
        generate(e, n->left);
        uint32_t jump = emit(e, (nexus__regex_op){.kind = NEXUS__REGEX_JUMP});
        patch(e, split, split + 1, e->count);
        generate(e, n->right);
        patch(e, jump, e->count, 0);
        return;
    }
    case NEXUS__REGEX_REPEAT:
        generate_repeat(e, n);
        return;
    case NEXUS__REGEX_GROUP:
        emit(e, (nexus__regex_op){.kind = NEXUS__REGEX_SAVE, .x = 2 * n->c});
        generate(e, n->left);
        emit(e, (nexus__regex_op){.kind = NEXUS__REGEX_SAVE, .x = 2 * n->c + 1});
        return;
    case NEXUS__REGEX_CLASS:
        emit(e, (nexus__regex_op){.kind = n->kind, .set = n->set});
        return;
    default:
        emit(e, (nexus__regex_op){.kind = n->kind, .x = n->c});
    }
}

static bool starts_at_start(const nexus__regex_node *n)
{
    while (n->kind == NEXUS__REGEX_CONCAT)
        n = n->left;
    if (n->kind == NEXUS__REGEX_EITHER)
        return starts_at_start(n->left) && starts_at_start(n->right);
    return n->kind == NEXUS__REGEX_START;
}

static nexus_status build(nexus__regex *re, const nexus__regex_node *tree)
{
    emitter counting = {0};
    generate(&counting, tree);
    emit(&counting, (nexus__regex_op){.kind = NEXUS__REGEX_MATCH});
    if (counting.over)
        return nexus__fail(NEXUS_ETOOBIG, "the regular expression needs more than %d states: use smaller repetitions",
                           NEXUS__REGEX_STATES_MAX);
    emitter e = {.ops = nexus__arena_get(&re->arena, counting.count * sizeof *e.ops)};
    if (!e.ops)
        return nexus__nomem();
    generate(&e, tree);
    emit(&e, (nexus__regex_op){.kind = NEXUS__REGEX_MATCH});
    re->ops = e.ops;
    re->count = e.count;
    re->anchored = starts_at_start(tree);
    return NEXUS_OK;
}

/* ^(?:tree)$ */
static nexus__regex_node *enclosed(nexus__arena *arena, nexus__regex_node *tree)
{
    nexus__regex_node *n = nexus__arena_get(arena, 4 * sizeof *n);
    if (!n)
        return NULL;
    n[0] = (nexus__regex_node){.kind = NEXUS__REGEX_START};
    n[1] = (nexus__regex_node){.kind = NEXUS__REGEX_END};
    n[2] = (nexus__regex_node){.kind = NEXUS__REGEX_CONCAT, .left = &n[0], .right = tree};
    n[3] = (nexus__regex_node){.kind = NEXUS__REGEX_CONCAT, .left = &n[2], .right = &n[1]};
    return &n[3];
}

static nexus_status compile(nexus__regex **out, nexus_slice pattern, bool whole, const nexus_alloc *alloc)
{
    nexus__regex *re = nexus__calloc(alloc, 1, sizeof *re);
    if (!re)
        return nexus__nomem();
    re->alloc = alloc;
    nexus__arena_init(&re->arena, alloc, 1024);
    nexus__regex_node *tree;
    nexus_status status = nexus__regex_parse(&re->arena, pattern, whole ? &re->groups : NULL, &tree);
    if (status == NEXUS_OK && whole && !(tree = enclosed(&re->arena, tree)))
        status = nexus__nomem();
    if (status == NEXUS_OK)
        status = build(re, tree);
    if (status == NEXUS_OK)
        *out = re;
    else
        nexus__regex_free(re);
    return status;
}

nexus_status nexus__regex_compile(nexus__regex **out, nexus_slice pattern, const nexus_alloc *alloc)
{
    return compile(out, pattern, false, alloc);
}

nexus_status nexus__regex_compile_whole(nexus__regex **out, nexus_slice pattern, const nexus_alloc *alloc)
{
    return compile(out, pattern, true, alloc);
}

void nexus__regex_free(nexus__regex *re)
{
    if (!re)
        return;
    nexus__arena_free(&re->arena);
    nexus__free(re->alloc, re);
}

/* A set of states that is emptied in no time (Briggs and Torczon): member[i] is in it when index[member[i]] == i. */
typedef struct states {
    uint32_t *member, *index;
    uint32_t count;
} states;

typedef struct search {
    const nexus__regex *re;
    states now, next;
    uint32_t *stack;
    nexus__regex_place place;
} search;

static bool holds(const states *s, uint32_t state)
{
    return s->index[state] < s->count && s->member[s->index[state]] == state;
}

static void put(states *s, uint32_t state)
{
    s->index[state] = s->count;
    s->member[s->count++] = state;
}

bool nexus__regex_passes(const nexus__regex_place *place, uint32_t kind)
{
    switch (kind) {
    case NEXUS__REGEX_START:
        return place->at_start;
    case NEXUS__REGEX_END:
        return place->at_end;
    case NEXUS__REGEX_WORD:
        return place->word_before != place->word_after;
    default:
        return place->word_before == place->word_after;
    }
}

/* Adds a state and all that are reached from it without a character; true when the match is among them. */
static bool enter(search *s, states *to, uint32_t state)
{
    uint32_t top = 0;
    if (holds(to, state))
        return false;
    put(to, state);
    s->stack[top++] = state;
    while (top) {
        uint32_t at = s->stack[--top], follow[2], n = 0;
        const nexus__regex_op *op = &s->re->ops[at];
        if (op->kind == NEXUS__REGEX_MATCH)
            return true;
        if (op->kind == NEXUS__REGEX_SPLIT) {
            follow[n++] = op->x;
            follow[n++] = op->y;
        } else if (op->kind == NEXUS__REGEX_JUMP) {
            follow[n++] = op->x;
        } else if (op->kind == NEXUS__REGEX_SAVE) {
            follow[n++] = at + 1;
        } else if (op->kind >= NEXUS__REGEX_START && op->kind <= NEXUS__REGEX_NOT_WORD &&
                   nexus__regex_passes(&s->place, op->kind)) {
            follow[n++] = at + 1;
        }
        for (uint32_t i = 0; i < n; i++)
            if (!holds(to, follow[i])) {
                put(to, follow[i]);
                s->stack[top++] = follow[i];
            }
    }
    return false;
}

bool nexus__regex_is_word(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

uint32_t nexus__regex_character(nexus_slice text, size_t at, size_t *next)
{
    *next = at;
    if (at >= text.n)
        return UINT32_MAX;
    const uint8_t *p = (const uint8_t *)text.p + at;
    if (*p < 0x80) {
        *next = at + 1;
        return *p;
    }
    if (!nexus__utf8_sequence(p, text.n - at)) {
        *next = at + 1;
        return 0xfffd;
    }
    return nexus__utf8_next(text, next);
}

static bool run(search *s, nexus_slice text)
{
    size_t at = 0, next;
    uint32_t c = nexus__regex_character(text, 0, &next);
    s->place.at_start = true;
    s->place.word_before = false;
    s->place.at_end = c == UINT32_MAX;
    s->place.word_after = !s->place.at_end && nexus__regex_is_word(c);
    if (enter(s, &s->now, 0))
        return true;
    while (c != UINT32_MAX && (s->now.count || !s->re->anchored)) {
        at = next;
        uint32_t following = nexus__regex_character(text, at, &next);
        s->place.at_start = false;
        s->place.at_end = following == UINT32_MAX;
        s->place.word_before = nexus__regex_is_word(c);
        s->place.word_after = !s->place.at_end && nexus__regex_is_word(following);
        s->next.count = 0;
        for (uint32_t i = 0; i < s->now.count; i++) {
            uint32_t state = s->now.member[i];
            if (nexus__regex_takes(&s->re->ops[state], c) && enter(s, &s->next, state + 1))
                return true;
        }
        if (!s->re->anchored && enter(s, &s->next, 0))
            return true;
        states spare = s->now;
        s->now = s->next;
        s->next = spare;
        c = following;
    }
    return false;
}

nexus_status nexus__regex_search(const nexus__regex *re, nexus_slice text, bool *matched)
{
    uint32_t small[5 * SMALL] = {0}, *memory = small;
    uint32_t n = re->count;
    if (n > SMALL && !(memory = nexus__calloc(re->alloc, 5 * (size_t)n, sizeof *memory)))
        return nexus__nomem();
    search s = {
        .re = re, .now = {memory, memory + n, 0}, .next = {memory + 2 * n, memory + 3 * n, 0}, .stack = memory + 4 * n};
    *matched = run(&s, text);
    if (memory != small)
        nexus__free(re->alloc, memory);
    return NEXUS_OK;
}
