/* The registry over the admin API: instances of services say where they are, and again before their time is over. */
#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 129 };

static bool copy_param(nexus_request *request, const char *name, char out[static NAME_MAX_BYTES])
{
    nexus_slice value;
    if (!nexus_request_param(request, name, &value) || value.n == 0 || value.n >= NAME_MAX_BYTES ||
        memchr(value.p, 0, value.n))
        return false;
    memcpy(out, value.p, value.n);
    out[value.n] = 0;
    return true;
}

static bool copy_text(nexus_json *json, const char *name, char *out, size_t cap)
{
    nexus_slice value;
    if (!nexus_json_text(json, nexus_json_get(json, NEXUS_JSON_ROOT, name), &value) || value.n >= cap ||
        memchr(value.p, 0, value.n))
        return false;
    memcpy(out, value.p, value.n);
    out[value.n] = 0;
    return true;
}

/* false: the member is there and no number in range. */
static bool read_number(const nexus_json *json, const char *name, uint32_t *out)
{
    int64_t value;
    uint32_t at = nexus_json_get(json, NEXUS_JSON_ROOT, name);
    if (at == NEXUS_JSON_NONE)
        return true;
    if (!nexus_json_int(json, at, &value) || value < 1 || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static void invalid(nexus_request *request, const char *detail)
{
    nexus_request_problem_text(request, 422, "invalid", detail);
}

static void reply_one(nexus_request *request, uint16_t status, const char *id, uint32_t ttl_ms)
{
    char text[NAME_MAX_BYTES + 64];
    int n = snprintf(text, sizeof text, "{\"id\":\"%s\",\"ttl_ms\":%u}", id, ttl_ms ? ttl_ms : 15000);
    nexus_request_reply(request, status, "application/json", (nexus_slice){text, (size_t)n});
}

static void put(gateway *g, nexus_request *request, nexus_json *json, const char *given_id)
{
    char service[NAME_MAX_BYTES], id[NAME_MAX_BYTES], url[512];
    nexus_gateway_instance in = NEXUS_GATEWAY_INSTANCE_INIT;
    in.service = service;
    in.id = given_id ? given_id : id;
    in.url = url;
    if (!copy_param(request, "service", service) || !copy_text(json, "url", url, sizeof url) ||
        (!given_id && !copy_text(json, "id", id, sizeof id)))
        invalid(request, given_id ? "url: must be a string" : "id and url: must be strings");
    else if (!read_number(json, "weight", &in.weight) || !read_number(json, "ttl_ms", &in.ttl_ms))
        invalid(request, "weight and ttl_ms: must be positive numbers");
    else if (nexus_gateway_instance_put(g->gateway, &in))
        invalid(request, nexus_error_message());
    else
        reply_one(request, given_id ? 200 : 201, in.id, in.ttl_ms);
}

static void with_body(gateway *g, nexus_request *request, const char *id)
{
    nexus_slice body;
    nexus_json *json;
    nexus_request_body(request, &body);
    if (nexus_json_parse(&json, body)) {
        nexus_request_problem_text(request, 400, "json-invalid", nexus_error_message());
        return;
    }
    put(g, request, json, id);
    nexus_json_free(json);
}

static void post_instance(nexus_request *request, void *user_data)
{
    with_body(user_data, request, NULL);
}

static void put_instance(nexus_request *request, void *user_data)
{
    char id[NAME_MAX_BYTES];
    if (copy_param(request, "id", id))
        with_body(user_data, request, id);
    else
        invalid(request, "id: at most 128 bytes");
}

static void delete_instance(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char service[NAME_MAX_BYTES], id[NAME_MAX_BYTES];
    if (copy_param(request, "service", service) && copy_param(request, "id", id) &&
        nexus_gateway_instance_remove(g->gateway, service, id) == NEXUS_OK)
        nexus_request_reply(request, 204, NULL, (nexus_slice){0});
    else
        nexus_request_problem_text(request, 404, "no-instance", "There is no such instance; it may have expired.");
}

static void get_instances(nexus_request *request, void *user_data)
{
    gateway *g = user_data;
    char service[NAME_MAX_BYTES], *text;
    size_t n;
    if (!copy_param(request, "service", service)) {
        invalid(request, "service: at most 128 bytes");
    } else if (nexus_gateway_instances(g->gateway, service, &text, &n)) {
        nexus_request_problem_text(request, 500, "failed", nexus_error_message());
    } else {
        nexus_request_reply(request, 200, "application/json", (nexus_slice){text, n});
        nexus_free(text);
    }
}

nexus_status gateway_registry_routes(gateway *g)
{
    static const gateway_admin_route rows[] = {
        {"GET", "/admin/v1/services/{service}/instances", "listInstances", "Instances of a service", get_instances},
        {"POST", "/admin/v1/services/{service}/instances", "addInstance", "Add an instance, or renew it", post_instance},
        {"PUT", "/admin/v1/services/{service}/instances/{id}", "putInstance", "The same, by id", put_instance},
        {"DELETE", "/admin/v1/services/{service}/instances/{id}", "removeInstance", "Remove an instance",
         delete_instance},
    };
    return gateway_admin_add(g, rows, sizeof rows / sizeof rows[0]);
}
