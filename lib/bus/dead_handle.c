/* The public calls about dead letters: in the owner straight to the broker, else over the connection. */
#include <time.h>

#include "base/status.h"
#include "bus/handle.h"

enum { STEPS_PER_S = 10, STEP_MAX = 4096 }; /* each looks through all letters, with the group's lock */

void nexus_dead_query_init(nexus_dead_query *query)
{
    *query = (nexus_dead_query)NEXUS_DEAD_QUERY_INIT;
}

void nexus_redrive_opts_init(nexus_redrive_opts *opts)
{
    *opts = (nexus_redrive_opts)NEXUS_REDRIVE_OPTS_INIT;
}

static nexus_status query_of(const nexus_dead_query *given, nexus__dead_query *out)
{
    nexus_dead_query q = NEXUS_DEAD_QUERY_INIT;
    if (given)
        memcpy(&q, given, given->size < sizeof q ? given->size : sizeof q);
    *out = (nexus__dead_query){.types = nexus__slice_c(q.types),
                               .key = nexus__slice_c(q.key),
                               .reason = nexus__slice_c(q.reason),
                               .pos = q.pos,
                               .after = q.after,
                               .before_ns = q.before_ns,
                               .limit = q.limit};
    return nexus__types_check(out->types);
}

nexus_status nexus_group_dead(char **out, size_t *n, nexus_group *g, const nexus_dead_query *query)
{
    nexus__buf body, question;
    nexus__group_backend b;
    nexus__dead_query q;
    nexus_status status = query_of(query, &q);
    if (status != NEXUS_OK)
        return status;
    q.limit = q.limit ? q.limit : 100;
    nexus__buf_init(&body, NULL, 0);
    nexus__buf_init(&question, g->bus->alloc, 0);
    nexus__wire_dead_query(&question, &q);
    status = nexus__group_ask(g, WIRE_DEAD, nexus__buf_slice(&question), &body, &b);
    if (status == NEXUS_OK && b.local)
        status = nexus__bgroup_dead(b.local, &q, &body);
    if (status == NEXUS_OK)
        status = nexus__buf_hand_over(&body, out, n);
    nexus__buf_free(&question);
    nexus__buf_free(&body);
    return status;
}

/* A connection's answer as a report. */
static nexus_status take_report(nexus_status status, const nexus__buf *body, nexus__dead_report *out)
{
    if (status != NEXUS_OK)
        return status;
    if (body->len != sizeof *out)
        return nexus__fail(NEXUS_EPROTO, "the bus owner gave an unreadable answer");
    memcpy(out, body->p, sizeof *out);
    return NEXUS_OK;
}

/* --- redrive ------------------------------------------------------------------------------------------------------ */

static nexus_status step(nexus_group *g, const nexus__dead_query *q, nexus_slice data, bool dry, nexus__dead_report *out)
{
    nexus__buf body, question;
    nexus__group_backend b;
    nexus__buf_init(&body, g->bus->alloc, 0);
    nexus__buf_init(&question, g->bus->alloc, 0);
    nexus__wire_dead_query(&question, q);
    nexus__wire_text(&question, data);
    nexus__wire_u32(&question, dry);
    nexus_status status = nexus__group_ask(g, WIRE_REDRIVE, nexus__buf_slice(&question), &body, &b);
    if (status == NEXUS_OK && b.local)
        status = nexus__bgroup_redrive(b.local, q, data, dry, out);
    else
        status = take_report(status, &body, out);
    nexus__buf_free(&question);
    nexus__buf_free(&body);
    return status;
}

static void pause_until(int64_t at_ns)
{
    struct timespec at = {at_ns / NEXUS__NS_PER_S, at_ns % NEXUS__NS_PER_S};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        ;
}

nexus_status nexus_group_redrive(nexus_group *g, const nexus_dead_query *query, const nexus_redrive_opts *opts,
                                 nexus_redrive_result *result)
{
    nexus_redrive_opts o = NEXUS_REDRIVE_OPTS_INIT;
    nexus__dead_query q;
    nexus__dead_report report = {0};
    nexus_redrive_result total = {.size = sizeof total};
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    nexus_status status = query_of(query, &q);
    uint64_t want = q.limit ? q.limit : UINT64_MAX;
    uint32_t at_once = o.max_per_s ? o.max_per_s / STEPS_PER_S : STEP_MAX;
    at_once = at_once < 1 ? 1 : at_once > STEP_MAX ? STEP_MAX : at_once;
    int64_t next = nexus__mono_ns();
    while (status == NEXUS_OK && total.redriven < want) {
        q.limit = want - total.redriven < at_once ? (uint32_t)(want - total.redriven) : at_once;
        status = step(g, &q, o.data, o.dry_run, &report);
        total.matched = total.matched ? total.matched : report.matched;
        total.redriven += report.done;
        if (status != NEXUS_OK || o.dry_run || report.done < q.limit)
            break;
        q.after = report.last; /* one that fails again meanwhile is not taken twice */
        next += o.max_per_s ? (int64_t)q.limit * NEXUS__NS_PER_S / o.max_per_s : 0;
        if (o.max_per_s)
            pause_until(next);
    }
    if (result) {
        size_t size = result->size && result->size < sizeof total ? result->size : sizeof total;
        memcpy(result, &total, size);
        result->size = size;
    }
    return status;
}

/* --- purge -------------------------------------------------------------------------------------------------------- */

nexus_status nexus_group_purge(nexus_group *g, const nexus_dead_query *query, uint64_t expect)
{
    nexus__buf body, question;
    nexus__group_backend b;
    nexus__dead_query q;
    nexus__dead_report report;
    nexus_status status = query_of(query, &q);
    if (status != NEXUS_OK)
        return status;
    q.limit = 0; /* what is counted is what goes */
    nexus__buf_init(&body, g->bus->alloc, 0);
    nexus__buf_init(&question, g->bus->alloc, 0);
    nexus__wire_dead_query(&question, &q);
    nexus__wire_u64(&question, expect);
    status = nexus__group_ask(g, WIRE_PURGE, nexus__buf_slice(&question), &body, &b);
    if (status == NEXUS_OK && b.local)
        status = nexus__bgroup_purge(b.local, &q, expect, &report);
    else
        status = take_report(status, &body, &report);
    nexus__buf_free(&question);
    nexus__buf_free(&body);
    return status;
}
