/*
 * GET /api/v1/analytics/stream: events as they become visible, by server-sent events.
 *
 * Subscribers stand in a list under a mutex. One pump at a time (a worker's task, asked for by the store's listener, by
 * a peer that has read what was waiting, and by the heartbeat) walks them and sends each what is new to it. Only the pump
 * sends and ends; a peer that goes away is only marked by its callback.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analytics.h"

#define EVENTS_A_TURN 200
#define SUBSCRIBERS_MAX 256
#define HEARTBEAT_MS 15000

typedef struct subscriber {
    struct subscriber *next;
    analytics_live *live;
    nexus_request *request;
    uint64_t seen;
    char event[256];
    size_t event_n;
    _Atomic bool ping; /* a heartbeat is due */
    _Atomic bool gone; /* the peer has left, or the server drains */
} subscriber;

struct analytics_live {
    analytics *a;
    _Atomic bool pump_asked; /* a pump is queued or must run once more */
    _Atomic bool closing;
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t idle;
        subscriber *list;
        uint32_t count;
        bool pumping;
    } locked;
};

static void ask_pump(analytics_live *live);

/* --- sending --------------------------------------------------------------------------------- */

static nexus_status send_one(subscriber *s, nexus_json *doc, uint32_t v)
{
    char id[24];
    int64_t seq = 0;
    nexus_slice raw;
    (void)nexus_json_int(doc, nexus_json_get(doc, v, "seq"), &seq);
    nexus_json_raw(doc, v, &raw);
    snprintf(id, sizeof id, "%lld", (long long)seq);
    nexus_status st = nexus_sse_send(s->request, "sample", id, raw);
    if (st == NEXUS_OK)
        s->seen = (uint64_t)seq;
    return st;
}

static nexus_status send_gap(subscriber *s, nexus_json *doc)
{
    char data[48];
    int64_t missed = 0;
    if (!nexus_json_int(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "missed"), &missed) || missed == 0)
        return NEXUS_OK;
    snprintf(data, sizeof data, "{\"missed\":%lld}", (long long)missed);
    return nexus_sse_send(s->request, "gap", NULL, (nexus_slice){data, strlen(data)});
}

/* Sends what the tail gives; NEXUS_EAGAIN when the peer reads slower than events come: the rest waits in the tail. */
static nexus_status send_tail(subscriber *s, nexus_slice text, uint64_t next)
{
    nexus_json *doc;
    nexus_json_iter it = {0};
    nexus_status st = nexus_json_parse(&doc, text);
    if (st != NEXUS_OK)
        return st;
    st = send_gap(s, doc);
    uint32_t events = nexus_json_get(doc, NEXUS_JSON_ROOT, "events");
    while (st == NEXUS_OK && nexus_json_step(doc, events, &it))
        st = send_one(s, doc, it.value);
    if (st == NEXUS_OK)
        s->seen = next;
    nexus_json_free(doc);
    return st;
}

/* False when the subscriber is to be ended. */
static bool serve(subscriber *s)
{
    nexus_analytics *store = s->live->a->store;
    nexus_status st = NEXUS_OK;
    while (st == NEXUS_OK && !atomic_load(&s->gone) && s->seen < nexus_analytics_seq(store)) {
        char *text;
        size_t n;
        uint64_t next;
        st = nexus_analytics_tail(store, s->seen, EVENTS_A_TURN, (nexus_slice){s->event, s->event_n}, &text, &n, &next);
        if (st != NEXUS_OK)
            break;
        st = send_tail(s, (nexus_slice){text, n}, next);
        nexus_free(text);
    }
    if (st == NEXUS_OK && s->ping)
        st = nexus_sse_ping(s->request);
    s->ping = false;
    return !atomic_load(&s->gone) && (st == NEXUS_OK || st == NEXUS_EAGAIN || st == NEXUS_ENOMEM);
}

/* --- the pump -------------------------------------------------------------------------------- */

static void walk(analytics_live *live)
{
    pthread_mutex_lock(&live->locked.mutex);
    subscriber **at = &live->locked.list;
    while (*at) {
        subscriber *s = *at;
        pthread_mutex_unlock(&live->locked.mutex); /* only the pump takes out; others put in at the head */
        bool keep = !atomic_load(&live->closing) && serve(s);
        pthread_mutex_lock(&live->locked.mutex);
        if (keep) {
            at = &s->next;
            continue;
        }
        while (*at != s) /* the head may have moved meanwhile */
            at = &(*at)->next;
        *at = s->next;
        live->locked.count--;
        pthread_mutex_unlock(&live->locked.mutex);
        nexus_request_stream_end(s->request);
        free(s);
        pthread_mutex_lock(&live->locked.mutex);
    }
    pthread_mutex_unlock(&live->locked.mutex);
}

static void pump(void *user_data)
{
    analytics_live *live = user_data;
    while (atomic_exchange(&live->pump_asked, false))
        walk(live);
    pthread_mutex_lock(&live->locked.mutex);
    live->locked.pumping = false;
    pthread_cond_broadcast(&live->locked.idle);
    pthread_mutex_unlock(&live->locked.mutex);
    if (atomic_load(&live->pump_asked)) /* asked between the last look and the flag */
        ask_pump(live);
}

static void ask_pump(analytics_live *live)
{
    atomic_store(&live->pump_asked, true);
    pthread_mutex_lock(&live->locked.mutex);
    bool start = !live->locked.pumping && live->locked.list;
    if (start)
        live->locked.pumping = true;
    pthread_mutex_unlock(&live->locked.mutex);
    if (!start || nexus_runtime_submit(nexus_service_runtime(live->a->service), pump, live) == NEXUS_OK)
        return;
    pthread_mutex_lock(&live->locked.mutex); /* the workers' queue is full: the heartbeat asks again */
    live->locked.pumping = false;
    pthread_cond_broadcast(&live->locked.idle);
    pthread_mutex_unlock(&live->locked.mutex);
}

