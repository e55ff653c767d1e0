/* bus/: how a group hands out: flow control, classes, stickiness, guards, lanes that park, seek, pause. */
#include "place.h"

#include <poll.h>
#include <unistd.h>

static void nak(nexus_delivery *d, const char *reason)
{
    cr_assert(d && nexus_delivery_nak(d, 0, reason) == NEXUS_OK, "%s", nexus_error_message());
    nexus_delivery_free(d);
}

static bool says(nexus_group *g, const char *what)
{
    char *json;
    cr_assert(nexus_group_explain(&json, NULL, g) == NEXUS_OK, "%s", nexus_error_message());
    bool yes = strstr(json, what) != NULL;
    if (!yes)
        fprintf(stderr, "%s\n", json);
    nexus_free(json);
    return yes;
}

static bool noted(nexus_group *g, const char *what)
{
    char *json;
    cr_assert(nexus_group_audit(&json, NULL, g) == NEXUS_OK, "%s", nexus_error_message());
    bool yes = strstr(json, what) != NULL;
    nexus_free(json);
    return yes;
}

/* --- settling ----------------------------------------------------------------------------------------------------- */

static void skips(place *p)
{
    put(p->bus, "t", "a", "1");
    nexus_group *g = join(p->bus, "g", NULL);
    nexus_delivery *d = take(g, 1000);
    cr_assert(d && nexus_delivery_skip(d, "test order") == NEXUS_OK);
    nexus_delivery_free(d);
    cr_assert(stats_of(g).floor == 1 && stats_of(g).dead == 0);
    nexus_group_close(g);
    place_reopen(p);
    g = join(p->bus, "g", NULL);
    cr_assert(take(g, 0) == NULL);
    cr_assert(noted(g, "\"what\":\"skip\",\"pos\":1,\"detail\":\"test order\"}"));
    nexus_group_close(g);
}
BOTH(delivery, a_skipped_event_is_done_and_leaves_a_record, skips)

static void caps_leases(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.ack_wait_ms = 40;
    o.max_lease_ms = 100;
    o.backoff_base_ms = 1;
    put(p->bus, "t", "a", "1");
    nexus_group *g = join(p->bus, "g", &o);
    nexus_delivery *d = take(g, 1000), *again = NULL;
    nexus_status status;
    while ((status = nexus_delivery_extend(d, 60000)) == NEXUS_OK)
        ;
    cr_assert(status == NEXUS_ELIMIT, "%d", status);
    again = take(g, 5000);
    cr_assert(again && nexus_delivery_attempt(again) == 2);
    cr_assert(nexus_delivery_extend(d, 0) == NEXUS_ESTALE);
    nexus_delivery_free(d);
    ack(again);
    nexus_group_close(g);
}
BOTH(delivery, a_lease_is_never_longer_than_max_lease, caps_leases)

static void backs_off_by_class(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.backoff_base_ms = 3600000;
    o.backoff_cap_ms = 3600000;
    o.backoff_classes = "timeout=0/0, throttled=3600000/3600000";
    put(p->bus, "t", "a", "1");
    nexus_group *g = join(p->bus, "g", &o);
    nexus_delivery *d = take(g, 1000);
    cr_assert(nexus_delivery_nak(d, UINT32_MAX, "timeout: no answer from the bank") == NEXUS_OK);
    nexus_delivery_free(d);
    d = take(g, 1000);
    cr_assert(d && nexus_delivery_attempt(d) == 2);
    cr_assert(nexus_delivery_nak(d, UINT32_MAX, "throttled: later") == NEXUS_OK);
    nexus_delivery_free(d);
    cr_assert(take(g, 0) == NULL && stats_of(g).delayed == 1);
    nexus_group_close(g);
    o.backoff_classes = "timeout=5";
    cr_assert(nexus_group_open(&g, p->bus, "h", &o) == NEXUS_EINVAL && strstr(nexus_error_message(), "timeout=5"));
}
BOTH(delivery, the_class_of_an_error_chooses_the_wait, backs_off_by_class)

