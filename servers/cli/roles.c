/* roles: what may be done under which name, who has which, and what would be if. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] =
    "roles list | show NAME | delete NAME | grants [--role NAME] [--user ID|ADDRESS] |\n"
    "       set NAME [--inherits a,b] [--allow a:b,c:*] [--deny d:e] [--description TEXT] |\n"
    "       grant NAME ID|ADDRESS | revoke NAME ID|ADDRESS |\n"
    "       explain PERMISSION --user ID|ADDRESS|--roles a,b [--owner self|ID] | simulate FILE   [--tenant NAME]";

#define ROLES "/api/v1/admin/roles"
enum { PATH_MAX_ = 512, SIMULATION_MAX = 262144 };

static const char *const lists[] = {"inherits", "allow", "deny"};
enum { LISTS = sizeof lists / sizeof lists[0] };

/* What all of them may be asked with. */
typedef struct request {
    cli *c;
    const char *tenant; /* NULL: the whole installation */
} request;

/* A path below ROLES, or another one, with the tenant. */
static void path_of(const request *r, char path[static PATH_MAX_], const char *base, const char *name)
{
    snprintf(path, PATH_MAX_, "%s%s%.128s", base, *name ? "/" : "", name);
    cli_query(path, PATH_MAX_, "tenant", r->tenant);
}

/* --- printing ---------------------------------------------------------------------------------------------------------- */

static void print_role(answer *a, uint32_t role)
{
    static const char *const members[] = {"name", "tenant", "description", "changed_at"};
    nexus_slice text;
    bool built_in = false;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (nexus_json_text(a->json, nexus_json_get(a->json, role, members[i]), &text) && text.n)
            printf("%-11s %.*s\n", members[i], (int)text.n, text.p);
    if (nexus_json_bool(a->json, nexus_json_get(a->json, role, "built_in"), &built_in) && built_in)
        printf("%-11s yes\n", "built in");
    for (size_t i = 0; i < LISTS; i++) {
        uint32_t list = nexus_json_get(a->json, role, lists[i]);
        if (nexus_json_count(a->json, list) == 0)
            continue;
        printf("%-11s ", lists[i]);
        cli_print_words(a, list);
        putchar('\n');
    }
}

static void print_grant(answer *a, uint32_t grant)
{
    static const char *const members[] = {"user_id", "role", "tenant", "granted_at"};
    nexus_slice text;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (nexus_json_text(a->json, nexus_json_get(a->json, grant, members[i]), &text) && text.n)
            printf("%-11s %.*s\n", members[i], (int)text.n, text.p);
}

/* "allowed   allow: operator > customer: orders:create" */
static void print_why(answer *a, uint32_t why)
{
    nexus_slice reason = {"", 0}, rule = {"", 0}, step;
    bool allowed = false;
    uint32_t path = nexus_json_get(a->json, why, "path");
    (void)nexus_json_bool(a->json, nexus_json_get(a->json, why, "allowed"), &allowed);
    (void)nexus_json_text(a->json, nexus_json_get(a->json, why, "reason"), &reason);
    printf("%-9s %.*s", allowed ? "allowed" : "refused", (int)reason.n, reason.p);
    for (nexus_json_iter it = {0}; nexus_json_step(a->json, path, &it);)
        if (nexus_json_text(a->json, it.value, &step))
            printf("%s%.*s", it.index ? " > " : ": ", (int)step.n, step.p);
    if (nexus_json_text(a->json, nexus_json_get(a->json, why, "rule"), &rule))
        printf(": %.*s", (int)rule.n, rule.p);
    putchar('\n');
}

static void print_results(answer *a, uint32_t body)
{
    uint32_t results = nexus_json_get(a->json, body, "results");
    for (nexus_json_iter it = {0}; nexus_json_step(a->json, results, &it);) {
        uint32_t now = nexus_json_get(a->json, it.value, "now");
        printf("%2u ", it.index);
        print_why(a, it.value);
        if (nexus_json_type(a->json, now) == NEXUS_JSON_OBJECT) {
            printf("   now ");
            print_why(a, now);
        }
    }
}

