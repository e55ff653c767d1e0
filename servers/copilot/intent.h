/* What a question in plain words asks for. Pure: now is a parameter. */
#ifndef SERVERS_COPILOT_INTENT_H
#define SERVERS_COPILOT_INTENT_H

#include <nexus/common.h>

#define COPILOT_WORDS_MAX 64
#define COPILOT_WORD_MAX 96
#define COPILOT_FILTERS_MAX 6

/* A message as words: lower case for matching, as written for values. */
typedef struct copilot_words {
    char lower[COPILOT_WORDS_MAX][COPILOT_WORD_MAX];
    char plain[COPILOT_WORDS_MAX][COPILOT_WORD_MAX];
    bool used[COPILOT_WORDS_MAX]; /* a phrase has taken it: it names no metric any more */
    size_t count;
} copilot_words;

/* A thing that can be measured. Each of `groups` is a list "a|b" of which the question must have one. */
typedef struct copilot_metric {
    const char *groups[3];
    const char *agg, *field;              /* field NULL: of events */
    const char *event;                    /* NULL: any */
    const char *filter_field;             /* one more condition; NULL: none */
    const char *filter_op, *filter_value; /* value as JSON */
    const char *noun;                     /* "orders were confirmed": completes "N …" */
    bool money;
} copilot_metric;

typedef struct copilot_filter {
    char field[COPILOT_WORD_MAX + 16], op[12], value[COPILOT_WORD_MAX];
    bool numeric;
} copilot_filter;

typedef struct copilot_intent {
    const copilot_metric *metric; /* NULL: not understood */
    bool help;
    char dimension[COPILOT_WORD_MAX + 16]; /* "" = none */
    const char *dimension_noun;
    double bucket;
    const char *interval; /* NULL = none */
    bool busiest, compare, ascending;
    uint32_t limit;
    int64_t from_ms, to_ms; /* INT64_MIN, INT64_MAX = open */
    char when[96];          /* "today", "since 2015-05-17": completes the answer; "" = all time */
    bool when_assumed;
    copilot_filter filters[COPILOT_FILTERS_MAX];
    size_t filter_count;
} copilot_intent;

void copilot_intent_read(copilot_intent *intent, nexus_slice message, int64_t now_ms);

/* words.c: splitting and the vocabulary. */
void copilot_words_read(copilot_words *w, nexus_slice message);
/* Whether `word` is one of "a|b|c". */
bool copilot_word_in(const char *word, const char *alternatives);
/* Finds a sequence such as "last|past # day|days"; '#' is a number, '@' a date of one word, '*' any word. Marks the words as
 * used and returns the index of the first, or -1. */
int copilot_words_find(copilot_words *w, const char *pattern);
const copilot_metric *copilot_metric_find(const copilot_words *w);
/* The field a word such as "pages" stands for; NULL when it is none. *bucket is set for classes. */
const char *copilot_dimension(const char *word, const char **noun, double *bucket);
/* A number in digits or words ("two"); -1 when it is none. */
int64_t copilot_number(const char *word);

/* when.c: phrases of time. */
void copilot_when_read(copilot_intent *intent, copilot_words *w, int64_t now_ms);

#endif
