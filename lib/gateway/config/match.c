/*
 * The member "match" of a route.
 *
 *     "match": {"headers": {"X-Env": "beta", "X-Debug": true, "X-Old": false, "X-Id": {"regex": "[0-9]+"}},
 *               "query": {"v": {"prefix": "2"}}, "cookies": {…}, "client": ["10.0.0.0/8"]}
 */
#include <stdlib.h>

#include "gateway/config/rows.h"
#include "gateway/match.h"

/* A pattern's text by that name goes to `out` and what it compiles to into the config, which frees it. */
nexus_status nexus__gw_load_regex(nexus__loader *l, uint32_t value, nexus_slice *text, nexus__regex **out)
{
    nexus__gw_config *c = l->config;
    nexus__gw_regex *kept = nexus__arena_get(l->arena, sizeof *kept);
    if (!kept)
        return nexus__nomem();
    nexus_status status = nexus__loader_text(l, value, text);
    if (status)
        return status;
    status = nexus__regex_compile_whole(&kept->re, *text, c->alloc);
    if (status)
        return status == NEXUS_ENOMEM ? status : nexus__loader_refuse(l, value);
    kept->next = c->regexes;
    c->regexes = kept;
    *out = kept->re;
    return NEXUS_OK;
}

static nexus_status load_how(nexus__loader *l, uint32_t value, nexus__match_condition *c)
{
    static const struct {
        const char *key;
        enum nexus__match_how how;
    } hows[] = {{"exact", NEXUS__MATCH_EXACT}, {"prefix", NEXUS__MATCH_PREFIX}, {"regex", NEXUS__MATCH_REGEX}};
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);)
        for (size_t i = 0; i < COUNT(hows); i++)
            if (nexus__json_count(l->doc, value) == 1 &&
                nexus__json_text_is(l->doc, it.key, nexus__slice_c(hows[i].key))) {
                c->how = hows[i].how;
                return c->how == NEXUS__MATCH_REGEX ? nexus__gw_load_regex(l, it.value, &c->text, &c->re)
                                                    : nexus__loader_text(l, it.value, &c->text);
            }
    return nexus__loader_fail(l, value, "must have one of \"exact\", \"prefix\" and \"regex\"");
}

