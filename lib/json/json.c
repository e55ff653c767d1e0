/* The public face of the scanner and the writer. */
#include <nexus/json.h>

#include "base/status.h"
#include "json/read.h"
#include "json/write.h"

#define DEPTH_MAX 64

struct nexus_json {
    nexus__json doc;
    char *text;
};

nexus_status nexus_json_parse(nexus_json **out, nexus_slice text)
{
    nexus_json *json = nexus__calloc(NULL, 1, sizeof *json);
    if (!json)
        return nexus__nomem();
    nexus__json_init(&json->doc, NULL);
    json->text = nexus__strndup(NULL, text);
    nexus_status st = json->text ? nexus__json_scan(&json->doc, nexus__slice(json->text, text.n), NULL) : nexus__nomem();
    if (st == NEXUS_OK)
        *out = json;
    else
        nexus_json_free(json);
    return st;
}

void nexus_json_free(nexus_json *json)
{
    if (!json)
        return;
    nexus__json_free(&json->doc);
    nexus__free(NULL, json->text);
    nexus__free(NULL, json);
}

uint32_t nexus_json_type(const nexus_json *json, uint32_t value)
{
    return nexus__json_type_of(&json->doc, value);
}

uint32_t nexus_json_count(const nexus_json *json, uint32_t value)
{
    nexus__json_type type = nexus__json_type_of(&json->doc, value);
    return type == NEXUS__JSON_ARRAY || type == NEXUS__JSON_OBJECT ? nexus__json_count(&json->doc, value) : 0;
}

uint32_t nexus_json_get(const nexus_json *json, uint32_t object, const char *name)
{
    return nexus__json_get(&json->doc, object, name);
}

uint32_t nexus_json_at(const nexus_json *json, uint32_t value, const char *pointer)
{
    return nexus__json_pointer(&json->doc, value, nexus__slice_c(pointer));
}

bool nexus_json_text(nexus_json *json, uint32_t value, nexus_slice *out)
{
    return nexus__json_text(&json->doc, value, out);
}

bool nexus_json_int(const nexus_json *json, uint32_t value, int64_t *out)
{
    return nexus__json_i64(&json->doc, value, out);
}

bool nexus_json_double(const nexus_json *json, uint32_t value, double *out)
{
    return nexus__json_double(&json->doc, value, out);
}

bool nexus_json_bool(const nexus_json *json, uint32_t value, bool *out)
{
    return nexus__json_bool(&json->doc, value, out);
}

void nexus_json_raw(const nexus_json *json, uint32_t value, nexus_slice *out)
{
    *out = nexus__json_raw(&json->doc, value);
}

/* next is the node of the coming step plus one, so that a zeroed iterator is a new walk. */
bool nexus_json_step(nexus_json *json, uint32_t container, nexus_json_iter *iter)
{
    const nexus__json *doc = &json->doc;
    nexus__json_type type = nexus__json_type_of(doc, container);
    if (type != NEXUS__JSON_ARRAY && type != NEXUS__JSON_OBJECT)
        return false;
    uint32_t at = iter->next == 0 ? container + 1 : iter->next - 1;
    if (at >= doc->nodes[container].next)
        return false;
    iter->index = iter->next == 0 ? 0 : iter->index + 1;
    iter->name = (nexus_slice){NULL, 0};
    if (type == NEXUS__JSON_OBJECT && !nexus__json_text(&json->doc, at++, &iter->name))
        return false;
    iter->value = at;
    iter->next = doc->nodes[at].next + 1;
    return true;
}

/* --- writing --------------------------------------------------------------------------------- */

struct nexus_json_writer {
    nexus__buf text;
    nexus__json_writer writer;
    char open[DEPTH_MAX]; /* closing brackets */
    uint32_t depth;
};

nexus_status nexus_json_writer_new(nexus_json_writer **out)
{
    nexus_json_writer *w = nexus__calloc(NULL, 1, sizeof *w);
    if (!w)
        return nexus__nomem();
    nexus__buf_init(&w->text, NULL, 0);
    w->writer = nexus__json_writer_on(&w->text);
    *out = w;
    return NEXUS_OK;
}

void nexus_json_writer_free(nexus_json_writer *w)
{
    if (!w)
        return;
    nexus__buf_free(&w->text);
    nexus__free(NULL, w);
}

static nexus__json_writer *named(nexus_json_writer *w, const char *name)
{
    if (name)
        nexus__json_key(&w->writer, name);
    return &w->writer;
}

static void open_with(nexus_json_writer *w, const char *name, char opening, char closing)
{
    if (w->depth == DEPTH_MAX) {
        w->text.status = NEXUS_ETOOBIG;
        return;
    }
    nexus__json_open(named(w, name), opening);
    w->open[w->depth++] = closing;
}

void nexus_json_open_object(nexus_json_writer *w, const char *name)
{
    open_with(w, name, '{', '}');
}

void nexus_json_open_array(nexus_json_writer *w, const char *name)
{
    open_with(w, name, '[', ']');
}

void nexus_json_close(nexus_json_writer *w)
{
    if (w->depth > 0)
        nexus__json_close(&w->writer, w->open[--w->depth]);
}

void nexus_json_put_text(nexus_json_writer *w, const char *name, nexus_slice text)
{
    nexus__json_text_value(named(w, name), text);
}

void nexus_json_put_text_c(nexus_json_writer *w, const char *name, const char *text)
{
    nexus__json_text_c_value(named(w, name), text);
}

void nexus_json_put_int(nexus_json_writer *w, const char *name, int64_t value)
{
    nexus__json_i64_value(named(w, name), value);
}

void nexus_json_put_double(nexus_json_writer *w, const char *name, double value)
{
    nexus__json_double_value(named(w, name), value);
}

void nexus_json_put_bool(nexus_json_writer *w, const char *name, bool value)
{
    nexus__json_bool_value(named(w, name), value);
}

void nexus_json_put_null(nexus_json_writer *w, const char *name)
{
    nexus__json_null_value(named(w, name));
}

void nexus_json_put_raw(nexus_json_writer *w, const char *name, nexus_slice json)
{
    nexus__json_raw_value(named(w, name), json);
}

const char *nexus_json_writer_text(nexus_json_writer *w, size_t *len)
{
    if (w->depth != 0 || w->text.status != NEXUS_OK || !nexus__buf_reserve(&w->text, 1))
        return NULL;
    w->text.p[w->text.len] = '\0';
    *len = w->text.len;
    return w->text.p;
}
