/* Publishes for later: durable at once, stored as events when their time has come. */
#ifndef NEXUS_BUS_DELAYED_H
#define NEXUS_BUS_DELAYED_H

#include <pthread.h>

#include "base/map.h"
#include "bus/broker.h"

typedef struct nexus__delay nexus__delay;

typedef struct nexus__delays {
    pthread_mutex_t lock;
    nexus__delay **heap; /* by time */
    size_t count, cap;
    nexus__map by_id;
    uint64_t events, bytes;
} nexus__delays;

void nexus__delays_init(nexus__broker *b);
void nexus__delays_free(nexus__broker *b);
void nexus__delays_clear(nexus__broker *b);

/* As nexus__broker_publish, for later. */
nexus_status nexus__broker_delay(nexus__broker *b, const nexus_event *events, size_t n,
                                 const nexus__publish_terms *terms, nexus__publish_done_fn *done, void *user_data,
                                 nexus_publish_result *result) NEXUS_MUST_CHECK;
/* Publishes what is due; returns when to look again (monotonic). The tick thread. */
int64_t nexus__broker_fire(nexus__broker *b, int64_t now_ns);

/* In recovery: what a record of KIND_DELAYED, which is also a frame of the checkpoint, and of KIND_FIRED says. */
nexus_status nexus__delays_recover(nexus__broker *b, nexus_slice record);
void nexus__delays_forget(nexus__broker *b, nexus_slice record);

#endif