/* --- roles ------------------------------------------------------------------------------------------------------------- */

static int list(request *r)
{
    char path[PATH_MAX_];
    int code = cli_words(r->c, 1, 1, usage);
    path_of(r, path, ROLES, "");
    return code == CLI_DONE ? cli_pages(r->c, path, "roles list", print_role) : code;
}

static int on_one(request *r, const char *method, const char *what)
{
    char path[PATH_MAX_];
    answer a = {0};
    int code = cli_words(r->c, 2, 2, usage);
    if (code == CLI_DONE) {
        path_of(r, path, ROLES, r->c->argv[1]);
        code = cli_send(r->c, method, path, NULL, what, &a);
    }
    return cli_print_one(r->c, code, &a, print_role);
}

/* What is not said stays as it is; of a role that is not there it is nothing. */
static void put_definition(nexus_json_writer *w, answer *before, const char *const given[LISTS], const char *description)
{
    nexus_slice raw;
    uint32_t old = before->status == 200 && before->json ? NEXUS_JSON_ROOT : NEXUS_JSON_NONE;
    nexus_json_open_object(w, NULL);
    for (size_t i = 0; i < LISTS; i++) {
        cli_put_words(w, lists[i], given[i]);
        if (!given[i] && old == NEXUS_JSON_ROOT) {
            nexus_json_raw(before->json, nexus_json_get(before->json, old, lists[i]), &raw);
            nexus_json_put_raw(w, lists[i], raw);
        }
    }
    if (description) {
        nexus_json_put_text_c(w, "description", description);
    } else if (old == NEXUS_JSON_ROOT) {
        nexus_json_raw(before->json, nexus_json_get(before->json, old, "description"), &raw);
        nexus_json_put_raw(w, "description", raw);
    }
    nexus_json_close(w);
}

static int set(request *r)
{
    const char *given[LISTS], *description = cli_option(r->c, "--description"), *token;
    char path[PATH_MAX_], flag[16];
    nexus_json_writer *w = NULL;
    answer before = {0}, a = {0};
    for (size_t i = 0; i < LISTS; i++) {
        snprintf(flag, sizeof flag, "--%s", lists[i]);
        given[i] = cli_option(r->c, flag);
    }
    int code = cli_words(r->c, 2, 2, usage);
    if (code == CLI_DONE)
        code = cli_need_token(r->c, &token);
    if (code != CLI_DONE)
        return code;
    path_of(r, path, ROLES, r->c->argv[1]);
    code = cli_call(r->c, &(call){.method = "GET", .path = path, .token = token}, &before);
    if (code == CLI_DONE && before.status != 404) /* a new one is all that is given */
        code = cli_expect(r->c, &before, "roles set");
    if (code == CLI_DONE && nexus_json_writer_new(&w) != NEXUS_OK)
        code = CLI_REFUSED;
    if (code == CLI_DONE) {
        put_definition(w, &before, given, description);
        code = cli_send(r->c, "PUT", path, cli_json(w), "roles set", &a);
    }
    nexus_json_writer_free(w);
    answer_free(&before);
    return cli_print_one(r->c, code, &a, print_role);
}

/* --- grants ------------------------------------------------------------------------------------------------------------ */

static int grants(request *r)
{
    char path[PATH_MAX_], id[64] = "";
    const char *role = cli_option(r->c, "--role"), *user = cli_option(r->c, "--user");
    int code = cli_words(r->c, 1, 1, usage);
    if (code == CLI_DONE && user)
        code = cli_find_user(r->c, user, id);
    path_of(r, path, "/api/v1/admin/grants", "");
    cli_query(path, sizeof path, "role", role);
    cli_query(path, sizeof path, "user_id", user ? id : NULL);
    return code == CLI_DONE ? cli_pages(r->c, path, "roles grants", print_grant) : code;
}

