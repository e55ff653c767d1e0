/* The filter "compress": gzip of answers, as stage.c makes it. */
#include "gateway/config/rows.h"
#include "gateway/filters/body.h"
#include "gateway/stage.h"

static nexus_status load_types(nexus__loader *l, uint32_t value, void *out)
{
    const nexus__text_list *list = out;
    nexus_status status = nexus__loader_texts(l, value, out);
    for (uint32_t i = 0; i < list->count && !status; i++)
        if (nexus__slice_find(list->items[i], '/') == list->items[i].n && list->items[i].p[0] != '+')
            return nexus__loader_fail(l, value, "\"%s\" is no media type; \"text/\" stands for all of one kind, \"+json\" "
                                                "for an ending",
                                      list->items[i].p);
    return status;
}

static nexus_status load(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("types", load_types, nexus__compress_conf, types),
        ROW("min_bytes", U32, nexus__compress_conf, min_bytes, 0, 0),
        ROW("level", U32, nexus__compress_conf, level, 1, 9),
    };
    static const nexus_slice usual[] = {{"text/", 5},
                                  {"application/json", 16},
                                  {"+json", 5},
                                  {"application/javascript", 22},
                                  {"application/xml", 15},
                                  {"+xml", 4},
                                  {"application/wasm", 16},
                                  {"application/x-ndjson", 20}};
    nexus__compress_conf *c = out;
    c->types = (nexus__text_list){nexus__arena_get(l->arena, sizeof usual), COUNT(usual)};
    if (!c->types.items)
        return nexus__nomem();
    memcpy(c->types.items, usual, sizeof usual);
    c->min_bytes = 1024;
    c->level = 5;
    if (nexus__json_bool(l->doc, value, &c->on))
        return NEXUS_OK;
    c->on = true;
    return nexus__loader_object(l, value, rows, COUNT(rows), c);
}

static void explain(const void *conf, const void *state, nexus__json_writer *w)
{
    const nexus__compress_conf *c = conf;
    (void)state;
    nexus__json_put_text_c(w, "coding", c->on ? "gzip" : "none");
    nexus__json_put_u64(w, "min_bytes", c->min_bytes);
    nexus__json_put_u64(w, "level", c->level);
}

const nexus__gw_filter nexus__gw_filter_compress = {
    .key = "compress",
    .conf_bytes = sizeof(nexus__compress_conf),
    .load = load,
    .stage = true,
    .explain = explain,
};
