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

static int send(cli *c, const char *method, const char *path, const char *body, const char *what, answer *a)
{
    const char *token;
    *a = (answer){0};
    int code = cli_need_token(c, &token);
    if (code == CLI_DONE)
        code = cli_call(c, &(call){.method = method, .path = path, .body = body, .token = token}, a);
    return code == CLI_DONE ? cli_expect(c, a, what) : code;
}

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
        printf("%-27s", members[i]);
        for (nexus_json_iter it = {0}; nexus_json_step(a->json, v, &it);)
            if (nexus_json_text(a->json, it.value, &text))
                printf(" %.*s", (int)text.n, text.p);
        putchar('\n');
    }
}

static int print_one(cli *c, int code, answer *a)
{
    if (code == CLI_DONE && c->json)
        cli_print_json(a->body);
    else if (code == CLI_DONE && a->json)
        print_client(a, NEXUS_JSON_ROOT);
    answer_free(a);
    return code;
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

static void put_list(nexus_json_writer *w, const char *name, const char *words)
{
    if (!words)
        return;
    nexus_json_open_array(w, name);
    while (*words) {
        size_t n = strcspn(words, ",");
        if (n)
            nexus_json_put_text(w, NULL, (nexus_slice){words, n});
        words += n + (words[n] != '\0');
    }
    nexus_json_close(w);
}

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
    put_list(w, "redirect_uris", redirects);
    put_list(w, "grant_types", grants);
    put_list(w, "roles", roles);
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
        code = send(c, "POST", PATH, cli_json(w), "clients add", &a);
    nexus_json_writer_free(w);
    return print_secret(c, code, &a);
}

/* --- the rest ---------------------------------------------------------------------------------------------------------- */

static int list(cli *c)
{
    char path[128], cursor[64] = "";
    int code = cli_words(c, 1, 1, usage);
    while (code == CLI_DONE) {
        answer a;
        snprintf(path, sizeof path, PATH "?limit=100%s%.40s", *cursor ? "&cursor=" : "", cursor);
        code = send(c, "GET", path, NULL, "clients list", &a);
        if (code == CLI_DONE && c->json) {
            cli_print_json(a.body);
        } else if (code == CLI_DONE && a.json) {
            uint32_t items = nexus_json_get(a.json, NEXUS_JSON_ROOT, "items");
            for (nexus_json_iter it = {0}; nexus_json_step(a.json, items, &it);) {
                if (it.index || *cursor)
                    putchar('\n');
                print_client(&a, it.value);
            }
        }
        const char *next = answer_text(&a, "/next_cursor", cursor, sizeof cursor);
        bool more = code == CLI_DONE && *next && strcmp(next, "null") != 0;
        answer_free(&a);
        if (!more)
            break;
    }
    return code;
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
        return print_secret(c, send(c, "POST", path, body, "clients rotate", &a), &a);
    if (strcmp(word, "show") == 0)
        return print_one(c, send(c, "GET", path, NULL, "clients show", &a), &a);
    if (strcmp(word, "delete") == 0) {
        code = send(c, "DELETE", path, NULL, "clients delete", &a);
        answer_free(&a);
        return code;
    }
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