/* --- flow control ------------------------------------------------------------------------------------------------- */

static size_t fetch_all(nexus_group *g, nexus_delivery **out, size_t max)
{
    size_t n = 0, got;
    do {
        cr_assert(nexus_group_fetch(g, out + n, max - n, 0, &got) == NEXUS_OK);
        n += got;
    } while (got && n < max);
    return n;
}

static void bounds_bytes(place *p)
{
    static char big[1000];
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 10; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        put(p->bus, "t", key, big);
    }
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.max_inflight_bytes = 5000;
    o.member_inflight_bytes = 3000;
    nexus_group *a = join(p->bus, "g", &o), *b = join(p->bus, "g", &o);
    nexus_delivery *all[20];
    size_t first = fetch_all(a, all, 20), second = fetch_all(b, all + first, 20 - first);
    cr_assert(first == 3 && second == 2, "%zu %zu", first, second);
    cr_assert(stats_of(a).inflight_bytes == 5 * 999 && stats_of(a).members == 2);
    ack(all[0]);
    cr_assert(fetch_all(b, all, 1) == 1); /* room again */
    nexus_delivery_free(all[0]);
    for (size_t i = 1; i < first + second; i++)
        nexus_delivery_free(all[i]);
    nexus_group_close(a);
    nexus_group_close(b);
    o = (nexus_group_opts)NEXUS_GROUP_OPTS_INIT;
    o.max_inflight_bytes = 10;
    o.member_inflight = 1;
    a = join(p->bus, "small", &o);
    cr_assert(fetch_all(a, all, 20) == 1); /* one always fits */
    nexus_delivery_free(all[0]);
    nexus_group_close(a);
}
BOTH(delivery, what_is_in_flight_is_bounded_by_bytes_too, bounds_bytes)

static void classes(place *p)
{
    for (int i = 0; i < 40; i++)
        put(p->bus, "bulk.mail", NULL, "low");
    for (int i = 0; i < 40; i++)
        put(p->bus, "order.paid", NULL, "normal");
    for (int i = 0; i < 40; i++)
        put(p->bus, "fraud.found", NULL, "high");
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.high_types = "fraud.*";
    o.low_types = "bulk.>";
    nexus_group *g = join(p->bus, "g", &o);
    int order[120], at[3] = {0}, since_low = 0;
    for (int i = 0; i < 120; i++) {
        nexus_delivery *d = take(g, 1000);
        cr_assert(d);
        order[i] = data_is(d, "high") ? 0 : data_is(d, "normal") ? 1 : 2;
        at[order[i]]++;
        since_low = order[i] == 2 ? 0 : since_low + 1;
        cr_assert(since_low <= 10 || at[2] == 40, "low ones starve at %d", i);
        ack(d);
        if (i == 44)
            cr_assert(at[0] >= 35, "%d high ones of the first 45", at[0]);
    }
    cr_assert(order[0] == 0 && at[0] == 40 && at[1] == 40 && at[2] == 40);
    nexus_group_close(g);
}
BOTH(delivery, high_ones_go_first_and_low_ones_do_not_starve, classes)

static void sticks(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.sticky_ms = 60000;
    nexus_group *members[2] = {join(p->bus, "g", &o), join(p->bus, "g", &o)};
    int owner[16];
    cr_assert(take(members[0], 0) == NULL && take(members[1], 0) == NULL); /* both are known */
    for (int round = 0; round < 3; round++) {
        int seen = 0;
        for (int k = 0; k < 16; k++) {
            char key[8];
            snprintf(key, sizeof key, "key-%d", k);
            put(p->bus, "t", key, key);
        }
        for (int m = 0; m < 2; m++) {
            nexus_delivery *all[16];
            size_t n = fetch_all(members[m], all, 16);
            for (size_t i = 0; i < n; i++, seen++) {
                char digits[4];
                snprintf(digits, sizeof digits, "%.*s", (int)nexus_delivery_event(all[i])->data.n - 4,
                         nexus_delivery_event(all[i])->data.p + 4);
                int k = atoi(digits);
                cr_assert(round == 0 || owner[k] == m, "key %d moved", k);
                owner[k] = m;
                ack(all[i]);
            }
            cr_assert(n > 0 && n < 16);
        }
        cr_assert_eq(seen, 16);
    }
    nexus_group_close(members[1]); /* its keys are the other's from now on */
    for (int k = 0; k < 16; k++) {
        char key[8];
        snprintf(key, sizeof key, "key-%d", k);
        put(p->bus, "t", key, key);
    }
    for (int k = 0; k < 16; k++)
        ack(take(members[0], 8000));
    nexus_group_close(members[0]);
}
BOTH(delivery, a_key_stays_with_its_member, sticks)

