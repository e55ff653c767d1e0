/* bus/: a disk that refuses writes while the bus is open. Rows 11 and 13: what was told stays true, and nothing is reset. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "bus/handle.h"
#include "wal/internal.h"

static atomic_int refusal; /* errno of every write and every new file; 0 = none */

/* A full disk takes the zeros that wipe what it refused, since their blocks are there. */
static ssize_t refusing_write(void *user_data, int fd, const void *data, size_t n, off_t at)
{
    static const char zeros[1 << 16];
    int error = atomic_load(&refusal);
    (void)user_data;
    if (!error || (error == ENOSPC && n <= sizeof zeros && memcmp(data, zeros, n) == 0))
        return pwrite(fd, data, n, at);
    errno = error;
    return -1;
}

static int refusing_open(void *user_data, const char *path, int flags, mode_t mode)
{
    int error = atomic_load(&refusal);
    (void)user_data;
    if (!error || !(flags & O_CREAT))
        return open(path, flags, mode);
    errno = error;
    return -1;
}

static const nexus__wal_io refusing = {.pwrite_fn = refusing_write, .open_fn = refusing_open};

static nexus_bus *bus_on_refusing(const char *dir)
{
    nexus_bus *bus = bus_open(dir);
    nexus__broker_wal(atomic_load(&bus->broker))->io = &refusing; /* nothing is written yet */
    return bus;
}

static void count(nexus_bus *bus, uint64_t expected)
{
    nexus_reader *reader;
    const nexus_event *e;
    uint64_t n = 0;
    cr_assert(nexus_reader_open(&reader, bus, NULL) == NEXUS_OK);
    for (; nexus_reader_next(reader, &e, 0) == NEXUS_OK; n++)
        cr_assert_eq(e->pos, n + 1);
    nexus_reader_close(reader);
    cr_assert_eq(n, expected);
}

static nexus_status put_quietly(nexus_bus *bus, nexus_publish_result *r)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.type = text("t");
    e.data = text("later");
    return nexus_bus_publish(bus, &e, 1, NULL, r);
}

static nexus_group_stats stats(nexus_group *g)
{
    nexus_group_stats s = {.size = sizeof s};
    cr_assert(nexus_group_read_stats(g, &s) == NEXUS_OK);
    return s;
}

/* --- 11 --- */

Test(refused, a_synchronous_ack_that_found_no_space_says_so_and_is_written_when_there_is_some)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_on_refusing(dir);
    nexus_group *g = join(bus, "g", NULL);
    put(bus, "t", "a", "one");
    put(bus, "t", "b", "two");
    nexus_delivery *one = take(g, 5000), *two = take(g, 5000);
    cr_assert(one && two);
    atomic_store(&refusal, ENOSPC);
    cr_assert(nexus_delivery_ack(two) == NEXUS_OK);
    cr_assert_eq(nexus_delivery_ack_sync(one), NEXUS_ENOSPC, "it is settled, and not on the disk");
    atomic_store(&refusal, 0);
    cr_assert_eq(put(bus, "t", "a", "three"), 3);
    nexus_delivery_free(one);
    nexus_delivery_free(two);
    nexus_group_close(g);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    g = join(bus, "g", NULL);
    one = take(g, 5000);
    cr_assert(one && data_is(one, "three") && stats(g).floor == 2, "what was acknowledged does not come again");
    nexus_delivery_free(one);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(refused, a_dead_letter_that_found_no_space_is_written_with_the_ack_of_its_event)
{
    char *dir = scratch_dir(), *json;
    nexus_bus *bus = bus_on_refusing(dir);
    nexus_group *g = join(bus, "g", NULL);
    put(bus, "t", "a", "poison");
    nexus_delivery *d = take(g, 5000);
    cr_assert(d);
    atomic_store(&refusal, ENOSPC);
    cr_assert(nexus_delivery_term(d, "parse: not JSON") == NEXUS_OK);
    nexus_delivery_free(d);
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    cr_assert_eq(put_quietly(bus, &r), NEXUS_ENOSPC); /* behind it in the log */
    atomic_store(&refusal, 0);
    put(bus, "t", "a", "fine");
    nexus_group_close(g);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    g = join(bus, "g", NULL);
    cr_assert(nexus_group_dead(&json, NULL, g, NULL) == NEXUS_OK);
    cr_assert(strstr(json, "\"pos\":1,\"attempts\":1,\"reason\":\"parse: not JSON\""), "%s", json);
    nexus_free(json);
    d = take(g, 5000);
    cr_assert(d && data_is(d, "fine"));
    nexus_delivery_free(d);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* --- 13 --- */

Test(refused, on_a_file_system_that_turned_read_only_reads_go_on_and_nothing_is_reset)
{
    char *dir = scratch_dir();
    nexus_bus *bus = bus_on_refusing(dir);
    nexus_group *g = join(bus, "g", NULL);
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    uint64_t head;
    put(bus, "t", "a", "one");
    put(bus, "t", "b", "two");
    nexus_delivery *d = take(g, 5000);
    cr_assert(d && data_is(d, "one") && nexus_delivery_ack_sync(d) == NEXUS_OK);
    nexus_delivery_free(d);
    atomic_store(&refusal, EROFS);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(put_quietly(bus, &r), NEXUS_EROFS, "%s", nexus_error_message());
    count(bus, 2);
    d = take(g, 5000);
    cr_assert(d && data_is(d, "two") && nexus_delivery_ack(d) == NEXUS_OK, "groups go on");
    nexus_delivery_free(d);
    cr_assert(nexus_bus_head(bus, &head) == NEXUS_OK && head == 2);
    nexus_group *late = NULL;
    cr_assert_eq(nexus_group_open(&late, bus, "late", NULL), NEXUS_EROFS);
    atomic_store(&refusal, 0); /* mounted again for writing */
    cr_assert(put_quietly(bus, &r) == NEXUS_OK && r.first == 3, "no position was used up");
    nexus_group_close(g);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    g = join(bus, "g", NULL);
    count(bus, 3);
    d = take(g, 5000);
    cr_assert(d && data_is(d, "later") && stats(g).floor == 2);
    nexus_delivery_free(d);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

/* The system may take the bytes and then turn read-only: whether they are stored is not known. */
static ssize_t takes_and_refuses(void *user_data, int fd, const void *data, size_t n, off_t at)
{
    if (!atomic_load(&refusal))
        return refusing_write(user_data, fd, data, n, at);
    cr_assert(pwrite(fd, data, n, at) == (ssize_t)n);
    errno = EROFS;
    return -1;
}

Test(refused, a_write_that_was_taken_before_the_refusal_is_an_open_outcome)
{
    static const nexus__wal_io io = {.pwrite_fn = takes_and_refuses, .open_fn = refusing_open};
    char *dir = scratch_dir();
    nexus_bus *bus = bus_open(dir);
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus__broker_wal(atomic_load(&bus->broker))->io = &io;
    put(bus, "t", "a", "one");
    atomic_store(&refusal, EROFS);
    cr_assert_eq(put_quietly(bus, &r), NEXUS_EUNKNOWN);
    atomic_store(&refusal, 0);
    cr_assert_eq(put_quietly(bus, &r), NEXUS_EROFS, "until it is opened again");
    count(bus, 1);
    nexus_bus_close(bus);
    bus = bus_open(dir);
    count(bus, 2);
    nexus_bus_close(bus);
    scratch_remove(dir);
}
