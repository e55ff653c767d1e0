/* The keeper: one thread that does in the background what keeps a bus small and quick to open. */
#include "base/status.h"
#include "base/thread.h"
#include "bus/internal.h"
#include "bus/state.h"

#define LOOK_NS (30 * NEXUS__NS_PER_S) /* it looks by itself so often */
#define IDLE_SHARE 64                  /* of the bytes between two checkpoints: less than that is not worth one */

/* A big state is written less often: at most a quarter more bytes than the log has. */
static uint64_t interval(const nexus__broker *b)
{
    uint64_t bytes = b->checkpoint_bytes, big = b->keep.bytes * 4;
    return big > bytes ? big : bytes;
}

void nexus__keeper_grew(nexus__broker *b)
{
    if (nexus__wal_written(b->wal) < atomic_load_explicit(&b->keep.due_written, memory_order_relaxed))
        return;
    atomic_store(&b->keep.due_written, UINT64_MAX); /* asked once; the keeper says when again */
    pthread_mutex_lock(&b->keep.lock);
    b->keep.asked = true;
    pthread_cond_signal(&b->keep.wake);
    pthread_mutex_unlock(&b->keep.lock);
}

static void checkpoint(nexus__broker *b, uint64_t least)
{
    uint64_t written = nexus__wal_written(b->wal);
    if (written - b->keep.saved_written < least)
        return;
    if (nexus__state_write(b) != NEXUS_OK)
        return; /* the one before still counts; opening takes a little longer */
    b->keep.saved_written = written;
}

static void look(nexus__broker *b)
{
    if (nexus__wal_is_durable(b->wal))
        checkpoint(b, b->checkpoint_bytes / IDLE_SHARE);
    atomic_store(&b->keep.due_written, nexus__wal_written(b->wal) + interval(b));
}

static void *keeper_main(void *arg)
{
    nexus__broker *b = arg;
    pthread_mutex_lock(&b->keep.lock);
    while (!b->keep.stop) {
        int64_t until = nexus__mono_ns() + LOOK_NS;
        while (!b->keep.stop && !b->keep.asked && nexus__cond_wait_until(&b->keep.wake, &b->keep.lock, until))
            ;
        b->keep.asked = false;
        if (b->keep.stop)
            break;
        pthread_mutex_unlock(&b->keep.lock);
        look(b);
        pthread_mutex_lock(&b->keep.lock);
    }
    pthread_mutex_unlock(&b->keep.lock);
    return NULL;
}

nexus_status nexus__keeper_start(nexus__broker *b)
{
    atomic_store(&b->keep.due_written, interval(b));
    nexus_status status = nexus__thread_start(&b->keep.thread, "nexus-bus-keep", keeper_main, b);
    b->keep.started = status == NEXUS_OK;
    return status;
}

void nexus__keeper_stop(nexus__broker *b)
{
    if (!b->keep.started)
        return;
    pthread_mutex_lock(&b->keep.lock);
    b->keep.stop = true;
    pthread_cond_signal(&b->keep.wake);
    pthread_mutex_unlock(&b->keep.lock);
    pthread_join(b->keep.thread, NULL);
    b->keep.started = false;
    if (nexus__wal_is_durable(b->wal))
        checkpoint(b, b->checkpoint_bytes / IDLE_SHARE);
}
