/* The combined log format of web servers, and the common one, which lacks its last two fields. Pure. */
#ifndef SERVERS_CLI_COMBINED_H
#define SERVERS_CLI_COMBINED_H

#include <nexus/common.h>

typedef struct combined {
    nexus_slice host, user, method, target, referrer, agent; /* parts of the line; escapes are still there */
    char time[32];                                           /* RFC 3339, with the log's own offset */
    int64_t status, bytes;                                   /* bytes -1: "-" */
} combined;

/* NULL when the line was read, else what is wrong with it. */
const char *combined_parse(nexus_slice line, combined *out);

#endif
