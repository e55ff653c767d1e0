#include "gateway/loader.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"

enum { KEYS_MAX = 64, WORD_MAX = 64 };

size_t nexus__loader_push(nexus__loader *l, nexus_slice step)
{
    size_t mark = l->pointer.len;
    nexus__buf_char(&l->pointer, '/');
    for (size_t i = 0; i < step.n; i++) /* RFC 6901: ~ and / are written ~0 and ~1 */
        if (step.p[i] == '~' || step.p[i] == '/')
            nexus__buf_text(&l->pointer, step.p[i] == '~' ? "~0" : "~1");
        else
            nexus__buf_char(&l->pointer, step.p[i]);
    return mark;
}

size_t nexus__loader_push_index(nexus__loader *l, uint32_t index)
{
    size_t mark = l->pointer.len;
    nexus__buf_printf(&l->pointer, "/%u", index);
    return mark;
}

void nexus__loader_pop(nexus__loader *l, size_t mark)
{
    l->pointer.len = mark;
}

nexus_status nexus__loader_fail(nexus__loader *l, uint32_t value, const char *format, ...)
{
    char what[360];
    uint32_t line = 1, column = 1;
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (value < l->doc->count)
        nexus__json_position(l->doc->text, l->doc->nodes[value].start, &line, &column);
    return nexus__fail(NEXUS_EINVAL, "%s:%u:%u: %.*s: %s", l->file, line, column, (int)l->pointer.len,
                       l->pointer.p ? l->pointer.p : "", what);
}

nexus_status nexus__loader_refuse(nexus__loader *l, uint32_t value)
{
    char why[300];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    return nexus__loader_fail(l, value, "%s", why);
}

static uint32_t edit_distance(nexus_slice a, nexus_slice b)
{
    uint32_t row[WORD_MAX + 1];
    if (a.n > WORD_MAX || b.n > WORD_MAX)
        return UINT32_MAX;
    for (uint32_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        uint32_t diagonal = row[0]++;
        for (size_t j = 1; j <= b.n; j++) {
            uint32_t change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            uint32_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < gap ? change : gap;
        }
    }
    return row[b.n];
}

const char *nexus__nearest(nexus_slice word, const char *const *candidates, size_t n)
{
    const char *best = n > 0 ? candidates[0] : "";
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        uint32_t distance = edit_distance(word, nexus__slice_c(candidates[i]));
        if (distance < least) {
            least = distance;
            best = candidates[i];
        }
    }
    return best;
}

nexus_status nexus__loader_text(nexus__loader *l, uint32_t value, nexus_slice *out)
{
    nexus_slice text;
    if (!nexus__json_text(l->doc, value, &text))
        return nexus__loader_fail(l, value, "must be a string");
    for (size_t i = 0; i < text.n; i++)
        if ((uint8_t)text.p[i] < ' ')
            return nexus__loader_fail(l, value, "control characters are not allowed");
    *out = nexus__arena_copy(l->arena, text);
    return out->p ? NEXUS_OK : nexus__nomem();
}

static nexus_status load_number(nexus__loader *l, uint32_t value, const nexus__loader_row *row, void *field)
{
    int64_t number;
    bool is_signed = row->kind == NEXUS__LOADER_I32;
    int64_t min = is_signed ? INT32_MIN : (int64_t)row->min;
    int64_t max = is_signed ? INT32_MAX : row->max ? (int64_t)row->max : UINT32_MAX;
    if (!nexus__json_i64(l->doc, value, &number) || number < min || number > max)
        return nexus__loader_fail(l, value, "must be a whole number from %lld to %lld", (long long)min, (long long)max);
    if (is_signed)
        *(int32_t *)field = (int32_t)number;
    else
        *(uint32_t *)field = (uint32_t)number;
    return NEXUS_OK;
}

static nexus_status load_field(nexus__loader *l, uint32_t value, const nexus__loader_row *row, void *out)
{
    void *field = (char *)out + row->offset;
    switch (row->kind) {
    case NEXUS__LOADER_TEXT:
        return nexus__loader_text(l, value, field);
    case NEXUS__LOADER_BOOL:
        return nexus__json_bool(l->doc, value, field) ? NEXUS_OK : nexus__loader_fail(l, value, "must be true or false");
    case NEXUS__LOADER_U32:
    case NEXUS__LOADER_I32:
        return load_number(l, value, row, field);
    case NEXUS__LOADER_CALL:
        break;
    }
    return row->fn(l, value, field);
}

static nexus_status unknown_key(nexus__loader *l, uint32_t node, nexus_slice key, const nexus__loader_row *rows,
                                size_t n)
{
    const char *names[KEYS_MAX];
    size_t count = n < KEYS_MAX ? n : KEYS_MAX;
    for (size_t i = 0; i < count; i++)
        names[i] = rows[i].key;
    return nexus__loader_fail(l, node, "unknown key \"%.*s\"; the nearest known one is \"%s\"", (int)key.n, key.p,
                              nexus__nearest(key, names, count));
}

nexus_status nexus__loader_object(nexus__loader *l, uint32_t value, const nexus__loader_row *rows, size_t n, void *out)
{
    uint64_t seen = 0;
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be an object");
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus_slice key;
        size_t i = 0;
        if (!nexus__json_text(l->doc, it.key, &key))
            return nexus__nomem();
        while (i < n && !nexus__slice_eq_c(key, rows[i].key))
            i++;
        if (i == n)
            return unknown_key(l, it.key, key, rows, n);
        seen |= (uint64_t)1 << i;
        size_t mark = nexus__loader_push(l, key);
        nexus_status status = load_field(l, it.value, &rows[i], out);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    for (size_t i = 0; i < n; i++)
        if (rows[i].required && !(seen >> i & 1))
            return nexus__loader_fail(l, value, "\"%s\" is missing", rows[i].key);
    return NEXUS_OK;
}

nexus_status nexus__loader_texts(nexus__loader *l, uint32_t value, void *out)
{
    nexus__text_list *list = out;
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_ARRAY))
        return nexus__loader_fail(l, value, "must be an array of strings");
    list->items = nexus__arena_get(l->arena, (nexus__json_count(l->doc, value) + 1) * sizeof *list->items);
    list->count = 0;
    if (!list->items)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        size_t mark = nexus__loader_push_index(l, it.index);
        nexus_status status = nexus__loader_text(l, it.value, &list->items[list->count++]);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

nexus_status nexus__loader_pairs(nexus__loader *l, uint32_t value, void *out)
{
    nexus__pair_list *list = out;
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be an object of strings");
    list->items = nexus__arena_get(l->arena, (nexus__json_count(l->doc, value) + 1) * sizeof *list->items);
    list->count = 0;
    if (!list->items)
        return nexus__nomem();
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        nexus_pair *pair = &list->items[list->count++];
        *pair = (nexus_pair){0};
        nexus_status status = nexus__loader_text(l, it.key, &pair->name);
        size_t mark = nexus__loader_push(l, pair->name);
        status = status ? status : nexus__loader_text(l, it.value, &pair->value);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}
