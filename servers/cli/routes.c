/* check, explain, routes: what an operator asks of the gateway, and tells it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { ADMIN_OFFSET = 10 };

static char *whole_file(const char *path, size_t *n)
{
    enum { MAX = 16 * 1024 * 1024 };
    FILE *f = fopen(path, "re");
    char *text = f ? malloc(MAX) : NULL;
    if (text)
        *n = fread(text, 1, MAX, f);
    if (f)
        fclose(f);
    return text;
}

int cli_check(cli *c)
{
    int code = cli_words(c, 1, 1, "check FILE");
    if (code != CLI_DONE)
        return code;
    size_t n = 0;
    char *text = whole_file(c->argv[0], &n);
    if (!text) {
        cli_fail("cannot open %s", c->argv[0]);
        return CLI_USAGE;
    }
    nexus_status status = nexus_config_validate(c->argv[0], (nexus_slice){text, n});
    free(text);
    nexus_json_writer *w = NULL;
    if (c->json && nexus_json_writer_new(&w) == NEXUS_OK) {
        nexus_json_open_object(w, NULL);
        nexus_json_put_bool(w, "valid", status == NEXUS_OK);
        nexus_json_put_text_c(w, "error", status == NEXUS_OK ? NULL : nexus_error_message());
        nexus_json_close(w);
        puts(cli_json(w));
        nexus_json_writer_free(w);
    } else if (status == NEXUS_OK) {
        printf("%s: fine\n", c->argv[0]);
    } else {
        fprintf(stderr, "%s\n", nexus_error_message());
    }
    return status == NEXUS_OK ? CLI_DONE : CLI_REFUSED;
}

/* --- the admin API ------------------------------------------------------------------------------------------------ */

int cli_admin_call(cli *c, call request, const char *what, answer *a)
{
    char base[CLI_URL_MAX];
    char *token = cli_state_file(c, "admin.token");
    *a = (answer){0};
    if (!token) {
        cli_fail("%s/admin.token cannot be read: run this where the gateway runs, as its user", c->state);
        return CLI_REFUSED;
    }
    cli_service_url(c, ADMIN_OFFSET, base, sizeof base);
    request.token = token;
    request.base = base;
    int code = cli_call(c, &request, a);
    free(token);
    return code == CLI_DONE ? cli_expect(c, a, what) : code;
}

/* --- explain ------------------------------------------------------------------------------------------------------ */

/* A JSON value for people: members a line, lists of objects as dashes, small lists on one line. */
static void print_value(nexus_json *json, uint32_t value, int depth);

static void print_scalar(nexus_json *json, uint32_t value)
{
    nexus_slice text;
    if (!nexus_json_text(json, value, &text))
        nexus_json_raw(json, value, &text);
    printf("%.*s", (int)text.n, text.p);
}

static bool is_nested(const nexus_json *json, uint32_t value)
{
    return nexus_json_type(json, value) >= NEXUS_JSON_ARRAY && nexus_json_count(json, value) > 0;
}

static bool is_flat_list(nexus_json *json, uint32_t value)
{
    if (nexus_json_type(json, value) != NEXUS_JSON_ARRAY)
        return false;
    for (nexus_json_iter it = {0}; nexus_json_step(json, value, &it);)
        if (nexus_json_type(json, it.value) >= NEXUS_JSON_ARRAY)
            return false;
    return true;
}

static void print_list(nexus_json *json, uint32_t value)
{
    for (nexus_json_iter it = {0}; nexus_json_step(json, value, &it);) {
        if (it.index)
            fputs(", ", stdout);
        print_scalar(json, it.value);
    }
}

static void print_member(nexus_json *json, nexus_slice name, uint32_t value, int depth)
{
    printf("%.*s:", (int)name.n, name.p);
    if (is_flat_list(json, value) || !is_nested(json, value)) {
        putchar(' ');
        if (is_nested(json, value))
            print_list(json, value);
        else if (nexus_json_type(json, value) < NEXUS_JSON_ARRAY)
            print_scalar(json, value);
        else
            fputs("none", stdout);
        putchar('\n');
    } else {
        putchar('\n');
        print_value(json, value, depth + 1);
    }
}

static void print_value(nexus_json *json, uint32_t value, int depth)
{
    bool list = nexus_json_type(json, value) == NEXUS_JSON_ARRAY;
    for (nexus_json_iter it = {0}; nexus_json_step(json, value, &it);) {
        if (!list) {
            printf("%*s", depth * 2, "");
            print_member(json, it.name, it.value, depth);
            continue;
        }
        printf("%*s%u. ", depth * 2, "", it.index + 1);
        bool first = true;
        for (nexus_json_iter in = {0}; nexus_json_step(json, it.value, &in); first = false) {
            printf("%*s", first ? 0 : depth * 2 + 3, "");
            print_member(json, in.name, in.value, depth + 1);
        }
        if (first)
            puts("");
    }
}

