/* Changes of single entries of what is in force: judged, written to the routes file, and only then in force. */
#include <stdio.h>

#include "base/status.h"
#include "gateway/gateway.h"
#include "gateway/outline.h"

void nexus_gateway_edit_opts_init(nexus_gateway_edit_opts *opts)
{
    *opts = (nexus_gateway_edit_opts)NEXUS_GATEWAY_EDIT_OPTS_INIT;
}

/* --- operations --------------------------------------------------------------------------------------------------- */

typedef struct operation {
    nexus_slice op, collection, id, value, if_match, if_none_match;
} operation;

static nexus_status read_operation(nexus__json *doc, uint32_t at, uint32_t index, operation *o)
{
    static const struct {
        const char *name;
        size_t offset;
        bool required;
    } members[] = {
        {"op", offsetof(operation, op), true},
        {"collection", offsetof(operation, collection), true},
        {"id", offsetof(operation, id), true},
        {"if_match", offsetof(operation, if_match), false},
        {"if_none_match", offsetof(operation, if_none_match), false},
    };
    *o = (operation){0};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        nexus_slice *field = (nexus_slice *)(void *)((char *)o + members[i].offset);
        if (!nexus__json_get_text(doc, at, members[i].name, field) && members[i].required)
            return nexus__fail(NEXUS_EINVAL, "operations: /%u/%s: must be a string", index, members[i].name);
    }
    o->value = nexus__json_raw(doc, nexus__json_get(doc, at, "value"));
    bool put = nexus__slice_eq_c(o->op, "put");
    if (!put && !nexus__slice_eq_c(o->op, "remove"))
        return nexus__fail(NEXUS_EINVAL, "operations: /%u/op: must be \"put\" or \"remove\"", index);
    if (put != (o->value.n > 0))
        return nexus__fail(NEXUS_EINVAL, "operations: /%u/value: %s", index,
                           put ? "is missing" : "a removal has no value");
    if (o->id.n == 0 || o->collection.n == 0)
        return nexus__fail(NEXUS_EINVAL, "operations: /%u: \"id\" and \"collection\" must not be empty", index);
    return NEXUS_OK;
}

static nexus_status check_match(const nexus__outline *outline, const operation *o)
{
    const nexus__outline_entry *e = nexus__outline_find(outline, o->collection, o->id);
    char etag[NEXUS__ETAG_MAX] = "";
    if (e)
        nexus__outline_etag(e->text, etag);
    if (o->if_match.n && (!e || (!nexus__slice_eq_c(o->if_match, "*") && !nexus__slice_eq_c(o->if_match, etag))))
        return nexus__fail(NEXUS_ESTALE, "%.*s %.*s is not what If-Match says: read it again", (int)o->collection.n,
                           o->collection.p, (int)o->id.n, o->id.p);
    if (o->if_none_match.n && e)
        return nexus__fail(NEXUS_ECONFLICT, "%.*s %.*s is there already", (int)o->collection.n, o->collection.p,
                           (int)o->id.n, o->id.p);
    return NEXUS_OK;
}

static nexus_status apply(nexus__outline *outline, nexus__json *ops)
{
    nexus_status status = NEXUS_OK;
    if (!nexus__json_is(ops, 0, NEXUS__JSON_ARRAY) || nexus__json_count(ops, 0) == 0)
        return nexus__fail(NEXUS_EINVAL, "operations: must be an array with at least one operation");
    for (nexus__json_iter it = nexus__json_each(ops, 0); !status && nexus__json_step(ops, &it);) {
        operation o;
        status = read_operation(ops, it.value, it.index, &o);
        if (!status)
            status = check_match(outline, &o);
        if (!status)
            status = nexus__slice_eq_c(o.op, "put") ? nexus__outline_put(outline, o.collection, o.id, o.value)
                                                    : nexus__outline_remove(outline, o.collection, o.id);
    }
    return status;
}

/* --- bringing a text into force ----------------------------------------------------------------------------------- */

static nexus_status report(nexus_gateway *g, const nexus__outline *was, nexus_slice text, bool dry_run, char **out,
                           size_t *n)
{
    nexus__outline now;
    nexus__buf buf;
    uint64_t version = 0;
    pthread_mutex_lock(&g->locked.mutex);
    if (g->locked.current)
        version = g->locked.current->version;
    pthread_mutex_unlock(&g->locked.mutex);
    nexus__buf_init(&buf, NULL, 0);
    nexus_status status = nexus__outline_read(&now, text, g->alloc);
    nexus__json_writer w = nexus__json_writer_on(&buf);
    if (!status) {
        nexus__json_open(&w, '{');
        nexus__json_put_u64(&w, "version", version);
        nexus__json_put_bool(&w, "dry_run", dry_run);
        nexus__json_key(&w, "changes");
        nexus__outline_diff(was, &now, &w);
        nexus__json_close(&w, '}');
        status = nexus__buf_hand_over(&buf, out, n);
    }
    nexus__outline_free(&now);
    nexus__buf_free(&buf);
    return status;
}

