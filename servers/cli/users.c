/* users: accounts, for administrators. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] =
    "users list [--email ADDRESS] [--state STATE] | show ID|ADDRESS | disable|enable|lock|unlock|delete ID|ADDRESS |\n"
    "       require-reset|verify|drop-second-factor|sign-out ID|ADDRESS | roles ID|ADDRESS [--add ROLE] [--remove ROLE]";

static const char *const changes[] = {"disable",       "enable", "lock",               "unlock",
                                      "require-reset", "verify", "drop-second-factor", "sign-out"};

static void print_user(answer *a, uint32_t user)
{
    static const char *const members[] = {"id", "email", "name", "state", "created_at"};
    nexus_slice text;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (nexus_json_text(a->json, nexus_json_get(a->json, user, members[i]), &text) && text.n)
            printf("%-11s %.*s\n", members[i], (int)text.n, text.p);
    printf("%-11s ", "roles");
    cli_print_words(a, nexus_json_get(a->json, user, "roles"));
    putchar('\n');
}

static int list(cli *c)
{
    char path[1024] = "/api/v1/admin/users";
    cli_query(path, sizeof path, "email", cli_option(c, "--email"));
    cli_query(path, sizeof path, "state", cli_option(c, "--state"));
    int code = cli_words(c, 1, 1, usage);
    return code == CLI_DONE ? cli_pages(c, path, "users list", print_user) : code;
}

int cli_find_user(cli *c, const char *name, char id[static 64])
{
    char path[1024] = "/api/v1/admin/users";
    answer a;
    snprintf(id, 64, "%s", name);
    if (!strchr(name, '@'))
        return CLI_DONE;
    cli_query(path, sizeof path, "email", name);
    int code = cli_send(c, "GET", path, NULL, "users", &a);
    if (code == CLI_DONE && !*answer_text(&a, "/items/0/id", id, 64)) {
        cli_fail("there is no user with the address %s", name);
        code = CLI_REFUSED;
    }
    answer_free(&a);
    return code;
}

static int show(cli *c, const char *id)
{
    char path[160];
    answer a;
    snprintf(path, sizeof path, "/api/v1/admin/users/%.63s", id);
    int code = cli_send(c, "GET", path, NULL, "users show", &a);
    return cli_print_one(c, code, &a, print_user);
}

/* METHOD base/ID, and what is done to it. */
static int change(cli *c, const char *method, const char *base, const char *id, const char *between, const char *word)
{
    char path[256];
    answer a;
    snprintf(path, sizeof path, "%s/%.63s%s%.64s", base, id, between, word);
    int code = cli_send(c, method, path, NULL, "users", &a);
    answer_free(&a);
    return code;
}

static bool is_change(const char *word)
{
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        if (strcmp(word, changes[i]) == 0)
            return true;
    return false;
}

static int roles(cli *c, const char *id, const char *add, const char *take)
{
    int code = add ? change(c, "PUT", "/api/v1/users", id, "/roles/", add) : CLI_DONE;
    if (code == CLI_DONE && take)
        code = change(c, "DELETE", "/api/v1/users", id, "/roles/", take);
    return code == CLI_DONE ? show(c, id) : code;
}

int cli_users(cli *c)
{
    char id[64];
    const char *word = c->argc ? c->argv[0] : "", *add = NULL, *take = NULL;
    if (strcmp(word, "list") == 0)
        return list(c);
    if (strcmp(word, "roles") == 0)
        add = cli_option(c, "--add"), take = cli_option(c, "--remove");
    int code = cli_words(c, 2, 2, usage);
    bool known = strcmp(word, "show") == 0 || strcmp(word, "roles") == 0 || strcmp(word, "delete") == 0 || is_change(word);
    if (code == CLI_DONE && !known) {
        fprintf(stderr, "usage: nexus %s\n", usage);
        code = CLI_USAGE;
    }
    if (code == CLI_DONE)
        code = cli_find_user(c, c->argv[1], id);
    if (code != CLI_DONE)
        return code;
    if (strcmp(word, "show") == 0)
        return show(c, id);
    if (strcmp(word, "roles") == 0)
        return roles(c, id, add, take);
    if (strcmp(word, "delete") == 0)
        return change(c, "DELETE", "/api/v1/admin/users", id, "", "");
    return change(c, "POST", "/api/v1/admin/users", id, "/", word);
}
