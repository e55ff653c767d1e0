/* The OpenAPI 3.1 document. */
#include "base/status.h"
#include "openapi/api.h"
#include "json/write.h"

typedef nexus__json_writer writer;
typedef nexus__openapi_operation operation;

/* A schema as it stands in the document. References inside it ("#/$defs/x") mean the schema itself, not the document:
 * an "$id" of its own makes it their root. */
static void put_schema(writer *w, nexus_slice text, const operation *op, const char *what)
{
    nexus__json_key(w, "schema");
    text = nexus__slice_trim(text);
    bool refers = text.n > 2 && text.p[0] == '{' && nexus__slice_search(text, NEXUS_S("\"$ref\"")) < text.n &&
                  nexus__slice_search(text, NEXUS_S("\"$id\"")) == text.n;
    if (!refers) {
        nexus__json_raw_value(w, text);
        return;
    }
    nexus__json_raw_value(w, NEXUS_S("{"));
    nexus__json_writer inner = nexus__json_writer_on(w->out);
    nexus__json_key(&inner, "$id");
    nexus__buf_char(w->out, '"');
    nexus__buf_text(w->out, "/schemas/");
    nexus__json_escape_append(w->out, op->id);
    nexus__buf_char(w->out, '/');
    nexus__buf_text(w->out, what);
    nexus__buf_text(w->out, "\",");
    nexus__buf_slice_append(w->out, nexus__slice_from(text, 1));
}

static void put_params(writer *w, const operation *op)
{
    if (!op->param_count)
        return;
    nexus__json_key(w, "parameters");
    nexus__json_open(w, '[');
    for (size_t i = 0; i < op->param_count; i++) {
        const nexus__openapi_param *p = &op->params[i];
        char what[32] = "parameter-";
        nexus__json_open(w, '{');
        nexus__json_put_text(w, "name", p->name);
        nexus__json_put_text(w, "in", p->in);
        if (p->required)
            nexus__json_put_bool(w, "required", true);
        if (p->description.p)
            nexus__json_put_text(w, "description", p->description);
        if (p->list && nexus__slice_eq_c(p->in, "query"))
            nexus__json_put_bool(w, "explode", false);
        what[10] = (char)('a' + i % 26);
        put_schema(w, p->schema_text, op, what);
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, ']');
}

static bool is_json(nexus_slice type)
{
    return nexus__slice_ieq(type, NEXUS_S("application/json")) || nexus__slice_ends(type, NEXUS_S("+json"));
}

static void put_body(writer *w, const operation *op)
{
    if (!op->takes_body)
        return;
    nexus__json_key(w, "requestBody");
    nexus__json_open(w, '{');
    nexus__json_put_bool(w, "required", true);
    nexus__json_key(w, "content");
    nexus__json_open(w, '{');
    for (nexus_slice rest = op->body_types; rest.n;) {
        nexus_slice type = nexus__slice_trim(nexus__slice_cut(&rest, ','));
        nexus__json_key_slice(w, type);
        nexus__json_open(w, '{');
        if (op->body_text.p && is_json(type))
            put_schema(w, op->body_text, op, "body");
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, '}');
    nexus__json_close(w, '}');
}

static void put_status(writer *w, uint16_t status)
{
    char digits[8] = "default";
    if (status) {
        digits[0] = (char)('0' + status / 100 % 10);
        digits[1] = (char)('0' + status / 10 % 10);
        digits[2] = (char)('0' + status % 10);
        digits[3] = '\0';
    }
    nexus__json_key(w, digits);
}

static bool documented(const operation *op, uint16_t status)
{
    for (size_t i = 0; i < op->reply_count; i++)
        if (op->replies[i].status == status)
            return true;
    return false;
}

static void put_reply(writer *w, const operation *op, const nexus__openapi_reply *reply)
{
    char what[] = "reply-000";
    what[6] = (char)('0' + reply->status / 100 % 10);
    what[7] = (char)('0' + reply->status / 10 % 10);
    what[8] = (char)('0' + reply->status % 10);
    put_status(w, reply->status);
    if (reply->status >= 400 && !reply->schema_text.p && !reply->description.p) {
        nexus__json_raw_value(w, NEXUS_S("{\"$ref\":\"#/components/responses/Problem\"}"));
        return;
    }
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "description", reply->description.p ? reply->description : NEXUS_S("Done."));
    if (reply->schema_text.p || reply->status >= 400) {
        nexus__json_key(w, "content");
        nexus__json_open(w, '{');
        nexus__json_key(w, reply->status >= 400 ? "application/problem+json" : "application/json");
        nexus__json_open(w, '{');
        if (reply->schema_text.p)
            put_schema(w, reply->schema_text, op, what);
        else
            nexus__json_put_raw(w, "schema", NEXUS_S("{\"$ref\":\"#/components/schemas/Problem\"}"));
        nexus__json_close(w, '}');
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, '}');
}

