/* Thresholds: a general one and those of up to 31 modules, each of which may revert at a set time. Reading is
 * lock-free; setting takes the lock. */
#ifndef NEXUS_OBSERVE_LOG_LEVEL_H
#define NEXUS_OBSERVE_LOG_LEVEL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/str.h"

enum { NEXUS__LOG_MODULES_MAX = 32, NEXUS__LOG_MODULE_BYTES = 32 };

typedef struct nexus__log_threshold {
    char module[NEXUS__LOG_MODULE_BYTES]; /* "" for the general one, which is slot 0; written before count moves */
    _Atomic int32_t level;                /* -1: none of its own */
    _Atomic int64_t revert_at;            /* monotonic ns; 0: never */
    int32_t before;                       /* the level it reverts to; under the lock */
} nexus__log_threshold;

typedef struct nexus__log_levels {
    nexus__log_threshold slots[NEXUS__LOG_MODULES_MAX];
    _Atomic uint32_t count;
    pthread_mutex_t lock;
} nexus__log_levels;

void nexus__log_levels_init(nexus__log_levels *l, int32_t level);
void nexus__log_levels_free(nexus__log_levels *l);
int32_t nexus__log_levels_get(nexus__log_levels *l, const char *module);
nexus_status nexus__log_levels_set(nexus__log_levels *l, const char *module, int32_t level, int64_t revert_at);

#endif
