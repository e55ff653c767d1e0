/* bus/: a disk that is nearly full. Row 10. */
#include "fixture.h"

#include "bus/handle.h"
#include "bus/internal.h"
#include "bus/state.h"

static atomic_ullong free_bytes;

static bool told_space(nexus__broker *b, uint64_t *left, uint64_t *all)
{
    (void)b;
    *left = atomic_load(&free_bytes);
    *all = 100u << 20;
    return true;
}

static nexus_status put_quietly(nexus_bus *bus, const char *id)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text(id);
    e.type = text("t");
    return nexus_bus_publish(bus, &e, 1, NULL, NULL);
}

static void wait_for(nexus__broker *b, bool low)
{
    for (int i = 0; i < 20000 && atomic_load(&b->disk_low) != low; i++)
        nexus__broker_wait(b, UINT64_MAX - 1, 1);
    cr_assert(atomic_load(&b->disk_low) == low);
}

Test(disk, below_the_watermark_publishing_stops_and_groups_go_on_until_there_is_room)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus__broker *b = atomic_load(&bus->broker);
    nexus_group *g = join(bus, "g", NULL);
    put(bus, "t", NULL, "one");
    cr_assert(put_quietly(bus, "known") == NEXUS_OK);
    pthread_mutex_lock(&b->keep.work);
    b->keep.space = told_space;
    pthread_mutex_unlock(&b->keep.work);
    atomic_store(&free_bytes, 1u << 20);
    nexus__keeper_look(b);
    wait_for(b, true);
    cr_assert(put_quietly(bus, "new") == NEXUS_ENOSPC && strstr(nexus_error_message(), "nearly full"));
    cr_assert(put_quietly(bus, "known") == NEXUS_OK); /* stored already */
    nexus_delivery *d = take(g, 5000);
    cr_assert(d && data_is(d, "one") && nexus_delivery_ack_sync(d) == NEXUS_OK);
    nexus_delivery_free(d);
    atomic_store(&free_bytes, 50u << 20); /* nobody tells: it looks by itself */
    wait_for(b, false);
    cr_assert(put_quietly(bus, "new") == NEXUS_OK);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(disk, is_low_below_a_share_at_most_a_gibibyte_or_what_is_said)
{
    const uint64_t gib = 1u << 30;
    cr_assert(nexus__disk_is_low(gib / 2 - 1, 10 * gib, 0) && !nexus__disk_is_low(gib / 2, 10 * gib, 0));
    cr_assert(nexus__disk_is_low(gib - 1, 1000 * gib, 0) && !nexus__disk_is_low(gib, 1000 * gib, 0));
    cr_assert(nexus__disk_is_low(5, 10 * gib, 6) && !nexus__disk_is_low(6, 10 * gib, 6));
    cr_assert(!nexus__disk_is_low(0, 10 * gib, UINT64_MAX));
}