/* Under load_mutex. Written before it is in force: what was answered for survives a crash, and what could not be kept was
 * never in force. */
static nexus_status enforce(nexus_gateway *g, nexus_slice text, const nexus_gateway_edit_opts *opts)
{
    nexus__snapshot *s, *old = nexus__snapshot_current(g);
    nexus_status status = nexus__snapshot_build(&s, g, "edit", text, old);
    nexus__snapshot_unref(old);
    if (status)
        return status;
    if (!opts->dry_run)
        status = nexus__routes_file_save(g, text);
    if (status || opts->dry_run)
        nexus__snapshot_unref(s);
    else
        nexus__gateway_publish(g, s, opts->origin ? opts->origin : "edit");
    return status;
}

static nexus_status check_version(const nexus__snapshot *s, const nexus_gateway_edit_opts *opts)
{
    if (!s)
        return nexus__fail(NEXUS_ENOTFOUND, "gateway: nothing is loaded that could be changed");
    if (opts->if_version && opts->if_version != s->version)
        return nexus__fail(NEXUS_ESTALE, "version %llu is in force, not %llu: read it again",
                           (unsigned long long)s->version, (unsigned long long)opts->if_version);
    return NEXUS_OK;
}

static nexus_gateway_edit_opts sized(const nexus_gateway_edit_opts *opts)
{
    nexus_gateway_edit_opts o = NEXUS_GATEWAY_EDIT_OPTS_INIT;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    return o;
}

/* What a change makes of the text in force; the outline is of that text. */
typedef nexus_status change_fn(nexus_gateway *g, nexus__outline *outline, nexus__buf *text, const void *input);

static nexus_status change(nexus_gateway *g, change_fn *fn, const void *input, const nexus_gateway_edit_opts *opts,
                           char **out, size_t *n)
{
    nexus_gateway_edit_opts o = sized(opts);
    nexus__outline was, now;
    nexus__buf text;
    if (nexus__on_loop_thread())
        return nexus__fail(NEXUS_EDEADLK, "gateway: a change writes a file and may block; not on a loop");
    nexus__buf_init(&text, g->alloc, 0);
    pthread_mutex_lock(&g->load_mutex);
    nexus__snapshot *s = nexus__snapshot_current(g);
    nexus_status status = check_version(s, &o);
    if (!status) {
        nexus_slice in_force = nexus__slice(s->text, s->text_len);
        status = nexus__outline_read(&was, in_force, g->alloc);
        nexus_status again = nexus__outline_read(&now, in_force, g->alloc);
        status = status ? status : again;
        if (!status)
            status = fn(g, &now, &text, input);
        if (!status)
            status = text.status ? nexus__nomem() : enforce(g, nexus__buf_slice(&text), &o);
        if (!status)
            status = report(g, &was, nexus__buf_slice(&text), o.dry_run, out, n);
        nexus__outline_free(&was);
        nexus__outline_free(&now);
    }
    nexus__snapshot_unref(s);
    pthread_mutex_unlock(&g->load_mutex);
    nexus__buf_free(&text);
    return status;
}

static nexus_status apply_text(nexus_gateway *g, nexus__outline *outline, nexus__buf *text, const void *input)
{
    nexus__json ops;
    nexus__json_init(&ops, g->alloc);
    nexus_status status = nexus__json_scan(&ops, *(const nexus_slice *)input, NULL);
    if (!status)
        status = apply(outline, &ops);
    if (!status)
        nexus__outline_write(outline, text); /* values still stand in ops */
    nexus__json_free(&ops);
    return status;
}

static nexus_status whole_text(nexus_gateway *g, nexus__outline *outline, nexus__buf *text, const void *input)
{
    (void)g, (void)outline;
    nexus__buf_slice_append(text, *(const nexus_slice *)input);
    return NEXUS_OK;
}

static nexus_status old_text(nexus_gateway *g, nexus__outline *outline, nexus__buf *text, const void *input)
{
    uint64_t version = *(const uint64_t *)input;
    (void)outline;
    pthread_mutex_lock(&g->locked.mutex);
    const nexus__history_entry *e = nexus__history_find(&g->locked.history, version);
    if (e)
        nexus__buf_append(text, e->text, e->n);
    pthread_mutex_unlock(&g->locked.mutex);
    return e ? NEXUS_OK
             : nexus__fail(NEXUS_ENOTFOUND, "version %llu is not among the last %d", (unsigned long long)version,
                           NEXUS__HISTORY_MAX);
}

nexus_status nexus_gateway_edit(nexus_gateway *g, nexus_slice operations, const nexus_gateway_edit_opts *opts,
                                char **out, size_t *n)
{
    return change(g, apply_text, &operations, opts, out, n);
}

