/* The writing side of the admin API: entries, batches, versions. What a change means is the library's business. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_MAX = 512 };

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void refuse(nexus_request *request, nexus_status status, const char *why)
{
    static const struct {
        nexus_status status;
        uint16_t http;
        const char *code;
    } rows[] = {
        {NEXUS_ENOTFOUND, 404, "not-found"},        {NEXUS_ESTALE, 412, "precondition-failed"},
        {NEXUS_ECONFLICT, 412, "is-there-already"}, {NEXUS_EINVAL, 422, "routes-refused"},
        {NEXUS_ENOTSUP, 422, "routes-refused"},     {NEXUS_EUNREACH, 422, "routes-refused"},
        {NEXUS_ETOOBIG, 422, "routes-refused"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status) {
            nexus_request_problem_text(request, rows[i].http, rows[i].code, why);
            return;
        }
    nexus_request_problem_text(request, 500, "not-done", why);
}

static void reply(nexus_request *request, nexus_status status, uint16_t http, char *text, size_t n)
{
    if (status) {
        refuse(request, status, nexus_error_message());
        return;
    }
    nexus_request_reply(request, http, "application/json", (nexus_slice){text, n});
    nexus_free(text);
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

static nexus_slice header(const nexus_request *request, const char *name)
{
    nexus_slice value = {0};
    (void)nexus_request_header(request, name, &value);
    return value;
}

static bool is_dry(nexus_request *request)
{
    nexus_slice value;
    return nexus_request_query_param(request, "dry_run", &value) && value.n == 1 && *value.p == '1';
}

/* If-Match of a whole configuration: "12". Any other text matches nothing. */
static uint64_t wanted_version(const nexus_request *request)
{
    nexus_slice value = header(request, "if-match");
    char text[24] = "", *end;
    if (value.n == 0 || (value.n == 1 && *value.p == '*'))
        return 0;
    if (value.n < 3 || value.n >= sizeof text || value.p[0] != '"' || value.p[value.n - 1] != '"')
        return UINT64_MAX;
    memcpy(text, value.p + 1, value.n - 2);
    uint64_t version = strtoull(text, &end, 10);
    return *end || !version ? UINT64_MAX : version;
}

static nexus_gateway_edit_opts options(nexus_request *request, char origin[static 96])
{
    nexus_gateway_edit_opts opts = NEXUS_GATEWAY_EDIT_OPTS_INIT;
    nexus_slice method, path;
    nexus_request_method(request, &method);
    nexus_request_path(request, &path);
    snprintf(origin, 96, "%.*s %.*s", (int)method.n, method.p, (int)path.n, path.p);
    opts.dry_run = is_dry(request);
    opts.origin = origin;
    return opts;
}

/* Ends a change: the log, the trail when it was not made after all, the answer. */
static void end_change(gateway *g, nexus_request *request, const nexus_gateway_edit_opts *opts, const char *origin,
                       nexus_status status, uint16_t http, char *text, size_t n)
{
    char why[512];
    snprintf(why, sizeof why, "%s", nexus_error_message());
    if (!opts->dry_run && status) {
        nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_WARN, "gateway", NULL, "admin: %s refused: %s", origin,
                         why);
        gateway_audit_refused(g, request, origin, status, why);
    } else if (!opts->dry_run) {
        nexus_log_printf(nexus_service_log(g->service), NEXUS_LOG_INFO, "gateway", NULL, "admin: %s", origin);
    }
    if (status)
        refuse(request, status, why);
    else
        reply(request, status, http, text, n);
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

/* The entry that the address names; an id that is a path may be written without its first slash. */
static nexus_slice entry_id(gateway *g, const nexus_request *request, char space[static ID_MAX])
{
    nexus_slice collection, id, slashed;
    char *text;
    size_t n;
    nexus_request_param(request, "collection", &collection);
    nexus_request_param(request, "id", &id);
    if (nexus_gateway_entry(g->gateway, collection, id, &text, &n) == NEXUS_OK) {
        nexus_free(text);
        return id;
    }
    slashed = (nexus_slice){space, (size_t)snprintf(space, ID_MAX, "/%.*s", (int)id.n, id.p)};
    if (slashed.n < ID_MAX && nexus_gateway_entry(g->gateway, collection, slashed, &text, &n) == NEXUS_OK) {
        nexus_free(text);
        return slashed;
    }
    return id;
}

