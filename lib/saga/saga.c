/*
 * A running saga type. Vocabulary: an instance is one process, told by its id; a transition is one stored event
 * "saga.transition" in the stream "saga-NAME-ID", which holds the whole instance, so that the last one is all that has to be
 * read. A transition and the events it publishes are one append: after a crash either all of it is there or nothing, and
 * then the event or time that led to it comes again.
 *
 * Who may move an instance: the consumer's threads (an event) and the timer thread (a time). `busy` gives it to one at a
 * time; callbacks run without a lock. Should two processes run the same saga, the transitions' ids (NAME/ID/number) make
 * the second one a conflict: it reads the instance again.
 *
 * Instances that wait stand in memory, those that ended are read from their stream when an event asks for them.
 */
#include <inttypes.h>
#include <stdio.h>

#include <nexus/stream.h>

#include "base/map.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/time.h"
#include "saga/instance.h"

#define TRANSITION_TYPE "saga.transition"
#define RETRY_MS 500

struct nexus_saga {
    nexus__saga_type type;
    nexus_bus *bus;
    nexus_group *group;
    nexus_consumer *consumer;
    char category[64];

    pthread_mutex_t lock;
    pthread_cond_t idle, timer;
    /* locked */
    nexus__map instances; /* by id: those that have not ended */
    nexus__list waiting;  /* those with a time, soonest first */
    bool closing;

    pthread_t thread;
    bool started;
};

void nexus_saga_step_init(nexus_saga_step *step)
{
    *step = (nexus_saga_step)NEXUS_SAGA_STEP_INIT;
}

void nexus_saga_opts_init(nexus_saga_opts *opts)
{
    *opts = (nexus_saga_opts)NEXUS_SAGA_OPTS_INIT;
}

static bool ended(const nexus__saga_instance *i)
{
    return i->status != NEXUS__SAGA_RUNNING && i->status != NEXUS__SAGA_COMPENSATING;
}

static const char *step_name(const nexus__saga_type *t, const nexus__saga_instance *i)
{
    if (i->failed_step >= 0 && (size_t)i->failed_step < t->step_count)
        return t->steps[i->failed_step].name;
    return i->step < t->step_count ? t->steps[i->step].name : NULL;
}

/* --- instances in memory --------------------------------------------------------------------------------------- */

/* Locked. Into the ordered list of those that wait; times are mostly later than all others, so from the end. */
static void plan(nexus_saga *s, nexus__saga_instance *i)
{
    nexus__list_remove(&i->node);
    if (!i->due_ns)
        return;
    nexus__list *after = s->waiting.prev;
    while (after != &s->waiting && NEXUS__CONTAINER(after, nexus__saga_instance, node)->due_ns > i->due_ns)
        after = after->prev;
    nexus__list_insert(after->next, &i->node);
    pthread_cond_signal(&s->timer);
}

/* Locked. Puts a newer version of an instance in place of the old one; those that ended leave. */
static nexus_status put(nexus_saga *s, nexus__saga_instance *fresh)
{
    void *old = NULL;
    if (ended(fresh)) {
        old = nexus__map_remove(&s->instances, nexus__slice_c(fresh->id));
    } else {
        nexus_status status = nexus__map_put(&s->instances, nexus__slice_c(fresh->id), fresh, &old);
        if (status != NEXUS_OK)
            return status;
        plan(s, fresh);
    }
    if (old) {
        nexus__list_remove(&((nexus__saga_instance *)old)->node);
        nexus__saga_instance_free(old);
    }
    return NEXUS_OK;
}

/* Locked; waits until nobody is at the instance. NULL: none in memory. */
static nexus__saga_instance *take(nexus_saga *s, nexus_slice id)
{
    for (;;) {
        nexus__saga_instance *i = nexus__map_get(&s->instances, id);
        if (!i || !i->busy)
            return i;
        pthread_cond_wait(&s->idle, &s->lock);
    }
}

/* --- instances in their stream --------------------------------------------------------------------------------- */