/* The problems that the library itself answers with, where the row does not say more about them. */
static void put_problems(writer *w, const operation *op)
{
    bool token = !nexus__slice_eq_c(op->roles, "public");
    const struct {
        uint16_t status;
        bool applies;
    } rows[] = {{400, op->takes_body || op->param_count},
                {401, token},
                {403, token && (op->roles.n || op->permission.n)},
                {404, nexus__slice_find(op->path, '{') < op->path.n},
                {413, op->takes_body},
                {415, op->takes_body},
                {422, op->takes_body || op->param_count},
                {429, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].applies && !documented(op, rows[i].status)) {
            put_status(w, rows[i].status);
            nexus__json_raw_value(w, NEXUS_S("{\"$ref\":\"#/components/responses/Problem\"}"));
        }
    put_status(w, 0);
    nexus__json_raw_value(w, NEXUS_S("{\"$ref\":\"#/components/responses/Problem\"}"));
}

static void put_responses(writer *w, const operation *op)
{
    nexus__json_key(w, "responses");
    nexus__json_open(w, '{');
    bool success = false;
    for (size_t i = 0; i < op->reply_count; i++) {
        bool again = false; /* a status described twice: the first stays */
        for (size_t k = 0; k < i; k++)
            again |= op->replies[k].status == op->replies[i].status;
        if (!again)
            put_reply(w, op, &op->replies[i]);
        success |= op->replies[i].status < 400;
    }
    if (!success)
        put_reply(w, op, &(nexus__openapi_reply){.status = 200});
    put_problems(w, op);
    nexus__json_close(w, '}');
}

static void put_security(writer *w, const operation *op)
{
    if (nexus__slice_eq_c(op->roles, "public")) {
        nexus__json_put_raw(w, "security", NEXUS_S("[]"));
        return;
    }
    nexus__json_put_raw(w, "security", NEXUS_S("[{\"bearer\":[]}]"));
    if (op->permission.n)
        nexus__json_put_text(w, "x-permission", op->permission);
    if (!op->roles.n)
        return;
    nexus__json_key(w, "x-roles");
    nexus__json_open(w, '[');
    for (nexus_slice rest = op->roles; rest.n;)
        nexus__json_text_value(w, nexus__slice_trim(nexus__slice_cut(&rest, ',')));
    nexus__json_close(w, ']');
}

static void put_operation(writer *w, const operation *op)
{
    char method[16];
    size_t n = op->method.n < sizeof method ? op->method.n : sizeof method;
    for (size_t i = 0; i < n; i++)
        method[i] = nexus__ascii_lower(op->method.p[i]);
    nexus__json_key_slice(w, nexus__slice(method, n));
    nexus__json_open(w, '{');
    nexus__json_put_text(w, "operationId", op->id);
    if (op->summary.p)
        nexus__json_put_text(w, "summary", op->summary);
    if (op->tag.p) {
        nexus__json_key(w, "tags");
        nexus__json_open(w, '[');
        nexus__json_text_value(w, op->tag);
        nexus__json_close(w, ']');
    }
    put_params(w, op);
    put_body(w, op);
    put_responses(w, op);
    put_security(w, op);
    nexus__json_close(w, '}');
}

/* Operations of one path are chained by same_path; the first of them writes all. */
static void put_paths(writer *w, nexus_openapi *api)
{
    nexus__json_key(w, "paths");
    nexus__json_open(w, '{');
    for (operation *op = api->first; op; op = op->next) {
        if (op->path_written)
            continue;
        nexus__json_key_slice(w, op->template);
        nexus__json_open(w, '{');
        for (operation *o = op; o; o = o->same_path) {
            put_operation(w, o);
            o->path_written = true;
        }
        nexus__json_close(w, '}');
    }
    nexus__json_close(w, '}');
}

static const char components[] =
    "{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\",\"bearerFormat\":\"JWT\"}},"
    "\"responses\":{\"Problem\":{\"description\":\"The request was not done; the body says why (RFC "
    "9457).\",\"content\":"
    "{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}},"
    "\"schemas\":{\"Problem\":{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\"],\"properties\":{"
    "\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},"
    "\"detail\":{\"type\":\"string\"},\"instance\":{\"type\":\"string\"},\"code\":{\"type\":\"string\"},"
    "\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"pointer\":{\"type\":\"string\"},"
    "\"code\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"}}}}}}}}";

nexus_status nexus__openapi_write(nexus_openapi *api, const nexus_openapi_opts *opts)
{
    nexus__buf out;
    nexus__buf_init(&out, api->alloc, 0);
    writer w = nexus__json_writer_on(&out);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "openapi", "3.1.0");
    nexus__json_key(&w, "info");
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "title", opts->title ? opts->title : "API");
    nexus__json_put_text_c(&w, "version", opts->version ? opts->version : "0");
    if (opts->description)
        nexus__json_put_text_c(&w, "description", opts->description);
    nexus__json_close(&w, '}');
    nexus__json_key(&w, "servers");
    nexus__json_open(&w, '[');
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "url", opts->server_url ? opts->server_url : "/");
    nexus__json_close(&w, '}');
    nexus__json_close(&w, ']');
    put_paths(&w, api);
    nexus__json_put_raw(&w, "components", nexus__slice_c(components));
    nexus__json_close(&w, '}');
    if (out.status == NEXUS_OK)
        api->document = nexus__arena_copy(&api->arena, nexus__buf_slice(&out));
    nexus__buf_free(&out);
    return api->document.p ? NEXUS_OK : nexus__nomem();
}
