/* The judge must see every offence: one history each that breaks one rule. */
#include <criterion/criterion.h>

#include "../../thread/history.h"

enum { LEASE_MS = 1000 };

static FILE *nowhere;

/* A call between these two milliseconds, that met the owner after so many crashes; another one at its return. */
static const history_call *call(uint32_t from, uint32_t to, int begun_ms, int over_ms)
{
    static history_call calls[64];
    static unsigned next;
    history_call *c = &calls[next++ % 64];
    *c = (history_call){from, to, begun_ms * INT64_C(1000000), over_ms * INT64_C(1000000)};
    return c;
}

static const history_call *at(uint32_t owner, int ms)
{
    return call(owner, owner, ms, ms + 1);
}

static void deliver(history *h, uint32_t key, uint32_t n, uint32_t attempt, const history_call *fetch)
{
    history_delivered(h, key, n, attempt, 0, fetch);
}

static void ack(history *h, uint32_t key, uint32_t n, bool sync, const history_call *fetch, const history_call *ack)
{
    history_acking(h, key, n);
    history_acked(h, key, n, sync, fetch, ack);
}

static history *good(void)
{
    history *h = history_new(2, 4, LEASE_MS);
    nowhere = fopen("/dev/null", "w");
    history_publish(h, 0, 0, 1);
    history_publish(h, 1, 0, 1);
    history_published(h, 0, 0);
    history_published(h, 1, 0);
    history_publish(h, 0, 1, 2);
    history_published(h, 0, 1);
    deliver(h, 0, 0, 1, at(0, 10));
    history_failed(h, 0, 0);
    deliver(h, 0, 0, 2, at(0, 20));
    ack(h, 0, 0, false, at(0, 20), at(0, 30));
    deliver(h, 1, 0, 1, at(0, 30));
    history_crashed(h);
    deliver(h, 1, 0, 2, at(1, 100));
    ack(h, 1, 0, false, at(1, 100), at(1, 110));
    deliver(h, 0, 1, 1, at(1, 120));
    ack(h, 0, 1, true, at(1, 120), at(1, 130));
    return h;
}

static void store(history *h, const char *what)
{
    static const struct {
        uint32_t key, n;
        int64_t version;
    } events[] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 1}};
    uint64_t pos = 0;
    for (size_t i = 0; i < 3; i++)
        if (what[i] != '-')
            history_stored(h, ++pos, events[i].key, events[i].n, events[i].version);
}

#define OFFENCE(name, drained, ...)                                                                                    \
    Test(history, name)                                                                                                \
    {                                                                                                                  \
        history *h = good();                                                                                           \
        __VA_ARGS__;                                                                                                   \
        cr_assert(!history_judge(h, drained, nowhere));                                                                \
        history_free(h);                                                                                               \
        fclose(nowhere);                                                                                               \
    }

Test(history, finds_nothing_in_a_good_one)
{
    history *h = good();
    store(h, "+++");
    cr_assert(history_judge(h, true, stderr));
    history_free(h);
    fclose(nowhere);
}

OFFENCE(sees_a_loss, false, store(h, "++-"))
OFFENCE(sees_a_torn_batch, false, store(h, "+-+"))
OFFENCE(sees_a_phantom, false, store(h, "+++"), history_stored(h, 4, 1, 1, 1))
OFFENCE(sees_a_refused_one_that_is_stored, false, store(h, "+++"), history_publish(h, 1, 1, 3), history_refused(h, 1, 1),
        history_stored(h, 4, 1, 1, 1))
OFFENCE(sees_one_stored_twice, false, store(h, "+++"), history_stored(h, 4, 0, 1, 2))
OFFENCE(sees_a_gap_of_positions, false, store(h, "+++"), history_publish(h, 1, 1, 3), history_stored(h, 5, 1, 1, 1))
OFFENCE(sees_a_wrong_version, false, store(h, "+++"), history_publish(h, 1, 1, 3), history_stored(h, 4, 1, 1, 7))
OFFENCE(sees_disorder, false, store(h, "+++"), history_publish(h, 1, 1, 3), history_publish(h, 1, 2, 4),
        deliver(h, 1, 2, 1, at(1, 200)))
OFFENCE(sees_one_that_overtakes_the_one_before_it, false, store(h, "+++"), history_publish(h, 1, 1, 3),
        history_publish(h, 1, 2, 4), deliver(h, 1, 1, 1, at(1, 200)), deliver(h, 1, 2, 1, at(1, 201)))
OFFENCE(sees_a_duplicate_after_an_ack, false, store(h, "+++"), deliver(h, 1, 0, 3, at(1, 5000)))
OFFENCE(sees_a_duplicate_before_the_end_of_a_lease, false, store(h, "+++"), history_publish(h, 1, 1, 3),
        deliver(h, 1, 1, 1, at(1, 200)), deliver(h, 1, 1, 2, at(1, 1100)))
OFFENCE(sees_a_synchronous_ack_undone_by_a_crash, false, store(h, "+++"), history_crashed(h),
        deliver(h, 0, 1, 2, at(2, 300)))
OFFENCE(sees_what_a_synchronous_ack_had_to_write_undone, false, store(h, "+++"), history_crashed(h),
        deliver(h, 1, 0, 3, at(2, 300)))
OFFENCE(sees_an_ack_under_a_lease_that_somebody_else_has, false, store(h, "+++"), history_publish(h, 1, 1, 3),
        deliver(h, 1, 1, 1, at(1, 200)), deliver(h, 1, 1, 2, at(1, 2200)), ack(h, 1, 1, false, at(1, 200), at(1, 2210)))

/* Each of these is what a killed owner, or a thread that is slow to tell, makes of a bus without fault. */
#define NO_OFFENCE(name, ...)                                                                                          \
    Test(history, name)                                                                                                \
    {                                                                                                                  \
        history *h = good();                                                                                           \
        store(h, "+++");                                                                                               \
        history_publish(h, 1, 1, 3);                                                                                   \
        history_stored(h, 4, 1, 1, 1);                                                                                 \
        __VA_ARGS__;                                                                                                   \
        cr_assert(history_judge(h, false, stderr));                                                                    \
        history_free(h);                                                                                               \
        fclose(nowhere);                                                                                               \
    }

NO_OFFENCE(allows_a_second_delivery_when_the_lease_is_over, deliver(h, 1, 1, 1, at(1, 200)),
           deliver(h, 1, 1, 2, at(1, 1201)))
NO_OFFENCE(allows_an_ack_that_a_crash_took_back_and_a_failure_after_it,
           deliver(h, 1, 1, 1, at(1, 200)), ack(h, 1, 1, false, at(1, 200), at(1, 210)), history_crashed(h),
           deliver(h, 1, 1, 2, at(2, 300)), history_failed(h, 1, 1), deliver(h, 1, 1, 3, at(2, 310)))
NO_OFFENCE(allows_a_delivery_of_the_former_owner_told_late, history_crashed(h), deliver(h, 1, 1, 2, at(2, 300)),
           ack(h, 1, 1, false, at(2, 300), at(2, 310)), deliver(h, 1, 1, 1, at(1, 200)))
NO_OFFENCE(does_not_know_whose_a_delivery_was_when_its_call_saw_a_crash, history_crashed(h),
           deliver(h, 1, 1, 1, call(1, 2, 200, 290)), deliver(h, 1, 1, 2, at(2, 300)))
OFFENCE(sees_what_never_comes, true, store(h, "+++"), history_publish(h, 1, 1, 3), history_published(h, 1, 1),
        history_stored(h, 4, 1, 1, 1))