static nexus_status load_last(nexus_bus *bus, const nexus_alloc *alloc, const char *saga, nexus_slice id,
                              nexus__saga_instance **out)
{
    char stream[400];
    int64_t version;
    nexus_reader *reader;
    const nexus_event *event;
    snprintf(stream, sizeof stream, "saga-%s-%.*s", saga, (int)id.n, id.p);
    nexus_status status = nexus_stream_version(bus, stream, &version);
    if (status != NEXUS_OK)
        return status;
    if (version < 0)
        return nexus__fail(NEXUS_ENOTFOUND, "saga %s has no instance %.*s", saga, (int)id.n, id.p);
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    opts.stream = stream;
    opts.from_version = version;
    status = nexus_reader_open(&reader, bus, &opts);
    if (status != NEXUS_OK)
        return status;
    status = nexus_reader_next(reader, &event, 0);
    if (status == NEXUS_OK)
        status = nexus__saga_instance_read(out, alloc, event->data);
    nexus_reader_close(reader);
    return status == NEXUS_EDONE ? nexus__fail(NEXUS_EMISSING, "the last transition of saga %s is gone", stream)
                                 : status;
}

/* Every instance that has not ended, from the transitions of the whole category. */
static nexus_status load_running(nexus_saga *s)
{
    nexus_reader *reader;
    const nexus_event *event;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    opts.category = s->category;
    opts.types = TRANSITION_TYPE;
    nexus_status status = nexus_reader_open(&reader, s->bus, &opts);
    if (status != NEXUS_OK)
        return status;
    while (status == NEXUS_OK && (status = nexus_reader_next(reader, &event, 0)) == NEXUS_OK) {
        nexus__saga_instance *i;
        status = nexus__saga_instance_read(&i, s->type.alloc, event->data);
        if (status != NEXUS_OK)
            break;
        bool over = ended(i);
        status = put(s, i);
        if (over || status != NEXUS_OK)
            nexus__saga_instance_free(i);
    }
    nexus_reader_close(reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

static nexus_status check_versions(nexus_saga *s)
{
    char list[300] = "";
    size_t at = 0, cursor = 0, wrong = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&s->instances, &cursor));) {
        const nexus__saga_instance *i = e->value;
        if (i->version == s->type.version)
            continue;
        if (wrong++ < 5 && at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, " %.40s (version %" PRIu32 ")", i->id, i->version);
    }
    return wrong ? nexus__fail(NEXUS_EREV, "saga %s: %zu instances of other versions than %" PRIu32 " are running:%s",
                               s->type.name, wrong, s->type.version, list)
                 : NEXUS_OK;
}

/* --- a transition ---------------------------------------------------------------------------------------------- */

/* Stores what ctx has made of the instance, with what it publishes. */
static nexus_status store(nexus_saga *s, nexus_saga_ctx *ctx)
{
    nexus__saga_instance *i = ctx->instance;
    char id[400], stream[400];
    size_t n = 1, k = 1;
    for (nexus__list *l = ctx->out.next; l != &ctx->out; l = l->next)
        n++;
    nexus_event *events = nexus__calloc(s->type.alloc, n, sizeof *events);
    nexus__buf data;
    nexus__buf_init(&data, s->type.alloc, 0);
    nexus__saga_instance_write(&data, i, s->type.name, step_name(&s->type, i));
    nexus_status status = events && data.status == NEXUS_OK ? NEXUS_OK : nexus__nomem();
    if (status == NEXUS_OK) {
        snprintf(id, sizeof id, "%s/%s/%" PRIu64, s->type.name, i->id, i->seq);
        snprintf(stream, sizeof stream, "saga-%s-%s", s->type.name, i->id);
        events[0] = (nexus_event)NEXUS_EVENT_INIT;
        events[0].id = nexus__slice_c(id);
        events[0].source = NEXUS_S("/saga");
        events[0].type = NEXUS_S(TRANSITION_TYPE);
        events[0].subject = nexus__slice_c(stream);
        events[0].traceparent = nexus__slice_c(i->traceparent);
        events[0].correlationid = nexus__slice_c(i->correlation);
        if (ctx->event)
            events[0].causationid = ctx->event->id;
        events[0].data = nexus__buf_slice(&data);
        for (nexus__list *l = ctx->out.next; l != &ctx->out; l = l->next)
            events[k++] = NEXUS__CONTAINER(l, nexus__saga_out, node)->event;
        status = nexus_bus_publish(s->bus, events, n, NULL, NULL);
    }
    if (status == NEXUS_OK)
        i->seq++;
    nexus__buf_free(&data);
    nexus__free(s->type.alloc, events);
    return status;
}

