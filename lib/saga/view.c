/* One instance with its history, for people: read from its stream, no open saga needed. */
#include "base/status.h"
#include "json/write.h"
#include "saga/running.h"

void nexus__saga_put_time(nexus__json_writer *w, const char *name, int64_t at_ns)
{
    char text[32];
    if (at_ns)
        nexus__format_rfc3339(at_ns, text);
    nexus__json_put_text_c(w, name, at_ns ? text : NULL);
}

static void write_moment(nexus__json_writer *w, nexus__json *t)
{
    static const struct {
        const char *name, *stored;
        bool always;
    } members[] = {
        {"at", "at", true},      {"state", "status", true}, {"step", "step", true},    {"reason", "reason", true},
        {"error", "error", false}, {"op", "op", false},     {"why", "why", false},     {"cause", "cause", false},
        {"link", "link", false},
    };
    nexus__json_open(w, '{');
    for (size_t k = 0; k < sizeof members / sizeof members[0]; k++) {
        nexus_slice raw = nexus__json_raw(t, nexus__json_get(t, 0, members[k].stored));
        if (raw.n || members[k].always)
            nexus__json_put_raw(w, members[k].name, raw.n ? raw : NEXUS_S("null"));
    }
    nexus__json_close(w, '}');
}

static void write_head(nexus__json_writer *w, nexus__json *t)
{
    static const char *const names[] = {"saga", "id", "version", "status", "step", "reason", "error", "state"};
    int64_t due = 0, deadline = 0;
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        nexus_slice raw = nexus__json_raw(t, nexus__json_get(t, 0, names[k]));
        nexus__json_put_raw(w, names[k], raw.n ? raw : NEXUS_S("null"));
    }
    (void)!nexus__json_get_i64(t, 0, "due_ns", &due);
    (void)!nexus__json_get_i64(t, 0, "deadline_ns", &deadline);
    nexus__saga_put_time(w, "due_at", due && (!deadline || due < deadline) ? due : deadline);
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
    char stream[NEXUS__SAGA_STREAM_MAX];
    nexus_reader *reader;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_status status = nexus__saga_name_check(name);
    if (status != NEXUS_OK)
        return status;
    nexus__saga_stream(stream, name, id);
    opts.stream = stream;
    status = nexus_reader_open(&reader, bus, &opts);
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
