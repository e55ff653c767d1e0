/* bus/engines/kafka*: what happens to a log in a topic when brokers refuse, messages go, owners die. On the mock cluster of
 * librdkafka, which answers with the errors it is told; it shuts no former owner out by itself. */
#include "engine_steps.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bus/engines/engine.h"
#include "bus/engines/kafka.h"

enum { PRODUCE = 0, END_TXN = 26 }; /* numbers of requests */

Test(bus_engine_kafka, an_owner_that_is_shut_out_says_unknown_and_the_retry_is_stored_once)
{
    static const char *const ids[] = {"1", "2", "3"};
    char url[400];
    cr_assert(kafka_url(url, "fenced"));
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    cr_assert(publish_once(bus, "1") == NEXUS_OK);
    rd_kafka_mock_push_request_errors(kafka_mock, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    cr_assert(publish_once(bus, "2") == NEXUS_EUNKNOWN, "%s", nexus_error_message());
    publish_until_stored(bus, "2"); /* nobody else was there: it is the owner again */
    publish_until_stored(bus, "3");
    expect_ids(bus, ids, 3);
    nexus_bus_close(bus);
}

Test(bus_engine_kafka, what_passes_is_tried_again_and_what_a_broker_refuses_is_not_stored)
{
    static const char *const ids[] = {"1", "2"};
    char url[400];
    cr_assert(kafka_url(url, "refused"));
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    cr_assert(publish_once(bus, "1") == NEXUS_OK);
    rd_kafka_mock_push_request_errors(kafka_mock, PRODUCE, 2, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    cr_assert(publish_once(bus, "2") == NEXUS_OK, "what may pass is tried again: %s", nexus_error_message());
    rd_kafka_mock_push_request_errors(kafka_mock, PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    cr_assert(publish_once(bus, "x") == NEXUS_EUNREACH, "%s", nexus_error_message());
    expect_ids(bus, ids, 2);
    nexus_bus_close(bus);
}

/* Owns the bus whose URL comes through the pipe, and says so. */
static void own_until_killed(int urls, int ready)
{
    char url[400] = "";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(urls, url, sizeof url - 1) <= 0)
        _exit(1);
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    cr_assert(publish_once(bus, "1") == NEXUS_OK);
    if (write(ready, "", 1) == 1)
        pause();
    _exit(1);
}

Test(bus_engine_kafka, a_client_takes_over_from_an_owner_that_was_killed)
{
    static const char *const ids[] = {"1", "2", "3"};
    char url[400], byte;
    int urls[2], ready[2];
    nexus_bus *bus;
    cr_assert(pipe(urls) == 0 && pipe(ready) == 0);
    pid_t owner = fork(); /* before the mock cluster has threads: a lock that one of them held would be held for ever here */
    if (owner == 0)
        own_until_killed(urls[0], ready[1]);
    cr_assert(kafka_url(url, "killed"));
    cr_assert(write(urls[1], url, strlen(url)) == (ssize_t)strlen(url));
    cr_assert(read(ready[0], &byte, 1) == 1);
    bus = engine_open(url, NEXUS_BUS_AUTO);
    cr_assert(!nexus_bus_is_owner(bus));
    publish_until_stored(bus, "2");
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    publish_until_stored(bus, "3");
    cr_assert(nexus_bus_is_owner(bus));
    expect_ids(bus, ids, 3);
    nexus_bus_close(bus);
    for (int i = 0; i < 2; i++) {
        close(urls[i]);
        close(ready[i]);
    }
}

/* What another process does that thinks nobody lives: it writes notes, with a higher epoch. */
static void pretend_to_own(const char *url)
{
    nexus__kafka *k;
    nexus__kafka_reader owners;
    nexus__kafka_owner_note note;
    nexus__parcel mark;
    nexus__buf body;
    nexus__buf_init(&body, NULL, 0);
    cr_assert(nexus__kafka_open(&k, url, NULL) == NEXUS_OK);
    cr_assert(nexus__kafka_reader_open(&owners, k, k->owner_topic) == NEXUS_OK);
    cr_assert(nexus__kafka_last_note(k, &owners, &mark, &note) == NEXUS_OK);
    mark.epoch++;
    note.owner++;
    note.released = true; /* and is gone */
    mark.bytes = nexus__slice(&note, sizeof note);
    nexus__parcel_put(&body, &mark);
    cr_assert(nexus__kafka_note(k, k->owner_topic, text("owner"), nexus__buf_slice(&body)) == NEXUS_OK);
    nexus__kafka_reader_close(&owners);
    nexus__kafka_close(k);
    nexus__buf_free(&body);
}

Test(bus_engine_kafka, an_idle_owner_learns_of_another_and_begins_again)
{
    static const char *const ids[] = {"1", "2"};
    char url[400];
    cr_assert(kafka_url(url, "idle"));
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    publish_until_stored(bus, "1");
    pretend_to_own(url);
    while (nexus_bus_is_owner(bus))
        usleep(1000);
    publish_until_stored(bus, "2");
    cr_assert(nexus_bus_is_owner(bus));
    expect_ids(bus, ids, 2);
    nexus_bus_close(bus);
}

/* The mock keeps 5 MiB of a topic: as a retention does that somebody has set. */
Test(bus_engine_kafka, events_that_the_topic_no_longer_has_are_a_gap)
{
    enum { EVENTS = 80, BYTES = 100000 };
    char url[400], *data = malloc(BYTES);
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(kafka_url(url, "retention"));
    memset(data, ' ', BYTES);
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    nexus_group *g = join(bus, "workers", NULL);
    nexus_event big = NEXUS_EVENT_INIT;
    big.type = text("a.b");
    big.data = nexus__slice(data, BYTES);
    for (int i = 0; i < EVENTS; i++)
        cr_assert(nexus_bus_publish(bus, &big, 1, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 1000) == NEXUS_EMISSING, "%s", nexus_error_message());
    cr_assert(nexus_reader_next(r, &e, 1000) == NEXUS_OK && e->pos > 1);
    uint64_t first = e->pos;
    for (uint64_t pos = first + 1; pos <= EVENTS; pos++)
        cr_assert(nexus_reader_next(r, &e, 1000) == NEXUS_OK && e->pos == pos, "%s", nexus_error_message());
    nexus_reader_close(r);
    nexus_delivery *d = take(g, 3000);
    cr_assert(d && nexus__slice_eq(nexus_delivery_event(d)->type, text("nexus.gap")));
    cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    d = take(g, 3000);
    cr_assert(d && nexus_delivery_event(d)->pos == first && nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    nexus_group_close(g);
    nexus_bus_close(bus);
    free(data);
}

Test(bus_engine_kafka, a_batch_above_the_size_of_a_message_is_there_whole)
{
    enum { EVENTS = 30, BYTES = 100000 };
    char url[400], *data = malloc(BYTES);
    nexus_event events[EVENTS];
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(kafka_url(url, "large"));
    memset(data, ' ', BYTES);
    for (int i = 0; i < EVENTS; i++) {
        events[i] = (nexus_event)NEXUS_EVENT_INIT;
        events[i].type = text("a.b");
        events[i].data = nexus__slice(data, BYTES);
    }
    nexus_bus *bus = engine_open(url, NEXUS_BUS_AUTO);
    cr_assert(nexus_bus_publish(bus, events, EVENTS, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
    nexus_bus_close(bus);
    bus = engine_open(url, NEXUS_BUS_AUTO);
    cr_assert(publish_once(bus, "1") == NEXUS_OK);
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    for (uint64_t pos = 1; pos <= EVENTS + 1; pos++)
        cr_assert(nexus_reader_next(r, &e, 1000) == NEXUS_OK && e->pos == pos, "%s", nexus_error_message());
    nexus_reader_close(r);
    nexus_bus_close(bus);
    free(data);
}

Test(bus_engine_kafka, a_checkpoint_of_several_pieces_comes_back)
{
    enum { BYTES = 2000000 };
    char url[400], *data = malloc(BYTES);
    nexus__kafka *k;
    nexus__buf out;
    cr_assert(kafka_url(url, "blobs"));
    cr_assert(nexus__kafka_open(&k, url, NULL) == NEXUS_OK, "%s", nexus_error_message());
    for (int i = 0; i < BYTES; i++)
        data[i] = (char)(i * 31 >> 3);
    nexus__buf_init(&out, NULL, 0);
    cr_assert(nexus__kafka_get_blob(k, "bus-0", &out) == NEXUS_ENOTFOUND);
    cr_assert(nexus__kafka_put_blob(k, "bus-0", text("small")) == NEXUS_OK);
    cr_assert(nexus__kafka_put_blob(k, "bus-1", nexus__slice(data, BYTES)) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus__kafka_get_blob(k, "bus-1", &out) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(out.len == BYTES && memcmp(out.p, data, BYTES) == 0);
    nexus__buf_clear(&out);
    cr_assert(nexus__kafka_get_blob(k, "bus-0", &out) == NEXUS_OK);
    cr_assert(nexus__slice_eq(nexus__buf_slice(&out), text("small")));
    nexus__buf_free(&out);
    nexus__kafka_close(k);
    free(data);
}

Test(bus_engine_kafka, a_bad_name_is_said)
{
    nexus_bus *bus;
    cr_assert(nexus_bus_open(&bus, "kafka://127.0.0.1:9092#a/b", NULL) == NEXUS_EINVAL);
}