typedef nexus_status step_fn(nexus_saga_ctx *ctx, int64_t now_ns, bool *moved);

/* Runs one transition on a copy of the instance and puts the result in its place. Called and returns without the lock;
 * the instance is busy meanwhile when it stands in memory. `from` is freed when it does not. */
static nexus_status transit(nexus_saga *s, nexus__saga_instance *from, bool in_memory, const nexus_event *event,
                            step_fn *step)
{
    nexus_saga_ctx ctx;
    nexus__saga_instance *next = NULL;
    bool moved = false;
    nexus_status status = nexus__saga_instance_copy(&next, from);
    if (status == NEXUS_OK) {
        nexus__saga_ctx_open(&ctx, &s->type, next, event);
        status = step(&ctx, nexus__real_ns(), &moved);
        if (status == NEXUS_OK && moved)
            status = store(s, &ctx);
        nexus__saga_ctx_close(&ctx);
    }
    if (status == NEXUS_ECONFLICT) { /* another process was faster: what it stored is the truth */
        nexus__saga_instance_free(next);
        next = NULL;
        if (load_last(s->bus, s->type.alloc, s->type.name, nexus__slice_c(from->id), &next) == NEXUS_OK)
            moved = true;
    }
    bool failed = status != NEXUS_OK && status != NEXUS_ECONFLICT;
    pthread_mutex_lock(&s->lock);
    if (in_memory) {
        from->busy = false;
        if (failed && from->due_ns) { /* not at once again */
            from->due_ns = nexus__real_ns() + RETRY_MS * NEXUS__NS_PER_MS;
            plan(s, from);
        }
    }
    bool over = next && ended(next), kept = false;
    if (next && moved && !failed) {
        kept = put(s, next) == NEXUS_OK && !over;
        if (!over && !kept)
            status = NEXUS_ENOMEM;
    }
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    if (!kept)
        nexus__saga_instance_free(next);
    if (!in_memory)
        nexus__saga_instance_free(from);
    return status;
}

static nexus_status begin_step(nexus_saga_ctx *ctx, int64_t now_ns, bool *moved)
{
    *moved = true;
    nexus_status status = nexus__saga_begin(ctx, now_ns);
    return status == NEXUS_OK && ctx->event ? nexus__saga_see(ctx->instance, ctx->event->id) : status;
}

/* A fresh instance, unless there was ever one of that id. */
static nexus_status start(nexus_saga *s, nexus_slice id, nexus_slice state, const nexus_event *event)
{
    nexus__saga_instance *i;
    nexus_status status = load_last(s->bus, s->type.alloc, s->type.name, id, &i);
    if (status == NEXUS_OK) {
        nexus__saga_instance_free(i);
        return NEXUS_OK;
    }
    if (status != NEXUS_ENOTFOUND)
        return status;
    status = nexus__saga_instance_new(&i, s->type.alloc, id);
    if (status != NEXUS_OK)
        return status;
    i->version = s->type.version;
    if (event) {
        const struct {
            char **slot;
            nexus_slice text;
        } rows[] = {{&i->subject, event->subject},
                    {&i->traceparent, event->traceparent},
                    {&i->tracestate, event->tracestate},
                    {&i->correlation, event->correlationid.n ? event->correlationid : event->id}};
        for (size_t k = 0; status == NEXUS_OK && k < sizeof rows / sizeof rows[0]; k++)
            status = nexus__saga_set(i->alloc, rows[k].slot, rows[k].text);
    }
    nexus_saga_ctx ctx;
    nexus__saga_ctx_open(&ctx, &s->type, i, event);
    if (status == NEXUS_OK && state.n)
        status = nexus_saga_set_state(&ctx, state);
    nexus__saga_ctx_close(&ctx);
    if (status != NEXUS_OK) {
        nexus__saga_instance_free(i);
        return status;
    }
    return transit(s, i, false, event, begin_step);
}