/* "Name: value" of -H into the request's headers. */
static int put_headers(cli *c, nexus_json_writer *w)
{
    const char *text;
    nexus_json_open_object(w, "headers");
    while ((text = cli_option(c, "-H"))) {
        const char *colon = strchr(text, ':');
        char name[128];
        if (!colon || colon == text || (size_t)(colon - text) >= sizeof name) {
            cli_fail("-H %s: write it as 'Name: value'", text);
            return CLI_USAGE;
        }
        snprintf(name, sizeof name, "%.*s", (int)(colon - text), text);
        nexus_json_put_text_c(w, name, colon + 1 + strspn(colon + 1, " "));
    }
    nexus_json_close(w);
    return CLI_DONE;
}

static int ask(cli *c, const char *body, size_t n)
{
    answer a;
    int code = cli_admin_call(c, (call){.method = "POST", .path = "/admin/v1/explain", .body = body, .body_len = n},
                          "explain", &a);
    if (code == CLI_DONE && c->json)
        cli_print_json(a.body);
    else if (code == CLI_DONE && a.json)
        print_value(a.json, NEXUS_JSON_ROOT, 0);
    answer_free(&a);
    return code;
}

int cli_explain(cli *c)
{
    nexus_json_writer *w;
    size_t n;
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return CLI_REFUSED;
    nexus_json_open_object(w, NULL);
    int code = put_headers(c, w);
    const char *from = cli_option(c, "--from");
    if (code == CLI_DONE)
        code = cli_words(c, 2, 2, "explain METHOD URL [-H 'Name: value'] [--from ADDRESS]");
    if (code == CLI_DONE) {
        nexus_json_put_text_c(w, "method", c->argv[0]);
        nexus_json_put_text_c(w, "target", c->argv[1]);
        if (from)
            nexus_json_put_text_c(w, "client_ip", from);
        nexus_json_close(w);
        const char *body = nexus_json_writer_text(w, &n);
        code = body ? ask(c, body, n) : CLI_REFUSED;
    }
    nexus_json_writer_free(w);
    return code;
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

static int show(cli *c, call request, const char *what)
{
    answer a;
    int code = cli_admin_call(c, request, what, &a);
    if (code == CLI_DONE && (c->json || !a.json))
        cli_print_json(a.body);
    else if (code == CLI_DONE)
        print_value(a.json, NEXUS_JSON_ROOT, 0);
    answer_free(&a);
    return code;
}

int cli_routes(cli *c)
{
    static const char usage[] = "routes list|history|diff FROM TO|rollback VERSION|apply FILE [--dry-run]";
    bool dry = cli_flag(c, "--dry-run");
    char path[256], body[64];
    int code = cli_words(c, 1, 3, usage);
    if (code != CLI_DONE)
        return code;
    const char *word = c->argv[0];
    if (strcmp(word, "list") == 0 && c->argc == 1)
        return show(c, (call){.method = "GET", .path = "/admin/v1/routes"}, "routes");
    if (strcmp(word, "history") == 0 && c->argc == 1)
        return show(c, (call){.method = "GET", .path = "/admin/v1/config/history"}, "history");
    if (strcmp(word, "diff") == 0 && c->argc == 3) {
        snprintf(path, sizeof path, "/admin/v1/config/diff?from=%.20s&to=%.20s", c->argv[1], c->argv[2]);
        return show(c, (call){.method = "GET", .path = path}, "diff");
    }
    if (strcmp(word, "rollback") == 0 && c->argc == 2) {
        snprintf(body, sizeof body, "{\"version\":%llu}", strtoull(c->argv[1], NULL, 10));
        snprintf(path, sizeof path, "/admin/v1/config/rollback%s", dry ? "?dry_run=1" : "");
        return show(c, (call){.method = "POST", .path = path, .body = body}, "rollback");
    }
    if (strcmp(word, "apply") == 0 && c->argc == 2) {
        size_t n = 0;
        char *text = whole_file(c->argv[1], &n);
        if (!text) {
            cli_fail("cannot open %s", c->argv[1]);
            return CLI_USAGE;
        }
        snprintf(path, sizeof path, "/admin/v1/config%s", dry ? "?dry_run=1" : "");
        code = show(c, (call){.method = "PUT", .path = path, .body = text, .body_len = n}, "apply");
        free(text);
        return code;
    }
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
