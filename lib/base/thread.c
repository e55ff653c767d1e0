#include "base/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/time.h"

typedef struct start {
    void *(*main)(void *);
    void *arg;
    char name[16];
} start;

static void *begin(void *arg)
{
    start s = *(start *)arg;
    nexus__free(NULL, arg);
    prctl(PR_SET_NAME, s.name);
    return s.main(s.arg);
}

nexus_status nexus__thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg)
{
    start *s = nexus__calloc(NULL, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    s->main = main;
    s->arg = arg;
    for (size_t i = 0; i < sizeof s->name - 1 && name[i]; i++)
        s->name[i] = name[i];
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(thread, NULL, begin, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        return NEXUS_OK;
    nexus__free(NULL, s);
    return nexus__fail_errno(rc, "start the thread %s", name);
}

void nexus__cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

bool nexus__cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ns)
{
    if (until_ns == INT64_MAX) {
        pthread_cond_wait(cond, lock);
        return true;
    }
    struct timespec at = {until_ns / NEXUS__NS_PER_S, until_ns % NEXUS__NS_PER_S};
    return pthread_cond_timedwait(cond, lock, &at) != ETIMEDOUT;
}

void nexus__gate_open(nexus__gate *gate)
{
    atomic_store_explicit(&gate->word, 1, memory_order_release);
    syscall(SYS_futex, &gate->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool nexus__gate_wait(nexus__gate *gate, int64_t until_ns)
{
    while (!atomic_load_explicit(&gate->word, memory_order_acquire)) {
        int64_t left = until_ns == INT64_MAX ? NEXUS__NS_PER_S * 3600 : until_ns - nexus__mono_ns();
        if (left <= 0)
            return false;
        struct timespec rest = {left / NEXUS__NS_PER_S, left % NEXUS__NS_PER_S};
        syscall(SYS_futex, &gate->word, FUTEX_WAIT_PRIVATE, 0, &rest, NULL, 0);
    }
    return true;
}