/* --- events ---------------------------------------------------------------------------------------------------- */

/* The instance's id by one place of `key`; appended to out. */
static bool key_at(nexus_slice place, const nexus_event *event, nexus__json *data, nexus__buf *out)
{
    nexus_slice prefix = NEXUS_S("data."), text = {NULL, 0};
    if (nexus__slice_starts(place, prefix))
        (void)!nexus__json_text(data, nexus__json_member(data, 0, nexus__slice_from(place, prefix.n)), &text);
    else if (nexus__slice_eq_c(place, "subject"))
        text = event->subject;
    else if (nexus__slice_eq_c(place, "correlationid"))
        text = event->correlationid;
    nexus__buf_slice_append(out, text);
    return text.n > 0;
}

static bool find_key(nexus_saga *s, const nexus_event *event, nexus__buf *out)
{
    nexus__json data;
    nexus_slice rest = nexus__slice_c(s->type.key ? s->type.key : "subject");
    bool found = false;
    nexus__json_init(&data, s->type.alloc);
    (void)!nexus__json_scan(&data, event->data, NULL);
    while (!found && rest.n)
        found = key_at(nexus__slice_trim(nexus__slice_cut(&rest, ',')), event, &data, out);
    nexus__json_free(&data);
    return found && out->status == NEXUS_OK && out->len <= 255;
}

static nexus_status on_instance_event(nexus_saga *s, nexus_slice id, const nexus_event *event)
{
    pthread_mutex_lock(&s->lock);
    nexus__saga_instance *i = take(s, id);
    bool in_memory = i != NULL;
    if (i)
        i->busy = true;
    pthread_mutex_unlock(&s->lock);
    if (!i) {
        nexus_status status = load_last(s->bus, s->type.alloc, s->type.name, id, &i);
        if (status != NEXUS_OK)
            return status;
    }
    return transit(s, i, in_memory, event, nexus__saga_on_event);
}

static int32_t on_event(nexus_delivery *delivery, void *user_data)
{
    nexus_saga *s = user_data;
    const nexus_event *event = nexus_delivery_event(delivery);
    nexus__buf id;
    nexus__buf_init(&id, s->type.alloc, 0);
    nexus_status status = NEXUS_OK;
    if (!find_key(s, event, &id))
        nexus_delivery_reason(delivery, "the event has no text where the saga's key says"), status = NEXUS_EINVAL;
    else if (s->type.start_types && nexus__saga_listed(s->type.start_types, event->type))
        status = start(s, nexus__buf_slice(&id), event->data, event);
    else
        status = on_instance_event(s, nexus__buf_slice(&id), event);
    nexus__buf_free(&id);
    if (status == NEXUS_OK)
        return NEXUS_ACK;
    if (status == NEXUS_EINVAL)
        return NEXUS_REJECT;
    nexus_delivery_reason(delivery, nexus_error_message());
    return NEXUS_RETRY;
}

/* --- times ----------------------------------------------------------------------------------------------------- */

/* Locked. The first instance whose time has come and that nobody is at; *next_ns = when to look again. */
static nexus__saga_instance *due(nexus_saga *s, int64_t now_ns, int64_t *next_ns)
{
    *next_ns = INT64_MAX;
    for (nexus__list *l = s->waiting.next; l != &s->waiting; l = l->next) {
        nexus__saga_instance *i = NEXUS__CONTAINER(l, nexus__saga_instance, node);
        if (i->busy)
            continue;
        if (i->due_ns <= now_ns)
            return i;
        *next_ns = i->due_ns;
        return NULL;
    }
    return NULL;
}

