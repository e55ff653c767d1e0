#include "ingest/event_rows.h"

#include "base/status.h"

#define TEXT_BLOCKS_MAX 262144u /* a billion texts */
#define ARENA_CHUNK (1u << 20)
#define ARRAY_TEXT_MAX 1024 /* an array is kept as its JSON text, when short */

static nexus_status text_add(nexus__event_rows *rows, nexus_slice text, uint32_t *number);

nexus_status nexus__event_rows_open(nexus__event_rows *rows, const nexus_alloc *alloc)
{
    uint32_t none;
    *rows = (nexus__event_rows){.alloc = alloc};
    pthread_mutex_init(&rows->mutex, NULL);
    rows->locked.chunks = nexus__calloc(alloc, NEXUS__EVENT_ROWS_CHUNKS_MAX, sizeof *rows->locked.chunks);
    rows->locked.texts = nexus__calloc(alloc, TEXT_BLOCKS_MAX, sizeof *rows->locked.texts);
    nexus__map_init(&rows->locked.numbers, alloc);
    nexus__arena_init(&rows->locked.arena, alloc, ARENA_CHUNK);
    nexus__json_init(&rows->locked.scratch, alloc);
    nexus__buf_init(&rows->locked.path, alloc, 0);
    if (!rows->locked.chunks || !rows->locked.texts || text_add(rows, NEXUS_S(""), &none) != NEXUS_OK) {
        nexus__event_rows_close(rows);
        return nexus__nomem();
    }
    return NEXUS_OK;
}

void nexus__event_rows_close(nexus__event_rows *rows)
{
    for (uint32_t i = 0; rows->locked.chunks && i < NEXUS__EVENT_ROWS_CHUNKS_MAX && rows->locked.chunks[i]; i++)
        nexus__free(rows->alloc, rows->locked.chunks[i]);
    for (uint32_t i = 0; rows->locked.texts && i < TEXT_BLOCKS_MAX && rows->locked.texts[i]; i++)
        nexus__free(rows->alloc, rows->locked.texts[i]);
    nexus__free(rows->alloc, rows->locked.chunks);
    nexus__free(rows->alloc, rows->locked.texts);
    nexus__free(rows->alloc, rows->locked.cells);
    nexus__map_free(&rows->locked.numbers);
    nexus__arena_free(&rows->locked.arena);
    nexus__json_free(&rows->locked.scratch);
    nexus__buf_free(&rows->locked.path);
    pthread_mutex_destroy(&rows->mutex);
}

/* A map's value cannot be NULL, so numbers stand there plus one. */
static uint32_t number_of(const nexus__event_rows *rows, nexus_slice text, bool *found)
{
    uintptr_t value = (uintptr_t)nexus__map_get(&rows->locked.numbers, text);
    *found = value != 0;
    return value ? (uint32_t)(value - 1) : NEXUS__EVENT_ROWS_UNKNOWN;
}

static nexus_status text_add(nexus__event_rows *rows, nexus_slice text, uint32_t *number)
{
    bool found;
    *number = number_of(rows, text, &found);
    if (found)
        return NEXUS_OK;
    uint32_t n = rows->locked.text_count, block = n / NEXUS__EVENT_ROWS_CHUNK;
    if (block == TEXT_BLOCKS_MAX)
        return nexus__fail(NEXUS_ENOSPC, "the analytics store holds all the different texts it can");
    if (!rows->locked.texts[block])
        rows->locked.texts[block] = nexus__calloc(rows->alloc, NEXUS__EVENT_ROWS_CHUNK, sizeof(nexus_slice));
    nexus_slice copy = nexus__arena_copy(&rows->locked.arena, text);
    if (!rows->locked.texts[block] || !copy.p)
        return nexus__nomem();
    nexus_status st = nexus__map_put(&rows->locked.numbers, copy, (void *)((uintptr_t)n + 1), NULL);
    if (st != NEXUS_OK)
        return st;
    rows->locked.texts[block][n % NEXUS__EVENT_ROWS_CHUNK] = copy;
    rows->locked.text_count = n + 1;
    *number = n;
    return NEXUS_OK;
}

static nexus_status cell_push(nexus__event_rows *rows, nexus__cell cell)
{
    if (rows->locked.cell_count == rows->locked.cell_cap) {
        uint32_t cap = rows->locked.cell_cap ? rows->locked.cell_cap * 2 : 64;
        nexus__cell *cells = nexus__realloc(rows->alloc, rows->locked.cells, cap * sizeof *cells);
        if (!cells)
            return nexus__nomem();
        rows->locked.cells = cells;
        rows->locked.cell_cap = cap;
    }
    rows->locked.cells[rows->locked.cell_count++] = cell;
    return NEXUS_OK;
}

static nexus_status cell_text(nexus__event_rows *rows, nexus_slice text, nexus__cell *cell)
{
    uint32_t number;
    nexus_status st = text_add(rows, text, &number);
    cell->type = NEXUS__CELL_TEXT;
    cell->text = number;
    return st;
}

