/*
 * What the groups of a match took. The same simulation, but every state carries the places of its groups, and of two ways
 * to one state the one that the pattern prefers is kept (Pike): still linear to the text.
 */
#include "base/status.h"
#include "regex/program.h"

enum { SMALL = 128, SLOTS = 2 * NEXUS__REGEX_GROUPS_MAX };

#define NOWHERE UINT32_MAX

typedef struct threads { /* in order of preference; member[i] is in it when index[member[i]] == i */
    uint32_t *member, *index, *places;
    uint32_t count;
} threads;

/* A state to go to, or (state NOWHERE) a place to put back once all that was reached through it is done. */
typedef struct step {
    uint32_t state, slot, place;
} step;

typedef struct run {
    const nexus__regex *re;
    threads now, next;
    step *stack;
    uint32_t slots, places[SLOTS];
    nexus__regex_place place;
} run;

static bool put(threads *t, uint32_t state)
{
    if (t->index[state] < t->count && t->member[t->index[state]] == state)
        return false;
    t->index[state] = t->count;
    t->member[t->count++] = state;
    return true;
}

/* Follows one state as far as it goes without a character; what it prefers less waits on the stack. */
static uint32_t follow(run *r, threads *to, uint32_t state, uint32_t at, uint32_t top)
{
    while (put(to, state)) {
        const nexus__regex_op *op = &r->re->ops[state];
        switch (op->kind) {
        case NEXUS__REGEX_SPLIT:
            r->stack[top++] = (step){.state = op->y};
            state = op->x;
            break;
        case NEXUS__REGEX_JUMP:
            state = op->x;
            break;
        case NEXUS__REGEX_SAVE:
            r->stack[top++] = (step){NOWHERE, op->x, r->places[op->x]};
            r->places[op->x] = at;
            state++;
            break;
        case NEXUS__REGEX_START:
        case NEXUS__REGEX_END:
        case NEXUS__REGEX_WORD:
        case NEXUS__REGEX_NOT_WORD:
            if (!nexus__regex_passes(&r->place, op->kind))
                return top;
            state++;
            break;
        default:
            memcpy(to->places + (size_t)state * r->slots, r->places, r->slots * sizeof *r->places);
            return top;
        }
    }
    return top;
}

static void enter(run *r, threads *to, uint32_t state, uint32_t at)
{
    uint32_t top = 0;
    r->stack[top++] = (step){.state = state};
    while (top) {
        step s = r->stack[--top];
        if (s.state == NOWHERE)
            r->places[s.slot] = s.place;
        else
            top = follow(r, to, s.state, at, top);
    }
}

static void look_around(run *r, uint32_t before, uint32_t after)
{
    r->place.at_start = before == UINT32_MAX;
    r->place.at_end = after == UINT32_MAX;
    r->place.word_before = before != UINT32_MAX && nexus__regex_is_word(before);
    r->place.word_after = after != UINT32_MAX && nexus__regex_is_word(after);
}

/* The places of the match, or NULL. */
static const uint32_t *match(run *r, nexus_slice text)
{
    size_t at = 0, next;
    uint32_t c = nexus__regex_character(text, 0, &next);
    for (uint32_t i = 0; i < r->slots; i++)
        r->places[i] = NOWHERE;
    look_around(r, UINT32_MAX, c);
    enter(r, &r->now, 0, 0);
    while (c != UINT32_MAX && r->now.count) {
        at = next;
        uint32_t following = nexus__regex_character(text, at, &next);
        look_around(r, c, following);
        r->next.count = 0;
        for (uint32_t i = 0; i < r->now.count; i++) {
            uint32_t state = r->now.member[i];
            if (!nexus__regex_takes(&r->re->ops[state], c))
                continue;
            memcpy(r->places, r->now.places + (size_t)state * r->slots, r->slots * sizeof *r->places);
            enter(r, &r->next, state + 1, (uint32_t)at);
        }
        threads spare = r->now;
        r->now = r->next;
        r->next = spare;
        c = following;
    }
    for (uint32_t i = 0; i < r->now.count; i++)
        if (r->re->ops[r->now.member[i]].kind == NEXUS__REGEX_MATCH)
            return r->now.places + (size_t)r->now.member[i] * r->slots;
    return NULL;
}

uint32_t nexus__regex_group_count(const nexus__regex *re)
{
    return re->groups.count;
}

nexus_slice nexus__regex_group_name(const nexus__regex *re, uint32_t i)
{
    return re->groups.names[i];
}

nexus_status nexus__regex_groups_of(const nexus__regex *re, nexus_slice text,
                                    nexus_slice groups[static NEXUS__REGEX_GROUPS_MAX], bool *matched)
{
    uint32_t n = re->count, slots = 2 * re->groups.count;
    size_t words = n * (size_t)(4 + 2 * slots) + (n + 1) * sizeof(step) / sizeof(uint32_t);
    uint32_t small[SMALL * (4 + 4 * 4 + 3)], *memory = small; /* up to four groups */
    if (text.n >= NOWHERE)
        return nexus__fail(NEXUS_ETOOBIG, "a text of over 4 GiB");
    if (words > sizeof small / sizeof *small && !(memory = nexus__malloc(re->alloc, words * sizeof *memory)))
        return nexus__nomem();
    memset(memory, 0, 4 * (size_t)n * sizeof *memory);
    run r = {.re = re, .slots = slots};
    r.now = (threads){memory, memory + n, memory + 4 * (size_t)n, 0};
    r.next = (threads){memory + 2 * (size_t)n, memory + 3 * (size_t)n, r.now.places + n * (size_t)slots, 0};
    r.stack = (step *)(r.next.places + n * (size_t)slots);
    const uint32_t *places = match(&r, text);
    *matched = places;
    for (uint32_t i = 0; i < NEXUS__REGEX_GROUPS_MAX; i++) {
        bool took = places && i < re->groups.count && places[2 * i] != NOWHERE && places[2 * i + 1] != NOWHERE;
        groups[i] = took ? nexus__slice(text.p + places[2 * i], places[2 * i + 1] - places[2 * i]) : (nexus_slice){0};
    }
    if (memory != small)
        nexus__free(re->alloc, memory);
    return NEXUS_OK;
}