static int grant(request *r, const char *method, const char *what)
{
    char path[PATH_MAX_], base[160], id[64];
    answer a = {0};
    int code = cli_words(r->c, 3, 3, usage);
    if (code == CLI_DONE)
        code = cli_find_user(r->c, r->c->argv[2], id);
    if (code == CLI_DONE) {
        snprintf(base, sizeof base, "/api/v1/users/%s/roles", id);
        path_of(r, path, base, r->c->argv[1]);
        code = cli_send(r->c, method, path, NULL, what, &a);
    }
    answer_free(&a);
    return code;
}

/* --- what if ----------------------------------------------------------------------------------------------------------- */

static int explain(request *r)
{
    const char *user = cli_option(r->c, "--user"), *roles = cli_option(r->c, "--roles"),
               *owner = cli_option(r->c, "--owner");
    char path[PATH_MAX_], id[64];
    nexus_json_writer *w = NULL;
    answer a = {0};
    int code = cli_words(r->c, 2, 2, usage);
    if (code == CLI_DONE && !user == !roles) {
        fprintf(stderr, "nexus: name --user or --roles, one of them\nusage: nexus %s\n", usage);
        code = CLI_USAGE;
    }
    if (code == CLI_DONE && user)
        code = cli_find_user(r->c, user, id);
    if (code == CLI_DONE && nexus_json_writer_new(&w) != NEXUS_OK)
        code = CLI_REFUSED;
    if (code == CLI_DONE) {
        nexus_json_open_object(w, NULL);
        nexus_json_put_text_c(w, "permission", r->c->argv[1]);
        if (user)
            nexus_json_put_text_c(w, "user_id", id);
        cli_put_words(w, "roles", roles);
        if (owner)
            nexus_json_put_text_c(w, "owner", owner);
        nexus_json_close(w);
        path_of(r, path, ROLES "/explain", "");
        code = cli_send(r->c, "POST", path, cli_json(w), "roles explain", &a);
    }
    nexus_json_writer_free(w);
    return cli_print_one(r->c, code, &a, print_why);
}

/* The body as the API takes it, from a file or from standard input ("-"). */
static char *read_simulation(const char *name)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    char *text = f ? malloc(SIMULATION_MAX + 1) : NULL;
    size_t n = text ? fread(text, 1, SIMULATION_MAX + 1, f) : 0;
    if (f && f != stdin)
        fclose(f);
    if (n > 0 && n <= SIMULATION_MAX) {
        text[n] = '\0';
        return text;
    }
    cli_fail("%s: is no text of 1 to %d bytes that can be read", name, SIMULATION_MAX);
    free(text);
    return NULL;
}

static int simulate(request *r)
{
    char path[PATH_MAX_];
    answer a = {0};
    int code = cli_words(r->c, 2, 2, usage);
    char *body = code == CLI_DONE ? read_simulation(r->c->argv[1]) : NULL;
    if (!body)
        return code == CLI_DONE ? CLI_USAGE : code;
    path_of(r, path, ROLES "/simulate", "");
    code = cli_send(r->c, "POST", path, body, "roles simulate", &a);
    free(body);
    return cli_print_one(r->c, code, &a, print_results);
}

/* --- which ------------------------------------------------------------------------------------------------------------- */

static int show_role(request *r)
{
    return on_one(r, "GET", "roles show");
}

static int delete_role(request *r)
{
    return on_one(r, "DELETE", "roles delete");
}

static int give(request *r)
{
    return grant(r, "PUT", "roles grant");
}

static int take(request *r)
{
    return grant(r, "DELETE", "roles revoke");
}

static const struct {
    const char *word;
    int (*run)(request *r);
} words[] = {
    {"list", list},  {"show", show_role}, {"set", set},         {"delete", delete_role}, {"grants", grants},
    {"grant", give}, {"revoke", take},    {"explain", explain}, {"simulate", simulate},
};

int cli_roles(cli *c)
{
    request r = {c, cli_option(c, "--tenant")};
    for (size_t i = 0; c->argc && i < sizeof words / sizeof words[0]; i++)
        if (strcmp(c->argv[0], words[i].word) == 0)
            return words[i].run(&r);
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
