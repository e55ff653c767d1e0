/*
 * The index on the bus. Parts of at most 48 KiB, each the last event of a stream of its own, so that reading one is reading
 * the end of a stream; then a head, in "saga_index-NAME", that names them. A head counts when every part bears its mark: one
 * that was being written over meanwhile does not, and the whole history is read instead.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/id.h"
#include "base/status.h"
#include "json/write.h"
#include "saga/index.h"

#define INDEX_TYPE "saga.index"

enum { PART_BYTES = 48 << 10 };

/* The two sets of part streams take turns: while one is written the other is whole. */
static void part_stream(char out[static 96], const char *saga, int64_t turn, uint64_t k)
{
    snprintf(out, 96, "saga_index-%s-%c-%" PRIu64, saga, turn & 1 ? 'b' : 'a', k);
}

static void head_stream(char out[static 96], const char *saga)
{
    snprintf(out, 96, "saga_index-%s", saga);
}

/* --- writing --------------------------------------------------------------------------------------------------- */

typedef struct store {
    nexus_bus *bus;
    const char *saga;
    char mark[NEXUS__UUID_LEN + 1];
    int64_t turn;
    uint64_t parts;
    nexus__buf data;
    nexus__json_writer w;
    size_t rows;
} store;

static nexus_status publish(const store *s, const char *stream, int64_t expect)
{
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus_event e = NEXUS_EVENT_INIT;
    if (s->data.status != NEXUS_OK)
        return nexus__nomem();
    opts.stream = stream;
    opts.expect = expect;
    e.source = NEXUS_S("/saga");
    e.type = NEXUS_S(INDEX_TYPE);
    e.subject = nexus__slice_c(stream);
    e.data = nexus__buf_slice(&s->data);
    return nexus_bus_publish(s->bus, &e, 1, &opts, NULL);
}

static void open_part(store *s)
{
    nexus__buf_clear(&s->data);
    s->w = nexus__json_writer_on(&s->data);
    nexus__json_open(&s->w, '{');
    nexus__json_put_text_c(&s->w, "mark", s->mark);
    nexus__json_key(&s->w, "rows");
    nexus__json_open(&s->w, '[');
    s->rows = 0;
}

static nexus_status end_part(store *s)
{
    char stream[96];
    nexus__json_close(&s->w, ']');
    nexus__json_close(&s->w, '}');
    part_stream(stream, s->saga, s->turn, s->parts++);
    return publish(s, stream, NEXUS_EXPECT_ANY);
}

static void write_row(store *s, const nexus__saga_entry *e)
{
    nexus__json_open(&s->w, '[');
    nexus__json_text_value(&s->w, nexus__slice(e->id, e->id_bytes));
    nexus__json_u64_value(&s->w, e->seq);
    nexus__json_u64_value(&s->w, e->pos);
    nexus__json_i64_value(&s->w, e->due_ns);
    nexus__json_u64_value(&s->w, e->version);
    nexus__json_u64_value(&s->w, e->status);
    nexus__json_close(&s->w, ']');
    s->rows++;
}

static nexus_status write_parts(store *s, const nexus__saga_index *x)
{
    nexus_status status = NEXUS_OK;
    size_t cursor = 0;
    open_part(s);
    for (nexus__map_entry *e; status == NEXUS_OK && (e = nexus__map_next(&x->entries, &cursor));) {
        write_row(s, e->value);
        if (s->data.len < PART_BYTES)
            continue;
        status = end_part(s);
        open_part(s);
    }
    return status == NEXUS_OK && s->rows ? end_part(s) : status;
}

nexus_status nexus__saga_index_store(nexus__saga_index *x, nexus_bus *bus, const char *saga)
{
    char stream[96];
    store s = {.bus = bus, .saga = saga};
    head_stream(stream, saga);
    nexus_status status = nexus_stream_version(bus, stream, &s.turn);
    if (status != NEXUS_OK)
        return status;
    nexus__uuid7(s.mark);
    nexus__buf_init(&s.data, x->alloc, 0);
    int64_t before = s.turn++;
    status = write_parts(&s, x);
    if (status == NEXUS_OK) {
        nexus__buf_clear(&s.data);
        nexus__json_writer w = nexus__json_writer_on(&s.data);
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "mark", s.mark);
        nexus__json_put_u64(&w, "pos", x->pos);
        nexus__json_put_u64(&w, "parts", s.parts);
        nexus__json_close(&w, '}');
        status = publish(&s, stream, before < 0 ? NEXUS_EXPECT_NO_STREAM : before);
    }
    nexus__buf_free(&s.data);
    if (status == NEXUS_OK || status == NEXUS_ECONFLICT) /* another process was faster */
        x->since = 0;
    return status;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

