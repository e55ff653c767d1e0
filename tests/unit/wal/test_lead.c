/* wal/flush: who writes. A submitter that waits leads by itself, for so long as its own batch asks for, and no longer. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "scratch.h"

/* --- a device that can be held up, or fail ------------------------------------------------------------------------ */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    int waiting; /* writes of batches that are held up */
    int error;   /* errno of the next ones */
    void (*on_write)(void);
} device = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static ssize_t device_write(void *user_data, int fd, const void *data, size_t n, off_t at)
{
    (void)user_data;
    if (at == 0) /* zeros, or the head of a file */
        return pwrite(fd, data, n, at);
    if (device.on_write)
        device.on_write();
    pthread_mutex_lock(&device.lock);
    device.waiting++;
    pthread_cond_broadcast(&device.changed);
    while (device.held)
        pthread_cond_wait(&device.changed, &device.lock);
    device.waiting--;
    int error = device.error;
    pthread_mutex_unlock(&device.lock);
    if (!error)
        return pwrite(fd, data, n, at);
    errno = error;
    return -1;
}

static void hold(bool held)
{
    pthread_mutex_lock(&device.lock);
    device.held = held;
    pthread_cond_broadcast(&device.changed);
    pthread_mutex_unlock(&device.lock);
}

static void wait_for_writer(void)
{
    pthread_mutex_lock(&device.lock);
    while (!device.waiting)
        pthread_cond_wait(&device.changed, &device.lock);
    pthread_mutex_unlock(&device.lock);
}

static nexus__wal *device_open(const char *dir)
{
    static const nexus__wal_io io = {.pwrite_fn = device_write};
    nexus__wal *wal;
    nexus__wal_opts opts = {.segment_bytes = 65536, .io = &io};
    cr_assert(nexus__wal_open(&wal, dir, &opts, NULL) == NEXUS_OK, "%s", nexus_error_message());
    return wal;
}

/* --- submitters --------------------------------------------------------------------------------------------------- */

typedef struct told {
    atomic_int calls;
    nexus_status status;
    uint64_t pos;
    pthread_t by;
} told;

static void tell(nexus_status status, uint64_t pos, void *user_data)
{
    told *t = user_data;
    t->status = status;
    t->pos = pos;
    t->by = pthread_self();
    t->calls++;
}

