#include "store/rows.h"

#include <stdio.h>

#include "base/status.h"

nexus_rows *nexus__rows_new(const nexus_alloc *alloc, uint64_t max_bytes)
{
    nexus_rows *rows = nexus__calloc(alloc, 1, sizeof *rows);
    if (!rows)
        return NULL;
    rows->alloc = alloc;
    rows->max_bytes = max_bytes;
    rows->arena = &rows->memory;
    nexus__arena_init(rows->arena, alloc, 0);
    return rows;
}

void nexus_rows_free(nexus_rows *rows)
{
    if (!rows)
        return;
    nexus__arena_free(rows->arena);
    nexus__free(rows->alloc, rows->cells);
    nexus__free(rows->alloc, rows);
}

static nexus_status charge(nexus_rows *rows, uint64_t bytes)
{
    rows->bytes += bytes;
    if (rows->bytes <= rows->max_bytes)
        return NEXUS_OK;
    return nexus__fail(NEXUS_ETOOBIG, "the result is over %llu bytes: ask for fewer rows, or raise rows_max_bytes",
                       (unsigned long long)rows->max_bytes);
}

nexus_status nexus__rows_set_columns(nexus_rows *rows, size_t columns)
{
    rows->columns = columns;
    rows->names = nexus__arena_get(rows->arena, (columns + 1) * sizeof *rows->names);
    if (!rows->names)
        return nexus__nomem();
    memset(rows->names, 0, (columns + 1) * sizeof *rows->names);
    return NEXUS_OK;
}

nexus_status nexus__rows_set_name(nexus_rows *rows, size_t column, const char *name)
{
    rows->names[column] = nexus__arena_copy(rows->arena, nexus__slice_c(name)).p;
    return rows->names[column] ? NEXUS_OK : nexus__nomem();
}

nexus_status nexus__rows_add(nexus_rows *rows, nexus_value **cells)
{
    nexus_status status = charge(rows, rows->columns * sizeof(nexus_value));
    if (status != NEXUS_OK)
        return status;
    if (rows->count == rows->cap) {
        size_t cap = rows->cap ? rows->cap * 2 : 8;
        void *grown = nexus__realloc(rows->alloc, rows->cells, cap * (rows->columns + 1) * sizeof(nexus_value));
        if (!grown)
            return nexus__nomem();
        rows->cells = grown;
        rows->cap = cap;
    }
    *cells = rows->cells + rows->count++ * rows->columns;
    memset(*cells, 0, rows->columns * sizeof(nexus_value));
    return NEXUS_OK;
}

nexus_status nexus__rows_set_bytes(nexus_rows *rows, nexus_value *cell, uint32_t type, const void *p, size_t n)
{
    nexus_status status = charge(rows, n);
    if (status != NEXUS_OK)
        return status;
    nexus_slice copy = nexus__arena_copy(rows->arena, nexus__slice(p, n));
    if (!copy.p)
        return nexus__nomem();
    cell->type = type;
    cell->s = copy;
    return NEXUS_OK;
}

bool nexus_rows_next(nexus_rows *rows)
{
    if (rows->at > rows->count)
        return false;
    return ++rows->at <= rows->count;
}

size_t nexus_rows_count(const nexus_rows *rows)
{
    return rows->count;
}

size_t nexus_rows_columns(const nexus_rows *rows)
{
    return rows->columns;
}

const char *nexus_rows_column_name(const nexus_rows *rows, size_t column)
{
    return column < rows->columns ? rows->names[column] : NULL;
}

/* NULL where there is no such cell. */
static const nexus_value *cell_at(const nexus_rows *rows, size_t column)
{
    if (rows->at == 0 || rows->at > rows->count || column >= rows->columns)
        return NULL;
    return &rows->cells[(rows->at - 1) * rows->columns + column];
}

bool nexus_rows_is_null(const nexus_rows *rows, size_t column)
{
    const nexus_value *cell = cell_at(rows, column);
    return !cell || cell->type == NEXUS_VALUE_NULL;
}

int64_t nexus_rows_int(const nexus_rows *rows, size_t column)
{
    const nexus_value *cell = cell_at(rows, column);
    int64_t i = 0;
    double d = 0;
    if (!cell)
        return 0;
    if (cell->type == NEXUS_VALUE_INT)
        return cell->i;
    if (cell->type == NEXUS_VALUE_TEXT && nexus__parse_i64(cell->s, &i))
        return i;
    if (cell->type == NEXUS_VALUE_DOUBLE)
        d = cell->d;
    else if (cell->type != NEXUS_VALUE_TEXT || !nexus__parse_double(cell->s, &d))
        return 0;
    return d >= -9223372036854775808.0 && d < 9223372036854775808.0 ? (int64_t)d : 0;
}

double nexus_rows_double(const nexus_rows *rows, size_t column)
{
    const nexus_value *cell = cell_at(rows, column);
    double d = 0;
    if (!cell)
        return 0;
    if (cell->type == NEXUS_VALUE_DOUBLE)
        return cell->d;
    if (cell->type == NEXUS_VALUE_INT)
        return (double)cell->i;
    return cell->type == NEXUS_VALUE_TEXT && nexus__parse_double(cell->s, &d) ? d : 0;
}

void nexus_rows_text(const nexus_rows *rows, size_t column, nexus_slice *out)
{
    *out = NEXUS_S("");
    const nexus_value *cell = cell_at(rows, column);
    if (!cell || cell->type == NEXUS_VALUE_NULL)
        return;
    if (cell->type == NEXUS_VALUE_TEXT || cell->type == NEXUS_VALUE_BLOB) {
        *out = cell->s;
        return;
    }
    char text[32];
    size_t n = cell->type == NEXUS_VALUE_DOUBLE ? nexus__format_double(cell->d, text)
                                                : (size_t)snprintf(text, sizeof text, "%lld", (long long)cell->i);
    nexus_slice copy = nexus__arena_copy(rows->arena, nexus__slice(text, n));
    if (copy.p)
        *out = copy;
}

void nexus_rows_value(const nexus_rows *rows, size_t column, nexus_value *out)
{
    const nexus_value *cell = cell_at(rows, column);
    if (cell)
        *out = *cell;
    else
        nexus_value_null(out);
}

void nexus_value_null(nexus_value *out)
{
    *out = NEXUS_NULL;
}

void nexus_value_int(nexus_value *out, int64_t value)
{
    *out = NEXUS_INT(value);
}

void nexus_value_double(nexus_value *out, double value)
{
    *out = NEXUS_DOUBLE(value);
}

void nexus_value_text(nexus_value *out, nexus_slice value)
{
    *out = NEXUS_TEXT(value);
}

void nexus_value_blob(nexus_value *out, nexus_slice value)
{
    *out = NEXUS_BLOB(value);
}
