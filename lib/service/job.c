/*
 * Background jobs. A job waits on a timer of loop 0, is handed to a worker, and when it has ended goes back to loop 0
 * to wait again. Stopping closes the timers on the loop and then waits for those that a worker has.
 */
#include <sched.h>

#include "base/status.h"
#include "service/service.h"

enum { RETRY_MS = 20 };

static void due(void *arg);

static nexus_loop *loop_of(const nexus_service *s)
{
    return nexus_runtime_loop(s->host->runtime, 0);
}

static void wait_again(void *arg) /* on loop 0 */
{
    nexus__job *job = arg;
    nexus_service *s = job->service;
    pthread_mutex_lock(&s->lock);
    job->busy = false;
    bool stopping = s->jobs_stopping;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    if (!stopping && job->timer)
        nexus_timer_start(job->timer, job->interval_ms);
}

static void work(void *arg) /* on a worker */
{
    nexus__job *job = arg;
    nexus_service *s = job->service;
    job->fn(job->user_data);
    while (nexus_loop_post(loop_of(s), wait_again, job) != NEXUS_OK)
        sched_yield(); /* its queue is full: it empties, the loop runs */
}

static void due(void *arg) /* on loop 0 */
{
    nexus__job *job = arg;
    nexus_service *s = job->service;
    pthread_mutex_lock(&s->lock);
    job->busy = !s->jobs_stopping;
    bool go = job->busy;
    pthread_mutex_unlock(&s->lock);
    if (!go || nexus_runtime_submit(s->host->runtime, work, job) == NEXUS_OK)
        return;
    pthread_mutex_lock(&s->lock);
    job->busy = false;
    pthread_mutex_unlock(&s->lock);
    nexus_timer_start(job->timer, RETRY_MS);
}

static void start_timers(void *arg) /* on loop 0 */
{
    nexus_service *s = arg;
    for (nexus__list *n = s->jobs.next; n != &s->jobs; n = n->next) {
        nexus__job *job = NEXUS__CONTAINER(n, nexus__job, node);
        if (nexus_timer_open(&job->timer, loop_of(s), due, job) == NEXUS_OK)
            nexus_timer_start(job->timer, 0);
        else
            nexus_log_printf(s->log, NEXUS_LOG_ERROR, "service", NULL, "job %s cannot run: %s", job->name,
                             nexus_error_message());
    }
}

static void stop_timers(void *arg) /* on loop 0 */
{
    nexus_service *s = arg;
    for (nexus__list *n = s->jobs.next; n != &s->jobs; n = n->next) {
        nexus__job *job = NEXUS__CONTAINER(n, nexus__job, node);
        nexus_timer_close(job->timer);
        job->timer = NULL;
    }
    pthread_mutex_lock(&s->lock);
    s->jobs_stopped = true;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

static bool any_busy(const nexus_service *s)
{
    for (nexus__list *n = s->jobs.next; n != &s->jobs; n = n->next)
        if (NEXUS__CONTAINER(n, nexus__job, node)->busy)
            return true;
    return false;
}

nexus_status nexus__jobs_start(nexus_service *service)
{
    return nexus_loop_post(loop_of(service), start_timers, service);
}

void nexus__jobs_stop(nexus_service *s)
{
    pthread_mutex_lock(&s->lock);
    bool begin = s->started && !s->jobs_stopping;
    s->jobs_stopping = true;
    pthread_mutex_unlock(&s->lock);
    if (!begin)
        return;
    while (nexus_loop_post(loop_of(s), stop_timers, s) != NEXUS_OK)
        sched_yield();
    pthread_mutex_lock(&s->lock);
    while (!s->jobs_stopped || any_busy(s))
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void free_list(nexus_service *s, nexus__list *list, bool jobs)
{
    while (!nexus__list_empty(list)) {
        nexus__list *n = list->next;
        nexus__list_remove(n);
        nexus__free(s->alloc, jobs ? (void *)NEXUS__CONTAINER(n, nexus__job, node)
                                   : (void *)NEXUS__CONTAINER(n, nexus__check, node));
    }
}

void nexus__jobs_free(nexus_service *s)
{
    free_list(s, &s->jobs, true);
    free_list(s, &s->reloads, true);
    free_list(s, &s->checks, false);
}

static nexus_status add(nexus_service *s, nexus__list *list, const nexus__job *row)
{
    if (s->started)
        return nexus__fail(NEXUS_EINVAL, "%s: jobs are added while mounting, before the service starts",
                           s->module->name);
    nexus__job *job = nexus__malloc(s->alloc, sizeof *job);
    if (!job)
        return nexus__nomem();
    *job = *row;
    nexus__list_init(&job->node);
    nexus__list_push(list, &job->node);
    return NEXUS_OK;
}

nexus_status nexus_service_every(nexus_service *service, const char *name, uint32_t interval_ms,
                                 nexus_service_job_fn *fn, void *user_data)
{
    return add(service, &service->jobs,
               &(nexus__job){.service = service,
                             .name = name,
                             .fn = fn,
                             .user_data = user_data,
                             .interval_ms = interval_ms ? interval_ms : 1});
}

nexus_status nexus_service_on_reload(nexus_service *service, nexus_service_job_fn *fn, void *user_data)
{
    return add(service, &service->reloads,
               &(nexus__job){.service = service, .name = "reload", .fn = fn, .user_data = user_data});
}

void nexus__reload(nexus_service *service) /* on a thread that may block */
{
    for (nexus__list *n = service->reloads.next; n != &service->reloads; n = n->next) {
        nexus__job *job = NEXUS__CONTAINER(n, nexus__job, node);
        job->fn(job->user_data);
    }
}

nexus_status nexus_service_check(nexus_service *service, const char *name, nexus_service_check_fn *fn, void *user_data)
{
    nexus__check *check = nexus__malloc(service->alloc, sizeof *check);
    if (!check)
        return nexus__nomem();
    *check = (nexus__check){.name = name, .fn = fn, .user_data = user_data};
    nexus__list_init(&check->node);
    nexus__list_push(&service->checks, &check->node);
    return NEXUS_OK;
}
