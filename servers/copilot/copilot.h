/*
 * The copilot: questions in plain words, answered from the analytics with the query they came from. Deterministic: intent.c
 * reads a question into metric, time, group and filters (words.c has the vocabulary), ask.c puts it to the analytics server
 * over HTTP with the caller's own token, chat.c words the answer. It knows no number that a query did not return.
 */
#ifndef SERVERS_COPILOT_H
#define SERVERS_COPILOT_H

#include <nexus/nexus.h>

extern const nexus_service_module copilot_module;

typedef struct copilot {
    nexus_service *service;
    char analytics_url[512];
    nexus_metric *understood, *unknown;
} copilot;

nexus_status copilot_chat_routes(copilot *c);

#endif