/* Scans the last event of a stream into doc, which points into the reader. *version -1: no such stream. */
static nexus_status read_last(nexus_bus *bus, const char *stream, nexus__json *doc, nexus_reader **reader,
                              int64_t *version)
{
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    const nexus_event *event;
    nexus_status status = nexus_stream_version(bus, stream, version);
    if (status != NEXUS_OK || *version < 0)
        return status;
    opts.stream = stream;
    opts.from_version = *version;
    status = nexus_reader_open(reader, bus, &opts);
    if (status == NEXUS_OK)
        status = nexus_reader_next(*reader, &event, 0);
    return status == NEXUS_OK ? nexus__json_scan(doc, event->data, NULL) : status;
}

static nexus_status read_row(nexus__saga_index *x, nexus__json *doc, uint32_t row)
{
    nexus_slice id;
    uint64_t version = 1, state = 0;
    nexus__saga_entry e = {0};
    if (!nexus__json_text(doc, nexus__json_element(doc, row, 0), &id) ||
        !nexus__json_u64(doc, nexus__json_element(doc, row, 1), &e.seq) ||
        !nexus__json_u64(doc, nexus__json_element(doc, row, 2), &e.pos) ||
        !nexus__json_i64(doc, nexus__json_element(doc, row, 3), &e.due_ns) ||
        !nexus__json_u64(doc, nexus__json_element(doc, row, 4), &version) ||
        !nexus__json_u64(doc, nexus__json_element(doc, row, 5), &state) || state > NEXUS__SAGA_STUCK)
        return NEXUS_ECORRUPT;
    e.version = (uint32_t)version;
    e.status = (nexus__saga_status)state;
    return nexus__saga_index_put(x, id, &e);
}

static nexus_status read_part(nexus__saga_index *x, nexus_bus *bus, const char *stream, nexus_slice mark)
{
    nexus__json doc;
    nexus_reader *reader = NULL;
    nexus_slice its;
    int64_t version;
    nexus__json_init(&doc, x->alloc);
    nexus_status status = read_last(bus, stream, &doc, &reader, &version);
    if (status == NEXUS_OK &&
        (version < 0 || !nexus__json_get_text(&doc, 0, "mark", &its) || !nexus__slice_eq(its, mark)))
        status = NEXUS_ECORRUPT;
    nexus__json_iter it = nexus__json_each(&doc, status == NEXUS_OK ? nexus__json_get(&doc, 0, "rows") : UINT32_MAX);
    while (status == NEXUS_OK && nexus__json_step(&doc, &it))
        status = read_row(x, &doc, it.value);
    nexus_reader_close(reader);
    nexus__json_free(&doc);
    return status;
}

static nexus_status read_parts(nexus__saga_index *x, nexus_bus *bus, const char *saga, nexus__json *head, int64_t turn)
{
    nexus_slice mark;
    uint64_t parts = 0, pos = 0;
    if (!nexus__json_get_text(head, 0, "mark", &mark) || !nexus__json_u64(head, nexus__json_get(head, 0, "parts"), &parts) ||
        !nexus__json_u64(head, nexus__json_get(head, 0, "pos"), &pos))
        return NEXUS_ECORRUPT;
    nexus_status status = NEXUS_OK;
    for (uint64_t k = 0; k < parts && status == NEXUS_OK; k++) {
        char stream[96];
        part_stream(stream, saga, turn, k);
        status = read_part(x, bus, stream, mark);
    }
    x->pos = pos;
    return status;
}

nexus_status nexus__saga_index_load(nexus__saga_index *x, nexus_bus *bus, const char *saga)
{
    char stream[96];
    nexus__json doc;
    nexus_reader *reader = NULL;
    int64_t turn = -1;
    nexus__json_init(&doc, x->alloc);
    head_stream(stream, saga);
    nexus_status status = read_last(bus, stream, &doc, &reader, &turn);
    if (status == NEXUS_OK && turn >= 0)
        status = read_parts(x, bus, saga, &doc, turn);
    nexus_reader_close(reader);
    nexus__json_free(&doc);
    if (status == NEXUS_OK || status == NEXUS_ENOMEM || status == NEXUS_ECLOSED || status == NEXUS_EUNREACH)
        return status;
    const nexus_alloc *alloc = x->alloc; /* not whole, or damaged: it is only derived */
    nexus__saga_index_free(x);
    nexus__saga_index_init(x, alloc);
    return NEXUS_OK;
}

nexus_status nexus__saga_index_follow(const nexus__saga_index *x, nexus_reader **out, nexus_bus *bus, const char *saga)
{
    char category[64];
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    snprintf(category, sizeof category, "saga-%s", saga);
    opts.category = category;
    opts.types = NEXUS__SAGA_TRANSITION;
    opts.start = NEXUS_START_POS;
    opts.start_pos = x->pos + 1;
    return nexus_reader_open(out, bus, &opts);
}
