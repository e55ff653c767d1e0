/* Calls with the caller's token, and lists printed page after page. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

int cli_send(cli *c, const char *method, const char *path, const char *body, const char *what, answer *a)
{
    const char *token;
    *a = (answer){0};
    int code = cli_need_token(c, &token);
    if (code == CLI_DONE)
        code = cli_call(c, &(call){.method = method, .path = path, .body = body, .token = token}, a);
    return code == CLI_DONE ? cli_expect(c, a, what) : code;
}

void cli_query(char *path, size_t cap, const char *name, const char *value)
{
    size_t n = strlen(path);
    if (!value)
        return;
    n += (size_t)snprintf(path + n, cap - n, "%c%s=", strchr(path, '?') ? '&' : '?', name);
    for (; *value && n + 4 < cap; value++) {
        bool plain = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~@", *value);
        n += (size_t)snprintf(path + n, cap - n, plain ? "%c" : "%%%02X", (unsigned char)*value);
    }
}

/* The items of one page, an empty line between any two. */
static void print_items(answer *a, bool first, cli_print_fn *print)
{
    uint32_t items = nexus_json_get(a->json, NEXUS_JSON_ROOT, "items");
    for (nexus_json_iter it = {0}; nexus_json_step(a->json, items, &it);) {
        if (it.index || !first)
            putchar('\n');
        print(a, it.value);
    }
}

int cli_pages(cli *c, const char *base, const char *what, cli_print_fn *print)
{
    char path[1200], cursor[192] = "";
    for (bool first = true;; first = false) {
        answer a;
        snprintf(path, sizeof path, "%s", base);
        cli_query(path, sizeof path, "limit", "100");
        cli_query(path, sizeof path, "cursor", *cursor ? cursor : NULL);
        int code = cli_send(c, "GET", path, NULL, what, &a);
        if (code == CLI_DONE && c->json)
            cli_print_json(a.body);
        else if (code == CLI_DONE && a.json)
            print_items(&a, first, print);
        const char *next = answer_text(&a, "/next_cursor", cursor, sizeof cursor);
        bool more = code == CLI_DONE && *next && strcmp(next, "null") != 0;
        answer_free(&a);
        if (!more)
            return code;
    }
}

int cli_print_one(const cli *c, int code, answer *a, cli_print_fn *print)
{
    if (code == CLI_DONE && c->json)
        cli_print_json(a->body);
    else if (code == CLI_DONE && a->json)
        print(a, NEXUS_JSON_ROOT);
    answer_free(a);
    return code;
}

void cli_put_words(nexus_json_writer *w, const char *name, const char *words)
{
    if (!words)
        return;
    nexus_json_open_array(w, name);
    while (*words) {
        size_t n = strcspn(words, ", ");
        if (n)
            nexus_json_put_text(w, NULL, (nexus_slice){words, n});
        words += n + (words[n] != '\0');
    }
    nexus_json_close(w);
}

void cli_print_words(answer *a, uint32_t list)
{
    nexus_slice word;
    for (nexus_json_iter it = {0}; nexus_json_step(a->json, list, &it);)
        if (nexus_json_text(a->json, it.value, &word))
            printf("%s%.*s", it.index ? " " : "", (int)word.n, word.p);
}
