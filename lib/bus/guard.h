/* A token bucket for redeliveries: what first deliveries earn, and a trickle by time. Pure: `now` is a parameter. */
#ifndef NEXUS_BUS_GUARD_H
#define NEXUS_BUS_GUARD_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nexus__guard_rule {
    uint32_t percent; /* of first deliveries */
    uint32_t per_s;   /* at least */
    uint32_t burst;
} nexus__guard_rule;

typedef struct nexus__guard {
    int64_t micro; /* tokens, in millionths */
    int64_t at_ns; /* when they were counted; 0 = never: full */
} nexus__guard;

/* Whether a redelivery may go now; what it takes is taken by nexus__guard_take. */
bool nexus__guard_admits(nexus__guard *g, const nexus__guard_rule *rule, int64_t now_ns);
void nexus__guard_take(nexus__guard *g);
void nexus__guard_earn(nexus__guard *g, const nexus__guard_rule *rule); /* a first delivery was made */
/* When the next token is there, at the latest. */
int64_t nexus__guard_due(const nexus__guard *g, const nexus__guard_rule *rule);

#endif
