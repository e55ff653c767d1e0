/* One HTTP call and its answer. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

enum { HEADERS_MAX = 8, REPLY_MAX = 64 * 1024 * 1024 };

static nexus_slice text(const char *s)
{
    return (nexus_slice){s, strlen(s)};
}

void cli_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("nexus: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void cli_service_url(const cli *c, int offset, char *out, size_t cap)
{
    snprintf(out, cap, "http://127.0.0.1:%d", (int)nexus_settings_int(c->settings, "port_base") + offset);
}

int cli_call(cli *c, const call *request, answer *out)
{
    char url[CLI_URL_MAX + 2048], bearer[8192];
    nexus_pair headers[HEADERS_MAX];
    size_t n = 0;
    *out = (answer){0};
    snprintf(url, sizeof url, "%s%s", request->base ? request->base : c->url, request->path);
    if (request->token) {
        snprintf(bearer, sizeof bearer, "Bearer %s", request->token);
        headers[n++] = (nexus_pair){NEXUS_S("Authorization"), text(bearer)};
    }
    if (request->body)
        headers[n++] = (nexus_pair){NEXUS_S("Content-Type"), NEXUS_S("application/json")};
    for (size_t i = 0; i < request->header_count && n < HEADERS_MAX; i++)
        headers[n++] = request->headers[i];
    nexus_fetch fetch;
    nexus_fetch_init(&fetch);
    fetch.method = request->method;
    fetch.url = text(url);
    fetch.headers = headers;
    fetch.header_count = n;
    if (request->body)
        fetch.body = (nexus_slice){request->body, request->body_len ? request->body_len : strlen(request->body)};
    fetch.timeout_ms = request->timeout_ms;
    fetch.reply_max_bytes = REPLY_MAX;
    if (nexus_client_fetch(c->client, &fetch, &out->reply) != NEXUS_OK) {
        cli_fail("%s cannot be reached: %s", url, nexus_error_message());
        return CLI_UNREACHABLE;
    }
    out->status = nexus_reply_status(out->reply);
    nexus_reply_body(out->reply, &out->body);
    if (out->body.n > 0 && nexus_json_parse(&out->json, out->body) != NEXUS_OK)
        out->json = NULL;
    return CLI_DONE;
}

void answer_free(answer *a)
{
    nexus_json_free(a->json);
    nexus_reply_free(a->reply);
    *a = (answer){0};
}

const char *answer_text(answer *a, const char *pointer, char *out, size_t cap)
{
    nexus_slice value = {0};
    out[0] = '\0';
    if (!a->json)
        return out;
    uint32_t v = nexus_json_at(a->json, NEXUS_JSON_ROOT, pointer);
    if (!nexus_json_text(a->json, v, &value))
        nexus_json_raw(a->json, v, &value);
    snprintf(out, cap, "%.*s", (int)value.n, value.p ? value.p : "");
    return out;
}

int64_t answer_int(answer *a, const char *pointer)
{
    int64_t value = 0;
    if (a->json)
        (void)nexus_json_int(a->json, nexus_json_at(a->json, NEXUS_JSON_ROOT, pointer), &value);
    return value;
}

const char *cli_json(nexus_json_writer *writer)
{
    size_t n = 0;
    const char *json = nexus_json_writer_text(writer, &n);
    return json ? json : "";
}

void cli_print_json(nexus_slice json)
{
    fwrite(json.p ? json.p : "null", 1, json.p ? json.n : 4, stdout);
    if (json.n == 0 || json.p[json.n - 1] != '\n')
        fputc('\n', stdout);
}

int cli_expect(const cli *c, const answer *a, const char *what)
{
    if (a->status >= 200 && a->status < 300)
        return CLI_DONE;
    char detail[512], title[128];
    answer copy = *a; /* only its reader's scratch changes */
    answer_text(&copy, "/detail", detail, sizeof detail);
    answer_text(&copy, "/title", title, sizeof title);
    if (c->json)
        cli_print_json(a->body);
    cli_fail("%s: %u %s", what, a->status, *detail ? detail : title);
    return CLI_REFUSED;
}
