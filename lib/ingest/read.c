/* From a body's bytes to judged entries. */
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "base/utf8.h"
#include "ingest/ingest.h"

/* What reading the entries of one body needs. */
typedef struct body_reader {
    const nexus__event_rules *rules;
    nexus_slice body;
    int64_t received_ms, sent_ms;
    nexus_ingest_result *result;
} body_reader;

/* Decoded texts live in the scanned document, which the next line scans anew: they move to the result's arena. */
static bool keep_text(body_reader *r, nexus_slice *text)
{
    if (text->n == 0 || (text->p >= r->body.p && text->p < r->body.p + r->body.n))
        return true;
    *text = nexus__arena_copy(&r->result->arena, *text);
    return text->p != NULL;
}

static bool keep_texts(body_reader *r, nexus__event *e)
{
    return keep_text(r, &e->id) && keep_text(r, &e->name) && keep_text(r, &e->user_id) &&
           keep_text(r, &e->anonymous_id) && keep_text(r, &e->session_id) && keep_text(r, &e->properties) &&
           keep_text(r, &e->context);
}

static bool make_id(body_reader *r, nexus__event *e)
{
    char id[NEXUS__UUID_LEN + 1];
    if (e->id.n != 0)
        return true;
    nexus__uuid7(id);
    e->id = nexus__arena_copy(&r->result->arena, nexus__slice(id, NEXUS__UUID_LEN));
    return e->id.p != NULL;
}

static nexus_status add_fault(body_reader *r, nexus__entry *entry, const nexus__event_fault *fault)
{
    entry->fault = nexus__arena_get(&r->result->arena, sizeof *fault);
    if (!entry->fault)
        return nexus__nomem();
    *entry->fault = *fault;
    entry->state = NEXUS__ENTRY_REJECTED;
    return NEXUS_OK;
}

static nexus_status add_entry(body_reader *r, nexus__json *doc, uint32_t v)
{
    nexus__entry *entry = &r->result->entries[r->result->entry_count++];
    nexus__event_fault fault;
    *entry = (nexus__entry){.raw = nexus__json_raw(doc, v)};
    nexus__event_code code = nexus__event_read(doc, v, r->rules, r->received_ms, r->sent_ms, &r->result->arena,
                                               &entry->event, &entry->warnings, &fault);
    if (!keep_texts(r, &entry->event) || code == NEXUS__EVENT_NOT_PERSISTED)
        return nexus__nomem();
    if (code != NEXUS__EVENT_OK)
        return add_fault(r, entry, &fault);
    return make_id(r, &entry->event) ? NEXUS_OK : nexus__nomem();
}

/* An event whose text is no strict JSON, or no JSON at all. */
static nexus_status add_broken(body_reader *r, nexus_slice raw, nexus_status why)
{
    nexus__entry *entry = &r->result->entries[r->result->entry_count++];
    nexus__event_fault fault = {.code = NEXUS__EVENT_BAD_JSON};
    *entry = (nexus__entry){.raw = raw};
    if (!nexus__utf8_valid(raw))
        fault.code = NEXUS__EVENT_BAD_UTF8;
    else if (why == NEXUS_ETOOBIG)
        fault.code = NEXUS__EVENT_TOO_DEEP;
    snprintf(fault.message, sizeof fault.message, "%s", nexus_error_message());
    return add_fault(r, entry, &fault);
}

static nexus_status begin(body_reader *r, const nexus_ingest *ingest, uint32_t entries)
{
    r->result = nexus__result_new(ingest->alloc, entries);
    return r->result ? NEXUS_OK : nexus__nomem();
}

static nexus_status end(body_reader *r, nexus_status st, nexus_ingest_result **out)
{
    if (st == NEXUS_OK)
        *out = r->result;
    else
        nexus_ingest_result_free(r->result);
    return st;
}

nexus_status nexus__ingest_read_event(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc,
                                      nexus_slice body, int64_t received_ms, nexus_ingest_result **out)
{
    body_reader r = {.rules = rules, .body = body, .received_ms = received_ms, .sent_ms = NEXUS__EVENT_NO_TIME};
    nexus_status st = nexus__json_scan(doc, body, NULL);
    if (st != NEXUS_OK)
        return st;
    if (!nexus__json_is(doc, 0, NEXUS__JSON_OBJECT))
        return nexus__fail(NEXUS_EINVAL, "an event is a JSON object");
    st = begin(&r, ingest, 1);
    if (st == NEXUS_OK)
        st = add_entry(&r, doc, 0);
    return end(&r, st, out);
}

