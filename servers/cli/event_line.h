/* One line of a file as one event of the ingestion API. */
#ifndef SERVERS_CLI_EVENT_LINE_H
#define SERVERS_CLI_EVENT_LINE_H

#include <nexus/nexus.h>

enum { EVENT_MAPS_MAX = 16 };

typedef struct event_rules {
    bool combined;     /* else one JSON object a line */
    const char *event; /* name of events that have none; NULL: theirs is asked for */
    struct {           /* --map from=to */
        nexus_slice from, to;
    } maps[EVENT_MAPS_MAX];
    size_t map_count;
    uint64_t seed; /* of ids for lines that have none: the file's first line */
} event_rules;

/* Reads "user=user_id,ts=timestamp"; false and a message when it is not that. */
bool event_rules_map(event_rules *rules, const char *text);

/* Appends the event to the writer's open array. NULL, or what is wrong with the line. */
const char *event_line(const event_rules *rules, nexus_slice line, uint64_t number, nexus_json_writer *out);

uint64_t event_hash(uint64_t seed, nexus_slice text);

#endif
