/* system.alert, published by the bus about itself: from wherever it is noticed, by the tick thread. */
#include <stdarg.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "bus/internal.h"
#include "json/write.h"

struct nexus__alert {
    struct nexus__alert *next;
    const char *severity;
    char message[400];
};

void nexus__broker_alert(nexus__broker *b, const char *severity, const char *format, ...)
{
    struct nexus__alert *a = nexus__calloc(b->alloc, 1, sizeof *a);
    if (!a)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(a->message, sizeof a->message, format, args);
    va_end(args);
    a->severity = severity;
    pthread_mutex_lock(&b->tick_lock);
    a->next = b->alerts;
    b->alerts = a;
    pthread_mutex_unlock(&b->tick_lock);
    nexus__broker_tick(b, true, nexus__mono_ns());
}

static void done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    (void)status, (void)result, (void)user_data; /* what cannot be stored cannot be told this way either */
}

static void publish(nexus__broker *b, const struct nexus__alert *a)
{
    nexus__buf data;
    char id[NEXUS__UUID_LEN + 1];
    nexus_event e = NEXUS_EVENT_INIT;
    nexus__publish_terms terms = NEXUS__PUBLISH_TERMS;
    nexus_publish_result result;
    nexus__buf_init(&data, b->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "message", a->message);
    nexus__json_put_text_c(&w, "severity", a->severity);
    nexus__json_close(&w, '}');
    nexus__uuid7(id);
    e.id = nexus__slice(id, NEXUS__UUID_LEN);
    e.source = NEXUS_S("/nexus/bus");
    e.type = NEXUS_S("system.alert");
    e.subject = NEXUS_S("bus");
    e.time_ns = nexus__real_ns();
    e.data = nexus__buf_slice(&data);
    if (data.status == NEXUS_OK &&
        nexus__broker_publish(b, &e, 1, &terms, done, NULL, &result) != NEXUS_OK)
        nexus__buf_clear(&data);
    nexus__buf_free(&data);
}

static struct nexus__alert *take(nexus__broker *b)
{
    pthread_mutex_lock(&b->tick_lock);
    struct nexus__alert *list = b->alerts;
    b->alerts = NULL;
    pthread_mutex_unlock(&b->tick_lock);
    return list;
}

void nexus__broker_publish_alerts(nexus__broker *b)
{
    for (struct nexus__alert *a = take(b), *next; a; a = next) {
        next = a->next;
        publish(b, a);
        nexus__free(b->alloc, a);
    }
}

void nexus__broker_drop_alerts(nexus__broker *b)
{
    for (struct nexus__alert *a = take(b), *next; a; a = next) {
        next = a->next;
        nexus__free(b->alloc, a);
    }
}
