/*
 * The lease of the owner: the one message of NAME.owner, which the server forgets NATS_LEASE_MS after it was written. It
 * is written where there is none, and renewed behind itself, so the server decides between two. Only who owns is decided
 * here: that a former owner stores nothing is decided by the log, each time it writes.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "base/thread.h"
#include "bus/engines/nats.h"

#define BEAT_MS (NATS_LEASE_MS / 4)

struct nexus__nats_lease {
    nexus__nats *nats;
    char id[33];
    uint64_t seq; /* of its message */
    nexus__nats_beat_fn *beat;
    nexus__nats_lost_fn *lost_fn;
    void *user_data;
    pthread_t thread;
    bool started;
    atomic_bool lost;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closing; /* locked */
};

static nexus_status write_lease(nexus__nats_lease *l, uint64_t behind)
{
    const nexus__nats_put put = {.subject = l->nats->owner_subject,
                                 .after = NATS_AFTER_OF_SUBJECT,
                                 .seq = behind,
                                 .data = nexus__slice_c(l->id)};
    return nexus__nats_publish(l->nats, &put, &l->seq);
}

/* Whose the lease is now. An answer may have been lost on its way, so it may be ours without our knowing. */
static nexus_status look(nexus__nats_lease *l, bool *ours, uint64_t *seq)
{
    natsMsg *m = NULL;
    nexus_status status = nexus__nats_last(l->nats, &m, l->nats->owner_stream, l->nats->owner_subject);
    if (status != NEXUS_OK)
        return status;
    *ours = nexus__slice_eq(nexus__nats_data(m), nexus__slice_c(l->id));
    *seq = natsMsg_GetSequence(m);
    natsMsg_Destroy(m);
    return NEXUS_OK;
}

/* A lease that ran out and that nobody took is taken again: whether it matters is for the log to say. */
static void renew(nexus__nats_lease *l)
{
    bool ours = true;
    uint64_t seq = 0;
    nexus_status status = write_lease(l, l->seq);
    if (status == NEXUS_ENOTFOUND) /* the stream is gone */
        status = nexus__nats_streams(l->nats) == NEXUS_OK ? NEXUS_ECONFLICT : status;
    if (status != NEXUS_ECONFLICT)
        return;
    status = look(l, &ours, &seq);
    if (status == NEXUS_ENOTFOUND)
        status = write_lease(l, 0);
    else if (status == NEXUS_OK && ours)
        status = write_lease(l, seq);
    if (status == NEXUS_ECONFLICT || !ours)
        atomic_store(&l->lost, true);
}

static bool pause_until_next(nexus__nats_lease *l)
{
    int64_t until = nexus__mono_ns() + BEAT_MS * NEXUS__NS_PER_MS;
    pthread_mutex_lock(&l->lock);
    while (!l->closing && nexus__cond_wait_until(&l->changed, &l->lock, until))
        ;
    bool go_on = !l->closing;
    pthread_mutex_unlock(&l->lock);
    return go_on;
}

static void *lease_main(void *arg)
{
    nexus__nats_lease *l = arg;
    while (pause_until_next(l)) {
        renew(l);
        if (atomic_load(&l->lost)) {
            l->lost_fn(l->user_data);
            return NULL;
        }
        l->beat(l->user_data);
    }
    return NULL;
}

bool nexus__nats_lease_is_lost(nexus__nats_lease *l)
{
    return atomic_load(&l->lost);
}

nexus_status nexus__nats_lease_take(nexus__nats_lease **out, nexus__nats *n, nexus__nats_beat_fn *beat,
                                    nexus__nats_lost_fn *lost, void *user_data)
{
    nexus__nats_lease *l = nexus__calloc(n->alloc, 1, sizeof *l);
    if (!l)
        return nexus__nomem();
    l->nats = n;
    l->beat = beat;
    l->lost_fn = lost;
    l->user_data = user_data;
    snprintf(l->id, sizeof l->id, "%016llx%016llx", (unsigned long long)nexus__random_u64(),
             (unsigned long long)nexus__random_u64());
    pthread_mutex_init(&l->lock, NULL);
    nexus__cond_init(&l->changed);
    nexus_status status = write_lease(l, 0);
    if (status == NEXUS_OK)
        status = nexus__thread_start(&l->thread, "nexus-bus-lease", lease_main, l);
    else
        atomic_store(&l->lost, true);
    l->started = status == NEXUS_OK;
    if (status != NEXUS_OK) {
        nexus__nats_lease_end(l);
        return status == NEXUS_ECONFLICT ? nexus__fail(status, "another process owns the bus of this NATS server")
                                         : status;
    }
    *out = l;
    return NEXUS_OK;
}

void nexus__nats_lease_end(nexus__nats_lease *l)
{
    if (!l)
        return;
    jsErrCode code;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    if (l->started)
        pthread_join(l->thread, NULL);
    if (!atomic_load(&l->lost)) /* else it ends by itself */
        (void)js_DeleteMsg(l->nats->js, l->nats->owner_stream, l->seq, NULL, &code);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    nexus__free(l->nats->alloc, l);
}

nexus_status nexus__nats_owner(nexus__nats *n, char subject[static NATS_SUBJECT_MAX])
{
    natsMsg *m = NULL;
    nexus_status status = nexus__nats_last(n, &m, n->owner_stream, n->owner_subject);
    if (status != NEXUS_OK)
        return status;
    nexus_slice id = nexus__nats_data(m);
    snprintf(subject, NATS_SUBJECT_MAX, "%s.to.%.*s", n->name, id.n < 64 ? (int)id.n : 64, id.p);
    natsMsg_Destroy(m);
    return NEXUS_OK;
}
