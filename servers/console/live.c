/*
 * GET /live: the latest events, live, for the console's own page. A job asks the analytics for what is new, as each
 * watching session's user, and sends it on; nothing is asked while nobody watches.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console.h"

#define EVERY_MS 400
#define PING_TURNS 40 /* 16 s */
#define FIRST_EVENTS 30
#define WATCHERS_MAX 64

typedef struct watcher {
    struct watcher *next;
    nexus_request *request;
    console_session *session;
    int64_t seen; /* -1: nothing yet */
    uint32_t turns;
    bool gone;
} watcher;

struct console_live {
    console *c;
    struct {
        pthread_mutex_t mutex;
        watcher *list;
        uint32_t count;
    } locked;
};

static nexus_status send_events(watcher *w, nexus_json *doc)
{
    nexus_json_iter it = {0};
    nexus_status st = NEXUS_OK;
    int64_t missed = 0;
    uint32_t events = nexus_json_get(doc, NEXUS_JSON_ROOT, "events");
    (void)nexus_json_int(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "missed"), &missed);
    if (missed > 0 && w->seen >= 0) {
        char data[48];
        int n = snprintf(data, sizeof data, "{\"missed\":%lld}", (long long)missed);
        st = nexus_sse_send(w->request, "gap", NULL, (nexus_slice){data, (size_t)n});
    }
    while (st == NEXUS_OK && nexus_json_step(doc, events, &it)) {
        nexus_slice raw;
        int64_t seq = w->seen;
        nexus_json_raw(doc, it.value, &raw);
        (void)nexus_json_int(doc, nexus_json_get(doc, it.value, "seq"), &seq);
        st = nexus_sse_send(w->request, "sample", NULL, raw);
        if (st == NEXUS_OK)
            w->seen = seq;
    }
    if (st == NEXUS_OK)
        (void)nexus_json_int(doc, nexus_json_get(doc, NEXUS_JSON_ROOT, "next"), &w->seen);
    return st;
}

/* False when the watcher is to be ended. A slow reader (NEXUS_EAGAIN) keeps its place. */
static bool serve(console *c, watcher *w)
{
    char path[128];
    nexus_reply *reply = NULL;
    nexus_json *doc = NULL;
    nexus_slice body;
    if (w->seen < 0)
        snprintf(path, sizeof path, "/api/v1/analytics/events?last=%d", FIRST_EVENTS);
    else
        snprintf(path, sizeof path, "/api/v1/analytics/events?limit=200&after=%lld", (long long)w->seen);
    nexus_status st =
        console_session_call(&reply, c, w->session, "GET", (nexus_slice){path, strlen(path)}, NULL, 0, NEXUS_S(""));
    bool keep = true;
    if (st == NEXUS_OK && (nexus_reply_status(reply) == 401 || nexus_reply_status(reply) == 403)) {
        st = nexus_sse_send(w->request, "refused", NULL, NEXUS_S("{}")); /* lost with a peer that is gone */
        keep = false;
    } else if (st == NEXUS_OK && nexus_reply_status(reply) == 200) {
        nexus_reply_body(reply, &body);
        if (nexus_json_parse(&doc, body) == NEXUS_OK)
            st = send_events(w, doc);
        keep = st != NEXUS_ECLOSED;
    }
    if (keep && ++w->turns % PING_TURNS == 0)
        keep = nexus_sse_ping(w->request) != NEXUS_ECLOSED;
    nexus_json_free(doc);
    nexus_reply_free(reply);
    return keep;
}

static void end_watcher(watcher *w)
{
    nexus_request_stream_end(w->request);
    console_session_free(w->session);
    free(w);
}

/* Only this job takes watchers out; others put in at the head and mark as gone. */
static void turn(void *user_data)
{
    console_live *live = user_data;
    pthread_mutex_lock(&live->locked.mutex);
    watcher **at = &live->locked.list;
    while (*at) {
        watcher *w = *at;
        bool gone = w->gone;
        pthread_mutex_unlock(&live->locked.mutex);
        bool keep = !gone && serve(live->c, w);
        pthread_mutex_lock(&live->locked.mutex);
        if (keep) {
            at = &w->next;
            continue;
        }
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
        live->locked.count--;
        pthread_mutex_unlock(&live->locked.mutex);
        end_watcher(w);
        pthread_mutex_lock(&live->locked.mutex);
    }
    pthread_mutex_unlock(&live->locked.mutex);
}

static void on_gone(nexus_request *request, void *user_data)
{
    console_live *live = user_data;
    pthread_mutex_lock(&live->locked.mutex);
    for (watcher *w = live->locked.list; w; w = w->next)
        if (w->request == request)
            w->gone = true;
    pthread_mutex_unlock(&live->locked.mutex);
}

static bool take_place(console_live *live)
{
    pthread_mutex_lock(&live->locked.mutex);
    bool room = live->locked.count < WATCHERS_MAX;
    live->locked.count += room;
    pthread_mutex_unlock(&live->locked.mutex);
    return room;
}

static void watch(nexus_request *request, void *user_data)
{
    console_live *live = user_data;
    console_session *session = console_session_of(live->c, request);
    if (!session) {
        console_refuse_unsigned(request);
        return;
    }
    watcher *w = calloc(1, sizeof *w);
    if (!w || !take_place(live)) {
        free(w);
        console_session_free(session);
        nexus_request_problem_text(request, 503, "watchers-full", "Too many pages watch; close one.");
        return;
    }
    w->request = request;
    w->session = session;
    w->seen = -1;
    nexus_request_on_close(request, on_gone, live);
    nexus_status st = nexus_sse_start(request);
    pthread_mutex_lock(&live->locked.mutex);
    if (st == NEXUS_OK) {
        w->next = live->locked.list;
        live->locked.list = w;
    } else {
        live->locked.count--;
    }
    pthread_mutex_unlock(&live->locked.mutex);
    if (st != NEXUS_OK) {
        console_session_free(session);
        free(w);
    }
}

nexus_status console_live_open(console_live **out, console *c)
{
    console_live *live = calloc(1, sizeof *live);
    if (!live)
        return NEXUS_ENOMEM;
    live->c = c;
    pthread_mutex_init(&live->locked.mutex, NULL);
    *out = live;
    const nexus_route route = {.size = sizeof route,
                               .method = "GET",
                               .path = "/live",
                               .handler = watch,
                               .user_data = live,
                               .operation_id = "consoleLive",
                               .summary = "The latest events, by server-sent events",
                               .tag = "console",
                               .roles = "public"};
    nexus_status st = nexus_service_route(c->service, &route, 1);
    return st == NEXUS_OK ? nexus_service_every(c->service, "live", EVERY_MS, turn, live) : st;
}

void console_live_close(console_live *live)
{
    if (!live)
        return;
    while (live->locked.list) { /* the server has drained and no job runs any more */
        watcher *w = live->locked.list;
        live->locked.list = w->next;
        end_watcher(w);
    }
    pthread_mutex_destroy(&live->locked.mutex);
    free(live);
}
