/* clients: OAuth clients, for administrators. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] =
    "clients add --name TEXT [--redirect URI,…] [--grants authorization_code,refresh_token,client_credentials]\n"
    "                         [--scope 'openid profile …'] [--roles operator,…] [--public | --jwks FILE] "
    "[--first-party]\n"
    "                         [--resource-server]\n"
    "       nexus clients list | show ID | rotate ID [--overlap SECONDS] | delete ID";

#define PATH "/api/v1/admin/clients"
enum { JWKS_MAX = 16384 };

/* --- printing ---------------------------------------------------------------------------------------------------------- */

static void print_client(answer *a, uint32_t client)
{
    static const char *const members[] = {"client_id",   "client_name",   "token_endpoint_auth_method",
                                          "grant_types", "redirect_uris", "scope",
                                          "roles",       "first_party",   "resource_server",
                                          "created_at"};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        uint32_t v = nexus_json_get(a->json, client, members[i]);
        nexus_slice text = {"", 0};
        bool flag = false;
        if (nexus_json_text(a->json, v, &text) && text.n)
            printf("%-27s %.*s\n", members[i], (int)text.n, text.p);
        else if (nexus_json_bool(a->json, v, &flag) && flag)
            printf("%-27s yes\n", members[i]);
        if (nexus_json_type(a->json, v) != NEXUS_JSON_ARRAY || nexus_json_count(a->json, v) == 0)
            continue;
        printf("%-27s ", members[i]);
        cli_print_words(a, v);
        putchar('\n');
    }
}

/* Of add and rotate: what a program needs goes to standard output, what to do with it to people. */
static int print_secret(cli *c, int code, answer *a)
{
    char id[64], secret[64];
    if (code == CLI_DONE && c->json) {
        cli_print_json(a->body);
    } else if (code == CLI_DONE && a->json) {
        printf("client_id     %s\n", answer_text(a, "/client_id", id, sizeof id));
        if (*answer_text(a, "/client_secret", secret, sizeof secret)) {
            printf("client_secret %s\n", secret);
            fputs("nexus: keep it now, it is not shown again\n", stderr);
        }
    }
    answer_free(a);
    return code;
}

/* --- adding ------------------------------------------------------------------------------------------------------------ */

static bool put_jwks(nexus_json_writer *w, const char *path)
{
    char text[JWKS_MAX];
    nexus_json *json;
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (f)
        fclose(f);
    if (n == 0 || n == sizeof text || nexus_json_parse(&json, (nexus_slice){text, n}) != NEXUS_OK) {
        cli_fail("%s: is no key set of at most %d bytes", path, JWKS_MAX);
        return false;
    }
    nexus_json_free(json);
    nexus_json_put_raw(w, "jwks", (nexus_slice){text, n});
    return true;
}

static int add(cli *c)
{
    const char *name = cli_option(c, "--name"), *redirects = cli_option(c, "--redirect");
    const char *grants = cli_option(c, "--grants"), *scope = cli_option(c, "--scope"), *roles = cli_option(c, "--roles");
    const char *jwks = cli_option(c, "--jwks");
    bool is_public = cli_flag(c, "--public"), first = cli_flag(c, "--first-party"),
         server = cli_flag(c, "--resource-server");
    nexus_json_writer *w;
    answer a = {0};
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    if (!name || (is_public && jwks)) {
        fprintf(stderr, "nexus: %s\nusage: nexus %s\n", name ? "--public or --jwks, not both" : "a client needs --name",
                usage);
        return CLI_USAGE;
    }
    if (nexus_json_writer_new(&w) != NEXUS_OK)
        return CLI_REFUSED;
    nexus_json_open_object(w, NULL);
    nexus_json_put_text_c(w, "client_name", name);
    cli_put_words(w, "redirect_uris", redirects);
    cli_put_words(w, "grant_types", grants);
    cli_put_words(w, "roles", roles);
    if (scope)
        nexus_json_put_text_c(w, "scope", scope);
    if (is_public || jwks)
        nexus_json_put_text_c(w, "token_endpoint_auth_method", is_public ? "none" : "private_key_jwt");
    if (first)
        nexus_json_put_bool(w, "first_party", true);
    if (server)
        nexus_json_put_bool(w, "resource_server", true);
    code = jwks && !put_jwks(w, jwks) ? CLI_USAGE : CLI_DONE;
    nexus_json_close(w);
    if (code == CLI_DONE)
        code = cli_send(c, "POST", PATH, cli_json(w), "clients add", &a);
    nexus_json_writer_free(w);
    return print_secret(c, code, &a);
}

/* --- the rest ---------------------------------------------------------------------------------------------------------- */

static int list(cli *c)
{
    int code = cli_words(c, 1, 1, usage);
    return code == CLI_DONE ? cli_pages(c, PATH, "clients list", print_client) : code;
}

int cli_clients(cli *c)
{
    answer a;
    char path[128], body[64] = "{}";
    const char *word = c->argc ? c->argv[0] : "";
    if (strcmp(word, "add") == 0)
        return add(c);
    if (strcmp(word, "list") == 0)
        return list(c);
    const char *overlap = cli_option(c, "--overlap");
    int code = cli_words(c, 2, 2, usage);
    if (code != CLI_DONE)
        return code;
    if (overlap)
        snprintf(body, sizeof body, "{\"overlap\":%lu}", strtoul(overlap, NULL, 10));
    bool rotate = strcmp(word, "rotate") == 0;
    snprintf(path, sizeof path, PATH "/%.64s%s", c->argv[1], rotate ? "/rotate" : "");
    if (rotate)
        return print_secret(c, cli_send(c, "POST", path, body, "clients rotate", &a), &a);
    if (strcmp(word, "show") == 0)
        return cli_print_one(c, cli_send(c, "GET", path, NULL, "clients show", &a), &a, print_client);
    if (strcmp(word, "delete") == 0) {
        code = cli_send(c, "DELETE", path, NULL, "clients delete", &a);
        answer_free(&a);
        return code;
    }
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
