/*
 * Which credentials a route takes: "jwt", "jwt OR apikey", "(jwt AND ip) OR ext". AND binds tighter than OR. Pure.
 *
 * Deciding is a question and answer game: nexus__auth_decide says which term to ask next, whoever runs it asks (now or
 * later), notes the answer and decides again.
 */
#ifndef NEXUS_GATEWAY_AUTH_EXPRESSION_H
#define NEXUS_GATEWAY_AUTH_EXPRESSION_H

#include "base/str.h"

enum { NEXUS__AUTH_TERMS_MAX = 8, NEXUS__AUTH_NODES_MAX = 32, NEXUS__AUTH_DEPTH_MAX = 16 };

typedef enum nexus__auth_answer {
    NEXUS__AUTH_UNASKED = 0,
    NEXUS__AUTH_YES,
    NEXUS__AUTH_NONE,   /* no such credentials were sent */
    NEXUS__AUTH_DENIED, /* nothing is wrong with them, but this is not for whoever asks */
    NEXUS__AUTH_BAD,    /* credentials were sent and are wrong: an error, whatever else could be tried */
    NEXUS__AUTH_FAILED, /* it cannot be told now: nobody passes on a doubt */
    NEXUS__AUTH_LATER   /* of an authenticator only: the answer follows */
} nexus__auth_answer;

typedef enum nexus__auth_op { NEXUS__AUTH_TERM, NEXUS__AUTH_AND, NEXUS__AUTH_OR } nexus__auth_op;

typedef struct nexus__auth_node {
    nexus__auth_op op;
    uint8_t a, b; /* TERM: a is the term; else nodes that stand before this one */
} nexus__auth_node;

typedef struct nexus__auth_expression {
    uint8_t node_count, term_count;
    nexus__auth_node nodes[NEXUS__AUTH_NODES_MAX]; /* the last is the root */
    nexus_slice terms[NEXUS__AUTH_TERMS_MAX];      /* each name once; of the parsed text */
} nexus__auth_expression;

/* False: *at is the offset of what is wrong and *why says it. */
bool nexus__auth_parse(nexus__auth_expression *out, nexus_slice text, size_t *at, const char **why);

/* The outcome, or UNASKED: then *ask is the term whose answer decides next. */
nexus__auth_answer nexus__auth_decide(const nexus__auth_expression *e,
                                      const nexus__auth_answer answers[static NEXUS__AUTH_TERMS_MAX], uint8_t *ask);

/* The terms that made the outcome YES, as bits; of any other outcome it says nothing. */
uint32_t nexus__auth_witnesses(const nexus__auth_expression *e,
                               const nexus__auth_answer answers[static NEXUS__AUTH_TERMS_MAX]);

#endif
