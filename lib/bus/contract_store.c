/*
 * Contracts as data. On the bus they are ordinary events, one for each revision, in a stream of their own: so they are
 * there on every engine and in every process, replicated, backed up and read like everything else. Their id is
 * "TYPE@REV", so that two processes that start at once store each once.
 */
#include "bus/contract_store.h"

#include <nexus/stream.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "bus/handle.h"
#include "json/read.h"
#include "json/write.h"

#define STREAM "nexus.contracts"
#define TYPE "nexus.contract"

static const char *const modes[] = {"enforce", "warn", "off"};
static const char *const compats[] = {"backward", "forward", "full", "none"};

void nexus__contract_list_free(nexus__contract_list *list)
{
    nexus__arena_free(&list->arena);
}

static void list_init(nexus__contract_list *list, const nexus_alloc *alloc)
{
    *list = (nexus__contract_list){0};
    nexus__arena_init(&list->arena, alloc, 0);
}

static nexus_contract *append(nexus__contract_list *list)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        nexus_contract *grown = nexus__arena_get(&list->arena, cap * sizeof *grown);
        if (!grown)
            return NULL;
        if (list->count)
            memcpy(grown, list->items, list->count * sizeof *grown);
        list->items = grown;
        list->cap = cap;
    }
    nexus_contract *c = &list->items[list->count++];
    *c = (nexus_contract)NEXUS_CONTRACT_INIT;
    return c;
}

static nexus_status choose(nexus__json *doc, uint32_t object, const char *name, const char *const *words, uint32_t n,
                           uint32_t *out)
{
    nexus_slice text;
    uint32_t v = nexus__json_get(doc, object, name);
    *out = 0;
    if (v == NEXUS__JSON_NONE)
        return NEXUS_OK;
    for (uint32_t i = 0; i < n; i++)
        if (nexus__json_text_is(doc, v, nexus__slice_c(words[i]))) {
            *out = i;
            return NEXUS_OK;
        }
    text = nexus__json_raw(doc, v);
    return nexus__fail(NEXUS_EINVAL, "contract: \"%s\" is %.*s", name, (int)(text.n < 60 ? text.n : 60), text.p);
}

static nexus_status take(nexus__contract_list *list, nexus__json *doc, uint32_t object)
{
    nexus_slice type;
    int64_t rev;
    nexus_contract *c = append(list);
    if (!c)
        return nexus__nomem();
    if (!nexus__json_get_text(doc, object, "type", &type) || !nexus__json_get_i64(doc, object, "rev", &rev) ||
        rev < 1 || rev > INT32_MAX)
        return nexus__fail(NEXUS_EINVAL, "contract: \"type\" is a string and \"rev\" a number from 1");
    nexus_slice schema = nexus__json_raw(doc, nexus__json_get(doc, object, "schema"));
    c->type = nexus__arena_copy(&list->arena, type).p;
    c->schema = schema.n ? nexus__arena_copy(&list->arena, schema) : NEXUS_S("");
    c->rev = (uint32_t)rev;
    if (!c->type || !c->schema.p)
        return nexus__nomem();
    nexus_status status = choose(doc, object, "mode", modes, 3, &c->mode);
    return status == NEXUS_OK ? choose(doc, object, "compat", compats, 4, &c->compat) : status;
}

nexus_status nexus__contract_list_parse(nexus__contract_list *list, const nexus_alloc *alloc, nexus_slice text)
{
    nexus__json doc;
    list_init(list, alloc);
    nexus__json_init(&doc, alloc);
    nexus_status status = nexus__json_scan(&doc, text, NULL);
    if (status == NEXUS_OK && nexus__json_is(&doc, 0, NEXUS__JSON_OBJECT)) {
        status = take(list, &doc, 0);
    } else if (status == NEXUS_OK) {
        nexus__json_iter it = nexus__json_each(&doc, 0);
        while (status == NEXUS_OK && nexus__json_step(&doc, &it))
            status = take(list, &doc, it.value);
    }
    nexus__json_free(&doc);
    return status;
}

/* --- on the bus ---- */

