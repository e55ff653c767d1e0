/* One instance with its history, for people: read from its stream, no open saga needed. */
#include <stdio.h>

#include <nexus/stream.h>

#include "base/status.h"
#include "saga/instance.h"
#include "json/write.h"

static void write_moment(nexus__json_writer *w, nexus__json *t)
{
    static const char *const names[][2] = {{"at", "at"}, {"state", "status"}, {"step", "step"}, {"reason", "reason"}};
    nexus__json_open(w, '{');
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        nexus_slice raw = nexus__json_raw(t, nexus__json_get(t, 0, names[k][1]));
        nexus__json_put_raw(w, names[k][0], raw.n ? raw : NEXUS_S("null"));
    }
    nexus__json_close(w, '}');
}

static void write_head(nexus__json_writer *w, nexus__json *t)
{
    static const char *const names[] = {"saga", "id", "version", "status", "step", "reason", "state"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        nexus_slice raw = nexus__json_raw(t, nexus__json_get(t, 0, names[k]));
        nexus__json_put_raw(w, names[k], raw.n ? raw : NEXUS_S("null"));
    }
}

/* Reads every transition: moments go to history, the last one's head to head. */
static nexus_status walk(nexus_reader *reader, nexus__buf *head, nexus__buf *history)
{
    const nexus_event *event;
    nexus_status status;
    nexus__json_writer moments = nexus__json_writer_on(history);
    nexus__json_open(&moments, '[');
    while ((status = nexus_reader_next(reader, &event, 0)) == NEXUS_OK) {
        nexus__json t;
        nexus__json_init(&t, head->alloc);
        status = nexus__json_scan(&t, event->data, NULL);
        if (status == NEXUS_OK) {
            write_moment(&moments, &t);
            nexus__buf_clear(head);
            nexus__json_writer w = nexus__json_writer_on(head);
            nexus__json_open(&w, '{');
            write_head(&w, &t);
        }
        nexus__json_free(&t);
        if (status != NEXUS_OK)
            return nexus__fail(NEXUS_ECORRUPT, "a saga transition at position %llu is not JSON",
                               (unsigned long long)event->pos);
    }
    nexus__json_close(&moments, ']');
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

nexus_status nexus_saga_get(char **out, size_t *n, nexus_bus *bus, const char *name, nexus_slice id)
{
    char stream[400];
    nexus_reader *reader;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    snprintf(stream, sizeof stream, "saga-%.60s-%.*s", name, (int)(id.n < 300 ? id.n : 300), id.p);
    opts.stream = stream;
    nexus_status status = nexus_reader_open(&reader, bus, &opts);
    if (status != NEXUS_OK)
        return status;
    nexus__buf head, history;
    nexus__buf_init(&head, NULL, 0);
    nexus__buf_init(&history, NULL, 0);
    status = walk(reader, &head, &history);
    nexus_reader_close(reader);
    if (status == NEXUS_OK && head.len == 0)
        status = nexus__fail(NEXUS_ENOTFOUND, "saga %s has no instance %.*s", name, (int)id.n, id.p);
    if (status == NEXUS_OK) {
        nexus__buf_text(&head, ",\"history\":");
        nexus__buf_slice_append(&head, nexus__buf_slice(&history));
        nexus__buf_char(&head, '}');
        if (history.status != NEXUS_OK || !(*out = nexus__buf_take(&head, n)))
            status = nexus__nomem();
    }
    nexus__buf_free(&head);
    nexus__buf_free(&history);
    return status;
}