static void sticks_softly(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.sticky_ms = 20;
    nexus_group *a = join(p->bus, "g", &o), *idle = join(p->bus, "g", &o);
    cr_assert(take(a, 0) == NULL && take(idle, 0) == NULL);
    for (int k = 0; k < 8; k++) {
        char key[8];
        snprintf(key, sizeof key, "key-%d", k);
        put(p->bus, "t", key, key);
    }
    for (int k = 0; k < 8; k++) /* those of the idle one as well, in the end */
        ack(take(a, 5000));
    nexus_group_close(a);
    nexus_group_close(idle);
}
BOTH(delivery, what_its_member_leaves_lying_is_anybodys, sticks_softly)

/* --- guards ------------------------------------------------------------------------------------------------------- */

static void rations(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.max_deliver = 1000;
    o.redeliver_per_s = 1; /* and 100 at once */
    for (int i = 0; i < 150; i++)
        put(p->bus, "t", NULL, "x");
    o.max_inflight = 50;
    nexus_group *g = join(p->bus, "g", &o);
    int again = 0, first = 0;
    for (nexus_delivery *d; (d = take(g, 0));) {
        if (nexus_delivery_attempt(d) > 1)
            again++;
        else
            first++;
        nak(d, "down");
    }
    cr_assert(first == 150, "first attempts are not held up: %d", first);
    cr_assert(again >= 100 && again <= 100 + 15 + 5, "%d redeliveries", again); /* 10 % of 150, and the clock */
    cr_assert(stats_of(g).lag == 150);
    nexus_group_close(g);
}
BOTH(delivery, a_storm_of_redeliveries_is_rationed, rations)

static uint64_t alerts(nexus_bus *bus, const char *part)
{
    nexus_reader_opts o = NEXUS_READER_OPTS_INIT;
    nexus_reader *r;
    const nexus_event *e;
    uint64_t n = 0;
    o.types = "system.alert";
    cr_assert(nexus_reader_open(&r, bus, &o) == NEXUS_OK);
    while (nexus_reader_next(r, &e, n ? 0 : 2000) == NEXUS_OK) {
        char text_of[512];
        snprintf(text_of, sizeof text_of, "%.*s", (int)e->data.n, e->data.p);
        n += strstr(text_of, part) != NULL;
    }
    nexus_reader_close(r);
    return n;
}

static void breaks(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.types = "t";
    o.breaker_percent = 50;
    o.breaker_samples = 4;
    o.breaker_pause_ms = 300;
    for (int i = 0; i < 20; i++)
        put(p->bus, "t", NULL, "x");
    nexus_group *g = join(p->bus, "g", &o);
    for (int i = 0; i < 4; i++)
        nak(take(g, 1000), "down");
    cr_assert(take(g, 0) == NULL);
    cr_assert(says(g, "\"state\":\"BREAKER_OPEN\"") && stats_of(g).breaker_open);
    cr_assert_eq(alerts(p->bus, "bus group g: 50 % of its attempts failed"), 1);
    nexus_group_close(g);
    place_reopen(p); /* it is still open */
    g = join(p->bus, "g", &o);
    cr_assert(says(g, "BREAKER_OPEN"));
    for (int i = 0; i < 20; i++) /* probes, then all */
        ack(take(g, 5000));
    cr_assert(says(g, "CAUGHT_UP") && !stats_of(g).breaker_open);
    nexus_group_close(g);
}
BOTH(delivery, a_breaker_pauses_a_failing_group_and_says_so, breaks)