static void submit(nexus__wal *wal, bool leads, told *t)
{
    nexus__wal_batch *batch;
    nexus__wal_record r = {.kind = 7, .payload = NEXUS_S("a record of some bytes")};
    cr_assert(nexus__wal_batch_new(&batch, wal, 100) == NEXUS_OK && nexus__wal_batch_add(batch, &r) == NEXUS_OK);
    if (leads)
        nexus__wal_batch_will_lead(batch);
    cr_assert(nexus__wal_submit(wal, batch, tell, t, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
}

static bool by_me(const told *t)
{
    return t->calls == 1 && pthread_equal(t->by, pthread_self());
}

typedef struct leader {
    nexus__wal *wal;
    told told;
    pthread_t thread;
} leader;

static void *lead_once(void *arg)
{
    leader *l = arg;
    submit(l->wal, true, &l->told);
    nexus__wal_lead(l->wal);
    return NULL;
}

/* Its write is held up. */
static void start_held(leader *l, nexus__wal *wal)
{
    hold(true);
    *l = (leader){.wal = wal};
    cr_assert(pthread_create(&l->thread, NULL, lead_once, l) == 0);
    wait_for_writer();
}

static bool led_by_itself(const leader *l)
{
    return l->told.calls == 1 && pthread_equal(l->told.by, l->thread);
}

/* --- alone -------------------------------------------------------------------------------------------------------- */

static told in_passing;
static int taken, stored;

static void on_take(void *wal)
{
    if (taken++ == 0)
        submit(wal, false, &in_passing);
}

static void on_durable(void *user_data)
{
    (void)user_data;
    stored++;
}

static void writes_alone(const char *dir)
{
    nexus__wal *wal = device_open(dir);
    told mine = {0};
    taken = stored = 0;
    in_passing = (told){0};
    nexus__wal_on_take(wal, on_take, wal);
    nexus__wal_on_durable(wal, on_durable, NULL);
    submit(wal, true, &mine);
    nexus__wal_lead(wal);
    cr_assert(by_me(&mine) && mine.status == NEXUS_OK && mine.pos == 1);
    cr_assert(by_me(&in_passing) && in_passing.pos == 2, "what is submitted on the way goes along");
    cr_assert(taken == 1 && stored == 1 && nexus__wal_durable(wal) == 2);
    nexus__wal_close(wal);
}

Test(lead, who_waits_writes_by_itself)
{
    char *dir = scratch_dir();
    writes_alone(dir);
    scratch_remove(dir);
}

Test(lead, in_memory_it_is_the_same)
{
    writes_alone(NULL);
}

Test(lead, with_nothing_queued_there_is_nothing_to_do)
{
    nexus__wal *wal = log_open(NULL, NULL);
    nexus__wal_lead(wal);
    nexus__wal_stop(wal);
    nexus__wal_lead(wal);
    nexus__wal_close(wal);
}

/* --- with others -------------------------------------------------------------------------------------------------- */

enum { THREADS = 6, EACH = 300 };

static atomic_uint_fast64_t last_pos;
static atomic_int disorder, stored_each;

static void in_order(nexus_status status, uint64_t pos, void *user_data)
{
    if (status != NEXUS_OK || atomic_exchange(&last_pos, pos) + 1 != pos)
        disorder++;
    stored_each++;
    if (user_data)
        atomic_store((atomic_bool *)user_data, true);
}

static void submit_in_order(nexus__wal *wal, atomic_bool *done)
{
    char payload[700] = "p";
    nexus__wal_batch *batch;
    nexus__wal_record r = {.payload = nexus__slice(payload, sizeof payload)};
    cr_assert(nexus__wal_batch_new(&batch, wal, 800) == NEXUS_OK && nexus__wal_batch_add(batch, &r) == NEXUS_OK);
    if (done)
        nexus__wal_batch_will_lead(batch);
    cr_assert(nexus__wal_submit(wal, batch, in_order, done, NULL, NULL) == NEXUS_OK);
}

/* Every third one leads, the others leave it to whoever comes. */
static void *mix(void *wal)
{
    for (int i = 0; i < EACH; i++) {
        atomic_bool done = false;
        bool leads = i % 3 == 0;
        submit_in_order(wal, leads ? &done : NULL);
        if (leads)
            nexus__wal_lead(wal);
        while (leads && !done)
            sched_yield();
    }
    return NULL;
}

Test(lead, many_leaders_and_the_flush_thread_keep_one_order)
{
    char *dir = scratch_dir();
    nexus__wal *wal = device_open(dir);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert(pthread_create(&threads[i], NULL, mix, wal) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    nexus__wal_close(wal);
    cr_assert(disorder == 0 && stored_each == THREADS * EACH);
    wal = log_open(dir, NULL);
    cr_assert(log_count(wal, 1) == THREADS * EACH);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

static nexus__wal *crowded;
static told crowd[1000];
static atomic_int came;

static void another_comes(void)
{
    if (came == 1000)
        return;
    submit(crowded, false, &crowd[came]);
    came++;
}

Test(lead, a_leader_leaves_what_came_later_to_the_flush_thread)
{
    char *dir = scratch_dir();
    nexus__wal *wal = crowded = device_open(dir);
    told mine = {0};
    device.on_write = another_comes; /* so the queue is not empty for a long time */
    submit(wal, true, &mine);
    nexus__wal_lead(wal);
    cr_assert(by_me(&mine) && mine.pos == 1);
    while (came < 1000)
        sched_yield();
    nexus__wal_stop(wal);
    for (int i = 0; i < came; i++)
        cr_assert(crowd[i].calls == 1 && crowd[i].pos == (uint64_t)i + 2 && !pthread_equal(crowd[i].by, pthread_self()));
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(lead, who_comes_while_another_leads_need_not_wait_for_its_turn)
{
    char *dir = scratch_dir();
    nexus__wal *wal = device_open(dir);
    leader first;
    told mine = {0};
    start_held(&first, wal);
    submit(wal, true, &mine);
    nexus__wal_lead(wal); /* returns at once: the other one writes */
    cr_assert(mine.calls == 0);
    hold(false);
    pthread_join(first.thread, NULL);
    nexus__wal_stop(wal);
    cr_assert(led_by_itself(&first) && first.told.pos == 1);
    cr_assert(mine.calls == 1 && mine.status == NEXUS_OK && mine.pos == 2 && !pthread_equal(mine.by, first.thread));
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(lead, a_leader_that_is_cancelled_writes_to_the_end)
{
    char *dir = scratch_dir();
    nexus__wal *wal = device_open(dir);
    leader first;
    told mine = {0};
    start_held(&first, wal);
    pthread_cancel(first.thread);
    hold(false);
    pthread_join(first.thread, NULL);
    cr_assert(led_by_itself(&first) && first.told.status == NEXUS_OK);
    submit(wal, true, &mine);
    nexus__wal_lead(wal);
    cr_assert(by_me(&mine) && mine.pos == 2);
    nexus__wal_close(wal);
    scratch_remove(dir);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static void fails_with(int error, nexus_status own, nexus_status behind, nexus_status later)
{
    char *dir = scratch_dir();
    nexus__wal *wal = device_open(dir);
    leader first;
    told others[3] = {0};
    start_held(&first, wal);
    for (int i = 0; i < 3; i++)
        submit(wal, i == 1, &others[i]);
    device.error = error;
    hold(false);
    pthread_join(first.thread, NULL);
    cr_assert(led_by_itself(&first) && first.told.status == own);
    for (int i = 0; i < 3; i++)
        cr_assert(others[i].calls == 1 && others[i].status == behind && pthread_equal(others[i].by, first.thread));
    device.error = 0;
    nexus__wal_record r = {.payload = NEXUS_S("b")};
    uint64_t pos = 1;
    cr_assert(nexus__wal_append(wal, &r, 1, &pos) == later && pos == 1, "%s", nexus_error_message());
    cr_assert(nexus__wal_condition(wal) == later);
    nexus__wal_close(wal);
    wal = log_open(dir, NULL);
    cr_assert(log_count(wal, 1) == (later == NEXUS_OK));
    nexus__wal_close(wal);
    scratch_remove(dir);
}

Test(lead, a_failed_write_poisons_and_tells_everybody_behind_it)
{
    fails_with(EIO, NEXUS_EUNKNOWN, NEXUS_EROFS, NEXUS_EROFS);
}

static void wipe_room(void)
{
    pthread_mutex_lock(&device.lock);
    static int writes;
    if (++writes == 2) /* the second one wipes what the first left: there is room for that */
        device.error = 0;
    pthread_mutex_unlock(&device.lock);
}

Test(lead, no_space_is_told_to_everybody_behind_it_and_passes)
{
    device.on_write = wipe_room;
    fails_with(ENOSPC, NEXUS_ENOSPC, NEXUS_ENOSPC, NEXUS_OK);
}

/* --- closing ------------------------------------------------------------------------------------------------------ */

static atomic_bool stopped;

static void *stop(void *wal)
{
    nexus__wal_stop(wal);
    stopped = true;
    return NULL;
}

Test(lead, closing_waits_for_a_leader_and_leaves_nothing_unwritten)
{
    char *dir = scratch_dir();
    nexus__wal *wal = device_open(dir);
    leader first;
    told behind = {0};
    pthread_t stopper;
    start_held(&first, wal);
    submit(wal, true, &behind); /* its submitter never gets to lead */
    cr_assert(pthread_create(&stopper, NULL, stop, wal) == 0);
    nexus__wal_record r = {.payload = NEXUS_S("b")};
    while (nexus__wal_append_async(wal, &r, 0, NULL, NULL) != NEXUS_ECLOSED)
        sched_yield();
    cr_assert(!stopped && !first.told.calls && !behind.calls);
    hold(false);
    pthread_join(stopper, NULL);
    cr_assert(first.told.calls == 1 && behind.calls == 1 && behind.pos == 2);
    pthread_join(first.thread, NULL);
    nexus__wal_close(wal);
    wal = log_open(dir, NULL);
    cr_assert(log_count(wal, 1) == 2);
    nexus__wal_close(wal);
    scratch_remove(dir);
}