static void set_etag(nexus_request *request, const char *text, size_t n)
{
    nexus_json *json;
    nexus_slice etag;
    if (nexus_json_parse(&json, (nexus_slice){text, n}))
        return;
    if (nexus_json_text(json, nexus_json_get(json, 0, "etag"), &etag))
        (void)nexus_request_set_header(request, "ETag", etag);
    nexus_json_free(json);
}

static void get_collection(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice collection;
    char *text = NULL;
    size_t n = 0;
    nexus_request_param(request, "collection", &collection);
    nexus_status status = nexus_gateway_entry(g->gateway, collection, (nexus_slice){0}, &text, &n);
    reply(request, status, 200, text, n);
}

static void get_entry(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice collection;
    char *text = NULL, space[ID_MAX];
    size_t n = 0;
    nexus_request_param(request, "collection", &collection);
    nexus_status status = nexus_gateway_entry(g->gateway, collection, entry_id(g, request, space), &text, &n);
    if (!status)
        set_etag(request, text, n);
    reply(request, status, 200, text, n);
}

static bool is_addition(const char *text, size_t n)
{
    nexus_json *json;
    nexus_slice change = {0};
    if (nexus_json_parse(&json, (nexus_slice){text, n}))
        return false;
    bool added = nexus_json_text(json, nexus_json_at(json, 0, "/changes/0/change"), &change) && change.n == 5 &&
                 memcmp(change.p, "added", 5) == 0;
    nexus_json_free(json);
    return added;
}

/* One operation on the entry that the address names. value is empty for a removal. */
static void edit_entry(gateway *g, nexus_request *request, nexus_slice value)
{
    nexus_slice collection, match = header(request, "if-match"), none = header(request, "if-none-match");
    char *text = NULL, origin[96], space[ID_MAX];
    size_t n = 0, len;
    nexus_json_writer *w;
    nexus_gateway_edit_opts opts = options(request, origin);
    nexus_request_param(request, "collection", &collection);
    if (!opts.dry_run && !gateway_audited(g, request, origin))
        return;
    nexus_status status = nexus_json_writer_new(&w);
    if (!status) {
        nexus_json_open_array(w, NULL);
        nexus_json_open_object(w, NULL);
        nexus_json_put_text_c(w, "op", value.n ? "put" : "remove");
        nexus_json_put_text(w, "collection", collection);
        nexus_json_put_text(w, "id", entry_id(g, request, space));
        if (value.n)
            nexus_json_put_raw(w, "value", value);
        if (match.n)
            nexus_json_put_text(w, "if_match", match);
        if (none.n)
            nexus_json_put_text(w, "if_none_match", none);
        nexus_json_close(w);
        nexus_json_close(w);
        const char *operations = nexus_json_writer_text(w, &len);
        status = operations ? nexus_gateway_edit(g->gateway, (nexus_slice){operations, len}, &opts, &text, &n)
                            : NEXUS_ENOMEM;
        nexus_json_writer_free(w);
    }
    uint16_t http = !status && !opts.dry_run && is_addition(text, n) ? 201 : 200;
    end_change(g, request, &opts, origin, status, http, text, n);
}

static void put_entry(nexus_request *request, void *user_data)
{
    nexus_slice body;
    nexus_json *json;
    nexus_request_body(request, &body);
    if (nexus_json_parse(&json, body)) { /* before it is put into another document */
        nexus_request_problem_text(request, 400, "json-invalid", nexus_error_message());
        return;
    }
    nexus_json_free(json);
    edit_entry(user_data, request, body);
}

