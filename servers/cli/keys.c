/* keys: API keys, one's own or, for administrators, anybody's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] =
    "keys create --name TEXT --scopes a:b,c:d [--cidrs 10.0.0.0/8,…] [--plan NAME] [--days N] [--owner ID|ADDRESS]\n"
    "       nexus keys list [--owner ID | --all] | show ID | rotate ID [--overlap SECONDS] | revoke ID";

/* One's own keys, unless it is said whose: that takes an administrator. */
static const char *base_path(bool any)
{
    return any ? "/api/v1/admin/keys" : "/api/v1/users/me/keys";
}

static void print_key(answer *a, uint32_t key)
{
    static const char *const members[] = {"id",         "name",       "owner",        "state",           "plan",
                                          "created_at", "expires_at", "last_used_at", "old_secret_until"};
    nexus_slice text;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (nexus_json_text(a->json, nexus_json_get(a->json, key, members[i]), &text) && text.n)
            printf("%-17s %.*s\n", members[i], (int)text.n, text.p);
    printf("%-17s ", "scopes");
    cli_print_words(a, nexus_json_get(a->json, key, "scopes"));
    uint32_t cidrs = nexus_json_get(a->json, key, "cidrs");
    if (nexus_json_count(a->json, cidrs)) {
        printf("\n%-17s ", "cidrs");
        cli_print_words(a, cidrs);
    }
    putchar('\n');
}

/* Of create and rotate: the key goes to standard output, what it is to people. */
static int print_secret(cli *c, int code, answer *a)
{
    char key[128];
    if (code == CLI_DONE && c->json) {
        cli_print_json(a->body);
    } else if (code == CLI_DONE && a->json) {
        printf("%s\n", answer_text(a, "/key", key, sizeof key));
        fputs("nexus: keep it now, it is not shown again\n", stderr);
    }
    answer_free(a);
    return code;
}

static int create(cli *c)
{
    const char *name = cli_option(c, "--name"), *scopes = cli_option(c, "--scopes"), *cidrs = cli_option(c, "--cidrs");
    const char *plan = cli_option(c, "--plan"), *days = cli_option(c, "--days"), *owner = cli_option(c, "--owner");
    nexus_json_writer *w;
    answer a;
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    if (!name || !scopes) {
        fprintf(stderr, "nexus: a key needs --name and --scopes\nusage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return CLI_REFUSED;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "name", name);
    cli_put_words(w, "scopes", scopes);
    cli_put_words(w, "cidrs", cidrs);
    if (plan)
        nexus_json_put_text_c(w, "plan", plan);
    if (owner)
        nexus_json_put_text_c(w, "owner", owner);
    if (days)
        nexus_json_put_int(w, "expires_in", strtoll(days, NULL, 10) * 86400);
    nexus_json_close(w);
    code = cli_send(c, "POST", base_path(owner != NULL), cli_json(w), "keys create", &a);
    nexus_json_writer_free(w);
    return print_secret(c, code, &a);
}

static int list(cli *c)
{
    char path[512];
    bool all = cli_flag(c, "--all");
    const char *owner = cli_option(c, "--owner");
    int code = cli_words(c, 1, 1, usage);
    snprintf(path, sizeof path, "%s", base_path(all || owner));
    cli_query(path, sizeof path, "owner", owner);
    return code == CLI_DONE ? cli_pages(c, path, "keys list", print_key) : code;
}

/* Calls that name one key: one's own first, then, as an administrator, anybody's. */
static int on_one(cli *c, const char *method, const char *suffix, const char *body, const char *what, answer *a)
{
    char path[160];
    const char *token;
    int code = cli_need_token(c, &token);
    *a = (answer){0};
    for (int any = 0; any < 2 && code == CLI_DONE; any++) {
        snprintf(path, sizeof path, "%s/%.32s%s", base_path(any), c->argv[1], suffix);
        answer_free(a);
        code = cli_call(c, &(call){.method = method, .path = path, .body = body, .token = token}, a);
        if (code != CLI_DONE || a->status != 404)
            break;
    }
    if (code == CLI_DONE && a->status == 403)
        cli_fail("%s: you have no such key", what);
    else if (code == CLI_DONE)
        return cli_expect(c, a, what);
    return code == CLI_DONE ? CLI_REFUSED : code;
}

int cli_keys(cli *c)
{
    answer a;
    char body[64] = "{}";
    const char *word = c->argc ? c->argv[0] : "";
    if (strcmp(word, "create") == 0)
        return create(c);
    if (strcmp(word, "list") == 0)
        return list(c);
    const char *overlap = cli_option(c, "--overlap");
    int code = cli_words(c, 2, 2, usage);
    if (code != CLI_DONE)
        return code;
    if (overlap)
        snprintf(body, sizeof body, "{\"overlap\":%lu}", strtoul(overlap, NULL, 10));
    if (strcmp(word, "show") == 0) {
        code = on_one(c, "GET", "", NULL, "keys show", &a);
        return cli_print_one(c, code, &a, print_key);
    }
    if (strcmp(word, "rotate") == 0) {
        code = on_one(c, "POST", "/rotate", body, "keys rotate", &a);
        return print_secret(c, code, &a);
    }
    if (strcmp(word, "revoke") == 0) {
        code = on_one(c, "DELETE", "", NULL, "keys revoke", &a);
        answer_free(&a);
        return code;
    }
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