/* The value under the name that stands in locked.path. Null, and arrays too long to compare, make no cell. */
static nexus_status add_value(nexus__event_rows *rows, uint32_t v)
{
    nexus__json *doc = &rows->locked.scratch;
    nexus__json_type type = nexus__json_type_of(doc, v);
    nexus__cell cell = {0};
    nexus_slice text;
    nexus_status st = NEXUS_OK;
    if (type == NEXUS__JSON_STRING && nexus__json_text(doc, v, &text)) {
        st = cell_text(rows, text, &cell);
    } else if (type == NEXUS__JSON_ARRAY && nexus__json_raw(doc, v).n <= ARRAY_TEXT_MAX) {
        st = cell_text(rows, nexus__json_raw(doc, v), &cell);
    } else if (type == NEXUS__JSON_TRUE || type == NEXUS__JSON_FALSE) {
        cell.type = NEXUS__CELL_BOOL;
        cell.text = type == NEXUS__JSON_TRUE;
    } else if (nexus__json_double(doc, v, &cell.number)) {
        cell.type = NEXUS__CELL_NUMBER;
    } else {
        return NEXUS_OK;
    }
    if (st == NEXUS_OK)
        st = text_add(rows, nexus__buf_slice(&rows->locked.path), &cell.key);
    return st == NEXUS_OK ? cell_push(rows, cell) : st;
}

/* Nested names are joined by dots; nesting was bounded when the event was accepted. */
static nexus_status add_members(nexus__event_rows *rows, uint32_t object)
{
    nexus__json *doc = &rows->locked.scratch;
    nexus__buf *path = &rows->locked.path;
    nexus_status st = NEXUS_OK;
    for (nexus__json_iter it = nexus__json_each(doc, object); st == NEXUS_OK && nexus__json_step(doc, &it);) {
        size_t stem = path->len;
        nexus__buf_char(path, '.');
        nexus__json_text_append(doc, it.key, path);
        if (path->status != NEXUS_OK)
            return nexus__nomem();
        st = nexus__json_is(doc, it.value, NEXUS__JSON_OBJECT) ? add_members(rows, it.value) : add_value(rows, it.value);
        path->len = stem;
    }
    return st;
}

static nexus_status add_bag(nexus__event_rows *rows, const char *name, nexus_slice json)
{
    static const nexus__json_limits lenient = {.lenient = true};
    if (json.n == 0)
        return NEXUS_OK;
    nexus_status st = nexus__json_scan(&rows->locked.scratch, json, &lenient);
    if (st != NEXUS_OK)
        return st;
    nexus__buf_clear(&rows->locked.path);
    nexus__buf_text(&rows->locked.path, name);
    return add_members(rows, 0);
}

static nexus_status build_row(nexus__event_rows *rows, const nexus__event *e, nexus__row *row)
{
    nexus_status st;
    *row = (nexus__row){.time_ms = e->time_ms};
    rows->locked.cell_count = 0;
    if ((st = text_add(rows, e->name, &row->name)) || (st = text_add(rows, e->user_id, &row->user_id)) ||
        (st = text_add(rows, e->anonymous_id, &row->anonymous_id)) ||
        (st = text_add(rows, e->session_id, &row->session_id)) || (st = add_bag(rows, "properties", e->properties)) ||
        (st = add_bag(rows, "context", e->context)))
        return st;
    row->cell_count = rows->locked.cell_count;
    if (row->cell_count == 0)
        return NEXUS_OK;
    nexus__cell *cells = nexus__arena_get(&rows->locked.arena, row->cell_count * sizeof *cells);
    if (!cells)
        return nexus__nomem();
    memcpy(cells, rows->locked.cells, row->cell_count * sizeof *cells);
    row->cells = cells;
    return NEXUS_OK;
}

static nexus_status append(nexus__event_rows *rows, const nexus__row *row)
{
    uint64_t i = rows->locked.count;
    nexus__chunk **chunk = &rows->locked.chunks[i / NEXUS__EVENT_ROWS_CHUNK];
    if (i / NEXUS__EVENT_ROWS_CHUNK == NEXUS__EVENT_ROWS_CHUNKS_MAX - 1)
        return nexus__fail(NEXUS_ENOSPC, "the analytics store is full: %llu events", (unsigned long long)i);
    if (!*chunk) {
        *chunk = nexus__malloc(rows->alloc, sizeof **chunk);
        if (!*chunk)
            return nexus__nomem();
        (*chunk)->min_ms = INT64_MAX;
        (*chunk)->max_ms = INT64_MIN;
    }
    (*chunk)->rows[i % NEXUS__EVENT_ROWS_CHUNK] = *row;
    if (row->time_ms < (*chunk)->min_ms)
        (*chunk)->min_ms = row->time_ms;
    if (row->time_ms > (*chunk)->max_ms)
        (*chunk)->max_ms = row->time_ms;
    rows->locked.count = i + 1;
    return NEXUS_OK;
}

nexus_status nexus__event_rows_add(nexus__event_rows *rows, const nexus__event *event)
{
    nexus__row row;
    pthread_mutex_lock(&rows->mutex);
    nexus_status st = build_row(rows, event, &row);
    if (st == NEXUS_OK)
        st = append(rows, &row);
    if (st == NEXUS_OK && event->received_ms > rows->locked.max_received_ms)
        rows->locked.max_received_ms = event->received_ms;
    pthread_mutex_unlock(&rows->mutex);
    return st;
}

nexus__snapshot nexus__event_rows_snapshot(nexus__event_rows *rows)
{
    pthread_mutex_lock(&rows->mutex);
    nexus__snapshot s = {rows, rows->locked.count, rows->locked.max_received_ms};
    pthread_mutex_unlock(&rows->mutex);
    return s;
}

uint32_t nexus__event_rows_number(nexus__event_rows *rows, nexus_slice text)
{
    bool found;
    pthread_mutex_lock(&rows->mutex);
    uint32_t n = number_of(rows, text, &found);
    pthread_mutex_unlock(&rows->mutex);
    return n;
}