static nexus_status too_many(const nexus_ingest *ingest)
{
    return nexus__fail(NEXUS_ETOOBIG, "more than %u events in one batch: send several", ingest->batch_max_events);
}

/* An array that only a lenient scan accepts: each element must pass the strict one by itself. */
static nexus_status add_checked(body_reader *r, nexus__json *doc, uint32_t v, nexus__json *strict)
{
    nexus_status st = nexus__json_scan(strict, nexus__json_raw(doc, v), NULL);
    if (st == NEXUS_ENOMEM)
        return st;
    return st == NEXUS_OK ? add_entry(r, doc, v) : add_broken(r, nexus__json_raw(doc, v), st);
}

static nexus_status add_elements(body_reader *r, nexus__json *doc, uint32_t array, bool lenient,
                                 const nexus_alloc *alloc)
{
    nexus__json strict;
    nexus_status st = NEXUS_OK;
    nexus__json_init(&strict, alloc);
    for (nexus__json_iter it = nexus__json_each(doc, array); st == NEXUS_OK && nexus__json_step(doc, &it);)
        st = lenient ? add_checked(r, doc, it.value, &strict) : add_entry(r, doc, it.value);
    nexus__json_free(&strict);
    return st;
}

nexus_status nexus__ingest_read_batch(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc,
                                      nexus_slice body, int64_t received_ms, nexus_ingest_result **out)
{
    static const nexus__json_limits lenient = {.lenient = true};
    body_reader r = {.rules = rules, .body = body, .received_ms = received_ms, .sent_ms = NEXUS__EVENT_NO_TIME};
    nexus_status st = nexus__json_scan(doc, body, NULL);
    bool strict = st == NEXUS_OK;
    if (st == NEXUS_EINVAL)
        st = nexus__json_scan(doc, body, &lenient);
    if (st != NEXUS_OK)
        return st;
    uint32_t array = 0;
    if (nexus__json_is(doc, 0, NEXUS__JSON_OBJECT)) {
        array = nexus__json_get(doc, 0, "events");
        r.sent_ms = nexus__event_instant(doc, nexus__json_get(doc, 0, "sent_at"));
    }
    if (!nexus__json_is(doc, array, NEXUS__JSON_ARRAY))
        return nexus__fail(NEXUS_EINVAL, "a batch is {\"events\":[…]} or an array of events");
    if (nexus__json_count(doc, array) > ingest->batch_max_events)
        return too_many(ingest);
    st = begin(&r, ingest, nexus__json_count(doc, array));
    if (st == NEXUS_OK)
        st = add_elements(&r, doc, array, !strict, ingest->alloc);
    return end(&r, st, out);
}

static nexus_slice next_line(nexus_slice *rest)
{
    nexus_slice line = nexus__slice_cut(rest, '\n');
    if (line.n != 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return nexus__slice_trim(line);
}

static uint32_t count_lines(nexus_slice body)
{
    uint32_t n = 0;
    while (body.n != 0)
        n += next_line(&body).n != 0;
    return n;
}

nexus_status nexus__ingest_read_lines(nexus_ingest *ingest, const nexus__event_rules *rules, nexus__json *doc,
                                      nexus_slice body, int64_t received_ms, nexus_ingest_result **out)
{
    body_reader r = {.rules = rules, .body = body, .received_ms = received_ms, .sent_ms = NEXUS__EVENT_NO_TIME};
    uint32_t lines = count_lines(body);
    if (lines > ingest->batch_max_events)
        return too_many(ingest);
    nexus_status st = begin(&r, ingest, lines);
    for (nexus_slice rest = body; st == NEXUS_OK && rest.n != 0;) {
        nexus_slice line = next_line(&rest);
        if (line.n == 0)
            continue;
        nexus_status scanned = nexus__json_scan(doc, line, NULL);
        if (scanned == NEXUS_ENOMEM)
            st = scanned;
        else
            st = scanned == NEXUS_OK ? add_entry(&r, doc, 0) : add_broken(&r, line, scanned);
    }
    return end(&r, st, out);
}
