/* An answer in words and its figure. Every numeral comes from a query's answer or from the question. */
#ifndef SERVERS_COPILOT_WORDING_H
#define SERVERS_COPILOT_WORDING_H

#include "ask.h"

#define COPILOT_TEXT_MAX 4096

/* Writes the sentence into text (COPILOT_TEXT_MAX bytes). before: the period before, NULL unless compared with. */
void copilot_wording(char *text, const copilot_intent *intent, copilot_answer *answer, copilot_answer *before);

/* Writes the figure as the member `name`: a number, null, or a list of {label,value} where the question asks for one. */
void copilot_value(nexus_json_writer *w, const char *name, const copilot_intent *intent, copilot_answer *answer);

/* What can be asked. */
extern const char *const copilot_examples[];
extern const size_t copilot_example_count;

#endif
