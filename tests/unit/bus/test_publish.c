/* bus/: publishing under conditions, for later, together with acks, asynchronously; spans and metrics. */
#include "place.h"

#include <nexus/metrics.h>
#include <nexus/trace.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "bus/handle.h"
#include "bus/internal.h"

static int64_t real_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static nexus_event event(const char *id, const char *type, const char *subject, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    e.id = text(id);
    e.type = text(type);
    e.subject = text(subject);
    e.data = text(data);
    return e;
}

static uint64_t head(nexus_bus *bus)
{
    uint64_t pos;
    cr_assert(nexus_bus_head(bus, &pos) == NEXUS_OK);
    return pos;
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

static void conditions(place *p)
{
    nexus_pair tag = {NEXUS_S("tags"), NEXUS_S("course-7,student-1")};
    nexus_event e = event("a", "student.enrolled", NULL, "1");
    e.ext = &tag;
    e.ext_count = 1;
    nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    o.fail_types = "student.*";
    o.fail_tags = "course-7";
    cr_assert(nexus_bus_publish(p->bus, &e, 1, &o, &r) == NEXUS_OK && r.first == 1, "%s", nexus_error_message());
    cr_assert(nexus_bus_publish(p->bus, &e, 1, &o, &r) == NEXUS_OK && r.dup, "a repetition is a success");
    e.id = text("b");
    cr_assert(nexus_bus_publish(p->bus, &e, 1, &o, &r) == NEXUS_ECONFLICT && r.first == 1);
    cr_assert(strstr(nexus_error_message(), "event 1 was stored after 0"), "%s", nexus_error_message());
    o.fail_tags = "course-8";
    cr_assert(nexus_bus_publish(p->bus, &e, 1, &o, &r) == NEXUS_OK && r.first == 2);
    o.fail_tags = "course-7";
    o.fail_after = 2; /* it has read both */
    e.id = text("c");
    cr_assert(nexus_bus_publish(p->bus, &e, 1, &o, &r) == NEXUS_OK && r.first == 3);
    o.fail_types = "a..b";
    cr_assert(nexus_bus_publish(p->bus, &e, 1, &o, &r) == NEXUS_EINVAL);
}
BOTH(publish, a_condition_fails_on_what_others_stored, conditions)

enum { WRITERS = 8, ROUNDS = 10 };
static atomic_int wins[ROUNDS];
static atomic_int ready;

typedef struct writer {
    nexus_bus *bus;
    int who;
} writer;

/* Every round each wants to be the one whose "seat" event follows what all have read; noise goes on beside. */
static void *contend(void *arg)
{
    const writer *w = arg;
    for (int round = 0; round < ROUNDS; round++) {
        char id[32], tags[16];
        nexus_pair tag = {NEXUS_S("tags"), {tags, (size_t)snprintf(tags, sizeof tags, "seat-%d", round)}};
        nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
        snprintf(id, sizeof id, "w%d-%d", w->who, round);
        nexus_event e = event(id, "seat.taken", NULL, "{}");
        e.ext = &tag;
        e.ext_count = 1;
        o.fail_tags = tags;
        nexus_status status = nexus_bus_publish(w->bus, &e, 1, &o, NULL);
        cr_assert(status == NEXUS_OK || status == NEXUS_ECONFLICT, "%s", nexus_error_message());
        wins[round] += status == NEXUS_OK;
        e = event(NULL, "noise", NULL, "{}");
        cr_assert(nexus_bus_publish(w->bus, &e, 1, NULL, NULL) == NEXUS_OK);
    }
    ready++;
    return NULL;
}

Test(publish, of_many_writers_under_one_condition_one_wins)
{
    place p = place_open(true);
    pthread_t threads[WRITERS];
    writer writers[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){i % 2 ? p.bus : p.owner, i};
        cr_assert(pthread_create(&threads[i], NULL, contend, &writers[i]) == 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < ROUNDS; i++)
        cr_assert_eq(wins[i], 1);
    place_close(&p);
}

/* --- later -------------------------------------------------------------------------------------------------------- */

static void later(place *p)
{
    nexus_group *g = join(p->bus, "g", NULL);
    nexus_event two[2] = {event("x", "t", "a", "1"), event("y", "t", "a", "2")};
    nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    o.not_before_ns = real_ns() + 150000000;
    cr_assert(nexus_bus_publish(p->bus, two, 2, &o, &r) == NEXUS_OK && r.first == 0 && r.durable && !r.dup, "%s",
              nexus_error_message());
    cr_assert(nexus_bus_publish(p->bus, two, 2, &o, &r) == NEXUS_OK && r.dup, "it is known");
    cr_assert(nexus_bus_publish(p->bus, two, 1, NULL, &r) == NEXUS_OK && r.dup, "now as well");
    cr_assert(head(p->bus) == 0 && take(g, 0) == NULL);
    ack_data(g, "1");
    cr_assert(real_ns() >= o.not_before_ns, "not before");
    ack_data(g, "2");
    cr_assert(head(p->bus) == 2);
    o.expect = 1;
    o.not_before_ns = real_ns() + 1000000000;
    cr_assert(nexus_bus_publish(p->bus, two, 2, &o, &r) == NEXUS_EINVAL);
    o.expect = NEXUS_EXPECT_ANY;
    o.not_before_ns = 1; /* long ago: now */
    nexus_event now = event("z", "t", "a", "3");
    cr_assert(nexus_bus_publish(p->bus, &now, 1, &o, &r) == NEXUS_OK && r.first == 3);
    nexus_group_close(g);
}
BOTH(publish, for_later_is_stored_at_its_time, later)

static void over_downtime(place *p)
{
    nexus_event e = event("x", "t", "a", "1"), far = event("far", "t", "a", "2");
    nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    o.not_before_ns = real_ns() + 40000000;
    cr_assert(nexus_bus_publish(p->bus, &e, 1, &o, &r) == NEXUS_OK);
    o.not_before_ns = real_ns() + 3600 * 1000000000LL;
    cr_assert(nexus_bus_publish(p->bus, &far, 1, &o, &r) == NEXUS_OK);
    bool remote = p->bus != p->owner;
    if (remote)
        nexus_bus_close(p->bus);
    nexus_bus_close(p->owner);
    while (real_ns() < o.not_before_ns - 3600 * 1000000000LL + 40000000)
        ; /* it falls due while nobody runs */
    for (int round = 0; round < 2; round++) { /* once, and not once each start */
        p->owner = bus_open(p->dir);
        p->bus = remote ? bus_open(p->dir) : p->owner;
        nexus_group *g = join(p->bus, round ? "second" : "first", NULL);
        ack_data(g, "1");
        cr_assert(take(g, 0) == NULL && head(p->bus) == 1);
        nexus_status status = nexus_bus_publish(p->bus, &far, 1, NULL, &r);
        cr_assert(status == NEXUS_OK && r.dup, "the far one still waits: %s %s", nexus_status_name(status),
                  nexus_error_message());
        nexus_group_close(g);
        if (round == 0) {
            if (remote)
                nexus_bus_close(p->bus);
            nexus_bus_close(p->owner);
        }
    }
}
BOTH(publish, what_falls_due_in_downtime_is_stored_once, over_downtime)

/* At recovery a delayed publish is known since then, and events behind it in the log since they were stored. */
Test(publish, an_id_is_not_forgotten_for_an_event_of_an_earlier_second)
{
    nexus_bus *bus = bus_open(NULL);
    nexus__broker *b = atomic_load(&bus->broker);
    nexus__key128 delayed = nexus__window_key(&b->ids, NEXUS_S("/test"), NEXUS_S("delayed")),
                  earlier = nexus__window_key(&b->ids, NEXUS_S("/test"), NEXUS_S("earlier")),
                  late = nexus__window_key(&b->ids, NEXUS_S("/test"), NEXUS_S("late"));
    pthread_mutex_lock(&b->lock);
    nexus__broker_remember(b, delayed, 0, 1, 2000000);
    nexus__broker_remember(b, earlier, 1, 1, 1999999);
    bool kept = nexus__window_get(&b->ids, delayed) && nexus__window_get(&b->ids, earlier);
    nexus__broker_remember(b, late, 2, 1, 2000001 + b->dedupe_s);
    bool over = !nexus__window_get(&b->ids, delayed) && !nexus__window_get(&b->ids, earlier);
    pthread_mutex_unlock(&b->lock);
    cr_assert(kept && over, "%d %d", kept, over);
    nexus_bus_close(bus);
}

/* --- commit ------------------------------------------------------------------------------------------------------- */

static void commits(place *p)
{
    nexus_group_opts in = NEXUS_GROUP_OPTS_INIT;
    in.types = "in";
    nexus_event e = event("cause-1", "in", "a", "1");
    cr_assert(nexus_bus_publish(p->bus, &e, 1, NULL, NULL) == NEXUS_OK);
    put(p->bus, "in", "b", "2");
    put(p->bus, "in", "c", "3");
    nexus_group *g = join(p->bus, "g", &in), *other = join(p->bus, "other", &in);
    nexus_delivery *d[3] = {take(g, 1000), take(g, 1000), take(other, 1000)};
    nexus_event out[2] = {event("o1", "out", "a", "x"), event("o2", "out", "b", "y")};
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    cr_assert(nexus_bus_commit(p->bus, d, 3, out, 2, NULL, &r) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(r.first == 4 && r.last == 5 && !r.dup);
    cr_assert(nexus_delivery_ack(d[0]) == NEXUS_ESTALE);
    cr_assert(nexus_bus_commit(p->bus, d, 3, out, 2, NULL, &r) == NEXUS_ESTALE, "they are settled");
    for (int i = 0; i < 3; i++)
        nexus_delivery_free(d[i]);
    nexus_group_close(g);
    nexus_group_close(other);
    place_reopen(p); /* durable: nothing comes again */
    g = join(p->bus, "g", &in);
    other = join(p->bus, "other", &in);
    nexus_delivery *last = take(g, 1000);
    cr_assert(last && data_is(last, "3"));
    nexus_publish_opts o = NEXUS_PUBLISH_OPTS_INIT;
    o.fail_types = "out";
    nexus_event more = event("o3", "out", "c", "z");
    cr_assert(nexus_bus_commit(p->bus, &last, 1, &more, 1, &o, &r) == NEXUS_ECONFLICT, "all or nothing");
    cr_assert(nexus_delivery_extend(last, 0) == NEXUS_OK, "it is still leased");
    cr_assert(nexus_bus_commit(p->bus, &last, 1, NULL, 0, NULL, &r) == NEXUS_OK, "acks alone: %s", nexus_error_message());
    nexus_delivery_free(last);
    cr_assert(take(g, 0) == NULL && head(p->bus) == 5);
    ack_data(other, "2");
    ack_data(other, "3");
    nexus_reader *reader;
    const nexus_event *seen;
    nexus_reader_opts ro = NEXUS_READER_OPTS_INIT;
    ro.types = "out";
    cr_assert(nexus_reader_open(&reader, p->bus, &ro) == NEXUS_OK);
    cr_assert(nexus_reader_next(reader, &seen, 1000) == NEXUS_OK);
    cr_assert(seen->causationid.n == 7 && memcmp(seen->causationid.p, "cause-1", 7) == 0, "of the first delivery");
    nexus_reader_close(reader);
    nexus_group_close(g);
    nexus_group_close(other);
}
BOTH(publish, and_ack_are_one_commit, commits)

static void commits_late(place *p)
{
    nexus_group_opts in = NEXUS_GROUP_OPTS_INIT;
    in.ack_wait_ms = 20;
    in.backoff_base_ms = 1;
    in.types = "in";
    put(p->bus, "in", "a", "1");
    nexus_group *g = join(p->bus, "g", &in);
    nexus_delivery *late = take(g, 1000), *again = take(g, 5000);
    cr_assert(late && again && nexus_delivery_attempt(again) == 2);
    nexus_event out = event("o1", "out", "a", "x");
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    cr_assert(nexus_bus_commit(p->bus, &late, 1, &out, 1, NULL, &r) == NEXUS_ESTALE);
    cr_assert(head(p->bus) == 1, "nothing was stored");
    nexus_delivery_free(late);
    nexus_status status = nexus_bus_commit(p->bus, &again, 1, &out, 1, NULL, &r);
    while (status == NEXUS_ESTALE) { /* a slow machine: its time ran out as well */
        nexus_delivery_free(again);
        again = take(g, 5000);
        status = nexus_bus_commit(p->bus, &again, 1, &out, 1, NULL, &r);
    }
    cr_assert(status == NEXUS_OK && head(p->bus) == 2);
    nexus_delivery_free(again);
    nexus_group_close(g);
}
BOTH(publish, a_late_commit_stores_nothing, commits_late)

static void commits_letters(place *p)
{
    nexus_group_opts in = NEXUS_GROUP_OPTS_INIT;
    in.max_deliver = 1;
    in.types = "in";
    put(p->bus, "in", "a", "1");
    nexus_group *g = join(p->bus, "g", &in);
    nexus_delivery *d = take(g, 1000);
    cr_assert(nexus_delivery_term(d, "no") == NEXUS_OK);
    nexus_delivery_free(d);
    cr_assert(nexus_group_redrive(g, NULL, NULL, NULL) == NEXUS_OK);
    d = take(g, 1000);
    nexus_event out = event(NULL, "out", "a", "x");
    cr_assert(nexus_bus_commit(p->bus, &d, 1, &out, 1, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
    nexus_delivery_free(d);
    nexus_group_close(g);
    place_reopen(p);
    g = join(p->bus, "g", &in);
    cr_assert(take(g, 0) == NULL && stats_of(g).dead == 0);
    nexus_group_close(g);
}
BOTH(publish, a_letter_that_came_back_can_be_committed, commits_letters)

/* --- asynchronously ----------------------------------------------------------------------------------------------- */

Test(publish, async_is_bounded_by_bytes_and_can_be_polled)
{
    char *dir = scratch_dir(), url[300];
    nexus_bus *owner = bus_open(dir), *bus;
    nexus_bus_opts o = NEXUS_BUS_OPTS_INIT;
    o.inflight_max_bytes = 10;
    snprintf(url, sizeof url, "file:%s/bus", dir);
    cr_assert(nexus_bus_open(&bus, url, &o) == NEXUS_OK);
    nexus_event e = event(NULL, "t", "a", "12345678");
    int tags[2];
    cr_assert(nexus_bus_publish_async(bus, &e, 1, NULL, NULL, &tags[0]) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_bus_publish_async(bus, &e, 1, NULL, NULL, &tags[1]) == NEXUS_EAGAIN, "not fetched: still in flight");
    nexus_completion done[4];
    size_t got;
    cr_assert(nexus_bus_completions(bus, done, 4, 5000, &got) == NEXUS_OK && got == 1);
    cr_assert(done[0].status == NEXUS_OK && done[0].user_data == &tags[0] && done[0].result.first == 1);
    cr_assert(nexus_bus_completions(bus, done, 4, 0, &got) == NEXUS_OK && got == 0);
    cr_assert(nexus_bus_publish_async(bus, &e, 1, NULL, NULL, &tags[1]) == NEXUS_OK);
    cr_assert(nexus_bus_completions(bus, done, 4, 5000, &got) == NEXUS_OK && got == 1 && done[0].result.first == 2);
    e.type = text("");
    cr_assert(nexus_bus_publish_async(bus, &e, 1, NULL, NULL, NULL) == NEXUS_EINVAL);
    e.type = text("t");
    cr_assert(nexus_bus_publish_async(bus, &e, 1, NULL, NULL, NULL) == NEXUS_OK, "a refused one takes no room");
    nexus_bus_close(bus); /* with an outcome that nobody fetched */
    nexus_bus_close(owner);
    scratch_remove(dir);
}

static atomic_int called;

static void count_call(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    (void)result, (void)user_data;
    called += status == NEXUS_OK;
}

Test(publish, async_waits_for_room_as_long_as_told)
{
    nexus_bus_opts o = NEXUS_BUS_OPTS_INIT;
    nexus_bus *bus;
    o.inflight_max = 2;
    cr_assert(nexus_bus_open(&bus, "memory:", &o) == NEXUS_OK);
    nexus_publish_opts wait = NEXUS_PUBLISH_OPTS_INIT;
    wait.wait_ms = 10000;
    for (int i = 0; i < 500; i++) {
        nexus_event e = event(NULL, "t", "a", "x");
        cr_assert(nexus_bus_publish_async(bus, &e, 1, &wait, count_call, NULL) == NEXUS_OK, "%s", nexus_error_message());
    }
    nexus_bus_close(bus);
    cr_assert_eq(called, 500);
}

/* --- dead letters that were edited -------------------------------------------------------------------------------- */

static void edits(place *p)
{
    nexus_group_opts in = NEXUS_GROUP_OPTS_INIT;
    in.types = "in";
    put(p->bus, "in", "a", "{\"n\":1}");
    nexus_group *g = join(p->bus, "g", &in);
    nexus_delivery *d = take(g, 1000);
    cr_assert(nexus_delivery_term(d, "no") == NEXUS_OK);
    nexus_delivery_free(d);
    nexus_redrive_opts o = NEXUS_REDRIVE_OPTS_INIT;
    o.data = text("{\"n\":2}");
    cr_assert(nexus_group_redrive(g, NULL, &o, NULL) == NEXUS_OK, "%s", nexus_error_message());
    ack_data(g, "{\"n\":2}");
    nexus_reader *reader;
    nexus_reader_opts ro = NEXUS_READER_OPTS_INIT;
    const char *json;
    ro.types = "bus.letter_edited";
    cr_assert(nexus_reader_open(&reader, p->bus, &ro) == NEXUS_OK);
    cr_assert(nexus_reader_next_json(reader, &json, NULL, 1000) == NEXUS_OK);
    cr_assert(strstr(json, "\"group\":\"g\",\"pos\":1,\"reason\":\"no\"") && strstr(json, "\"data\":{\"n\":1}"), "%s", json);
    nexus_reader_close(reader);
    nexus_group_close(g);
}
BOTH(publish, an_edit_of_a_letter_is_an_event, edits)

/* --- spans -------------------------------------------------------------------------------------------------------- */

static char exported[20000];

static nexus_status keep_spans(const char *content_type, nexus_slice message, void *user_data)
{
    (void)content_type, (void)user_data;
    size_t n = strlen(exported);
    snprintf(exported + n, sizeof exported - n, "%.*s\n", (int)message.n, message.p);
    return NEXUS_OK;
}

Test(publish, spans_of_producer_and_consumer_are_linked)
{
    nexus_tracer_opts t = NEXUS_TRACER_OPTS_INIT;
    nexus_tracer *tracer;
    nexus_bus_opts o = NEXUS_BUS_OPTS_INIT;
    nexus_bus *bus;
    nexus_trace mine, seen, handling;
    char parent[56], producer_span[17], handling_id[33];
    t.send = keep_spans;
    cr_assert(nexus_tracer_open(&tracer, &t) == NEXUS_OK);
    o.tracer = tracer;
    cr_assert(nexus_bus_open(&bus, "memory:", &o) == NEXUS_OK);
    nexus_event e[3] = {event("1", "order.paid", "a", "x"), event("2", "order.paid", "b", "x"),
                        event("3", "order.paid", "c", "x")};
    nexus_trace_start(&mine, true);
    nexus_trace_format(&mine, parent);
    e[0].traceparent = text(parent);
    e[1].traceparent = NEXUS_S("00-nonsense");
    cr_assert(nexus_bus_publish(bus, e, 3, NULL, NULL) == NEXUS_OK);
    nexus_group *g = join(bus, "billing", NULL);
    for (int i = 0; i < 3; i++) {
        nexus_delivery *d = take(g, 1000);
        cr_assert(nexus_trace_parse(&seen, nexus_delivery_event(d)->traceparent) == NEXUS_OK);
        cr_assert(memcmp(seen.trace_id, mine.trace_id, 16) == 0 && memcmp(seen.span_id, mine.span_id, 8) != 0);
        nexus_trace_hex(&seen, NULL, producer_span);
        nexus_delivery_trace(d, &handling);
        cr_assert(memcmp(handling.trace_id, mine.trace_id, 16) != 0 && (handling.flags & NEXUS_TRACE_SAMPLED));
        nexus_trace_hex(&handling, handling_id, NULL);
        if (i == 1)
            cr_assert(nexus_delivery_term(d, "no") == NEXUS_OK);
        if (i == 1)
            nexus_delivery_free(d);
        else
            ack(d);
    }
    nexus_group_close(g);
    nexus_bus_close(bus);
    nexus_tracer_close(tracer);
    char want[120];
    cr_assert(strstr(exported, "\"name\":\"publish order.paid\",\"kind\":4"), "%s", exported);
    cr_assert(strstr(exported, "\"name\":\"process order.paid\",\"kind\":5"), "%s", exported);
    snprintf(want, sizeof want, "\"spanId\":\"%s\",\"flags\":1}]", producer_span); /* the link */
    cr_assert(strstr(exported, want), "%s in %s", want, exported);
    snprintf(want, sizeof want, "\"traceId\":\"%s\"", handling_id);
    cr_assert(strstr(exported, want) && strstr(exported, "\"code\":2"), "%s", exported);
}

Test(publish, without_a_tracer_a_traceparent_is_carried_and_a_broken_one_dropped)
{
    nexus_bus *bus = bus_open(NULL);
    nexus_event e[2] = {event("1", "t", NULL, "x"), event("2", "t", NULL, "x")};
    e[0].traceparent = NEXUS_S("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    e[1].traceparent = NEXUS_S("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01");
    e[1].tracestate = NEXUS_S("a=b");
    cr_assert(nexus_bus_publish(bus, e, 2, NULL, NULL) == NEXUS_OK);
    nexus_group *g = join(bus, "g", NULL);
    nexus_delivery *d = take(g, 1000);
    cr_assert(nexus_delivery_event(d)->traceparent.n == 55);
    nexus_trace none;
    nexus_delivery_trace(d, &none);
    cr_assert(none.flags == 0);
    ack(d);
    d = take(g, 1000);
    cr_assert(nexus_delivery_event(d)->traceparent.n == 0 && nexus_delivery_event(d)->tracestate.n == 0);
    ack(d);
    nexus_group_close(g);
    nexus_bus_close(bus);
}

/* --- metrics ------------------------------------------------------------------------------------------------------ */

Test(publish, metrics_tell_of_categories_and_groups)
{
    place p = place_open(true);
    nexus_metrics *metrics, *client;
    char *page;
    size_t n;
    cr_assert(nexus_metrics_open(&metrics, NULL) == NEXUS_OK && nexus_metrics_open(&client, NULL) == NEXUS_OK);
    cr_assert(nexus_bus_metrics(p.owner, metrics) == NEXUS_OK && nexus_bus_metrics(p.bus, client) == NEXUS_OK);
    put(p.bus, "t", "order-1", "12345");
    put(p.bus, "t", "order-2", "12345");
    put(p.bus, "t", "user-1", "1");
    nexus_group *g = join(p.bus, "billing", NULL);
    ack(take(g, 1000));
    for (int round = 0; round < 2; round++) {
        cr_assert(nexus_metrics_render(&page, &n, metrics, NEXUS_METRICS_TEXT) == NEXUS_OK);
        cr_assert(strstr(page, "nexus_bus_events_total{category=\"order\"} 2"), "%s", page);
        cr_assert(strstr(page, "nexus_bus_bytes_total{category=\"order\"} 10"), "%s", page);
        cr_assert(strstr(page, "nexus_bus_group_lag{group=\"billing\"} 2"), "%s", page);
        cr_assert(strstr(page, "nexus_bus_group_acked_total{group=\"billing\"} 1"), "%s", page);
        cr_assert(strstr(page, "nexus_bus_owner{engine=\"file\"} 1"), "%s", page);
        nexus_free(page);
    }
    cr_assert(nexus_metrics_render(&page, &n, client, NEXUS_METRICS_TEXT) == NEXUS_OK);
    cr_assert(strstr(page, "nexus_bus_owner{engine=\"file\"} 0") && !strstr(page, "group_lag{"), "%s", page);
    nexus_free(page);
    for (int i = 0; i < 300; i++) { /* categories are bounded */
        char subject[32];
        snprintf(subject, sizeof subject, "c%d-1", i);
        put(p.owner, "t", subject, "x");
    }
    cr_assert(nexus_metrics_render(&page, &n, metrics, NEXUS_METRICS_TEXT) == NEXUS_OK);
    cr_assert(strstr(page, "nexus_bus_events_total{category=\"__overflow__\"} 47"), "%s", page);
    nexus_free(page);
    nexus_group_close(g);
    nexus_metrics_close(metrics);
    nexus_metrics_close(client);
    place_close(&p);
}
