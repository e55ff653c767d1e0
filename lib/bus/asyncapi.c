/* The contracts of a bus as an AsyncAPI 3.0 document: a channel for each type, a message for each revision. */
#include "base/status.h"
#include "bus/contract_store.h"
#include "bus/event.h"
#include "bus/handle.h"
#include "json/read.h"
#include "json/write.h"

#define SCHEMA_FORMAT "application/schema+json;version=draft-2020-12"

void nexus_asyncapi_opts_init(nexus_asyncapi_opts *opts)
{
    *opts = (nexus_asyncapi_opts)NEXUS_ASYNCAPI_OPTS_INIT;
}

/* The next contract of stored ones and the library's own, both sorted by type; a stored one of the type wins. */
typedef struct merged {
    const nexus__contract_list *list;
    size_t at, own;
} merged;

static bool stored_type(const nexus__contract_list *list, const char *type)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].type, type) == 0)
            return true;
    return false;
}

static bool next(merged *m, nexus_contract *out)
{
    const char *type;
    while ((type = nexus__event_own_type(m->own)) != NULL && stored_type(m->list, type))
        m->own++;
    bool has = m->at < m->list->count;
    if (!has && !type)
        return false;
    if (has && (!type || strcmp(m->list->items[m->at].type, type) < 0)) {
        *out = m->list->items[m->at++];
        return true;
    }
    *out = (nexus_contract){.type = type, .rev = 1, .schema = nexus__slice_c(nexus_event_schema(type))};
    m->own++;
    return true;
}

static void message_name(nexus__buf *out, const nexus_contract *c)
{
    nexus__buf_clear(out);
    nexus__buf_printf(out, "%s.rev%u", c->type, c->rev);
}

static void reference(nexus__json_writer *w, const char *to, nexus_slice name)
{
    nexus__buf text;
    nexus__buf_init(&text, w->out->alloc, 0);
    nexus__buf_text(&text, to);
    nexus__json_token_append(&text, name);
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "$ref", nexus__buf_slice(&text));
    nexus__json_close(w, '}');
    nexus__buf_free(&text);
}

static void channels(nexus__json_writer *w, const nexus__contract_list *list, nexus__buf *name)
{
    merged m = {.list = list};
    nexus_contract c;
    nexus__buf open;
    nexus__buf_init(&open, w->out->alloc, 0);
    nexus__json_key(w, "channels");
    nexus__json_open(w, '{');
    while (next(&m, &c)) {
        if (!nexus__slice_eq_c(nexus__buf_slice(&open), c.type)) {
            if (open.len) {
                nexus__json_close(w, '}');
                nexus__json_close(w, '}');
            }
            nexus__buf_clear(&open);
            nexus__buf_text(&open, c.type);
            nexus__json_key(w, c.type);
            nexus__json_open(w, '{');
            nexus__json_put_text_c(w, "address", c.type);
            nexus__json_key(w, "messages");
            nexus__json_open(w, '{');
        }
        message_name(name, &c);
        nexus__json_key_slice(w, nexus__buf_slice(name));
        reference(w, "#/components/messages", nexus__buf_slice(name));
    }
    if (open.len) {
        nexus__json_close(w, '}');
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, '}');
    nexus__buf_free(&open);
}

/* What tells this message from others: a schema of the attributes. */
static void attributes(nexus__json_writer *w, const nexus_contract *c)
{
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "type", "object");
    nexus__json_key(w, "properties");
    nexus__json_open(w, '{');
    nexus__json_key(w, "type");
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "const", c->type);
    nexus__json_close(w, '}');
    nexus__json_key(w, "rev");
    nexus__json_open(w, '{');
    nexus__json_put_u64(w, "const", c->rev);
    nexus__json_close(w, '}');
    nexus__json_close(w, '}');
    nexus__json_close(w, '}');
}

static void message(nexus__json_writer *w, const nexus_contract *c, nexus_slice name)
{
    nexus__json_key_slice(w, name);
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "name", name);
    nexus__json_put_text_c(w, "title", c->type);
    nexus__json_put_text_c(w, "contentType", "application/json");
    nexus__json_key(w, "headers");
    attributes(w, c);
    nexus__json_key(w, "payload");
    nexus__json_open(w, '{');
    nexus__json_put_text_c(w, "schemaFormat", SCHEMA_FORMAT);
    nexus__json_put_raw(w, "schema", c->schema.n ? c->schema : NEXUS_S("true"));
    nexus__json_close(w, '}');
    nexus__json_put_u64(w, "x-rev", c->rev);
    nexus__json_close(w, '}');
}

static void components(nexus__json_writer *w, const nexus__contract_list *list, nexus__buf *name)
{
    merged m = {.list = list};
    nexus_contract c;
    nexus__json_key(w, "components");
    nexus__json_open(w, '{');
    nexus__json_key(w, "messages");
    nexus__json_open(w, '{');
    while (next(&m, &c)) {
        message_name(name, &c);
        message(w, &c, nexus__buf_slice(name));
    }
    nexus__json_close(w, '}');
    nexus__json_close(w, '}');
}

nexus_status nexus_contract_asyncapi(char **out, size_t *n, nexus_bus *bus, const nexus_asyncapi_opts *opts)
{
    nexus_asyncapi_opts o = NEXUS_ASYNCAPI_OPTS_INIT;
    nexus__contract_list list;
    nexus__buf text, name;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    nexus__buf_init(&text, NULL, 0);
    nexus__buf_init(&name, NULL, 0);
    nexus_status status = nexus__contract_list_read(&list, bus);
    if (status == NEXUS_OK) {
        nexus__json_writer w = nexus__json_writer_on(&text);
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "asyncapi", "3.0.0");
        nexus__json_key(&w, "info");
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "title", o.title ? o.title : "Events");
        nexus__json_put_text_c(&w, "version", o.version ? o.version : "1.0.0");
        nexus__json_close(&w, '}');
        nexus__json_put_text_c(&w, "defaultContentType", "application/json");
        channels(&w, &list, &name);
        components(&w, &list, &name);
        nexus__json_close(&w, '}');
        status = nexus__buf_hand_over(&text, out, n);
    }
    nexus__contract_list_free(&list);
    nexus__buf_free(&text);
    nexus__buf_free(&name);
    return status;
}
