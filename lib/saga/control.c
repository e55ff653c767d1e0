/*
 * Manual control. What a person wants is an event "saga.NAME.control" for the process that runs the saga; it says which
 * transition the person had seen, and the next one in the instance's stream is the answer.
 */
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "json/write.h"
#include "saga/running.h"

static nexus_status check(const char *name, nexus_slice id, uint32_t op, const char *why)
{
    nexus_status status = nexus__saga_name_check(name);
    if (status != NEXUS_OK)
        return status;
    if (id.n == 0 || id.n > NEXUS__SAGA_ID_MAX)
        return nexus__fail(NEXUS_EINVAL, "the id of a saga instance has 1 to %d bytes, not %zu", NEXUS__SAGA_ID_MAX, id.n);
    if (!nexus__saga_op_name(op))
        return nexus__fail(NEXUS_EINVAL, "saga: there is no operation %u", op);
    if (!why || !*why || strlen(why) > NEXUS__SAGA_TEXT_MAX)
        return nexus__fail(NEXUS_EINVAL, "saga: say why, in 1 to %d bytes; it is kept in the history", NEXUS__SAGA_TEXT_MAX);
    return NEXUS_OK;
}

static nexus_status ask(nexus_bus *bus, const char *name, nexus_slice id, uint32_t op, const char *why, uint64_t seq,
                        const char *event_id)
{
    char type[64], stream[64], subject[NEXUS__SAGA_STREAM_MAX];
    nexus__buf data;
    nexus__buf_init(&data, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "saga", name);
    nexus__json_put_text(&w, "saga_id", id);
    nexus__json_put_text_c(&w, "op", nexus__saga_op_name(op));
    nexus__json_put_text_c(&w, "why", why);
    nexus__json_put_u64(&w, "seq", seq);
    nexus__json_close(&w, '}');
    snprintf(type, sizeof type, "saga.%s.control", name);
    snprintf(stream, sizeof stream, "saga_control-%s", name);
    snprintf(subject, sizeof subject, "%s-%.*s", name, (int)id.n, id.p);
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus_event e = NEXUS_EVENT_INIT;
    opts.stream = stream;
    e.id = nexus__slice_c(event_id);
    e.type = nexus__slice_c(type);
    e.subject = nexus__slice_c(subject);
    e.data = nexus__buf_slice(&data);
    nexus_status status = data.status == NEXUS_OK ? nexus_bus_publish(bus, &e, 1, &opts, NULL) : nexus__nomem();
    nexus__buf_free(&data);
    return status;
}

/* The transition after those that were seen: ours, or one that was faster. */
static nexus_status await(nexus_reader *reader, const char *event_id, const char *name, nexus_slice id, int64_t until_ns)
{
    const nexus_event *event;
    nexus_status status;
    do {
        int64_t left = (until_ns - nexus__mono_ns()) / NEXUS__NS_PER_MS + 1;
        status = nexus_reader_next(reader, &event, left < 1 ? 1 : (uint32_t)left);
    } while (status == NEXUS_EDONE && nexus__mono_ns() < until_ns);
    if (status == NEXUS_EDONE)
        return nexus__fail(NEXUS_ETIMEDOUT, "nobody runs saga %s now; it is done when somebody does", name);
    if (status == NEXUS_OK && !nexus__slice_eq_c(event->causationid, event_id))
        return nexus__fail(NEXUS_ECONFLICT, "saga %s: %.*s has moved meanwhile; look at it again", name, (int)id.n, id.p);
    return status;
}

nexus_status nexus_saga_control(nexus_bus *bus, const char *name, nexus_slice id, uint32_t op, const char *why,
                                uint32_t timeout_ms)
{
    char stream[NEXUS__SAGA_STREAM_MAX], event_id[NEXUS__UUID_LEN + 1];
    nexus__saga_instance *i;
    nexus_reader *reader;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    int64_t until = nexus__mono_ns() + (timeout_ms ? timeout_ms : 10000) * NEXUS__NS_PER_MS;
    nexus_status status = check(name, id, op, why);
    if (status == NEXUS_OK)
        status = nexus__saga_load(&i, bus, NULL, name, id);
    if (status != NEXUS_OK)
        return status;
    uint64_t seq = i->seq;
    bool over = nexus__saga_over(i->status);
    const char *how = nexus__saga_status_name(i->status);
    nexus__saga_instance_free(i);
    if (over)
        return nexus__fail(NEXUS_ECONFLICT, "saga %s: %.*s is %s; nothing more can be done to it", name, (int)id.n, id.p, how);
    nexus__saga_stream(stream, name, id);
    nexus__uuid7(event_id);
    opts.stream = stream;
    opts.from_version = (int64_t)seq;
    status = nexus_reader_open(&reader, bus, &opts);
    if (status != NEXUS_OK)
        return status;
    status = ask(bus, name, id, op, why, seq, event_id);
    if (status == NEXUS_OK)
        status = await(reader, event_id, name, id, until);
    nexus_reader_close(reader);
    return status;
}
