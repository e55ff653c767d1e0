/* The judge must see every offence: one history each that breaks one rule. */
#include <criterion/criterion.h>

#include "../../thread/history.h"

static FILE *nowhere;

static history *good(void)
{
    history *h = history_new(2, 4);
    nowhere = fopen("/dev/null", "w");
    history_publish(h, 0, 0, 1);
    history_publish(h, 1, 0, 1);
    history_published(h, 0, 0);
    history_published(h, 1, 0);
    history_publish(h, 0, 1, 2);
    history_published(h, 0, 1);
    history_delivered(h, 0, 0, 1);
    history_failed(h, 0, 0);
    history_delivered(h, 0, 0, 2);
    history_acked(h, 0, 0);
    history_delivered(h, 1, 0, 1);
    history_crashed(h);
    history_delivered(h, 1, 0, 2);
    history_acked(h, 1, 0);
    history_delivered(h, 0, 1, 1);
    history_acked(h, 0, 1);
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
        history_delivered(h, 1, 2, 1))
OFFENCE(sees_a_duplicate_without_a_cause, false, store(h, "+++"), history_delivered(h, 0, 1, 2))
OFFENCE(sees_what_never_comes, true, store(h, "+++"), history_publish(h, 1, 1, 3), history_published(h, 1, 1),
        history_stored(h, 4, 1, 1, 1))