nexus_status nexus_gateway_replace(nexus_gateway *g, nexus_slice text, const nexus_gateway_edit_opts *opts, char **out,
                                   size_t *n)
{
    return change(g, whole_text, &text, opts, out, n);
}

nexus_status nexus_gateway_rollback(nexus_gateway *g, uint64_t version, const nexus_gateway_edit_opts *opts, char **out,
                                    size_t *n)
{
    nexus_gateway_edit_opts o = sized(opts);
    char origin[64];
    snprintf(origin, sizeof origin, "rollback to %llu", (unsigned long long)version);
    o.origin = o.origin ? o.origin : origin;
    return change(g, old_text, &version, &o, out, n);
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

static void put_entry(nexus__json_writer *w, const nexus__outline_entry *e)
{
    char etag[NEXUS__ETAG_MAX];
    nexus__outline_etag(e->text, etag);
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "id", e->id);
    nexus__json_put_text_c(w, "etag", etag);
    nexus__json_put_raw(w, "value", e->text);
    nexus__json_close(w, '}');
}

static void put_collection(nexus__buf *buf, const nexus__outline *o, nexus_slice name, uint64_t version)
{
    nexus__json_writer w = nexus__json_writer_on(buf);
    nexus__json_open(&w, '{');
    nexus__json_put_u64(&w, "version", version);
    nexus__json_key(&w, "items");
    nexus__json_open(&w, '[');
    for (uint32_t k = 0; k < o->count; k++)
        for (uint32_t i = 0; nexus__slice_eq(o->collections[k].name, name) && i < o->collections[k].count; i++)
            put_entry(&w, &o->collections[k].entries[i]);
    nexus__json_close(&w, ']');
    nexus__json_close(&w, '}');
}

nexus_status nexus_gateway_entry(nexus_gateway *g, nexus_slice collection, nexus_slice id, char **out, size_t *n)
{
    nexus__outline outline;
    nexus__buf buf;
    nexus__snapshot *s = nexus__snapshot_current(g);
    if (!s)
        return nexus__fail(NEXUS_ENOTFOUND, "gateway: nothing is loaded");
    nexus__buf_init(&buf, NULL, 0);
    nexus_status status = nexus__outline_read(&outline, nexus__slice(s->text, s->text_len), g->alloc);
    if (!status && id.n == 0) {
        put_collection(&buf, &outline, collection, s->version);
    } else if (!status) {
        const nexus__outline_entry *e = nexus__outline_find(&outline, collection, id);
        nexus__json_writer w = nexus__json_writer_on(&buf);
        if (e)
            put_entry(&w, e);
        else
            status =
                nexus__fail(NEXUS_ENOTFOUND, "no \"%.*s\" in %.*s", (int)id.n, id.p, (int)collection.n, collection.p);
    }
    if (!status)
        status = nexus__buf_hand_over(&buf, out, n);
    nexus__buf_free(&buf);
    nexus__outline_free(&outline);
    nexus__snapshot_unref(s);
    return status;
}

nexus_status nexus_gateway_history(nexus_gateway *g, char **out, size_t *n)
{
    nexus__buf buf;
    nexus__buf_init(&buf, NULL, 0);
    pthread_mutex_lock(&g->locked.mutex);
    nexus__history_list(&g->locked.history, &buf);
    pthread_mutex_unlock(&g->locked.mutex);
    nexus_status status = nexus__buf_hand_over(&buf, out, n);
    nexus__buf_free(&buf);
    return status;
}

nexus_status nexus_gateway_diff(nexus_gateway *g, uint64_t from, uint64_t to, char **out, size_t *n)
{
    nexus__buf texts[2], buf;
    nexus__outline outlines[2];
    uint64_t versions[2] = {from, to};
    nexus_status status = NEXUS_OK;
    nexus__buf_init(&buf, NULL, 0);
    for (int i = 0; i < 2; i++) {
        nexus__buf_init(&texts[i], g->alloc, 0);
        nexus_status found = old_text(g, NULL, &texts[i], &versions[i]);
        nexus_status read = nexus__outline_read(&outlines[i], nexus__buf_slice(&texts[i]), g->alloc);
        status = status ? status : found ? found : read;
    }
    if (!status) {
        nexus__json_writer w = nexus__json_writer_on(&buf);
        nexus__json_open(&w, '{');
        nexus__json_put_u64(&w, "from", from);
        nexus__json_put_u64(&w, "to", to);
        nexus__json_key(&w, "changes");
        nexus__outline_diff(&outlines[0], &outlines[1], &w);
        nexus__json_close(&w, '}');
        status = nexus__buf_hand_over(&buf, out, n);
    }
    for (int i = 0; i < 2; i++) {
        nexus__outline_free(&outlines[i]);
        nexus__buf_free(&texts[i]);
    }
    nexus__buf_free(&buf);
    return status;
}
