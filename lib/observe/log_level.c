#include "observe/log_level.h"

#include <nexus/log.h>

#include "base/status.h"
#include "base/time.h"

static const char *const names[] = {"trace", "debug", "info", "warn", "error", "fatal", "off"};

int32_t nexus_log_level_parse(nexus_slice word)
{
    for (int32_t i = 0; i <= NEXUS_LOG_OFF; i++)
        if (nexus__slice_ieq(word, nexus__slice_c(names[i])))
            return i;
    return -1;
}

const char *nexus_log_level_name(int32_t level)
{
    return level >= NEXUS_LOG_TRACE && level <= NEXUS_LOG_OFF ? names[level] : "?";
}

void nexus__log_levels_init(nexus__log_levels *l, int32_t level)
{
    memset(l, 0, sizeof *l);
    atomic_init(&l->slots[0].level, level);
    atomic_init(&l->count, 1);
    pthread_mutex_init(&l->lock, NULL);
}

void nexus__log_levels_free(nexus__log_levels *l)
{
    pthread_mutex_destroy(&l->lock);
}

/* The slot's level now; a change whose time has passed is undone by whoever looks first. */
static int32_t current(nexus__log_levels *l, nexus__log_threshold *t)
{
    int64_t revert_at = atomic_load_explicit(&t->revert_at, memory_order_relaxed);
    if (revert_at != 0 && nexus__mono_ns() >= revert_at) {
        pthread_mutex_lock(&l->lock);
        if (atomic_load(&t->revert_at) == revert_at) {
            atomic_store(&t->level, t->before);
            atomic_store(&t->revert_at, 0);
        }
        pthread_mutex_unlock(&l->lock);
    }
    return atomic_load_explicit(&t->level, memory_order_relaxed);
}

static nexus__log_threshold *find(nexus__log_levels *l, const char *module)
{
    uint32_t count = atomic_load_explicit(&l->count, memory_order_acquire);
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(l->slots[i].module, module) == 0)
            return &l->slots[i];
    return NULL;
}

int32_t nexus__log_levels_get(nexus__log_levels *l, const char *module)
{
    if (module && atomic_load_explicit(&l->count, memory_order_relaxed) > 1) {
        nexus__log_threshold *own = find(l, module);
        int32_t level = own ? current(l, own) : -1;
        if (level >= 0)
            return level;
    }
    return current(l, &l->slots[0]);
}

static void change(nexus__log_threshold *t, int32_t level, int64_t revert_at)
{
    if (atomic_load(&t->revert_at) == 0) /* of two temporary changes the level before the first comes back */
        t->before = atomic_load(&t->level);
    atomic_store(&t->revert_at, revert_at);
    atomic_store(&t->level, level);
}

static nexus_status set_module(nexus__log_levels *l, const char *module, int32_t level, int64_t revert_at)
{
    nexus__log_threshold *own = find(l, module);
    if (!own) {
        uint32_t count = atomic_load(&l->count);
        if (count == NEXUS__LOG_MODULES_MAX)
            return nexus__fail(NEXUS_ETOOBIG, "log: %d modules have levels of their own; set the general one",
                               NEXUS__LOG_MODULES_MAX - 1);
        own = &l->slots[count];
        memcpy(own->module, module, strlen(module) + 1);
        atomic_store(&own->level, -1);
        atomic_store_explicit(&l->count, count + 1, memory_order_release);
    }
    change(own, level, revert_at);
    return NEXUS_OK;
}

nexus_status nexus__log_levels_set(nexus__log_levels *l, const char *module, int32_t level, int64_t revert_at)
{
    if (level < NEXUS_LOG_TRACE || level > NEXUS_LOG_OFF)
        return nexus__fail(NEXUS_EINVAL, "log: %d is no level; 0 (trace) to 6 (off) are", level);
    if (module && strlen(module) >= NEXUS__LOG_MODULE_BYTES)
        return nexus__fail(NEXUS_EINVAL, "log: a module's name has at most %d bytes", NEXUS__LOG_MODULE_BYTES - 1);
    nexus_status status = NEXUS_OK;
    pthread_mutex_lock(&l->lock);
    if (module && *module && strcmp(module, "*") != 0) {
        status = set_module(l, module, level, revert_at);
    } else {
        for (uint32_t i = 1; i < atomic_load(&l->count); i++)
            change(&l->slots[i], -1, revert_at);
        change(&l->slots[0], level, revert_at);
    }
    pthread_mutex_unlock(&l->lock);
    return status;
}
