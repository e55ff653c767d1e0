/* Putting a question to the analytics server, and what came back. */
#ifndef SERVERS_COPILOT_ASK_H
#define SERVERS_COPILOT_ASK_H

#include "copilot.h"
#include "intent.h"

typedef struct copilot_answer {
    char *query; /* the question as JSON; free */
    nexus_reply *reply;
    nexus_json *doc; /* the reply's body */
    uint16_t status; /* of the analytics server; 0 = it did not answer */
} copilot_answer;

/* Asks with the caller's own token and trace. back_ms shifts the span into the past (0 = as it is). What failed is in
 * answer->status or nexus_error_message(). Free it in any case. */
nexus_status copilot_ask(copilot_answer *answer, copilot *c, nexus_request *request, const copilot_intent *intent,
                         int64_t back_ms);
void copilot_answer_free(copilot_answer *answer);

/* The figure of row i; false when there is no such row or no figure in it. */
bool copilot_answer_value(const copilot_answer *answer, size_t row, double *value);
/* The label of row i as text; "(none)" for rows without one. */
void copilot_answer_label(copilot_answer *answer, size_t row, nexus_slice *label);
size_t copilot_answer_rows(const copilot_answer *answer);
/* The points [[ms,v],…] of the only series. */
uint32_t copilot_answer_points(const copilot_answer *answer);

#endif