static void *timer_main(void *arg)
{
    nexus_saga *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        int64_t now = nexus__real_ns(), next;
        nexus__saga_instance *i = due(s, now, &next);
        if (!i) {
            /* stored times are of the real clock: look again each second, should it be set */
            int64_t wait = next == INT64_MAX || next - now > NEXUS__NS_PER_S ? NEXUS__NS_PER_S : next - now;
            nexus__cond_wait_until(&s->timer, &s->lock, nexus__mono_ns() + wait);
            continue;
        }
        i->busy = true;
        pthread_mutex_unlock(&s->lock);
        (void)!transit(s, i, true, NULL, nexus__saga_on_time);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- the handle ------------------------------------------------------------------------------------------------ */

static const size_t step_texts[] = {
    offsetof(nexus_saga_step, name),         offsetof(nexus_saga_step, command),
    offsetof(nexus_saga_step, on_types),     offsetof(nexus_saga_step, fail_when),
    offsetof(nexus_saga_step, undo_command), offsetof(nexus_saga_step, late_command),
};

static const char **text_of(nexus_saga_step *step, size_t k)
{
    return (const char **)(void *)((char *)step + step_texts[k]);
}

static nexus_status copy_text(const nexus_alloc *alloc, const char **slot)
{
    if (!*slot)
        return NEXUS_OK;
    char *copy = nexus__strndup(alloc, nexus__slice_c(*slot));
    *slot = copy;
    return copy ? NEXUS_OK : nexus__nomem();
}

static nexus_status copy_steps(nexus__saga_type *t, const nexus_saga_step *steps, size_t n)
{
    if (n == 0 || n > NEXUS__SAGA_STEPS_MAX)
        return nexus__fail(NEXUS_EINVAL, "saga %s has %zu steps; 1 to %d are possible", t->name, n,
                           NEXUS__SAGA_STEPS_MAX);
    t->steps = nexus__calloc(t->alloc, n, sizeof *t->steps);
    if (!t->steps)
        return nexus__nomem();
    for (; t->step_count < n; t->step_count++) {
        const nexus_saga_step *from = (const void *)((const char *)steps + t->step_count * steps->size);
        nexus_saga_step *to = &t->steps[t->step_count];
        nexus_saga_step given = NEXUS_SAGA_STEP_INIT;
        memcpy(&given, from, steps->size < sizeof given ? steps->size : sizeof given);
        if (!given.name)
            return nexus__fail(NEXUS_EINVAL, "step %zu of saga %s has no name", t->step_count, t->name);
        *to = given;
        for (size_t k = 0; k < sizeof step_texts / sizeof step_texts[0]; k++)
            *text_of(to, k) = NULL;
        for (size_t k = 0; k < sizeof step_texts / sizeof step_texts[0]; k++) {
            const char *text = *text_of(&given, k);
            nexus_status status = copy_text(t->alloc, &text);
            *text_of(to, k) = text;
            if (status != NEXUS_OK) {
                t->step_count++;
                return status;
            }
        }
    }
    return NEXUS_OK;
}

static void type_free(nexus__saga_type *t)
{
    for (size_t i = 0; i < t->step_count; i++)
        for (size_t k = 0; k < sizeof step_texts / sizeof step_texts[0]; k++)
            nexus__free(t->alloc, (char *)(uintptr_t)*text_of(&t->steps[i], k));
    char *texts[] = {t->name, t->start_types, t->key, t->done_type, t->failed_type};
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
        nexus__free(t->alloc, texts[k]);
    nexus__free(t->alloc, t->steps);
}

static nexus_status type_init(nexus__saga_type *t, const char *name, const nexus_saga_opts *o)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (n == 0 || n > 40 || name[n])
        return nexus__fail(NEXUS_EINVAL, "a saga's name is 1 to 40 of a-z, 0-9 and _, not \"%.60s\"", name);
    t->alloc = o->alloc;
    t->version = o->version ? o->version : 1;
    t->user_data = o->user_data;
    const char *const from[] = {name, o->start_types, o->key, o->done_type, o->failed_type};
    char **to[] = {&t->name, &t->start_types, &t->key, &t->done_type, &t->failed_type};
    nexus_status status = NEXUS_OK;
    for (size_t k = 0; status == NEXUS_OK && k < sizeof from / sizeof from[0]; k++)
        status = nexus__saga_set(t->alloc, to[k], nexus__slice_c(from[k]));
    return status;
}

