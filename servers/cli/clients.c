/* clients: OAuth clients, for administrators. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] =
    "clients add --name TEXT [--redirect URI,…] [--grants authorization_code,refresh_token,client_credentials]\n"
    "                         [--scope 'openid profile …'] [--roles operator,…] [--public | --jwks FILE | --certificate FILE |\n"
    "                         --certificate-name san_dns:NAME] [--bound] [--first-party] [--resource-server]\n"
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

/* A PEM certificate as the JWK set that RFC 8705 registers it by. */
static bool put_certificate(nexus_json_writer *w, const char *path)
{
    char line[256], base64[JWKS_MAX];
    size_t n = 0;
    bool inside = false;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f) && n < sizeof base64 - sizeof line) {
        size_t length = strcspn(line, "\r\n");
        if (strncmp(line, "-----END", 8) == 0)
            break;
        if (inside) {
            memcpy(base64 + n, line, length);
            n += length;
        }
        inside |= strncmp(line, "-----BEGIN CERTIFICATE-----", 27) == 0;
    }
    if (f)
        fclose(f);
    if (n == 0) {
        cli_fail("%s: has no PEM certificate", path);
        return false;
    }
    nexus_json_open_object(w, "jwks");
    nexus_json_open_array(w, "keys");
    nexus_json_open_object(w, NULL);
    nexus_json_open_array(w, "x5c");
    nexus_json_put_text(w, NULL, (nexus_slice){base64, n});
    for (int i = 0; i < 4; i++)
        nexus_json_close(w);
    return true;
}

/* "san_dns:NAME" is tls_client_auth_san_dns. */
static bool put_certificate_name(nexus_json_writer *w, const char *text)
{
    char member[64];
    const char *colon = strchr(text, ':');
    if (!colon || colon - text > 16) {
        cli_fail("--certificate-name: subject_dn:, san_dns:, san_uri:, san_ip: or san_email:, and a name");
        return false;
    }
    snprintf(member, sizeof member, "tls_client_auth_%.*s", (int)(colon - text), text);
    nexus_json_put_text_c(w, member, colon + 1);
    return true;
}

typedef struct proof {
    bool is_public;
    const char *jwks, *certificate, *certificate_name;
} proof;

/* How the client proves who it is; false: said why not. */
static bool put_proof(nexus_json_writer *w, const proof *p)
{
    const char *method = p->is_public          ? "none"
                         : p->jwks             ? "private_key_jwt"
                         : p->certificate      ? "self_signed_tls_client_auth"
                         : p->certificate_name ? "tls_client_auth"
                                               : NULL;
    if (method)
        nexus_json_put_text_c(w, "token_endpoint_auth_method", method);
    return (!p->jwks || put_jwks(w, p->jwks)) && (!p->certificate || put_certificate(w, p->certificate)) &&
           (!p->certificate_name || put_certificate_name(w, p->certificate_name));
}

static int add(cli *c)
{
    const char *name = cli_option(c, "--name"), *redirects = cli_option(c, "--redirect");
    const char *grants = cli_option(c, "--grants"), *scope = cli_option(c, "--scope"), *roles = cli_option(c, "--roles");
    proof p = {.jwks = cli_option(c, "--jwks"), .certificate = cli_option(c, "--certificate"),
               .certificate_name = cli_option(c, "--certificate-name")};
    p.is_public = cli_flag(c, "--public");
    int proofs = p.is_public + (p.jwks != NULL) + (p.certificate != NULL) + (p.certificate_name != NULL);
    bool bound = cli_flag(c, "--bound"), first = cli_flag(c, "--first-party"),
         server = cli_flag(c, "--resource-server");
    nexus_json_writer *w;
    answer a = {0};
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    if (!name || proofs > 1) {
        fprintf(stderr, "nexus: %s\nusage: nexus %s\n",
                name ? "one of --public, --jwks, --certificate and --certificate-name" : "a client needs --name", usage);
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
    if (bound)
        nexus_json_put_bool(w, "tls_client_certificate_bound_access_tokens", true);
    if (first)
        nexus_json_put_bool(w, "first_party", true);
    if (server)
        nexus_json_put_bool(w, "resource_server", true);
    code = put_proof(w, &p) ? CLI_DONE : CLI_USAGE;
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