static void delete_entry(nexus_request *request, void *user_data)
{
    edit_entry(user_data, request, (nexus_slice){0});
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

typedef nexus_status body_fn(nexus_gateway *inner, nexus_slice body, const nexus_gateway_edit_opts *opts, char **out,
                             size_t *n);

static void change_whole(gateway *g, nexus_request *request, body_fn *fn)
{
    nexus_slice body;
    char *text = NULL, origin[96];
    size_t n = 0;
    nexus_gateway_edit_opts opts = options(request, origin);
    opts.if_version = wanted_version(request);
    nexus_request_body(request, &body);
    if (!opts.dry_run && !gateway_audited(g, request, origin))
        return;
    nexus_status status = fn(g->gateway, body, &opts, &text, &n);
    end_change(g, request, &opts, origin, status, 200, text, n);
}

static void post_batch(nexus_request *request, void *user_data)
{
    change_whole(user_data, request, nexus_gateway_edit);
}

static void put_config(nexus_request *request, void *user_data)
{
    change_whole(user_data, request, nexus_gateway_replace);
}

static void post_rollback(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    nexus_slice body;
    nexus_json *json;
    int64_t version = 0;
    char *text = NULL, origin[96];
    size_t n = 0;
    nexus_gateway_edit_opts opts = options(request, origin);
    opts.if_version = wanted_version(request);
    nexus_request_body(request, &body);
    if (nexus_json_parse(&json, body)) {
        nexus_request_problem_text(request, 400, "json-invalid", nexus_error_message());
        return;
    }
    bool fine = nexus_json_int(json, nexus_json_get(json, 0, "version"), &version) && version > 0;
    nexus_json_free(json);
    if (!fine) {
        nexus_request_problem_text(request, 422, "invalid", "version: must be a whole number from 1; see the history");
        return;
    }
    if (!opts.dry_run && !gateway_audited(g, request, origin))
        return;
    opts.origin = NULL; /* the library's own words name the version */
    nexus_status status = nexus_gateway_rollback(g->gateway, (uint64_t)version, &opts, &text, &n);
    end_change(g, request, &opts, origin, status, 200, text, n);
}

static void get_history(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char *text = NULL;
    size_t n = 0;
    nexus_status status = nexus_gateway_history(g->gateway, &text, &n);
    reply(request, status, 200, text, n);
}

static uint64_t number(nexus_request *request, const char *name)
{
    nexus_slice value;
    char text[24] = "";
    if (nexus_request_query_param(request, name, &value) && value.n < sizeof text)
        memcpy(text, value.p, value.n);
    return strtoull(text, NULL, 10);
}

static void get_diff(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char *text = NULL;
    size_t n = 0;
    nexus_status status = nexus_gateway_diff(g->gateway, number(request, "from"), number(request, "to"), &text, &n);
    reply(request, status, 200, text, n);
}

nexus_status gateway_admin_edit_routes(gateway *g)
{
    static const gateway_admin_route rows[] = {
        {"PUT", "/admin/v1/config", "putConfig", "Replace the whole configuration", put_config},
        {"GET", "/admin/v1/config/history", "getHistory", "The last ten versions", get_history},
        {"GET", "/admin/v1/config/diff", "getDiff", "What differs between two of them", get_diff},
        {"POST", "/admin/v1/config/rollback", "rollBack", "Bring a version back", post_rollback},
        {"POST", "/admin/v1/batch", "batch", "Several changes, all of them or none", post_batch},
        {"GET", "/admin/v1/{collection}", "listEntries", "All entries of a collection", get_collection},
        {"GET", "/admin/v1/{collection}/{id...}", "getEntry", "One entry with its ETag", get_entry},
        {"PUT", "/admin/v1/{collection}/{id...}", "putEntry", "Add or replace an entry", put_entry},
        {"DELETE", "/admin/v1/{collection}/{id...}", "deleteEntry", "Remove an entry", delete_entry},
    };
    return gateway_admin_add(g, rows, sizeof rows / sizeof rows[0]);
}