static void pauses(place *p)
{
    put(p->bus, "t", "a", "1");
    put(p->bus, "t", "b", "2");
    nexus_group *g = join(p->bus, "g", NULL);
    nexus_delivery *d = take(g, 1000);
    cr_assert(nexus_group_pause(g, true) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(take(g, 0) == NULL && says(g, "\"state\":\"PAUSED\"") && stats_of(g).paused);
    ack(d); /* what is leased may still be settled */
    nexus_group_close(g);
    place_reopen(p);
    g = join(p->bus, "g", NULL);
    cr_assert(take(g, 0) == NULL && says(g, "PAUSED"));
    cr_assert(nexus_group_pause(g, false) == NEXUS_OK);
    ack_data(g, "2");
    cr_assert(noted(g, "\"pause\"") && noted(g, "\"resume\""));
    nexus_group_close(g);
}
BOTH(delivery, a_pause_outlives_the_owner, pauses)

/* --- lanes that park ---------------------------------------------------------------------------------------------- */

static void parks(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.on_exhausted = NEXUS_PARK_LANE;
    o.max_deliver = 1;
    put(p->bus, "t", "a", "a1");
    put(p->bus, "t", "a", "a2");
    put(p->bus, "t", "b", "b1");
    nexus_group *g = join(p->bus, "g", &o);
    nak(take(g, 1000), "no");
    put(p->bus, "t", "a", "a3");
    ack_data(g, "b1");
    cr_assert(take(g, 0) == NULL);
    nexus_group_stats s = stats_of(g);
    cr_assert(s.dead == 3 && s.floor == 4 && s.lag == 0, "%d dead, floor %d", (int)s.dead, (int)s.floor);
    nexus_group_close(g);
    place_reopen(p); /* parked lanes are known again */
    g = join(p->bus, "g", &o);
    put(p->bus, "t", "a", "a4");
    cr_assert(take(g, 0) == NULL && stats_of(g).dead == 4);
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    nexus_redrive_result r = {.size = sizeof r};
    q.pos = 4;
    cr_assert(nexus_group_redrive(g, &q, NULL, &r) == NEXUS_ECONFLICT, "nobody overtakes");
    cr_assert(strstr(nexus_error_message(), "parked behind 1"));
    q = (nexus_dead_query)NEXUS_DEAD_QUERY_INIT;
    q.limit = 2;
    cr_assert(nexus_group_redrive(g, &q, NULL, &r) == NEXUS_OK && r.redriven == 2, "%s", nexus_error_message());
    ack_data(g, "a1");
    put(p->bus, "t", "a", "a5"); /* behind a3, which is still parked */
    ack_data(g, "a2");
    cr_assert(take(g, 0) == NULL && stats_of(g).dead == 3);
    cr_assert(nexus_group_redrive(g, NULL, NULL, &r) == NEXUS_OK && r.redriven == 3);
    nexus_delivery *d = take(g, 1000);
    cr_assert(d && data_is(d, "a3"));
    put(p->bus, "t", "a", "a6");
    nak(d, "again"); /* parks again, and those behind it with it */
    cr_assert(take(g, 0) == NULL && stats_of(g).dead == 4, "%d", (int)stats_of(g).dead);
    cr_assert(nexus_group_redrive(g, NULL, NULL, &r) == NEXUS_OK && r.redriven == 4);
    put(p->bus, "t", "a", "a7");
    ack_data(g, "a3");
    ack_data(g, "a4");
    ack_data(g, "a5");
    ack_data(g, "a6");
    ack_data(g, "a7"); /* the lane is open again */
    cr_assert(stats_of(g).dead == 0 && stats_of(g).floor == 8);
    nexus_group_close(g);
}
BOTH(delivery, a_parked_lane_waits_in_order_and_comes_back_in_order, parks)

/* --- dead letters that are too many or too old -------------------------------------------------------------------- */

static void drops(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.types = "t";
    o.max_deliver = 1;
    o.dead_max = 3;
    o.dead_overflow = NEXUS_DEAD_DROP_OLDEST;
    nexus_group *g = join(p->bus, "g", &o);
    for (int i = 0; i < 5; i++) {
        put(p->bus, "t", NULL, "x");
        nak(take(g, 1000), "no");
    }
    cr_assert_eq(alerts(p->bus, "has 3 dead letters"), 1);
    for (int round = 0; round < 2; round++) {
        char *json;
        cr_assert(nexus_group_dead(&json, NULL, g, NULL) == NEXUS_OK);
        cr_assert(stats_of(g).dead == 3 && !strstr(json, "\"pos\":1,") && !strstr(json, "\"pos\":2,"), "%s", json);
        nexus_free(json);
        nexus_group_close(g);
        if (round == 0)
            place_reopen(p);
        if (round == 0)
            g = join(p->bus, "g", &o);
    }
    o.dead_overflow = NEXUS_DEAD_BLOCK;
    o.dead_max = 1;
    g = join(p->bus, "h", &o);
    nak(take(g, 1000), "no");
    nak(take(g, 1000), "no");
    cr_assert(stats_of(g).dead == 1 && stats_of(g).delayed == 1 && says(g, "DLQ_FULL"));
    nexus_group_close(g);
}
BOTH(delivery, too_many_dead_letters_are_an_alert_and_what_the_group_says, drops)

Test(delivery, dead_letters_expire)
{
    place whole = place_open(false), *p = &whole;
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.max_deliver = 1;
    o.dead_expire_s = 1;
    put(p->bus, "t", NULL, "x");
    nexus_group *g = join(p->bus, "g", &o);
    nak(take(g, 1000), "no");
    cr_assert(stats_of(g).dead == 1);
    while (stats_of(g).dead) {
        struct pollfd none = {.fd = -1};
        poll(&none, 1, 5);
    }
    nexus_group_close(g);
    place_close(p);
}

/* --- seek --------------------------------------------------------------------------------------------------------- */

static void seeks(place *p)
{
    for (int i = 0; i < 6; i++) {
        char data[4];
        snprintf(data, sizeof data, "%d", i + 1);
        put(p->bus, i % 2 ? "odd" : "even", "a", data);
    }
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.types = "even";
    nexus_group *g = join(p->bus, "g", &o);
    ack_data(g, "1");
    ack_data(g, "3");
    nexus_delivery *leased = take(g, 1000);
    nexus_seek_opts s = NEXUS_SEEK_OPTS_INIT;
    nexus_seek_result r = {.size = sizeof r};
    s.dry_run = true;
    cr_assert(nexus_group_seek(g, &s, &r) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(r.floor == 0 && r.again == 2 && r.skipped == 0 && r.inflight == 1, "%d %d", (int)r.again, (int)r.skipped);
    cr_assert(nexus_delivery_extend(leased, 0) == NEXUS_OK, "a dry run does nothing");
    s.dry_run = false;
    cr_assert(nexus_group_seek(g, &s, &r) == NEXUS_OK && r.again == 2);
    cr_assert(nexus_delivery_ack(leased) == NEXUS_ESTALE);
    nexus_delivery_free(leased);
    ack_data(g, "1");
    nexus_group_close(g);
    place_reopen(p);
    g = join(p->bus, "g", &o);
    ack_data(g, "3"); /* and not from the old floor */
    s.start = NEXUS_START_END;
    cr_assert(nexus_group_seek(g, &s, &r) == NEXUS_OK && r.skipped == 1 && r.again == 0 && r.floor == 6);
    cr_assert(take(g, 0) == NULL && stats_of(g).lag == 0 && noted(g, "\"what\":\"seek\",\"pos\":6,"));
    nexus_group_close(g);
    place_reopen(p);
    g = join(p->bus, "g", &o);
    cr_assert(take(g, 0) == NULL);
    s.start = NEXUS_START_POS;
    s.start_pos = 5;
    cr_assert(nexus_group_seek(g, &s, &r) == NEXUS_OK && r.again == 1);
    ack_data(g, "5");
    s.start_pos = 99;
    cr_assert(nexus_group_seek(g, &s, &r) == NEXUS_EINVAL);
    nexus_group_close(g);
}
BOTH(delivery, a_group_can_be_moved, seeks)

/* A letter and, after a seek, the event itself: what is handed out is one of them. */
static void meets_letters(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    nexus_seek_opts first = NEXUS_SEEK_OPTS_INIT;
    nexus_seek_result moved = {.size = sizeof moved};
    o.max_deliver = 1;
    put(p->bus, "t", "a", "1");
    put(p->bus, "t", "a", "2");
    nexus_group *g = join(p->bus, "g", &o);
    nak(take(g, 1000), "no");
    ack_data(g, "2");
    cr_assert(nexus_group_seek(g, &first, &moved) == NEXUS_OK && moved.again == 2);
    nexus_delivery *tried = take(g, 1000);
    cr_assert(nexus_group_redrive(g, NULL, NULL, NULL) == NEXUS_ECONFLICT, "being tried");
    nak(tried, "not again");
    cr_assert(nexus_group_seek(g, &first, &moved) == NEXUS_OK && stats_of(g).lag == 2 && stats_of(g).dead == 1);
    cr_assert(nexus_group_redrive(g, NULL, NULL, NULL) == NEXUS_OK);
    cr_assert(stats_of(g).lag == 2 && stats_of(g).dead == 0);
    nexus_group_close(g);
    place_reopen(p);
    g = join(p->bus, "g", &o);
    ack_data(g, "1");
    nexus_group_close(g);
    place_reopen(p);
    g = join(p->bus, "g", &o);
    ack_data(g, "2");
    cr_assert(take(g, 0) == NULL && stats_of(g).lag == 0 && stats_of(g).floor == 2);
    nexus_group_close(g);
}
BOTH(delivery, a_letter_goes_out_in_the_place_of_its_event, meets_letters)

/* --- why nothing moves -------------------------------------------------------------------------------------------- */

static void lags(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.types = "order.>";
    nexus_group *g = join(p->bus, "g", &o);
    for (int i = 0; i < 10; i++)
        put(p->bus, "user.login", "u", "x");
    cr_assert(stats_of(g).lag == 0 && says(g, "NOTHING_MATCHES"));
    for (int i = 0; i < 5; i++) {
        put(p->bus, "order.paid", "o", "x");
        put(p->bus, "user.login", "u", "x");
    }
    nexus_group_stats s = stats_of(g);
    cr_assert(s.lag == 5 && s.lag_ms >= 0, "%d", (int)s.lag);
    ack(take(g, 1000));
    nexus_delivery *d = take(g, 1000);
    cr_assert(stats_of(g).lag == 3);
    put(p->bus, "order.paid", "o", "x");
    cr_assert(stats_of(g).lag == 4);
    ack(d);
    for (int i = 0; i < 4; i++)
        ack(take(g, 1000));
    cr_assert(stats_of(g).lag == 0 && says(g, "CAUGHT_UP"));
    nexus_group_close(g);
}
BOTH(delivery, lag_is_exact_with_a_filter, lags)

static void put_tagged(nexus_bus *bus, const char *tags, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_pair tag = {NEXUS_S("tags"), text(tags)};
    e.type = NEXUS_S("t");
    e.data = text(data);
    e.ext = &tag;
    e.ext_count = 1;
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, NULL) == NEXUS_OK, "%s", nexus_error_message());
}

static void tagged(place *p)
{
    nexus_group_opts o = NEXUS_GROUP_OPTS_INIT;
    o.tags = "eu, vip";
    put_tagged(p->bus, "eu", "1");
    put_tagged(p->bus, "vip,new,eu", "2");
    put(p->bus, "t", NULL, "3");
    nexus_group *g = join(p->bus, "g", &o);
    ack_data(g, "2");
    cr_assert(take(g, 0) == NULL && stats_of(g).floor == 3);
    nexus_group_close(g);
}
BOTH(delivery, a_group_can_ask_for_tags, tagged)
