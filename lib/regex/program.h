/* What the parts of regex/ share: syntax tree, program, character classes. */
#ifndef NEXUS_REGEX_PROGRAM_H
#define NEXUS_REGEX_PROGRAM_H

#include "base/arena.h"
#include "regex/regex.h"

enum { NEXUS__REGEX_LAST = 0x10ffff, NEXUS__REGEX_NESTING_MAX = 64, NEXUS__REGEX_REPEAT_MAX = 1000 };

typedef struct nexus__regex_range {
    uint32_t low, high; /* inclusive */
} nexus__regex_range;

typedef struct nexus__regex_class { /* ranges sorted, apart from each other, complement already taken */
    nexus__regex_range *ranges;
    uint32_t count;
    uint64_t ascii[2]; /* bit per ASCII character */
} nexus__regex_class;

typedef enum nexus__regex_kind {
    NEXUS__REGEX_EMPTY,
    NEXUS__REGEX_CHAR,
    NEXUS__REGEX_CLASS,
    NEXUS__REGEX_START,    /* ^ */
    NEXUS__REGEX_END,      /* $ */
    NEXUS__REGEX_WORD,     /* \b */
    NEXUS__REGEX_NOT_WORD, /* \B */
    NEXUS__REGEX_CONCAT,   /* left, right */
    NEXUS__REGEX_EITHER,   /* left, right */
    NEXUS__REGEX_REPEAT,   /* left, min..max; max UINT32_MAX = no end */
    NEXUS__REGEX_GROUP,    /* left, c: its number; only where groups are wanted */
    NEXUS__REGEX_SAVE,     /* of the program only: where we are goes to slot x */
    NEXUS__REGEX_SPLIT,    /* of the program only: go on at x and at y */
    NEXUS__REGEX_JUMP,     /* of the program only: go on at x */
    NEXUS__REGEX_MATCH,    /* of the program only */
} nexus__regex_kind;

typedef struct nexus__regex_node {
    nexus__regex_kind kind;
    uint32_t c;
    const nexus__regex_class *set;
    struct nexus__regex_node *left, *right;
    uint32_t min, max;
    bool lazy;
} nexus__regex_node;

typedef struct nexus__regex_op {
    uint32_t kind;
    uint32_t x; /* a character, or where to go on */
    union {
        uint32_t y;
        const nexus__regex_class *set;
    };
} nexus__regex_op;

/* Group n of the pattern, counted from 1, is names[n - 1]; without a name it is called by its number. */
typedef struct nexus__regex_groups {
    nexus_slice names[NEXUS__REGEX_GROUPS_MAX];
    uint32_t count;
} nexus__regex_groups;

struct nexus__regex {
    nexus__regex_op *ops;
    uint32_t count;
    bool anchored; /* can only match at the start */
    nexus__regex_groups groups;
    nexus__arena arena;
    const nexus_alloc *alloc;
};

/* pattern to tree, in the arena. groups NULL: nobody wants to know what they took. */
nexus_status nexus__regex_parse(nexus__arena *arena, nexus_slice pattern, nexus__regex_groups *groups,
                                nexus__regex_node **out);

/* What a simulation knows of the place in the text. */
typedef struct nexus__regex_place {
    bool at_start, at_end, word_before, word_after;
} nexus__regex_place;

/* The character at `at` and where the next one stands; UINT32_MAX at the end. */
uint32_t nexus__regex_character(nexus_slice text, size_t at, size_t *next);
bool nexus__regex_is_word(uint32_t c);
bool nexus__regex_passes(const nexus__regex_place *place, uint32_t kind);

/* A growing set of ranges. */
typedef struct nexus__regex_set {
    nexus__regex_range *ranges;
    uint32_t count, cap;
    nexus__arena *arena;
    bool failed; /* out of memory */
} nexus__regex_set;

void nexus__regex_set_add(nexus__regex_set *set, uint32_t low, uint32_t high);
/* Adds the members of \d, \w or \s ('d', 'w', 's'; upper case: all others). */
void nexus__regex_set_shorthand(nexus__regex_set *set, char letter);
/* Adds a general category by name ("L", "Letter", "gc=Lu"); false when there is no such name. */
bool nexus__regex_set_property(nexus__regex_set *set, nexus_slice name, bool complement);
/* The finished class; NULL when out of memory. */
const nexus__regex_class *nexus__regex_set_finish(nexus__regex_set *set, bool complement);

static inline bool nexus__regex_in(const nexus__regex_class *set, uint32_t c)
{
    if (c < 128)
        return set->ascii[c >> 6] >> (c & 63) & 1;
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (c > set->ranges[middle].high)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->count && c >= set->ranges[low].low;
}

static inline bool nexus__regex_takes(const nexus__regex_op *op, uint32_t c)
{
    return (op->kind == NEXUS__REGEX_CHAR && op->x == c) ||
           (op->kind == NEXUS__REGEX_CLASS && nexus__regex_in(op->set, c));
}

/* Unicode's general categories: a run begins at (entry >> 5) and has category (entry & 31). */
extern const uint32_t nexus__regex_unicode[];
extern const uint32_t nexus__regex_unicode_count;

#endif