static int by_type(const void *a, const void *b)
{
    const nexus_contract *x = a, *y = b;
    int order = strcmp(x->type, y->type);
    return order ? order : x->rev < y->rev ? -1 : x->rev > y->rev;
}

static nexus_status read_all(nexus__contract_list *list, nexus_bus *bus, nexus_reader *reader)
{
    nexus__json doc;
    const nexus_event *e;
    nexus_status status;
    nexus__json_init(&doc, bus->alloc);
    while ((status = nexus_reader_next(reader, &e, 0)) != NEXUS_EDONE) {
        if (status == NEXUS_ECORRUPT)
            continue; /* its owner stores it again at its next start */
        if (status == NEXUS_OK && nexus__slice_eq_c(e->type, TYPE))
            status = nexus__json_scan(&doc, e->data, NULL);
        if (status == NEXUS_OK && nexus__slice_eq_c(e->type, TYPE))
            status = take(list, &doc, 0);
        if (status != NEXUS_OK)
            break;
    }
    nexus__json_free(&doc);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

/* The last one of each (type, rev) counts; equal neighbours after sorting are the same contract stored twice. */
static void unique(nexus__contract_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (!kept || by_type(&list->items[kept - 1], &list->items[i]) != 0)
            list->items[kept++] = list->items[i];
    list->count = kept;
}

nexus_status nexus__contract_list_read(nexus__contract_list *list, nexus_bus *bus)
{
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    nexus_reader *reader;
    list_init(list, bus->alloc);
    opts.stream = STREAM;
    opts.raw = true;
    nexus_status status = nexus_reader_open(&reader, bus, &opts);
    if (status != NEXUS_OK)
        return status;
    status = read_all(list, bus, reader);
    nexus_reader_close(reader);
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_type);
    unique(list);
    return status;
}

static nexus_status publish(nexus_bus *bus, const nexus__rev *r)
{
    nexus__buf data, id;
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_opts opts = NEXUS_PUBLISH_OPTS_INIT;
    nexus__buf_init(&data, bus->alloc, 0);
    nexus__buf_init(&id, bus->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "type", r->type);
    nexus__json_put_u64(&w, "rev", r->rev);
    nexus__json_put_text_c(&w, "compat", compats[r->compat]);
    if (r->text_bytes)
        nexus__json_put_raw(&w, "schema", nexus__slice(r->text, r->text_bytes));
    nexus__json_close(&w, '}');
    nexus__buf_printf(&id, "%s@%u", r->type, r->rev);
    e.type = NEXUS_S(TYPE);
    e.source = NEXUS_S("/nexus/contracts");
    e.subject = NEXUS_S(STREAM);
    e.id = nexus__buf_slice(&id);
    e.data = nexus__buf_slice(&data);
    opts.stream = STREAM;
    nexus_status status = data.status == NEXUS_OK ? id.status : data.status;
    if (status == NEXUS_OK)
        status = nexus_bus_publish(bus, &e, 1, &opts, NULL);
    if (status == NEXUS_ECONFLICT)
        status = nexus__fail(status, "contract %s, revision %u: another process stored another schema at this moment",
                             r->type, r->rev);
    nexus__buf_free(&data);
    nexus__buf_free(&id);
    return status;
}

nexus_status nexus__contract_store(nexus_bus *bus, nexus__rev *const *revs, size_t n)
{
    nexus__contract_list list;
    if (!n)
        return NEXUS_OK;
    nexus_status status = nexus__contract_list_read(&list, bus);
    for (size_t i = 0; i < n && status == NEXUS_OK; i++) {
        nexus_contract key = {.type = revs[i]->type, .rev = revs[i]->rev};
        const nexus_contract *there = list.count ? bsearch(&key, list.items, list.count, sizeof key, by_type) : NULL;
        if (there && !nexus__contract_same(there->schema, nexus__slice(revs[i]->text, revs[i]->text_bytes)))
            status = nexus__fail(NEXUS_ECONFLICT,
                                 "contract %s, revision %u is on the bus with another schema: a published "
                                 "revision never changes, add revision %u",
                                 revs[i]->type, revs[i]->rev, revs[i]->rev + 1);
        else if (!there)
            status = publish(bus, revs[i]);
    }
    nexus__contract_list_free(&list);
    return status;
}
