#include "transfer/dispatch.h"

#include <stdio.h>

#include "base/status.h"

static void deliver(void *user_data)
{
    nexus__transfer *t = user_data;
    if (t->status)
        (void)nexus__fail(t->status, "%s", t->message);
    if (t->mail) {
        t->mail_done(t->status, &t->report, t->user_data);
    } else {
        nexus_reply *reply = t->status ? NULL : t->reply;
        if (reply)
            t->reply = NULL; /* the callee's now */
        t->fetch_done(t->status, reply, t->user_data);
    }
    nexus__transfer_free(t);
}

static void deliver_task(nexus__task *task)
{
    nexus__transfer *t = NEXUS__CONTAINER(task, nexus__transfer, task);
    nexus_client *c = t->client;
    deliver(t);
    pthread_mutex_lock(&c->locked.mutex);
    if (--c->locked.posted == 0)
        pthread_cond_broadcast(&c->locked.idle);
    pthread_mutex_unlock(&c->locked.mutex);
    nexus__client_unref(c);
}

void nexus__client_dispatch(nexus__transfer *t)
{
    if (!t->client->runtime || t->here) {
        deliver(t);
        return;
    }
    curl_easy_cleanup(t->easy); /* on this thread, like all that is libcurl's */
    t->easy = NULL;
    t->task.fn = deliver_task;
    pthread_mutex_lock(&t->client->locked.mutex);
    t->client->locked.posted++;
    pthread_mutex_unlock(&t->client->locked.mutex);
    atomic_fetch_add(&t->client->refs, 1);
    nexus__loop_post_task(nexus_runtime_loop(t->client->runtime, 0), &t->task);
}

nexus_status nexus__client_may_block(const nexus_client *c)
{
    if (pthread_equal(pthread_self(), c->thread) || nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "client: a blocking call on a loop thread; use the async form");
    return NEXUS_OK;
}

/* --- blocking forms: the async ones and a wait ------------------------------------------------------------------ */

typedef struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    nexus_status status;
    nexus_reply *reply;
    nexus_mail_report *report;
    char message[512];
} waiter;

static void wake(waiter *w, nexus_status status)
{
    pthread_mutex_lock(&w->mutex);
    w->status = status;
    snprintf(w->message, sizeof w->message, "%s", status ? nexus_error_message() : "");
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void fetched(nexus_status status, nexus_reply *reply, void *user_data)
{
    waiter *w = user_data;
    w->reply = reply;
    wake(w, status);
}

static void mailed(nexus_status status, const nexus_mail_report *report, void *user_data)
{
    waiter *w = user_data;
    size_t size = w->report->size < sizeof *report ? w->report->size : sizeof *report;
    size_t given = w->report->size;
    memcpy(w->report, report, size);
    w->report->size = given;
    wake(w, status);
}

static nexus_status wait_for(waiter *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    return w->status ? nexus__fail(w->status, "%s", w->message) : NEXUS_OK;
}

nexus_status nexus_client_fetch_async(nexus_client *client, const nexus_fetch *fetch, nexus_fetch_fn *done,
                                      void *user_data)
{
    nexus__transfer *t;
    nexus_status status = nexus__transfer_fetch(&t, client, fetch);
    if (status)
        return status;
    t->fetch_done = done;
    t->user_data = user_data;
    return nexus__client_submit(t);
}

nexus_status nexus_client_mail_async(nexus_client *client, const nexus_mail *mail, nexus_mail_fn *done, void *user_data)
{
    nexus__transfer *t;
    nexus_status status = nexus__transfer_mail(&t, client, mail);
    if (status)
        return status;
    t->mail_done = done;
    t->user_data = user_data;
    return nexus__client_submit(t);
}

nexus_status nexus_client_fetch(nexus_client *client, const nexus_fetch *fetch, nexus_reply **out)
{
    waiter w = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    nexus__transfer *t;
    nexus_status status = nexus__client_may_block(client);
    if (status || (status = nexus__transfer_fetch(&t, client, fetch)))
        return status;
    t->here = true;
    t->fetch_done = fetched;
    t->user_data = &w;
    if ((status = nexus__client_submit(t)) || (status = wait_for(&w)))
        return status;
    *out = w.reply;
    return NEXUS_OK;
}

nexus_status nexus_client_mail(nexus_client *client, const nexus_mail *mail, nexus_mail_report *report)
{
    waiter w = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .report = report};
    nexus__transfer *t;
    size_t size = report->size;
    memset((char *)report + sizeof report->size, 0,
           (size < sizeof *report ? size : sizeof *report) - sizeof report->size);
    nexus_status status = nexus__client_may_block(client);
    if (status || (status = nexus__transfer_mail(&t, client, mail)))
        return status;
    t->here = true;
    t->mail_done = mailed;
    t->user_data = &w;
    status = nexus__client_submit(t);
    return status ? status : wait_for(&w);
}