static void on_visible(uint64_t seq, void *user_data)
{
    (void)seq;
    ask_pump(user_data);
}

static void heartbeat(void *user_data)
{
    analytics_live *live = user_data;
    pthread_mutex_lock(&live->locked.mutex);
    for (subscriber *s = live->locked.list; s; s = s->next)
        s->ping = true;
    pthread_mutex_unlock(&live->locked.mutex);
    ask_pump(live);
}

/* --- subscribing ----------------------------------------------------------------------------- */

/* Callbacks of a request may still run while the pump ends it: they find the subscriber by the list, or not at all. */
static void on_gone(nexus_request *request, void *user_data)
{
    analytics_live *live = user_data;
    pthread_mutex_lock(&live->locked.mutex);
    for (subscriber *s = live->locked.list; s; s = s->next)
        if (s->request == request)
            atomic_store(&s->gone, true);
    pthread_mutex_unlock(&live->locked.mutex);
    ask_pump(live);
}

static void on_drained(nexus_request *request, void *user_data)
{
    (void)request;
    ask_pump(user_data);
}

static uint64_t resume_point(nexus_request *request, uint64_t now)
{
    nexus_slice v;
    char number[24];
    if (!nexus_request_header(request, "last-event-id", &v) && !nexus_request_query_param(request, "after", &v))
        return now;
    snprintf(number, sizeof number, "%.*s", (int)(v.n < 20 ? v.n : 20), v.p);
    unsigned long long seen = strtoull(number, NULL, 10);
    return seen < now ? seen : now;
}

static void subscribe(nexus_request *request, void *user_data)
{
    analytics_live *live = user_data;
    nexus_slice event = {"", 0};
    subscriber *s = calloc(1, sizeof *s);
    if (!s) {
        nexus_request_problem_text(request, 503, "out-of-memory", "Try again.");
        return;
    }
    (void)nexus_request_query_param(request, "event", &event);
    s->live = live;
    s->request = request;
    s->seen = resume_point(request, nexus_analytics_seq(live->a->store));
    s->event_n = event.n < sizeof s->event ? event.n : sizeof s->event;
    memcpy(s->event, event.p, s->event_n);
    pthread_mutex_lock(&live->locked.mutex);
    bool full = live->locked.count >= SUBSCRIBERS_MAX;
    live->locked.count += !full;
    pthread_mutex_unlock(&live->locked.mutex);
    if (full) {
        free(s);
        nexus_request_set_header(request, "Retry-After", NEXUS_S("10"));
        nexus_request_problem_text(request, 503, "subscribers-full", "Too many live streams are open; try again later.");
        return;
    }
    nexus_request_on_close(request, on_gone, live);
    nexus_request_on_drain(request, on_drained, live);
    if (nexus_sse_start(request) != NEXUS_OK) {
        pthread_mutex_lock(&live->locked.mutex);
        live->locked.count--;
        pthread_mutex_unlock(&live->locked.mutex);
        free(s);
        return;
    }
    pthread_mutex_lock(&live->locked.mutex);
    s->next = live->locked.list;
    live->locked.list = s;
    pthread_mutex_unlock(&live->locked.mutex);
    ask_pump(live);
}

/* --- life ------------------------------------------------------------------------------------ */

static const nexus_param params[] = {{"event", "query", NULL, "Only events of this name.", false},
                                     {"after", "query", "{\"type\":\"integer\",\"minimum\":0}",
                                      "Resume behind this seq, as Last-Event-ID does.", false}};
static const nexus_reply_doc replies[] = {{200, "text/event-stream: sample (id = seq) and gap {missed}.", NULL}};

nexus_status analytics_live_open(analytics_live **out, analytics *a)
{
    analytics_live *live = calloc(1, sizeof *live);
    if (!live)
        return NEXUS_ENOMEM;
    live->a = a;
    pthread_mutex_init(&live->locked.mutex, NULL);
    pthread_cond_init(&live->locked.idle, NULL);
    const nexus_route route = {.size = sizeof route,
                               .method = "GET",
                               .path = "/api/v1/analytics/stream",
                               .handler = subscribe,
                               .user_data = live,
                               .operation_id = "analyticsStream",
                               .summary = "Live events by server-sent events",
                               .tag = "analytics",
                               .permission = "analytics:read",
                               .params = params,
                               .param_count = 2,
                               .replies = replies,
                               .reply_count = 1};
    nexus_status st = nexus_service_route(a->service, &route, 1);
    if (st == NEXUS_OK)
        st = nexus_service_every(a->service, "live-heartbeat", HEARTBEAT_MS, heartbeat, live);
    nexus_analytics_listen(a->store, on_visible, live);
    *out = live;
    return st;
}

/* The server has drained: every peer was told to go, so one last pump ends what is left. */
void analytics_live_close(analytics_live *live)
{
    if (!live)
        return;
    atomic_store(&live->closing, true);
    pthread_mutex_lock(&live->locked.mutex);
    while (live->locked.pumping)
        pthread_cond_wait(&live->locked.idle, &live->locked.mutex);
    pthread_mutex_unlock(&live->locked.mutex);
    walk(live);
    pthread_mutex_destroy(&live->locked.mutex);
    pthread_cond_destroy(&live->locked.idle);
    free(live);
}
