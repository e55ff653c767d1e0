/* secrets: the rings of keys that seal what stands in databases, events and cookies. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char usage[] = "secrets status | rotate [--reseal-only] [--retire KID]   [--ring data|mail|notification|login]";

/* Where a ring is looked after. */
typedef struct ring {
    const char *name, *path;
    bool reseals, by_admin_port; /* values can be sealed again in bulk; the gateway's admin API has it */
} ring;

static const ring rings[] = {
    {"data", "/api/v1/admin/secrets", true, false},
    {"mail", "/api/v1/admin/secrets/mail", false, false},
    {"notification", "/api/v1/notifications/secrets", true, false},
    {"login", "/admin/v1/secrets", false, true},
};

static const ring *ring_of(const char *name)
{
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++)
        if (!name || strcmp(rings[i].name, name) == 0)
            return &rings[i];
    return NULL;
}

static int ask(cli *c, const ring *r, const char *method, const char *below, const char *what, answer *a)
{
    char path[128];
    snprintf(path, sizeof path, "%s%s", r->path, below);
    return r->by_admin_port ? cli_admin_call(c, (call){.method = method, .path = path}, what, a)
                            : cli_send(c, method, path, NULL, what, a);
}

static void print_keys(cli *c, answer *a)
{
    if (c->json) {
        cli_print_json(a->body);
        return;
    }
    uint32_t keys = nexus_json_get(a->json, NEXUS_JSON_ROOT, "keys");
    for (nexus_json_iter it = {0}; a->json && nexus_json_step(a->json, keys, &it);) {
        nexus_slice kid = {"", 0}, state = {"", 0};
        int64_t values = 0;
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "kid"), &kid);
        (void)nexus_json_text(a->json, nexus_json_get(a->json, it.value, "state"), &state);
        bool counted = nexus_json_int(a->json, nexus_json_get(a->json, it.value, "values"), &values);
        char shown[24];
        snprintf(shown, sizeof shown, counted ? "%lld" : "-", (long long)values);
        printf("%.*s %-10.*s %s\n", (int)kid.n, kid.p, (int)state.n, state.p, shown);
    }
}

static int status(cli *c, const ring *r)
{
    answer a;
    int code = ask(c, r, "GET", "", "secrets status", &a);
    if (code == CLI_DONE)
        print_keys(c, &a);
    answer_free(&a);
    return code;
}

/* Batch by batch; ended in the middle, the next call goes on. */
static int reseal(cli *c, const ring *r)
{
    int64_t all = 0, some = 1;
    int code = CLI_DONE;
    while (code == CLI_DONE && some > 0) {
        answer a;
        code = ask(c, r, "POST", "/reseal", "secrets rotate", &a);
        some = code == CLI_DONE ? answer_int(&a, "/resealed") : 0;
        answer_free(&a);
        all += some;
        if (some > 0)
            fprintf(stderr, "nexus: %lld values sealed again\n", (long long)all);
    }
    return code;
}

static int rotate(cli *c, const ring *r, bool reseal_only)
{
    answer a = {0};
    int code = reseal_only ? CLI_DONE : ask(c, r, "POST", "/rotate", "secrets rotate", &a);
    answer_free(&a);
    if (code == CLI_DONE && r->reseals)
        code = reseal(c, r);
    return code == CLI_DONE ? status(c, r) : code;
}

static int retire(cli *c, const ring *r, const char *kid)
{
    char below[32];
    answer a;
    if (strlen(kid) != 16 || strspn(kid, "0123456789abcdef") != 16) {
        fprintf(stderr, "nexus: a key's id is 16 hex digits, as secrets status shows it\nusage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    snprintf(below, sizeof below, "/%s", kid);
    int code = ask(c, r, "DELETE", below, "secrets rotate --retire", &a);
    answer_free(&a);
    return code;
}

int cli_secrets(cli *c)
{
    const ring *r = ring_of(cli_option(c, "--ring"));
    const char *kid = cli_option(c, "--retire");
    bool reseal_only = cli_flag(c, "--reseal-only");
    int code = cli_words(c, 1, 1, usage);
    if (code != CLI_DONE)
        return code;
    if (r && strcmp(c->argv[0], "status") == 0 && !kid && !reseal_only)
        return status(c, r);
    if (r && strcmp(c->argv[0], "rotate") == 0 && (r->reseals || !reseal_only))
        return kid ? retire(c, r, kid) : rotate(c, r, reseal_only);
    fprintf(stderr, "usage: nexus %s\n", usage);
    return CLI_USAGE;
}