static nexus_status load_condition(nexus__loader *l, uint32_t value, nexus__match_condition *c)
{
    bool there;
    if (nexus__json_bool(l->doc, value, &there)) {
        c->how = there ? NEXUS__MATCH_PRESENT : NEXUS__MATCH_ABSENT;
        return NEXUS_OK;
    }
    if (nexus__json_is(l->doc, value, NEXUS__JSON_STRING))
        return nexus__loader_text(l, value, &c->text);
    if (nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return load_how(l, value, c);
    return nexus__loader_fail(l, value, "must be a text, true, false or an object such as {\"prefix\": \"a\"}");
}

/* Conditions while they are read, of one part after the other. */
typedef struct reading {
    nexus__match_conf conf;
    nexus__match_condition items[NEXUS__MATCH_CONDITIONS_MAX];
} reading;

static nexus_status load_part(nexus__loader *l, uint32_t value, reading *r, enum nexus__match_part part)
{
    if (!nexus__json_is(l->doc, value, NEXUS__JSON_OBJECT))
        return nexus__loader_fail(l, value, "must be an object of conditions by name");
    for (nexus__json_iter it = nexus__json_each(l->doc, value); nexus__json_step(l->doc, &it);) {
        if (r->conf.count == NEXUS__MATCH_CONDITIONS_MAX)
            return nexus__loader_fail(l, value, "has more than %d conditions", NEXUS__MATCH_CONDITIONS_MAX);
        nexus__match_condition *c = &r->items[r->conf.count++];
        *c = (nexus__match_condition){.part = part};
        nexus_status status = nexus__loader_text(l, it.key, &c->name);
        size_t mark = nexus__loader_push(l, c->name);
        if (!status && part != NEXUS__MATCH_QUERY && !nexus__gw_is_token(c->name))
            status = nexus__loader_fail(l, it.key, "\"%s\" can be no name of that kind", c->name.p);
        status = status ? status : load_condition(l, it.value, c);
        nexus__loader_pop(l, mark);
        if (status)
            return status;
    }
    return NEXUS_OK;
}

static nexus_status load_headers(nexus__loader *l, uint32_t value, void *out)
{
    return load_part(l, value, out, NEXUS__MATCH_HEADER);
}

static nexus_status load_query(nexus__loader *l, uint32_t value, void *out)
{
    return load_part(l, value, out, NEXUS__MATCH_QUERY);
}

static nexus_status load_cookies(nexus__loader *l, uint32_t value, void *out)
{
    return load_part(l, value, out, NEXUS__MATCH_COOKIE);
}

static nexus_status load_client(nexus__loader *l, uint32_t value, void *out)
{
    nexus__match_conf *c = &((reading *)out)->conf;
    nexus_status status = nexus__loader_texts(l, value, &c->client_texts);
    if (status)
        return status;
    if (c->client_texts.count == 0)
        return nexus__loader_fail(l, value, "needs at least one block");
    nexus__ip_node *room =
        nexus__arena_get(l->arena, NEXUS__IP_SET_NODES(c->client_texts.count) * sizeof(nexus__ip_node));
    if (!room)
        return nexus__nomem();
    c->client = nexus__ip_set_in(room);
    for (uint32_t i = 0; i < c->client_texts.count; i++) {
        nexus__ip_block block;
        if (!nexus__ip_block_parse(c->client_texts.items[i], &block))
            return nexus__loader_fail(l, value, "\"%s\" is no address or block such as 10.0.0.0/8",
                                      c->client_texts.items[i].p);
        nexus__ip_set_add(&c->client, &block);
    }
    return NEXUS_OK;
}

/* --- the one form ------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const nexus__match_condition *x = a, *y = b;
    int by_name = nexus__slice_cmp(x->name, y->name);
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    if (by_name)
        return by_name;
    return x->how != y->how ? (x->how < y->how ? -1 : 1) : nexus__slice_cmp(x->text, y->text);
}

static int compare_texts(const void *a, const void *b)
{
    return nexus__slice_cmp(*(const nexus_slice *)a, *(const nexus_slice *)b);
}

static nexus_status write_text(nexus__loader *l, nexus__match_conf *c)
{
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    qsort(c->items, c->count, sizeof *c->items, compare);
    if (c->client_texts.count)
        qsort(c->client_texts.items, c->client_texts.count, sizeof *c->client_texts.items, compare_texts);
    for (uint32_t i = 0; i < c->count; i++) {
        const nexus__match_condition *k = &c->items[i];
        nexus__buf_printf(&text, "%d %d %.*s %.*s\n", k->part, k->how, (int)k->name.n, k->name.p, (int)k->text.n,
                          k->text.p ? k->text.p : "");
    }
    for (uint32_t i = 0; i < c->client_texts.count; i++)
        nexus__buf_printf(&text, "client %s\n", c->client_texts.items[i].p);
    c->text = nexus__arena_copy(l->arena, nexus__buf_slice(&text));
    bool failed = text.status || !c->text.p;
    nexus__buf_free(&text);
    return failed ? nexus__nomem() : NEXUS_OK;
}

nexus_status nexus__gw_load_match(nexus__loader *l, uint32_t value, void *out)
{
    static const nexus__loader_row rows[] = {
        CALL("headers", load_headers, reading, conf),
        CALL("query", load_query, reading, conf),
        CALL("cookies", load_cookies, reading, conf),
        CALL("client", load_client, reading, conf),
    };
    reading r = {0};
    nexus_status status = nexus__loader_object(l, value, rows, COUNT(rows), &r);
    if (status)
        return status;
    nexus__match_conf *conf = nexus__arena_get(l->arena, sizeof *conf + r.conf.count * sizeof *conf->items);
    if (!conf)
        return nexus__nomem();
    *conf = r.conf;
    conf->items = (nexus__match_condition *)(conf + 1);
    memcpy(conf->items, r.items, r.conf.count * sizeof *conf->items);
    for (uint32_t i = 0; i < conf->count; i++) /* header names: in one case */
        for (size_t k = 0; conf->items[i].part == NEXUS__MATCH_HEADER && k < conf->items[i].name.n; k++)
            ((char *)(uintptr_t)conf->items[i].name.p)[k] = nexus__ascii_lower(conf->items[i].name.p[k]);
    if (nexus__match_count(conf) == 0)
        return nexus__loader_fail(l, value, "has no condition");
    *(const nexus__match_conf **)out = conf;
    return write_text(l, conf);
}