/* The group hears what starts and what moves instances. */
static nexus_status open_group(nexus_saga *s, uint32_t threads)
{
    char name[64];
    nexus__buf types;
    nexus__buf_init(&types, s->type.alloc, 0);
    if (s->type.start_types)
        nexus__buf_text(&types, s->type.start_types);
    for (size_t i = 0; i < s->type.step_count; i++) {
        if (!s->type.steps[i].on_types)
            continue;
        if (types.len)
            nexus__buf_char(&types, ',');
        nexus__buf_text(&types, s->type.steps[i].on_types);
    }
    nexus__buf_char(&types, '\0');
    nexus_group_opts opts = NEXUS_GROUP_OPTS_INIT;
    opts.types = types.p;
    opts.update = true;      /* a new table may listen to other types */
    opts.ack_wait_ms = 1000; /* transitions are short, and time-outs of steps run on: a crash must not cost more */
    snprintf(name, sizeof name, "saga-%s", s->type.name);
    nexus_status status = types.status != NEXUS_OK ? nexus__nomem() : NEXUS_OK;
    if (status == NEXUS_OK && types.len > 1)
        status = nexus_group_open(&s->group, s->bus, name, &opts);
    nexus__buf_free(&types);
    if (status == NEXUS_OK && s->group)
        status = nexus_consumer_open(&s->consumer, s->group, on_event, s, threads ? threads : 1);
    return status;
}

nexus_status nexus_saga_open(nexus_saga **out, nexus_bus *bus, const char *name, const nexus_saga_step *steps,
                             size_t step_count, const nexus_saga_opts *opts)
{
    nexus_saga_opts o = NEXUS_SAGA_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    nexus_saga *s = nexus__calloc(o.alloc, 1, sizeof *s);
    if (!s)
        return nexus__nomem();
    s->bus = bus;
    s->type.alloc = o.alloc;
    nexus__map_init(&s->instances, o.alloc);
    nexus__list_init(&s->waiting);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    nexus__cond_init(&s->timer);
    nexus_status status = type_init(&s->type, name, &o);
    if (status == NEXUS_OK)
        status = copy_steps(&s->type, steps, step_count);
    if (status == NEXUS_OK) {
        snprintf(s->category, sizeof s->category, "saga-%s", s->type.name);
        status = load_running(s);
    }
    if (status == NEXUS_OK)
        status = check_versions(s);
    if (status == NEXUS_OK)
        status = nexus__thread_start(&s->thread, "nexus-saga", timer_main, s);
    s->started = status == NEXUS_OK;
    if (status == NEXUS_OK)
        status = open_group(s, o.threads);
    if (status != NEXUS_OK) {
        nexus_saga_close(s);
        return status;
    }
    *out = s;
    return NEXUS_OK;
}

void nexus_saga_close(nexus_saga *s)
{
    if (!s)
        return;
    nexus_consumer_close(s->consumer);
    nexus_group_close(s->group);
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->timer);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    size_t cursor = 0;
    for (nexus__map_entry *e; (e = nexus__map_next(&s->instances, &cursor));)
        nexus__saga_instance_free(e->value);
    nexus__map_free(&s->instances);
    type_free(&s->type);
    pthread_cond_destroy(&s->idle);
    pthread_cond_destroy(&s->timer);
    pthread_mutex_destroy(&s->lock);
    nexus__free(s->type.alloc, s);
}

nexus_status nexus_saga_start(nexus_saga *s, nexus_slice id, nexus_slice state)
{
    if (id.n == 0 || id.n > 255)
        return nexus__fail(NEXUS_EINVAL, "the id of a saga instance has 1 to 255 bytes, not %zu", id.n);
    return start(s, id, state, NULL);
}
